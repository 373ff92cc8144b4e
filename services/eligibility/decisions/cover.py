"""From a computed award to an approved one: cover first, then a person of the centre.

Payout answers every computed award with cover or without; only a covered one is approved.
"""

from services.eligibility.decisions.awards import refused_later
from services.eligibility.decisions.case import CaseDecisions
from services.eligibility.decisions.offices import acted_before, not_in_office
from services.eligibility.facts import AwardApproved, CoverTakenOver
from shared.room import UNKNOWN, Answer, Command, Decided, Refusal, Situation


class TakeCover(Command):
    """Payout keeps this amount ready for the award."""

    award_id: str
    amount_fen: int


class RefuseCover(Command):
    """Payout has no money for the award."""

    award_id: str
    reason: str


class ApproveAward(Command):
    """A person of the centre approves the award."""

    award_id: str


def take_cover(state: CaseDecisions, command: TakeCover, _: Situation) -> Answer:
    """State the cover in the own stream; cover for an award refused meanwhile changes nothing."""
    award = state.award(command.award_id)
    if award is None or award.computed is None or award.status != "computed":
        return Decided()
    if command.amount_fen != award.computed.amount_fen:
        return Refusal("cover_differs", "占用额与救助额不符", "the cover is not of the amount")
    return Decided(
        [
            CoverTakenOver(
                case_id=state.case_id, award_id=award.award_id, amount_fen=command.amount_fen
            )
        ]
    )


def refuse_cover(state: CaseDecisions, command: RefuseCover, _: Situation) -> Answer:
    """Without cover the award is refused, and its room under the caps is given back."""
    award = state.award(command.award_id)
    if award is None or award.status != "computed":
        return Decided()
    return Decided([refused_later(award, "cover", command.reason)])


def approve(state: CaseDecisions, command: ApproveAward, _: Situation) -> Answer:
    """An approver of the centre, who did nothing else in the case, approves under cover (K10)."""
    file, award = state.file, state.award(command.award_id)
    if file is None or award is None or award.computed is None:
        return UNKNOWN
    refused = not_in_office(command.by, "approver", (file.centre_id,)) or acted_before(
        command.by, file.visitors, file.signers, file.reviewer
    )
    if refused is not None:
        return refused
    match award.status:
        case "covered":
            return Decided(
                [
                    AwardApproved(
                        case_id=state.case_id,
                        award_id=award.award_id,
                        programme=award.computed.programme,
                        fund=award.computed.fund,
                        household_id=award.computed.household_id,
                        amount_fen=award.computed.amount_fen,
                        approver=command.by.person,
                    )
                ]
            )
        case "approved":
            return Refusal("already_approved", "该救助已审批", "the award is approved already")
        case "refused":
            return Refusal("award_refused", "该救助已被拒绝", "the award was refused")
        case _:
            return Refusal(
                "not_covered",
                "资金尚未占用，不能审批",
                "an award is approved only under its cover",
                rule="§4",
            )
