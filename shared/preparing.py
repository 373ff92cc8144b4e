"""What must be there before a service starts: schemas, roles, the keys' schema, and topics.

One mechanism for production (`bangfu prepare`), the sandbox and the tests. Every part of it is safe
to repeat and brings what is older up to date; nothing is ever taken away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shared.bus import create_topic
from shared.migrations import Passwords, migrate_all, migrate_keys, role_name, role_url
from shared.publisher import Outbox


@dataclass(frozen=True, slots=True)
class ServicePasswords:
    """Of one service's three roles: worker and api at the log, keys at the keys' database."""

    worker: str = field(repr=False)
    api: str = field(repr=False)
    keys: str = field(repr=False)


async def prepare(
    postgres_url: str,
    keys_url: str,
    bootstrap: str,
    passwords: Mapping[str, ServicePasswords],
    outboxes: Sequence[Outbox],
    *,
    partitions: int,
    replication: int = 1,
) -> None:
    """Make everything for the services of ``passwords``, side by side.

    The URLs are of roles that may create roles and schemas. Raises MigrationError, BusError or
    the drivers' own errors; of several that fail at once, the first.
    """
    logs = {name: Passwords(worker=p.worker, api=p.api) for name, p in passwords.items()}
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(migrate_all(postgres_url, logs))
            group.create_task(migrate_keys(keys_url, {n: p.keys for n, p in passwords.items()}))
            for outbox in outboxes:
                group.create_task(
                    create_topic(
                        bootstrap,
                        outbox.topic,
                        partitions,
                        retention_ms=outbox.retention_ms,
                        replication=replication,
                    )
                )
    except BaseExceptionGroup as errors:
        raise _first(errors) from errors


def _first(errors: BaseExceptionGroup) -> BaseException:
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def database_urls(
    postgres_url: str, keys_url: str, service: str, passwords: ServicePasswords
) -> dict[str, str]:
    """The three settings by which a service finds its databases, with its passwords."""
    worker, api = (role_name(postgres_url, service, kind) for kind in ("worker", "api"))
    return {
        "BANGFU_WORKER_URL": role_url(postgres_url, worker, passwords.worker),
        "BANGFU_API_URL": role_url(postgres_url, api, passwords.api),
        "BANGFU_KEYS_URL": role_url(keys_url, role_name(keys_url, service, "keys"), passwords.keys),
    }
