"""Discarding: an operator's word on a held record, carried out by the consumer that holds it.

The record leaves the queue, its version is passed, and the consumer states ``HeardFactDiscarded``
where the case is told. Nothing here loads or stores anything.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Final

import orjson

from shared.arrival import Arrival, Discard
from shared.discarded import HeardFactDiscarded
from shared.fact import Actor
from shared.room import Command, Room
from shared.workspace import Cause, Workspace

OPERATOR_ROLE: Final = "operator"
MAC_DOMAIN: Final = "held-record"

Mac = Callable[[str, str], str]


class DiscardHeardFact(Command):
    """What the operator wants; no decision of a room is asked."""


def passed_version(arrival: Arrival, discard: Discard) -> tuple[str, int] | None:
    """The stream and version that the mark passes with it, or None.

    An unreadable record passes what it claims on the operator's word alone, and one that is in no
    log passes nothing: the fact that belongs there may still come.
    """
    if arrival.recorded is not None:
        place = arrival.recorded.stream, arrival.recorded.version
        return place if discard.passes else None
    return arrival.claimed_place() if discard.skip_version else None


def fact_of(
    arrival: Arrival, discard: Discard, passed: tuple[str, int] | None, mac: Mac
) -> HeardFactDiscarded:
    """What is stated of it."""
    recorded = arrival.recorded
    stream, version = passed or ("", 0)
    packed = {
        "headers": arrival.packed(),
        "value": None if arrival.value is None else base64.b64encode(arrival.value).decode(),
    }
    return HeardFactDiscarded(
        topic=arrival.topic,
        partition=arrival.partition,
        offset=arrival.offset,
        generation=arrival.generation,
        held_as=arrival.held_as[0],
        stream=stream,
        version=version,
        type=recorded.type if recorded is not None else "",
        hash=recorded.hash if recorded is not None else "",
        bytes_mac=mac(MAC_DOMAIN, orjson.dumps(packed).decode()),
        reason=discard.reason,
        operator=discard.operator,
    )


def stream_for(workspace: Workspace, room: Room, key: str) -> str:
    """The room's own stream of the case, if it has one, else the service's own for this."""
    streams = room.streams_of_case(key)
    workspace.require(streams)
    for stream in streams:
        if workspace.entries[stream].head.version:
            return stream
    # That there is none may be of yesterday: not written to, it has to be looked up afresh.
    workspace.without_effect.update(streams)
    return room.discarded_stream


def word_of(discard: Discard) -> DiscardHeardFact:
    """The operator's word, with the id of the fact by which whoever asked will find it."""
    return DiscardHeardFact(by=Actor(discard.operator, OPERATOR_ROLE), fact_id=discard.fact_id)


def cause_of(arrival: Arrival, discard: Discard) -> Cause:
    """A record that can be read is passed like one that was taken in.

    One that passes nothing is no cause: whoever hears of it would wait for what is in no log, too.
    """
    if arrival.recorded is None or not discard.passes:
        return Cause()
    return Cause.of(arrival.recorded)
