"""What payout does when it hears a fact: turn it into a command of its own, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from services.eligibility.facts import AwardApproved, AwardComputed, AwardRefused
from services.intake.facts import FileRegistered
from services.network import facts as network_facts
from services.payout.decisions.cover import ReleaseCover, ReserveCover, TakeOverAccount
from services.payout.decisions.paying import IssuePayout, PlanPayout, TakeIntoBatch
from services.payout.facts import BatchPrepared, BatchReleased
from shared.fact import Fact, Recorded
from shared.network_copy import reactions_for
from shared.room import Reaction, Tell


def on_file_registered(fact: FileRegistered, _recorded: Recorded) -> Sequence[Tell]:
    """Whom to pay is stated again here, once."""
    payee = fact.payee
    command = TakeOverAccount(
        household_id=fact.household_id,
        organisation_id=fact.organisation_id,
        persons=fact.persons,
        payee_id=payee.person_id if payee else None,
        account_kind=payee.kind if payee else None,
        account=payee.account if payee else None,
        holder_name=payee.holder_name if payee else None,
    )
    return (Tell("payouts", fact.case_id, command),)


def on_award_computed(fact: AwardComputed, _recorded: Recorded) -> Sequence[Tell]:
    """The gate: cover, or no approval."""
    command = ReserveCover(
        award_id=fact.award_id,
        fund=fact.fund,
        programme=fact.programme,
        amount_fen=fact.amount_fen,
    )
    return (Tell("payouts", fact.case_id, command),)


def on_award_refused(fact: AwardRefused, _recorded: Recorded) -> Sequence[Tell]:
    """If it was under cover, the cover is free again."""
    return (Tell("payouts", fact.case_id, ReleaseCover(award_id=fact.award_id)),)


def on_award_approved(fact: AwardApproved, _recorded: Recorded) -> Sequence[Tell]:
    """Approved, so to be paid, also if the file closes meanwhile."""
    command = PlanPayout(award_id=fact.award_id, amount_fen=fact.amount_fen, approver=fact.approver)
    return (Tell("payouts", fact.case_id, command),)


def on_batch_prepared(fact: BatchPrepared, _recorded: Recorded) -> Sequence[Tell]:
    """Own topic: each payout notes its batch."""
    return [
        Tell(
            "payouts",
            item.case_id,
            TakeIntoBatch(payout_id=item.payout_id, batch_id=fact.batch_id, maker=fact.maker),
        )
        for item in fact.items
    ]


def on_batch_released(fact: BatchReleased, _recorded: Recorded) -> Sequence[Tell]:
    """Own topic: each payout of the batch goes out."""
    return [
        Tell(
            "payouts",
            item.case_id,
            IssuePayout(
                payout_id=item.payout_id,
                batch_id=fact.batch_id,
                maker=fact.maker,
                checker=fact.checker,
            ),
        )
        for item in fact.items
    ]


REACTIONS: dict[type[Fact], Reaction] = {
    **reactions_for(network_facts),
    FileRegistered: on_file_registered,
    AwardComputed: on_award_computed,
    AwardRefused: on_award_refused,
    AwardApproved: on_award_approved,
    BatchPrepared: on_batch_prepared,
    BatchReleased: on_batch_released,
}
