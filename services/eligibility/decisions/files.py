"""The registered file, as eligibility needs it: from when until when awards may be asked for."""

from services.eligibility.decisions.awards import refused_later
from services.eligibility.decisions.case import CaseDecisions
from services.eligibility.facts import FileClosed, FileTakenOver, Programme, Student
from shared.room import Answer, Command, Decided


class TakeFileOver(Command):
    """The file is registered: who belongs to it and who acted on it."""

    household_id: str
    organisation_id: str
    station_id: str
    centre_id: str
    fund: str
    programmes: tuple[Programme, ...]
    persons: tuple[str, ...]
    students: tuple[Student, ...]
    incident_id: str | None
    visitors: tuple[str, ...]
    signers: tuple[str, ...]
    reviewer: str


class CloseFile(Command):
    """The file left the register."""

    exit: str


def take_over(state: CaseDecisions, command: TakeFileOver, _: object) -> Answer:
    """State the registered file again in the own stream; once."""
    if state.file is not None:
        return Decided()
    taken = command.model_dump(exclude={"by", "occurred_on", "fact_id"})
    return Decided([FileTakenOver(case_id=state.case_id, **taken)])


def close(state: CaseDecisions, command: CloseFile, _: object) -> Answer:
    """A closed file takes no new award; computed ones are refused, approved ones are still paid."""
    if state.file is None or state.closed is not None:
        return Decided()
    undecided = [award for award in state.awards if award.is_undecided]
    return Decided(
        [
            FileClosed(case_id=state.case_id, exit=command.exit),
            *(refused_later(award, "closing", "FILE_CLOSED") for award in undecided),
        ]
    )
