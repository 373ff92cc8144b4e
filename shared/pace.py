"""How long to let things gather before the next batch, by how long the last one took.

What a batch costs beside its records (a question for marks, a write, a commit, a request to the
broker) is the same for one record and for a hundred. A service that has little to do takes records
in soon; one that is behind, or has busy neighbours, rests for longer, and its next batch grows.
"""

from __future__ import annotations

from typing import Final

# Of its time a service spends a third on taking in (or giving out), when there is always more.
RESTS_A_BATCH: Final = 2
# A batch that waited for something that was away says nothing of what a batch costs.
LONGEST_REST_SECONDS: Final = 0.4


def rest_seconds(took_seconds: float, gather_seconds: float) -> float:
    """How long to rest after a batch, so that batches begin ``gather_seconds`` apart at least.

    0 if nothing is to gather: then what comes is taken in as it comes.
    """
    if gather_seconds == 0:
        return 0.0
    in_proportion = min(RESTS_A_BATCH * took_seconds, LONGEST_REST_SECONDS)
    return max(gather_seconds - took_seconds, in_proportion)
