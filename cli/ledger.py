"""What payout keeps beside its log, rebuilt from its facts: the ledger and the bank's outbox.

Postings sum to zero per fact and fund, balances are their sums, a fund's guard row is its account
``credited``, and the instructions that the bank reads are those of the issued payouts.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from services.payout.decisions.cover import available
from services.payout.instructions import KEPT_MS, TABLE, topic_of
from services.payout.storage import own_rows, postings_of
from shared.chain import ChainCheck
from shared.fact import Fact, Recorded
from shared.log_reader import open_log, record_of, where
from shared.verification.report import Report
from shared.verification.snapshot import Place, Snapshot, heads_now, published_up_to

SERVICE: Final = "payout"
AVAILABLE_ACCOUNT: Final = "credited"
_COLUMNS: Final = (
    "fact_id", "fund", "account", "amount_fen", "stream", "version", "award_id", "payout_id",
)  # fmt: skip

Posting = tuple[Any, ...]


class Ledger:
    """Rebuilds the tables ``postings``, ``balances`` and ``instructions``."""

    def __init__(self, subscriber: str) -> None:
        self._subscriber = subscriber
        self._balances: Counter[tuple[str, str]] = Counter()
        # The hash of each instruction, by its stream; there is one version of each.
        self._instructions: dict[str, str] = {}
        # Older than the topic's retention: gone from it, and not published again either.
        self._aged: set[str] = set()

    async def compare(
        self,
        snapshot: Snapshot,
        streams: Sequence[str],
        facts: Sequence[tuple[Fact, Recorded]],
        report: Report,
    ) -> None:
        """The postings of these facts, line by line."""
        rebuilt: dict[Posting, str] = {}
        for fact, recorded in facts:
            sums: Counter[str] = Counter()
            for posting in postings_of(fact, recorded):
                rebuilt[_line(posting)] = recorded.stream
                sums[posting["fund"]] += posting["amount_fen"]
                self._balances[posting["fund"], posting["account"]] += posting["amount_fen"]
            for fund, total in sums.items():
                if total:
                    detail = f"{fund}: {total} fen over"
                    report.add(
                        SERVICE, "postings", "do not sum to zero", detail, stream=recorded.stream
                    )
            for row in own_rows(fact, recorded):
                if row["kind"] == "instruction":
                    self._instructions[row["stream"]] = row["hash"]
        rows = await snapshot.connection.fetch(
            f"SELECT {', '.join(_COLUMNS)}, occurred_on FROM {snapshot.schema}.postings "  # noqa: S608 - names of the code
            "WHERE stream = ANY ($1)",
            list(streams),
        )
        held = {_line({**dict(r), "occurred_on": r["occurred_on"].isoformat()}) for r in rows}
        for line in held.symmetric_difference(rebuilt):
            kind = "missing" if line in rebuilt else "follows from no fact"
            fact_id, fund, account, amount, stream, version = line[:6]
            detail = f"{fund} {account} {amount} of {fact_id}"
            report.add(SERVICE, "postings", kind, detail, stream=stream, version=version)

    async def finish(
        self, snapshot: Snapshot, guards: Counter[str], place: Place, report: Report
    ) -> None:
        """Balances, guard rows against accounts, and the outbox with its topic."""
        await self._compare_balances(snapshot, guards, report)
        stored = await self._compare_outbox(snapshot, report)
        last = await snapshot.connection.fetchval(
            f"SELECT coalesce(max(position), 0) FROM {snapshot.schema}.{TABLE}"  # noqa: S608 - as above
        )
        await published_up_to(place, {snapshot.schema: last}, TABLE)
        await self._compare_topic(stored, place, report)

    async def _compare_balances(
        self, snapshot: Snapshot, guards: Mapping[str, int], report: Report
    ) -> None:
        rows = await snapshot.connection.fetch(
            f"SELECT fund, account, balance_fen FROM {snapshot.schema}.balances"  # noqa: S608 - as above
        )
        held = {(row["fund"], row["account"]): row["balance_fen"] for row in rows}
        totals: dict[str, int] = defaultdict(int)
        for fund, account in sorted(held.keys() | self._balances.keys()):
            balance, rebuilt = held.get((fund, account), 0), self._balances[fund, account]
            totals[fund] += balance
            if balance != rebuilt:
                detail = f"{fund} {account}: {balance}, by the facts {rebuilt}"
                report.add(SERVICE, "balances", "not what the facts give", detail)
            if account == AVAILABLE_ACCOUNT and guards[available(fund)] != balance:
                detail = f"{fund}: {balance}, guard row {guards[available(fund)]}"
                report.add(SERVICE, "balances", "not what the guard row says", detail)
        for fund, total in totals.items():
            if total:
                report.add(SERVICE, "balances", "do not sum to zero", f"{fund}: {total} fen")

    async def _compare_outbox(self, snapshot: Snapshot, report: Report) -> dict[str, str]:
        """The outbox against the issued payouts; its chain; the hash of each stream's last row."""
        check = ChainCheck(is_readable=lambda _recorded: True)
        rows = await snapshot.connection.fetch(
            "SELECT stream, envelope, data, hash, traceparent, "  # noqa: S608 - as above
            "stored_at < clock_timestamp() - $1 * interval '1 millisecond' AS aged "
            f"FROM {snapshot.schema}.{TABLE} ORDER BY position",
            KEPT_MS,
        )
        for row in rows:
            data = row["data"].encode()
            if row["aged"]:
                self._aged.add(row["stream"])
            check.take(Recorded(orjson.loads(row["envelope"]), row["hash"], data))
        check.finish()
        for finding in check.findings:
            report.add_finding(SERVICE, "instructions", finding)
        stored = {stream: head.hash for stream, head in check.heads().items()}
        for stream in sorted(stored.keys() | self._instructions.keys()):
            if stream not in stored:
                report.add(SERVICE, "instructions", "missing", stream=stream)
            elif stream not in self._instructions:
                report.add(SERVICE, "instructions", "follows from no fact", stream=stream)
            elif stored[stream] != self._instructions[stream]:
                report.add(SERVICE, "instructions", "not what the facts give", stream=stream)
        return stored

    async def _compare_topic(self, stored: Mapping[str, str], place: Place, report: Report) -> None:
        """What the subscriber reads is the outbox; retention may have taken the oldest away."""
        topic = place.prefix + topic_of(self._subscriber)
        check = ChainCheck(is_readable=lambda _recorded: True)
        async with open_log(place.bootstrap, [topic]) as reader:
            aged = any(start > 0 for start in (await reader.starts(topic)).values())
            chosen = [(topic, number) for number in range(reader.partitions[topic])]
            async for records in reader.read(chosen):
                for record in records:
                    check.take(record_of(record), where(record))
        check.finish()
        for finding in check.findings:
            report.add_finding(SERVICE, "instructions' topic", finding)
        report.tallies[SERVICE].repeats += check.repeats
        heads = {stream: head.hash for stream, head in check.heads().items()}
        for stream, digest in sorted(stored.items()):
            if stream not in heads and not aged and stream not in self._aged:
                report.add(SERVICE, "instructions' topic", "missing", stream=stream)
            elif heads.get(stream, digest) != digest:
                report.add(SERVICE, "instructions' topic", "another hash", stream=stream)
        beyond = sorted(heads.keys() - stored.keys())
        # Issued after the snapshot, then; or nobody's.
        now = await heads_now(place.postgres_url, SERVICE, beyond, TABLE) if beyond else {}
        for stream in beyond:
            if stream not in now:
                report.add(SERVICE, "instructions' topic", "follows from no row", stream=stream)


def _line(posting: Mapping[str, Any]) -> Posting:
    return (*(posting[name] for name in _COLUMNS), posting["occurred_on"])
