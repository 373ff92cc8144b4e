"""A development OpenID provider: it gives anybody who knows its secret a token for a known person.

    python -m sandbox.issuer --port 0 --people people.json

That is the opposite of a login, so it serves on loopback only, makes its key when it starts, and
nothing in production would trust it. `--people` is a JSON list of `{"subject": …, "client": bool}`
(a bare string is a person); a file is read again when somebody unknown is asked for, so that
a growing demo can add people. The secret comes from BANGFU_SANDBOX_SECRET. Once it listens it says
`ready http://127.0.0.1:PORT` in one line.
"""

import asyncio
import hmac
import ipaddress
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import parse_qs

import orjson
import uvicorn
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.arguments import OneLineParser, whole
from shared.listening_address import AddressRefused, bound, listen

SECRET_VARIABLE = "BANGFU_SANDBOX_SECRET"  # noqa: S105 - the name of a variable, not its value
DEFAULT_AUDIENCE = "bangfu"
LIFETIME_SECONDS = 3600
LARGEST_REQUEST = 4096
NAMED = ("--host", "--port")
ONLY_HERE = "须为本机回环地址 must be a loopback address, for this issuer serves this machine only"
ALGORITHMS = {OKPKey: "Ed25519", ECKey: "ES256", RSAKey: "RS256"}

SigningKey = OKPKey | ECKey | RSAKey
People = Mapping[str, bool]
"""Whether each known subject is a client, that is, a program."""


def new_signing_key(key_id: str = "") -> OKPKey:
    """A fresh Ed25519 key, under an id that no other key has."""
    key_id = key_id or f"sandbox-{os.urandom(8).hex()}"
    return OKPKey.generate_key("Ed25519", {"kid": key_id, "use": "sig", "alg": "Ed25519"})


def mint(
    key: SigningKey,
    subject: str,
    *,
    issuer: str,
    audience: str = DEFAULT_AUDIENCE,
    lifetime_seconds: float = LIFETIME_SECONDS,
    now: float | None = None,
    client: bool = False,
    **claims: Any,
) -> str:
    """A signed token in real time; a negative lifetime makes an expired one."""
    issued_at = time.time() if now is None else now
    said: dict[str, Any] = {
        "iss": issuer,
        "aud": audience,
        "sub": subject,
        "iat": int(issued_at),
        "exp": int(issued_at + lifetime_seconds),
    }
    if client:
        said["client_id"] = subject
    header = {"alg": ALGORITHMS[type(key)], "typ": "JWT"}
    if key.kid is not None:
        header["kid"] = key.kid
    return jwt.encode(header, said | claims, key, algorithms=[header["alg"]])


def read_people(text: str) -> dict[str, bool]:
    """The people of a JSON list. Raises ValueError if it is none."""
    people: dict[str, bool] = {}
    listed = orjson.loads(text)
    if not isinstance(listed, list):
        raise ValueError("people are a JSON list")
    for item in listed:
        if isinstance(item, str):
            people[item] = False
        elif isinstance(item, dict) and isinstance(item.get("subject"), str):
            people[item["subject"]] = item.get("client") is True
        else:
            raise ValueError("a person is a subject, or an object with a subject")
    return people


class Issuer:
    """The provider's four routes."""

    def __init__(
        self, key: SigningKey, secret: str, people: Callable[[], People], url: str
    ) -> None:
        if not secret:
            raise ValueError("the issuer needs a secret")
        self.url = url
        self._key = key
        self._secret = secret
        self._people = people

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._configuration),
                Route("/jwks", self._jwks),
                Route("/token", self._token, methods=["POST"]),
                Route("/health/live", self._live),
            ]
        )

    async def _configuration(self, _request: Request) -> Response:
        return JSONResponse(
            {
                "issuer": self.url,
                "jwks_uri": f"{self.url}/jwks",
                "token_endpoint": f"{self.url}/token",
                "id_token_signing_alg_values_supported": [ALGORITHMS[type(self._key)]],
                "subject_types_supported": ["public"],
                "response_types_supported": ["token"],
            }
        )

    async def _jwks(self, _request: Request) -> Response:
        return JSONResponse({"keys": [self._key.as_dict(private=False)]})

    async def _live(self, _request: Request) -> Response:
        return JSONResponse({"live": True})

    async def _token(self, request: Request) -> Response:
        """Form or JSON: subject, secret and, if another than ours is meant, audience.

        Tests of refusals also ask for another issuer's name or lifetime in seconds.
        """
        body = await request.body()
        if len(body) > LARGEST_REQUEST:
            return _error(413, "invalid_request")
        try:
            asked = _asked(body, request.headers.get("content-type", ""))
        except ValueError:
            return _error(400, "invalid_request")
        if not hmac.compare_digest(asked.get("secret", "").encode(), self._secret.encode()):
            return _error(401, "invalid_client")
        subject = asked.get("subject", "")
        client = self._people().get(subject)
        if client is None:
            return _error(400, "invalid_grant")
        try:
            lifetime_seconds = int(asked.get("lifetime_seconds", LIFETIME_SECONDS))
        except ValueError:
            return _error(400, "invalid_request")
        token = mint(
            self._key,
            subject,
            issuer=asked.get("issuer", self.url),
            audience=asked.get("audience", DEFAULT_AUDIENCE),
            lifetime_seconds=lifetime_seconds,
            client=client,
        )
        answer = {"access_token": token, "token_type": "Bearer", "expires_in": LIFETIME_SECONDS}
        return JSONResponse(answer, headers={"Cache-Control": "no-store"})


def _asked(body: bytes, content_type: str) -> dict[str, str]:
    if content_type.startswith("application/json"):
        said = orjson.loads(body)
        if not isinstance(said, dict):
            raise ValueError("not an object")
        return {name: value for name, value in said.items() if isinstance(value, str)}
    return {name: values[-1] for name, values in parse_qs(body.decode("utf-8")).items()}


def _error(status: int, code: str) -> Response:
    return JSONResponse({"error": code}, status)


class PeopleFile:
    """The people of a file, read again when it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = (0, 0)
        self._people: dict[str, bool] = {}

    def __call__(self) -> People:
        stat = self._path.stat()
        seen = (stat.st_mtime_ns, stat.st_ino)
        if seen != self._seen:
            self._people = read_people(self._path.read_text(encoding="utf-8"))
            self._seen = seen
        return self._people


def loopback_address(host: str) -> str:
    """An address that only this machine reaches. Raises ValueError for any other."""
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise ValueError(ONLY_HERE) from None
    if not address.is_loopback:
        raise ValueError(ONLY_HERE)
    return str(address)


async def serve(listening: socket.socket, people: Callable[[], People], secret: str) -> None:
    """Serve until told to end by a signal."""
    host, port = listening.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    issuer = Issuer(new_signing_key(), secret, people, url)
    # The socket listens already: whoever connects now waits a moment, and is not turned away.
    print(f"ready {url}", flush=True)
    settings = uvicorn.Config(issuer.app(), log_level="warning", access_log=False, lifespan="off")
    await uvicorn.Server(settings).serve(sockets=[listening])


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; a wrong setting ends it with one line and status 2."""
    parser = OneLineParser(prog="sandbox.issuer")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=whole(0, 65535), required=True, help="0 takes a free one")
    parser.add_argument("--people", required=True, help="JSON file, or - for standard input")
    asked = parser.parse_args(arguments)
    secret = os.environ.get(SECRET_VARIABLE, "")
    if not secret:
        _refuse(f"{SECRET_VARIABLE}: 未设置 is not set")
    try:
        people = _people_from(asked.people)
        people()
    except (OSError, ValueError) as error:
        _refuse(f"--people: 无法使用 cannot be used: {error}")
    try:
        host = loopback_address(asked.host)
    except ValueError as error:
        _refuse(f"--host: {error}")
    try:
        with bound(host, asked.port, NAMED) as [listening]:
            listen([listening], asked.port, NAMED)
            asyncio.run(serve(listening, people, secret))
    except AddressRefused as refused:
        _refuse(str(refused))


def _people_from(source: str) -> Callable[[], People]:
    if source != "-":
        return PeopleFile(Path(source))
    people = read_people(sys.stdin.read())
    return lambda: people


def _refuse(line: str) -> NoReturn:
    print(line, file=sys.stderr)
    raise SystemExit(2)


if __name__ == "__main__":
    main()
