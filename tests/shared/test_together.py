"""Questions asked together: one statement for those who ask meanwhile, each with its own answer."""

import asyncio
from collections.abc import Sequence

import pytest

from shared.together import Together


class Asked:
    """Answers the double of each number; what is odd about a question is its own fault."""

    def __init__(self) -> None:
        self.statements: list[list[int]] = []
        self.is_away = False
        self.began = asyncio.Event()

    async def answers(self, numbers: Sequence[int]) -> list[int]:
        self.statements.append(list(numbers))
        self.began.set()
        await asyncio.sleep(0)
        if self.is_away:
            raise OSError("away")
        if any(number < 0 for number in numbers):
            raise ValueError("below nothing")
        return [2 * number for number in numbers]

    def together(self, at_once: int = 1) -> Together[int, int]:
        return Together(self.answers, lambda error: isinstance(error, OSError), at_once)


async def test_those_who_ask_meanwhile_share_the_next_statement() -> None:
    asked = Asked()
    together = asked.together()
    first = asyncio.ensure_future(together.answer(1))
    await asked.began.wait()
    rest = [asyncio.ensure_future(together.answer(number)) for number in (2, 3, 4)]
    assert await asyncio.gather(first, *rest) == [2, 4, 6, 8]
    assert asked.statements == [[1], [2, 3, 4]]
    assert await together.answer(5) == 10


async def test_no_more_statements_at_once_than_allowed() -> None:
    asked = Asked()
    together = asked.together(at_once=2)
    asking: list[asyncio.Future[int]] = []
    for number in range(1, 6):
        asked.began.clear()
        asking.append(asyncio.ensure_future(together.answer(number)))
        if number <= 2:
            await asked.began.wait()
    assert asked.statements == [[1], [2]]
    assert await asyncio.gather(*asking) == [2, 4, 6, 8, 10]
    assert [len(each) for each in asked.statements] == [1, 1, 3]


async def test_a_fault_of_ones_own_meets_no_other() -> None:
    asked = Asked()
    together = asked.together()
    found = await asyncio.gather(*map(together.answer, (1, -2, 3)), return_exceptions=True)
    assert [found[0], type(found[1]), found[2]] == [2, ValueError, 6]


async def test_a_fault_of_the_moment_is_everybodys_and_asked_once() -> None:
    asked = Asked()
    together = asked.together()
    asked.is_away = True
    found = await asyncio.gather(*map(together.answer, (1, 2, 3)), return_exceptions=True)
    assert [type(each) for each in found] == [OSError] * 3
    assert asked.statements == [[1, 2, 3]]
    asked.is_away = False
    assert await together.answer(4) == 8


async def test_who_no_longer_waits_takes_no_answer_from_the_others() -> None:
    asked = Asked()
    together = asked.together()
    first, second = (asyncio.ensure_future(together.answer(number)) for number in (1, 2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == 4
    with pytest.raises(asyncio.CancelledError):
        await first
