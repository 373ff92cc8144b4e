"""Keys are made once, opened for those who may, with a record of each look, and end for good."""

import asyncio
import contextlib
import hmac
import os
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import asyncpg
import pytest

from shared.clock import ElapsedTime
from shared.keys import (
    KeyRefusedError,
    KeyStore,
    MasterKey,
    MasterKeyMismatchError,
    PersonErasedError,
)
from shared.migrations import migrate_keys, role_name, role_url
from shared.sealed import Category, SealedError, new_key, parse, seal
from tests.conftest import FreshDatabases

SERVICES = ("intake", "eligibility", "notice", "payout", "training", "network")
FACT = "0198c0de-0000-7000-8000-000000000001"
MASTER = bytes(range(32))


class Moved(ElapsedTime):
    def __init__(self) -> None:
        self.added = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.added


@dataclass
class House:
    """The keys database, and a store for each service that asks for one."""

    admin_url: str
    admin: asyncpg.Connection
    passwords: dict[str, str]
    stores: list[KeyStore] = field(default_factory=list)

    def url(self, service: str) -> str:
        role = role_name(self.admin_url, service, "keys")
        return role_url(self.admin_url, role, self.passwords[service])

    async def store(self, service: str, master_key: bytes = MASTER) -> KeyStore:
        store = await KeyStore.connect(self.url(service), master_key)
        self.stores.append(store)
        return store

    async def accesses(self) -> list[tuple[str, str, str, str]]:
        rows = await self.admin.fetch(
            "SELECT service, actor, purpose, outcome FROM keys.key_accesses ORDER BY id"
        )
        return [(r["service"], r["actor"], r["purpose"], r["outcome"]) for r in rows]


@pytest.fixture
async def house(fresh_databases: FreshDatabases) -> AsyncIterator[House]:
    url = fresh_databases.keys_url
    passwords = {service: secrets.token_hex(8) for service in SERVICES}
    await migrate_keys(url, passwords)
    admin = await asyncpg.connect(url)
    opened = House(url, admin, passwords)
    yield opened
    for store in opened.stores:
        await store.close()
    for service in SERVICES:
        role = role_name(url, service, "keys")
        await opened.admin.execute(f'DROP OWNED BY "{role}"; DROP ROLE "{role}"')
    await opened.admin.close()


async def token_of(store: KeyStore, person: str, category: Category, text: str) -> str:
    keys = await store.ensure([(person, category)])
    return seal(text, keys[person, category], FACT, "field")


async def test_what_one_service_seals_another_opens(house: House) -> None:
    intake, payout = await house.store("intake"), await house.store("payout")
    token = await token_of(intake, "p1", Category.ACCOUNT, "6222000000001234")
    assert await payout.open([token], "wu@city", "payment file") == {token: "6222000000001234"}
    assert await payout.open([], "wu@city", "payment file") == {}


async def test_a_person_and_category_have_one_key(house: House) -> None:
    store = await house.store("intake")
    pairs = [(person, category) for person in ("p1", "p2") for category in Category]
    first = await store.ensure(pairs)
    assert set(first) == set(pairs)
    assert len({key.key_id for key in first.values()}) == len(pairs)
    assert len({key.secret for key in first.values()}) == len(pairs)
    fresh = await house.store("intake")
    assert await fresh.ensure(pairs) == first


async def test_those_who_make_the_same_keys_at_once_get_the_same(house: House) -> None:
    """Overlapping sets in any order: nobody waits in a circle, and each pair has one key."""
    stores = [await house.store("intake") for _ in range(4)]
    pairs = [(f"p{n}", category) for n in range(20) for category in Category]

    async def ensure(number: int) -> dict[tuple[str, Category], bytes]:
        turned = pairs[number:] + pairs[:number]
        found = await stores[number % 4].ensure(turned if number % 2 else list(reversed(turned)))
        return {pair: key.secret for pair, key in found.items()}

    answers = await asyncio.gather(*(ensure(number) for number in range(16)))
    assert all(answer == answers[0] for answer in answers)
    assert await house.admin.fetchval("SELECT count(*) FROM keys.personal_keys") == len(pairs)


async def test_a_key_is_durable_when_ensure_returns(house: House) -> None:
    store = await house.store("intake")
    key = (await store.ensure([("p1", Category.HEALTH)]))["p1", Category.HEALTH]
    held = await house.admin.fetchrow("SELECT * FROM keys.personal_keys")
    assert held is not None
    assert held["key_id"] == key.key_id
    assert key.secret not in held["wrapped"]
    assert held["created_by"] == "intake"


async def test_every_look_is_recorded(house: House) -> None:
    intake, payout = await house.store("intake"), await house.store("payout")
    token = await token_of(intake, "p1", Category.ACCOUNT, "1")
    for _ in range(2):
        await payout.open([token], "wu@city", "payment file")
    assert await house.accesses() == [
        ("intake", "service:intake", "seal", "sealed"),
        ("payout", "wu@city", "payment file", "opened"),
        ("payout", "wu@city", "payment file", "opened"),
    ]


async def test_looks_of_one_moment_are_answered_and_recorded_each_by_itself(house: House) -> None:
    """In one statement; what one of them may not open, or nobody can, is its own affair."""
    intake, payout = await house.store("intake"), await house.store("payout")
    tokens = [await token_of(intake, f"p{n}", Category.ACCOUNT, f"{n}") for n in range(3)]
    health = await token_of(intake, "p1", Category.HEALTH, "diagnosis")
    stray = seal("1", new_key("p1", Category.ACCOUNT), FACT, "field")
    await intake.destroy("p2")
    asked = [*([token] for token in tokens), [health], [tokens[0], stray], [tokens[0]]]
    found = await asyncio.gather(
        *(payout.open(each, f"person-{n}", f"look {n}") for n, each in enumerate(asked)),
        return_exceptions=True,
    )
    assert [*found[:3], found[5]] == [
        {tokens[0]: "0"}, {tokens[1]: "1"}, {tokens[2]: None}, {tokens[0]: "0"},
    ]  # fmt: skip
    assert [type(each) for each in found[3:5]] == [KeyRefusedError, SealedError]
    looks = [access for access in await house.accesses() if access[0] == "payout"]
    outcomes = ("opened", "opened", "destroyed", "refused", "opened", "unknown", "opened")
    assert sorted(looks) == sorted(
        ("payout", f"person-{n}", f"look {n}", outcome)
        for n, outcome in zip((0, 1, 2, 3, 4, 4, 5), outcomes, strict=True)
    )
    moments = await house.admin.fetchval(
        "SELECT count(DISTINCT xmin::text) FROM keys.key_accesses WHERE service = 'payout'"
    )
    assert moments == 1


@pytest.mark.parametrize(
    ("service", "opens", "seals"),
    [
        ("intake", set(Category), set(Category)),
        ("eligibility", {Category.IDENTITY, Category.FREE_TEXT}, {Category.FREE_TEXT}),
        ("notice", {Category.IDENTITY, Category.FREE_TEXT}, {Category.FREE_TEXT}),
        ("payout", {Category.IDENTITY, Category.ACCOUNT}, {Category.ACCOUNT}),
        ("training", {Category.IDENTITY}, {Category.IDENTITY}),
        ("network", set(), set()),
    ],
)
async def test_a_service_opens_and_seals_what_it_is_granted(
    house: House, service: str, opens: set[Category], seals: set[Category]
) -> None:
    """Payout sees accounts, never diagnoses; the network sees nobody."""
    intake, other = await house.store("intake"), await house.store(service)
    for category in Category:
        token = await token_of(intake, "p1", category, "text")
        if category in opens:
            assert await other.open([token], "someone", "test") == {token: "text"}
        else:
            with pytest.raises(KeyRefusedError, match=category.value):
                await other.open([token], "someone", "test")
        if category in seals:
            assert await other.ensure([("p1", category)])
        else:
            with pytest.raises(KeyRefusedError, match=category.value):
                await other.ensure([("p1", category)])


async def test_one_category_too_many_opens_nothing_and_is_on_record(house: House) -> None:
    intake, payout = await house.store("intake"), await house.store("payout")
    account = await token_of(intake, "p1", Category.ACCOUNT, "1")
    health = await token_of(intake, "p1", Category.HEALTH, "2")
    with pytest.raises(KeyRefusedError):
        await payout.open([account, health], "wu@city", "curiosity")
    looks = [access for access in await house.accesses() if access[0] == "payout"]
    assert sorted(look[3] for look in looks) == ["opened", "refused"]


async def test_one_category_too_many_makes_nothing(house: House) -> None:
    payout = await house.store("payout")
    with pytest.raises(KeyRefusedError):
        await payout.ensure([("p1", Category.ACCOUNT), ("p1", Category.HEALTH)])
    assert await house.admin.fetchval("SELECT count(*) FROM keys.personal_keys") == 0


async def test_erasing_a_person_ends_every_key(house: House) -> None:
    intake, payout = await house.store("intake"), await house.store("payout")
    gone = await token_of(intake, "p1", Category.ACCOUNT, "1")
    kept = await token_of(intake, "p2", Category.ACCOUNT, "2")
    await token_of(intake, "p1", Category.IDENTITY, "3")
    assert await payout.open([gone, kept], "wu", "x") == {gone: "1", kept: "2"}
    assert await intake.destroy("p1", actor="zhang@city") == 2
    assert await intake.destroy("p1") == 0
    for store in (intake, payout):
        assert await store.open([gone, kept], "wu", "x") == {gone: None, kept: "2"}
    wrapped = "SELECT count(*) FROM keys.personal_keys WHERE person_id = 'p1' AND wrapped IS NULL"
    assert await house.admin.fetchval(wrapped) == 2
    erased = ("intake", "zhang@city", "erasure", "destroyed")
    assert (await house.accesses()).count(erased) == 2


async def test_nothing_more_is_written_about_an_erased_person(house: House) -> None:
    """Neither under the old keys nor under those of a category that they never had."""
    intake = await house.store("intake")
    await intake.ensure([("p1", Category.IDENTITY)])
    await intake.destroy("p1")
    await intake.destroy("p9")
    for pair in (("p1", Category.IDENTITY), ("p1", Category.HEALTH), ("p9", Category.HEALTH)):
        with pytest.raises(PersonErasedError):
            await intake.ensure([pair, ("p2", Category.IDENTITY)])


async def test_an_erasure_and_a_new_key_at_once_leave_no_key(house: House) -> None:
    """Whoever comes first: afterwards no usable key of the person exists."""
    stores = [await house.store("intake") for _ in range(3)]

    async def ensure(store: KeyStore, person: str) -> None:
        with contextlib.suppress(PersonErasedError):
            await store.ensure([(person, category) for category in Category])

    for number in range(30):
        person = f"p{number}"
        await asyncio.gather(
            ensure(stores[0], person), stores[1].destroy(person), ensure(stores[2], person)
        )
    usable = "SELECT count(*) FROM keys.personal_keys WHERE wrapped IS NOT NULL"
    assert await house.admin.fetchval(usable) == 0


async def test_only_the_keeper_of_the_file_erases(house: House) -> None:
    with pytest.raises(KeyRefusedError, match="may not erase"):
        await (await house.store("payout")).destroy("p1")


async def test_a_remembered_key_is_asked_for_again_after_a_minute(house: House) -> None:
    elapsed = Moved()
    pool = await asyncpg.create_pool(house.url("intake"), min_size=1, max_size=1)
    store = KeyStore(pool, MASTER, elapsed=elapsed)
    house.stores.append(store)
    pair = ("p1", Category.IDENTITY)
    await store.ensure([pair])
    await (await house.store("intake")).destroy("p1")
    assert await store.ensure([pair])
    elapsed.added = 61
    with pytest.raises(PersonErasedError):
        await store.ensure([pair])


async def test_the_memory_of_keys_is_bounded(house: House) -> None:
    pool = await asyncpg.create_pool(house.url("intake"), min_size=1, max_size=1)
    store = KeyStore(pool, MASTER, cached_keys=10)
    house.stores.append(store)
    for number in range(20):
        await store.ensure([(f"p{number}", Category.IDENTITY)])
    assert len(store._by_pair._entries) == 10


async def test_an_altered_token_and_an_unknown_key_are_errors(house: House) -> None:
    intake = await house.store("intake")
    token = await token_of(intake, "p1", Category.IDENTITY, "王建国")
    moved = token.replace(":field:", ":other:")
    with pytest.raises(SealedError, match="altered"):
        await intake.open([moved], "wu", "x")
    stray = seal("王建国", new_key("p1", Category.IDENTITY), FACT, "field")
    with pytest.raises(SealedError, match="no such key"):
        await intake.open([stray], "wu", "x")
    with pytest.raises(SealedError, match="not a sealed value"):
        await intake.open(["王建国"], "wu", "x")


async def test_a_look_needs_an_actor_and_a_purpose(house: House) -> None:
    intake = await house.store("intake")
    token = await token_of(intake, "p1", Category.IDENTITY, "王建国")
    for actor, purpose in (("", "x"), ("wu", "")):
        with pytest.raises(asyncpg.CheckViolationError):
            await intake.open([token], actor, purpose)


async def test_exchanged_rows_are_noticed(house: House) -> None:
    """Who can write to the database still can't give one person's key out as another's."""
    intake = await house.store("intake")
    token = await token_of(intake, "p1", Category.IDENTITY, "王建国")
    await intake.ensure([("p2", Category.IDENTITY)])
    await house.admin.execute(
        "UPDATE keys.personal_keys SET wrapped = "
        "(SELECT wrapped FROM keys.personal_keys WHERE person_id = 'p2') WHERE person_id = 'p1'"
    )
    with pytest.raises(SealedError, match=parse(token).key_id):
        await intake.open([token], "wu", "x")


async def test_another_master_key_is_refused_at_the_start(house: House) -> None:
    await house.store("intake")
    with pytest.raises(MasterKeyMismatchError):
        await house.store("payout", os.urandom(32))
    await house.store("payout")


async def test_a_role_reaches_keys_through_the_functions_only(house: House) -> None:
    """Nor does a temporary table of our name lead the functions astray."""
    connection = await asyncpg.connect(house.url("payout"))
    try:
        for table in ("personal_keys", "key_grants", "key_accesses", "erased_persons"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"SELECT * FROM keys.{table}")
        for call in ("grant_service('intake', session_user)", "asking_service()"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"SELECT keys.{call}")
    finally:
        await connection.close()
    paths = await house.admin.fetch(
        "SELECT proconfig FROM pg_proc WHERE pronamespace = 'keys'::regnamespace AND prosecdef"
    )
    assert paths
    assert {tuple(row["proconfig"]) for row in paths} == {("search_path=keys, pg_temp",)}


async def test_a_role_of_no_service_gets_nothing(house: House) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="belongs to no service"):
        await house.admin.execute("SELECT * FROM keys.open_keys(ARRAY['x'], 'a', 'b')")


async def test_the_migration_may_be_repeated(house: House) -> None:
    await migrate_keys(house.admin_url, house.passwords)
    assert await (await house.store("intake")).ensure([("p1", Category.IDENTITY)])


def test_a_mac_depends_on_master_domain_and_value() -> None:
    master = MasterKey(MASTER)
    mac = master.mac("id-number", "999999198001011234")
    assert mac == master.mac("id-number", "999999198001011234")
    assert len(bytes.fromhex(mac)) == 32
    others = {
        master.mac("account", "999999198001011234"),
        master.mac("id-number", "999999198001011235"),
        MasterKey(os.urandom(32)).mac("id-number", "999999198001011234"),
    }
    assert len(others | {mac}) == 4
    assert MASTER.hex() not in repr(master)


def test_a_mac_stays_what_it_was() -> None:
    """Lookups outlive the process and the version: these values are in tables."""
    extracted = hmac.digest(b"bangfu", MASTER, "sha256")  # HKDF, written out
    derived = hmac.digest(extracted, b"mac 1 id-number\x01", "sha256")
    by_hand = hmac.digest(derived, b"999999198001011234", "sha256").hex()
    assert by_hand == "fa8d05c681a07f2648986e6c36f746717286c19dd2b89d3b1d585d2451c6455a"
    assert MasterKey(MASTER).mac("id-number", "999999198001011234") == by_hand
