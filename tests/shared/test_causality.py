"""What a fact says of its causes: ``heard`` covers them, and ``lamport`` grows along each."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from shared.fact import Recorded, merge_heard, registry_of
from shared.room import Act, Answer, Command, Decided, Room, Situation, Tell, Todo
from shared.service import Parts
from tests.toy import alpha, beta
from tests.toy.world import Post, World, again, facts_of, held_of, new_case, tell


class Echo(Command):
    amount: int


def echo(state: alpha.Tally, command: Echo, situation: Situation) -> Answer:
    return Decided([alpha.Counted(case_id=state.case_id, amount=command.amount, pot="echo")])


def on_mirrored(fact: beta.Mirrored, recorded: Recorded) -> Sequence[Todo]:
    """Alpha answers every other mirror, which beta mirrors in turn, until the amount is used up."""
    if fact.amount < 2:
        return ()
    return (Tell("tally", fact.case_id, Echo(amount=fact.amount // 2)),)


def answering() -> Room:
    acts = dict(alpha.TALLY.acts)
    acts[Echo] = Act(echo)
    return alpha.room(
        kinds={"tally": replace(alpha.TALLY, acts=acts)},
        reads=registry_of(alpha.Module, beta.Module),
        hears={"beta": beta.STREAMS},
        reactions={beta.Mirrored: on_mirrored},
    )


class Network:
    """Two rooms that hear each other; any part of what one stated may reach the other, any time."""

    def __init__(self, chance: random.Random, a: Parts, b: Parts) -> None:
        self._chance = chance
        self._post = Post()
        self._rooms = {"alpha": a, "beta": b}
        self._posted = {"alpha": 0, "beta": 0}
        self._sent: dict[str, list] = {"alpha": [], "beta": []}  # type: ignore[type-arg]  # arrivals

    async def collect(self) -> bool:
        """Post what is new in both logs; False if nothing is."""
        found = False
        for name, parts in self._rooms.items():
            news = (await facts_of(parts))[self._posted[name] :]
            self._posted[name] += len(news)
            self._sent[name] += self._post.arrivals(news)
            found = found or bool(news)
        return found

    async def deliver_some(self) -> None:
        listener, speaker = self._chance.choice([("alpha", "beta"), ("beta", "alpha")])
        sent = self._sent[speaker]
        if sent:
            batch = self._chance.sample(sent, self._chance.randint(1, min(5, len(sent))))
            await self._rooms[listener].hearing.take(again(batch))

    async def deliver_all(self) -> None:
        while await self.collect():
            for listener, speaker in (("alpha", "beta"), ("beta", "alpha")):
                await self._rooms[listener].hearing.take(again(self._sent[speaker]))


@pytest.mark.parametrize("seed", range(4))
async def test_heard_covers_causes_and_lamport_grows_along_them(seed: int, world: World) -> None:
    chance = random.Random(seed)
    await world.migrate("alpha", "beta")
    a, b = await world.start(answering()), await world.start(beta.room())
    cases = [new_case() for _ in range(3)]
    for case in cases:
        await tell(a, "tally", case, alpha.Open())
    network = Network(chance, a, b)
    for _ in range(30):
        await network.collect()
        if chance.random() < 0.3:
            command = alpha.Count(amount=chance.randint(1, 9), pot=str(chance.random()))
            await tell(a, "tally", chance.choice(cases), command)
        else:
            await network.deliver_some()
    await network.deliver_all()
    assert await held_of(a) == await held_of(b) == []

    facts = [*await facts_of(a), *await facts_of(b)]
    by_id = {f.fact_id: f for f in facts}
    by_place = {(f.stream, f.version): f for f in facts}
    assert len(by_place) == len(facts) == len(by_id)
    assert any(f.attributes["causationid"] for f in facts if f.service == "alpha")
    for fact in facts:
        before = by_place.get((fact.stream, fact.version - 1))
        cause = by_id.get(fact.attributes["causationid"])
        for each in filter(None, (before, cause)):
            assert fact.lamport > each.lamport
            assert fact.replay_key > each.replay_key
        taken_in = merge_heard(
            before.heard if before else {},
            {**cause.heard, cause.stream: cause.version} if cause else {},
        )
        taken_in.pop(fact.stream, None)
        assert fact.heard == taken_in
        # Nothing is heard of that does not exist, of another case, or of its own stream.
        for stream, version in fact.heard.items():
            known = by_place[stream, version]
            assert known.subject == fact.subject
            assert known.lamport < fact.lamport
        greatest = max((each.lamport for each in (before, cause) if each), default=0)
        assert fact.lamport == 1 + greatest

    # In the order of replay every fact comes after all that it had heard of.
    seen: dict[str, int] = {}
    for fact in sorted(facts, key=lambda f: f.replay_key):
        assert fact.version == seen.get(fact.stream, 0) + 1
        assert all(seen.get(s, 0) >= v for s, v in fact.heard.items())
        seen[fact.stream] = fact.version


async def test_what_has_no_case_orders_nothing_within_one(world: World) -> None:
    """A fact of nobody's case leaves neither its lamport nor itself in a case's facts."""
    await world.migrate("alpha", "beta")
    a = await world.start(alpha.room())
    free = replace(alpha.TALLY, of_case=False)
    caseless = await world.start(alpha.room(kinds={"tally": free}))
    b = await world.start(beta.room())
    case = new_case()
    await tell(caseless, "tally", case, alpha.Open())
    await tell(caseless, "tally", case, alpha.Count(amount=1))
    await b.hearing.take(Post().arrivals(await facts_of(a)))
    mirrored = await facts_of(b)
    assert [f.lamport for f in mirrored] == [1, 2]
    assert [f.heard for f in mirrored] == [{}, {}]
    assert [f.attributes["causationid"] for f in mirrored] == [f.fact_id for f in await facts_of(a)]
