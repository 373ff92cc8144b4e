"""An empty list to fill in: its headers, what belongs into each column, and an example.

Rows that begin with # are remarks and are passed over, so an example may stay where it is.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cli.forms.columns import ACCOUNTS, COLUMNS, NUMBER, OF_MEMBER, Column
from cli.forms.households import COMMENT, letters

ROWS_WITH_LISTS: Final = 10_000
SHEET: Final = "登记表"
EXPLANATION: Final = "填写说明 how to fill in"
REMARKS: Final = (
    "一行一人；同一家庭的各行相连，家庭信息只填在第一行。 A row is a person; what is said of the "
    "household stands in its first row.",
    "带 * 的列必填；不用的列可以删去。 Columns with a star must be filled in; "
    "others may be left away.",
    "收入填近十二个月合计（元），没有收入填 0。 Income is the sum of twelve months in yuan, "
    "0 if none.",
    "身份证号、账号、电话请用文本格式，否则末几位会丢失。 Format numbers as text, "
    "or their last digits are lost.",
    "以 # 开头的行不录入。 Rows that begin with # are not entered.",
)


def write_template(path: Path) -> None:
    """An empty list, as CSV or XLSX by its suffix. Raises OSError, also if the file exists."""
    if path.suffix.lower() == ".xlsx":
        _write_workbook(path)
    else:
        with path.open("x", encoding="utf-8-sig", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([column.title for column in COLUMNS])
            for remark in REMARKS:
                writer.writerow([f"{COMMENT} {remark}"])
            for column in COLUMNS:
                writer.writerow([f"{COMMENT} {column.title}：{_meaning(column)}"])
            writer.writerows(_examples())


def _meaning(column: Column) -> str:
    words = f"；可填 one of: {'、'.join(column.words)}" if column.words else ""
    where = "每人 each person" if column in OF_MEMBER else "每户第一行 first row"
    return f"{column.english}；{where}{words}"


def _examples() -> Iterator[list[str]]:
    """A household of two; its numbers are left open, since none is nobody's."""
    applicant = {NUMBER.name: f"{COMMENT} 例 example 1"}
    yield [applicant.get(column.name, column.example) for column in COLUMNS]
    child = {
        NUMBER.name: f"{COMMENT} 例 example 1",
        "与申请人关系": "子女",
        "姓名": "样例姓名二",
        "身份证号": "（18 位，文本格式）",
        "学校代码": "school-a",
        "工资收入（元）": "0",
    }
    yield [child.get(column.name, "") for column in COLUMNS]


def _write_workbook(path: Path) -> None:
    from openpyxl import Workbook
    from openpyxl.styles import Font
    from openpyxl.worksheet.datavalidation import DataValidation

    book = Workbook()
    sheet = book.worksheets[0]
    sheet.title = SHEET
    sheet.append([column.title for column in COLUMNS])
    sheet.freeze_panes = "A2"
    for place, column in enumerate(COLUMNS):
        name = letters(place)
        sheet[f"{name}1"].font = Font(bold=True)
        sheet.column_dimensions[name].width = max(12, 2 * len(column.title) + 2)
        if column.is_text:
            # Or the spreadsheet would make a number of it, and zeros of its last digits.
            sheet.column_dimensions[name].number_format = "@"
        if column.words and ("、" not in column.example or column.words is ACCOUNTS):
            listed = DataValidation(
                type="list", formula1=f'"{",".join(column.words)}"', allow_blank=True
            )
            # Several words may stand in some of these: a list then offers and does not insist.
            listed.showErrorMessage = column.path not in ("causes", "programmes")
            listed.add(f"{name}2:{name}{ROWS_WITH_LISTS}")
            sheet.add_data_validation(listed)
    explained = book.create_sheet(EXPLANATION)
    for remark in REMARKS:
        explained.append([remark])
    explained.append([])
    explained.append(["列 column", "说明 what it is", "例 example"])
    for column in COLUMNS:
        explained.append([column.title, _meaning(column), column.example])
    with path.open("xb") as file:
        book.save(file)
