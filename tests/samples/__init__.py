"""What facts looked like when they were first stored: a sample of each, and each one's schema.

`python -m tests.samples` adds what is new. A stored sample is never changed: whatever a build once
wrote, every later build reads.
"""
