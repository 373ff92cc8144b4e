"""What eligibility's neighbours would publish, put onto their topics by the test itself.

The records are those of a relay: chained, hashed and headed as any fact is, so that the service
under test can't tell the difference.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from services.intake import facts as intake
from services.payout import facts as payout
from shared.bus import discard, new_producer, now_ms, partition_of, topic_name
from shared.clock import BUSINESS_ZONE
from shared.fact import SYSTEM, Draft, Fact, Head, Origin, Recorded, record

DAY = date(2025, 3, 3)
NOON = datetime(2025, 3, 3, 12, tzinfo=BUSINESS_ZONE)


@dataclass
class Neighbours:
    """Writes into the topics of other services, one stream of each a case."""

    bootstrap: str
    prefix: str
    partitions: int
    heads: dict[str, Head] = field(default_factory=dict)

    async def state(self, service: str, kind: str, case_id: str, *facts: Fact) -> None:
        """Publish these facts as the next ones of that service's stream of the case."""
        producer = await new_producer(self.bootstrap)
        try:
            for fact in facts:
                recorded = self._record(service, f"{kind}-{case_id}", case_id, fact)
                await producer.send_and_wait(
                    topic_name(self.prefix, service),
                    key=case_id.encode(),
                    value=recorded.raw,
                    headers=_headers(recorded),
                    partition=partition_of(case_id, self.partitions),
                    timestamp_ms=now_ms(),
                )
        finally:
            await discard(producer)

    def _record(self, service: str, stream: str, subject: str, fact: Fact) -> Recorded:
        recorded = record(
            Draft(str(uuid.uuid4()), fact, DAY, SYSTEM, "", str(uuid.uuid4())),
            origin=Origin(f"sandbox/{service}", "test"),
            stream=stream,
            subject=subject,
            head=self.heads.get(stream, Head()),
            heard_lamport=0,
            heard={},
            now=NOON,
        )
        self.heads[stream] = recorded.head
        return recorded


def _headers(recorded: Recorded) -> list[tuple[str, bytes]]:
    attributes = dict(recorded.attributes)
    headers = [("content-type", attributes.pop("datacontenttype").encode())]
    headers += [(f"ce_{name}", text.encode()) for name, text in attributes.items()]
    return [*headers, ("ce_hash", recorded.hash.encode())]


def visits_reconciled(case_id: str, household_id: str, **changes: Any) -> intake.VisitsReconciled:
    held: Mapping[str, Any] = {
        "case_id": case_id,
        "household_id": household_id,
        "organisation_id": "union-1-1",
        "fund": "sample-city",
        "applied_on": DAY,
        "residence": "990802",
        "members": 2,
        "incomes": (),
        "income_12m_fen": 100_000,
        "causes": ("illness",),
        "incident": None,
        "relief": "refused",
        "hardship_after_relief": True,
        "finding_reasons": None,
        "differences": (),
        "visitors": ("union-1-1.visitor", "station-1.visitor"),
    }
    return intake.VisitsReconciled(**{**held, **changes})


def file_registered(case_id: str, household_id: str) -> intake.FileRegistered:
    return intake.FileRegistered(
        case_id=case_id,
        household_id=household_id,
        organisation_id="union-1-1",
        station_id="station-1",
        centre_id="county-east",
        fund="sample-city",
        classes=("low_income",),
        primary="low_income",
        programmes=("living", "medical", "disaster", "education"),
        persons=(f"{household_id}-parent", f"{household_id}-child"),
        workers=(f"{household_id}-parent",),
        students=(intake.Student(person_id=f"{household_id}-child", school="school-a"),),
        incident=intake.Incident(
            incident_id=f"{household_id}-fire",
            kind="accident",
            occurred_on=date(2025, 1, 9),
            loss_fen=3_000_000,
            hardship_found=True,
        ),
        payee=None,
        visitors=("union-1-1.visitor", "station-1.visitor"),
        signers=("union-1-1.chair", "union-1-1.handler"),
        reviewer="county-east.reviewer",
        approver="county-east.approver",
    )


def cover_reserved(case_id: str, award_id: str, amount_fen: int) -> payout.CoverReserved:
    return payout.CoverReserved(
        case_id=case_id,
        award_id=award_id,
        fund="sample-city",
        programme="living",
        amount_fen=amount_fen,
    )
