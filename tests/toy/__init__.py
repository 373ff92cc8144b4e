"""Two small rooms that use all of the log's machinery and know nothing about hardship."""
