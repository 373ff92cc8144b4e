"""What intake decides: one pure function for each command, by step.

- ``readings``: durations, bands and codes that were chosen; ``offices``: who may
- ``state``: the case, its evolution and its stages
- ``grounds``: what a machine can see wrong in an application; ``application``, ``consents``
- ``visits``: two visits, reconciliation, relief outcome
- ``form``: eligibility's answers and the registration form
- ``signing``: notices passed, objections, two signatures
- ``registration``: forwarding, registration, rejection, the end of hardship
"""

from collections.abc import Mapping
from typing import Final

from services.intake.decisions.application import (
    AcceptApplication,
    EnterForm,
    LapseApplication,
    ResubmitApplication,
    ReturnApplication,
    SubmitApplication,
    accept,
    enter_form,
    lapse,
    needs_open_files,
    needs_open_files_of,
    resubmit,
    send_back,
    submit,
)
from services.intake.decisions.consents import ChangeConsent, change_consent
from services.intake.decisions.form import TakeClass, TakeProposal, take_class, take_proposal
from services.intake.decisions.registration import (
    EndHardship,
    ForwardFile,
    RegisterFile,
    RejectCase,
    TakePlacement,
    end_hardship,
    forward,
    register,
    reject,
    take_placement,
)
from services.intake.decisions.signing import (
    SignForm,
    TakeNotice,
    TakeObjection,
    sign,
    take_notice,
    take_objection,
)
from services.intake.decisions.visits import (
    CompleteVisit,
    ReconcileVisits,
    RecordReliefOutcome,
    reconcile,
    record_relief_outcome,
    visit,
)
from shared.room import Act, Command

ACTS: Final[Mapping[type[Command], Act]] = {
    SubmitApplication: Act(submit, opens=True),
    EnterForm: Act(enter_form, needs_open_files_of, opens=True),
    AcceptApplication: Act(accept, needs_open_files),
    ReturnApplication: Act(send_back, needs_open_files),
    ResubmitApplication: Act(resubmit),
    LapseApplication: Act(lapse),
    ChangeConsent: Act(change_consent),
    CompleteVisit: Act(visit),
    ReconcileVisits: Act(reconcile),
    RecordReliefOutcome: Act(record_relief_outcome),
    TakeProposal: Act(take_proposal),
    TakeClass: Act(take_class),
    TakeNotice: Act(take_notice),
    TakeObjection: Act(take_objection),
    SignForm: Act(sign),
    ForwardFile: Act(forward),
    RegisterFile: Act(register),
    RejectCase: Act(reject),
    TakePlacement: Act(take_placement),
    EndHardship: Act(end_hardship),
}
