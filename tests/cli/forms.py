"""Lists of made-up paper forms for the tests: rows by header, written as CSV or XLSX."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from openpyxl import Workbook

from tests.services.intake.running import card, id_number

Record = Mapping[str, Any]

HEADERS = (
    "家庭编号", "与申请人关系", "姓名", "身份证号", "学校代码", "可培训就业", "工资收入（元）",
    "收款账户类型", "收款账号", "受理单位代码", "无用人单位", "申请日期", "居住地代码", "家庭住址",
    "联系电话", "存款（元）", "致困原因", "事件类型", "事件日期", "事件说明", "申请项目",
    "政府救助情况", "同意信息处理", "同意公示",
)  # fmt: skip


def applicant(serial: int, **changes: Any) -> dict[str, Any]:
    told: dict[str, Any] = {
        "家庭编号": f"户{serial}",
        "与申请人关系": "本人",
        "姓名": "欧阳示例",
        "身份证号": id_number(serial % 1000, f"{1950 + serial // 1000}0101"),
        "可培训就业": "是",
        "工资收入（元）": "6,000.50",
        "收款账户类型": "银行卡",
        "收款账号": card(serial),
        "受理单位代码": "union-1-1",
        "无用人单位": "否",
        "申请日期": "2025-03-01",
        "居住地代码": "990802",
        "家庭住址": "样例路九十九号",
        "联系电话": "19900000001",
        "存款（元）": "300",
        "致困原因": "患病、子女上学",
        "申请项目": "生活救助",
        "政府救助情况": "正在享受",
        "同意信息处理": "是",
        "同意公示": "是",
    }
    return {**told, **changes}


def child(serial: int, **changes: Any) -> dict[str, Any]:
    # Born on a day on which nobody is who comes to the window (running.py): one person of two
    # households is another story.
    told: dict[str, Any] = {
        "与申请人关系": "子女",
        "姓名": "欧阳小满",
        "身份证号": id_number(serial % 1000, f"{2010 + serial // 1000}0303"),
        "学校代码": "school-a",
        "工资收入（元）": "0",
    }
    return {**told, **changes}


def household(serial: int, **changes: Any) -> list[Record]:
    return [applicant(serial, **changes), child(serial)]


def table(records: Iterable[Record], headers: Sequence[str] = HEADERS) -> list[list[Any]]:
    return [list(headers), *([record.get(header) for header in headers] for record in records)]


def write_csv(path: Path, rows: Iterable[Sequence[Any]], encoding: str = "utf-8") -> Path:
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def write_xlsx(path: Path, rows: Iterable[Sequence[Any]]) -> Path:
    book = Workbook(write_only=True)
    sheet = book.create_sheet("登记表")
    for row in rows:
        sheet.append(list(row))
    book.save(path)
    return path


def read_report(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))
