"""What falls due in notice: a notice's last day ends, and it elapses on the next."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Final

from services.notice.decisions.commands import ElapseNotices
from services.notice.storage import ELAPSE
from shared.room import Tell, Timer


def elapse(case_id: str, due_on: date) -> Tell:
    """Entered late after downtime, the fact still lies on the day on which it was due."""
    return Tell("notices", case_id, ElapseNotices(occurred_on=due_on, on=due_on))


TIMERS: Final[Mapping[str, Timer]] = {ELAPSE: elapse}
