"""What falls due in training: nothing yet."""

from collections.abc import Mapping
from typing import Final

from shared.room import Timer

TIMERS: Final[Mapping[str, Timer]] = {}
