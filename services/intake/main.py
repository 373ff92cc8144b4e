"""Intake, wired: its one kind of stream, what it hears, and its process."""

from services.intake import facts
from services.intake.api import routes
from services.intake.decisions import ACTS
from services.intake.decisions.state import Case, evolve
from services.intake.reactions import HEARD_FACTS, HEARS, REACTIONS
from services.intake.storage import KIND, guard_changes, own_rows, views
from services.intake.timers import TIMERS
from shared.fact import registry_of
from shared.room import Room, StreamKind
from shared.service import serve


def holder(state: Case) -> str | None:
    """The organisation that holds the case; those above it see it too."""
    return state.application.organisation_id if state.application else None


CASE = StreamKind(
    name=KIND,
    of_case=True,
    initial=Case,
    evolve=evolve,
    acts=ACTS,
    holder=holder,
    views=views,
)

ROOM = Room(
    name="intake",
    kinds={KIND: CASE},
    states=registry_of(facts),
    reads=registry_of(facts, *HEARD_FACTS),
    hears=HEARS,
    reactions=REACTIONS,
    timers=TIMERS,
    guard_changes=guard_changes,
    own_rows=own_rows,
)


def main() -> None:
    """Run the service until it is told to stop."""
    serve(ROOM, routes)


if __name__ == "__main__":
    main()
