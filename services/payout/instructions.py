"""What the bank reads of us: an outbox of its own, minimal and versioned, not the internal log.

A stream per payout, chained like the log (docs/log-format.md), with no case, programme or staff in
it. Pure: the row follows from the fact in whose write it is stored. Topic and retention are the
installer's, the account goes over HTTP (``bank.py``).
"""

from __future__ import annotations

from typing import Any, Final, Literal
from uuid import UUID, uuid5

from services.payout.facts import PayoutIssued
from shared.fact import GENESIS_HASH, Fen, Recorded, Value, canonical, chain_hash
from shared.money import CURRENCY

TABLE: Final = "instructions"
TYPE: Final = "bangfu.payout.InstructionIssued"
SCHEMA_VERSION: Final = 1
# More than a year, so that an audit of the year before finds them where the bank read them.
KEPT_MS: Final = 400 * 24 * 3600 * 1000
NAMESPACE: Final = UUID("0f6f3a55-5d7c-5c0e-8a44-7d2f0f9b6f11")


class Instruction(Value):
    """One state of one payment order; a later state would be the stream's next version."""

    payout_id: str
    end_to_end_id: str
    amount_fen: Fen
    currency: Literal["CNY"]
    state: Literal["issued"]


def topic_of(subscriber: str) -> str:
    """The subscriber's own topic, without the installation's prefix."""
    return f"payout.instructions.{subscriber}"


def instruction_row(fact: PayoutIssued, recorded: Recorded) -> dict[str, Any]:
    """The outbox row of an issued payout: version 1 of its stream."""
    stream = f"instruction-{fact.payout_id}"
    data = Instruction(
        payout_id=fact.payout_id,
        end_to_end_id=fact.end_to_end_id,
        amount_fen=fact.amount_fen,
        currency=CURRENCY,
        state="issued",
    )
    raw = canonical(data.model_dump(mode="json"))
    version = 1
    attributes = {
        "specversion": "1.0",
        # Not the fact's own id: the internal log is none of the subscriber's business.
        "id": str(uuid5(NAMESPACE, f"{stream}|{version}")),
        "source": recorded.source,
        "type": TYPE,
        "subject": stream,
        "time": recorded.attributes["time"],
        "datacontenttype": "application/json",
        "dataschema": f"urn:bangfu:schema:{TYPE}:{SCHEMA_VERSION}",
        "schemaversion": str(SCHEMA_VERSION),
        "stream": stream,
        "streamversion": str(version),
        "previoushash": GENESIS_HASH,
    }
    return {
        "stream": stream,
        "version": version,
        "fact_id": attributes["id"],
        "type": TYPE,
        "subject": stream,
        "envelope": canonical(attributes).decode(),
        "data": raw.decode(),
        "hash": chain_hash(attributes, raw),
    }
