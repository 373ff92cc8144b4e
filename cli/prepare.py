"""`bangfu prepare`: schemas, roles, the keys' schema and topics, made or brought up to date."""

from __future__ import annotations

import asyncio
import os
import secrets
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import asyncpg
import orjson
import typer

from cli.failures import LONGEST_PATH, failed
from cli.paths import named, readable, writable, writable_folder
from cli.rooms import SERVICES, outboxes
from cli.strict_json import printable
from cli.surroundings import Surroundings, refuse
from shared.migrations import MigrationError
from shared.preparing import ServicePasswords, database_urls
from shared.preparing import prepare as prepare_all
from shared.settings import load_settings

ROLES: Final = ("worker", "api", "keys")
DATABASES: Final = "BANGFU_POSTGRES_URL, BANGFU_KEYS_URL"


def prepare(
    passwords: Annotated[
        Path,
        typer.Option(
            "--passwords",
            metavar="FILE",
            help="JSON：服务→角色→口令；没有则生成 service, role, password; drawn if there is none",
        ),
    ],
    environment: Annotated[
        Path | None,
        typer.Option(
            "--environment",
            metavar="FOLDER",
            help="为各服务写出数据库设置 write each service's database settings into FOLDER",
        ),
    ] = None,
) -> None:
    """建库、建角色、建主题，可重复执行 make schemas, roles and topics; safe to repeat."""
    surroundings = load_settings(Surroundings)
    surroundings.need("postgres_url", "keys_url", "kafka_bootstrap")
    _check(passwords, environment)
    known = _read(passwords) if passwords.exists() else _draw(passwords)
    published = [
        outbox
        for service in SERVICES
        for outbox in outboxes(service, surroundings.topic_prefix, surroundings.bank_subscriber)
    ]
    try:
        asyncio.run(
            prepare_all(
                surroundings.postgres_url,
                surroundings.keys_url,
                surroundings.kafka_bootstrap,
                known,
                published,
                partitions=surroundings.partitions,
                replication=surroundings.replication,
            )
        )
    except MigrationError as error:
        refuse(f"{DATABASES}: 无法准备 cannot prepare: {error}")
    except asyncpg.InsufficientPrivilegeError:
        refuse(f"{DATABASES}: 须可建角色与模式 must be of roles that may create roles and schemas")
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        refuse(failed(error, database=DATABASES) or DATABASES)
    typer.echo(f"库与角色就绪 schemas and roles: {', '.join(SERVICES)}, keys")
    for outbox in published:
        typer.echo(f"主题就绪 topic: {outbox.topic} ({surroundings.partitions})")
    if environment is not None:
        _write_environment(environment, surroundings, known)


def _check(passwords: Path, environment: Path | None) -> None:
    """What is to be written can be, and what is to be read is there: before anything is changed."""
    if passwords.exists():
        readable("--passwords", passwords)
    else:
        writable("--passwords", passwords)
    if environment is not None:
        writable_folder("--environment", environment)
        with named("--environment", environment):
            environment.mkdir(parents=True, exist_ok=True)
        for service in SERVICES:
            writable("--environment", environment / f"{service}.env")


def _read(path: Path) -> dict[str, ServicePasswords]:
    """The passwords of a file; what is missing in it is named, never shown."""
    with named("--passwords", path):
        content = path.read_bytes()
    try:
        found: Any = orjson.loads(content)
    except ValueError:
        refuse(f"--passwords: 不是 JSON is no JSON: {printable(str(path), LONGEST_PATH)}")
    known = {}
    for service in SERVICES:
        told = found.get(service) if isinstance(found, dict) else None
        roles: dict[str, Any] = told if isinstance(told, dict) else {}
        for role in ROLES:
            if not isinstance(roles.get(role), str) or not roles[role]:
                shown = printable(str(path), LONGEST_PATH)
                refuse(f"--passwords: 缺少 lacks {service}.{role}: {shown}")
            if not roles[role].isascii():
                refuse(f"--passwords: 口令须为 ASCII must be ASCII: {service}.{role}")
        known[service] = ServicePasswords(**{role: roles[role] for role in ROLES})
    return known


def _draw(path: Path) -> dict[str, ServicePasswords]:
    """New passwords, written for their owner alone before anything is made with them."""
    drawn = {s: {role: secrets.token_urlsafe(24) for role in ROLES} for s in SERVICES}
    _write("--passwords", path, orjson.dumps(drawn, option=orjson.OPT_INDENT_2))
    typer.echo(f"已生成口令 passwords drawn: {path}")
    return {service: ServicePasswords(**roles) for service, roles in drawn.items()}


def _write_environment(
    folder: Path, surroundings: Surroundings, known: Mapping[str, ServicePasswords]
) -> None:
    for service, pair in known.items():
        settings = {
            "BANGFU_SERVICE": service,
            **database_urls(surroundings.postgres_url, surroundings.keys_url, service, pair),
            "BANGFU_KAFKA_BOOTSTRAP": surroundings.kafka_bootstrap,
            "BANGFU_TOPIC_PREFIX": surroundings.topic_prefix,
            "BANGFU_PARTITIONS": str(surroundings.partitions),
        }
        lines = "".join(f"{name}={shlex.quote(text)}\n" for name, text in settings.items())
        _write("--environment", folder / f"{service}.env", lines.encode())
    typer.echo(f"各服务设置 settings of each service: {folder}")


def _write(argument: str, path: Path, content: bytes) -> None:
    """Readable for its owner alone from the first byte on; whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    with named(argument, path):
        partial.unlink(missing_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        partial.replace(path)
