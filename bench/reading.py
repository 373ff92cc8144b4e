"""What the benches that read have in common: the same parses for the limit, the same answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from bench.report import Result
from bench.rounds import COLUMNS, Rates

OURS, LIMIT, ROWS = "ours", "limit", "rows"
STREAM_FACTS: Final = 100


def parsed(rows: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Envelope and data as dicts, of rows that begin with these two columns."""
    return [(orjson.loads(row[0]), orjson.loads(row[1])) for row in rows]


def result_of(name: str, title: str, rates: Rates, ours: str) -> Result:
    """``ours`` says what of the product was measured."""
    return Result(
        name,
        title,
        rates.figures() | {"to_rows": rates.ratio(OURS, ROWS)},
        {name: rates.ratio(OURS, LIMIT)},
        COLUMNS,
        [rates.row(arm, arm, LIMIT) for arm in rates.by_arm],
        (
            f"ours: {ours}, envelope and data as dicts",
            "limit: prepared SELECT, envelope and data parsed by orjson · rows: not parsed",
        ),
    )
