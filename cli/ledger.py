"""What payout alone can judge of its ledger and of the bank's outbox.

That both are what the facts give is compared like everything derived (`payout/storage.py`).
Here: postings sum to zero per fact and fund, balances per fund, a fund's guard row is its account
``credited``, the outbox is a sound chain, and its topic holds the same.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import orjson

from services.payout.decisions.cover import available
from services.payout.instructions import KEPT_MS, TABLE, topic_of
from services.payout.storage import postings_of
from shared.chain import ChainCheck
from shared.fact import Fact, Recorded
from shared.log_reader import open_log, record_of, where
from shared.verification.report import Report
from shared.verification.snapshot import Place, Snapshot, heads_now, published_up_to

SERVICE: Final = "payout"
AVAILABLE_ACCOUNT: Final = "credited"


class Ledger:
    """Of the tables ``postings``, ``balances`` and ``instructions``."""

    def __init__(self, subscriber: str) -> None:
        self._subscriber = subscriber
        # Older than the topic's retention: gone from it, and not published again either.
        self._aged: set[str] = set()

    def compare(self, facts: Sequence[tuple[Fact, Recorded]], report: Report) -> None:
        """The postings of these facts."""
        for fact, recorded in facts:
            sums: Counter[str] = Counter()
            for posting in postings_of(fact, recorded):
                sums[posting["fund"]] += posting["amount_fen"]
            for fund, total in sums.items():
                if total:
                    detail = f"{fund}: {total} fen over"
                    report.add(
                        SERVICE, "postings", "do not sum to zero", detail, stream=recorded.stream
                    )

    async def finish(
        self, snapshot: Snapshot, guards: Mapping[str, int], place: Place, report: Report
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
        for (fund, account), balance in sorted(held.items()):
            totals[fund] += balance
            guard = guards.get(available(fund), 0)
            if account == AVAILABLE_ACCOUNT and guard != balance:
                detail = f"{fund}: {balance}, guard row {guard}"
                report.add(SERVICE, "balances", "not what the guard row says", detail)
        for fund, total in totals.items():
            if total:
                report.add(SERVICE, "balances", "do not sum to zero", f"{fund}: {total} fen")

    async def _compare_outbox(self, snapshot: Snapshot, report: Report) -> dict[str, str]:
        """The outbox's chain, and the hash of each stream's last row."""
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
        return {stream: head.hash for stream, head in check.heads().items()}

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
