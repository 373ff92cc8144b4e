"""`bangfu recover SERVICE`: take back from Kafka what a restored database lacks."""

from __future__ import annotations

import asyncio
from typing import Annotated

import asyncpg
import typer

from cli.failures import KEYS, failed
from cli.operators import operators_pool
from cli.progress import bars
from cli.rooms import INTAKE, SERVICES, check_service, outboxes, room
from cli.surroundings import Surroundings, refuse
from shared.keys import KeyRefusedError, KeyStore, MasterKeyMismatchError
from shared.lease import LeaseLostError
from shared.recovery import OtherNameError, Recovery, RecoveryRefused, Regained
from shared.sealed import SealedError
from shared.settings import load_settings


def recover(
    services: Annotated[list[str], typer.Argument(help="服务名 services, e.g. intake payout")],
    hear_again: Annotated[
        bool,
        typer.Option(
            "--hear-again",
            help="从头再听各主题，已办的略过 hear all topics again, pass over what is done",
        ),
    ] = False,
) -> None:
    """恢复数据库后，从卡夫卡取回缺失的事实 take back from Kafka the facts a restored log lacks."""
    for service in services:
        check_service(service, SERVICES, "SERVICES")
    surroundings = load_settings(Surroundings)
    surroundings.need("postgres_url", "kafka_bootstrap")
    if INTAKE in services:
        # Its lookup of ID numbers is filled in from what is sealed.
        surroundings.need("keys_url")
        surroundings.master_key_bytes()
    for service in services:
        try:
            regained = asyncio.run(recovered(surroundings, service, hear_again=hear_again))
            learned = asyncio.run(_learned(surroundings)) if service == INTAKE else 0
        except OtherNameError as refusal:
            refuse(str(refusal))
        except RecoveryRefused as refusal:
            refuse(f"SERVICES: 不能取回 cannot recover {service}: {refusal}")
        except LeaseLostError:
            refuse(
                f"SERVICES: 不能取回 cannot recover {service}:"
                " 另一命令正在进行 another command is at it"
            )
        except (KeyRefusedError, MasterKeyMismatchError, SealedError) as error:
            refuse(
                f"BANGFU_KEYS_URL, BANGFU_MASTER_KEY: 密钥不符 not the keys of this log"
                f" ({type(error).__name__})"
            )
        for line in _lines(service, regained):
            typer.echo(line)
        if hear_again:
            typer.echo(f"{service}: 启动后从头再听 hears from the beginning once it is started")
        if learned:
            typer.echo(f"{service}: 补回证件号查询 lookups of ID numbers filled in: {learned:,}")


async def _learned(surroundings: Surroundings) -> int:
    from services.intake.lookup import learn_again

    try:
        keys = await KeyStore.connect(surroundings.keys_url, surroundings.master_key_bytes())
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        refuse(failed(error, database=KEYS) or KEYS)
    try:
        connection = await asyncpg.connect(surroundings.postgres_url, timeout=10)
        try:
            return await learn_again(connection, INTAKE, keys)
        finally:
            await connection.close()
    finally:
        await keys.close()


async def recovered(
    surroundings: Surroundings, service: str, *, hear_again: bool = False
) -> Regained:
    """One service's log made whole again, with a bar while it lasts."""
    async with operators_pool(surroundings.postgres_url) as pool:
        with bars() as bar:
            tasks = {
                "reading": bar.add_task(f"{service} 读取 reading", total=None),
                "writing": bar.add_task(f"{service} 写回 writing", total=None),
            }
            return await Recovery(
                pool,
                room(service),
                outboxes(service, surroundings.topic_prefix, surroundings.bank_subscriber),
                surroundings.kafka_bootstrap,
                lambda what, done, total: bar.update(tasks[what], completed=done, total=total),
                hear_again=hear_again,
            ).run()


def _lines(service: str, regained: Regained) -> list[str]:
    if not regained.facts:
        return [f"{service}: 无缺失 nothing is missing"]
    lines = [f"{service}: 取回 taken back {regained.facts:,} facts, {regained.streams:,} streams"]
    if regained.ordered:
        told = ", ".join(f"{name} {count}" for name, count in sorted(regained.ordered.items()))
        lines.append(
            f"{service}: 以下命令的幂等键已失，勿再发送 the keys of these commands are lost,"
            f" do not send them again: {told}"
        )
    return lines
