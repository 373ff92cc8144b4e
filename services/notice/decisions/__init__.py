"""What notice decides: pure functions of a command, a case's notices and a situation.

`state` is the stream folded, `posting` a notice from the form to its last day, `objections` what
the public says to it, `offices` who may.
"""

from collections.abc import Mapping
from typing import Final

from services.notice.decisions import objections, posting
from services.notice.decisions.commands import (
    CloseFile,
    DecideObjection,
    ElapseNotices,
    InvestigateObjection,
    PostNotice,
    RaiseObjection,
    TakeOverForm,
    TakeOverRegistration,
)
from shared.room import Act, Command

ACTS: Final[Mapping[type[Command], Act]] = {
    TakeOverForm: Act(posting.take_over_form, opens=True),
    TakeOverRegistration: Act(posting.take_over_registration),
    CloseFile: Act(posting.close_file, ends=True),
    PostNotice: Act(posting.post),
    ElapseNotices: Act(posting.elapse),
    RaiseObjection: Act(objections.raise_objection),
    InvestigateObjection: Act(objections.investigate),
    DecideObjection: Act(objections.decide),
}
