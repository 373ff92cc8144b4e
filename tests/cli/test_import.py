"""`bangfu import` against a running intake: each form once, whatever happens on the way."""

import asyncio
import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from openpyxl import load_workbook

from deploy.infrastructure import Infrastructure
from sandbox.world import CITY
from tests.cli.forms import (
    HEADERS,
    applicant,
    child,
    household,
    read_report,
    table,
    write_csv,
    write_xlsx,
)
from tests.services.intake.running import (
    HANDLER,
    OPENING,
    SECOND_HANDLER,
    STATION,
    Intake,
    application,
    card,
    id_number,
    running_intake,
    submission,
)
from tests.services.serving import refusal

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 300


@pytest.fixture(scope="module")
def intake(
    infrastructure: Infrastructure, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Intake]:
    with running_intake(infrastructure, tmp_path_factory.mktemp("import")) as rooms:
        asyncio.run(_seat_second_handler(rooms))
        yield rooms


async def _seat_second_handler(rooms: Intake) -> None:
    async with rooms.client() as client:
        body = {"person": SECOND_HANDLER, "role": "handler"}
        path = "/organisations/union-1-1/offices"
        await client.post(f"{CITY}.network_keeper", "network", path, body)


async def _asked(rooms: Intake, who: str) -> tuple[str, list[dict[str, Any]]]:
    """A person's token, and the cases that are submitted."""
    rooms.go_to(OPENING.date())
    async with rooms.client() as client:
        found: list[dict[str, Any]] = []
        while True:
            after = found[-1]["key"] if found else ""
            page = (await client.get(HANDLER, "intake", "/cases", limit=1000, after=after))["items"]
            found += page
            if len(page) < 1000:
                return await client.token(who), found


def cases(rooms: Intake) -> list[dict[str, Any]]:
    return asyncio.run(_asked(rooms, HANDLER))[1]


def command(rooms: Intake, *arguments: str, who: str = HANDLER) -> dict[str, Any]:
    """How the command is started, as this person."""
    token, _ = asyncio.run(_asked(rooms, who))
    environment = {
        "PATH": os.environ["PATH"],
        "BANGFU_INTAKE_URL": rooms.installation.url("intake"),
        "BANGFU_TOKEN": token,
    }
    program = [sys.executable, "-m", "cli", "import", *arguments]
    return {"args": program, "cwd": ROOT, "env": environment}


def run(rooms: Intake, *arguments: str, who: str = HANDLER) -> subprocess.CompletedProcess[str]:
    started = command(rooms, *arguments, who=who)
    return subprocess.run(**started, capture_output=True, text=True, timeout=SECONDS, check=False)


def counts(done: subprocess.CompletedProcess[str]) -> list[int]:
    """Entered, on file, not entered: of the summary."""
    lines = done.stdout.splitlines()
    return [int(line.partition(": ")[2].partition("（")[0].replace(",", "")) for line in lines[1:4]]


def test_good_rows_go_in_bad_ones_are_reported_and_nothing_is_added_twice(
    intake: Intake, tmp_path: Path
) -> None:
    """A second run, the same as a workbook, in another order, by somebody else: still once each."""
    records = [
        *household(1),
        *household(2, 政府救助情况="不知道"),
        *household(3),
        applicant(4, 受理单位代码="station-9"),
        applicant(5, 身份证号="99999919800101005?"),
        applicant(6, 受理单位代码=id_number(6, "19560101")),
    ]
    file = write_csv(tmp_path / "名单.csv", table(records), "gb18030")
    before = len(cases(intake))
    done = run(intake, str(file))
    assert (done.returncode, done.stderr) == (1, "")
    assert counts(done) == [2, 0, 4]
    assert len(cases(intake)) == before + 2
    report = read_report(tmp_path / "名单.csv.report.csv")
    assert [(r["行 row"], r["列 column"], r["值的类别 class of value"], r["代码 code"])
            for r in report] == [
        ("4", "V 政府救助情况", "文本 text", "not_listed"),
        ("8", "J 受理单位代码", "文本 text", "wrong-office"),
        ("9", "D 身份证号", "文本 text", "id_number_wrong"),
        ("10", "J 受理单位代码", "数字文本 digits", "not_an_organisation_code"),
    ]  # fmt: skip
    text = (tmp_path / "名单.csv.report.csv").read_text("utf-8-sig")
    for value in ("欧阳", "不知道", "999999", "station-9", "样例路", "19900000001", card(2)):
        assert value not in text + done.stdout + done.stderr

    sound = [*household(1), *household(3)]
    again = [
        write_csv(tmp_path / "again.csv", table(sound)),
        write_csv(tmp_path / "order.csv", table(household(3) + household(1), HEADERS[::-1])),
        write_xlsx(tmp_path / "book.xlsx", table(sound)),
    ]
    for each in again:
        done = run(intake, str(each))
        assert (done.returncode, counts(done)) == (0, [0, 2, 0]), done
    done = run(intake, str(again[0]), who=SECOND_HANDLER)
    assert (done.returncode, counts(done)) == (0, [0, 2, 0]), done
    assert len(cases(intake)) == before + 2


def test_the_same_form_in_another_dress_is_the_same_form(intake: Intake, tmp_path: Path) -> None:
    """Dates and amounts as the spreadsheet keeps them, full width, blanks, merged cells."""
    plain = write_csv(tmp_path / "plain.csv", table(household(11)))
    assert counts(run(intake, str(plain))) == [1, 0, 0]
    number = id_number(11, "19500101")
    dressed = applicant(
        11,
        家庭编号=11,
        身份证号=f"  {number[:6]} {number[6:14]}-{number[14:].lower()}",
        申请日期=OPENING.replace(day=1, hour=0, tzinfo=None),
        联系电话=19900000001,
        致困原因=" 患病，子女上学　",
        居住地代码="９９０８０２",
    )
    dressed["工资收入（元）"] = 6000.5
    dressed["存款（元）"] = 300
    rows = table([dressed, {**child(11), "家庭编号": None}, {}])
    book = write_xlsx(tmp_path / "dressed.xlsx", rows)
    done = run(intake, str(book))
    assert (done.returncode, counts(done)) == (0, [0, 1, 0]), done


def test_a_form_that_was_changed_after_it_went_in_is_on_file_and_stays_as_it_is(
    intake: Intake, tmp_path: Path
) -> None:
    """By whoever it comes; and so does a household whose file is open, under another day."""
    before = len(cases(intake))
    first = write_csv(tmp_path / "first.csv", table(household(21)))
    assert counts(run(intake, str(first))) == [1, 0, 0]
    changed = write_csv(tmp_path / "changed.csv", table(household(21, 家庭住址="样例路一百号")))
    for who in (HANDLER, SECOND_HANDLER):
        done = run(intake, str(changed), who=who)
        assert (done.returncode, counts(done)) == (0, [0, 1, 0]), done
        [line] = read_report(tmp_path / "changed.csv.report.csv")
        assert (line["级别 level"], line["代码 code"]) == ("提示 note", "form-entered-otherwise")
    assert len(cases(intake)) == before + 1


def test_a_household_with_an_open_file_is_on_file_on_any_day(
    intake: Intake, tmp_path: Path
) -> None:
    """But not the household that counts one of its members: a person has to look at that one."""
    asyncio.run(_accepted(intake, 31))
    before = len(cases(intake))
    listed = [applicant(31), applicant(32), child(32, 身份证号=id_number(31, "20120202"))]
    file = write_csv(tmp_path / "open.csv", table(listed))
    done = run(intake, str(file))
    assert (done.returncode, counts(done)) == (1, [0, 1, 1]), done
    assert [
        (r["级别 level"], r["行 row"], r["代码 code"])
        for r in read_report(tmp_path / "open.csv.report.csv")
    ] == [
        ("提示 note", "2", "applicant-in-open-file"),
        ("错误 error", "4", "member-in-open-file"),
    ]
    assert len(cases(intake)) == before


def test_a_household_of_the_window_and_of_a_list_has_one_file(
    intake: Intake, tmp_path: Path
) -> None:
    """Two applications, of which the station accepts one; it is told why not the other."""
    file = write_csv(tmp_path / "both.csv", table([applicant(33)]))
    at_window = asyncio.run(_submitted(intake, 33))
    known = {case["case_id"] for case in cases(intake)}
    assert counts(run(intake, str(file))) == [1, 0, 0]
    [from_list] = {case["case_id"] for case in cases(intake)} - known
    asyncio.run(_one_is_accepted(intake, at_window, from_list))
    done = run(intake, str(file))
    assert (done.returncode, counts(done)) == (0, [0, 1, 0]), done


async def _submitted(rooms: Intake, serial: int) -> str:
    """The case of a household that came to the window."""
    rooms.go_to(OPENING.date())
    body = submission(serial)
    body["members"][0]["id_number"] = applicant(serial)["身份证号"]
    async with rooms.client() as client:
        return str((await client.post(HANDLER, "intake", "/cases", body))["subject"])


async def _accepted(rooms: Intake, serial: int) -> None:
    case = await _submitted(rooms, serial)
    async with rooms.client() as client:
        await client.post(STATION, "intake", f"/cases/{case}/accept", {"fund": "sample-city"})


async def _one_is_accepted(rooms: Intake, one: str, other: str) -> None:
    """The other is returned for that beside what it lacks, and once complete it is refused."""
    async with rooms.client() as client:
        await client.post(STATION, "intake", f"/cases/{one}/accept", {"fund": "sample-city"})
        await client.post(STATION, "intake", f"/cases/{other}/return", {"defects": []})
        returned = (await client.get(HANDLER, "intake", f"/cases/{other}"))["case"]
        told = {(defect["code"], defect["field"]) for defect in returned["defects"]}
        assert told > {("member_in_open_file", "members[0]")}
        body = application(33)
        body["members"][0]["id_number"] = applicant(33)["身份证号"]
        await client.post(HANDLER, "intake", f"/cases/{other}/resubmit", body)
        accepting = client.post(
            STATION, "intake", f"/cases/{other}/accept", {"fund": "sample-city"}
        )
        assert await refusal(accepting) == (409, "member-in-open-file")


def _entered(log: psycopg.Connection) -> int:
    found = log.execute("SELECT count(*) FROM intake.facts WHERE version = 1").fetchone()
    return int(found[0]) if found else 0


def test_a_run_that_is_killed_is_run_again_and_adds_nothing_twice(
    intake: Intake, tmp_path: Path
) -> None:
    """kill -9 in the middle, twice, at whatever moment that meets."""
    households = 150
    before = len(cases(intake))
    rows = table(r for n in range(households) for r in household(2000 + n))
    file = write_csv(tmp_path / "long.csv", rows)
    # Looked for in the log itself: a look over HTTP takes as long as many forms.
    with psycopg.connect(intake.installation.infrastructure.postgres_url, autocommit=True) as log:
        for part in (20, 70):
            started = command(intake, str(file))
            with subprocess.Popen(**started, stdout=subprocess.DEVNULL) as process:
                deadline = time.monotonic() + SECONDS
                while _entered(log) < before + part:
                    assert process.poll() is None
                    assert time.monotonic() < deadline
                    time.sleep(0.005)
                process.send_signal(signal.SIGKILL)
            assert not (tmp_path / "long.csv.report.csv").exists()
    entered = len(cases(intake)) - before
    assert entered < households, "it was killed too late to show anything"
    done = run(intake, str(file))
    assert (done.returncode, done.stderr) == (0, "")
    assert counts(done)[2] == 0
    assert sum(counts(done)) == households
    assert counts(done)[1] >= entered
    # Nobody is "on file" for another reason than that their own form went in before.
    assert read_report(tmp_path / "long.csv.report.csv") == []
    assert len(cases(intake)) == before + households


def test_two_people_at_once_enter_each_form_once(intake: Intake, tmp_path: Path) -> None:
    households = 30
    before = len(cases(intake))
    rows = table(r for n in range(households) for r in household(3000 + n))
    files = [write_csv(tmp_path / f"{name}.csv", rows) for name in ("one", "other")]
    started = [
        subprocess.Popen(**command(intake, str(file), who=who), stdout=subprocess.PIPE, text=True)
        for file, who in zip(files, (HANDLER, SECOND_HANDLER), strict=True)
    ]
    done = [
        subprocess.CompletedProcess(p.args, p.returncode, out, "")
        for p in started
        for out in [p.communicate(timeout=SECONDS)[0]]
    ]
    entered = [counts(each) for each in done]
    assert sum(each[0] for each in entered) == households
    assert [sum(each) for each in entered] == [households, households]
    assert len(cases(intake)) == before + households


def test_who_may_not_enter_is_told_in_one_line(intake: Intake, tmp_path: Path) -> None:
    file = write_csv(tmp_path / "list.csv", table(household(41)))
    started = command(intake, str(file))
    for changes, word in (
        ({"BANGFU_TOKEN": "x"}, "401"),
        ({"BANGFU_TOKEN": ""}, "BANGFU_TOKEN"),
        ({"BANGFU_INTAKE_URL": ""}, "BANGFU_INTAKE_URL"),
    ):
        given = {**started, "env": {**started["env"], **changes}}
        done = subprocess.run(**given, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert word in done.stderr
    other = command(intake, str(file), who="union-1-1.visitor")
    done = subprocess.run(**other, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 1
    assert read_report(tmp_path / "list.csv.report.csv")[0]["代码 code"] == "wrong-office"


def test_what_can_not_take_the_list_is_told_before_a_row_is_read(
    intake: Intake, tmp_path: Path
) -> None:
    """Another service's address, a stranger's, an office that is none: one line, and no report."""
    file = write_csv(tmp_path / "list.csv", table(household(43)))
    before = len(cases(intake))
    started = command(intake, str(file))
    url = "BANGFU_INTAKE_URL"
    for changes, office, word in (
        ({url: intake.installation.url("network")}, [], url),
        ({url: intake.installation.url("issuer")}, [], url),
        ({}, ["--office", "nonsense"], "--office"),
        ({}, ["--office", "union-1-1/nobody"], "--office"),
    ):
        given = {**started, "args": [*started["args"], *office]}
        given["env"] = {**started["env"], **changes}
        done = subprocess.run(**given, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert (done.returncode, done.stdout) == (2, ""), done
        assert len(done.stderr.splitlines()) == 1
        assert word in done.stderr
    assert not (tmp_path / "list.csv.report.csv").exists()
    assert len(cases(intake)) == before


def test_a_report_may_be_a_workbook(intake: Intake, tmp_path: Path) -> None:
    file = write_csv(tmp_path / "list.csv", table(household(42, 同意信息处理="=1+1")))
    done = run(intake, str(file), "--report", str(tmp_path / "told.xlsx"))
    assert done.returncode == 1
    rows = list(load_workbook(tmp_path / "told.xlsx").worksheets[0].iter_rows(values_only=True))
    assert rows[1][0] == 2
    assert not any(str(cell).startswith("=") for row in rows for cell in row)
    with file.open(encoding="utf-8") as text:
        assert "=1+1" in str(list(csv.reader(text)))
