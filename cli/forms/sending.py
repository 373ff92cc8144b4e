"""Sends applications to intake's door, many in a request, until each has an answer.

Intake itself knows a form by its office, applicant and day, so nothing here remembers what has
been sent: after a death, or from another machine, the same forms are simply sent again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import httpx

AT_A_TIME: Final = 50
PATIENCE_SECONDS: Final = 60.0
# A wrong address is told sooner than a service that is restarted in the middle of a list.
FIRST_PATIENCE_SECONDS: Final = 8.0
FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 5.0
TRY_AGAIN: Final = frozenset((429, 502, 503, 504))
REFUSED: Final = 400


NOT_INTAKE: Final = "BANGFU_INTAKE_URL: 该地址不是受理服务 this is not the address of intake"


class SendingStopped(Exception):
    """Why nothing more can be sent, in one line; what was answered before stays true."""


class Sender:
    """One person's connection to intake."""

    def __init__(
        self,
        url: str,
        token: str,
        office: str | None,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        if office:
            headers["Acting-Office"] = office
        # Intake is inside the office's network: no proxy of the environment stands before it.
        self._http = httpx.Client(base_url=url, headers=headers, timeout=60.0, trust_env=False)
        self._patience_seconds = patience_seconds
        self._sleep = sleep

    def close(self) -> None:
        self._http.close()

    def check(self) -> None:
        """Intake is there, and lets this person in with this office. Nothing is entered.

        Raises SendingStopped.
        """
        # An empty form is refused before anything is decided; elsewhere there are no forms.
        answer = self.send({0: {}}, patience_seconds=FIRST_PATIENCE_SECONDS)[0]
        if answer["status"] != httpx.codes.UNPROCESSABLE_ENTITY:
            raise SendingStopped(f"{NOT_INTAKE} ({answer['status']})")

    def send(
        self, forms: Mapping[int, Mapping[str, Any]], *, patience_seconds: float | None = None
    ) -> dict[int, Mapping[str, Any]]:
        """An answer for each form, by the number of its first row: ``status`` and ``body``.

        Raises SendingStopped if intake can't be reached for long or lets nobody in.
        """
        answers: dict[int, Mapping[str, Any]] = {}
        waiting = dict(forms)
        if patience_seconds is None:
            patience_seconds = self._patience_seconds
        deadline = time.monotonic() + patience_seconds
        pause = FIRST_PAUSE_SECONDS
        why = ""
        while waiting:
            found, why = self._once(waiting)
            answers |= found
            waiting = {
                row: form
                for row, form in waiting.items()
                if row not in found or found[row]["status"] in TRY_AGAIN
            }
            if not waiting:
                break
            if time.monotonic() > deadline:
                raise SendingStopped(
                    f"BANGFU_INTAKE_URL: 受理服务无应答 intake does not answer for long ({why})"
                )
            self._sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        return answers

    def _once(
        self, forms: Mapping[int, Mapping[str, Any]]
    ) -> tuple[dict[int, Mapping[str, Any]], str]:
        """The answers of one request, and why there are none."""
        commands = [
            {"key": f"row-{row:08d}", "path": "/forms", "body": form} for row, form in forms.items()
        ]
        try:
            answer = self._http.post("/batch", json={"commands": commands})
        except httpx.TransportError as error:
            return {}, type(error).__name__
        if answer.status_code in TRY_AGAIN:
            return {}, str(answer.status_code)
        if answer.status_code >= REFUSED:
            raise SendingStopped(_told(answer))
        try:
            found: Sequence[Mapping[str, Any]] = answer.json()["answers"]
            by_row = dict(zip(forms, found, strict=True))
        except (ValueError, KeyError, TypeError):
            raise SendingStopped(NOT_INTAKE) from None
        late = next((a["status"] for a in found if a["status"] in TRY_AGAIN), "")
        return by_row, str(late)


# What a person can change about a refusal of all that they send.
_AT_FAULT: Final = {
    401: "BANGFU_TOKEN: ",
    403: "BANGFU_TOKEN, --office: ",
    404: "BANGFU_INTAKE_URL: ",
    405: "BANGFU_INTAKE_URL: ",
}


def _told(answer: httpx.Response) -> str:
    """A refusal of the whole request in one line; problems never repeat what was sent."""
    try:
        problem = answer.json()
        named = f"{_AT_FAULT.get(answer.status_code, '')}{problem['title']} {problem['title_en']}"
    except (ValueError, KeyError, TypeError):
        named = NOT_INTAKE
    return f"{named} ({answer.status_code})"
