"""`bangfu replay CASE`: one case as the log in Kafka tells it, verified, in causal order.

Nothing but Kafka is asked, except the keys' database when someone who may see the case wants
personal values in clear; without that they are masked.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Annotated, Any, Final

import asyncpg
import orjson
import typer

from cli.rooms import INTAKE, NETWORK, rooms, words
from cli.surroundings import Surroundings, refuse
from cli.timeline import Document, Line, document_of, lines, masked, revealed, tokens_in
from services.intake.decisions.offices import unsealing_offices
from shared.case_log import CaseLog, read_case, states
from shared.fact import Actor
from shared.identity import TokenVerifier
from shared.keys import KeyRefusedError, KeyStore, MasterKeyMismatchError
from shared.problems import Problem
from shared.sealed import Category, SealedError, parse
from shared.settings import MASTER_KEY_BYTES, load_settings

DIFFERENT: Final = 1
PURPOSE: Final = "replay"
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_STYLES: Final = {
    "title": "bold",
    "head": "cyan",
    "text": "",
    "reason": "dim",
    "state": "",
    "finding": "bold red",
    "rest": "bold",
}


def replay(
    case: Annotated[str, typer.Argument(metavar="CASE", help="案件编号 the case's id")],
    as_of: Annotated[
        str | None, typer.Option(metavar="DATE", help="截至当日所知 what was known by that day")
    ] = None,
    valid_on: Annotated[
        str | None, typer.Option(metavar="DATE", help="截至当日所发生 what had happened by then")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="输出 JSON print JSON")] = False,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="BANGFU_TOKEN",
            metavar="TOKEN",
            help="访问令牌 whose scope counts (better in BANGFU_TOKEN: others see arguments)",
        ),
    ] = None,
) -> None:
    """从卡夫卡日志重放一案并核验 one case from the log: a verified timeline and its state."""
    known_by = _day("--as-of", as_of)
    happened_by = _day("--valid-on", valid_on)
    surroundings = load_settings(Surroundings)
    surroundings.need("kafka_bootstrap")
    if token:
        surroundings.need("issuer", "jwks_url")
    try:
        document = asyncio.run(
            replayed(surroundings, case, known_by, happened_by, token or "", with_data=json)
        )
    except Refused as refused:
        refuse(str(refused))
    if json:
        typer.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
    else:
        show(list(lines(document)))
    if document["verified"]["findings"]:
        raise typer.Exit(DIFFERENT)


class Refused(Exception):
    """The case is not shown, in one line."""


def _day(option: str, text: str | None) -> date | None:
    if text is None:
        return None
    try:
        # `fromisoformat` alone would also take 20250102 and 2025-W01-4.
        if _DAY.fullmatch(text) is None:
            raise ValueError(text)
        return date.fromisoformat(text)
    except ValueError:
        refuse(f"{option}: 须为存在的日期 YYYY-MM-DD must be an existing day YYYY-MM-DD")


async def replayed(
    surroundings: Surroundings,
    case_id: str,
    as_of: date | None = None,
    valid_on: date | None = None,
    token: str = "",
    *,
    with_data: bool = True,
) -> Document:
    """The document of a case, for these eyes. Raises Refused, and BusError for a silent Kafka.

    Without a token every personal value is masked; with one, the case must be in its scope.
    """
    person = await _person(surroundings, token) if token else ""
    log = CaseLog(case_id)
    if _may_name_a_case(case_id):
        bootstrap, prefix = surroundings.kafka_bootstrap, surroundings.topic_prefix
        log = await read_case(bootstrap, prefix, rooms(), case_id, NETWORK)
    today = surroundings.clock.today()
    known = bool(log.entries or any(f.stream for f in log.findings))
    if person and not (known and log.may_be_seen_by(person, INTAKE, today)):
        # One answer for what is not there and for what one may not see.
        raise Refused("CASE: 没有这一案件，或无权查看 no such case, or not yours to see")
    if not known:
        raise Refused("CASE: 没有这一案件 no such case")
    document = document_of(log, *words(), as_of, valid_on)
    if not with_data:
        for fact in document["facts"]:
            del fact["data"]
    tokens = _to_open(log, document, person, today) if person else set()
    clear = await _opened(surroundings, tokens, person)
    shown: Document = revealed(document, lambda t: clear.get(t) or masked(t))
    return shown


def _to_open(log: CaseLog, document: Document, person: str, today: date) -> set[str]:
    """Of the sealed values shown, those that intake's own door would open for this person.

    What other services sealed (an objection, the reasons of an award) is for those who decide on
    it, who see it at those services' doors; nothing of it is opened by the right of intake's keys.
    """
    folded = states([entry for entry in log.entries if entry.room.name == INTAKE])
    application = folded[0].state.application if folded and not folded[0].fault else None
    if application is None:
        return set()
    holder, station = application.organisation_id, application.station_id
    offices = unsealing_offices(log.directory, holder, station, today)
    if not any(log.directory.holds(Actor(person, role, each), today) for each, role in offices):
        return set()
    first: dict[str, str] = {}
    for entry in log.entries:
        for token in tokens_in(orjson.loads(entry.recorded.raw)):
            first.setdefault(token, entry.room.name)
    return {token for token in tokens_in(document) if first.get(token) == INTAKE}


def _may_name_a_case(case_id: str) -> bool:
    return case_id.isprintable() and bool(case_id)


async def _person(surroundings: Surroundings, token: str) -> str:
    """Whose token it is. Raises Refused."""
    verifier = TokenVerifier(surroundings.issuer, surroundings.audience, surroundings.jwks_url)
    try:
        return (await verifier.verify(token)).subject
    except Problem as problem:
        raise Refused(f"--token, BANGFU_TOKEN: {problem.title_zh} {problem.title_en}") from None
    finally:
        await verifier.aclose()


async def _opened(surroundings: Surroundings, tokens: set[str], person: str) -> dict[str, str]:
    """The clear texts that the keys give for this person's look; each look is recorded there."""
    master_key = _master_key(surroundings)
    if not (surroundings.keys_url and master_key and tokens):
        return {}
    try:
        keys = await KeyStore.connect(surroundings.keys_url, master_key)
    except (OSError, asyncpg.PostgresError, MasterKeyMismatchError) as error:
        why = f"密钥库不可用 the keys can't be reached ({type(error).__name__})"
        raise Refused(f"BANGFU_KEYS_URL: {why}") from None
    opened: dict[str, str | None] = {}
    try:
        for category in Category:
            those = [t for t in sorted(tokens) if parse(t).category is category]
            opened.update(await _opened_as_far_as_possible(keys, those, person))
    finally:
        await keys.close()
    return {token: text for token, text in opened.items() if text is not None}


async def _opened_as_far_as_possible(
    keys: KeyStore, tokens: Sequence[str], person: str
) -> Mapping[str, str | None]:
    """In one look; if any value was altered or its key is unknown, the others one by one."""
    try:
        return await keys.open(tokens, person, PURPOSE)
    except KeyRefusedError:
        return {}  # not for the role of these keys
    except SealedError:
        if len(tokens) == 1:
            return {}
    opened: dict[str, str | None] = {}
    for token in tokens:
        opened.update(await _opened_as_far_as_possible(keys, [token], person))
    return opened


def _master_key(surroundings: Surroundings) -> bytes:
    try:
        key = base64.b64decode(surroundings.master_key.get_secret_value(), validate=True)
    except (binascii.Error, ValueError):
        # `from None`: the cause would carry the secret.
        raise Refused("BANGFU_MASTER_KEY: 须为 base64 must be base64") from None
    if len(key) not in (0, MASTER_KEY_BYTES):
        raise Refused(
            f"BANGFU_MASTER_KEY: 须为 {MASTER_KEY_BYTES} 字节 must be {MASTER_KEY_BYTES} bytes"
        )
    return key


def show(told: Sequence[Line]) -> None:
    """Coloured on a terminal, plain lines anywhere else."""
    if not sys.stdout.isatty():
        for _, line in told:
            typer.echo(line)
        return
    from rich.console import Console
    from rich.text import Text

    console: Any = Console(highlight=False, soft_wrap=True)
    for style, line in told:
        console.print(Text(line, style=_STYLES[style]))
