"""Questions that many ask at the same moment, put to the database in one statement.

Who commands on behalf of a batch asks little and waits for the way there and back. While one
statement is under way, whoever comes leaves their question; the next statement takes all of them.
So nobody waits for a timer, and nothing is answered from before it was asked.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar, cast

MOST_TOGETHER: Final = 200

Question = TypeVar("Question")
Answer = TypeVar("Answer")


class Together(Generic[Question, Answer]):
    """``at_once`` statements at a time; ``ask`` answers up to ``MOST_TOGETHER`` questions in order.

    An error is everybody's if ``is_passing`` says so. Any other may be one question's own fault:
    then each is asked alone, and it meets none but the one who asked.
    """

    def __init__(
        self,
        ask: Callable[[Sequence[Question]], Awaitable[Sequence[Answer]]],
        is_passing: Callable[[Exception], bool],
        at_once: int = 1,
    ) -> None:
        self._ask = ask
        self._is_passing = is_passing
        self._at_once = at_once
        self._waiting: deque[tuple[Question, asyncio.Future[Answer]]] = deque()
        self._working: set[asyncio.Task[None]] = set()

    async def answer(self, question: Question) -> Answer:
        """The answer to this question, as of after it was asked."""
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((question, waiting))
        if len(self._working) < self._at_once:
            # A task of its own: who asked first may be cancelled, and the others are answered.
            task = loop.create_task(self._work())
            self._working.add(task)
        return await waiting

    async def _work(self) -> None:
        taken: list[tuple[Question, asyncio.Future[Answer]]] = []
        try:
            while self._waiting:
                taken = [
                    self._waiting.popleft() for _ in range(min(MOST_TOGETHER, len(self._waiting)))
                ]
                await self._answer_all(taken)
        finally:
            # Here and not when the task is done, or whoever asks in between would wait for nobody.
            self._working.discard(cast("asyncio.Task[None]", asyncio.current_task()))
            for _, waiting in taken:
                waiting.cancel()
            while self._waiting and not self._working:
                self._waiting.popleft()[1].cancel()

    async def _answer_all(self, taken: Sequence[tuple[Question, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._ask([question for question, _ in taken])
        except Exception as error:  # noqa: BLE001 - it is raised where it was asked
            if len(taken) > 1 and not self._is_passing(error):
                for each in taken:
                    await self._answer_all([each])
                return
            for _, waiting in taken:
                if not waiting.done():
                    waiting.set_exception(error)
            return
        for (_, waiting), answer in zip(taken, answers, strict=True):
            if not waiting.done():
                waiting.set_result(answer)
