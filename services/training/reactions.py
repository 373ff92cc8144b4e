"""What training does when it hears a fact: translate it into its own command, and no more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import services.intake.facts as intake
import services.network.facts as network
from services.training.decisions.workers import CloseFile, TakeOverWorkers
from services.training.storage import WORKER
from shared.fact import Fact, Recorded
from shared.network_copy import reactions_for
from shared.room import Reaction, Tell, Todo


def on_file_registered(fact: intake.FileRegistered, recorded: Recorded) -> Sequence[Todo]:
    """On file: its workers may be trained."""
    command = TakeOverWorkers(
        occurred_on=recorded.occurred_on,
        household_id=fact.household_id,
        organisation_id=fact.organisation_id,
        workers=fact.workers,
    )
    return [Tell(WORKER, fact.case_id, command)]


def on_file_deregistered(fact: intake.FileDeregistered, recorded: Recorded) -> Sequence[Todo]:
    """Off the files: no new enrolment."""
    return [Tell(WORKER, fact.case_id, CloseFile(occurred_on=recorded.occurred_on, exit=fact.exit))]


REACTIONS: Final[Mapping[type[Fact], Reaction]] = {
    **reactions_for(network),
    intake.FileRegistered: on_file_registered,
    intake.FileDeregistered: on_file_deregistered,
}
HEARS: Final = {"network": network.STREAMS, "intake": intake.STREAMS}
