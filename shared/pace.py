"""How long to let things gather before the next batch: longer where the processor is short.

What a batch costs beside its records (a question for marks, a write, a commit, a request to the
broker) is the same for one record and for a hundred. A service on a machine that has time to spare
takes records in soon. Where it wakes later than it asked to, others want the processor too: then it
rests for longer, its next batch grows, and each record of it costs less. And once enough has
gathered for a batch that is worth its price, it gathers no more.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

# How much longer it rests for each second that it lately woke too late, beyond what is usual where
# there is processor time to spare.
RESTS_FOR_LATENESS: Final = 20
USUAL_LATENESS_SECONDS: Final = 0.002
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

    def gathering_seconds(self, took_seconds: float) -> float:
        """How long things still gather after a batch that took so long."""
        return max(0.0, self.gather_seconds - took_seconds)

    def stepping_back_seconds(self) -> float:
        """How much longer it rests because others want the processor."""
        if self.gather_seconds == 0:
            return 0.0
        late_seconds = max(0.0, self.late_seconds - USUAL_LATENESS_SECONDS)
        return min(RESTS_FOR_LATENESS * late_seconds, LONGEST_REST_SECONDS)

    def woke(self, late_seconds: float) -> None:
        """Take in how much later than asked it woke."""
        self.late_seconds += WEIGHT_OF_THE_LAST * (max(0.0, late_seconds) - self.late_seconds)

    async def rest(self, took_seconds: float, enough: asyncio.Event | None = None) -> None:
        """Rest after a batch that took so long; ``enough`` ends what is for gathering."""
        gathering_seconds = self.gathering_seconds(took_seconds)
        stepping_back_seconds = self.stepping_back_seconds()
        if enough is not None:
            began = time.monotonic()
            try:
                async with asyncio.timeout(gathering_seconds):
                    await enough.wait()
            except TimeoutError:
                self.woke(time.monotonic() - began - gathering_seconds)
            gathering_seconds = 0.0
        seconds = gathering_seconds + stepping_back_seconds
        if seconds > 0:
            began = time.monotonic()
            await asyncio.sleep(seconds)
            self.woke(time.monotonic() - began - seconds)
