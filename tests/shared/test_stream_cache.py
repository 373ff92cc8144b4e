"""States are held in so much memory, whatever one of them takes."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from shared.fact import Head
from shared.stream_cache import StreamCache, weight_bytes
from shared.workspace import Entry

MOST_BYTES = 2 * 2**20
PUTS = 8_000


@dataclass(frozen=True, slots=True)
class State:
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Other:
    texts: tuple[str, ...]


def entry(
    number: int, characters: int, version: int = 1, kind: type[State | Other] = State
) -> Entry:
    texts = tuple(f"{number}-{each}".ljust(characters // 10, "x") for each in range(10))
    return Entry(kind(texts), Head(version, f"{number:064}", 1, {}))


def one_in(step: int) -> Iterator[tuple[str, Entry]]:
    """A heavy one, and then light ones; or the other way round."""
    for number in range(PUTS):
        yield f"stream-{number}", entry(number, 20_000 if (number + 1) % step else 200)


def two_kinds() -> Iterator[tuple[str, Entry]]:
    """A room with small streams and a few large ones."""
    draw = random.Random(7)
    for number in range(PUTS):
        if draw.random() < 0.9:
            yield f"small-{number}", entry(number, 300)
        else:
            yield f"large-{number}", entry(number, 40_000, kind=Other)


def growing() -> Iterator[tuple[str, Entry]]:
    """Cases under way side by side, each larger with each fact; new ones begin as others end."""
    draw = random.Random(7)
    versions: dict[int, int] = {}
    for step in range(PUTS):
        if step % 8 == 0:
            versions[step] = 0
        number = draw.choice(list(versions)[-300:])
        versions[number] += 1
        version = versions[number]
        yield f"stream-{number}", entry(number, 800 * version, version)


def all_together() -> Iterator[tuple[str, Entry]]:
    """All cases begin on one day and grow from week to week."""
    for version in range(1, PUTS // 200):
        for number in range(200):
            yield f"stream-{number}", entry(number, 800 * version, version)


def test_memory_is_bounded_for_light_and_for_heavy_states() -> None:
    """Thousands of light ones fit, a few dozen heavy ones; and the last one always."""
    for characters, fewest, most in ((100, 800, 3000), (20_000, 60, 110), (2**22, 1, 1)):
        cache = StreamCache(MOST_BYTES)
        tracemalloc.start()
        for number in range(4 * most):
            cache.put(f"stream-{number}", entry(number, characters))
        held_bytes, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert fewest <= len(cache) <= most
        assert held_bytes < 1.25 * MOST_BYTES or len(cache) == 1
        assert cache.get(f"stream-{4 * most - 1}") is not None
        assert cache.get("stream-0") is None


@pytest.mark.parametrize(
    "cases",
    [lambda: one_in(2), lambda: one_in(64), two_kinds, growing, all_together],
    ids=["alternating", "in step with 64", "two kinds", "growing", "all together"],
)
def test_what_is_held_is_weighed_whatever_is_stored_beside_it(
    cases: Callable[[], Iterator[tuple[str, Entry]]],
) -> None:
    """The sum of what the cache still has, and no average over what has passed through it."""
    cache = StreamCache(MOST_BYTES)
    streams = set()
    for stream, each in cases():
        cache.put(stream, each)
        streams.add(stream)
    held = [found for stream in streams if (found := cache.get(stream)) is not None]
    assert len(held) == len(cache)
    held_bytes = sum(weight_bytes(each) for each in held)
    assert 0.6 * MOST_BYTES < held_bytes < 1.35 * MOST_BYTES


def test_what_is_dropped_weighs_no_more() -> None:
    """Nor what is replaced; else the cache would hold less and less."""
    cache = StreamCache(MOST_BYTES)
    for version in range(1, 1000):
        cache.put("replaced", entry(1, 20_000, version))
        cache.put(f"dropped-{version}", entry(version, 20_000))
        cache.drop(f"dropped-{version}")
    for number in range(40):
        cache.put(f"stream-{number}", entry(number, 20_000))
    assert len(cache) == 41
    cache.clear()
    for number in range(40):
        cache.put(f"stream-{number}", entry(number, 20_000))
    assert len(cache) == 40


def test_heavier_states_make_others_go() -> None:
    """Cases grow; what fitted at first does not fit later."""
    cache = StreamCache(MOST_BYTES)
    for number in range(2000):
        cache.put(f"stream-{number}", entry(number, 100))
    light = len(cache)
    for number in range(2000):
        cache.put(f"stream-{number}", entry(number, 20_000, version=2))
    assert len(cache) < light / 5


def test_a_later_state_is_not_given_up_for_an_earlier_one() -> None:
    """Two commands of one stream may end in another order than they were stored in."""
    cache = StreamCache(MOST_BYTES)
    cache.put("stream", entry(1, 100, version=3))
    cache.put("stream", entry(1, 100, version=2))
    held = cache.get("stream")
    assert held is not None
    assert held.head.version == 3


def test_what_is_everybodys_weighs_nothing() -> None:
    """Classes lead to all of the program."""
    assert weight_bytes(State) == 0
    assert weight_bytes(entry(1, 1000)) < 4000
