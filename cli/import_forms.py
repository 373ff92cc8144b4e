"""`bangfu import FILE`: enter a list of paper forms, each once, and report the rest."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from cli.forms.cells import BadCell
from cli.forms.files import Row, Table, Unreadable, opened
from cli.forms.households import (
    Headers,
    Household,
    blame,
    filled_rows,
    headers_of,
    households,
)
from cli.forms.preview import Preview
from cli.forms.report import Report
from cli.forms.sending import AT_A_TIME, REFUSED, Sender, SendingStopped
from cli.forms.template import write_template
from cli.paths import named, readable, writable
from cli.strict_json import printable
from cli.surroundings import Surroundings, refuse
from shared.settings import load_settings

SOME_BAD: Final = 1
SUFFIXES: Final = (".csv", ".xlsx")
LONGEST_NAME: Final = 300
_OFFICE: Final = re.compile(r"[!-.0-~]+/[!-.0-~]+")
MOST_WAITING: Final = 500
# Intake's words for a household that is there already: told, and no error.
ON_FILE: Final = frozenset(("form-entered-otherwise", "applicant-in-open-file"))


def import_forms(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="登记表 the list, CSV or XLSX")],
    template: Annotated[
        bool, typer.Option("--template", help="写出空白登记表到 FILE write an empty list to FILE")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="只检查，不录入 only check, enter nothing")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="报告 .csv 或 .xlsx report; 缺省 FILE.report.csv"),
    ] = None,
    office: Annotated[
        str | None,
        typer.Option(metavar="ORGANISATION/ROLE", help="任多个职务时 if you hold several offices"),
    ] = None,
) -> None:
    """从 CSV 或 XLSX 录入登记表，每表一次 enter registration forms, each once."""
    if template:
        _write_template(file)
        return
    told = _report_beside(file, report)
    if office is not None and not _OFFICE.fullmatch(office):
        refuse("--office: 须为 ORGANISATION/ROLE must be ORGANISATION/ROLE, e.g. union-1-1/handler")
    surroundings = load_settings(Surroundings)
    if not check:
        surroundings.need("intake_url", "token")
    try:
        with opened(file) as table:
            run = _prepared(table)
            run.preview = Preview(surroundings.clock.today()) if check else None
            sender = None if check else _sender(surroundings, office)
            with named("--report", told), Report(told) as lines:
                _run(run, lines, sender)
    except Unreadable as unreadable:
        refuse(f"FILE: {unreadable}: {printable(str(file), LONGEST_NAME)}")
    for line in _summary(run, lines, checked_only=check):
        typer.echo(line)
    if run.stopped:
        refuse(f"{run.stopped}；未完成，可再次运行，不会重复录入 not finished, run it again")
    if lines.bad_rows:
        raise typer.Exit(SOME_BAD)


def _report_beside(file: Path, report: Path | None) -> Path:
    """Where the report goes; ends with one line if it can't go there."""
    readable("FILE", file)
    told = report or file.with_name(f"{file.name}.report.csv")
    _check_suffix("--report", told)
    if _is_same(told, file):
        refuse("--report: 不能与 FILE 相同 must be another file than FILE")
    writable("--report", told)
    return told


def _check_suffix(argument: str, path: Path) -> None:
    if path.suffix.lower() not in SUFFIXES:
        refuse(f"{argument}: 应为 .csv 或 .xlsx must end in .csv or .xlsx")


def _write_template(path: Path) -> None:
    _check_suffix("FILE", path)
    with named("FILE", path):
        write_template(path)
    typer.echo(f"已写出空白登记表 an empty list: {printable(path.name, LONGEST_NAME)}")


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False


def _sender(surroundings: Surroundings, office: str | None) -> Sender:
    token = surroundings.token.get_secret_value()
    if not token.isascii() or not token.isprintable():
        refuse("BANGFU_TOKEN: 须为可见的 ASCII 字符 must be printable ASCII")
    try:
        sender = Sender(surroundings.intake_url, token, office)
    except ValueError:
        refuse("BANGFU_INTAKE_URL: 不是网址 is no address")
    try:
        sender.check()
    except SendingStopped as stopped:
        sender.close()
        refuse(f"{stopped}；未录入 nothing was entered")
    return sender


@dataclass
class Run:
    """One reading of a list, and how far it has come."""

    table: Table
    headers: Headers
    rows_in_all: int
    households: int = 0
    entered: int = 0
    on_file: int = 0
    sound: int = 0
    bad: int = 0
    stopped: str = ""
    # Instead of intake, if nothing is to be entered.
    preview: Preview | None = None
    # Read and not yet told of, in their order; the sound ones among them are to be sent.
    waiting: list[Household] = field(default_factory=list)


def _prepared(table: Table) -> Run:
    """Reads the list to its end once, so that a broken one is refused before anything goes in."""
    rows = filled_rows(table.rows())
    first = next(rows, None)
    if first is None:
        raise Unreadable("文件是空的 the file is empty")
    headers = headers_of(first[1])
    return Run(table, headers, sum(1 for _ in rows))


def _run(run: Run, report: Report, sender: Sender | None) -> None:
    """Each household of the list is entered or reported."""
    try:
        with _progress(run.rows_in_all) as advance:
            to_send = 0
            for household in households(_rows_after_headers(run), run.headers):
                run.households += 1
                if run.preview is not None and not household.lines:
                    run.preview.look(run.headers, household)
                run.waiting.append(household)
                to_send += not household.lines
                if to_send >= AT_A_TIME or len(run.waiting) >= MOST_WAITING:
                    advance(_settle(run, report, sender))
                    to_send = 0
            advance(_settle(run, report, sender))
    except SendingStopped as stopped:
        run.stopped = str(stopped)
    finally:
        if sender is not None:
            sender.close()


def _rows_after_headers(run: Run) -> Iterator[Row]:
    rows = filled_rows(run.table.rows())
    next(rows, None)
    return rows


def _settle(run: Run, report: Report, sender: Sender | None) -> int:
    """Send the sound ones of those that wait, and tell of all that did not go in, in order.

    How many rows that were: what the bar shows as done is done, and not only read.
    """
    sound = {each.first_row: each for each in run.waiting if not each.lines}
    run.sound += len(sound)
    answers = sender.send({row: h.body for row, h in sound.items()}) if sender and sound else {}
    for household in run.waiting:
        answer = answers.get(household.first_row)
        if answer is not None and answer["status"] < REFUSED:
            run.entered += bool(answer["body"]["entered"])
            run.on_file += not answer["body"]["entered"]
        elif household.stands_further_up or (
            answer is not None and _blame(run.headers, household, answer["body"])
        ):
            run.on_file += 1
        else:
            run.bad += bool(household.lines)
        for line in sorted(household.lines, key=lambda line: line.row):
            report.add(line)
    rows = sum(len(household.rows) for household in run.waiting)
    run.waiting.clear()
    return rows


def _blame(headers: Headers, household: Household, problem: Mapping[str, Any]) -> bool:
    """Lines for what intake answered; True if the household is on file already."""
    code = str(problem.get("type", "")).rpartition(":")[2]
    is_on_file = code in ON_FILE
    complaints = problem.get("errors") or [
        {
            "field": problem.get("field") or "",
            "reason": str(problem.get("title", "")),
            "reason_en": str(problem.get("title_en", "")),
            "code": code,
        }
    ]
    for each in complaints:
        zh, en = each["reason"], each["reason_en"]
        if is_on_file:
            zh, en = f"已在册，未重复录入：{zh}", f"on file already, nothing added: {en}"
        bad = BadCell(each["code"], zh, en)
        blame(headers, household, each["field"], bad, "note" if is_on_file else "error")
    return is_on_file


@contextmanager
def _progress(rows: int) -> Iterator[Any]:
    """A bar on a terminal's standard error; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _rows: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = ("行 rows", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=rows)
        yield lambda done: bar.advance(task, done)


def _summary(run: Run, report: Report, *, checked_only: bool) -> Iterator[str]:
    yield f"{run.households:,} 户 households, {run.rows_in_all:,} 行 rows"
    if checked_only:
        yield f"合格 sound: {run.sound:,}（未录入 nothing was entered）"
        yield f"本表前面已有 further up in this list: {run.on_file:,}"
    else:
        yield f"新录入 entered: {run.entered:,}"
        yield f"已在册 on file already: {run.on_file:,}"
    rows = f"{len(report.bad_rows):,} 行 rows" if report.bad_rows else "0 行 rows"
    yield f"有误 not entered: {run.bad:,}（{rows}）"
    if checked_only:
        yield (
            "受理单位、职务及是否已在册，录入时方知 only a run asks intake whether organisation"
            " and office hold, and who is on file"
        )
    yield f"报告 report: {printable(str(report.path), LONGEST_NAME)}"
