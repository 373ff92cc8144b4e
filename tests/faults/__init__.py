"""Faults on the real thing: years of the sandbox in which things die, freeze and fill up."""
