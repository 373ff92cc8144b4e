"""A new schema version goes round: its readers start before its writers, beside the old ones."""

from __future__ import annotations

import asyncio
from collections import Counter

from shared.arrival import WAITING_BEHIND, WAITING_FOR_BUILD
from tests.shared.test_consumers import Process
from tests.toy import alpha, newer
from tests.toy.world import PARTITIONS, World, facts_of, held_of, new_case, running, tell, until

CASES = 12
COUNTS = 4


async def test_nothing_parks_for_good_while_builds_change(world: World) -> None:
    """What an old reader can't read yet waits, and leaves in order when that one is replaced."""
    await world.migrate("alpha", "beta")
    await world.create_topics("alpha", "beta")
    old, new = await world.start(alpha.room()), await world.start(newer.alpha_room(), instance="1")
    watching = await world.start(newer.beta_room(), instance="9")
    cases = [new_case() for _ in range(CASES)]
    later = [new_case() for _ in range(CASES)]

    async def heard() -> bool:
        # Each fact of alpha has one effect at beta.
        return len(await facts_of(watching)) == len(await facts_of(old))

    async with running(old, new):
        with Process(world, "beta", "0") as reader:
            with Process(world, "beta", "1", "newer") as newer_reader:

                async def shared_out() -> bool:
                    counts = (await reader.partitions(), await newer_reader.partitions())
                    return sum(counts) == PARTITIONS and min(counts) > 0

                await until(shared_out, seconds=60)
                await asyncio.gather(*(tell(old, "tally", c, alpha.Open()) for c in cases))
                await asyncio.gather(*(tell(new, "tally", c, alpha.Open()) for c in later))
                for _ in range(COUNTS):
                    counting = [tell(old, "tally", c, alpha.Count(amount=0)) for c in cases]
                    counting += [tell(new, "tally", c, alpha.Count(amount=0)) for c in later]
                    await asyncio.gather(*counting)

                async def parked() -> bool:
                    return WAITING_FOR_BUILD in {reason for reason, _ in await held_of(watching)}

                await until(parked, seconds=60)
                kept = {reason for reason, _ in await held_of(watching)}
                assert kept <= {WAITING_FOR_BUILD, WAITING_BEHIND}
                reader.kill()
                with Process(world, "beta", "0", "newer"):
                    await until(heard, seconds=60)
                    assert await held_of(watching) == []
    effects = Counter(f.attributes["causationid"] for f in await facts_of(watching))
    # Read by the newer build, which alone knows both versions.
    assert effects == Counter(f.fact_id for f in await facts_of(new))
