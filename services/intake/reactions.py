"""What intake does with the facts of others: hear, translate, tell the case.

Refusals are none here: a fact that no longer concerns the case (it ended, the form is another)
leads to nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from services.eligibility import facts as eligibility
from services.intake.decisions.form import TakeClass, TakeProposal
from services.intake.decisions.registration import TakePlacement
from services.intake.decisions.signing import TakeNotice, TakeObjection
from services.intake.storage import KIND
from services.network import facts as network
from services.notice import facts as notice
from services.training import facts as training
from shared.fact import Fact, Recorded
from shared.network_copy import reactions_for
from shared.room import Reaction, Tell


def on_determined(fact: eligibility.EligibilityDetermined, _: Recorded) -> Sequence[Tell]:
    """A proposal: it may refer, or ask for a finding."""
    command = TakeProposal(
        determination_id=fact.determination_id, outcome=fact.outcome, reason=fact.reason
    )
    return [Tell(KIND, fact.case_id, command)]


def on_confirmed(fact: eligibility.EligibilityConfirmed, _: Recorded) -> Sequence[Tell]:
    """The class is settled: the form is drawn up, or the case ends."""
    command = TakeClass.model_validate(fact.model_dump(exclude={"case_id"}))
    return [Tell(KIND, fact.case_id, command)]


def on_elapsed(fact: notice.NoticeElapsed, _: Recorded) -> Sequence[Tell]:
    """A notice ran its days: the gate for signing."""
    command = TakeNotice(notice_id=fact.notice_id, place=fact.place, form_hash=fact.form_hash)
    return [Tell(KIND, fact.case_id, command)]


def on_objection(fact: notice.ObjectionRaised, _: Recorded) -> Sequence[Tell]:
    """An objection stops the next step."""
    return [Tell(KIND, fact.case_id, TakeObjection(objection_id=fact.objection_id, state="raised"))]


def on_dismissed(fact: notice.ObjectionDismissed, _: Recorded) -> Sequence[Tell]:
    """The way is free again."""
    command = TakeObjection(objection_id=fact.objection_id, state="dismissed")
    return [Tell(KIND, fact.case_id, command)]


def on_upheld(fact: notice.ObjectionUpheld, _: Recorded) -> Sequence[Tell]:
    """The objection was right: the case ends."""
    return [Tell(KIND, fact.case_id, TakeObjection(objection_id=fact.objection_id, state="upheld"))]


def on_placed(fact: training.TraineePlaced, _: Recorded) -> Sequence[Tell]:
    """A job: the hardship may have ended."""
    command = TakePlacement(person_id=fact.person_id, placement_id=fact.placement_id)
    return [Tell(KIND, fact.case_id, command)]


HEARS: Final[Mapping[str, Sequence[str]]] = {
    "network": network.STREAMS,
    "eligibility": eligibility.STREAMS,
    "notice": notice.STREAMS,
    "training": training.STREAMS,
}
HEARD_FACTS: Final[Sequence[Any]] = (network, eligibility, notice, training)

REACTIONS: Final[Mapping[type[Fact], Reaction]] = {
    **reactions_for(network),
    eligibility.EligibilityDetermined: on_determined,
    eligibility.EligibilityConfirmed: on_confirmed,
    notice.NoticeElapsed: on_elapsed,
    notice.ObjectionRaised: on_objection,
    notice.ObjectionDismissed: on_dismissed,
    notice.ObjectionUpheld: on_upheld,
    training.TraineePlaced: on_placed,
}
