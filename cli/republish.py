"""`bangfu republish SERVICE`: have a service's log published again, after Kafka has lost it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Annotated, Final

import typer

from cli.operators import operators_pool
from cli.progress import bars
from cli.rooms import SERVICES, check_service, outboxes
from cli.surroundings import Surroundings, refuse
from shared.lease import LeaseLostError
from shared.republish import OutboxAt, Relayed, RepublishRefused, Standing
from shared.settings import load_settings

NOT_DONE: Final = 1
# How a topic was found, by the first word of its reason.
_WHY: Final = {
    "absent": "不存在 absent",
    "generation_changed": "已被重建 made anew",
    "topic_shrunk": "丢失了记录 lost records",
}
LOOK_SECONDS: Final = 0.5
PATIENCE_SECONDS: Final = 60.0


def republish(
    service: Annotated[str, typer.Argument(help="服务名 the service, e.g. payout")],
    replace: Annotated[
        bool,
        typer.Option("--replace", help="删除残存的主题重建 replace a topic that survived in part"),
    ] = False,
    new_name: Annotated[
        bool,
        typer.Option("--new-name", help="主题确已改名 the topic has another name now, on purpose"),
    ] = False,
    new_kafka: Annotated[
        bool,
        typer.Option("--new-kafka", help="卡夫卡确已更换 Kafka was replaced by another one"),
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="等到全部重发 wait until all is published")
    ] = True,
) -> None:
    """卡夫卡丢失数据后，由中继从头重发 let the relay publish again what Kafka has lost."""
    check_service(service, SERVICES)
    surroundings = load_settings(Surroundings)
    surroundings.need("postgres_url", "kafka_bootstrap")
    try:
        is_done = asyncio.run(
            _republish(
                surroundings,
                service,
                replace=replace,
                new_name=new_name,
                new_kafka=new_kafka,
                wait=wait,
            )
        )
    except RepublishRefused as refusal:
        refuse(str(refusal))
    except LeaseLostError:
        refuse("SERVICE: 不能重发 cannot republish: 另一命令正在进行 another command is at it")
    if not is_done:
        raise typer.Exit(NOT_DONE)


async def _republish(
    surroundings: Surroundings,
    service: str,
    *,
    replace: bool,
    new_name: bool,
    new_kafka: bool,
    wait: bool,
) -> bool:
    async with operators_pool(surroundings.postgres_url) as pool:
        relayed = Relayed(
            pool,
            service,
            outboxes(service, surroundings.topic_prefix, surroundings.bank_subscriber),
            surroundings.kafka_bootstrap,
            surroundings.partitions,
            surroundings.replication,
        )
        found = await relayed.look()
        lost = [each for each in found if each.standing is not Standing.WHOLE]
        for each in found:
            if each.standing is Standing.WHOLE:
                typer.echo(f"{each.outbox.topic}: 完好，无需重发 whole, nothing to republish")
        if lost:
            await relayed.set_back(
                lost,
                replace=replace,
                new_name=new_name,
                new_kafka=new_kafka,
                told=lambda each: typer.echo(_line(each)),
            )
            for each in lost:
                for line in _done(each):
                    typer.echo(line)
        return await _until_published(relayed) if wait else True


def _line(each: OutboxAt) -> str:
    topic = each.outbox.topic
    if each.standing is Standing.FORMER:
        return f"{topic}: 仍如离开时，由此继续 as the relay left it, to be gone on with"
    why = _WHY.get(each.reason.partition(":")[0], "不是中继的主题 not the relay's")
    return f"{topic}: {why} ({each.reason})，须重发 to be republished ({each.last:,})"


def _done(each: OutboxAt) -> Iterator[str]:
    """What was changed, and what is left over by another name."""
    topic, known = each.outbox.topic, each.topic_known
    if each.standing is Standing.FORMER:
        yield f"{topic}: 中继已回到此主题 the relay is back at it, and goes on where it was"
    else:
        yield f"{topic}: 已建好，由中继重发 made anew, for the relay to fill"
    if known not in ("", topic):
        yield f"{known}: 留存，不再使用 left over, nobody publishes to it any more"


async def _until_published(relayed: Relayed) -> bool:
    """Show how far the relay is until it has caught up; False if it does not get on."""
    before: Sequence[int] = ()
    moved_at = time.monotonic()
    with bars() as bar:
        tasks = {each.table: bar.add_task(each.topic, total=None) for each in relayed.outboxes}
        while True:
            now = await relayed.progress()
            for outbox, published, last in now:
                bar.update(tasks[outbox.table], completed=published, total=last)
            if all(published >= last for _, published, last in now):
                break
            reached = [published for _, published, _ in now]
            if reached != before:
                before, moved_at = reached, time.monotonic()
            elif time.monotonic() - moved_at > PATIENCE_SECONDS:
                break
            await asyncio.sleep(LOOK_SECONDS)
    behind = {outbox.topic: last - published for outbox, published, last in now}
    for topic, rows in behind.items():
        if rows:
            typer.echo(
                f"{topic}: 尚余 still to publish {rows:,}；服务是否在运行 does the service run?"
                " 见 see /status",
                err=True,
            )
        else:
            typer.echo(f"{topic}: 全部已发 all published")
    return not any(behind.values())
