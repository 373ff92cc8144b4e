"""Somebody at the door of alpha, with a token of their own and an office in a small tree."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson

from sandbox.issuer import Issuer, mint, new_signing_key
from shared.identity import TokenVerifier
from shared.room import Room
from shared.service import Parts, Routes, application
from tests.toy import alpha, api
from tests.toy.world import World, founding, hear_of

ISSUER = "http://issuer.test"
KEY = new_signing_key()
PEOPLE = {"clerk": ("east",), "manager": ("east", "city"), "stranger": (), "neighbour": ("west",)}


class Visitor:
    """Somebody at the door, with a token of their own."""

    def __init__(self, client: httpx.AsyncClient, subject: str, /, **token: Any) -> None:
        self._client = client
        signed_by = token.pop("signed_by", KEY)
        minted = mint(signed_by, subject, issuer=token.pop("issuer", ISSUER), **token)
        self._headers = {"Authorization": f"Bearer {minted}"}
        self._sent = 0

    async def post(
        self, path: str, body: Any = None, content: bytes | None = None, **headers: str | None
    ) -> httpx.Response:
        self._sent += 1
        named: dict[str, str | None] = {
            **self._headers,
            "Idempotency-Key": f"key-{self._sent:05}",
            "Content-Type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        kept = {name: value for name, value in named.items() if value is not None}
        raw = content if content is not None else orjson.dumps(body)
        sent = [(name.encode(), value.encode()) for name, value in kept.items()]
        return await self._client.post(path, content=raw, headers=sent)

    async def get(self, path: str) -> httpx.Response:
        return await self._client.get(path, headers=self._headers)


async def alpha_with_offices(world: World, room: Room | None = None) -> Parts:
    """East and west below the city, and who holds which office there."""
    await world.migrate("alpha")
    made = await world.start(room or alpha.room(), issuer=ISSUER)
    keys = httpx.AsyncClient(
        transport=httpx.ASGITransport(Issuer(KEY, "secret", dict, ISSUER).app())
    )
    world.stack.push_async_callback(keys.aclose)
    made.door._verifier = TokenVerifier(ISSUER, "bangfu", f"{ISSUER}/jwks", client=keys)
    for organisation in ("city", "east", "west"):
        await hear_of(made, "OrganisationFounded", **founding(organisation))
    for child in ("east", "west"):
        await hear_of(made, "EdgeOpened", child=child, parent="city", from_day="2020-01-01")
    for person, seats in PEOPLE.items():
        for seat in seats:
            office = {"person": person, "organisation": seat, "role": "clerk"}
            await hear_of(made, "OfficeTaken", **office, from_day="2020-01-01")
    return made


@asynccontextmanager
async def client_of(parts: Parts, routes: Routes = api.routes) -> AsyncIterator[httpx.AsyncClient]:
    """A connection to alpha's application, without a network between."""
    app = application(parts, routes)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://alpha.test") as made:
        yield made
