"""What was drawn for this run and what came of it, told at the end of its output.

Faults, moments and made-up requests are drawn anew each time; the same seed draws the same again.
"""

from __future__ import annotations

import os
import re
import secrets
from typing import Final

SEED_VARIABLE: Final = "BANGFU_FAULTS_SEED"

# Lines for the end of the run's output; see conftest.py.
CHRONICLE: Final[list[str]] = []


def drawn_seed() -> int:
    """A seed for this run: another each time, unless the environment gives one."""
    given = os.environ.get(SEED_VARIABLE)
    return seed_of(given) if given else secrets.randbelow(1_000_000)


def seed_of(text: str) -> int:
    """Raises ValueError with one line that names the variable."""
    if re.fullmatch("[0-9]{1,18}", text, re.ASCII) is None:
        raise ValueError(
            f"{SEED_VARIABLE}: 须为至多 18 位的整数 must be a whole number of at most 18 digits"
        )
    return int(text)
