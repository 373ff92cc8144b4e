"""The wiring of the notice service, and nothing else."""

from services.eligibility import facts as eligibility
from services.intake import facts as intake
from services.network import facts as network
from services.notice import facts, storage
from services.notice.api import routes
from services.notice.decisions import ACTS
from services.notice.decisions.state import evolve, initial
from services.notice.reactions import HEARS, REACTIONS
from services.notice.timers import TIMERS
from shared.fact import registry_of
from shared.room import Room, StreamKind
from shared.service import serve

ROOM = Room(
    name="notice",
    kinds={
        "notices": StreamKind(
            name="notices",
            of_case=True,
            initial=initial,
            evolve=evolve,
            acts=ACTS,
            holder=storage.holder,
            views=storage.views,
        )
    },
    states=registry_of(facts),
    reads=registry_of(facts, network, intake, eligibility),
    hears=HEARS,
    reactions=REACTIONS,
    timers=TIMERS,
    build_reference=storage.build_reference,
)


def main() -> None:
    """Run the service until it is told to stop."""
    serve(ROOM, routes)


if __name__ == "__main__":
    main()
