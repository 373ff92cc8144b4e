"""The columns of the list of registration forms: what stands in each, and for whom.

A row is a person. What is said of the household stands in its first row; the members' rows follow
it. The order of the columns in a file is free.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cli.forms import cells
from cli.forms.cells import Reader

RELATIONS: Final = {
    "本人": "applicant", "配偶": "spouse", "子女": "child", "父母": "parent", "其他": "other",
}  # fmt: skip
CHANNELS: Final = {
    "窗口": "window", "纸质": "paper", "手机": "app", "热线": "hotline", "主动发现": "proactive",
}  # fmt: skip
CAUSES: Final = {
    "患病": "illness", "子女上学": "schooling", "残疾": "disability", "单亲": "single_parent",
    "其他特殊原因": "other_special",
}  # fmt: skip
INCIDENTS: Final = {
    "突发事件": "sudden_event", "意外伤害": "accident", "重大疾病": "serious_illness",
    "其他特殊原因": "other_special",
}  # fmt: skip
PROGRAMMES: Final = {
    "生活救助": "living", "助学救助": "education", "医疗救助": "medical", "灾害救助": "disaster",
}  # fmt: skip
RELIEF: Final = {
    "正在享受": "receiving", "申请未获批准": "refused", "已停发": "ceased", "未申请": "not_applied",
}  # fmt: skip
ACCOUNTS: Final = {"银行卡": "card", "存折": "passbook"}
INCOMES: Final = {
    "工资收入": "wage", "经营收入": "business", "养老金收入": "pension",
    "转移收入": "transfer", "其他收入": "other",
}  # fmt: skip
ASSETS: Final = {
    "住房价值": "housing", "车辆价值": "vehicle", "存款": "deposit", "其他财产": "other",
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """``needed`` if it may not be empty where it belongs; ``path`` is the field it becomes."""

    name: str
    english: str
    path: str
    read: Reader
    example: str = ""
    needed: bool = False
    is_text: bool = False
    words: Mapping[str, str] | None = None

    @property
    def title(self) -> str:
        """As the template shows it: what must be filled in has a star."""
        return f"{self.name}*" if self.needed else self.name


def _listed(
    name: str, english: str, path: str, words: Mapping[str, str], example: str, *, needed: bool
) -> Column:
    return Column(name, english, path, cells.one_of(words), example, needed=needed, words=words)


NUMBER: Final = Column(
    "家庭编号", "household number in this list", "", cells.text(40), "1", needed=True, is_text=True
)
RELATION: Final = Column(
    "与申请人关系", "relation to the applicant", "relation", cells.one_of(RELATIONS), "本人",
    needed=True, words=RELATIONS,
)  # fmt: skip

OF_MEMBER: Final = (
    RELATION,
    Column("姓名", "name", "name", cells.text(100), "样例姓名", needed=True),
    Column(
        "身份证号", "ID number", "id_number", cells.id_number, "（18 位，文本格式）",
        needed=True, is_text=True,
    ),
    Column("学校代码", "school code", "school", cells.code, "", is_text=True),
    Column(
        "可培训就业", "a worker who may be trained", "worker", cells.yes_or_no, "是",
    ),
    *(
        Column(
            f"{name}（元）", f"{kind} income, twelve months, yuan", kind, cells.money, "12000",
        )
        for name, kind in INCOMES.items()
    ),
    Column(
        "收款账户类型", "kind of account", "payee.kind", cells.one_of(ACCOUNTS), "银行卡",
        words=ACCOUNTS,
    ),
    Column(
        "收款账号", "account number", "payee.account", cells.number, "（文本格式）", is_text=True,
    ),
    Column("账户户名", "name on the account", "payee.holder_name", cells.text(100), ""),
)  # fmt: skip

OF_HOUSEHOLD: Final = (
    Column("受理单位代码", "organisation that holds the case", "organisation_id",
           cells.organisation, "union-1-1", needed=True, is_text=True),
    Column("无用人单位", "without an employer", "without_employer", cells.yes_or_no, "否",
           needed=True),
    Column("申请日期", "day of the application", "applied_on", cells.day, "2025-03-01",
           needed=True),
    _listed("申请方式", "how it came", "channel", CHANNELS, "纸质", needed=False),
    Column("居住地代码", "place of residence, its code of six digits", "residence", cells.place,
           "990802", needed=True, is_text=True),
    Column("家庭住址", "address", "address", cells.text(300), "样例路 1 号", needed=True),
    Column("联系电话", "telephone", "phone", cells.number, "（文本格式）", needed=True,
           is_text=True),
    *(
        Column(f"{name}（元）", f"{kind}, yuan", kind, cells.money, "")
        for name, kind in ASSETS.items()
    ),
    Column("致困原因", "causes of hardship", "causes", cells.some_of(CAUSES), "患病、子女上学",
           words=CAUSES),
    _listed("事件类型", "kind of incident", "incident.kind", INCIDENTS, "", needed=False),
    Column("事件日期", "day of the incident", "incident.occurred_on", cells.day, ""),
    Column("事件说明", "the incident in words", "incident.description", cells.text(), ""),
    Column("事件损失（元）", "loss, yuan", "incident.loss_fen", cells.money, ""),
    Column("申请项目", "programmes asked for", "programmes", cells.some_of(PROGRAMMES), "生活救助",
           words=PROGRAMMES),
    _listed("政府救助情况", "government relief", "relief", RELIEF, "正在享受", needed=True),
    Column("同意信息处理", "consent to processing", "consents.processing", cells.yes_or_no, "是",
           needed=True),
    Column("同意公示", "consent to publication", "consents.publication", cells.yes_or_no, "是",
           needed=True),
)  # fmt: skip

COLUMNS: Final = (NUMBER, *OF_MEMBER, *OF_HOUSEHOLD)


def plain_header(header: object) -> str:
    """A header without what people change about it: stars, spaces, width, the unit."""
    text = unicodedata.normalize("NFKC", str(header if header is not None else ""))
    bare = "".join(character for character in text if not character.isspace() and character != "*")
    return bare.replace("(元)", "").strip("\ufeff\u200b")


BY_HEADER: Final[Mapping[str, Column]] = {plain_header(c.name): c for c in COLUMNS}
