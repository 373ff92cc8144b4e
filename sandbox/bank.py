"""The sandbox's bank: a process of its own that knows us only by topic, API and token.

    BANGFU_BANK_…=… python -m sandbox.bank          (bank_settings.py)

It reads its instructions from Kafka with its own group, fetches accounts over HTTP, and does
with a payment what was drawn for the household (fate.py): confirms at once, accepts first, comes
late, refuses a wrong account, says everything twice, or falls silent until it is asked. It pays
each end-to-end id once, whatever it reads and however often it dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from itertools import islice
from typing import Any, Final

import uvicorn
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.bank_client import NoAnswer, PayeeAccount, PayoutClient
from sandbox.bank_instructions import BrokenInstruction, Instruction, is_birth, read
from sandbox.bank_ledger import Ledger, Order, Report
from sandbox.bank_settings import PREFIX, BankSettings
from sandbox.cards import household_of, variant_of
from sandbox.fate import Fate, bank_fate
from shared.births import BirthWatch
from shared.bus import METADATA_AGE_MS, BirthAgedError, BusError, header, read_generation
from shared.calendar import BusinessCalendar, day_after
from shared.clock import Clock, ClockError, FileClock, RealClock
from shared.listening_address import AddressRefused, bound, listen
from shared.settings import explain, refuse_to_start

# How long one question for records stays open at most; it is answered as soon as there are some.
POLL_MS: Final = 1_000
# What comes is left to gather, so that what a request costs is shared by more payments.
GATHER_SECONDS: Final = 0.04
LOOK_SECONDS: Final = 0.04
PAUSE_SECONDS: Final = 0.2
LOOK_AT_BIRTH_SECONDS: Final = 2.0
MOST_RECORDS: Final = 200
# How long until payout is asked again for an account that it could not open.
ASK_AGAIN_SECONDS: Final = 1.0
NAMED: Final = (f"{PREFIX}HOST", f"{PREFIX}PORT")
# An account that is no card of the sandbox, or that payout will not tell any more.
UNKNOWN_ACCOUNT: Final = Fate("other", "at_once", 0, doubled=False)

# The household that an account belongs to, and what becomes of payments to it.
Drawn = tuple[int | None, Fate]


class Bank(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """The bank's working day: instructions in, payments done, reports out, questions answered."""

    def __init__(self, settings: BankSettings, ledger: Ledger, client: PayoutClient) -> None:
        self._settings = settings
        self._ledger = ledger
        self._client = client
        self._clock: Clock = FileClock(settings.clock_file) if settings.clock_file else RealClock()
        self._calendar = BusinessCalendar()
        self._consumer: AIOKafkaConsumer | None = None
        self._generation = ""
        self._positions: dict[int, int] = {}
        self._taking = False
        self._worked_on: date | None = None
        self._asked_again_at = time.monotonic()
        self._asked_again_up_to = ""

    # Instructions

    async def consume(self) -> None:
        """Take instructions in until cancelled."""
        settings = self._settings
        self._consumer = consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.kafka_bootstrap,
            group_id=settings.group,
            group_instance_id=settings.group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            metadata_max_age_ms=METADATA_AGE_MS,
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=max(300, settings.session_timeout_ms // 4),
        )
        consumer.subscribe([settings.topic], listener=self)
        await consumer.start()
        watch, looked_at = BirthWatch(settings.kafka_bootstrap, [settings.topic]), time.monotonic()
        try:
            while True:
                try:
                    if time.monotonic() - looked_at > LOOK_AT_BIRTH_SECONDS:
                        born = (await watch.look()).get(settings.topic, self._generation)
                        looked_at = time.monotonic()
                        if born != self._generation:
                            await self._begin_again()
                    fetched = await consumer.getmany(timeout_ms=POLL_MS, max_records=MOST_RECORDS)
                    if fetched:
                        await self._take(fetched)
                        await asyncio.sleep(GATHER_SECONDS)
                except (KafkaError, BusError) as error:
                    _say(f"instructions wait for Kafka: {type(error).__name__}")
                    await asyncio.sleep(PAUSE_SECONDS)
        finally:
            await watch.close()
            await consumer.stop()

    async def _begin_again(self) -> None:
        """The topic was made anew while it was read: from its beginning, as the contract says."""
        assert self._consumer is not None  # noqa: S101 - it is consuming
        _say("the instructions' topic was made anew")
        await self.on_partitions_assigned(self._consumer.assignment())

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """What was taken in is in the books already."""
        for partition in revoked:
            self._positions.pop(partition.partition, None)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Go on where the books say, not where Kafka's group stands."""
        topic = self._settings.topic
        try:
            self._generation = await read_generation(self._settings.kafka_bootstrap, topic)
        except BirthAgedError:
            # Then the offsets alone tell, as they were noted last.
            self._generation = self._ledger.generation(topic)
        known = self._ledger.positions(topic, self._generation)
        assert self._consumer is not None  # noqa: S101 - it called us
        for partition in assigned:
            offset = known.get(partition.partition, 0)
            self._consumer.seek(partition, offset)
            self._positions[partition.partition] = offset

    async def _take(self, fetched: Mapping[TopicPartition, Sequence[ConsumerRecord]]) -> None:
        """Enter records together with the positions after them."""
        records = [record for each in fetched.values() for record in each]
        if any(is_birth_of_another(record, self._generation) for record in records):
            await self._begin_again()
            return
        self._taking = True
        try:
            read_ = [self._read(record) for record in records if not is_birth(record.headers)]
            orders = await self._orders([each for each in read_ if each])
            ends = {place: each[-1].offset + 1 for place, each in fetched.items()}
            today = self._clock.today()
            with self._ledger.write():
                self._ledger.count("records", len(records))
                self._ledger.count("unreadable", sum(each is None for each in read_))
                for order in orders:
                    self._enter(order, today)
                for place, end in ends.items():
                    self._ledger.move(place.topic, place.partition, self._generation, end)
            self._positions.update({place.partition: end for place, end in ends.items()})
            self._worked_on = None
        finally:
            self._taking = False

    @staticmethod
    def _read(record: ConsumerRecord) -> Instruction | None:
        try:
            return read([(name, bytes(text)) for name, text in record.headers], record.value)
        except BrokenInstruction as error:
            _say(f"unreadable instruction at {record.partition}/{record.offset}: {error}")
            return None

    async def _orders(self, instructions: Sequence[Instruction]) -> list[Order]:
        """What is to become of instructions; only a new one needs its account."""
        today = self._clock.today()
        new = {i.end_to_end_id for i in instructions if not self._ledger.knows(i.end_to_end_id)}
        fates = await self._fates(sorted(new)) if new else {}
        unasked: Drawn = (None, UNKNOWN_ACCOUNT)
        return [
            self._order(each, fates.get(each.end_to_end_id, unasked), today)
            for each in instructions
        ]

    def _order(self, instruction: Instruction, drawn: Drawn | None, today: date) -> Order:
        household, fate = drawn or (None, None)
        return Order(instruction, household, fate, self._execute_on(fate, today))

    def _execute_on(self, fate: Fate | None, today: date) -> date:
        if fate is None or not fate.delay_days:
            return today
        days = self._calendar.working_days(day_after(today))
        return next(islice(days, fate.delay_days - 1, None))

    async def _fates(self, end_to_end_ids: Sequence[str]) -> dict[str, Drawn | None]:
        """Ask for accounts until there is an answer; nothing is kept of them but the household.

        None for one that payout can't open: it is neither paid nor refused, and asked for again.
        """
        while True:
            try:
                accounts = await self._client.accounts(end_to_end_ids)
                break
            except NoAnswer as error:
                _say(f"waits for accounts: {error}")
                await asyncio.sleep(PAUSE_SECONDS)
        return {
            each: None if each in accounts.damaged else self._fate(accounts.told.get(each))
            for each in end_to_end_ids
        }

    async def _ask_again(self, today: date) -> None:
        """For the accounts that payout could not open so far, as many as one question may name.

        The next question goes on behind them: those that never open keep none from being asked for.
        """
        if time.monotonic() - self._asked_again_at < ASK_AGAIN_SECONDS:
            return
        self._asked_again_at = time.monotonic()
        waiting = self._ledger.without_account(MOST_RECORDS, after=self._asked_again_up_to)
        self._asked_again_up_to = waiting[-1] if len(waiting) == MOST_RECORDS else ""
        if not waiting:
            return
        fates = await self._fates(waiting)
        with self._ledger.write():
            for end_to_end_id, drawn in fates.items():
                if drawn is not None:
                    household, fate = drawn
                    on = self._execute_on(fate, today)
                    self._ledger.give_account(end_to_end_id, household, fate, on, today)
                    self._worked_on = None

    def _fate(self, account: PayeeAccount | None) -> Drawn:
        try:
            card = account.account if account else ""
            household, variant = household_of(card), variant_of(card)
        except ValueError:
            return None, UNKNOWN_ACCOUNT
        return household, bank_fate(self._settings.seed, household, variant, self._settings.rates)

    def _enter(self, order: Order, today: date) -> None:
        asked = order.instruction
        if self._ledger.repeats(asked):
            self._ledger.count("repeated")
        elif not self._ledger.follows(asked):
            _say(f"the chain of {asked.stream} is broken at version {asked.version}")
            self._ledger.count("broken_chain")
        elif self._ledger.knows(asked.end_to_end_id):
            self._ledger.count("ordered_twice")
        else:
            self._ledger.take(order, today)

    # Payments and reports

    async def work(self) -> None:
        """Carry out and report what is due, whenever there is something new or a new day."""
        while True:
            try:
                today = self._clock.today()
                await self._ask_again(today)
                if self._worked_on != today:
                    self._worked_on = today
                    if not await self._work_through(today):
                        self._worked_on = None
                        await asyncio.sleep(PAUSE_SECONDS)
            except ClockError as error:
                _say(str(error))
            await asyncio.sleep(LOOK_SECONDS)

    async def _work_through(self, today: date) -> bool:
        """False if payout could not be reached: the rest waits."""
        if self._ledger.due_work(today):
            with self._ledger.write():
                self._ledger.work(today)
        while due := self._ledger.due_reports(today, MOST_RECORDS):
            # Of one payment the next word follows the one before.
            first = {report.body["end_to_end_id"]: report for report in reversed(due)}
            if not await self._tell(list(first.values())):
                return False
        return True

    async def _tell(self, reports: Sequence[Report]) -> bool:
        """Report in one request; False if any of them is to be sent again."""
        # A copy is another message with the same content, so that payout has to see through it.
        told = [
            (r.body, f"{r.body['end_to_end_id']}-{r.body['state']}-{r.id}-{r.copy}")
            for r in reports
        ]
        try:
            statuses = await self._client.report(told)
        except NoAnswer as error:
            _say(f"reports wait: {error}")
            return False
        with self._ledger.write():
            for report, status in zip(reports, statuses, strict=True):
                if status is not None:
                    self._ledger.sent(report)
                    self._ledger.count("reports" if status < 400 else f"reports_refused_{status}")
        return None not in statuses

    # Questions

    def status(self) -> dict[str, Any]:
        """How things stand today, so that whoever moves the clock knows that the bank is done."""
        today = self._clock.today()
        payments, reports = self._ledger.due_work(today), self._ledger.due_report_count(today)
        counters = self._ledger.counters()
        busy = self._taking or not self._positions or self._worked_on != today
        return {
            "today": today.isoformat(),
            "at_rest": not (busy or payments or reports),
            "due_payments": payments,
            "due_reports": reports,
            "handled": sum(counters.values()),
            "hears": [self._settings.topic],
            "counters": counters,
            "payments": self._ledger.by_state(),
            "positions": {
                f"{self._settings.topic}/{partition}": offset
                for partition, offset in sorted(self._positions.items())
            },
        }

    def app(self) -> Starlette:
        """The bank's three routes."""

        async def status(_request: Request) -> Response:
            try:
                return JSONResponse(self.status())
            except ClockError:
                return JSONResponse({"at_rest": False}, 503)

        async def payment(request: Request) -> Response:
            found = self._ledger.payment(request.path_params["end_to_end_id"])
            with self._ledger.write():
                self._ledger.count("questions")
            return JSONResponse(found) if found else JSONResponse({"error": "unknown"}, 404)

        async def ledger(_request: Request) -> Response:
            return JSONResponse(ledger_document(self._ledger))

        return Starlette(
            routes=[
                Route("/status", status),
                Route("/payments/{end_to_end_id}", payment),
                Route("/ledger", ledger),
            ]
        )


def is_birth_of_another(record: ConsumerRecord, generation: str) -> bool:
    """Whether a record begins another topic than the one that was read so far."""
    return is_birth(record.headers) and header(record, "ce_id") != generation


def ledger_document(ledger: Ledger) -> Mapping[str, Any]:
    """The credits that were executed, with their total, and what was counted."""
    executed = ledger.credits()
    return {
        "credits": executed,
        "total_fen": sum(each["amount_fen"] for each in executed),
        "counters": ledger.counters(),
        "payments": ledger.by_state(),
    }


def _say(line: str) -> None:
    print(f"bank: {line}", file=sys.stderr, flush=True)


async def serve(settings: BankSettings) -> None:
    """Run until told to end by a signal; a part that ends takes the others with it."""
    with bound(settings.host, settings.port, NAMED) as sockets:
        listen(sockets, settings.port, NAMED)
        await _serve(settings, sockets)


async def _serve(settings: BankSettings, sockets: Sequence[socket.socket]) -> None:
    ledger, client = Ledger(settings.folder), PayoutClient(settings)
    bank = Bank(settings, ledger, client)
    server = uvicorn.Server(uvicorn.Config(bank.app(), log_level="warning", access_log=False))
    parts = [
        asyncio.ensure_future(part)
        for part in (bank.consume(), bank.work(), server.serve(sockets=list(sockets)))
    ]
    try:
        done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        for part in done:
            part.result()
    finally:
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
        await client.close()
        ledger.close()


def main() -> None:
    """The command line; a wrong setting ends it with one line and status 2."""
    try:
        settings = BankSettings()
    except ValidationError as error:
        refuse_to_start(explain(error, PREFIX))
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve(settings))
    except AddressRefused as refused:
        refuse_to_start(str(refused))


if __name__ == "__main__":
    main()
