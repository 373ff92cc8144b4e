"""The bank's way to payout: its own token, its own private key, two routes and nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
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


@dataclass(frozen=True)
class Accounts:
    """Those that were told, and those that payout can't open at present; the rest it won't tell."""

    told: dict[str, PayeeAccount]
    damaged: frozenset[str]


class PayoutClient:
    """Speaks to payout as the subscriber."""

    def __init__(self, settings: BankSettings) -> None:
        self._settings = settings
        self._key = OKPKey.import_key(json.loads(settings.private_key.get_secret_value()))
        self._http = httpx.AsyncClient(timeout=settings.timeout_seconds)
        self._token = ""

    async def close(self) -> None:
        await self._http.aclose()

    async def accounts(self, end_to_end_ids: Sequence[str]) -> Accounts:
        """Where to pay, by payment; at most 200 a time.

        Raises NoAnswer.
        """
        answer = await self._send("/bank/accounts", {"end_to_end_ids": list(end_to_end_ids)})
        try:
            said = answer.json()
            opened = jwe.decrypt_compact(said["sealed"], self._key, JWE_ALGORITHMS)
            found = {
                each["end_to_end_id"]: PayeeAccount(each["account"], each["holder_name"])
                for each in json.loads(opened.plaintext or b"")["accounts"]
            }
            damaged = frozenset(each["end_to_end_id"] for each in said["damaged"])
            told = {*found, *said["unknown"], *said["erased"], *damaged}
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise NoAnswer(type(error).__name__) from None
        if told != set(end_to_end_ids):
            raise NoAnswer("the accounts of other payments")
        return Accounts(found, damaged)

    async def report(self, told: Sequence[tuple[dict[str, Any], str]]) -> list[int | None]:
        """Tell how payments stand, each with its key; the HTTP status of what payout made of each.

        None for one that is to be sent again. At most 200. Raises NoAnswer.
        """
        commands = [
            {
                "key": key,
                "path": "/bank/reports",
                "body": {name: value for name, value in body.items() if value is not None},
            }
            for body, key in told
        ]
        answer = await self._send("/batch", {"commands": commands})
        try:
            statuses = [int(each["status"]) for each in answer.json()["answers"]]
        except (ValueError, KeyError) as error:
            raise NoAnswer(type(error).__name__) from None
        if len(statuses) != len(commands):
            raise NoAnswer("answers to other commands")
        return [None if _is_no_answer(status) else status for status in statuses]

    async def _send(self, path: str, body: dict[str, Any]) -> httpx.Response:
        try:
            for fresh in (False, True):
                if fresh or not self._token:
                    self._token = await self._new_token()
                headers = {"Authorization": f"Bearer {self._token}"}
                answer = await self._http.post(
                    self._settings.payout_url + path, headers=headers, json=body
                )
                if answer.status_code != httpx.codes.UNAUTHORIZED:
                    break
        except httpx.HTTPError as error:
            raise NoAnswer(type(error).__name__) from None
        if answer.status_code != httpx.codes.OK:
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


def _is_no_answer(status: int) -> bool:
    """Whether it says nothing of the report itself."""
    return status in (401, 403, 429) or status >= 500
