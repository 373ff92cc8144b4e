"""What a service needs to know of its surroundings, read once from the environment.

Every value is an environment variable BANGFU_<FIELD>. Nothing here has a fallback that would hide a
missing secret, and nothing here appears in clear in a repr, a traceback or an error: a validation
error is told as one line that names the variable and not its value.
"""

import base64
import binascii
import sys
from pathlib import Path
from typing import Literal, NoReturn, TypeVar

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.addresses import TOPIC_PREFIX, checked_bootstrap, checked_dsn, checked_http_url

MASTER_KEY_BYTES = 32
EXIT_MISCONFIGURED = 2

Settings = TypeVar("Settings", bound=BaseSettings)

# What pydantic found, in words; none of them has what was given.
_WHOLE = "须为整数 must be a whole number"
_REASONS = {
    "missing": "未设置 is not set",
    "string_too_short": "不得为空 must not be empty",
    "string_pattern_mismatch": "须合于 must match {pattern}",
    "int_parsing": _WHOLE,
    "int_parsing_size": _WHOLE,
    "int_from_float": _WHOLE,
    "float_parsing": "须为数 must be a number",
    "finite_number": "须为有限的数 must be a finite number",
    "greater_than": "须大于 must be greater than {gt}",
    "greater_than_equal": "不得小于 must be at least {ge}",
    "less_than": "须小于 must be less than {lt}",
    "less_than_equal": "不得大于 must be at most {le}",
    "literal_error": "须为其一 must be one of {expected}",
}
_OTHER = "取值不合要求 not acceptable ({type})"


def checked_clock_file(value: Path | None, info: ValidationInfo) -> Path | None:
    """A validator: production has no simulated clock; ``mode`` stands before it in the settings."""
    # An unreadable mode counts as production: the safe reading of a spelling mistake.
    if value is not None and info.data.get("mode", "production") == "production":
        raise ValueError(
            "生产模式不得模拟业务时间 business time may not be simulated in production"
        )
    return value


class ServiceSettings(BaseSettings):
    """The settings that all services share; a service with doors of its own adds a subclass."""

    model_config = SettingsConfigDict(
        env_prefix="BANGFU_",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        env_ignore_empty=True,
    )

    service: str = Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")
    mode: Literal["production", "sandbox"] = "production"

    # The DSNs carry passwords, so they stay out of the repr.
    worker_url: str = Field(min_length=1, repr=False)
    api_url: str = Field(min_length=1, repr=False)
    keys_url: str = Field(min_length=1, repr=False)
    master_key: SecretStr

    kafka_bootstrap: str = Field(min_length=1)
    topic_prefix: str = Field(default="", pattern=TOPIC_PREFIX)
    partitions: int = Field(default=12, ge=1)
    # Kafka takes it into the name of a member of a group.
    instance: str = Field(default="0", pattern=r"^[A-Za-z0-9._-]{1,100}$")
    lease_seconds: float = Field(default=5, gt=0, le=3600)
    # How long relay and hearing leave what comes to gather, once they have had something to do: the
    # cost of a batch is shared by more facts. Under load they rest for longer (shared/pace.py).
    gather_ms: int = Field(default=60, ge=0, le=1000)
    # For the states of the streams used last; a process takes about 120 MiB beside it.
    cache_mib: int = Field(default=192, ge=1)
    # Production asks for one; `none` is for an operator who accepts that a lost disk loses facts.
    standby: Literal["synchronous", "none"] = "synchronous"
    # Kafka takes half an hour at most; below a second heartbeats would come too late.
    session_timeout_ms: int = Field(default=6000, ge=1000, le=1_800_000)

    issuer: str = Field(min_length=1)
    audience: str = Field(default="bangfu", min_length=1)
    jwks_url: str = Field(min_length=1)
    installation: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")
    installation_subject: str | None = None

    clock_file: Path | None = None
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    build: str = "unreleased"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    _dsns = field_validator("worker_url", "api_url", "keys_url")(checked_dsn)
    _brokers = field_validator("kafka_bootstrap")(checked_bootstrap)
    _keys_of_tokens = field_validator("jwks_url")(checked_http_url)

    @field_validator("master_key")
    @classmethod
    def _master_key_is_32_bytes(cls, value: SecretStr) -> SecretStr:
        _decode_master_key(value)
        return value

    _clock = field_validator("clock_file")(checked_clock_file)

    @property
    def source(self) -> str:
        """The CloudEvents source of this service's facts."""
        return f"{self.installation}/{self.service}"

    @property
    def master_key_bytes(self) -> bytes:
        return _decode_master_key(self.master_key)


def _decode_master_key(value: SecretStr) -> bytes:
    try:
        decoded = base64.b64decode(value.get_secret_value(), validate=True)
    except (binascii.Error, ValueError):
        # `from None`: the cause would carry the secret into a traceback.
        raise ValueError("须为 base64 must be base64") from None
    if len(decoded) != MASTER_KEY_BYTES:
        raise ValueError(
            f"须为 {MASTER_KEY_BYTES} 字节的 base64 must be {MASTER_KEY_BYTES} bytes in base64"
        )
    return decoded


def explain(error: ValidationError, prefix: str = "BANGFU_") -> str:
    """One line that names each environment variable that is missing or wrong, never its value."""
    complaints = []
    for item in error.errors(include_url=False, include_input=False):
        name = prefix + "_".join(str(part) for part in item["loc"]).upper()
        complaints.append(f"{name}: {_reason(item)}")
    return "; ".join(complaints)


def _reason(item: ErrorDetails) -> str:
    """In both languages; what was refused by a check of ours says so itself."""
    if item["type"] == "value_error":
        return item["msg"].removeprefix("Value error, ")
    return _REASONS.get(item["type"], _OTHER).format(
        **{"type": item["type"], **item.get("ctx", {})}
    )


def load_settings(kind: type[Settings]) -> Settings:
    """Read the settings from the environment, or end the process with one line and status 2."""
    try:
        return kind()
    except ValidationError as error:
        refuse_to_start(explain(error, str(kind.model_config.get("env_prefix", ""))))


def refuse_to_start(line: str) -> NoReturn:
    """A process that is set up wrongly says so in one line and ends; it never half runs."""
    print(line, file=sys.stderr)
    raise SystemExit(EXIT_MISCONFIGURED)
