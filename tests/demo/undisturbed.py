"""What becomes of each household when nothing is disturbed, kept for whoever compares with it.

It depends on the seed and the household's number, and not on how many others there are.
"""

from __future__ import annotations

from typing import Any, Final

# By seed, then by household number; filled by whoever has lived such a year.
OUTCOMES: Final[dict[int, dict[int, dict[str, Any]]]] = {}
