"""A toy room as a process of its own, for tests that kill one: the name is the argument.

A second argument, "newer", starts the same room as a newer build has it.
"""

import sys

from fastapi import APIRouter

from shared.door import Door
from shared.service import serve
from tests.toy import alpha, api, beta, gamma, newer

ROOMS = {"alpha": alpha.room, "beta": beta.room, "gamma": gamma.room}

NEWER = {"alpha": newer.alpha_room, "beta": newer.beta_room}


def no_routes(_door: Door) -> APIRouter:
    return APIRouter()


if __name__ == "__main__":
    name = sys.argv[1]
    rooms = NEWER if sys.argv[2:] == ["newer"] else ROOMS
    serve(rooms[name](), api.routes if name == "alpha" else no_routes)
