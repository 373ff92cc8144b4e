"""What is told about each row that did not go in: where, what class of value, why; never a value.

All text is our own and none of it begins like a formula, so a report opens harmlessly anywhere.
"""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal

HEADERS: Final = (
    "行 row",
    "列 column",
    "值的类别 class of value",
    "级别 level",
    "原因",
    "reason",
    "代码 code",
)
LEVELS: Final = {"error": "错误 error", "note": "提示 note"}

Level = Literal["error", "note"]


@dataclass(frozen=True)
class Line:
    """One thing about one cell; ``row`` is the row's number in the file, the headers are 1."""

    row: int
    column: str
    value_class: str
    zh: str
    en: str
    code: str
    level: Level = "error"

    def cells(self) -> list[Any]:
        return [
            self.row,
            self.column,
            self.value_class,
            LEVELS[self.level],
            self.zh,
            self.en,
            self.code,
        ]


class Report:
    """A file of lines, which has its name only once it is complete.

    CSV or, by its suffix, XLSX. Raises OSError where it can't be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bad_rows: set[int] = set()
        self.lines: Counter[Level] = Counter()
        self._partial = path.with_name(f".{path.name}.partial")

    def __enter__(self) -> Report:
        self._file = self._partial.open("w", encoding="utf-8-sig", newline="")
        self._writer = csv.writer(self._file)
        self._writer.writerow(HEADERS)
        return self

    def add(self, line: Line) -> None:
        self.lines[line.level] += 1
        if line.level == "error":
            self.bad_rows.add(line.row)
        self._writer.writerow(line.cells())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        if kind is not None:
            self._partial.unlink(missing_ok=True)
            return
        if self.path.suffix.lower() == ".xlsx":
            self._as_workbook()
        self._partial.replace(self.path)

    def _as_workbook(self) -> None:
        from openpyxl import Workbook

        book = Workbook(write_only=True)
        sheet = book.create_sheet("报告 report")
        with self._partial.open(encoding="utf-8-sig", newline="") as lines:
            for index, record in enumerate(csv.reader(lines)):
                row: list[Any] = list(record)
                sheet.append([int(row[0]), *row[1:]] if index else row)
        book.save(self._partial)
