"""What notice does when it hears a fact: translate it into its own command, and no more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import services.eligibility.facts as eligibility
import services.intake.facts as intake
import services.network.facts as network
from services.notice.decisions.commands import CloseFile, TakeOverForm, TakeOverRegistration
from services.notice.facts import PublishedFields
from services.notice.storage import FUND_RULES
from shared.fact import Fact, Recorded
from shared.network_copy import reactions_for
from shared.room import Reaction, ReferenceRow, Tell, Todo

NOTICES: Final = "notices"


def on_form_drawn_up(fact: intake.FormDrawnUp, recorded: Recorded) -> Sequence[Todo]:
    """The form is there: it may be noticed."""
    command = TakeOverForm(
        occurred_on=recorded.occurred_on,
        form_hash=fact.form_hash,
        organisation_id=fact.organisation_id,
        workplace_id=fact.workplace_id,
        station_id=fact.station_id,
        fund=fact.fund,
        published=PublishedFields(**fact.published.model_dump()),
        publication_consent=fact.publication_consent,
    )
    return [Tell(NOTICES, fact.case_id, command)]


def on_file_registered(fact: intake.FileRegistered, recorded: Recorded) -> Sequence[Todo]:
    """On file: the time for objections is over."""
    return [Tell(NOTICES, fact.case_id, TakeOverRegistration(occurred_on=recorded.occurred_on))]


def on_case_rejected(fact: intake.CaseRejected, recorded: Recorded) -> Sequence[Todo]:
    """Rejected: what still hangs comes down."""
    command = CloseFile(occurred_on=recorded.occurred_on, reason=fact.rule)
    return [Tell(NOTICES, fact.case_id, command)]


def on_file_deregistered(fact: intake.FileDeregistered, recorded: Recorded) -> Sequence[Todo]:
    """The file left the files."""
    command = CloseFile(occurred_on=recorded.occurred_on, reason=fact.exit)
    return [Tell(NOTICES, fact.case_id, command)]


def on_parameter_announced(
    fact: eligibility.ParameterAnnounced, recorded: Recorded
) -> Sequence[Todo]:
    """How long notices last stands in a fund's rules; other parameters are not ours."""
    if fact.parameter != "fund_rules":
        return []
    document: Mapping[str, Any] = fact.model_dump(
        mode="json",
        include={"scope", "effective_from", "effective_to", "announced_on", "values"},
    )
    return [ReferenceRow(FUND_RULES, recorded.fact_id, document)]


REACTIONS: Final[Mapping[type[Fact], Reaction]] = {
    **reactions_for(network),
    intake.FormDrawnUp: on_form_drawn_up,
    intake.FileRegistered: on_file_registered,
    intake.CaseRejected: on_case_rejected,
    intake.FileDeregistered: on_file_deregistered,
    eligibility.ParameterAnnounced: on_parameter_announced,
}
HEARS: Final = {
    "network": network.STREAMS,
    "intake": intake.STREAMS,
    "eligibility": eligibility.STREAMS,
}
