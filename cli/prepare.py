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
from aiokafka.errors import KafkaError

from cli.rooms import SERVICES, outboxes
from cli.surroundings import Surroundings, keep_libraries_quiet, refuse
from shared.bus import BusError
from shared.migrations import MigrationError
from shared.preparing import ServicePasswords, database_urls
from shared.preparing import prepare as prepare_all
from shared.settings import load_settings

ROLES: Final = ("worker", "api", "keys")


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
    keep_libraries_quiet()
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
    except (BusError, MigrationError) as error:
        refuse(f"无法准备 cannot prepare: {error}")
    except asyncpg.InsufficientPrivilegeError:
        refuse(
            "无法准备 cannot prepare: BANGFU_POSTGRES_URL, BANGFU_KEYS_URL: 须可建角色与模式 "
            "must be of roles that may create roles and schemas"
        )
    except (KafkaError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        # A driver's message may quote an address with its password; its type may not.
        refuse(f"无法准备 cannot prepare: {type(error).__name__}")
    typer.echo(f"库与角色就绪 schemas and roles: {', '.join(SERVICES)}, keys")
    for outbox in published:
        typer.echo(f"主题就绪 topic: {outbox.topic} ({surroundings.partitions})")
    if environment is not None:
        _write_environment(environment, surroundings, known)


def _read(path: Path) -> dict[str, ServicePasswords]:
    """The passwords of a file; what is missing in it is named, never shown."""
    try:
        found: Any = orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        refuse(f"--passwords {path}：无法读取 can't be read as JSON")
    known = {}
    for service in SERVICES:
        told = found.get(service) if isinstance(found, dict) else None
        roles: dict[str, Any] = told if isinstance(told, dict) else {}
        for role in ROLES:
            if not isinstance(roles.get(role), str) or not roles[role]:
                refuse(f"--passwords {path}：缺少 lacks {service}.{role}")
        known[service] = ServicePasswords(**{role: roles[role] for role in ROLES})
    return known


def _draw(path: Path) -> dict[str, ServicePasswords]:
    """New passwords, written for their owner alone before anything is made with them."""
    drawn = {s: {role: secrets.token_urlsafe(24) for role in ROLES} for s in SERVICES}
    _write(path, orjson.dumps(drawn, option=orjson.OPT_INDENT_2))
    typer.echo(f"已生成口令 passwords drawn: {path}")
    return {service: ServicePasswords(**roles) for service, roles in drawn.items()}


def _write_environment(
    folder: Path, surroundings: Surroundings, known: Mapping[str, ServicePasswords]
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for service, pair in known.items():
        settings = {
            "BANGFU_SERVICE": service,
            **database_urls(surroundings.postgres_url, surroundings.keys_url, service, pair),
            "BANGFU_KAFKA_BOOTSTRAP": surroundings.kafka_bootstrap,
            "BANGFU_TOPIC_PREFIX": surroundings.topic_prefix,
            "BANGFU_PARTITIONS": str(surroundings.partitions),
        }
        lines = "".join(f"{name}={shlex.quote(text)}\n" for name, text in settings.items())
        _write(folder / f"{service}.env", lines.encode())
    typer.echo(f"各服务设置 settings of each service: {folder}")


def _write(path: Path, content: bytes) -> None:
    """Readable for its owner alone from the first byte on; whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        partial.replace(path)
    except OSError as error:
        refuse(f"{path}：无法写入 can't be written: {type(error).__name__}")
