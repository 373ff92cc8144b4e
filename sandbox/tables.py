"""The demo's screens: live progress while the year runs, tables when it is over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from sandbox.outcomes import Outcomes
from sandbox.rest import lags
from sandbox.year import Progress
from shared.money import format_yuan

STAGE_NAMES: Mapping[str, str] = {
    "submitted": "待受理",
    "returned": "退回补正",
    "lapsed": "逾期失效",
    "accepted": "已受理",
    "visiting": "入户调查",
    "visited": "待核对",
    "reconciled": "已核对",
    "determining": "待认定",
    "finding_asked": "待补充认定",
    "referred": "转介政府救助",
    "on_notice": "公示中",
    "signing": "待签字",
    "signed": "已签字",
    "forwarded": "已上报",
    "registered": "已建档",
    "end_proposed": "拟脱困",
    "rejected": "不予建档",
    "deregistered": "已脱困",
}
PROGRAMME_NAMES: Mapping[str, str] = {
    "living": "生活救助",
    "education": "助学救助",
    "medical": "医疗救助",
    "disaster": "灾害救助",
}
NOTICE_FACTS = (
    ("NoticePosted", "张贴公示"),
    ("NoticeElapsed", "公示期满"),
    ("NoticeRemoved", "撤下公示"),
    ("ObjectionRaised", "提出异议"),
    ("ObjectionDismissed", "异议不成立"),
    ("ObjectionUpheld", "异议成立"),
)
TRAINING_FACTS = (
    ("ClassOpened", "开班"),
    ("TraineeEnrolled", "参训"),
    ("TraineeCertified", "结业"),
    ("TraineePlaced", "就业"),
    ("HardshipEnded", "脱困"),
)


def live(progress: Progress, elapsed_seconds: float, facts_a_second: float) -> Group:
    """The screen of one moment."""
    stages = Table(title="案件 Cases by stage", title_justify="left")
    stages.add_column("阶段 stage")
    stages.add_column("户 cases", justify="right")
    for stage, count in progress.stages.items():
        stages.add_row(f"{STAGE_NAMES.get(stage, '')} {stage}", str(count))
    behind = lags(progress.statuses)
    line = Text(
        f"{progress.day}  {elapsed_seconds:5.0f} s  {progress.facts} 条事实 facts  "
        f"{facts_a_second:.0f}/s  待办 items {progress.items}"
    )
    lag = Text("滞后 lag  " + "  ".join(f"{name} {count}" for name, count in behind.items()))
    return Group(line, lag, stages)


def show_outcomes(console: Console, outcomes: Outcomes) -> None:
    """Cases by outcome and reason, money by fund and programme, notices, training."""
    cases = Table(title="案件结果 Cases by outcome and reason", title_justify="left")
    for title in ("结果 outcome", "原因 reason"):
        cases.add_column(title)
    cases.add_column("户 cases", justify="right")
    counted = Counter((case.stage, case.reason) for case in outcomes.cases.values())
    for (stage, reason), count in sorted(counted.items()):
        cases.add_row(f"{STAGE_NAMES.get(stage, '')} {stage}", reason, str(count))
    console.print(cases)
    money = Table(title="资金 Money by fund and programme", title_justify="left")
    for title in ("资金 fund", "项目 programme"):
        money.add_column(title)
    for title in ("笔 payments", "元 yuan"):
        money.add_column(title, justify="right")
    for (fund, programme), fen in sorted(outcomes.paid_fen.items()):
        count = outcomes.payments[fund, programme]
        named = f"{PROGRAMME_NAMES.get(programme, '')} {programme}"
        money.add_row(fund, named, str(count), format_yuan(fen))
    total = sum(outcomes.paid_fen.values())
    money.add_row("合计 total", "", str(outcomes.payments.total()), format_yuan(total))
    console.print(money)
    for title, facts in (
        ("公示 Notices", NOTICE_FACTS),
        ("培训就业 Training and jobs", TRAINING_FACTS),
    ):
        table = Table(title=title, title_justify="left")
        table.add_column("")
        table.add_column("", justify="right")
        for name, words in facts:
            table.add_row(f"{words} {name}", str(outcomes.facts[name]))
        console.print(table)
