"""The process of one service: pools, desk, relay, hearing, timers and the HTTP door, wired once.

A background task that ends takes the process with it: a service either runs whole or is started
again by whoever runs it.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import orjson
import structlog
import uvicorn
import uvloop
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi_offline import FastAPIOffline

from shared.batches import batch_routes
from shared.bus import topic_name
from shared.calendar import BusinessCalendar
from shared.clock import Clock, ClockError, FileClock, RealClock
from shared.desk import Desk
from shared.door import UNREACHABLE, Door, problem_of
from shared.event_store import EventStore, is_passing
from shared.fact import Origin, UnknownFact
from shared.garbage import collect_seldom
from shared.health import Check
from shared.hearing import Hearing
from shared.identity import TokenVerifier
from shared.keys import KeyStore, MasterKeyMismatchError
from shared.lease import DATABASE_FAILURES
from shared.listening import Listening
from shared.listening_address import AddressRefused, bound, listen
from shared.looks import work_routes
from shared.measuring import Measuring
from shared.moment import Moment
from shared.pools import PLANS_BY_INDEX, Connections
from shared.presence import BeingRecovered
from shared.problems import install_problem_handlers
from shared.relay import Outbox, Relay
from shared.room import Refusal, Room
from shared.settings import ServiceSettings, load_settings, refuse_to_start
from shared.start import (
    StartRefused,
    check_log,
    check_migrations,
    check_standby,
    watch_moment,
    watch_relay,
)
from shared.telemetry import Progress, configure_logging, install_telemetry
from shared.timers import Timers

log = structlog.get_logger()

COMMAND_TIMEOUT_SECONDS: Final = 30.0
NEWER_BUILD: Final = Refusal(
    "newer-build",
    "此案已由新版本程序处理，本实例尚未更新，请用同一键重试",
    "a newer build has written to this, and this process is an older one: retry with the same key",
    status=503,
)

OTHER_MASTER_KEY: Final = (
    "BANGFU_MASTER_KEY: 与密钥库所用主密钥不同 is another one than the keys' database"
    " (BANGFU_KEYS_URL) was set up with"
)


@dataclass
class Parts:
    """What runs in the process; a room's own background tasks are handed this."""

    room: Room
    settings: Any
    clock: Clock
    store: EventStore
    keys: KeyStore
    desk: Desk
    door: Door
    relay: Relay
    hearing: Hearing
    listening: Listening | None
    timers: Timers
    progress: Progress
    moment: Moment
    # What a room's background tasks still have to do, by name: a day is not over before.
    outgoing: dict[str, Callable[[], int]] = field(default_factory=dict)
    # For how many seconds what is sent out has met no answer, by the same names.
    unanswered: dict[str, Callable[[], float]] = field(default_factory=dict)

    def checks(self) -> dict[str, Check]:
        """What must hold before the process is sent work."""

        async def database() -> bool:
            await self.moment.look(self.store.worker)
            return True

        async def consumer() -> bool:
            return self.listening is None or bool(self.hearing.positions)

        return {"database": database, "consumer": consumer}

    async def status(self) -> dict[str, Any]:
        """One cheap answer: is anything of this service still on its way?

        Causes are read before their effects (what was taken in, then what was committed, then
        what was published), so that an answer never shows less than it has caused.
        """
        causes = {
            "in_flight": self.door.in_flight,
            "timers_rested_on": self.timers.rested_on,
            "timers_stuck": len(self.timers.stuck),
            "outgoing": {name: waiting() for name, waiting in self.outgoing.items()},
            "hears": list(self.listening.topics) if self.listening else [],
            "positions": {
                f"{topic}/{partition}": offset
                for (topic, partition), offset in self.hearing.positions.items()
            },
            "held": dict(self.hearing.held_by_reason),
        }
        last_position = await self.store.last_position()
        relay = self.relay.status()
        return {
            "service": self.room.name,
            "today": self.clock.today(),
            **causes,
            "last_position": last_position,
            "relay": {**asdict(relay), "is_at_rest": relay.is_at_rest()},
            "lag": self.listening.lag() if self.listening else {},
        }


Routes = Callable[[Door], APIRouter]
Background = Callable[[Parts], Awaitable[None]]


@asynccontextmanager
async def pool(
    url: str, size: int, name: str, moment: Moment | None = None
) -> AsyncIterator[Connections]:
    """A pool of at most ``size`` connections, closed at the end whatever they do.

    With a moment none of them is to an earlier state of the database than the process knew.
    """
    made = Connections(
        url,
        size,
        check=None if moment is None else moment.meet,
        command_timeout=COMMAND_TIMEOUT_SECONDS,
        timeout=10,
        server_settings={"application_name": f"bangfu-{name}", **PLANS_BY_INDEX},
    )
    try:
        async with made.acquire():
            pass  # an address that is wrong is told at the start
        yield made
    finally:
        made.terminate()


@asynccontextmanager
async def parts_of(
    room: Room,
    settings: ServiceSettings,
    extra_outboxes: Mapping[str, str],
    moment: Moment | None = None,
) -> AsyncIterator[Parts]:
    """Everything of the process but its HTTP server and its running tasks."""
    moment = moment or Moment(room.name)
    clock: Clock = FileClock(settings.clock_file) if settings.clock_file else RealClock()
    async with (
        pool(settings.worker_url, 6, f"{room.name}-worker", moment) as worker,
        pool(
            settings.worker_url, 2 + len(extra_outboxes), f"{room.name}-relay", moment
        ) as relaying,
        pool(settings.api_url, 10, f"{room.name}-api", moment) as office,
    ):
        keys = await KeyStore.connect(settings.keys_url, settings.master_key_bytes)
        verifier = TokenVerifier(settings.issuer, settings.audience, settings.jwks_url)
        try:
            store = EventStore(room.name, worker, office)
            origin = Origin(settings.source, settings.build)
            desk = Desk(
                room,
                store,
                clock=clock,
                origin=origin,
                calendar=BusinessCalendar(),
                mac=keys.mac,
                cache_bytes=settings.cache_mib * 2**20,
            )
            progress = Progress()
            relay = _relay_of(room, settings, extra_outboxes, relaying, progress)
            timers = Timers(desk, progress)
            desk.after_write += [lambda write: relay.wake(len(write.facts)), timers.wake]
            hearing = Hearing(desk)
            listening = None
            if room.hears:
                topics = [topic_name(settings.topic_prefix, service) for service in room.hears]
                listening = Listening(hearing, worker, settings, topics, progress)
            door = Door(desk, verifier, keys, settings.installation_subject)
            await desk.reference.refresh()
            yield Parts(
                room,
                settings,
                clock,
                store,
                keys,
                desk,
                door,
                relay,
                hearing,
                listening,
                timers,
                progress,
                moment,
            )
        finally:
            await verifier.aclose()
            await keys.close()


def _relay_of(
    room: Room,
    settings: ServiceSettings,
    extra_outboxes: Mapping[str, str],
    relaying: Connections,
    progress: Progress,
) -> Relay:
    return Relay(
        relaying,
        room.name,
        outboxes_of(room, settings, extra_outboxes),
        settings.kafka_bootstrap,
        partitions=settings.partitions,
        holder=f"{room.name}-{settings.instance}",
        lease_seconds=settings.lease_seconds,
        gather_seconds=settings.gather_ms / 1000,
        on_published=lambda _table, _rows, _position: progress.beat("relay"),
    )


def _json(answer: dict[str, Any]) -> Response:
    # Partitions are numbers, and JSON names are text.
    content = orjson.dumps(answer, option=orjson.OPT_NON_STR_KEYS)
    return Response(content, media_type="application/json")


async def _on_fault_of_the_log(_request: Request, error: Exception) -> Response:
    """A look that met a cut connection may be tried again; what is for good is unexpected."""
    if not is_passing(error):
        raise error
    return problem_of(UNREACHABLE).response()


async def _on_newer_fact(_request: Request, error: Exception) -> Response:
    """A stream that another instance, of a newer build, has written to: that one can answer."""
    log.warning("newer_build_beside", error=str(error))
    return problem_of(NEWER_BUILD).response()


def application(parts: Parts, routes: Routes) -> FastAPI:
    """The service's HTTP application."""
    # Its /docs brings its own viewer: an office's network reaches no other host.
    app = FastAPIOffline(
        title=f"帮扶 Bangfu: {parts.room.name}",
        version=parts.settings.build,
        openapi_url="/openapi.json",
        docs_url="/docs",
        redoc_url=None,
        # Ours is shared/telemetry.py. The framework's own tells errors with their messages, and so
        # what people wrote, to whatever the environment names.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    install_problem_handlers(app)
    for fault in DATABASE_FAILURES:
        app.exception_handler(fault)(_on_fault_of_the_log)
    app.exception_handler(UnknownFact)(_on_newer_fact)
    install_telemetry(app, parts.room.name, parts.settings.build, parts.progress, parts.checks())
    own = routes(parts.door)
    app.include_router(own)
    app.include_router(work_routes(parts.door))
    app.include_router(batch_routes(parts.door, own.routes))

    @app.get("/status", include_in_schema=False)
    async def status() -> Response:
        return _json(await parts.status())

    @app.get("/overview", include_in_schema=False)
    async def overview() -> Response:
        return _json(await parts.store.overview())

    return app


def outboxes_of(
    room: Room, settings: ServiceSettings, extra_outboxes: Mapping[str, str]
) -> list[Outbox]:
    """What the service publishes, the log first."""
    prefix = settings.topic_prefix
    facts = Outbox("facts", topic_name(prefix, room.name))
    return [facts, *(Outbox(table, prefix + name) for table, name in extra_outboxes.items())]


async def _check_start(
    room: Room, settings: ServiceSettings, extra_outboxes: Mapping[str, str], moment: Moment
) -> None:
    check_clock(settings)
    await check_migrations(settings.worker_url, settings.keys_url, room.name)
    # Seen before the log is compared: what is found then holds of every later connection, too.
    async with pool(settings.worker_url, 1, f"{room.name}-start", moment):
        pass
    if settings.mode == "production" and settings.standby == "synchronous":
        await check_standby(settings.worker_url, settings.api_url)
    outboxes = outboxes_of(room, settings, extra_outboxes)
    await check_log(settings.worker_url, room.name, outboxes, settings.kafka_bootstrap)


def check_clock(settings: ServiceSettings) -> None:
    """Raise StartRefused if the file of the simulated clock says no time."""
    if settings.clock_file is not None:
        try:
            FileClock(settings.clock_file).now()
        except ClockError:
            raise StartRefused(
                "BANGFU_CLOCK_FILE: 无法读取时钟文件 the clock's file cannot be read"
            ) from None


@asynccontextmanager
async def _started(
    room: Room, settings: ServiceSettings, extra_outboxes: Mapping[str, str]
) -> AsyncIterator[Parts]:
    """Everything of the process, if it may run. Raises StartRefused, also for a database that goes
    away before all is there."""
    async with AsyncExitStack() as stack:
        try:
            moment = Moment(room.name)
            await _check_start(room, settings, extra_outboxes, moment)
            parts = await stack.enter_async_context(
                parts_of(room, settings, extra_outboxes, moment)
            )
        except BeingRecovered:
            told = "正在取回，完成后再启动 bangfu recover is at work on it: start it afterwards"
            raise StartRefused(f"{room.name}: {told}") from None
        except DATABASE_FAILURES as error:
            # A driver's message may quote an address with its password; its type may not.
            told = f"数据库不可用 the database can't be used: {type(error).__name__}"
            raise StartRefused(f"{room.name}: {told}") from None
        except MasterKeyMismatchError:
            raise StartRefused(OTHER_MASTER_KEY) from None
        yield parts


async def _serve(
    room: Room,
    routes: Routes,
    settings: ServiceSettings,
    extra_outboxes: Mapping[str, str],
    background: Sequence[Background],
) -> None:
    async with AsyncExitStack() as stack:
        sockets = stack.enter_context(bound(settings.host, settings.port))
        parts = await stack.enter_async_context(_started(room, settings, extra_outboxes))
        config = uvicorn.Config(
            application(parts, routes),
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=5,
        )
        server = uvicorn.Server(config)
        listen(sockets, settings.port)
        log.info("listening", addresses=[each.getsockname()[:2] for each in sockets])
        tasks = [
            asyncio.ensure_future(each)
            for each in (
                parts.relay.run(),
                watch_relay(room.name, parts.relay),
                watch_moment(room.name, parts.moment),
                parts.timers.run(),
                Measuring(parts).run(),
                *([parts.listening.run()] if parts.listening else []),
                *(each(parts) for each in background),
                server.serve(sockets=list(sockets)),
            )
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def serve(
    room: Room,
    routes: Routes,
    settings_class: type[ServiceSettings] = ServiceSettings,
    *,
    extra_outboxes: Mapping[str, str] | None = None,
    background: Sequence[Background] = (),
) -> None:
    """Run one service until it is told to stop.

    ``extra_outboxes`` maps a further outbox table to its topic (without prefix); ``background``
    are further tasks of the room, such as its outgoing questions.
    """
    settings = load_settings(settings_class)
    if settings.service != room.name:
        # Under another's name it would write into that one's schema, or wait for it for ever.
        refuse_to_start(f"BANGFU_SERVICE: 此程序须为 of this program it must be {room.name}")
    configure_logging(room.name, settings.log_level)
    collect_seldom()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with suppress(KeyboardInterrupt):
            uvloop.run(_serve(room, routes, settings, extra_outboxes or {}, background))
    except (StartRefused, AddressRefused) as refused:
        refuse_to_start(str(refused))
