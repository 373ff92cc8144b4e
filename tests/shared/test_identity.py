"""A token is accepted if the provider signed it for us and it holds; each fault is named."""

import asyncio
import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from sandbox.issuer import SigningKey, mint, new_signing_key
from shared.clock import ElapsedTime
from shared.identity import Claims, TokenVerifier, bearer_token
from shared.problems import Problem

ISSUER = "http://issuer"
KEY = new_signing_key("first")


class Moved(ElapsedTime):
    """Real time, plus what the test adds."""

    def __init__(self) -> None:
        self.added = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.added

    def wall(self) -> datetime:
        return super().wall() + timedelta(seconds=self.added)


class Provider:
    """A provider's published keys, and how often they were asked for."""

    def __init__(self, *keys: SigningKey) -> None:
        self.keys = [key.as_dict(private=False) for key in keys]
        self.asked = 0
        self.down = False

    def answer(self, _request: httpx.Request) -> httpx.Response:
        self.asked += 1
        if self.down:
            raise httpx.ConnectError("down")
        return httpx.Response(200, json={"keys": self.keys})


def verifier(
    provider: Provider, elapsed: ElapsedTime | None = None, cached_tokens: int = 100
) -> TokenVerifier:
    client = httpx.AsyncClient(transport=httpx.MockTransport(provider.answer))
    return TokenVerifier(
        ISSUER,
        "bangfu",
        f"{ISSUER}/jwks",
        client=client,
        elapsed=elapsed,
        cached_tokens=cached_tokens,
    )


def token(subject: str = "wang", key: SigningKey = KEY, **said: Any) -> str:
    return mint(key, subject, **({"issuer": ISSUER} | said))


def unsigned(header: dict[str, Any], claims: dict[str, Any], signature: str = "") -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(p).encode()).decode() for p in (header, claims)]
    return ".".join([*(part.rstrip("=") for part in parts), signature])


async def refusal(text: str, provider: Provider | None = None) -> Problem:
    with pytest.raises(Problem) as refused:
        await verifier(provider or Provider(KEY)).verify(text)
    return refused.value


async def test_a_good_token_names_the_person() -> None:
    claims = await verifier(Provider(KEY)).from_header(f"Bearer {token()}")
    assert claims.subject == "wang"
    assert not claims.client
    assert timedelta(minutes=59) < claims.expires_at - datetime.now(UTC) < timedelta(minutes=61)


@pytest.mark.parametrize(
    "make", [lambda: ECKey.generate_key("P-256"), lambda: RSAKey.generate_key(2048)]
)
async def test_the_other_algorithms_of_the_list_are_accepted(
    make: Callable[[], SigningKey],
) -> None:
    key = make()
    assert (await verifier(Provider(key)).verify(token(key=key))).subject == "wang"


async def test_a_program_is_told_from_a_person() -> None:
    checked = verifier(Provider(KEY))
    assert (await checked.verify(token("bank", client=True))).client
    keycloak = token("4711", preferred_username="service-account-bank")
    assert (await checked.verify(keycloak)).client
    assert not (await checked.verify(token("wang", client_id="web"))).client


FAULTS: dict[str, tuple[str, str]] = {
    "expired": (token(lifetime_seconds=-1), "token-expired"),
    "not begun": (token(nbf=4_000_000_000), "token-not-yet-valid"),
    "issued in the future": (token(iat=4_000_000_000, exp=4_000_000_001), "token-not-yet-valid"),
    "other audience": (token(audience="shop"), "token-wrong-audience"),
    "no audience": (token(aud=None), "token-wrong-audience"),
    "other issuer": (token(issuer="http://elsewhere"), "token-wrong-issuer"),
    "no expiry": (token(exp=None), "token-incomplete"),
    "odd expiry": (token(exp=True), "token-incomplete"),
    "endless": (token(exp=1e300), "token-incomplete"),
    "no subject": (token(""), "token-incomplete"),
    "odd subject": (token("a\x00b"), "token-incomplete"),
    "same key id, other key": (token(key=new_signing_key("first")), "token-signature-wrong"),
    "unknown key": (token(key=new_signing_key("other")), "token-key-unknown"),
    "kind of key": (token(key=ECKey.generate_key("P-256", {"kid": "first"})), "token-key-unknown"),
    "unsigned": (unsigned({"alg": "none"}, {"sub": "wang"}), "token-algorithm-refused"),
    "shared secret": (unsigned({"alg": "HS256"}, {"sub": "a"}, "AAAA"), "token-algorithm-refused"),
    "odd algorithm": (unsigned({"alg": ["EdDSA"]}, {}, "AAAA"), "token-algorithm-refused"),
    "odd key id": (unsigned({"alg": "EdDSA", "kid": 1}, {}, "AAAA"), "token-malformed"),
    "no signature": (unsigned({"alg": "EdDSA", "kid": "first"}, {}), "token-malformed"),
    "critical": (
        unsigned({"alg": "EdDSA", "kid": "first", "crit": ["x"]}, {}, "AA"),
        "token-malformed",
    ),
    "list of claims": (unsigned({"alg": "EdDSA", "kid": "first"}, []), "token-malformed"),  # type: ignore[arg-type] # wrong on purpose
    "no token": ("nonsense", "token-malformed"),
    "five parts": ("a.b.c.d.e", "token-malformed"),
    "not ASCII": ("王.建.国", "token-malformed"),
    "endless text": ("a" * 100_000, "token-malformed"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_each_fault_is_named(fault: str) -> None:
    text, slug = FAULTS[fault]
    problem = await refusal(text)
    assert (problem.slug, problem.status) == (slug, 401)
    challenge = problem.headers["WWW-Authenticate"]
    assert challenge.startswith('Bearer realm="bangfu", error="invalid_token"')
    assert challenge.isascii()


@pytest.mark.parametrize("header", [None, "", "Basic abc", "Bearer", "Bearer  "])
def test_no_token_is_a_challenge(header: str | None) -> None:
    with pytest.raises(Problem) as refused:
        bearer_token(header)
    assert refused.value.slug == "token-missing"
    assert refused.value.headers["WWW-Authenticate"] == 'Bearer realm="bangfu"'


async def test_a_shared_secret_made_of_our_public_key_is_refused() -> None:
    """The old confusion: HS256 with the published key as its secret."""
    secret = OctKey.import_key(json.dumps(KEY.as_dict(private=False)))
    forged = jwt.encode({"alg": "HS256", "kid": "first"}, {"sub": "root"}, secret)
    assert (await refusal(forged)).slug == "token-algorithm-refused"


async def test_private_and_symmetric_keys_in_the_set_are_ignored() -> None:
    provider = Provider()
    provider.keys = [KEY.as_dict(private=True), {"kty": "oct", "k": "AAAA", "kid": "first"}]
    assert (await refusal(token(), provider)).slug == "token-key-unknown"


async def test_a_token_without_key_id_needs_a_certain_key() -> None:
    lonely = ECKey.generate_key("P-256")
    text = token(key=lonely)
    assert (await verifier(Provider(lonely, KEY)).verify(text)).subject == "wang"
    other = ECKey.generate_key("P-256")
    assert (await refusal(text, Provider(lonely, other))).slug == "token-key-unknown"


async def test_tokens_are_remembered_until_they_expire() -> None:
    elapsed, provider = Moved(), Provider(KEY)
    checked = verifier(provider, elapsed)
    text = token()
    first = await checked.verify(text)
    assert await checked.verify(text) is first
    assert provider.asked == 1
    elapsed.added = 3601
    with pytest.raises(Problem) as refused:
        await checked.verify(text)
    assert refused.value.slug == "token-expired"


async def test_the_memory_of_tokens_is_bounded() -> None:
    checked = verifier(Provider(KEY), cached_tokens=2)
    texts = [token(f"person-{n}") for n in range(3)]
    first = await checked.verify(texts[0])
    for text in texts[1:]:
        await checked.verify(text)
    assert await checked.verify(texts[0]) is not first
    assert len(checked._verified) == 2


async def test_a_new_key_is_fetched_when_a_token_names_it() -> None:
    elapsed, provider = Moved(), Provider(KEY)
    checked = verifier(provider, elapsed)
    await checked.verify(token())
    new = new_signing_key("second")
    provider.keys.append(new.as_dict(private=False))
    elapsed.added = 11
    assert (await checked.verify(token(key=new))).subject == "wang"
    assert provider.asked == 2


async def test_unknown_key_ids_do_not_hammer_the_provider() -> None:
    elapsed, provider = Moved(), Provider(KEY)
    checked = verifier(provider, elapsed)
    for _ in range(20):
        with pytest.raises(Problem):
            await checked.verify(token(key=new_signing_key()))
    assert provider.asked == 1


async def test_a_withdrawn_key_stops_counting() -> None:
    elapsed, provider = Moved(), Provider(KEY)
    checked = verifier(provider, elapsed)
    await checked.verify(token("first"))
    provider.keys = [new_signing_key("second").as_dict(private=False)]
    elapsed.added = 601
    with pytest.raises(Problem) as refused:
        await checked.verify(token("other"))
    assert refused.value.slug == "token-key-unknown"


async def test_a_provider_that_is_down_is_said_so_and_the_known_keys_stay() -> None:
    elapsed, provider = Moved(), Provider(KEY)
    provider.down = True
    checked = verifier(provider, elapsed)
    with pytest.raises(Problem) as refused:
        await checked.verify(token())
    assert (refused.value.slug, refused.value.status) == ("issuer-unreachable", 503)
    provider.down = False
    elapsed.added = 11
    await checked.verify(token())
    provider.down = True
    elapsed.added = 700
    assert (await checked.verify(token("other"))).subject == "other"


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"keys": 1}', b'{"keys": [{"kty": "OKP"}]}', b"x" * 300_000]
)
async def test_an_odd_key_set_is_no_key_set(content: bytes) -> None:
    client = httpx.AsyncClient(
        transport=httpx.MockTransport(lambda _: httpx.Response(200, content=content))
    )
    checked = TokenVerifier(ISSUER, "bangfu", f"{ISSUER}/jwks", client=client)
    with pytest.raises(Problem) as refused:
        await checked.verify(token())
    assert refused.value.slug == "issuer-unreachable"


async def test_one_fetch_serves_all_who_wait() -> None:
    provider = Provider(KEY)
    checked = verifier(provider)
    answers = await asyncio.gather(*(checked.verify(token(f"p{n}")) for n in range(20)))
    assert all(isinstance(answer, Claims) for answer in answers)
    assert provider.asked == 1
