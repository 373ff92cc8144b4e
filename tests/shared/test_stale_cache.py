"""What is remembered never refuses what a fresh load would allow, nor shows what it would not."""

from __future__ import annotations

from dataclasses import replace

from shared.desk import Done
from shared.room import UNKNOWN, Answer, Decided, Refusal, Situation
from shared.service import Parts
from tests.toy import alpha
from tests.toy.world import World, facts_of, founding, hear_of, new_case, tell


async def two_desks(world: World) -> tuple[Parts, Parts]:
    await world.migrate("alpha")
    return await world.start(alpha.room()), await world.start(alpha.room())


async def test_a_stale_state_refuses_nothing(world: World) -> None:
    """One desk remembers a stream that is not open; another has opened it."""
    a, b = await two_desks(world)
    case = new_case()
    assert await tell(a, "tally", case, alpha.Count(amount=1)) == UNKNOWN
    await tell(b, "tally", case, alpha.Open())
    assert isinstance(await tell(a, "tally", case, alpha.Count(amount=1)), Done)


async def test_a_stale_state_gives_no_empty_answer(world: World) -> None:
    """One desk remembers that nothing needs to happen; another has changed that."""
    a, b = await two_desks(world)
    case = new_case()
    await tell(a, "tally", case, alpha.Open())
    assert await tell(a, "tally", case, alpha.Ring()) == Done(f"tally-{case}", case, ())

    class Rearm(alpha.Open):
        pass

    def rearm(state: alpha.Tally, command: Rearm, situation: Situation) -> Answer:
        return Decided(
            [alpha.Opened(case_id=state.case_id, organisation_id="city", rings_on=situation.today)]
        )

    acts = dict(alpha.TALLY.acts)
    acts[Rearm] = replace(acts[alpha.Open], decide=rearm)
    rearming = await world.start(alpha.room(kinds={"tally": replace(alpha.TALLY, acts=acts)}))
    await tell(rearming, "tally", case, Rearm())
    done = await tell(a, "tally", case, alpha.Ring())
    assert isinstance(done, Done)
    assert [f.type for f in done.facts] == ["toy.alpha.Rang"]
    assert isinstance(await tell(b, "tally", case, alpha.Ring()), Done)


async def test_a_stale_copy_of_the_tree_refuses_nothing(world: World) -> None:
    """Another process has heard of the organisation since this one looked."""
    await world.migrate("alpha")

    def in_town(state: alpha.Tally, command: alpha.Count, situation: Situation) -> Answer:
        if situation.directory.organisation("town") is None:
            return Refusal("no_town", "无此单位", "no such organisation")
        return Decided([alpha.Counted(case_id=state.case_id, amount=command.amount)])

    acts = dict(alpha.TALLY.acts)
    acts[alpha.Count] = replace(acts[alpha.Ring], decide=in_town)
    room = alpha.room(kinds={"tally": replace(alpha.TALLY, acts=acts)})
    a, b = await world.start(room), await world.start(room)
    case = new_case()
    await tell(a, "tally", case, alpha.Open())
    assert isinstance(await tell(a, "tally", case, alpha.Count(amount=1)), Refusal)
    await hear_of(b, "OrganisationFounded", **founding("town"))
    assert isinstance(await tell(a, "tally", case, alpha.Count(amount=1)), Done)


async def test_a_remembered_state_lets_no_other_office_through(world: World) -> None:
    """The office of the case has warmed the cache; another one gets the answer for unknown."""
    a, _ = await two_desks(world)
    case = new_case()
    await tell(a, "tally", case, alpha.Open())
    await tell(a, "tally", case, alpha.Count(amount=1))
    before = await facts_of(a)
    for command in (
        alpha.Count(amount=1),  # would be stored
        alpha.Count(amount=1000),  # would be refused
        alpha.Ring(),  # would have no effect
        alpha.Open(),  # would be refused, by a state
    ):
        assert await tell(a, "tally", case, command, organisations=["elsewhere"]) == UNKNOWN
    nobodys = new_case()
    unknown = await tell(a, "tally", nobodys, alpha.Ring(), organisations=["elsewhere"])
    assert unknown == UNKNOWN
    assert await facts_of(a) == before
    rows = await a.store.worker.fetch("SELECT actor, attempt, subject FROM alpha.denials")
    assert [tuple(row) for row in rows] == [
        *(("person", name, case) for name in ("Count", "Count", "Ring", "Open")),
        ("person", "Ring", nobodys),
    ]
