"""From the rows of a list to one application for each household, or to what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from cli.forms.cells import BadCell, Cell, class_of, is_blank
from cli.forms.columns import (
    ASSETS,
    BY_HEADER,
    COLUMNS,
    INCOMES,
    NUMBER,
    OF_HOUSEHOLD,
    OF_MEMBER,
    RELATION,
    Column,
    plain_header,
)
from cli.forms.files import Row, Unreadable
from cli.forms.report import Level, Line
from services.intake.bodies import FormBody
from services.intake.decisions.readings import MONTHS
from shared.complaints import complaint

COMMENT: Final = "#"
MOST_MEMBERS: Final = 50
WHOLE_ROW: Final = "—"


@dataclass(frozen=True)
class Headers:
    """Where each known column stands."""

    places: Mapping[str, int]

    def cell(self, cells: Sequence[Cell], column: Column) -> Cell:
        place = self.places.get(column.name)
        return cells[place] if place is not None and place < len(cells) else None

    def title(self, column: Column | None) -> str:
        """How a report names a column: by its letters and its header."""
        if column is None or column.name not in self.places:
            return WHOLE_ROW if column is None else column.name
        return f"{letters(self.places[column.name])} {column.name}"


def headers_of(cells: Sequence[Cell]) -> Headers:
    """The columns of a list. Raises Unreadable with all that is wrong with them at once.

    An unknown header is told by its place: in a list without headers it is somebody's name.
    """
    places: dict[str, int] = {}
    unknown, twice = [], []
    for place, cell in enumerate(cells):
        if is_blank(cell):
            continue
        column = BY_HEADER.get(plain_header(cell))
        if column is None:
            unknown.append(letters(place))
        elif column.name in places:
            twice.append(column.name)
        places.setdefault(column.name if column else f"?{place}", place)
    missing = [c.name for c in COLUMNS if c.needed and c.name not in places]
    wrong = [
        f"{what} {', '.join(names)}"
        for what, names in (
            ("缺少列 missing columns:", missing),
            ("表头不认识 unknown headers in columns:", unknown),
            ("表头重复 headers twice:", twice),
        )
        if names
    ]
    if wrong:
        raise Unreadable("；".join(wrong))
    return Headers(places)


def letters(place: int) -> str:
    """The name of a column in a spreadsheet, from its place: A, B, … AA."""
    name, place = "", place + 1
    while place:
        place, rest = divmod(place - 1, 26)
        name = chr(ord("A") + rest) + name
    return name


@dataclass
class Household:
    """The rows of one household, and what was made of them."""

    rows: list[Row]
    body: dict[str, Any] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    # A repetition of a form of this list: no error, and nothing to enter.
    stands_further_up: bool = False
    # Which cell each field of the body came from.
    origins: dict[str, tuple[Row, Column]] = field(default_factory=dict)

    @property
    def first_row(self) -> int:
        return self.rows[0][0]


def filled_rows(rows: Iterable[Row]) -> Iterator[Row]:
    """Rows that say something: neither empty nor a remark."""
    for number, cells in rows:
        first = next((cell for cell in cells if not is_blank(cell)), None)
        if first is not None and not (
            isinstance(first, str) and first.lstrip().startswith(COMMENT)
        ):
            yield number, cells


def households(rows: Iterable[Row], headers: Headers) -> Iterator[Household]:
    """Rows with one household number stand together; where it is empty the last one goes on."""
    reader = Grouping(headers)
    for row in rows:
        finished = reader.take(row)
        if finished is not None:
            yield finished
    last = reader.finish()
    if last is not None:
        yield last


class Grouping:
    """Gathers rows until a household is whole."""

    def __init__(self, headers: Headers) -> None:
        self._headers = headers
        self._current: Household | None = None
        self._number = ""
        self._seen: set[str] = set()

    def take(self, row: Row) -> Household | None:
        """One more row; the household before it, if it begins another one."""
        cell = self._headers.cell(row[1], NUMBER)
        try:
            number = self._number if is_blank(cell) else str(NUMBER.read(cell))
        except BadCell as wrong:
            return self._begin(row, "", _line(self._headers, row, NUMBER, wrong))
        current = self._current
        if current is not None and number == self._number:
            if len(current.rows) < MOST_MEMBERS:
                current.rows.append(row)
            elif not current.lines:
                bad = BadCell("household_too_large", "家庭成员过多", "too many members")
                current.lines.append(_line(self._headers, row, None, bad))
            return None
        if not number:
            bad = BadCell("number_missing", "缺少家庭编号", "the household number is missing")
            return self._begin(row, "", _line(self._headers, row, NUMBER, bad))
        if number in self._seen:
            bad = BadCell(
                "number_again",
                "该家庭编号在前面已出现，同户各行须相连",
                "the number stands further up: the rows of a household stand together",
            )
            return self._begin(row, number, _line(self._headers, row, NUMBER, bad))
        self._seen.add(number)
        return self._begin(row, number)

    def _begin(self, row: Row, number: str, *lines: Line) -> Household | None:
        finished = self.finish()
        self._current, self._number = Household([row], lines=list(lines)), number
        return finished

    def finish(self) -> Household | None:
        """The household at hand, read."""
        finished, self._current = self._current, None
        if finished is not None:
            _Reading(self._headers, finished).read()
        return finished


def _line(
    headers: Headers, row: Row, column: Column | None, bad: BadCell, level: Level = "error"
) -> Line:
    shown = class_of(headers.cell(row[1], column)) if column else WHOLE_ROW
    return Line(row[0], headers.title(column), shown, bad.zh, bad.en, bad.code, level)


class _Reading:
    """Reads the rows of one household into the body of its application."""

    def __init__(self, headers: Headers, household: Household) -> None:
        self._headers = headers
        self._of = household

    def read(self) -> None:
        """Fills in the body, or lines that say why there is none."""
        first = self._of.rows[0]
        told = {c.path: self._cell(first, c, c.path) for c in OF_HOUSEHOLD}
        people = [
            {c.path: self._cell(row, c, f"members[{index}].{c.path}") for c in OF_MEMBER}
            for index, row in enumerate(self._of.rows)
        ]
        for index, row in enumerate(self._of.rows):
            # A complaint about a member as such is about who they are.
            self._of.origins[f"members[{index}]"] = (row, _COLUMN["id_number"])
        self._repeated_values()
        self._check_household(told, people)
        if self._of.lines:
            self._name_the_others()
            return
        self._of.body = _body(told, people)
        payee = self._of.body.get("payee", {}).get("member")
        for path in ("payee.kind", "payee.account", "payee.holder_name"):
            if payee is not None:
                self._of.origins[path] = self._of.origins[f"members[{payee}].{path}"]
        try:
            FormBody.model_validate(self._of.body)
        except ValidationError as error:
            for item in error.errors(include_url=False):
                said = complaint({**item, "loc": ("body", *item["loc"])})
                self.blame(said["field"], said["code"], said["reason"], said["reason_en"])
            self._name_the_others()

    def _cell(self, row: Row, column: Column, path: str) -> Any:
        """What a cell says; None if it is empty or wrong."""
        self._of.origins[path] = (row, column)
        cell = self._headers.cell(row[1], column)
        if is_blank(cell):
            if column.needed:
                self._wrong(row, column, BadCell("missing", "缺少必填项", "it must be filled in"))
            return None
        try:
            return column.read(cell)
        except BadCell as bad:
            self._wrong(row, column, bad)
            return None

    def _wrong(self, row: Row, column: Column | None, bad: BadCell) -> None:
        self._of.lines.append(_line(self._headers, row, column, bad))

    def _repeated_values(self) -> None:
        """What is said of the household in a member's row must be what the first row says."""
        first = self._of.rows[0][1]
        for row in self._of.rows[1:]:
            for column in OF_HOUSEHOLD:
                cell = self._headers.cell(row[1], column)
                if not is_blank(cell) and cell != self._headers.cell(first, column):
                    bad = BadCell(
                        "differs_from_first_row",
                        "家庭信息与本户第一行不一致",
                        "the household's first row says something else",
                    )
                    self._wrong(row, column, bad)

    def _check_household(
        self, told: Mapping[str, Any], people: Sequence[Mapping[str, Any]]
    ) -> None:
        rows = self._of.rows
        applicants = [r for r, p in zip(rows, people, strict=True) if p["relation"] == "applicant"]
        if len(applicants) != 1 and all(p["relation"] for p in people):
            bad = BadCell(
                "applicant_unclear",
                "每户应有且只有一名“本人”",
                "a household has one applicant (本人)",
            )
            self._wrong(applicants[1] if applicants else rows[0], RELATION, bad)
        self._check_persons(people)
        payees = [r for r, p in zip(rows, people, strict=True) if p["payee.account"] is not None]
        if len(payees) > 1:
            bad = BadCell("payee_twice", "每户只填一个收款账号", "a household has one account")
            self._wrong(payees[1], _COLUMN["payee.account"], bad)
        for row, person in zip(rows, people, strict=True):
            if (person["payee.account"] is None) != (person["payee.kind"] is None):
                self._half(row, "payee.kind", "payee.account", person)
        if told["incident.kind"] is None:
            for path in ("incident.occurred_on", "incident.description", "incident.loss_fen"):
                if told[path] is not None:
                    self._half(rows[0], "incident.kind", path, told)
        elif told["incident.occurred_on"] is None:
            self._half(rows[0], "incident.occurred_on", "incident.kind", told)
        if told["consents.processing"] is False:
            bad = BadCell(
                "consent_to_processing_missing",
                "未取得个人信息处理同意，不予录入",
                "without consent to processing nothing may be kept",
            )
            self._wrong(rows[0], _COLUMN["consents.processing"], bad)

    def _check_persons(self, people: Sequence[Mapping[str, Any]]) -> None:
        seen: set[str] = set()
        for row, person in zip(self._of.rows, people, strict=True):
            number = person["id_number"]
            if number is not None and number in seen:
                bad = BadCell("person_twice", "同一人在本户出现两次", "a person stands in it twice")
                self._wrong(row, _COLUMN["id_number"], bad)
            seen.add(number)

    def _half(self, row: Row, one: str, other: str, told: Mapping[str, Any]) -> None:
        """Two cells that only make sense together; complains of the empty one, once."""
        column = _COLUMN[one if told[one] is None else other]
        cell = self._headers.cell(row[1], column)
        if is_blank(cell):
            self._wrong(row, column, BadCell("missing", "缺少必填项", "it must be filled in"))

    def blame(self, path: str, code: str, zh: str, en: str, level: Level = "error") -> None:
        """A line about the cell that a field came from."""
        blame(self._headers, self._of, path, BadCell(code, zh, en), level)

    def _name_the_others(self) -> None:
        """A household goes in whole or not at all: its first row says so if nothing else does."""
        told = {line.row for line in self._of.lines}
        if self._of.first_row not in told:
            bad = BadCell(
                "household_left_out",
                f"本户第 {min(told)} 行有误，整户未录入",
                f"not entered: row {min(told)} of this household is wrong",
            )
            self._of.lines.append(_line(self._headers, self._of.rows[0], None, bad))


def blame(
    headers: Headers, household: Household, path: str, bad: BadCell, level: Level = "error"
) -> None:
    """Add a line about the cell that a field came from; about the first row if none fits."""
    row, column = household.rows[0], None
    bare = path.removeprefix("$.")
    while bare:
        if bare in household.origins:
            row, column = household.origins[bare]
            break
        cut = max(bare.rfind("."), bare.rfind("["))
        bare = bare[:cut] if cut > 0 else ""
    household.lines.append(_line(headers, row, column, bad, level))


_COLUMN: Final = {column.path: column for column in COLUMNS}


def _body(told: Mapping[str, Any], people: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The application; the same for the same cells, whatever file they stand in."""
    body: dict[str, Any] = {
        "channel": told["channel"] or "paper",
        "organisation_id": told["organisation_id"],
        "without_employer": told["without_employer"],
        "applied_on": told["applied_on"],
        "residence": told["residence"],
        "address": told["address"],
        "phone": told["phone"],
        "members": [_member(person) for person in people],
        "incomes": [
            {"member": index, "kind": kind, "months_fen": _months(person[kind])}
            for index, person in enumerate(people)
            for kind in INCOMES.values()
            if person[kind] is not None
        ],
        "assets": [
            {"kind": kind, "value_fen": told[kind]}
            for kind in ASSETS.values()
            if told[kind] is not None
        ],
        "causes": told["causes"] or [],
        "programmes": told["programmes"] or [],
        "relief": told["relief"],
        "consents": [
            purpose for purpose in ("processing", "publication") if told[f"consents.{purpose}"]
        ],
    }
    if told["incident.kind"] is not None:
        names = ("kind", "occurred_on", "description", "loss_fen")
        body["incident"] = {name: told[f"incident.{name}"] for name in names}
    for index, person in enumerate(people):
        if person["payee.account"] is not None:
            body["payee"] = {
                "member": index,
                "kind": person["payee.kind"],
                "account": person["payee.account"],
                "holder_name": person["payee.holder_name"] or person["name"],
            }
    return body


def _member(person: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "relation": person["relation"],
        "name": person["name"],
        "id_number": person["id_number"],
        "school": person["school"],
        "worker": bool(person["worker"]),
    }


def _months(total_fen: int) -> list[int]:
    """A list says what came in over twelve months; it is entered evenly, the odd fen first."""
    month = total_fen // MONTHS
    return [total_fen - (MONTHS - 1) * month] + [month] * (MONTHS - 1)
