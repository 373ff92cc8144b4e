"""How long to let things gather before the next batch: longer where the processor is short.

What a batch costs beside its records (a question for marks, a write, a commit, a request to the
broker) is the same for one record and for a hundred. A service on a machine that has time to spare
takes records in soon. Where it wakes later than it asked to, others want the processor too: then it
rests for longer, its next batch grows, and each record of it costs less.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

# How much longer it rests for each second that it lately woke too late.
RESTS_FOR_LATENESS: Final = 30
LONGEST_REST_SECONDS: Final = 0.8
# What the last time counts for in what is known of the times before.
WEIGHT_OF_THE_LAST: Final = 0.2


class Pace:
    """The rests between the batches of one loop that begin ``gather_seconds`` apart at least.

    With 0 nothing is to gather: what comes is taken in as it comes, however busy the machine is.
    """

    def __init__(self, gather_seconds: float) -> None:
        self.gather_seconds = gather_seconds
        self.late_seconds = 0.0

    def rest_seconds(self, took_seconds: float) -> float:
        """How long to rest after a batch that took so long."""
        if self.gather_seconds == 0:
            return 0.0
        at_least = max(0.0, self.gather_seconds - took_seconds)
        return min(at_least + RESTS_FOR_LATENESS * self.late_seconds, LONGEST_REST_SECONDS)

    def woke(self, late_seconds: float) -> None:
        """Take in how much later than asked it woke."""
        self.late_seconds += WEIGHT_OF_THE_LAST * (max(0.0, late_seconds) - self.late_seconds)

    async def rest(self, took_seconds: float) -> None:
        seconds = self.rest_seconds(took_seconds)
        began = time.monotonic()
        await asyncio.sleep(seconds)
        self.woke(time.monotonic() - began - seconds)
