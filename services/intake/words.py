"""What each fact of a case says, in Chinese and in English, for replay and other readers.

Sealed values stand in the words as they are, sealed: who may see them is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from services.intake import facts
from shared.fact import Fact
from shared.money import format_yuan

Said = tuple[str, str]

_ZH: Final[Mapping[str, str]] = {
    "window": "窗口", "paper": "纸质", "app": "手机", "hotline": "热线", "proactive": "主动发现",
    "living": "生活救助", "education": "助学救助", "medical": "医疗救助", "disaster": "灾害救助",
    "illness": "患病", "schooling": "子女上学", "disability": "残疾", "single_parent": "单亲",
    "other_special": "其他特殊原因", "sudden_event": "突发事件", "accident": "意外伤害",
    "serious_illness": "重大疾病", "receiving": "正在享受", "refused": "申请未获批准",
    "ceased": "已停发", "not_applied": "未申请", "low_income": "低保户", "marginal": "低保边缘户",
    "stricken": "意外灾害致困户", "grassroots": "基层工会", "station": "帮扶工作站",
    "workplace": "单位", "chair": "主席", "handler": "经办人", "processing": "信息处理",
    "publication": "公示", "help": "建议帮扶", "no_help": "建议不予帮扶", "eligible": "符合",
    "not_eligible": "不符合", "no_rule": "无适用规则", "raised": "提出", "dismissed": "不成立",
    "upheld": "成立", "application": "申请", "eligibility": "资格", "form": "登记表",
    "notice": "公示", "registration": "登记", "reemployed": "再就业",
}  # fmt: skip


def _zh(*codes: str) -> str:
    return "、".join(_ZH.get(code, code) for code in codes) or "无"


def _en(codes: Iterable[str]) -> str:
    return ", ".join(code.replace("_", " ") for code in codes) or "none"


def _yuan(fen: int) -> str:
    return format_yuan(fen)


def _application(f: facts.Application) -> Said:
    income = sum(sum(each.months_fen) for each in f.incomes)
    names = "、".join(f"{m.name} {m.relation}" for m in f.members)
    missing_zh = "" if "publication" in f.consents else "；未同意公示"
    missing_en = "" if "publication" in f.consents else "; no consent to publication"
    incident_zh = f"；{_zh(f.incident.kind)} {f.incident.occurred_on}" if f.incident else ""
    incident_en = f"; {_en([f.incident.kind])} on {f.incident.occurred_on}" if f.incident else ""
    return (
        f"（{_zh(f.channel)}）：家庭 {len(f.members)} 人（{names}），"
        f"申报十二个月收入 {_yuan(income)} 元，"
        f"原因{_zh(*f.causes)}{incident_zh}，政府救助{_zh(f.relief)}，"
        f"申请{_zh(*f.programmes)}{missing_zh}",
        f"({f.channel}): household of {len(f.members)} ({names}), declared income of twelve "
        f"months {_yuan(income)} yuan; causes {_en(f.causes)}{incident_en}; government relief "
        f"{_en([f.relief])}; asks for {_en(f.programmes)}{missing_en}",
    )


def _application_submitted(f: facts.ApplicationSubmitted) -> Said:
    zh, en = _application(f)
    return f"提交申请{zh}", f"applied {en}"


def _application_resubmitted(f: facts.ApplicationResubmitted) -> Said:
    zh, en = _application(f)
    return f"补正后重新提交申请{zh}", f"applied again {en}"


def _application_accepted(f: facts.ApplicationAccepted) -> Said:
    return (
        f"受理申请，适用资金 {f.fund} 的规则",
        f"accepted the application; the rules of fund {f.fund} apply",
    )


def _application_returned(f: facts.ApplicationReturned) -> Said:
    defects = ", ".join(f"{d.code} {d.field}".strip() for d in f.defects)
    return (
        f"退回补正，请于 {f.answer_by} 前答复；缺陷：{defects}",
        f"returned the application, answer by {f.answer_by}; defects: {defects}",
    )


def _application_lapsed(f: facts.ApplicationLapsed) -> Said:
    return f"逾期未补正（{f.answer_by}），申请失效", f"lapsed: no answer by {f.answer_by}"


def _consent_given(f: facts.ConsentGiven) -> Said:
    return f"同意{_zh(f.purpose)}", f"gave consent to {f.purpose}"


def _consent_withdrawn(f: facts.ConsentWithdrawn) -> Said:
    return f"撤回对{_zh(f.purpose)}的同意", f"withdrew the consent to {f.purpose}"


def _visit_scheduled(f: facts.VisitScheduled) -> Said:
    return (
        f"安排{_zh(f.visit)}入户调查，由 {f.organisation_id} 承担",
        f"ordered the {f.visit} visit from {f.organisation_id}",
    )


def _visit_completed(f: facts.VisitCompleted) -> Said:
    income = sum(each.income_12m_fen for each in f.incomes)
    assets = sum(each.value_fen for each in f.assets)
    remarks = f.remarks or "—"
    visitors = ", ".join(f.visitors)
    return (
        f"{f.visited_on} {_zh(f.visit)}入户（{visitors}）：十二个月收入 {_yuan(income)} 元，"
        f"资产 {_yuan(assets)} 元，原因{_zh(*f.causes)}，政府救助{_zh(f.relief)}，"
        f"{_zh(f.recommendation)}；备注 {remarks}",
        f"made the {f.visit} visit on {f.visited_on} ({visitors}): income of twelve months "
        f"{_yuan(income)} yuan, assets {_yuan(assets)} yuan; causes {_en(f.causes)}; relief "
        f"{_en([f.relief])}; recommends {_en([f.recommendation])}; remarks {remarks}",
    )


def _visits_reconciled(f: facts.VisitsReconciled) -> Said:
    resolved = "；".join(f"{d.field} {d.reason}" for d in f.differences) or "—"
    found = "待定" if f.hardship_after_relief is None else "是" if f.hardship_after_relief else "否"
    found_en = {None: "open", True: "yes", False: "no"}[f.hardship_after_relief]
    return (
        f"核实两次入户：{f.members} 人，十二个月收入 {_yuan(f.income_12m_fen)} 元，"
        f"原因{_zh(*f.causes)}，"
        f"政府救助{_zh(f.relief)}，救助后仍困难：{found}；差异 {resolved}",
        f"reconciled the visits: {f.members} members, income of twelve months "
        f"{_yuan(f.income_12m_fen)} yuan; causes {_en(f.causes)}; relief {_en([f.relief])}, still "
        f"in hardship after it: {found_en}; differences {resolved}",
    )


def _finding_asked(f: facts.FindingAsked) -> Said:
    return f"须由人认定：{f.reason}", f"asked for a person's finding: {f.reason}"


def _relief_referral_made(f: facts.ReliefReferralMade) -> Said:
    return f"转介申请政府救助：{f.reason}", f"referred to government relief: {f.reason}"


def _relief_outcome_recorded(f: facts.ReliefOutcomeRecorded) -> Said:
    return f"政府救助结果：{_zh(f.relief)}", f"government relief turned out: {_en([f.relief])}"


def _class_taken_over(f: facts.ClassTakenOver) -> Said:
    return (
        f"接收资格认定：{_zh(f.outcome)}，类别{_zh(*f.classes)}（审核人 {f.reviewer}）",
        f"took over the class: {_en([f.outcome])}, {_en(f.classes)} (reviewer {f.reviewer})",
    )


def _form_drawn_up(f: facts.FormDrawnUp) -> Said:
    consent = "已同意公示" if f.publication_consent else "未同意公示"
    consent_en = "consent" if f.publication_consent else "no consent"
    return (
        f"制作登记表 {f.form_hash[:12]}：{f.published.name} {_zh(f.primary)}，{consent}",
        f"drew up the form {f.form_hash[:12]}: {f.published.name} {_en([f.primary])}, "
        f"{consent_en} to publication",
    )


def _notice_passed(f: facts.NoticePassed) -> Said:
    return (
        f"{_zh(f.place)}公示期满（登记表 {f.form_hash[:12]}）",
        f"the notice at the {f.place} has passed (form {f.form_hash[:12]})",
    )


def _objection_taken_over(f: facts.ObjectionTakenOver) -> Said:
    return f"获悉异议：{_zh(f.state)}", f"heard of an objection: {f.state}"


def _signing_scheduled(f: facts.SigningScheduled) -> Said:
    return (
        f"请 {f.organisation_id} 的{_zh(f.role)}签字（登记表 {f.form_hash[:12]}）",
        f"asked the {f.role} of {f.organisation_id} to sign (form {f.form_hash[:12]})",
    )


def _signed(f: facts.Signed) -> Said:
    return (
        f"{_zh(f.role)}签字：{f.signer}（{f.office_organisation_id} {_zh(f.office_role)}），"
        f"登记表 {f.form_hash[:12]}",
        f"signed as {f.role}: {f.signer} ({f.office_role} of {f.office_organisation_id}), "
        f"form {f.form_hash[:12]}",
    )


def _file_forwarded(f: facts.FileForwarded) -> Said:
    return f"报送帮扶中心 {f.centre_id}", f"forwarded to the help centre {f.centre_id}"


def _file_registered(f: facts.FileRegistered) -> Said:
    return (
        f"建档：{_zh(*f.classes)}，可申请{_zh(*f.programmes)}；"
        f"审核 {f.reviewer}，审批 {f.approver}",
        f"registered the file: {_en(f.classes)}, may ask for {_en(f.programmes)}; reviewer "
        f"{f.reviewer}, approver {f.approver}",
    )


def _case_rejected(f: facts.CaseRejected) -> Said:
    reasons = ", ".join(f.reasons)
    because = f"；{f.explanation}" if f.explanation else ""
    return (
        f"不予建档（{_zh(f.stage)}阶段，{f.rule}）：{reasons}{because}；"
        f"{f.review_until} 前可申请复核",
        f"rejected at {f.stage} by {f.rule}: {reasons}{because} ; review until {f.review_until}",
    )


def _hardship_end_proposed(f: facts.HardshipEndProposed) -> Said:
    return f"提请脱困：{_zh(f.exit)}", f"proposed the end of hardship: {_en([f.exit])}"


def _hardship_end_declined(f: facts.HardshipEndDeclined) -> Said:
    return f"未予确认脱困：{f.reasons}", f"declined the end of hardship: {f.reasons}"


def _hardship_ended(f: facts.HardshipEnded) -> Said:
    return f"脱困：{_zh(f.exit)}", f"hardship has ended: {_en([f.exit])}"


def _file_deregistered(f: facts.FileDeregistered) -> Said:
    return f"注销档案：{_zh(f.exit)}", f"took the file off the register: {_en([f.exit])}"


WORDS: Mapping[type[Fact], Callable[[Any], Said]] = {
    facts.ApplicationSubmitted: _application_submitted,
    facts.ApplicationResubmitted: _application_resubmitted,
    facts.ApplicationAccepted: _application_accepted,
    facts.ApplicationReturned: _application_returned,
    facts.ApplicationLapsed: _application_lapsed,
    facts.ConsentGiven: _consent_given,
    facts.ConsentWithdrawn: _consent_withdrawn,
    facts.VisitScheduled: _visit_scheduled,
    facts.VisitCompleted: _visit_completed,
    facts.VisitsReconciled: _visits_reconciled,
    facts.FindingAsked: _finding_asked,
    facts.ReliefReferralMade: _relief_referral_made,
    facts.ReliefOutcomeRecorded: _relief_outcome_recorded,
    facts.ClassTakenOver: _class_taken_over,
    facts.FormDrawnUp: _form_drawn_up,
    facts.NoticePassed: _notice_passed,
    facts.ObjectionTakenOver: _objection_taken_over,
    facts.SigningScheduled: _signing_scheduled,
    facts.Signed: _signed,
    facts.FileForwarded: _file_forwarded,
    facts.FileRegistered: _file_registered,
    facts.CaseRejected: _case_rejected,
    facts.HardshipEndProposed: _hardship_end_proposed,
    facts.HardshipEndDeclined: _hardship_end_declined,
    facts.HardshipEnded: _hardship_ended,
    facts.FileDeregistered: _file_deregistered,
}
