"""Figures beside their limits, one command each. Nothing here is needed to run Bangfu."""
