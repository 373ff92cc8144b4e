"""How often Python looks for objects that hold each other: seldom, where many are kept."""

from __future__ import annotations

import gc
from typing import Final

# New objects before the young, the middle-aged and the old are looked through for circles.
COLLECTED_AFTER: Final = (50_000, 20, 200)


def collect_seldom() -> None:
    """For a process that keeps many facts and states: they hold no circles, so none is found."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTED_AFTER)
