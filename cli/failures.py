"""What a failure of a file or a server comes to in one line, Chinese with English beside it.

The line names what the person can change: the argument that named the file, or the setting that
named the server. A driver's own message may quote an address with its password; its type may not.
"""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cli.output import NAMED, OutputError
from cli.strict_json import printable

LONGEST_PATH: Final = 300
DATABASE: Final = "BANGFU_POSTGRES_URL"
KEYS: Final = "BANGFU_KEYS_URL"
KAFKA: Final = "BANGFU_KAFKA_BOOTSTRAP"

_OF_FILES: Final = {
    errno.ENOENT: "没有此文件或文件夹 no such file or folder",
    errno.EISDIR: "是文件夹，须为文件 is a folder, a file is meant",
    errno.ENOTDIR: "不是文件夹，或路径中有一段不是 it is no folder, or a part of the path is none",
    errno.EEXIST: "已存在 exists already",
    errno.EACCES: "无权访问 permission denied",
    errno.EPERM: "无权访问 permission denied",
    errno.EROFS: "不可写入 on a read-only file system",
    errno.ENOSPC: "磁盘已满 no space is left",
    errno.EDQUOT: "磁盘配额已满 the disk quota is used up",
    errno.ENAMETOOLONG: "名称过长 the name is too long",
    errno.ELOOP: "链接成环 links in a circle",
    errno.ENXIO: "不是普通文件 not a regular file",
}


# Of these no server knows anything, whatever was being done: they are this machine's alone.
_OF_THIS_MACHINE: Final = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.EFBIG)
)


def file_failed(path: Path, error: OSError) -> str:
    """One line on a file that can't be used."""
    return f"{_why(error)}: {printable(str(path), LONGEST_PATH)}"


def output_failed(error: OutputError) -> str:
    """One line on standard output that took no more."""
    return f"{NAMED}: {_why(error)}"


def _why(error: OSError) -> str:
    return _OF_FILES.get(error.errno or 0, f"无法使用 cannot be used ({error.strerror})")


def failed(
    error: BaseException, arguments: Mapping[str, Path] | None = None, database: str = DATABASE
) -> str | None:
    """One line on a file or server that failed; None if it is neither, so a fault of ours.

    ``arguments`` are the paths that were given, by name; ``database`` is the setting that the
    database of this moment was named by.
    """
    if isinstance(error, BrokenPipeError | OutputError):
        return None  # standard output's, which the program as a whole sees to (cli/output.py)
    if isinstance(error, OSError) and isinstance(error.filename, str):
        path = Path(error.filename)
        return f"{_named(path, arguments or {})}: {file_failed(path, error)}"
    return _server_failed(error, database)


def _named(path: Path, arguments: Mapping[str, Path]) -> str:
    """Which argument led to this path: it names it, a folder above it, or the file beside it."""
    for name, given in arguments.items():
        if path == given or given in path.parents or path.parent == given.parent:
            return name
    return "FILE"


def _server_failed(error: BaseException, database: str) -> str | None:
    # What these cost to import, a command that asks no server need not pay.
    import asyncpg
    from aiokafka.errors import KafkaError, KafkaTimeoutError

    from shared.bus import BusError, BusSilentError, TopicAbsentError, TopicMismatchError
    from shared.clock import ClockError

    name = type(error).__name__
    match error:
        case TopicAbsentError():
            topic = printable(str(error), LONGEST_PATH)
            named = ", BANGFU_BANK_SUBSCRIBER" if ".instructions." in topic else ""
            return (
                f"BANGFU_TOPIC_PREFIX{named}: 卡夫卡没有此主题，设置是否有误 Kafka has no such "
                f"topic, is the setting wrong?: {topic}"
            )
        case KafkaError() if not (error.retriable or isinstance(error, KafkaTimeoutError)):
            return f"{KAFKA}: 卡夫卡拒绝 Kafka refuses ({name})"
        case TopicMismatchError() if "partitions" in str(error):
            return f"BANGFU_PARTITIONS: 与主题的分区数不符 not as many as the topic has: {error}"
        case BusSilentError() | KafkaError():
            return f"{KAFKA}: 卡夫卡无应答 Kafka does not answer ({name})"
        case BusError():
            return f"{KAFKA}: 卡夫卡有误 Kafka is not as it should be: {error}"
        case ClockError():
            return "BANGFU_CLOCK_FILE: 无法读取时钟文件 the clock's file cannot be read"
        case asyncpg.PostgresError() | asyncpg.InterfaceError():
            return f"{database}: {_database_said(error)} ({name})"
        case OSError() if error.errno not in _OF_THIS_MACHINE and _came_through(error, "asyncpg"):
            return f"{database}: 数据库无应答 the database does not answer ({name})"
        case OSError() if error.errno not in _OF_THIS_MACHINE and _came_through(error, "aiokafka"):
            return f"{KAFKA}: 卡夫卡无应答 Kafka does not answer ({name})"
        case OSError() if error.errno:
            said = printable(os.strerror(error.errno), LONGEST_PATH)
            return f"操作系统 operating system: 拒绝 refuses ({said})"
        case _:
            return None


def _came_through(error: BaseException, package: str) -> bool:
    """Whether this package's code was under way when it was raised: then it is its server's."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(
        str(frame.f_globals.get("__name__", "")).partition(".")[0] == package
        for frame, _line in frames
    )


def _database_said(error: BaseException) -> str:
    import asyncpg

    match error:
        case asyncpg.InvalidAuthorizationSpecificationError():
            return "用户或口令不符 the database refuses user or password"
        case asyncpg.InvalidCatalogNameError():
            return "没有此数据库 there is no such database"
        case asyncpg.InsufficientPrivilegeError():
            return "该角色无此权限 the role may not do this"
        case (
            asyncpg.InvalidSchemaNameError()
            | asyncpg.UndefinedTableError()
            | asyncpg.UndefinedColumnError()
            | asyncpg.UndefinedFunctionError()
        ):
            return "未建库或版本不同 not prepared, or by another build: ./run bangfu prepare"
        case _:
            return "数据库出错 the database failed"
