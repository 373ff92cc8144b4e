"""Who is asking: tokens of the OpenID provider, checked here and trusted for the person only.

A token says who somebody is and nothing else. What they may do comes from the offices in the
`Directory`, so an old token widens nothing.
"""

import asyncio
import hashlib
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson
import structlog
from joserfc import jws, jwt
from joserfc.errors import BadSignatureError, JoseError
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey

from shared.clock import ElapsedTime
from shared.problems import Problem

PublicKey = OKPKey | ECKey | RSAKey

# Signatures of asymmetric keys only: "none" and shared secrets can't even be named.
# Ed25519 is the newer name (RFC 9864) of what most providers still call EdDSA.
ALGORITHMS: dict[str, type[PublicKey]] = {
    "EdDSA": OKPKey,
    "Ed25519": OKPKey,
    "ES256": ECKey,
    "RS256": RSAKey,
}

# What can be wrong with a token: the ends of its problem types.
TOKEN_FAULTS = (
    "token-missing",
    "token-malformed",
    "token-algorithm-refused",
    "token-key-unknown",
    "token-signature-wrong",
    "token-incomplete",
    "token-expired",
    "token-not-yet-valid",
    "token-wrong-issuer",
    "token-wrong-audience",
)

TOKEN_CHARACTERS = 8192
SUBJECT_CHARACTERS = 255
JWKS_BYTES = 256 * 1024
CACHED_TOKENS = 10_000
LEEWAY_SECONDS = 5.0
REFETCH_PAUSE_SECONDS = 10.0
KEYS_FRESH_SECONDS = 600.0
FETCH_TIMEOUT = httpx.Timeout(5.0, connect=2.0)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says."""

    subject: str
    expires_at: datetime
    client: bool = False
    """The token belongs to a program, such as a bank's, and not to a person."""


def bearer_token(authorization: str | None) -> str:
    """The token of an Authorization header; Problem 401 if there is none."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Problem(
            "token-missing",
            status=401,
            title_zh="请先登录",
            title_en="A bearer token is required",
            headers={"WWW-Authenticate": 'Bearer realm="bangfu"'},
        )
    return token.strip()


class TokenVerifier:
    """Checks tokens against the provider's published keys.

    Verified tokens are remembered until they expire, a bounded number of them, by their digest
    (a memory dump then holds no usable token). Keys are fetched when first needed, again when
    a token names an unknown one, and again when they have grown old.
    """

    def __init__(
        self,
        issuer: str,
        audience: str,
        jwks_url: str,
        *,
        client: httpx.AsyncClient | None = None,
        elapsed: ElapsedTime | None = None,
        cached_tokens: int = CACHED_TOKENS,
    ) -> None:
        self._issuer = issuer
        self._audience = audience
        self._elapsed = elapsed or ElapsedTime()
        self._keys = _PublishedKeys(jwks_url, client, self._elapsed)
        self._verified: OrderedDict[bytes, Claims] = OrderedDict()
        self._cached_tokens = cached_tokens
        # Providers still say EdDSA; the reminder on each check helps nobody.
        warnings.filterwarnings("ignore", message="EdDSA is deprecated", module=r"joserfc\.")

    async def aclose(self) -> None:
        await self._keys.aclose()

    async def from_header(self, authorization: str | None) -> Claims:
        """The claims of an Authorization header; Problem 401 as `verify`."""
        return await self.verify(bearer_token(authorization))

    async def verify(self, token: str) -> Claims:
        """The claims of a token. Problem 401 says what is wrong with it, 503 that no keys come."""
        if len(token) > TOKEN_CHARACTERS or not token.isascii():
            raise _refused("token-malformed", "令牌格式错误", "The token is malformed")
        digest = hashlib.sha256(token.encode("ascii")).digest()
        claims = self._verified.get(digest)
        if claims is not None:
            if claims.expires_at > self._elapsed.wall():
                self._verified.move_to_end(digest)
                return claims
            del self._verified[digest]
        claims = self._judged(self._signed(token, await self._key_for(token)))
        self._verified[digest] = claims
        while len(self._verified) > self._cached_tokens:
            self._verified.popitem(last=False)
        return claims

    async def _key_for(self, token: str) -> PublicKey:
        try:
            header: dict[str, Any] = jws.extract_compact(token.encode("ascii")).headers()
        except (JoseError, ValueError, TypeError, AttributeError, RecursionError):
            raise _refused("token-malformed", "令牌格式错误", "The token is malformed") from None
        algorithm = header.get("alg")
        kind = ALGORITHMS.get(algorithm) if isinstance(algorithm, str) else None
        if kind is None:
            raise _refused(
                "token-algorithm-refused",
                "令牌签名算法不被接受",
                "The token's algorithm is refused",
            )
        key_id = header.get("kid")
        if key_id is not None and not isinstance(key_id, str):
            raise _refused("token-malformed", "令牌格式错误", "The token is malformed")
        key = await self._keys.find(key_id, kind)
        if key is None:
            raise _refused(
                "token-key-unknown", "令牌签名密钥未知", "The token is signed by an unknown key"
            )
        return key

    def _signed(self, token: str, key: PublicKey) -> Mapping[str, Any]:
        try:
            return jwt.decode(token, key, algorithms=list(ALGORITHMS)).claims
        except BadSignatureError:
            raise _refused(
                "token-signature-wrong", "令牌签名无效", "The token's signature is wrong"
            ) from None
        except (JoseError, ValueError, TypeError, RecursionError):
            raise _refused("token-malformed", "令牌格式错误", "The token is malformed") from None

    def _judged(self, claims: Mapping[str, Any]) -> Claims:
        subject, expires = claims.get("sub"), _seconds(claims, "exp")
        if (
            not isinstance(subject, str)
            or not 0 < len(subject) <= SUBJECT_CHARACTERS
            or not subject.isprintable()
            or expires is None
        ):
            raise _refused(
                "token-incomplete", "令牌缺少必要内容", "The token lacks a subject or an expiry"
            )
        now = self._elapsed.wall().timestamp()
        if expires <= now:
            raise _refused("token-expired", "登录已过期，请重新登录", "The token has expired")
        begins = max(_seconds(claims, "nbf") or 0.0, _seconds(claims, "iat") or 0.0)
        if begins > now + LEEWAY_SECONDS:
            raise _refused("token-not-yet-valid", "令牌尚未生效", "The token is not valid yet")
        if claims.get("iss") != self._issuer:
            raise _refused(
                "token-wrong-issuer", "令牌签发方不符", "The token comes from another issuer"
            )
        audience = claims.get("aud")
        if self._audience not in (audience if isinstance(audience, list) else [audience]):
            raise _refused(
                "token-wrong-audience", "令牌受众不符", "The token is meant for another audience"
            )
        return Claims(subject, datetime.fromtimestamp(expires, UTC), _is_client(claims))


def _is_client(claims: Mapping[str, Any]) -> bool:
    """A token of the client-credentials grant: RFC 9068 repeats the client as the subject, and
    Keycloak names a service account."""
    return claims.get("client_id") == claims["sub"] or str(
        claims.get("preferred_username", "")
    ).startswith("service-account-")


def _seconds(claims: Mapping[str, Any], name: str) -> float | None:
    """A NumericDate, if it is one that a calendar knows."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < 253_402_300_800 else None


def _refused(slug: str, title_zh: str, title_en: str) -> Problem:
    challenge = f'Bearer realm="bangfu", error="invalid_token", error_description="{title_en}"'
    return Problem(
        slug,
        status=401,
        title_zh=title_zh,
        title_en=title_en,
        headers={"WWW-Authenticate": challenge},
    )


class _PublishedKeys:
    """The provider's public keys, as last fetched."""

    def __init__(self, url: str, client: httpx.AsyncClient | None, elapsed: ElapsedTime) -> None:
        self._url = url
        self._client = client
        self._owns_client = client is None
        self._elapsed = elapsed
        self._keys: list[PublicKey] = []
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._fetching = asyncio.Lock()

    async def aclose(self) -> None:
        if self._owns_client and self._client is not None:
            await self._client.aclose()

    async def find(self, key_id: str | None, kind: type[PublicKey]) -> PublicKey | None:
        """The key of that id and kind, fetching anew if it is unknown or the keys are old."""
        now = self._elapsed.monotonic()
        key = self._choose(key_id, kind)
        fetched = self._fetched_at
        if key is not None and fetched is not None and now - fetched < KEYS_FRESH_SECONDS:
            return key
        await self._refetch(now)
        if self._fetched_at is None:
            raise Problem(
                "issuer-unreachable",
                status=503,
                title_zh="身份认证服务暂时不可用",
                title_en="The identity provider can't be reached",
                headers={"Retry-After": str(int(REFETCH_PAUSE_SECONDS))},
            )
        return self._choose(key_id, kind)

    def _choose(self, key_id: str | None, kind: type[PublicKey]) -> PublicKey | None:
        fitting = [
            key
            for key in self._keys
            if isinstance(key, kind) and (key_id is None or key.kid == key_id)
        ]
        # Without an id the choice must be certain, never the first of several.
        return fitting[0] if len(fitting) == 1 else None

    async def _refetch(self, asked_at: float) -> None:
        """Fetch once for all who wait, and not again for a while, whatever ids tokens name."""
        async with self._fetching:
            tried = self._tried_at
            if tried is not None and (
                tried >= asked_at or self._elapsed.monotonic() - tried < REFETCH_PAUSE_SECONDS
            ):
                return
            self._tried_at = self._elapsed.monotonic()
            try:
                self._keys = await self._fetch()
                self._fetched_at = self._elapsed.monotonic()
            except (httpx.HTTPError, ValueError, TypeError, KeyError, JoseError) as error:
                # The keys held so far stay in use: the provider's outage is not everybody's.
                log.warning("provider_keys_not_fetched", error=type(error).__name__)

    async def _fetch(self) -> list[PublicKey]:
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=FETCH_TIMEOUT, follow_redirects=False)
        response = await self._client.get(self._url, timeout=FETCH_TIMEOUT)
        response.raise_for_status()
        if len(response.content) > JWKS_BYTES:
            raise ValueError("the key set is too large")
        published = orjson.loads(response.content)["keys"]
        fit = [
            item
            for item in published
            if item.get("kty") in ("OKP", "EC", "RSA")
            and item.get("use", "sig") == "sig"
            and "d" not in item
        ]
        keys = KeySet.import_key_set({"keys": fit}).keys if fit else []
        return [key for key in keys if isinstance(key, OKPKey | ECKey | RSAKey)]
