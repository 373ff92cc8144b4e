"""Registration forms as lists: their columns, how a file is read, and what is told about it."""
