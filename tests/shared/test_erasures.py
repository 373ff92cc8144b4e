"""Who was erased stays erased, also after the keys' database was restored to a moment before."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from deploy.native.process import CHECKOUT
from shared.erasures import Erasure, RegisterBroken, read, together
from shared.keys import PersonErasedError
from shared.sealed import Category
from tests.shared.test_keys import House, house, token_of  # noqa: F401 - a fixture
from tests.shared.test_recovery import Past


async def bangfu(keys_url: str, *words: str) -> tuple[int, str]:
    """One command; its status, and all that it said."""
    done = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "cli",
        *words,
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "BANGFU_KEYS_URL": keys_url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(done.communicate(), 60)
    assert done.returncode is not None
    return done.returncode, said.decode()


async def test_an_erasure_is_replayed_after_a_restore(house: House, tmp_path: Path) -> None:  # noqa: F811 - the fixture
    """The keys are back with the backup; the register destroys them again, and nobody else's."""
    register, url = tmp_path / "erasures", house.url("intake")
    store = await house.store("intake")
    erased = await token_of(store, "p1", Category.IDENTITY, "甲")
    kept = await token_of(store, "p2", Category.IDENTITY, "乙")
    await house.admin.close()
    await store.close()
    house.stores.clear()
    past = Past(house.admin_url)
    past.keep()

    store = await house.store("intake")
    assert await store.destroy("p1", actor="zhang@city") == 1
    assert await bangfu(url, "erasures", "export", str(register)) == (0, "登记 registered: 1\n")
    await store.close()
    house.stores.clear()
    past.restore()

    store = await house.store("intake")
    assert await store.open([erased], "wu@city", "test") == {erased: "甲"}
    status, said = await bangfu(url, "erasures", "export", str(register))
    assert (status, "replay" in said) == (1, True)
    status, said = await bangfu(url, "erasures", "replay", str(register))
    assert (status, said.count("erased again: 1, 1 keys")) == (0, 1)
    opened = await store.open([erased, kept], "wu@city", "test")
    assert opened == {erased: None, kept: "乙"}
    with pytest.raises(PersonErasedError):
        await (await house.store("intake")).ensure([("p1", Category.HEALTH)])
    house.admin = await asyncpg.connect(house.admin_url)
    assert ("intake", "zhang@city", "erasure replayed", "destroyed") in await house.accesses()
    again = await bangfu(url, "erasures", "replay", str(register))
    assert again == (0, "登记 registered: 1 · 重新销毁 erased again: 0, 0 keys\n")
    status, said = await bangfu(house.url("payout"), "erasures", "replay", str(register))
    assert (status, said.count("\n"), "BANGFU_KEYS_URL" in said) == (2, 1, True)


def test_a_register_only_grows_and_a_broken_one_is_refused(tmp_path: Path) -> None:
    """The first erasure of a person counts; half a line is no erasure."""
    path = tmp_path / "erasures"
    assert read(path) == []
    path.write_text(
        '{"person_id":"p1","actor":"a","service":"intake","erased_at":"2026-01-02T00:00:00Z"}\n'
    )
    [one] = read(path)
    later = Erasure("p1", "b", "intake", one.erased_at.replace(year=2027))
    assert together([one], [later]) == [one]
    with path.open("a") as file:
        file.write('{"person_id":"p2"')
    with pytest.raises(RegisterBroken, match="line 2"):
        read(path)
