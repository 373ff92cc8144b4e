"""Eligibility, wired: streams, what is heard, what is served."""

from services.eligibility import facts, storage
from services.eligibility.api import routes
from services.eligibility.decisions import awards, case, cover, determination, files, parameters
from services.eligibility.reactions import REACTIONS
from services.intake import facts as intake
from services.network import facts as network
from services.payout import facts as payout
from shared.fact import registry_of
from shared.room import Act, Room, StreamKind
from shared.service import serve

DECISIONS = StreamKind(
    name="decisions",
    of_case=True,
    initial=case.initial,
    evolve=case.evolve,
    acts={
        determination.DetermineEligibility: Act(determination.determine, opens=True),
        determination.DetermineAfterRelief: Act(determination.determine_after_relief),
        determination.ConfirmEligibility: Act(determination.confirm),
        determination.TakeRejection: Act(determination.take_rejection, ends=True),
        files.TakeFileOver: Act(files.take_over, opens=True),
        files.CloseFile: Act(files.close),
        awards.RequestAward: Act(awards.request, awards.needs),
        cover.TakeCover: Act(cover.take_cover),
        cover.RefuseCover: Act(cover.refuse_cover),
        cover.ApproveAward: Act(cover.approve),
    },
    holder=case.holder,
    views=storage.case_views,
)

PARAMETERS = StreamKind(
    name="parameters",
    of_case=False,
    initial=parameters.initial,
    evolve=parameters.evolve,
    acts={
        parameters.ProposeParameter: Act(parameters.propose, opens=True),
        parameters.AnnounceParameter: Act(parameters.announce),
    },
    holder=lambda state: state.organisation_id,
    views=storage.parameter_views,
)

ROOM = Room(
    name="eligibility",
    kinds={kind.name: kind for kind in (DECISIONS, PARAMETERS)},
    states=registry_of(facts),
    reads=registry_of(facts, intake, network, payout),
    hears={"intake": intake.STREAMS, "network": network.STREAMS, "payout": payout.STREAMS},
    reactions=REACTIONS,
    guard_changes=storage.guard_changes,
    references=storage.references,
    build_reference=storage.build_reference,
)


def main() -> None:
    """Serve until told to stop."""
    serve(ROOM, routes)


if __name__ == "__main__":
    main()
