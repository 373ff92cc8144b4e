"""What payout needs to know of the bank, beside the settings that all services share."""

from __future__ import annotations

from functools import cached_property

import orjson
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from pydantic import Field, field_validator

from shared.addresses import SUBSCRIBER, checked_http_url
from shared.settings import ServiceSettings

CURVE = "X25519"


class PayoutSettings(ServiceSettings):
    """BANGFU_BANK_…: who subscribes to the instructions, its public key, and where it answers."""

    bank_subscriber: str = Field(pattern=SUBSCRIBER)
    # A JWK as JSON; what only the bank may read is encrypted to it.
    bank_public_key: str
    bank_url: str = Field(min_length=1)
    bank_timeout_seconds: float = Field(default=5.0, gt=0, le=3600)

    _bank = field_validator("bank_url")(checked_http_url)

    @field_validator("bank_public_key")
    @classmethod
    def _is_a_public_key(cls, value: str) -> str:
        _imported(value)
        return value

    @cached_property
    def bank_key(self) -> OKPKey:
        """The bank's public key."""
        return _imported(self.bank_public_key)


def _imported(text: str) -> OKPKey:
    try:
        key = OKPKey.import_key(orjson.loads(text))
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):
        key = None
    if key is None or key.curve_name != CURVE:
        raise ValueError(f"须为 {CURVE} 曲线的 JWK must be a JWK of curve {CURVE}, as JSON")
    if key.is_private:
        raise ValueError(
            "须为公钥，私钥只归银行 must be the public key: the private one is the bank's alone"
        )
    return key
