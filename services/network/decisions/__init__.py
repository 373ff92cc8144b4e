"""What may be said of the network: organisations, the dated tree, offices and delegations.

One stream per organisation; its edges upward, its offices and its delegations stand in it. The
tree as a whole is judged on the directory, and guard rows hold what two writes could break
together: the one root, a circle closed from two sides, a child under a closed parent.
"""

from collections.abc import Mapping
from typing import Final

from services.network.decisions import offices, tree
from services.network.decisions.commands import (
    Close,
    EndDelegation,
    EndEdge,
    Found,
    GiveDelegation,
    Install,
    LeaveOffice,
    Move,
    OpenEdge,
    TakeOffice,
)
from services.network.decisions.rules import ROOT_GUARD, TREE_GUARD, closed_guard
from services.network.decisions.state import Organisation
from shared.room import Act, Command, Needs


def _of_root(_state: Organisation, _command: Install) -> Needs:
    return Needs(guards=[ROOT_GUARD])


def _of_parent(_state: Organisation, command: Found) -> Needs:
    return Needs(guards=[closed_guard(command.parent)])


def _of_tree_and_parent(_state: Organisation, command: OpenEdge | Move) -> Needs:
    return Needs(guards=[TREE_GUARD, closed_guard(command.parent)])


def _of_tree(_state: Organisation, _command: Close) -> Needs:
    return Needs(guards=[TREE_GUARD])


ACTS: Final[Mapping[type[Command], Act]] = {
    Install: Act(tree.install, _of_root, opens=True),
    Found: Act(tree.found, _of_parent, opens=True),
    Close: Act(tree.close, _of_tree),
    OpenEdge: Act(tree.open_edge, _of_tree_and_parent),
    EndEdge: Act(tree.end_edge),
    Move: Act(tree.move, _of_tree_and_parent),
    TakeOffice: Act(offices.take_office),
    LeaveOffice: Act(offices.leave_office),
    GiveDelegation: Act(offices.give_delegation),
    EndDelegation: Act(offices.end_delegation),
}
