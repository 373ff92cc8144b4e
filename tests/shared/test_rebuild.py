"""What is kept beside the log, derived anew while the service goes on writing."""

from __future__ import annotations

from typing import Any

from shared.rebuild.service import Rebuilt, rebuild
from shared.room import Room
from shared.service import Parts
from tests.toy import alpha
from tests.toy.world import World, kept_of, new_case, tell


async def some_tallies(world: World, count: int = 5) -> tuple[Parts, list[str]]:
    await world.migrate("alpha")
    a = await world.start(alpha.room())
    cases = [new_case() for _ in range(count)]
    for case in cases:
        await tell(a, "tally", case, alpha.Open())
        await tell(a, "tally", case, alpha.Count(amount=2))
    return a, cases


async def rebuilt(world: World, room: Room, *names: str, **options: Any) -> Rebuilt:
    return await rebuild(room, world.postgres_url, names, **options)


def differing(result: Rebuilt) -> dict[str, dict[str, int]]:
    return {model.model: model.differing for model in result.models if model.differing}


DAMAGE = (
    "UPDATE alpha.views SET document = '{{}}' WHERE key = '{0}'",
    "DELETE FROM alpha.views WHERE key = '{1}'",
    "INSERT INTO alpha.views (model, key, stream, subject, document)"
    " VALUES ('tally', 'nobody', 'tally-nobody', 'nobody', '{{}}')",
    "UPDATE alpha.guards SET value = value + 7",
    "INSERT INTO alpha.guards VALUES ('nothing', 3)",
    "DELETE FROM alpha.case_scope WHERE subject = '{2}'",
    "UPDATE alpha.case_scope SET holder = false WHERE subject = '{3}'",
)


async def test_what_was_damaged_is_told_and_put_right(world: World) -> None:
    a, cases = await some_tallies(world)
    before = await kept_of(a)
    scopes = await scopes_of(a)
    assert (await rebuilt(world, a.room)).is_sound
    async with world.admin() as admin:
        for statement in DAMAGE:
            await admin.execute(statement.format(*cases))
    result = await rebuilt(world, a.room)
    assert differing(result) == {
        "tally": {"not what the facts give": 1, "missing": 1, "follows from no fact": 1},
        "guards": {"not what the facts give": 2},
        "case_scope": {"missing": 1, "not what the facts give": 1},
    }
    assert (await rebuilt(world, a.room)).is_sound
    after = await kept_of(a)
    after["guards"].remove(("nothing", 0))
    assert after == before
    assert await scopes_of(a) == scopes


async def scopes_of(parts: Parts) -> list[tuple[Any, ...]]:
    rows = await parts.store.worker.fetch(
        "SELECT subject, organisation, holder, from_day, to_day"
        f" FROM {parts.room.name}.case_scope ORDER BY 1, 2, 4"
    )
    return [tuple(row) for row in rows]
