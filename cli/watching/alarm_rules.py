"""The rules about a relay's alarms: one for each kind, for each is mended otherwise."""

from __future__ import annotations

from typing import Final

from cli.watching.rule import Condition, Rule, Words


def _alarm(kind: str, zh: str, en: str, why: Words, *do: str) -> Rule:
    return Rule(
        alert="RelayAlarm",
        condition=Condition(metric="bangfu_relay_alarm", where={"kind": kind}),
        age="bangfu_relay_behind_seconds",
        what=Words(
            f"{{service}}：{{outbox}} 停止发布，{zh}", f"{{service}}: {{outbox}} stands still, {en}"
        ),
        why=why,
        do=do,
        anchor="relay-alarm-" + kind.replace("_", "-"),
    )


ALARM_RULES: Final = (
    _alarm(
        "topic_not_ours",
        "主题不存在或没有出生记录",
        "its topic is missing or has no birth record",
        Words(
            "主题丢失、前缀有误，或由他人创建",
            "the topic is lost, the prefix is wrong, or somebody else made it",
        ),
        "./run bangfu republish {service}",
    ),
    _alarm(
        "topic_renamed",
        "主题名与最近发布的不同",
        "its topic has another name than the one that was published to last",
        Words(
            "服务或此处的 BANGFU_TOPIC_PREFIX（或 BANGFU_BANK_SUBSCRIBER）有误，"
            "或曾误用 --new-name："
            "先改正设置；此命令不带选项不会重发，只会回到原主题或说明何处有误",
            "BANGFU_TOPIC_PREFIX (or BANGFU_BANK_SUBSCRIBER) of the service or of this shell is "
            "wrong, or --new-name was a mistake: correct the setting first; without options the "
            "command only goes back to the former topic, or says what is wrong",
        ),
        "./run bangfu republish {service}",
    ),
    _alarm(
        "kafka_replaced",
        "所在的卡夫卡不是原来那个",
        "this Kafka is not the one that it was published to",
        Words(
            "多为 BANGFU_KAFKA_BOOTSTRAP 有误（此处或服务的）：改正即可，勿重发；"
            "卡夫卡确已更换，才用此命令",
            "most likely BANGFU_KAFKA_BOOTSTRAP is wrong, here or of the service: correct it, and "
            "nothing else; the command is for a Kafka that was certainly replaced",
        ),
        'echo "$BANGFU_KAFKA_BOOTSTRAP"',
        # Facts stated while it was replaced may be in a topic that was made there already.
        "./run bangfu republish {service} --new-kafka --replace",
    ),
    _alarm(
        "partitions_differ",
        "分区数与设置不符",
        "its topic has other partitions than the setting",
        Words(
            "BANGFU_PARTITIONS 有误，或有人增加了分区",
            "BANGFU_PARTITIONS is wrong, or somebody added partitions",
        ),
        "./run bangfu status --json",
    ),
    _alarm(
        "generation_changed",
        "主题被删除后重建",
        "its topic was deleted and made anew",
        Words("卡夫卡被清空或更换", "Kafka was wiped or replaced"),
        # The fact by which a relay finds out is in the new topic; without one the option is idle.
        "./run bangfu republish {service} --replace",
    ),
    _alarm(
        "topic_shrunk",
        "主题丢失了已确认的记录",
        "its topic lost acknowledged records",
        Words(
            "节点磁盘受损，或从旧快照恢复",
            "a broker's disk is damaged, or it came back from an old snapshot",
        ),
        "./run bangfu republish {service} --replace",
    ),
    _alarm(
        "log_shrunk",
        "数据库缺少卡夫卡已有的事实",
        "the database lacks facts that Kafka has",
        Words(
            "数据库从备份恢复，或备机缺少最后的写入",
            "the database was restored, or a standby took over without the last writes",
        ),
        "./run bangfu recover {service}",
    ),
    _alarm(
        "forked",
        "同一版本在卡夫卡中是另一事实",
        "Kafka has another fact under the same version",
        Words(
            "恢复后的数据库已被写入",
            "a restored database has already been written to",
        ),
        "./run bangfu verify",
    ),
    _alarm(
        "checkpoint_lost",
        "检查点远落后于主题",
        "its checkpoint is far behind its topic",
        Words("表 checkpoint 被单独恢复", "the table checkpoint was restored alone"),
        "./run bangfu recover {service}",
    ),
    _alarm(
        "unreadable",
        "存有无法读取的行",
        "a stored row can't be read",
        Words("有人直接写入了该表", "somebody wrote into the table"),
        "./run bangfu verify",
    ),
)
