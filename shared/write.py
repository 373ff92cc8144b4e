"""What one transaction stores, filled by whoever decides, and the arguments it becomes.

One write carries guard rows, scopes, read models, the service's own rows, the command's key or
the watermarks, and the facts. Nothing here does any I/O; ``shared.event_store`` stores it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from shared.fact import Recorded, canonical
from shared.room import Condition, ReferenceRow, View

# The parts of a write that the database takes as they stand here.
_AS_THEY_ARE: Final = (
    "scopes",
    "view_streams",
    "views_gone",
    "own",
    "command",
    "offsets",
    "held",
    "unheld",
    "reheld",
)
# So many arrays of equal length carry the facts.
FACT_ARGUMENTS: Final = 9
# What a stream shows: a digest of each row by model and key.
Shown = dict[tuple[str, str], bytes]
DIGEST_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class TreeMove:
    """Reference rows of this write (by key) that move the tree, and what they bring along.

    ``rescopes`` are lists of organisations, a holder first and then those above it from now on:
    for all that it holds.
    """

    keys: frozenset[str]
    moved_on: date
    rescopes: Sequence[Sequence[str]]


@dataclass
class Write:
    """All that one transaction stores; filled by whoever decides, in any order."""

    facts: list[Recorded] = field(default_factory=list)
    guard_deltas: dict[str, int] = field(default_factory=dict)
    conditions: list[Condition] = field(default_factory=list)
    view_rows: list[dict[str, Any]] = field(default_factory=list)
    # Rows that this stream no longer shows; and streams of which it is not known what they showed,
    # so that all goes but what is written now.
    views_gone: list[dict[str, str]] = field(default_factory=list)
    view_streams: list[str] = field(default_factory=list)
    scopes_by_subject: dict[str, dict[str, Any]] = field(default_factory=dict)
    # How often the tree had moved when scopes were decided; None where nothing depends on it.
    tree: int | None = None
    move: TreeMove | None = None
    reference: list[ReferenceRow] = field(default_factory=list)
    own: list[dict[str, Any]] = field(default_factory=list)
    command: dict[str, Any] | None = None
    watermarks: list[dict[str, Any]] = field(default_factory=list)
    offsets: list[dict[str, Any]] = field(default_factory=list)
    held: list[dict[str, Any]] = field(default_factory=list)
    unheld: list[int] = field(default_factory=list)
    reheld: list[dict[str, Any]] = field(default_factory=list)

    def is_empty(self) -> bool:
        return not (
            self.facts
            or self.reference
            or self.watermarks
            or self.offsets
            or self.held
            or self.unheld
            or self.reheld
            or self.scopes_by_subject
            or self.own
        )

    def rest(self) -> str:
        """Everything but the facts, as the JSON object that ``write_facts`` takes."""
        parts: dict[str, Any] = {}
        guards = self._guards()
        if guards:
            parts["guards"] = guards
        if self.view_rows:
            parts["views"] = self.view_rows
        if self.reference:
            parts["reference"] = [
                {
                    "kind": r.kind,
                    "key": r.key,
                    "document": canonical(r.document).decode(),
                    "moves": self.move is not None and r.key in self.move.keys,
                }
                for r in self.reference
            ]
        if self.move is not None:
            parts["moved_on"] = self.move.moved_on
            parts["rescopes"] = self.move.rescopes
        if self.tree is not None:
            parts["tree"] = self.tree
        for name in _AS_THEY_ARE:
            if getattr(self, name):
                parts[name] = getattr(self, name)
        if self.watermarks:
            parts["watermarks"] = self.watermarks
        return canonical(parts).decode()

    def show(self, stream: str, subject: str, views: Sequence[View], before: Shown | None) -> Shown:
        """What a stream shows from now on; only what differs from ``before`` is written.

        Without a ``before`` it is not known what the tables hold of the stream: then all of it is
        written, and whatever else is there goes.
        """
        shown: Shown = {}
        for view in views:
            row = _view_row(stream, subject, view)
            digest = shown[view.model, view.key] = _digest(row)
            if before is None or before.get((view.model, view.key)) != digest:
                self.view_rows.append(row)
        if before is None:
            self.view_streams.append(stream)
        else:
            self.views_gone += [
                {"stream": stream, "model": model, "key": key}
                for model, key in before
                if (model, key) not in shown
            ]
        return shown

    def scope(self, subject: str, organisations: Sequence[str], today: date) -> None:
        """Who sees the subject from today on: its holder first, then those above it.

        Once a subject: what moved twice within one write has moved to its last holder.
        """
        self.scopes_by_subject[subject] = {
            "subject": subject,
            "from_day": today,
            "organisations": list(organisations),
        }

    def rows_of(self, model: str) -> list[dict[str, Any]]:
        """The rows of one read model that are new or differ from what was shown before."""
        return [row for row in self.view_rows if row["model"] == model]

    @property
    def scopes(self) -> list[dict[str, Any]]:
        """One row a subject, sorted, as the database takes them."""
        return [row for _, row in sorted(self.scopes_by_subject.items())]

    def demand(self, condition: Condition, before: int, after: int) -> None:
        """Keep a condition as one on the row as it is now in the database.

        It was made for a row to which this write had added ``before``, and its bounds for the
        sum with ``after``; what the write adds in all is known only at its end.
        """
        minimum, maximum, expect = condition.minimum, condition.maximum, condition.expect
        self.conditions.append(
            Condition(
                condition.key,
                expect=None if expect is None else expect - before,
                minimum=None if minimum is None else minimum - after,
                maximum=None if maximum is None else maximum - after,
            )
        )

    def _guards(self) -> list[dict[str, Any]]:
        """One entry a key: the summed delta and the strictest of the conditions, on the result."""
        entries: dict[str, dict[str, Any]] = {
            key: {"key": key, "delta": delta} for key, delta in self.guard_deltas.items()
        }
        for condition in self.conditions:
            entry = entries.setdefault(condition.key, {"key": condition.key, "delta": 0})
            if condition.expect is not None:
                entry.setdefault("expect", condition.expect)
            if condition.minimum is not None:
                minimum = condition.minimum + entry["delta"]
                entry["minimum"] = max(minimum, entry.get("minimum", minimum))
            if condition.maximum is not None:
                maximum = condition.maximum + entry["delta"]
                entry["maximum"] = min(maximum, entry.get("maximum", maximum))
        return list(entries.values())

    def arguments(self) -> tuple[Any, ...]:
        # Sorted by stream, as all that a write locks: two batches then never wait in a circle.
        f = self.facts
        if len(f) > 1:
            f = sorted(f, key=lambda r: (r.attributes["stream"], r.version))
        if not f:
            return (self.rest(), *([] for _ in range(FACT_ARGUMENTS)))
        return (self.rest(), *zip(*map(_columns, f), strict=True))


def _columns(fact: Recorded) -> tuple[Any, ...]:
    a = fact.attributes
    return (
        a["stream"],
        fact.version,
        a["id"],
        a["type"],
        a["subject"],
        fact.envelope,
        fact.text,
        fact.hash,
        fact.traceparent,
    )


def _view_row(stream: str, subject: str, view: View) -> dict[str, Any]:
    return {
        "model": view.model,
        "key": view.key,
        "stream": stream,
        "subject": subject,
        "organisation": view.organisation,
        "role": view.role,
        "status": view.status,
        "due_on": view.due_on,
        "document": canonical(view.document).decode(),
    }


def _digest(row: Mapping[str, Any]) -> bytes:
    return hashlib.blake2b(
        "\x1f".join(map(str, row.values())).encode(), digest_size=DIGEST_BYTES
    ).digest()
