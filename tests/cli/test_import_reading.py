"""What `bangfu import` reads of a list and what it says of the rest, without any server."""

import subprocess
import sys
import zipfile
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import Workbook, load_workbook
from typer.testing import CliRunner

from cli.__main__ import app
from cli.forms import cells
from cli.forms.cells import BadCell, class_of
from cli.forms.columns import COLUMNS
from cli.forms.files import MOST_ROWS, Unreadable, opened
from cli.forms.households import Household, filled_rows, headers_of, households
from shared.clock import BUSINESS_ZONE
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
from tests.services.intake.running import card, id_number

# As a spreadsheet keeps a day: a moment of no zone.
MIDNIGHT = datetime(2025, 3, 1)  # noqa: DTZ001 - as it says
ROOT = Path(__file__).resolve().parents[2]


def read(path: Path) -> list[Household]:
    with opened(path) as found:
        rows = filled_rows(found.rows())
        headers = headers_of(next(rows)[1])
        return list(households(rows, headers))


def check(path: Path, *arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["import", "--check", str(path), *arguments])
    return done.exit_code, done.stdout, done.stderr


def codes(found: Household) -> list[tuple[int, str, str]]:
    return [(line.row, line.column, line.code) for line in found.lines]


# What a cell means


@pytest.mark.parametrize(
    ("reader", "cell", "expected"),
    [
        (cells.day, "2025-03-01", "2025-03-01"),
        (cells.day, "2025/3/1", "2025-03-01"),
        (cells.day, "2025年3月1日", "2025-03-01"),
        (cells.day, "２０２５．３．１", "2025-03-01"),
        (cells.day, 20250301, "2025-03-01"),
        (cells.day, MIDNIGHT, "2025-03-01"),
        (cells.day, date(2025, 3, 1), "2025-03-01"),
        (cells.day, MIDNIGHT.replace(hour=12), "not_a_day"),
        (cells.day, "2025-02-30", "not_a_day"),
        (cells.day, 45717, "not_a_day"),
        (cells.day, "去年", "not_a_day"),
        (cells.money, "1,200.50", 120_050),
        (cells.money, "￥１２００元", 120_000),
        (cells.money, 0.1 + 0.2, 30),
        (cells.money, 1200, 120_000),
        (cells.money, 12.345, "not_an_amount"),
        (cells.money, "-1", "not_an_amount"),
        (cells.money, float("nan"), "not_an_amount"),
        (cells.money, float("inf"), "not_an_amount"),
        (cells.money, 1e300, "not_an_amount"),
        (cells.money, True, "not_an_amount"),
        (cells.money, "#N/A", "formula_error"),
        (cells.number, 19900000001, "19900000001"),
        (cells.number, 19900000001.0, "19900000001"),
        (cells.number, "0571-8800 0001", "057188000001"),
        (cells.number, 6.2222e18, "digits_lost"),
        (cells.number, 6222020000000000000, "digits_lost"),
        (cells.number, "6.2222E+18", "digits_lost"),
        (cells.number, "电话", "not_a_number"),
        (cells.id_number, 1.1010119900101e17, "digits_lost"),
        (cells.id_number, 110101199001011000, "digits_lost"),
        (cells.id_number, "1.1E+17", "digits_lost"),
        (cells.id_number, "110101199001011230", "id_number_wrong"),
        (cells.id_number, "1" * 15, "id_number_wrong"),
        (cells.code, "９９０８０２", "990802"),
        (cells.code, 990802, "990802"),
        (cells.code, "东县", "not_a_code"),
        (cells.organisation, "union-1-1", "union-1-1"),
        (cells.organisation, "１００１", "1001"),
        *(
            (cells.organisation, code, "not_an_organisation_code")
            for code in ("Union-1", "东县", "a.b", "-a", "a" * 64, id_number(6, "19560101"))
        ),
        (cells.place, "９９０８０２", "990802"),
        (cells.place, 990802, "990802"),
        *((cells.place, code, "not_a_place_code") for code in ("XX", "99080", "990802000", "东县")),
        (cells.yes_or_no, "是", True),
        (cells.yes_or_no, False, False),
        (cells.yes_or_no, "也许", "not_yes_or_no"),
        (cells.text(3), " 张三丰　", "张三丰"),
        (cells.text(3), "张三丰子", "text_too_long"),
        (cells.text(3), "a\0", "text_refused"),
        (cells.text(9), time(1, 2), "not_text"),
    ],
)
def test_a_cell_is_read_without_guessing(reader: Any, cell: Any, expected: Any) -> None:
    if isinstance(expected, str) and expected.islower() and "_" in expected:
        with pytest.raises(BadCell) as bad:
            reader(cell)
        assert bad.value.code == expected
        assert str(cell) not in bad.value.zh + bad.value.en or len(str(cell)) < 3
    else:
        assert reader(cell) == expected


ANY_CELL = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates()
    | st.datetimes() | st.times()
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(cell=ANY_CELL, column=st.sampled_from(COLUMNS))
def test_any_cell_is_read_or_refused_with_a_reason(cell: Any, column: Any) -> None:
    assert class_of(cell)
    if cells.is_blank(cell):
        return
    with suppress(BadCell):
        column.read(cell)


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        (None, "空 empty"),
        ("　", "空 empty"),
        (True, "是非 boolean"),
        (1.5, "数字 number"),
        ("1.1E+17", "科学计数 number in scientific notation"),
        ("１２３", "数字文本 digits"),
        ("张三", "文本 text"),
        ("#REF!", "公式错误 formula error"),
        (date(2025, 3, 1), "日期 date"),
    ],
)
def test_the_class_of_a_value_is_all_that_is_told_of_it(cell: Any, shown: str) -> None:
    assert class_of(cell) == shown


# Files


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_a_list_of_any_of_these_encodings_and_separators_says_the_same(
    encoding: str, delimiter: str, tmp_path: Path
) -> None:
    plain = write_csv(tmp_path / "plain.csv", table(household(1)))
    lines = plain.read_text().replace("6,000.50", "6000.50").replace('"', "")
    other = tmp_path / "other.csv"
    other.write_text(lines.replace(",", delimiter), encoding=encoding)
    [expected], [found] = read(plain), read(other)
    assert not found.lines
    assert found.body == expected.body


def test_a_workbook_says_the_same_as_text(tmp_path: Path) -> None:
    rows = table([*household(1), *household(2)])
    text, book = write_csv(tmp_path / "a.csv", rows), write_xlsx(tmp_path / "a.xlsx", rows)
    assert [h.body for h in read(text)] == [h.body for h in read(book)]


def test_what_a_household_says_becomes_the_body_of_its_application(tmp_path: Path) -> None:
    member = child(1, 收款账户类型="", 收款账号="")
    rows = table([applicant(1, 事件类型="意外伤害", 事件日期="2025-02-01"), member])
    [found] = read(write_csv(tmp_path / "a.csv", rows))
    assert not found.lines
    assert found.body == {
        "channel": "paper",
        "organisation_id": "union-1-1",
        "without_employer": False,
        "applied_on": "2025-03-01",
        "residence": "990802",
        "address": "样例路九十九号",
        "phone": "19900000001",
        "members": [
            {"relation": "applicant", "name": "欧阳示例", "id_number": id_number(1, "19500101"),
             "school": None, "worker": True},
            {"relation": "child", "name": "欧阳小满", "id_number": id_number(1, "20100303"),
             "school": "school-a", "worker": False},
        ],
        "incomes": [
            {"member": 0, "kind": "wage", "months_fen": [50_006] + [50_004] * 11},
            {"member": 1, "kind": "wage", "months_fen": [0] * 12},
        ],
        "assets": [{"kind": "deposit", "value_fen": 30_000}],
        "causes": ["illness", "schooling"],
        "programmes": ["living"],
        "relief": "receiving",
        "consents": ["processing", "publication"],
        "incident": {"kind": "accident", "occurred_on": "2025-02-01", "description": None,
                     "loss_fen": None},
        "payee": {"member": 0, "kind": "card", "account": card(1), "holder_name": "欧阳示例"},
    }  # fmt: skip


def test_rows_are_gathered_by_number_and_blanks_go_on_with_the_household(tmp_path: Path) -> None:
    records = [
        {"家庭编号": "# 例 example"},
        *household(1),
        {},
        child(3),
        *household(2),
        {**child(4), "家庭编号": "户1"},
    ]
    found = read(write_csv(tmp_path / "a.csv", table(records)))
    assert [len(each.rows) for each in found] == [3, 2, 1]
    assert [codes(each)[:1] for each in found] == [[], [], [(9, "A 家庭编号", "number_again")]]


BAD_HOUSEHOLDS: dict[str, tuple[list[Any], list[tuple[int, str, str]]]] = {
    "no applicant": ([child(1, 家庭编号=1)], [(2, "V 政府救助情况", "missing")]),
    "two applicants": (
        [applicant(1), {**applicant(2), "家庭编号": None, "收款账号": None, "收款账户类型": None}],
        [(3, "B 与申请人关系", "applicant_unclear")],
    ),
    "a member twice": ([*household(1), child(1)], [(4, "D 身份证号", "person_twice")]),
    "an account without its kind": (
        [applicant(1, 收款账户类型=None)],
        [(2, "H 收款账户类型", "missing")],
    ),
    "an incident without a day": (
        [applicant(1, 事件类型="意外伤害")],
        [(2, "S 事件日期", "missing")],
    ),
    "a day without an incident": (
        [applicant(1, 事件日期="2025-02-01")],
        [(2, "R 事件类型", "missing")],
    ),
    "no consent": (
        [applicant(1, 同意信息处理="否")],
        [(2, "W 同意信息处理", "consent_to_processing_missing")],
    ),
    "a member's row that says otherwise": (
        [applicant(1), child(1, 家庭住址="别处")],
        [(3, "N 家庭住址", "differs_from_first_row")],
    ),
    "a wrong member": (
        [applicant(1), child(1, 身份证号="1.1E+17")],
        [(3, "D 身份证号", "digits_lost")],
    ),
    "a place that is none": (
        [applicant(1, 居住地代码="XX")],
        [(2, "M 居住地代码", "not_a_place_code")],
    ),
    "no number": ([applicant(1, 家庭编号=None)], [(2, "A 家庭编号", "number_missing")]),
}


@pytest.mark.parametrize("how", BAD_HOUSEHOLDS)
def test_what_is_wrong_with_a_household_is_told_where_it_stands(how: str, tmp_path: Path) -> None:
    records, expected = BAD_HOUSEHOLDS[how]
    [found] = read(write_csv(tmp_path / "a.csv", table(records)))
    assert set(expected) <= set(codes(found))
    assert found.body == {} or found.lines
    # A household goes in whole or not at all, and its first row says so.
    assert found.first_row in [line.row for line in found.lines]


def test_a_bad_row_is_reported_without_its_value(tmp_path: Path) -> None:
    records = [
        *household(1, 联系电话=None, 申请日期='=HYPERLINK("x")'),
        *household(2, 身份证号=1.10101e17),
    ]
    file = write_xlsx(tmp_path / "名单.xlsx", table(records))
    status, out, err = check(file)
    assert (status, err) == (1, "")
    report = read_report(tmp_path / "名单.xlsx.report.csv")
    assert [tuple(line.values())[:3] for line in report] == [
        ("2", "L 申请日期", "空 empty"),
        ("2", "O 联系电话", "空 empty"),
        ("4", "D 身份证号", "数字 number"),
    ]
    assert "2 户 households, 4 行 rows" in out
    everything = (tmp_path / "名单.xlsx.report.csv").read_text("utf-8-sig") + out
    assert "HYPERLINK" not in everything
    assert "欧阳" not in everything
    assert not any(cell.startswith(("=", "+", "-", "@")) for r in report for cell in r.values())


HOSTILE: dict[str, Any] = {
    "empty": lambda p: p.write_bytes(b""),
    "noise": lambda p: p.write_bytes(bytes(range(256)) * 10),
    "an old workbook": lambda p: p.write_bytes(b"\xd0\xcf\x11\xe0" + bytes(600)),
    "no workbook": lambda p: p.write_bytes(b"PK\x03\x04" + bytes(600)),
    "a million columns": lambda p: p.write_text("家庭编号," * 1_000_000),
    "an endless record": lambda p: p.write_text('"' + 'a\n","' * 200_000),
    "a huge cell": lambda p: write_csv(p, [*table(household(1)), ["x" * 2_000_000]]),
    "open quotes": lambda p: p.write_text(",".join(HEADERS) + '\n"abc'),
    "no headers": lambda p: write_csv(p, table(household(1))[1:]),
    "a header twice": lambda p: write_csv(p, [[*HEADERS, "姓名"]]),
    "an unknown header": lambda p: write_csv(p, [[*HEADERS, "张三"]]),
    "too many rows": lambda p: write_csv(p, [HEADERS, *([["x"]] * MOST_ROWS)]),
    "a far corner": lambda p: _book(p, "XFD1048576"),
    "a far row": lambda p: _book(p, "A1048576"),
    "a bomb": lambda p: _package(p, {"xl/a.xml": b"0" * (513 << 20)}),
    "entities": lambda p: _package(
        p, {"[Content_Types].xml": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'}
    ),
    "a directory": lambda p: p.mkdir(),
    "nothing": lambda p: p.with_name("elsewhere").touch(),
}


# By their names, too; an old workbook is told as one under any name.
BOOKS = ("no workbook", "a far corner", "a far row", "a bomb", "entities")


def _book(path: Path, corner: str) -> None:
    book = Workbook()
    book.worksheets[0][corner] = "x"
    book.save(path)


def _package(path: Path, parts: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as package:
        for name, content in parts.items():
            package.writestr(name, content)


@pytest.mark.parametrize("how", HOSTILE)
def test_a_hostile_file_is_refused_in_one_line(how: str, tmp_path: Path) -> None:
    path = tmp_path / ("list.xlsx" if how in BOOKS else "list.csv")
    HOSTILE[how](path)
    status, out, err = check(path, "--report", str(tmp_path / "told.csv"))
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert len(err) < 600
    assert "张三" not in err
    assert "欧阳" not in err
    assert not (tmp_path / "told.csv").exists()


@pytest.mark.parametrize(
    "content",
    [b"", Random(7).randbytes(4000), "姓名,身份证号\n".encode("gb18030"), b"\x00" * 9],
    ids=["nothing", "noise", "text", "zeros"],
)
def test_what_is_named_as_a_workbook_and_is_none_is_told_as_that(
    content: bytes, tmp_path: Path
) -> None:
    """Noise is text of some encoding now and then, and was told that it lacks all columns."""
    path = tmp_path / "list.XLSX"
    path.write_bytes(content)
    status, out, err = check(path)
    assert (status, out) == (2, "")
    assert err.startswith("FILE: 名为 .xlsx，内容却不是工作簿 named .xlsx, and no workbook")


def test_standard_input_is_no_file() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cli", "import", "--check", "/dev/stdin"],
        cwd=ROOT,
        input=b"",
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_all_headers_that_are_wrong_are_named_at_once(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [["家庭编号", "姓 名*", "张三", "工资收入"]])
    with pytest.raises(Unreadable) as refused:
        read(path)
    line = str(refused.value)
    assert "身份证号" in line
    assert "unknown headers in columns: C" in line
    assert "张三" not in line
    assert "姓名" not in line.replace("账户户名", "")


# The template


@pytest.mark.parametrize("suffix", [".csv", ".xlsx"])
def test_an_empty_list_is_one_that_can_be_read_and_enters_nothing(
    suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"登记表{suffix}"
    done = CliRunner().invoke(app, ["import", "--template", str(path)])
    assert done.exit_code == 0
    status, out, err = check(path)
    assert (status, err) == (0, "")
    assert "0 户 households" in out
    again = CliRunner().invoke(app, ["import", "--template", str(path)])
    assert again.exit_code == 2
    assert len(again.stderr.splitlines()) == 1


def test_an_empty_list_is_a_table_by_its_name(tmp_path: Path) -> None:
    """Values with commas under another name: no program would open it as what it is."""
    for name in ("list.pdf", "list", "list.xls"):
        done = CliRunner().invoke(app, ["import", "--template", str(tmp_path / name)])
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr.startswith("FILE: 应为 .csv 或 .xlsx must end in .csv or .xlsx")
    assert not list(tmp_path.iterdir())


# What only `--check` says


def test_a_check_judges_the_day_and_what_stands_in_the_list_twice(tmp_path: Path) -> None:
    """As intake would; what intake alone knows is told as that."""
    ahead = (datetime.now(BUSINESS_ZONE).date() + timedelta(days=1)).isoformat()
    again = applicant(1, 家庭编号="户9", 联系电话="19900000002")
    elsewhere = applicant(1, 家庭编号="户10", 受理单位代码="union-1-2")
    file = write_csv(
        tmp_path / "a.csv",
        table([*household(1), applicant(2, 申请日期=ahead), again, elsewhere]),
    )
    status, out, _ = check(file)
    assert status == 1
    assert "合格 sound: 2（" in out
    assert "本表前面已有 further up in this list: 1\n" in out
    assert "有误 not entered: 1（1 行 rows）" in out
    assert "only a run asks intake" in out
    report = read_report(tmp_path / "a.csv.report.csv")
    assert [(r["行 row"], r["列 column"], r["级别 level"], r["代码 code"]) for r in report] == [
        ("4", "L 申请日期", "错误 error", "wrong_day"),
        ("5", "D 身份证号", "提示 note", "form_further_up"),
    ]


def test_the_workbook_keeps_numbers_as_text_and_explains_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "登记表.xlsx"
    CliRunner().invoke(app, ["import", "--template", str(path)])
    book = load_workbook(path)
    sheet, explained = book.worksheets
    assert sheet.column_dimensions["D"].number_format == "@"
    assert len(list(explained.iter_rows())) > len(COLUMNS)


# Memory


def _peak_kib(path: Path) -> int:
    """Peak resident memory of a whole run."""
    program = (
        "import resource, sys\n"
        "from typer.testing import CliRunner\n"
        "from cli.__main__ import app\n"
        f"done = CliRunner().invoke(app, ['import', '--check', {str(path)!r}])\n"
        "assert done.exit_code == 0, (done.stdout, done.stderr)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, timeout=200, check=True
    )
    return int(done.stdout)


@pytest.mark.parametrize(("suffix", "growth_mib"), [(".csv", 8), (".xlsx", 24)])
def test_ten_thousand_rows_take_little_more_memory_than_a_thousand(
    suffix: str, growth_mib: int, tmp_path: Path
) -> None:
    """A workbook's table of texts is read whole, so it grows by that; a list as text does not."""
    write = write_xlsx if suffix == ".xlsx" else write_csv
    peaks = []
    for rows in (1_000, 10_000):
        records = (r for n in range(rows // 2) for r in household(n))
        peaks.append(_peak_kib(write(tmp_path / f"{rows}{suffix}", table(records))))
    assert peaks[1] - peaks[0] < growth_mib * 1024, peaks
