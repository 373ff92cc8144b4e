"""What each fact of eligibility says, in Chinese and in English, and why it came out so.

Sealed values stand in the words as they are, sealed: who may see them is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final

from services.eligibility import facts
from shared.fact import Fact
from shared.money import format_yuan

Said = tuple[str, str]

_ZH: Final[Mapping[str, str]] = {
    "eligible": "符合", "not_eligible": "不符合", "refer": "转介政府救助",
    "needs_determination": "须由人认定", "no_rule": "无适用规则", "low_income": "低保户",
    "marginal": "低保边缘户", "stricken": "意外灾害致困户", "living": "生活救助",
    "education": "助学救助", "medical": "医疗救助", "disaster": "灾害救助", "lines": "低保线",
    "city_standard": "市低保标准", "fund_rules": "资金规则", "school_living_cost": "在校生活费",
    "computing": "核算", "cover": "资金落实", "closing": "档案注销", "approval": "审批",
    "asked": "申请额", "reemployed": "再就业",
}  # fmt: skip


def _zh(*codes: str) -> str:
    return "、".join(_ZH.get(code, code) for code in codes) or "无"


def _en(codes: Iterable[str]) -> str:
    return ", ".join(code.replace("_", " ") for code in codes) or "none"


def _yuan(fen: int) -> str:
    return format_yuan(fen)


def _eligibility_determined(f: facts.EligibilityDetermined) -> Said:
    reason = f"，{f.reason}" if f.reason else ""
    return (
        f"提出资格意见：{_zh(f.outcome)}，类别{_zh(*f.classes)}{reason}",
        f"proposed: {_en([f.outcome])}, classes {_en(f.classes)}"
        + (f", {f.reason}" if f.reason else ""),
    )


def _why_determined(f: facts.EligibilityDetermined) -> list[Said]:
    line = "—" if f.line_fen is None else _yuan(f.line_fen)
    income = _yuan(f.income_12m_fen)
    return [
        (
            f"{f.members} 人，十二个月收入 {income} 元，{f.residence} 低保线 {line} 元/人月",
            f"{f.members} members, income {income} yuan, line of {f.residence} {line} yuan",
        ),
        *_comparisons(f.comparisons),
        *((f"尚未认定：{each}", f"left open: {each}") for each in f.undetermined),
        *_versions(f.versions),
    ]


def _comparisons(comparisons: Sequence[facts.Comparison]) -> list[Said]:
    return [
        (
            f"{c.name}：{c.left} {c.relation} {c.right}，{'成立' if c.holds else '不成立'}",
            f"{c.name}: {c.left} {c.relation} {c.right} {'holds' if c.holds else 'does not hold'}",
        )
        for c in comparisons
    ]


def _versions(versions: Sequence[facts.VersionUsed]) -> list[Said]:
    return [
        (
            f"依据{_zh(v.name)} {v.scope}，{_day(v.effective_from)} 起施行，"
            f"{_day(v.announced_on)} 公布",
            f"by {_en([v.name])} of {v.scope}, in force from {_day(v.effective_from)}, announced "
            f"{_day(v.announced_on)}",
        )
        for v in versions
    ]


def _day(day: date | None) -> str:
    return "—" if day is None else day.isoformat()


def _eligibility_confirmed(f: facts.EligibilityConfirmed) -> Said:
    reason = f", {f.reason}" if f.reason else ""
    return (
        f"确认资格：{_zh(f.outcome)}，类别{_zh(*f.classes)}{reason}（审核人 {f.reviewer}）",
        f"confirmed: {_en([f.outcome])}, classes {_en(f.classes)}{reason} (reviewer {f.reviewer})",
    )


def _rejection_taken_over(f: facts.RejectionTakenOver) -> Said:
    return f"获悉不予建档（{f.rule}）", f"heard that the case was rejected ({f.rule})"


def _file_taken_over(f: facts.FileTakenOver) -> Said:
    return (
        f"获悉建档：可申请{_zh(*f.programmes)}，资金 {f.fund}",
        f"the file is registered: may ask for {_en(f.programmes)}, fund {f.fund}",
    )


def _file_closed(f: facts.FileClosed) -> Said:
    return f"获悉注销：{_zh(f.exit)}", f"the file is closed: {_en([f.exit])}"


def _award_requested(f: facts.AwardRequested) -> Said:
    asked = "" if f.asked_fen is None else f" {_yuan(f.asked_fen)}"
    bill = "" if f.self_paid_fen is None else f" {_yuan(f.self_paid_fen)}"
    loss = "" if f.loss_fen is None else f" {_yuan(f.loss_fen)}"
    reasons = f"；{f.reasons}" if f.reasons else ""
    zh = [f"申请{_zh(f.programme)}（{f.fund}）"]
    zh += [
        f"{name}{text} 元"
        for name, text in (("申请", asked), ("自付", bill), ("损失", loss))
        if text
    ]
    en = [f"asked for {f.programme} help of {f.fund}"]
    en += [
        f"{name}{text} yuan"
        for name, text in (("asked", asked), ("self-paid", bill), ("loss", loss))
        if text
    ]
    return "，".join(zh) + reasons, ", ".join(en) + reasons


def _award_computed(f: facts.AwardComputed) -> Said:
    return (
        f"核算{_zh(f.programme)} {_yuan(f.amount_fen)} 元（{f.fund}，{f.cap_year} 年度）",
        f"computed {f.programme} help of {_yuan(f.amount_fen)} yuan ({f.fund}, year {f.cap_year})",
    )


def _why_computed(f: facts.AwardComputed) -> list[Said]:
    return [
        *_inputs(f.inputs),
        *_caps(f.caps),
        (f"以{_zh(f.binding)}为限", f"bound by {f.binding}"),
        *_versions(f.versions),
        *(
            (
                f"注意：资金 {o.fund} 已给予 {_yuan(o.amount_fen)} 元，不计入",
                f"mind: fund {o.fund} gave {_yuan(o.amount_fen)} yuan, not counted",
            )
            for o in f.other_funds
        ),
    ]


def _inputs(inputs: facts.AwardInputs) -> list[Said]:
    named = (
        ("申请额", "asked", inputs.asked_fen),
        ("本次自付", "self-paid", inputs.self_paid_fen),
        ("本年此前自付", "self-paid earlier this year", inputs.self_paid_before_fen),
        ("核定损失", "assessed loss", inputs.loss_fen),
        ("该校月生活费", "the school's month", inputs.school_month_fen),
    )
    found = [
        (f"{zh} {_yuan(fen)} 元", f"{en} {_yuan(fen)} yuan")
        for zh, en, fen in named
        if fen is not None
    ]
    if inputs.standard_by_month_fen:
        months = ", ".join(_yuan(fen) for fen in inputs.standard_by_month_fen)
        found.append((f"各月标准 {months} 元", f"standard by month {months} yuan"))
    return found


def _caps(caps: Sequence[facts.CapUsed]) -> list[Said]:
    return [
        (
            f"上限 {c.name}：{_yuan(c.limit_fen)}，已用 {_yuan(c.used_fen)}，"
            f"余 {_yuan(c.room_fen)} 元",
            f"cap {c.name}: {_yuan(c.limit_fen)}, used {_yuan(c.used_fen)}, room "
            f"{_yuan(c.room_fen)} yuan",
        )
        for c in caps
    ]


def _award_refused(f: facts.AwardRefused) -> Said:
    back = "" if f.stage == "computing" else f"，退回额度 {_yuan(f.amount_fen)} 元"
    back_en = "" if f.stage == "computing" else f", gives back {_yuan(f.amount_fen)} yuan of room"
    return (
        f"不予{_zh(f.programme)}（{_zh(f.stage)}）：{f.reason}{back}",
        f"refused {f.programme} help at {f.stage}: {f.reason}{back_en}",
    )


def _why_refused(f: facts.AwardRefused) -> list[Said]:
    return [*_inputs(f.inputs), *_caps(f.caps), *_versions(f.versions)]


def _cover_taken_over(f: facts.CoverTakenOver) -> Said:
    return f"资金已落实 {_yuan(f.amount_fen)} 元", f"{_yuan(f.amount_fen)} yuan are under cover"


def _award_approved(f: facts.AwardApproved) -> Said:
    return (
        f"批准{_zh(f.programme)} {_yuan(f.amount_fen)} 元（审批人 {f.approver}）",
        f"approved {f.programme} help of {_yuan(f.amount_fen)} yuan (approver {f.approver})",
    )


def _parameter(f: facts.ParameterProposed | facts.ParameterAnnounced) -> Said:
    values = ", ".join(f"{name} {value}" for name, value in sorted(f.values.items()))
    until = f"–{f.effective_to}" if f.effective_to else ""
    since = _day(f.effective_from)
    return (
        f"{_zh(f.parameter)} {f.scope}：{since}{until} 施行，{values}（{f.source}）",
        f"{_en([f.parameter])} of {f.scope} from {since}{until}: {values} ({f.source})",
    )


def _parameter_proposed(f: facts.ParameterProposed) -> Said:
    zh, en = _parameter(f)
    return f"拟定{zh}", f"proposed {en}"


def _parameter_announced(f: facts.ParameterAnnounced) -> Said:
    zh, en = _parameter(f)
    return f"公布{zh}，{f.proposed_by} 拟定", f"announced {en}, proposed by {f.proposed_by}"


WORDS: Mapping[type[Fact], Callable[[Any], Said]] = {
    facts.EligibilityDetermined: _eligibility_determined,
    facts.EligibilityConfirmed: _eligibility_confirmed,
    facts.RejectionTakenOver: _rejection_taken_over,
    facts.FileTakenOver: _file_taken_over,
    facts.FileClosed: _file_closed,
    facts.AwardRequested: _award_requested,
    facts.AwardComputed: _award_computed,
    facts.AwardRefused: _award_refused,
    facts.CoverTakenOver: _cover_taken_over,
    facts.AwardApproved: _award_approved,
    facts.ParameterProposed: _parameter_proposed,
    facts.ParameterAnnounced: _parameter_announced,
}

# Why it came out so: inputs, comparisons, caps, what bound, and every parameter version.
REASONS: Mapping[type[Fact], Callable[[Any], Sequence[Said]]] = {
    facts.EligibilityDetermined: _why_determined,
    facts.AwardComputed: _why_computed,
    facts.AwardRefused: _why_refused,
}
