"""The wiring of the network service, and nothing else."""

from services.network import facts, storage
from services.network.api import routes
from services.network.decisions import ACTS
from services.network.decisions.state import evolve, initial
from shared.fact import registry_of
from shared.room import Room, StreamKind
from shared.service import serve

ROOM = Room(
    name="network",
    kinds={
        "organisation": StreamKind(
            name="organisation",
            of_case=False,
            initial=initial,
            evolve=evolve,
            acts=ACTS,
            holder=storage.holder,
            views=storage.views,
        )
    },
    states=registry_of(facts),
    reads=registry_of(facts),
    guard_changes=storage.guard_changes,
    references=storage.references,
    build_reference=storage.build_reference,
)


def main() -> None:
    """Run the service until it is told to stop."""
    serve(ROOM, routes)


if __name__ == "__main__":
    main()
