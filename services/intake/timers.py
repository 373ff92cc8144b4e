"""What falls due: the lapse of a returned application that nobody answered."""

from collections.abc import Mapping
from datetime import date
from typing import Final

from services.intake.decisions.application import LapseApplication
from services.intake.storage import KIND, LAPSE
from shared.room import Tell, Timer


def lapse_when_due(identity: str, due_on: date) -> Tell:
    """The lapse happened on the day it fell due, however late the timer comes."""
    return Tell(KIND, identity, LapseApplication(occurred_on=due_on))


TIMERS: Final[Mapping[str, Timer]] = {LAPSE: lapse_when_due}
