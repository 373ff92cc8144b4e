"""Any flip, drop, reorder or forged repeat in a stream is found and named; nothing else is."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.chain import CausalCheck, ChainCheck, Finding, HeadAt, Kind, verify
from shared.fact import GENESIS_HASH, Recorded, canonical, chain_hash
from tests.kafka_log import KafkaLog
from tests.toy.alpha import Counted, Opened
from tests.toy.beta import Mirrored

STREAM = "tally-one"
LENGTH = 8


def chained(length: int = LENGTH) -> list[Recorded]:
    log = KafkaLog("nowhere")
    opened = Opened(case_id="one", organisation_id="城东", rings_on=None)
    return [
        log.state("alpha", STREAM, opened, subject="one"),
        *(
            log.state("alpha", STREAM, Counted(case_id="one", amount=n), subject="one")
            for n in range(1, length)
        ),
    ]


FACTS = chained()


def altered(fact: Recorded, **said: Any) -> Recorded:
    """The same fact, but for what is said here: somebody changed it where it is kept."""
    return Recorded(**{"attributes": fact.attributes, "hash": fact.hash, "data": fact.raw, **said})


def kinds(findings: list[Finding]) -> set[tuple[int, Kind]]:
    assert {f.stream for f in findings} <= {STREAM}
    return {(f.version, f.kind) for f in findings}


def test_a_sound_stream_has_no_findings() -> None:
    assert verify(FACTS, {STREAM: (LENGTH, FACTS[-1].hash)}) == []
    assert verify([]) == []


@given(st.text(st.sampled_from("datacontenttype\":,{}\\'城"), max_size=60))
def test_whatever_stands_in_it_the_hash_is_of_the_whole_fact(said: str) -> None:
    """A new fact's hash is put together from bytes that are there; it is the same hash."""
    odd = f'"datacontenttype":{said}"data":'
    fact = KafkaLog("nowhere").state(
        "alpha", f"tally-{odd}", Counted(case_id=odd, amount=1, label=said), subject=odd
    )
    assert fact.hash == chain_hash(fact.attributes, fact.raw)
    assert fact.envelope == canonical(fact.attributes).decode()
    read_again = Recorded(fact.attributes, fact.hash, fact.raw)
    assert read_again.head == fact.head


@given(st.lists(st.integers(0, LENGTH - 1), max_size=6))
def test_identical_repeats_change_nothing(repeated: list[int]) -> None:
    check = ChainCheck()
    taken = [f for fact in [*FACTS, *(FACTS[i] for i in repeated)] for f in check.take(fact)]
    check.finish()
    assert check.findings == []
    assert check.repeats == len(repeated)
    assert taken == FACTS


@given(st.integers(0, LENGTH - 1), st.data())
def test_any_flipped_byte_of_the_data_is_found(at: int, data: st.DataObject) -> None:
    raw = FACTS[at].raw
    place = data.draw(st.integers(0, len(raw) - 1))
    flipped = bytes([raw[place] ^ data.draw(st.integers(1, 255))])
    damaged = altered(FACTS[at], data=raw[:place] + flipped + raw[place + 1 :])
    findings = verify([*FACTS[:at], damaged, *FACTS[at + 1 :]])
    assert kinds(findings) == {(at + 1, Kind.FLIPPED)}


@given(
    st.integers(0, LENGTH - 1),
    st.sampled_from(sorted(set(FACTS[0].attributes) - {"stream", "streamversion"})),
    st.text(max_size=8),
)
def test_any_changed_attribute_is_found(at: int, name: str, text: str) -> None:
    damaged = altered(FACTS[at], attributes={**FACTS[at].attributes, name: text})
    if text != FACTS[at].attributes[name]:
        findings = verify([*FACTS[:at], damaged, *FACTS[at + 1 :]])
        assert kinds(findings) == {(at + 1, Kind.FLIPPED)}


@given(st.integers(0, LENGTH - 2))
def test_a_dropped_fact_is_missing(at: int) -> None:
    assert kinds(verify([*FACTS[:at], *FACTS[at + 1 :]])) == {(at + 1, Kind.MISSING)}


def test_a_dropped_tail_shows_against_heads_only() -> None:
    cut = FACTS[:-2]
    assert verify(cut) == []
    [finding] = verify(cut, {STREAM: (LENGTH, FACTS[-1].hash)})
    assert (finding.version, finding.kind) == (LENGTH, Kind.CUT_TAIL)
    [finding] = verify([], {STREAM: (LENGTH, FACTS[-1].hash)})
    assert finding.kind == Kind.CUT_TAIL


@given(st.permutations(range(LENGTH)))
@settings(max_examples=60)
def test_reordered_facts_are_found_and_still_taken_in_turn(order: list[int]) -> None:
    check = ChainCheck()
    taken = [f for i in order for f in check.take(FACTS[i])]
    taken += check.finish()
    assert taken == FACTS
    assert bool(check.findings) == (order != sorted(order))
    assert {f.kind for f in check.findings} <= {Kind.REORDERED}


@given(st.integers(0, LENGTH - 2), st.text(min_size=1, max_size=5))
def test_a_fact_that_was_rewritten_and_hashed_anew_is_betrayed_by_the_next(
    at: int, person: str
) -> None:
    attributes = {**FACTS[at].attributes, "actor": f"other {person}"}
    forged = Recorded(attributes, chain_hash(attributes, FACTS[at].raw), FACTS[at].raw)
    findings = verify([*FACTS[:at], forged, *FACTS[at + 1 :]])
    assert kinds(findings) == {(at + 2, Kind.UNLINKED)}
    repeated = verify([*FACTS, forged])
    assert kinds(repeated) == {(at + 1, Kind.DIFFERING_REPEAT)}


def test_a_whole_stream_that_was_written_anew_shows_against_heads() -> None:
    [finding] = verify(chained(), {STREAM: HeadAt(LENGTH, FACTS[-1].hash)})
    assert (finding.version, finding.kind) == (LENGTH, Kind.UNLINKED)


def test_what_does_not_say_where_it_belongs_is_unreadable() -> None:
    check = ChainCheck()
    check.take(Recorded({}, "", b"{}"), "topic/0 offset 7")
    [finding] = check.findings
    assert (finding.kind, finding.detail) == (Kind.UNREADABLE, "topic/0 offset 7")
    attributes = {**FACTS[0].attributes, "previoushash": GENESIS_HASH, "time": "soon"}
    odd = Recorded(attributes, chain_hash(attributes, FACTS[0].raw), FACTS[0].raw)
    assert kinds(verify([odd])) == {(1, Kind.UNREADABLE)}


def two_streams() -> list[Recorded]:
    log = KafkaLog("nowhere")
    facts = []
    for n in (1, 2, 3):
        cause = log.state("alpha", STREAM, Counted(case_id="one", amount=n), subject="one")
        mirrored = Mirrored(case_id="one", alpha_version=n, amount=n)
        facts += [cause, log.state("beta", "mirror-one", mirrored, subject="one", after=cause)]
    return facts


def judged(facts: list[Recorded]) -> list[str]:
    check = CausalCheck()
    for fact in facts:
        check.take(fact)
    check.finish()
    return [str(finding) for finding in check.findings]


def test_causes_come_before_what_follows_from_them() -> None:
    facts = two_streams()
    assert judged(facts) == []
    assert judged([*facts[1::2], *facts[0::2]]) == []  # streams may come in any order
    without = [fact for fact in facts if fact is not facts[4]]
    assert judged(without) == ["mirror-one 3: ahead of its cause (tally-one 3 is not there)"]


def test_a_fact_that_claims_to_be_earlier_than_its_cause_is_found() -> None:
    facts = two_streams()
    late = altered(facts[0], attributes={**facts[0].attributes, "lamport": "90"})
    said = judged([late, *facts[1:]])
    assert f"mirror-one 1: ahead of its cause ({STREAM} 1 comes later)" in said
    assert any("led to it and comes later" in line for line in said)
    assert any(line.startswith(f"{STREAM} 2: ahead of its cause (lamport") for line in said)


def test_a_stream_never_forgets_what_it_had_heard() -> None:
    facts = two_streams()
    forgets = altered(facts[5], attributes={**facts[5].attributes, "heard": "{}"})
    said = judged([*facts[:5], forgets])
    assert said == ["mirror-one 3: ahead of its cause (forgets what it had heard)"]
