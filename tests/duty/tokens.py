"""Authorization headers that do not hold, by what is wrong with them."""

from __future__ import annotations

import base64
import json
from typing import Any, Final

import httpx
from joserfc.jwk import OKPKey

from sandbox.installation import Installation
from sandbox.issuer import mint, new_signing_key

PERSON: Final = "union-1-1.handler"
OTHER_ISSUER: Final = "https://elsewhere.example"


def bad_tokens(installation: Installation, person: str = PERSON) -> dict[str, str]:
    """Of somebody in office; those that a provider could have signed are signed by ours."""
    issuer = installation.url("issuer")

    def asked(**changes: str) -> str:
        form = {"subject": person, "secret": installation.secret, **changes}
        answer = httpx.post(issuer + "/token", data=form, timeout=30).raise_for_status()
        token: str = answer.json()["access_token"]
        return token

    true = asked()
    head, body, signature = true.split(".")
    same_id: OKPKey = new_signing_key(_part(true, 0)["kid"])
    forged = _packed({**_part(true, 1), "sub": "city.maker"})
    unsigned = _packed({"alg": "none", "typ": "JWT"})
    return {
        "none": "",
        "no scheme": true,
        "another scheme": "Basic " + base64.b64encode(b"user:password").decode(),
        "no token": "Bearer",
        "not a token": "Bearer x",
        "not text": "Bearer \u00ff\u00fe",
        "endless": "Bearer " + "a" * 9000,
        "expired": "Bearer " + asked(lifetime_seconds="-10"),
        "another audience": "Bearer " + asked(audience="somebody-else"),
        "another issuer": "Bearer " + asked(issuer=OTHER_ISSUER),
        "an unknown key": "Bearer " + mint(new_signing_key(), person, issuer=issuer),
        "a wrong key": "Bearer " + mint(same_id, person, issuer=issuer),
        "another's words": f"Bearer {head}.{forged}.{signature}",
        "no signature": f"Bearer {head}.{body}.",
        "unsigned": f"Bearer {unsigned}.{body}.",
    }


def _part(token: str, index: int) -> dict[str, Any]:
    text = token.split(".")[index]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return found


def _packed(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
