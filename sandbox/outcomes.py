"""What became of everybody, read from the topics alone, and told by household number."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from sandbox.installation import SERVICES
from shared.bus import is_birth, read_records, topic_name

# The facts of the case that decide its stage, in the words of the table.
STAGES: Mapping[str, str] = {
    "ApplicationSubmitted": "submitted",
    "ApplicationReturned": "returned",
    "ApplicationResubmitted": "submitted",
    "ApplicationLapsed": "lapsed",
    "ApplicationAccepted": "accepted",
    "VisitsReconciled": "reconciled",
    "ReliefReferralMade": "referred",
    "FormDrawnUp": "on_notice",
    "FileForwarded": "forwarded",
    "FileRegistered": "registered",
    "CaseRejected": "rejected",
    "FileDeregistered": "deregistered",
}


@dataclass
class CaseOutcome:
    """One case: where it ended and what it was given."""

    stage: str = ""
    reason: str = ""
    primary: str = ""
    awards_fen: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    paid_fen: int = 0
    payments: Counter[str] = field(default_factory=Counter)

    def as_document(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "reason": self.reason,
            "primary": self.primary,
            "awards_fen": dict(sorted(self.awards_fen.items())),
            "refused": dict(sorted(self.refused.items())),
            "paid_fen": self.paid_fen,
            "payments": dict(sorted(self.payments.items())),
        }


@dataclass
class Outcomes:
    """The whole year."""

    cases: dict[str, CaseOutcome] = field(default_factory=lambda: defaultdict(CaseOutcome))
    facts: Counter[str] = field(default_factory=Counter)
    paid_fen: Counter[tuple[str, str]] = field(default_factory=Counter)
    payments: Counter[tuple[str, str]] = field(default_factory=Counter)
    told: Counter[str] = field(default_factory=Counter)

    def most_eventful(self) -> str | None:
        """The case with most facts; the one to show."""
        return max(self.told, key=lambda case_id: self.told[case_id], default=None)

    def take(self, name: str, data: Mapping[str, Any]) -> None:
        """Take in one fact, by its short name."""
        self.facts[name] += 1
        if "case_id" not in data:
            return
        case = self.cases[data["case_id"]]
        self.told[data["case_id"]] += 1
        if name in STAGES:
            case.stage = STAGES[name]
        match name:
            case "CaseRejected":
                case.reason = f"{data['stage']}: {', '.join(data['reasons'])}"
            case "FileRegistered":
                case.primary = data["primary"]
            case "FileDeregistered":
                case.reason = data["exit"]
            case "AwardApproved":
                case.awards_fen[data["programme"]] += data["amount_fen"]
            case "AwardRefused":
                case.refused[f"{data['programme']}: {data['reason']}"] += 1
            case "PayoutConfirmed":
                case.paid_fen += data["amount_fen"]
                self.paid_fen[data["fund"], data["programme"]] += data["amount_fen"]
                self.payments[data["fund"], data["programme"]] += 1
                case.payments["confirmed"] += 1
            case "PayoutFailed":
                case.payments[f"failed: {data['reason']}"] += 1

    def by_number(self, number_by_case: Mapping[str, int]) -> dict[int, dict[str, Any]]:
        """Outcomes by household number, the only name that two runs share."""
        return {
            number_by_case[case_id]: case.as_document()
            for case_id, case in sorted(self.cases.items(), key=lambda e: number_by_case[e[0]])
        }


async def read_outcomes(bootstrap: str, prefix: str) -> Outcomes:
    """One pass over the topics of all services; the first record of a version counts."""
    outcomes = Outcomes()
    for service in SERVICES:
        last: dict[str, int] = {}
        async for record in read_records(bootstrap, topic_name(prefix, service)):
            if is_birth(record):
                continue
            headers = dict(record.headers)
            stream = headers["ce_stream"].decode()
            version = int(headers["ce_streamversion"])
            if version <= last.get(stream, 0):
                continue
            last[stream] = version
            name = headers["ce_type"].decode().rpartition(".")[2]
            outcomes.take(name, orjson.loads(record.value))
    return outcomes
