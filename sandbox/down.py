"""``./run down``: stop whatever ``./run up`` and ``./run demo --keep`` left running here."""

from __future__ import annotations

from deploy.infrastructure import stop_detached
from sandbox.arguments import OneLineParser, program
from sandbox.installation import CHECKOUT, STATE_FILE, stop_recorded

DESCRIPTION = (
    "停止 ./run up 与 ./run demo --keep 留下的一切。 "
    "Stop whatever ./run up and ./run demo --keep left running here."
)


@program
def main() -> None:
    """By the process ids that were recorded, and only if they are still the same processes."""
    OneLineParser(prog="./run down", description=DESCRIPTION).parse_args()
    for kind in ("up", "demo"):
        base = CHECKOUT / ".bangfu" / kind
        for state in sorted(base.glob(f"*/{STATE_FILE}")):
            if stop_recorded(state.parent):
                print(f"已停止 stopped: {kind}/{state.parent.name}")
        if (base / "servers").exists() and stop_detached(base / "servers"):
            print(f"已停止 stopped: {kind}/servers")


if __name__ == "__main__":
    main()
