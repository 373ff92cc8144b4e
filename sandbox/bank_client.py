"""The bank's way to payout: its own token, its own private key, two routes and nothing else."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

import httpx
from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from sandbox.bank_settings import BankSettings

JWE_ALGORITHMS: Final = ["ECDH-ES+A256KW", "A256GCM"]


class NoAnswer(Exception):
    """Payout or the issuer did not answer usefully; the same is asked again later."""


@dataclass(frozen=True)
class PayeeAccount:
    """Where to pay, in clear: held in memory for as long as a payment is being entered."""

    account: str
    holder_name: str

    def __repr__(self) -> str:
        return "PayeeAccount(…)"


class PayoutClient:
    """Speaks to payout as the subscriber."""

    def __init__(self, settings: BankSettings) -> None:
        self._settings = settings
        self._key = OKPKey.import_key(json.loads(settings.private_key.get_secret_value()))
        self._http = httpx.AsyncClient(timeout=settings.timeout_seconds)
        self._token = ""

    async def close(self) -> None:
        await self._http.aclose()

    async def account(self, end_to_end_id: str) -> PayeeAccount | None:
        """Where to pay; None if payout will not say. Raises NoAnswer."""
        answer = await self._send("GET", f"/bank/accounts/{end_to_end_id}")
        if answer.status_code in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
            return None
        try:
            opened = jwe.decrypt_compact(answer.json()["sealed"], self._key, JWE_ALGORITHMS)
            clear = json.loads(opened.plaintext or b"")
        except (JoseError, ValueError, KeyError) as error:
            raise NoAnswer(type(error).__name__) from None
        if clear["end_to_end_id"] != end_to_end_id:
            raise NoAnswer("the account of another payment")
        return PayeeAccount(clear["account"], clear["holder_name"])

    async def report(self, body: dict[str, Any], key: str) -> int:
        """Tell how a payment stands; the HTTP status of what payout made of it. Raises NoAnswer."""
        said = {name: value for name, value in body.items() if value is not None}
        answer = await self._send("POST", "/bank/reports", said, key)
        return answer.status_code

    async def _send(
        self, method: str, path: str, body: dict[str, Any] | None = None, key: str = ""
    ) -> httpx.Response:
        try:
            for fresh in (False, True):
                if fresh or not self._token:
                    self._token = await self._new_token()
                headers = {"Authorization": f"Bearer {self._token}"}
                if key:
                    headers["Idempotency-Key"] = key
                answer = await self._http.request(
                    method, self._settings.payout_url + path, headers=headers, json=body
                )
                if answer.status_code != httpx.codes.UNAUTHORIZED:
                    break
        except httpx.HTTPError as error:
            raise NoAnswer(type(error).__name__) from None
        if answer.status_code in (401, 403, 429) or answer.status_code >= 500:
            raise NoAnswer(str(answer.status_code))
        return answer

    async def _new_token(self) -> str:
        asked = {
            "subject": self._settings.subscriber,
            "secret": self._settings.issuer_secret.get_secret_value(),
        }
        answer = await self._http.post(self._settings.issuer_url + "/token", data=asked)
        answer.raise_for_status()
        token: str = answer.json()["access_token"]
        return token
