"""The heard copy of the network: each service turns its facts into reference rows.

The facts' module comes as an argument, since ``shared`` knows no service.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

from shared.fact import Fact, Recorded, registry_of
from shared.room import Reaction, ReferenceRow, Todo

NETWORK_KIND = "network"
# Whose child stands above or below others from then on.
MOVES_THE_TREE = frozenset(("EdgeOpened", "EdgeClosed"))


def moved_by(row: ReferenceRow) -> str | None:
    """The organisation that this row moves in the tree, if it does."""
    if row.kind != NETWORK_KIND or row.document["fact"] not in MOVES_THE_TREE:
        return None
    return str(row.document["data"]["child"])


def reference_row(fact: Fact, recorded: Recorded) -> ReferenceRow:
    """One network fact as a row that ``Directory.apply`` takes in, keyed by the fact's id."""
    name = fact.stored_name.rpartition(".")[2]
    return ReferenceRow(
        NETWORK_KIND, recorded.fact_id, {"fact": name, "data": fact.model_dump(mode="json")}
    )


def reactions_for(network_facts: ModuleType) -> dict[type[Fact], Reaction]:
    """A reaction for every fact of the network: take it into the copy."""

    def copy(fact: Fact, recorded: Recorded) -> Sequence[Todo]:
        return (reference_row(fact, recorded),)

    return dict.fromkeys(registry_of(network_facts), copy)
