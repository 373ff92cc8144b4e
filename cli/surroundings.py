"""Where the log commands find Kafka, the databases and the issuer: the environment, BANGFU_…"""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, NoReturn

import typer
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.addresses import (
    SUBSCRIBER,
    TOPIC_PREFIX,
    checked_bootstrap,
    checked_dsn,
    checked_http_url,
)
from shared.clock import Clock, FileClock, RealClock
from shared.settings import MASTER_KEY_BYTES, checked_clock_file

REFUSED: Final = 2
SANDBOX_BANK: Final = "sandbox-bank"


class Surroundings(BaseSettings):
    """What of it is set; each command asks for what it needs."""

    model_config = SettingsConfigDict(
        env_prefix="BANGFU_",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        env_ignore_empty=True,
    )

    mode: Literal["production", "sandbox"] = "production"
    kafka_bootstrap: str = ""
    topic_prefix: str = Field(default="", pattern=TOPIC_PREFIX)
    partitions: int = Field(default=12, ge=1, le=10_000)
    # Copies of a topic that a command creates; production asks for 3.
    replication: int = Field(default=1, ge=1, le=100)
    # The DSNs carry passwords, so they stay out of the repr.
    postgres_url: str = Field(default="", repr=False)
    keys_url: str = Field(default="", repr=False)
    master_key: SecretStr = SecretStr("")
    intake_url: str = ""
    token: SecretStr = SecretStr("")
    issuer: str = ""
    jwks_url: str = ""
    audience: str = "bangfu"
    # SERVICE=URL pairs with commas between; a service of several processes stands there again.
    service_urls: str = ""
    # Who reads payout's instructions.
    bank_subscriber: str = Field(default=SANDBOX_BANK, pattern=SUBSCRIBER)
    clock_file: Path | None = None

    _dsns = field_validator("postgres_url", "keys_url")(checked_dsn)
    _brokers = field_validator("kafka_bootstrap")(checked_bootstrap)
    _intake = field_validator("intake_url")(checked_http_url)

    _clock = field_validator("clock_file")(checked_clock_file)

    @property
    def clock(self) -> Clock:
        return FileClock(self.clock_file) if self.clock_file else RealClock()

    def master_key_bytes(self) -> bytes:
        """The master key; ends with one line if it is not set, or is none."""
        self.need("master_key")
        try:
            key = base64.b64decode(self.master_key.get_secret_value(), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != MASTER_KEY_BYTES:
            refuse(
                f"BANGFU_MASTER_KEY: 须为 {MASTER_KEY_BYTES} 字节的 base64"
                f" must be {MASTER_KEY_BYTES} bytes in base64"
            )
        return key

    def need(self, *names: str) -> None:
        """End with one line if one of these is not set."""
        missing = [f"BANGFU_{name.upper()}" for name in names if not getattr(self, name)]
        if missing:
            refuse(f"{', '.join(missing)}: 请先设置环境变量 not set in the environment")


def keep_libraries_quiet() -> None:
    """What the drivers log of a server that is away, the command says in one line."""
    for name in ("aiokafka", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def refuse(line: str) -> NoReturn:
    """One line on standard error, and exit status 2."""
    typer.echo(line, err=True)
    raise typer.Exit(REFUSED)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """A plain table: the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
