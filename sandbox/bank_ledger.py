"""The sandbox bank's own books, in SQLite: what it received, what it did, what it has to report.

Everything about an instruction is stored in one transaction with the position in the topic, so
a restart pays nothing twice and forgets nothing. No name and no account number is kept here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

from sandbox.bank_instructions import GENESIS, Instruction
from sandbox.fate import Fate

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS positions (
    topic TEXT, partition INTEGER, generation TEXT NOT NULL, next_offset INTEGER NOT NULL,
    PRIMARY KEY (topic, partition));
CREATE TABLE IF NOT EXISTS heads (
    stream TEXT PRIMARY KEY, version INTEGER NOT NULL, hash TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS payments (
    end_to_end_id TEXT PRIMARY KEY, amount_fen INTEGER NOT NULL, currency TEXT NOT NULL,
    household INTEGER, received_on TEXT NOT NULL, execute_on TEXT NOT NULL,
    failure TEXT, tells INTEGER NOT NULL, copies INTEGER NOT NULL,
    state TEXT NOT NULL, bank_reference TEXT NOT NULL, credited_on TEXT);
CREATE INDEX IF NOT EXISTS payments_due ON payments (execute_on)
    WHERE state IN ('received', 'accepted');
CREATE INDEX IF NOT EXISTS payments_without_account ON payments (end_to_end_id)
    WHERE state = 'without_account';
CREATE TABLE IF NOT EXISTS reports (
    id INTEGER PRIMARY KEY, end_to_end_id TEXT NOT NULL, state TEXT NOT NULL,
    send_on TEXT NOT NULL, copies INTEGER NOT NULL, sent INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS reports_due ON reports (send_on) WHERE sent < copies;
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""
WITHOUT_ACCOUNT: Final = "without_account"
OPEN: Final = "state IN ('received', 'accepted')"


@dataclass(frozen=True)
class Order:
    """A new instruction, the household it pays and what is to become of it.

    Without a fate its account could not be had: it waits, and is neither paid nor refused.
    """

    instruction: Instruction
    household: int | None
    fate: Fate | None
    execute_on: date


@dataclass(frozen=True)
class Report:
    """One copy of a report that is due."""

    id: int
    copy: int
    body: dict[str, Any]


class Ledger:
    """The books of one bank, in its own folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(folder / "bank.sqlite", isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(SCHEMA)

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def write(self) -> Iterator[None]:
        """All or nothing."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    # The topic

    def positions(self, topic: str, generation: str) -> dict[int, int]:
        """Where to go on, by partition; a topic that was born anew begins at its beginning."""
        rows = self._db.execute(
            "SELECT partition, next_offset FROM positions WHERE topic = ? AND generation = ?",
            (topic, generation),
        )
        return {row["partition"]: row["next_offset"] for row in rows}

    def generation(self, topic: str) -> str:
        """The topic's generation as it was noted last."""
        found = self._db.execute(
            "SELECT max(generation) AS last FROM positions WHERE topic = ?", (topic,)
        ).fetchone()
        return str(found["last"] or "")

    def move(self, topic: str, partition: int, generation: str, next_offset: int) -> None:
        """Note how far a partition was taken in."""
        self._db.execute(
            "INSERT INTO positions VALUES (?, ?, ?, ?) ON CONFLICT (topic, partition) DO UPDATE"
            " SET generation = excluded.generation, next_offset = excluded.next_offset",
            (topic, partition, generation, next_offset),
        )

    def follows(self, instruction: Instruction) -> bool:
        """Whether the chain of its stream allows this record as the next one."""
        row = self._head(instruction.stream)
        expected = (row["version"] + 1, row["hash"]) if row else (1, GENESIS)
        return (instruction.version, instruction.previous_hash) == expected

    def repeats(self, instruction: Instruction) -> bool:
        """The same record again, also where the topic began anew."""
        row = self._head(instruction.stream)
        return row is not None and (row["version"], row["hash"]) == (
            instruction.version,
            instruction.hash,
        )

    def _head(self, stream: str) -> Any:
        return self._db.execute(
            "SELECT version, hash FROM heads WHERE stream = ?", (stream,)
        ).fetchone()

    def knows(self, end_to_end_id: str) -> bool:
        """Whether this payment was ordered before, by whatever record."""
        found = self._db.execute("SELECT 1 FROM payments WHERE end_to_end_id = ?", (end_to_end_id,))
        return found.fetchone() is not None

    # Payments

    def take(self, order: Order, today: date) -> None:
        """Enter a new order. What it is to do today is done by ``work``."""
        asked, fate = order.instruction, order.fate
        self._db.execute(
            "INSERT INTO heads VALUES (?, ?, ?) ON CONFLICT (stream) DO UPDATE"
            " SET version = excluded.version, hash = excluded.hash",
            (asked.stream, asked.version, asked.hash),
        )
        self._db.execute(
            "INSERT INTO payments VALUES (?, ?, ?, NULL, ?, ?, NULL, 0, 1, ?, ?, NULL)",
            (
                asked.end_to_end_id,
                asked.amount_fen,
                asked.currency,
                today.isoformat(),
                order.execute_on.isoformat(),
                WITHOUT_ACCOUNT,
                f"BANK-{asked.end_to_end_id[-12:].upper()}",
            ),
        )
        if fate is not None:
            execute_on = order.execute_on
            self.give_account(asked.end_to_end_id, order.household, fate, execute_on, today)

    def give_account(
        self,
        end_to_end_id: str,
        household: int | None,
        fate: Fate,
        execute_on: date,
        today: date,
    ) -> None:
        """The account of an order is known, once; now it may be carried out."""
        accepts = fate.manner in ("accepted_first", "silent_after_accepting")
        copies = 2 if fate.doubled else 1
        given = self._db.execute(
            "UPDATE payments SET household = ?, execute_on = ?, failure = ?, tells = ?, copies = ?,"
            " state = ? WHERE end_to_end_id = ? AND state = ?",
            (
                household,
                execute_on.isoformat(),
                fate.failure,
                fate.manner not in ("silent", "silent_after_accepting"),
                copies,
                "accepted" if accepts else "received",
                end_to_end_id,
                WITHOUT_ACCOUNT,
            ),
        )
        if accepts and given.rowcount:
            self._report(end_to_end_id, "accepted", today, copies)

    def without_account(self, limit: int, after: str = "") -> list[str]:
        """Orders whose accounts could not be had so far, by their ids; those after this one."""
        rows = self._db.execute(
            # Its state in the text, or the index of these few would not be used.
            "SELECT end_to_end_id FROM payments WHERE state = 'without_account'"
            " AND end_to_end_id > ? ORDER BY end_to_end_id LIMIT ?",
            (after, limit),
        )
        return [row["end_to_end_id"] for row in rows]

    def work(self, today: date) -> int:
        """Carry out what is due: credit or refuse, once, and note what is to be told."""
        due = self._db.execute(
            f"SELECT * FROM payments WHERE {OPEN} AND execute_on <= ?",  # noqa: S608 - a constant
            (today.isoformat(),),
        ).fetchall()
        for row in due:
            state = "failed" if row["failure"] else "confirmed"
            self._db.execute(
                "UPDATE payments SET state = ?, credited_on = ? WHERE end_to_end_id = ?",
                (state, today.isoformat() if state == "confirmed" else None, row["end_to_end_id"]),
            )
            if row["tells"]:
                self._report(row["end_to_end_id"], state, today, row["copies"])
        return len(due)

    def due_work(self, today: date) -> int:
        """How many payments are to be carried out by today."""
        found = self._db.execute(
            f"SELECT count(*) FROM payments WHERE {OPEN} AND execute_on <= ?",  # noqa: S608 - a constant
            (today.isoformat(),),
        )
        return int(found.fetchone()[0])

    def payment(self, end_to_end_id: str) -> dict[str, Any] | None:
        """How a payment stands, as a report says it; None if it was never taken on."""
        row = self._db.execute(
            "SELECT * FROM payments WHERE end_to_end_id = ?", (end_to_end_id,)
        ).fetchone()
        if row is None or row["state"] == WITHOUT_ACCOUNT:
            return None
        state = "accepted" if row["state"] == "received" else row["state"]
        return _said(row, state)

    # Reports

    def _report(self, end_to_end_id: str, state: str, send_on: date, copies: int) -> None:
        self._db.execute(
            "INSERT INTO reports (end_to_end_id, state, send_on, copies) VALUES (?, ?, ?, ?)",
            (end_to_end_id, state, send_on.isoformat(), copies),
        )

    def due_reports(self, today: date, limit: int) -> list[Report]:
        """Copies that are to be sent by today, the oldest first and one of each report."""
        rows = self._db.execute(
            "SELECT r.id, r.sent, r.state AS told, p.* FROM reports r"
            " JOIN payments p USING (end_to_end_id)"
            " WHERE r.sent < r.copies AND r.send_on <= ? ORDER BY r.id LIMIT ?",
            (today.isoformat(), limit),
        )
        return [Report(row["id"], row["sent"], _said(row, row["told"])) for row in rows]

    def due_report_count(self, today: date) -> int:
        """How many copies are to be sent by today."""
        found = self._db.execute(
            "SELECT coalesce(sum(copies - sent), 0) FROM reports"
            " WHERE sent < copies AND send_on <= ?",
            (today.isoformat(),),
        )
        return int(found.fetchone()[0])

    def sent(self, report: Report) -> None:
        """One copy was taken by payout."""
        self._db.execute("UPDATE reports SET sent = sent + 1 WHERE id = ?", (report.id,))

    # Figures

    def count(self, name: str, by: int = 1) -> None:
        """Count something that happened."""
        self._db.execute(
            "INSERT INTO counters VALUES (?, ?) ON CONFLICT (name) DO UPDATE"
            " SET value = value + excluded.value",
            (name, by),
        )

    def counters(self) -> dict[str, int]:
        return {row["name"]: row["value"] for row in self._db.execute("SELECT * FROM counters")}

    def credits(self) -> Sequence[dict[str, Any]]:
        """Every payment that was credited, once each."""
        rows = self._db.execute(
            "SELECT end_to_end_id, amount_fen, currency, credited_on, bank_reference, household"
            " FROM payments WHERE state = 'confirmed' ORDER BY end_to_end_id"
        )
        return [dict(row) for row in rows]

    def by_state(self) -> dict[str, int]:
        rows = self._db.execute("SELECT state, count(*) AS n FROM payments GROUP BY state")
        return {row["state"]: row["n"] for row in rows}


def _said(row: sqlite3.Row, state: str) -> dict[str, Any]:
    """A report's body."""
    return {
        "end_to_end_id": row["end_to_end_id"],
        "state": state,
        "bank_reference": row["bank_reference"],
        "reason": row["failure"] if state == "failed" else None,
        "credited_on": row["credited_on"] if state == "confirmed" else None,
    }
