"""What stands in for the world in the demo and the tests; nothing here runs in production."""
