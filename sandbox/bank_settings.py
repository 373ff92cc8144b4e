"""What the sandbox's bank is told, by environment variables BANGFU_BANK_…"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from joserfc.jwk import OKPKey
from pydantic import BaseModel, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from sandbox.fate import Rates

PREFIX: Final = "BANGFU_BANK_"
CURVE: Final = "X25519"


class BankSettings(BaseSettings):
    """Nothing of it is shared with the services but the addresses and the topic's name."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    # Its ledger lives here and nowhere else.
    folder: Path
    host: str = "127.0.0.1"
    port: int = Field(ge=0, le=65535)
    kafka_bootstrap: str = Field(min_length=1)
    topic: str = Field(min_length=1)
    group: str = "sandbox-bank"
    session_timeout_ms: int = Field(default=6000, gt=0)
    subscriber: str = "sandbox-bank"
    # A JWK as JSON, of curve X25519.
    private_key: SecretStr
    payout_url: str = Field(pattern=r"^https?://")
    issuer_url: str = Field(pattern=r"^https?://")
    issuer_secret: SecretStr
    clock_file: Path | None = None
    seed: int = 1
    rates: Rates = Rates()
    timeout_seconds: float = Field(default=5.0, gt=0)


class KeyPair(BaseModel):
    """The bank's keys as JSON texts: the private one for it, the public one for payout."""

    private: SecretStr
    public: str


def new_key_pair() -> KeyPair:
    """Fresh keys for what only the bank may read."""
    key = OKPKey.generate_key(CURVE, {"use": "enc"})
    return KeyPair(
        private=SecretStr(json.dumps(key.as_dict(private=True))),
        public=json.dumps(key.as_dict(private=False)),
    )
