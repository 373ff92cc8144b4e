"""A heard record that a person put aside: the one fact that every room may state without code.

It is the machinery's, not a room's: it stands in the consumer's own stream of the case and changes
nothing in its state. Where the consumer has no stream of that case, or the record tells no case, it
stands in a stream of the service's own, ``discarded-SERVICE``, which belongs to no office.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from shared.fact import Count, Fact

DISCARDED_KIND: Final = "discarded"
LONGEST_REASON: Final = 500
LONGEST_OPERATOR: Final = 200

Offset = Annotated[int, Field(strict=True, ge=0, le=2**53 - 1)]


class HeardFactDiscarded(Fact, name="bangfu.HeardFactDiscarded"):
    """This service will never take the record at this place in; why, and on whose word.

    ``stream``, ``version``, ``type`` and ``hash`` are the record's own words, empty where it can't
    be read; with a stream and version the service's mark of that stream has passed it.
    """

    topic: str
    partition: Count
    offset: Offset
    generation: str
    # Why it was held, in the words of the table ``held``.
    held_as: str
    stream: str = ""
    version: Count = 0
    type: str = ""
    hash: str = ""
    # Keyed, over headers and value as they came: unreadable bytes may hold anything.
    bytes_mac: str
    reason: Annotated[str, Field(min_length=1, max_length=LONGEST_REASON)]
    operator: str
