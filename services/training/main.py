"""The wiring of the training service, and nothing else."""

from services.intake import facts as intake
from services.network import facts as network
from services.training import facts, storage
from services.training.api import routes
from services.training.decisions import classes, slips, workers
from services.training.decisions.heads import guard_changes
from services.training.reactions import HEARS, REACTIONS
from services.training.timers import TIMERS
from shared.fact import registry_of
from shared.room import Room, StreamKind
from shared.service import serve

ROOM = Room(
    name="training",
    kinds={
        "order": StreamKind(
            name="order",
            of_case=False,
            initial=slips.Order,
            evolve=slips.evolve_order,
            acts=slips.ORDER_ACTS,
            holder=storage.order_holder,
            views=storage.order_views,
        ),
        "menu": StreamKind(
            name="menu",
            of_case=False,
            initial=slips.Menu,
            evolve=slips.evolve_menu,
            acts=slips.MENU_ACTS,
            holder=storage.menu_holder,
            views=storage.menu_views,
        ),
        "class": StreamKind(
            name="class",
            of_case=False,
            initial=classes.TrainingClass,
            evolve=classes.evolve,
            acts=classes.CLASS_ACTS,
            holder=storage.class_holder,
            views=storage.class_views,
        ),
        "worker": StreamKind(
            name="worker",
            of_case=True,
            initial=workers.Workers,
            evolve=workers.evolve,
            acts=workers.WORKER_ACTS,
            holder=storage.worker_holder,
            views=storage.worker_views,
        ),
    },
    states=registry_of(facts),
    reads=registry_of(facts, network, intake),
    hears=HEARS,
    reactions=REACTIONS,
    timers=TIMERS,
    guard_changes=guard_changes,
)


def main() -> None:
    """Run the service until it is told to stop."""
    serve(ROOM, routes)


if __name__ == "__main__":
    main()
