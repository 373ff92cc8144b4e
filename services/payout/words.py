"""What each fact of payout says, in Chinese and in English, for replay and other readers.

Sealed values stand in the words as they are, sealed: who may see them is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from services.payout import facts
from shared.fact import Fact
from shared.money import format_yuan

Said = tuple[str, str]

_ZH: Final[Mapping[str, str]] = {
    "living": "生活救助", "education": "助学救助", "medical": "医疗救助", "disaster": "灾害救助",
    "card": "银行卡", "passbook": "存折", "name_mismatch": "户名不符", "closed": "已销户",
    "card_replaced": "已换卡", "frozen": "已冻结", "other": "其他", "budget": "财政预算",
    "provincial_grant": "省级补助", "union_dues": "工会经费", "donation": "捐赠",
}  # fmt: skip


def _zh(code: str) -> str:
    return _ZH.get(code, code)


def _yuan(fen: int) -> str:
    return format_yuan(fen)


def _account_taken_over(f: facts.AccountTakenOver) -> Said:
    if f.account is None:
        return "获悉建档：尚无收款账户", "the file is registered; no account to pay to yet"
    kind = f.account_kind or ""
    return (
        f"获悉建档：收款账户 {f.account} 户名 {f.holder_name}（{_zh(kind)}）",
        f"the file is registered; to be paid to {f.account} of {f.holder_name} ({kind})",
    )


def _cover_reserved(f: facts.CoverReserved) -> Said:
    return (
        f"落实{_zh(f.programme)}资金 {_yuan(f.amount_fen)} 元（{f.fund}）",
        f"reserved {_yuan(f.amount_fen)} yuan of {f.fund} for {f.programme} help",
    )


def _cover_refused(f: facts.CoverRefused) -> Said:
    return (
        f"资金未能落实 {_yuan(f.amount_fen)} 元（{f.fund}）：{f.reason}",
        f"no cover for {_yuan(f.amount_fen)} yuan of {f.fund}: {f.reason}",
    )


def _cover_released(f: facts.CoverReleased) -> Said:
    return (
        f"释放资金 {_yuan(f.amount_fen)} 元（{f.fund}）",
        f"released {_yuan(f.amount_fen)} yuan of {f.fund}",
    )


def _payout_planned(f: facts.PayoutPlanned) -> Said:
    return (
        f"计划发放{_zh(f.programme)} {_yuan(f.amount_fen)} 元"
        f"（{f.fund}，第 {f.instalment} 期第 {f.attempt} 次）",
        f"planned to pay {_yuan(f.amount_fen)} yuan of {f.fund} for {f.programme} help (instalment "
        f"{f.instalment}, attempt {f.attempt})",
    )


def _payout_batched(f: facts.PayoutBatched) -> Said:
    return (
        f"列入批次 {f.batch_id}（制单人 {f.maker}）",
        f"taken into batch {f.batch_id} (maker {f.maker})",
    )


def _payout_issued(f: facts.PayoutIssued) -> Said:
    return (
        f"发出付款指令 {f.end_to_end_id}：{_yuan(f.amount_fen)} 元，"
        f"账户 {f.account} 户名 {f.holder_name}（制单 {f.maker}，复核 {f.checker}）",
        f"issued the instruction {f.end_to_end_id}: {_yuan(f.amount_fen)} yuan to {f.account} of "
        f"{f.holder_name} (maker {f.maker}, checker {f.checker})",
    )


def _payout_accepted(f: facts.PayoutAccepted) -> Said:
    return f"银行已受理（{f.bank_reference}）", f"the bank accepted it ({f.bank_reference})"


def _payout_unresolved(f: facts.PayoutUnresolved) -> Said:
    return (
        f"至 {f.report_by} 银行无回音，结果不明，{f.ask_on} 起查询",
        f"no word of the bank by {f.report_by}: unresolved, to be asked from {f.ask_on}",
    )


def _bank_queried(f: facts.BankQueried) -> Said:
    return (
        f"第 {f.query} 次向银行查询付款 {f.payout_id}",
        f"asked the bank about payout {f.payout_id} (query {f.query})",
    )


def _payout_confirmed(f: facts.PayoutConfirmed) -> Said:
    return (
        f"已到账 {_yuan(f.amount_fen)} 元，{f.credited_on}（{f.bank_reference}）",
        f"credited {_yuan(f.amount_fen)} yuan on {f.credited_on} ({f.bank_reference})",
    )


def _payout_failed(f: facts.PayoutFailed) -> Said:
    return (
        f"发放失败 {_yuan(f.amount_fen)} 元：{_zh(f.reason)}（{f.bank_reference}）",
        f"failed, {_yuan(f.amount_fen)} yuan: {f.reason.replace('_', ' ')} ({f.bank_reference})",
    )


def _account_corrected(f: facts.AccountCorrected) -> Said:
    return (
        f"更正收款账户：{f.account} 户名 {f.holder_name}（{_zh(f.account_kind)}，{f.clerk}）",
        f"corrected the account: {f.account} of {f.holder_name} ({f.account_kind}, by {f.clerk})",
    )


def _reissue_proposed(f: facts.ReissueProposed) -> Said:
    return f"提请重新发放（{f.proposer}）", f"proposed a new attempt ({f.proposer})"


def _payout_reissued(f: facts.PayoutReissued) -> Said:
    return (
        f"同意重新发放（提请 {f.proposer}，确认 {f.confirmer}）",
        f"a new attempt is planned (proposed by {f.proposer}, confirmed by {f.confirmer})",
    )


def _batch_prepared(f: facts.BatchPrepared) -> Said:
    return (
        f"制单：{len(f.items)} 笔，{_yuan(f.total_fen)} 元（{f.maker}）",
        f"prepared a batch of {len(f.items)}, {_yuan(f.total_fen)} yuan (maker {f.maker})",
    )


def _batch_released(f: facts.BatchReleased) -> Said:
    return (
        f"复核放行：{len(f.items)} 笔，{_yuan(f.total_fen)} 元（{f.checker}）",
        f"released a batch of {len(f.items)}, {_yuan(f.total_fen)} yuan (checker {f.checker})",
    )


def _fund_credited(f: facts.FundCredited) -> Said:
    return (
        f"资金 {f.fund} 入账 {_yuan(f.amount_fen)} 元（{_zh(f.source)}）",
        f"credited {_yuan(f.amount_fen)} yuan to fund {f.fund} ({f.source.replace('_', ' ')})",
    )


WORDS: Mapping[type[Fact], Callable[[Any], Said]] = {
    facts.AccountTakenOver: _account_taken_over,
    facts.CoverReserved: _cover_reserved,
    facts.CoverRefused: _cover_refused,
    facts.CoverReleased: _cover_released,
    facts.PayoutPlanned: _payout_planned,
    facts.PayoutBatched: _payout_batched,
    facts.PayoutIssued: _payout_issued,
    facts.PayoutAccepted: _payout_accepted,
    facts.PayoutUnresolved: _payout_unresolved,
    facts.BankQueried: _bank_queried,
    facts.PayoutConfirmed: _payout_confirmed,
    facts.PayoutFailed: _payout_failed,
    facts.AccountCorrected: _account_corrected,
    facts.ReissueProposed: _reissue_proposed,
    facts.PayoutReissued: _payout_reissued,
    facts.BatchPrepared: _batch_prepared,
    facts.BatchReleased: _batch_released,
    facts.FundCredited: _fund_credited,
}
