"""States are held in so much memory, whatever one of them takes."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass

from shared.fact import Head
from shared.stream_cache import StreamCache, weight_bytes
from shared.workspace import Entry

MOST_BYTES = 2 * 2**20


@dataclass(frozen=True, slots=True)
class State:
    texts: tuple[str, ...]


def entry(number: int, characters: int, version: int = 1) -> Entry:
    texts = tuple(f"{number}-{each}".ljust(characters // 10, "x") for each in range(10))
    return Entry(State(texts), Head(version, f"{number:064}", 1, {}))


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
