"""What people on duty see and type, on an installation of its own that nobody lives in."""
