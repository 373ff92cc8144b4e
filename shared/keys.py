"""The keys of personal data: made, fetched for a purpose, and destroyed.

They live in a database of their own, wrapped by the master key, and are reached only through its
functions, which know the asking service by its role, check its grants and record each look
(`migrations/keys`). Destroying a person's keys is what erases the person: nothing else has to be
found and changed. This file seals nothing itself; that is `sealed.py`.
"""

import hashlib
import hmac
import os
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

import asyncpg
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.clock import ElapsedTime
from shared.event_store import is_passing
from shared.pools import PLANS_BY_INDEX, Connections, Pool
from shared.sealed import NONCE_BYTES, Category, DataKey, SealedError, new_key, parse, unseal
from shared.together import Together

SCHEMA = "keys"
CACHED_KEYS = 20_000
CACHED_SECONDS = 60.0
MAC_DOMAINS_CACHED = 256

Pair = tuple[str, Category]


class KeyRefusedError(Exception):
    """The service has no grant for a category that it asked for; the attempt is on record."""


class PersonErasedError(Exception):
    """The person's keys were destroyed, so nothing more may be written about them."""


class MasterKeyMismatchError(Exception):
    """This process holds another master key than the one that wrapped the keys."""


class MasterKey:
    """The installation's one secret, and the keys derived from it, each for one use."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != 32:
            raise ValueError("the master key has 32 bytes")
        self._secret = secret
        self._wrapping = AESGCM(self._derive("key wrapping 1"))
        self._mac_keys: dict[str, bytes] = {}

    def __repr__(self) -> str:
        return "MasterKey(…)"

    def mac(self, domain: str, value: str) -> str:
        """HMAC-SHA256 in hex, under a key of its own for each domain.

        For what must be compared and must not be guessed: ID numbers can be enumerated, so a plain
        hash of one hides nothing.
        """
        key = self._mac_keys.get(domain)
        if key is None:
            key = self._derive(f"mac 1 {domain}")
            if len(self._mac_keys) < MAC_DOMAINS_CACHED:
                self._mac_keys[domain] = key
        return hmac.new(key, value.encode("utf-8"), hashlib.sha256).hexdigest()

    def wrap(self, key: DataKey) -> bytes:
        """The key's secret, encrypted and bound to its id, so that rows can't be exchanged."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._wrapping.encrypt(nonce, key.secret, key.key_id.encode("ascii"))

    def unwrap(self, key_id: str, person_id: str, category: Category, wrapped: bytes) -> DataKey:
        try:
            secret = self._wrapping.decrypt(
                wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], key_id.encode("ascii")
            )
        except (InvalidTag, ValueError):  # too short to hold a nonce is altered, too
            raise SealedError(f"key {key_id} was altered in the keys database") from None
        return DataKey(key_id, person_id, category, secret)

    def _derive(self, purpose: str) -> bytes:
        derivation = HKDF(algorithm=SHA256(), length=32, salt=b"bangfu", info=purpose.encode())
        return derivation.derive(self._secret)


@dataclass(frozen=True, slots=True)
class _Look:
    """Keys that somebody asks for at once, and why."""

    key_ids: Sequence[str]
    actor: str
    purpose: str


class KeyStore:
    """A service's way to the keys that it may use."""

    def __init__(
        self,
        pool: Pool,
        master_key: bytes,
        *,
        schema: str = SCHEMA,
        elapsed: ElapsedTime | None = None,
        cached_keys: int = CACHED_KEYS,
    ) -> None:
        self._pool = pool
        self._master = MasterKey(master_key)
        quoted = '"' + schema.replace('"', '""') + '"'
        # The schema is quoted, everything else is an argument.
        self._ensure_sql = f"SELECT * FROM {quoted}.ensure_keys($1, $2, $3, $4)"  # noqa: S608 - quoted
        self._open_sql = f"SELECT * FROM {quoted}.open_keys_of_looks($1, $2, $3, $4)"  # noqa: S608 - quoted
        self._destroy_sql = f"SELECT {quoted}.destroy_keys($1, $2)"
        self._fingerprint_sql = f"SELECT {quoted}.master_key_fingerprint($1)"
        elapsed = elapsed or ElapsedTime()
        self._by_pair: _Recent[Pair, DataKey] = _Recent(cached_keys, CACHED_SECONDS, elapsed)
        self._made_together = Together(self._make_all, is_passing)
        self._looks_together = Together(self._look_all, is_passing)

    @classmethod
    async def connect(cls, url: str, master_key: bytes, *, schema: str = SCHEMA) -> Self:
        """Open a pool as the service's role. MasterKeyMismatchError if that key is another one."""
        pool = Connections(
            url,
            4,
            timeout=10,
            command_timeout=10,
            server_settings={
                "application_name": "bangfu-keys",
                "statement_timeout": "10000",
                "lock_timeout": "5000",
                "idle_in_transaction_session_timeout": "10000",
                **PLANS_BY_INDEX,
            },
        )
        store = cls(pool, master_key, schema=schema)
        try:
            await store.check_master_key()
        except BaseException:
            pool.terminate()
            raise
        return store

    async def close(self) -> None:
        self._pool.terminate()

    async def check_master_key(self) -> None:
        """Before anything is sealed under keys that the other services could not unwrap."""
        mine = self._master.mac("master key fingerprint", "bangfu")
        held = await self._pool.fetchval(self._fingerprint_sql, mine)
        if not hmac.compare_digest(mine, held):
            raise MasterKeyMismatchError("the keys database was set up with another master key")

    def mac(self, domain: str, value: str) -> str:
        """A keyed hash for lookups, forms and request bodies: 64 hex digits."""
        return self._master.mac(domain, value)

    async def ensure(self, pairs: Collection[Pair]) -> dict[Pair, DataKey]:
        """The keys of these persons and categories; missing ones are made, and durable on return.

        One round trip, shared with those who ask meanwhile; none if all were used within the last
        minute. KeyRefusedError without the grant to seal such a category; PersonErasedError if a
        person's keys were destroyed.
        """
        found = {pair: key for pair in pairs if (key := self._by_pair.get(pair)) is not None}
        missing = set(pairs) - found.keys()
        if missing:
            made = await self._made_together.answer(missing)
            found.update((pair, made[pair]) for pair in missing)
        return found

    async def _make_all(self, asked: Sequence[Collection[Pair]]) -> list[dict[Pair, DataKey]]:
        pairs = sorted({pair for missing in asked for pair in missing})
        made = {(key.person_id, key.category): key for key in await self._make(pairs)}
        for pair, key in made.items():
            self._by_pair.put(pair, key)
        return [made] * len(asked)

    async def _make(self, pairs: Sequence[Pair]) -> list[DataKey]:
        proposed = {key.key_id: key for key in (new_key(*pair) for pair in pairs)}
        try:
            rows = await self._pool.fetch(
                self._ensure_sql,
                [person_id for person_id, _ in pairs],
                [category.value for _, category in pairs],
                list(proposed),
                [self._master.wrap(key) for key in proposed.values()],
            )
        except asyncpg.InsufficientPrivilegeError as error:
            raise KeyRefusedError(error.args[0]) from error
        erased = sorted({row["person_id"] for row in rows if row["wrapped"] is None})
        if erased:
            raise PersonErasedError(f"erased: {', '.join(erased)}")
        return [proposed.get(row["key_id"]) or self._unwrapped(row) for row in rows]

    async def open(
        self, tokens: Collection[str], actor: str, purpose: str
    ) -> dict[str, str | None]:
        """The clear texts by token, None where the key is destroyed; every look is recorded.

        One round trip, shared with those who look meanwhile, and always: a key from memory could
        have been destroyed since. Each look is on record by itself. KeyRefusedError if any
        category is not granted (nothing is opened then), SealedError for an altered token.
        """
        parsed = {token: parse(token) for token in tokens}
        if not parsed:
            return {}
        key_ids = tuple(sorted({sealed.key_id for sealed in parsed.values()}))
        rows = await self._looks_together.answer(_Look(key_ids, actor, purpose))
        keys = self._keys_in(rows, key_ids)
        opened: dict[str, str | None] = {}
        for token, sealed in parsed.items():
            key = keys[sealed.key_id]
            opened[token] = None if key is None else unseal(sealed, key)
        return opened

    async def _look_all(self, asked: Sequence[_Look]) -> list[list[asyncpg.Record]]:
        keys = [(n, key_id) for n, look in enumerate(asked) for key_id in look.key_ids]
        rows = await self._pool.fetch(
            self._open_sql,
            [n for n, _ in keys],
            [key_id for _, key_id in keys],
            [asked[n].actor for n, _ in keys],
            [asked[n].purpose for n, _ in keys],
        )
        found: list[list[asyncpg.Record]] = [[] for _ in asked]
        for row in rows:
            found[row["look"]].append(row)
        return found

    def _keys_in(
        self, rows: Sequence[asyncpg.Record], key_ids: Sequence[str]
    ) -> dict[str, DataKey | None]:
        """What one look was given, None for a destroyed key. KeyRefusedError or SealedError."""
        by_outcome: dict[str, list[asyncpg.Record]] = {}
        for row in rows:
            by_outcome.setdefault(row["outcome"], []).append(row)
        if refused := by_outcome.get("refused"):
            categories = sorted({row["category"] for row in refused})
            raise KeyRefusedError(f"may not open {', '.join(categories)}")
        if unknown := by_outcome.get("unknown"):
            raise SealedError(f"no such key: {unknown[0]['key_id']}")
        keys: dict[str, DataKey | None] = dict.fromkeys(key_ids)
        for row in by_outcome.get("opened", ()):
            keys[row["key_id"]] = self._unwrapped(row)
        return keys

    def _unwrapped(self, row: asyncpg.Record) -> DataKey:
        return self._master.unwrap(
            row["key_id"], row["person_id"], Category(row["category"]), row["wrapped"]
        )

    async def destroy(self, person_id: str, *, actor: str = "erasure") -> int:
        """Destroy all keys of a person for good; how many there were. A repeat destroys none.

        Other processes seal with a remembered key for a minute at most, and only themselves to
        blame: what they seal so can't be opened any more.
        """
        try:
            destroyed: int = await self._pool.fetchval(self._destroy_sql, person_id, actor)
        except asyncpg.InsufficientPrivilegeError as error:
            raise KeyRefusedError(error.args[0]) from error
        for category in Category:
            self._by_pair.drop((person_id, category))
        return destroyed


Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class _Entry(Generic[Value]):
    value: Value
    until: float


class _Recent(Generic[Key, Value]):
    """The most recently used values, bounded in number and in age."""

    def __init__(self, size: int, seconds: float, elapsed: ElapsedTime) -> None:
        self._size = size
        self._seconds = seconds
        self._elapsed = elapsed
        self._entries: OrderedDict[Key, _Entry[Value]] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.until < self._elapsed.monotonic():
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return entry.value

    def put(self, key: Key, value: Value) -> None:
        self._entries[key] = _Entry(value, self._elapsed.monotonic() + self._seconds)
        self._entries.move_to_end(key)
        while len(self._entries) > self._size:
            self._entries.popitem(last=False)

    def drop(self, key: Key) -> None:
        self._entries.pop(key, None)
