"""A toy room as a process of its own, for tests that kill one: the name is the argument."""

import sys

from fastapi import APIRouter

from shared.door import Door
from shared.service import serve
from tests.toy import alpha, api, beta, gamma

ROOMS = {"alpha": alpha.room, "beta": beta.room, "gamma": gamma.room}


def no_routes(_door: Door) -> APIRouter:
    return APIRouter()


if __name__ == "__main__":
    name = sys.argv[1]
    serve(ROOMS[name](), api.routes if name == "alpha" else no_routes)
