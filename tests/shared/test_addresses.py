"""Addresses that no client can read are refused by name, and nothing of them is repeated."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shared.addresses import checked_bootstrap, checked_dsn, checked_http_url

Check = Callable[[str], str]


@pytest.mark.parametrize(
    ("check", "address"),
    [
        (checked_dsn, ""),
        (checked_dsn, "postgresql://ops:S%23T@127.0.0.1:5432/db"),
        (checked_dsn, "postgresql://ops:secret@one:5432,two:5433/db"),
        (checked_dsn, "postgresql://ops:secret@[::1]:5432/db"),
        (checked_dsn, "postgres:///db?host=/run/postgresql"),
        (checked_dsn, "postgresql://ops:secret@/db?host=/run/postgresql&port=5433&user=ops"),
        (checked_dsn, "postgresql://ops:secret@/db?host=one,[::1]&port=5432,5433"),
        (checked_dsn, "postgresql:///db?host=one:5432,two:5433&sslmode=require"),
        (checked_dsn, "postgresql://ops:secret@one,two/db?port=5433"),
        (checked_bootstrap, "one:9092,two:9092"),
        (checked_http_url, "https://intake.example:8443"),
    ],
)
def test_an_address_stays_as_it_is(check: Check, address: str) -> None:
    assert check(address) == address


@pytest.mark.parametrize(
    ("check", "address"),
    [
        (checked_dsn, "postgresql://ops:SECRET#PW@127.0.0.1/db"),
        (checked_dsn, "postgresql://ops:SECRET/PW@127.0.0.1/db"),
        (checked_dsn, "postgresql://ops:SECRET@127.0.0.1:abc/db"),
        (checked_dsn, "postgresql:///SECRET"),
        (checked_dsn, "postgresql://ops:SECRET@/db?host=127.0.0.1&port=99999"),
        (checked_dsn, "postgresql://ops:SECRET@/db?host=127.0.0.1&port=abc"),
        (checked_dsn, "postgresql://ops:SECRET@/db?host=127.0.0.1&port=-1"),
        (checked_dsn, "postgresql://ops:SECRET@/db?host=/run/postgresql&port=99999"),
        (checked_dsn, "postgresql://ops:SECRET@/db?host=one,two&port=5432,99999"),
        (checked_dsn, "postgresql://ops:SECRET@/db?host=one,two&port=5432,abc"),
        (checked_dsn, "postgresql://ops:SECRET@/db?host=one,two&port=5432,"),
        (checked_dsn, "postgresql://ops:SECRET@/db?host=one,two&port=5432,5433,5434"),
        (checked_dsn, "postgresql://ops:SECRET@127.0.0.1/db?port=99999"),
        (checked_dsn, "postgresql://ops:SECRET@127.0.0.1:5432/db?port=abc"),
        (checked_dsn, "postgresql://ops:SECRET@/db?host=127.0.0.1:abc"),
        (checked_dsn, "postgresql://ops:SECRET@/db?host=one,&port=5432"),
        (checked_dsn, "postgresql://ops:SECRET@/db?host="),
        (checked_dsn, "postgresql://ops:SECRET@127.0.0.1/db?sslmode"),
        (checked_dsn, "SECRET"),
        (checked_bootstrap, "SECRET:abc"),
        (checked_bootstrap, "broker:99999"),
        (checked_bootstrap, "broker..example:9092"),
        (checked_dsn, f"postgresql://ops:SECRET@{'x' * 64}/db"),
        (checked_http_url, "http://127.0.0.1:SECRET"),
        (checked_http_url, "SECRET"),
    ],
)
def test_what_is_none_is_refused_without_a_word_of_it(check: Check, address: str) -> None:
    with pytest.raises(ValueError, match="must be") as refused:
        check(address)
    assert "SECRET" not in str(refused.value)
