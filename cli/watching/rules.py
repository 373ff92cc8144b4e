"""The table of rules: everything that needs a person, in the order in which to mend it.

The first of a screen explains most of what stands below it: servers, then processes, then what
stands still inside them, then what waits because of it, then what only wears on.
"""

from __future__ import annotations

from typing import Final

from cli.rooms import SERVICES
from cli.watching.alarm_rules import ALARM_RULES
from cli.watching.rule import Condition, Rule, Words

SERVERS: Final = ("DatabaseUnreachable", "KafkaUnreachable")
DOWN: Final = (*SERVERS, "ServiceDown", "ServiceAbsent")

SERVER_RULES: Final = (
    Rule(
        alert="DatabaseUnreachable",
        condition=Condition(
            metric="bangfu_server_reachable",
            where={"server": "database"},
            operator="<",
            threshold=1,
        ),
        lasting_seconds=30,
        what=Words("{service}：数据库无应答", "{service}: the database does not answer"),
        why=Words(
            "数据库停机、磁盘已满或网络中断；各服务存活但不受理，恢复后自行继续",
            "it is down, its disk is full or the network is cut; services live, take nothing in, "
            "and go on by themselves afterwards",
        ),
        do=('psql "$BANGFU_POSTGRES_URL" -c "SELECT 1"',),
        anchor="database-unreachable",
    ),
    Rule(
        alert="KafkaUnreachable",
        condition=Condition(
            metric="bangfu_server_reachable", where={"server": "kafka"}, operator="<", threshold=1
        ),
        lasting_seconds=30,
        what=Words("{service}：卡夫卡无应答", "{service}: Kafka does not answer"),
        why=Words(
            "节点停机或网络中断；命令照常受理入库，但不再发布与收听，恢复后自行补上",
            "brokers are down or the network is cut; commands are still taken and stored, nothing "
            "is published or heard until it is back",
        ),
        do=(
            "./run bangfu status",
            'kafka-broker-api-versions.sh --bootstrap-server "$BANGFU_KAFKA_BOOTSTRAP"',
        ),
        anchor="kafka-unreachable",
    ),
)

PROCESS_RULES: Final = (
    Rule(
        alert="ServiceDown",
        condition=Condition(metric="up", where={"job": "bangfu"}, operator="<", threshold=1),
        lasting_seconds=60,
        what=Words("{service}：进程无应答", "{service}: a process does not answer"),
        why=Words(
            "进程已停止、无法启动（查看其日志末行）或主机失联",
            "it has ended, cannot start (the last line of its log says why) or its host is gone",
        ),
        do=("python -m services.{service}.main",),
        anchor="service-down",
    ),
    *(
        Rule(
            alert="ServiceAbsent",
            condition=Condition(
                metric="bangfu_build_info", where={"service": service}, function="absent"
            ),
            lasting_seconds=120,
            what=Words(f"{service}：没有任何进程", f"{service}: no process at all"),
            why=Words(
                "全部实例停止，或 Prometheus 不再抓取",
                "all its processes have ended, or Prometheus no longer scrapes them",
            ),
            do=(f"python -m services.{service}.main",),
            anchor="service-down",
            for_prometheus_alone=True,
        )
        for service in SERVICES
    ),
    Rule(
        alert="ServiceRestarting",
        condition=Condition(
            metric="process_start_time_seconds",
            where={"job": "bangfu"},
            function="changes",
            window="15m",
            threshold=2,
        ),
        severity="ticket",
        what=Words("{service}：反复重启", "{service}: starts again and again"),
        why=Words(
            "设置有误、内存不足或程序缺陷：查看日志末行",
            "wrong settings, too little memory, or a bug: the last lines of its log say which",
        ),
        do=("./run bangfu status",),
        anchor="service-down",
    ),
    Rule(
        alert="ComponentStuck",
        condition=Condition(metric="bangfu_component_silent_seconds", threshold=30),
        lasting_seconds=0,
        age="bangfu_component_silent_seconds",
        what=Words("{service}：{component} 停滞不前", "{service}: {component} does not get on"),
        why=Words(
            "消费者挂在失效连接上，或服务器无应答；进程自身无法恢复时须重启",
            "a consumer hangs in a dead connection, or a server does not answer; a restart loses "
            "nothing",
        ),
        do=("kill -TERM PID && python -m services.{service}.main",),
        anchor="component-stuck",
        because=SERVERS,
    ),
    Rule(
        alert="NotReady",
        condition=Condition(metric="bangfu_ready", operator="<", threshold=1),
        lasting_seconds=60,
        what=Words("{service}：未就绪", "{service}: is not ready"),
        why=Words(
            "数据库无应答，或消费者尚未分到分区",
            "the database does not answer it, or its consumer has no partitions yet",
        ),
        do=("curl -s http://HOST:PORT/health/ready",),
        anchor="not-ready",
        because=(*DOWN, "RelayAlarm"),
    ),
)


FLOW_RULES: Final = (
    Rule(
        alert="MarkStands",
        condition=Condition(metric="bangfu_mark_age_seconds", threshold=10),
        lasting_seconds=20,
        age="bangfu_mark_age_seconds",
        what=Words(
            "{service}：{outbox} 的写入事务迟迟未结束",
            "{service}: a transaction on {outbox} stays open",
        ),
        why=Words(
            "有人手工开启事务未提交，或写入卡住；在其结束前不再发布",
            "somebody left a transaction open by hand, or a write hangs; nothing passes it",
        ),
        do=(
            'psql "$BANGFU_POSTGRES_URL" -c "SELECT pid, usename, application_name, state, '
            'xact_start FROM pg_stat_activity WHERE xact_start IS NOT NULL ORDER BY xact_start"',
            'psql "$BANGFU_POSTGRES_URL" -c "SELECT pg_terminate_backend(PID)"',
        ),
        anchor="mark-stands",
    ),
    Rule(
        alert="RelayWithoutHolder",
        condition=Condition(
            metric="bangfu_relay_holder", function="max", operator="<", threshold=1
        ),
        lasting_seconds=30,
        what=Words("{service}：无人持有中继租约", "{service}: nobody holds the relay's lease"),
        why=Words(
            "没有运行中的进程，或其无法访问数据库",
            "no process runs, or none reaches the database",
        ),
        do=(
            "./run bangfu status",
            'psql "$BANGFU_POSTGRES_URL" -c "SELECT holder, expires_at FROM {service}.lease"',
            "python -m services.{service}.main",
        ),
        anchor="relay-behind",
        because=DOWN,
    ),
    Rule(
        alert="RelayBehind",
        condition=Condition(
            metric="bangfu_relay_behind_seconds", threshold=30, unless="bangfu_relay_alarm"
        ),
        lasting_seconds=30,
        age="bangfu_relay_behind_seconds",
        what=Words("{service}：{outbox} 未能发布", "{service}: {outbox} is not published"),
        why=Words(
            "卡夫卡无应答或写入缓慢；原因见日志 outbox stands still",
            "Kafka does not answer or is slow; the log line `outbox stands still` says why",
        ),
        do=("./run bangfu status", "grep 'outbox stands still' LOG-OF-{service} | tail"),
        anchor="relay-behind",
        because=(*DOWN, "RelayAlarm", "MarkStands", "RelayWithoutHolder"),
    ),
    Rule(
        alert="ConsumerBehind",
        condition=Condition(metric="bangfu_consumer_lag_records", threshold=1000),
        lasting_seconds=120,
        severity="ticket",
        what=Words("{service}：未收听完 {topic}", "{service}: is behind on {topic}"),
        why=Words(
            "进程停止或卡住，数据库缓慢，或写入多于其能力（增加实例）",
            "the process stopped or hangs, the database is slow, or more is written than it can "
            "take (start another instance)",
        ),
        do=(
            "./run bangfu status",
            "BANGFU_INSTANCE={service}-2 BANGFU_PORT=PORT python -m services.{service}.main",
        ),
        anchor="consumer-behind",
        because=(*DOWN, "ComponentStuck"),
    ),
)

HELD_RULES: Final = (
    Rule(
        alert="Quarantined",
        condition=Condition(metric="bangfu_held_records", where={"reason": "quarantined_.*"}),
        age="bangfu_held_oldest_seconds",
        what=Words(
            "{service}：有记录被隔离（{reason}）", "{service}: records in quarantine ({reason})"
        ),
        why=Words(
            "无法读取：并非本系统所写或中途被改；效果失败：程序缺陷或缺少参数。该案后续事实在其后等候",
            "unreadable: not written by us, or changed on the way; effect failed: a bug or a "
            "parameter that is missing. Later facts of the case wait behind it",
        ),
        do=(
            "./run bangfu quarantine list {service}",
            "./run bangfu quarantine show {service} HELD_ID",
        ),
        anchor="quarantined",
    ),
    Rule(
        alert="HeldForBuild",
        condition=Condition(
            metric="bangfu_held_oldest_seconds",
            where={"reason": "waiting_for_a_newer_build"},
            threshold=900,
        ),
        severity="ticket",
        age="bangfu_held_oldest_seconds",
        what=Words("{service}：有事实等候新版本程序", "{service}: facts wait for a newer build"),
        why=Words(
            "升级未完成：写方已是新版，读方仍是旧版",
            "a roll-out is not finished: writers are new, this reader is old",
        ),
        do=("./run bangfu waiting",),
        anchor="held-for-build",
    ),
    Rule(
        alert="HeldTooLong",
        condition=Condition(
            metric="bangfu_held_oldest_seconds",
            where={"reason": "waiting_for_cause|waiting_for_version|waiting_behind_another"},
            threshold=60,
        ),
        severity="ticket",
        age="bangfu_held_oldest_seconds",
        what=Words(
            "{service}：有事实久等其原因（{reason}）", "{service}: facts wait for long ({reason})"
        ),
        why=Words(
            "发布原因的服务停止或落后，或原因被隔离；都不是，则本服务越过了它（verify 可见）",
            "the service that states the cause is down or behind, or the cause is in quarantine; "
            "if neither, this service has passed it by (see verify)",
        ),
        do=("./run bangfu waiting",),
        anchor="held-too-long",
        because=(
            *DOWN,
            "RelayAlarm",
            "MarkStands",
            "RelayWithoutHolder",
            "RelayBehind",
            "ConsumerBehind",
            "Quarantined",
            "HeldForBuild",
        ),
    ),
    Rule(
        alert="ReleasedStays",
        condition=Condition(metric="bangfu_held_released_records"),
        lasting_seconds=120,
        severity="ticket",
        what=Words(
            "{service}：已决定放行或弃置的记录仍未处理",
            "{service}: records that were released or put aside are not dealt with",
        ),
        why=Words(
            "同一案件在其前还有隔离而未决定者（先决定它）或等候者；否则进程停止、卡住，或其表被锁",
            "of the same case another stands before them, in quarantine and not decided on (decide "
            "on that first) or waiting; else the process is down or hangs, or a table is locked",
        ),
        do=("./run bangfu quarantine list {service}", "./run bangfu waiting {service}"),
        anchor="quarantined",
        because=(*DOWN, "ComponentStuck"),
    ),
)

WORK_RULES: Final = (
    Rule(
        alert="TimersStuck",
        condition=Condition(metric="bangfu_timers_stuck"),
        lasting_seconds=60,
        severity="ticket",
        what=Words("{service}：到期事项无法办理", "{service}: timers are due and without effect"),
        why=Words(
            "缺少当年节假日或参数；日志 timer_stuck 写明原因",
            "a year's holidays or a parameter is missing; the log line `timer_stuck` says which",
        ),
        do=("./run bangfu status --json",),
        anchor="timers-stuck",
    ),
    Rule(
        alert="BankSilent",
        condition=Condition(metric="bangfu_outgoing_unanswered_seconds", threshold=120),
        severity="ticket",
        age="bangfu_outgoing_unanswered_seconds",
        what=Words("{service}：银行不答复查询", "{service}: the bank does not answer questions"),
        why=Words(
            "银行接口停机或网络中断；发放保持未决，答复后自行继续",
            "its interface is down or the network is cut; payouts stay unresolved, which is right",
        ),
        do=('curl -s -o /dev/null -w "%{http_code}" "$BANGFU_BANK_URL"',),
        anchor="bank-silent",
        because=("ServiceDown",),
    ),
    Rule(
        alert="AccountsDamaged",
        condition=Condition(metric="bangfu_damaged_accounts"),
        severity="ticket",
        what=Words(
            "{service}：有收款账户密文无法打开",
            "{service}: sealed accounts of payments do not open",
        ),
        why=Words(
            "读模型的行被改动，或密钥库被改动、恢复得不够新；只有这几笔等候，修复后银行自行再查并付款",
            "a row was altered, or the keys' database was, or went back too far; these alone wait, "
            "and the bank asks again and pays once it is mended",
        ),
        do=("./run bangfu rebuild {service} end_to_end", "./run bangfu verify"),
        anchor="accounts-damaged",
    ),
    Rule(
        alert="PayoutsUnresolved",
        condition=Condition(
            metric="bangfu_payouts_with_bank_oldest_days",
            where={"state": "sending|unresolved"},
            threshold=5,
        ),
        severity="ticket",
        what=Words(
            "{service}：有发放多日无银行回执（{state}）",
            "{service}: payouts without the bank's word for days ({state})",
        ),
        why=Words(
            "银行没有收到指令，或没有回报；在其答复前绝不重发",
            "the bank never got the instruction, or never reported; nothing is sent again before "
            "its word",
        ),
        do=("./run bangfu status --json",),
        anchor="payouts-unresolved",
        because=("BankSilent", "KafkaUnreachable", "RelayAlarm", "AccountsDamaged"),
    ),
    Rule(
        alert="PayoutsUnconfirmed",
        condition=Condition(
            metric="bangfu_payouts_with_bank_oldest_days", where={"state": "accepted"}, threshold=10
        ),
        severity="ticket",
        what=Words(
            "{service}：银行受理多日未入账",
            "{service}: payouts accepted and not confirmed for days",
        ),
        why=Words("银行未报最终结果", "the bank has not reported its last word"),
        do=("./run bangfu status --json",),
        anchor="payouts-unresolved",
        because=("BankSilent",),
    ),
)

WEAR_RULES: Final = (
    Rule(
        alert="RefusedReactions",
        condition=Condition(
            metric="bangfu_refused_reactions_total", function="increase", window="60m", threshold=50
        ),
        severity="ticket",
        what=Words(
            "{service}：大量所闻事实未被采纳（{command} {code}）",
            "{service}: refuses what it hears ({command} {code})",
        ),
        why=Words(
            "两个服务对同一案件看法不一：常为程序缺陷，或参数缺失",
            "two services see a case differently: often a bug, or a parameter that is missing",
        ),
        do=("./run bangfu verify",),
        anchor="refused-reactions",
    ),
    Rule(
        alert="FutureFacts",
        condition=Condition(
            metric="bangfu_future_facts_total", function="increase", window="15m", threshold=0
        ),
        severity="ticket",
        what=Words("{service}：收到未来时间的事实", "{service}: heard facts from the future"),
        why=Words(
            "某台主机的时钟超前一小时以上",
            "the clock of a host is more than an hour ahead",
        ),
        do=("timedatectl",),
        anchor="future-facts",
    ),
    Rule(
        alert="Contended",
        condition=Condition(
            metric="bangfu_contended_total", function="increase", window="5m", threshold=0
        ),
        severity="ticket",
        what=Words(
            "{service}：有命令因争用被退回", "{service}: commands were given up in contention"
        ),
        why=Words(
            "众人同时改动同一额度或资金；客户端以同一键重试",
            "many change one cap or one fund at once; clients repeat with the same key",
        ),
        do=("./run bangfu status",),
        anchor="contended",
    ),
    Rule(
        alert="ManyConflicts",
        condition=Condition(
            metric="bangfu_conflicts_total", function="increase", window="5m", threshold=3000
        ),
        severity="ticket",
        what=Words("{service}：写入冲突频繁", "{service}: many writes meet newer versions"),
        why=Words("同一额度、资金或案件十分繁忙", "one cap, fund or case is very busy"),
        do=("./run bangfu status",),
        anchor="contended",
    ),
    Rule(
        alert="ManyDenials",
        condition=Condition(
            metric="bangfu_denials_total", function="increase", window="15m", threshold=200
        ),
        severity="ticket",
        what=Words("{service}：大量越权尝试", "{service}: many looks or acts were refused"),
        why=Words(
            "有人试探，或任职数据有误",
            "somebody is trying doors, or offices are entered wrongly",
        ),
        do=(
            'psql "$BANGFU_POSTGRES_URL" -c "SELECT actor, attempt, count(*) FROM '
            "{service}.denials WHERE denied_at > now() - interval '1 hour' "
            'GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 20"',
        ),
        anchor="many-denials",
    ),
    Rule(
        alert="ManyBadTokens",
        condition=Condition(
            metric="bangfu_refused_tokens_total", function="increase", window="15m", threshold=500
        ),
        severity="ticket",
        what=Words(
            "{service}：大量无效令牌（{reason}）", "{service}: many tokens do not hold ({reason})"
        ),
        why=Words(
            "客户端不更新令牌、签发方密钥更换，或有人试探",
            "a client does not renew its token, the provider changed its keys, or somebody tries",
        ),
        do=('curl -s "$BANGFU_JWKS_URL"',),
        anchor="many-denials",
    ),
    Rule(
        alert="MemoryGrows",
        condition=Condition(
            metric="process_resident_memory_bytes", where={"job": "bangfu"}, threshold=1.5 * 2**30
        ),
        lasting_seconds=600,
        severity="ticket",
        what=Words("{service}：占用内存过多", "{service}: takes much memory"),
        why=Words(
            "内存不应随日志增长；请记录情况后重启",
            "memory must not grow with the log: note what it does, then restart it",
        ),
        do=(".venv/bin/py-spy dump --pid PID", "kill -TERM PID"),
        anchor="memory-grows",
    ),
)

RULES: Final = (
    *SERVER_RULES,
    *PROCESS_RULES,
    *ALARM_RULES,
    *FLOW_RULES,
    *HELD_RULES,
    *WORK_RULES,
    *WEAR_RULES,
)
