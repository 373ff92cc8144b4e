"""What was drawn for this run and what came of it, told at the end of its output.

Faults, moments and made-up requests are drawn anew each time; the same seed draws the same again.
"""

from __future__ import annotations

import os
import secrets
from typing import Final

SEED_VARIABLE: Final = "BANGFU_FAULTS_SEED"

# Lines for the end of the run's output; see conftest.py.
CHRONICLE: Final[list[str]] = []


def drawn_seed() -> int:
    """A seed for this run: another each time, unless the environment gives one."""
    return int(os.environ.get(SEED_VARIABLE) or secrets.randbelow(1_000_000))
