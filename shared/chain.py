"""Is a log whole? Checks streams fact by fact, as they come, and names what is wrong.

Pure: it takes facts from wherever they were read and keeps one digest a fact. A stream's facts are
versions 1, 2, 3 … without a gap; each names the hash of the one before it, and its own hash holds.
The first record of a (stream, version) counts; an identical repeat changes nothing. A cut tail
shows only against heads that were noted earlier. docs/log-format.md tells the same to outsiders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from shared.bounds import is_heard, is_name
from shared.fact import GENESIS_HASH, Recorded, chain_hash

_DIGEST_BYTES: Final = 32
LARGEST_GAP: Final = 10_000


class Kind(StrEnum):
    """What can be wrong with a fact in a log."""

    FLIPPED = "flipped"
    UNLINKED = "unlinked"
    MISSING = "missing"
    REORDERED = "reordered"
    DIFFERING_REPEAT = "differing repeat"
    CUT_TAIL = "cut tail"
    AHEAD_OF_CAUSE = "ahead of its cause"
    UNREADABLE = "unreadable"


class HeadAt(NamedTuple):
    """The end of a stream: its last version and that one's hash."""

    version: int
    hash: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong, at one fact. ``stream`` is empty if the record does not even say it."""

    stream: str
    version: int
    kind: Kind
    detail: str = ""

    def __str__(self) -> str:
        place = f"{self.stream or '?'} {self.version}: {self.kind}"
        return f"{place} ({self.detail})" if self.detail else place


def hash_holds(recorded: Recorded) -> bool:
    """Whether the hash is that of the attributes and data as they stand."""
    try:
        return chain_hash(recorded.attributes, recorded.raw) == recorded.hash
    except (TypeError, ValueError):  # data that is no JSON, or no text
        return False


def readable(recorded: Recorded) -> bool:
    """Whether everything that is said of a fact beside its data can be read."""
    try:
        _ = (recorded.lamport, recorded.heard, recorded.occurred_on, recorded.recorded_at)
        _ = (recorded.schema_version, recorded.subject, recorded.actor, recorded.fact_id)
        _ = (recorded.source, recorded.type, recorded.attributes["causationid"])
        return is_heard(recorded.heard)
    except (KeyError, ValueError):
        return False


def place_of(recorded: Recorded) -> tuple[str, int] | None:
    """The stream and version that a record claims, or None if it claims none that could be."""
    try:
        place = (recorded.stream, recorded.version)
    except (KeyError, ValueError):
        return None
    return place if is_name(recorded.stream) else None


class StreamChain:
    """One stream, as far as it was seen. Facts leave it in turn, each once."""

    def __init__(self, stream: str, is_readable: Callable[[Recorded], bool] = readable) -> None:
        self.stream = stream
        self.repeats = 0
        self._is_readable = is_readable
        self._digests = bytearray()
        # None where the fact before is missing or broken: then its successor proves nothing.
        self._last_hash: str | None = GENESIS_HASH
        self._early: dict[int, Recorded] = {}

    @property
    def version(self) -> int:
        """The last version up to which nothing is missing."""
        return len(self._digests) // _DIGEST_BYTES

    @property
    def head(self) -> HeadAt:
        return HeadAt(self.version, self.hash_at(self.version))

    def digests(self, version: int) -> bytes:
        """All hashes up to a version, one after the other."""
        return bytes(self._digests[: version * _DIGEST_BYTES])

    def hash_at(self, version: int) -> str:
        """The hash that stands at a version which was seen; zeros before the first."""
        if version == 0:
            return GENESIS_HASH
        end = version * _DIGEST_BYTES
        return self._digests[end - _DIGEST_BYTES : end].hex()

    def take(self, recorded: Recorded, version: int, findings: list[Finding]) -> list[Recorded]:
        """Take the next record in; the facts whose turn has come now."""
        if version <= self.version or version in self._early:
            self._repeat(recorded, version, findings)
            return []
        if version > self.version + 1:
            self._early[version] = recorded
            return []
        if self._early:
            detail = f"after version {max(self._early)}"
            findings.append(Finding(self.stream, version, Kind.REORDERED, detail))
        turn = [recorded]
        self._link(recorded, version, findings)
        while self._early and (following := self._early.pop(self.version + 1, None)):
            self._link(following, following.version, findings)
            turn.append(following)
        return turn

    def finish(self, findings: list[Finding]) -> list[Recorded]:
        """No more will come: name the gaps; the facts after them, which were kept back."""
        turn: list[Recorded] = []
        while self._early:
            following = self._early.pop(min(self._early))
            if following.version - self.version > LARGEST_GAP:
                # No stream lost so much: a record that claims it is not believed, nor counted out.
                detail = f"up to version {following.version - 1}"
                findings.append(Finding(self.stream, self.version + 1, Kind.MISSING, detail))
                self._early.clear()
                break
            for version in range(self.version + 1, following.version):
                findings.append(Finding(self.stream, version, Kind.MISSING))
                self._digests += bytes(_DIGEST_BYTES)
                self._last_hash = None
            self._link(following, following.version, findings)
            turn.append(following)
        return turn

    def _repeat(self, recorded: Recorded, version: int, findings: list[Finding]) -> None:
        self.repeats += 1
        early = self._early.get(version)
        first = early.hash if early is not None else self.hash_at(version)
        if not hash_holds(recorded):
            findings.append(Finding(self.stream, version, Kind.FLIPPED, "a repeat"))
        elif recorded.hash != first:
            findings.append(Finding(self.stream, version, Kind.DIFFERING_REPEAT))

    def _link(self, recorded: Recorded, version: int, findings: list[Finding]) -> None:
        if not hash_holds(recorded):
            findings.append(Finding(self.stream, version, Kind.FLIPPED, "the hash does not hold"))
            self._last_hash = None
        else:
            if not self._is_readable(recorded):
                findings.append(Finding(self.stream, version, Kind.UNREADABLE))
            before = recorded.attributes.get("previoushash")
            if self._last_hash is not None and before != self._last_hash:
                detail = f"names another hash than version {version - 1} has"
                findings.append(Finding(self.stream, version, Kind.UNLINKED, detail))
            self._last_hash = recorded.hash
        try:
            digest = bytes.fromhex(recorded.hash)
        except ValueError:
            digest = b""
        self._digests += digest[:_DIGEST_BYTES].ljust(_DIGEST_BYTES, b"\0")


class ChainCheck:
    """Any number of streams at once, in the order in which their records come.

    ``is_readable`` judges attributes whose hash holds; an outbox's records have fewer of them.
    """

    def __init__(self, is_readable: Callable[[Recorded], bool] = readable) -> None:
        self._is_readable = is_readable
        self.chains: dict[str, StreamChain] = {}
        self.findings: list[Finding] = []
        self.records = 0

    def take(self, recorded: Recorded, where: str = "") -> Sequence[Recorded]:
        """Take one record in; the facts whose turn has come now, in the order of their stream.

        ``where`` is named if the record does not say what it is.
        """
        self.records += 1
        place = place_of(recorded)
        if place is None:
            self.findings.append(Finding("", 0, Kind.UNREADABLE, where))
            return ()
        stream, version = place
        chain = self.chains.get(stream)
        if chain is None:
            chain = self.chains[stream] = StreamChain(stream, self._is_readable)
        return chain.take(recorded, version, self.findings)

    def finish(self) -> list[Recorded]:
        """No more will come: gaps are named; the facts that stood behind one."""
        return [late for chain in self.chains.values() for late in chain.finish(self.findings)]

    @property
    def repeats(self) -> int:
        return sum(chain.repeats for chain in self.chains.values())

    def heads(self) -> dict[str, HeadAt]:
        return {stream: chain.head for stream, chain in self.chains.items()}

    def compare(self, heads: Mapping[str, tuple[int, str]]) -> None:
        """Against heads noted earlier: a stream may have grown since, but never lost its end."""
        for stream, (version, digest) in heads.items():
            chain = self.chains.get(stream)
            reached = chain.version if chain is not None else 0
            if chain is None or reached < version:
                detail = f"ends at {reached}, not at {version}"
                self.findings.append(Finding(stream, version, Kind.CUT_TAIL, detail))
            elif chain.hash_at(version) != digest:
                detail = "another hash than the head that was noted"
                self.findings.append(Finding(stream, version, Kind.UNLINKED, detail))


def verify(
    facts: Iterable[Recorded], heads: Mapping[str, tuple[int, str]] | None = None
) -> list[Finding]:
    """All findings of facts at hand, of one stream or of many."""
    check = ChainCheck()
    for recorded in facts:
        check.take(recorded)
    check.finish()
    if heads is not None:
        check.compare(heads)
    return check.findings


class _Claim(NamedTuple):
    """A fact says that it knew of another one."""

    stream: str
    version: int
    lamport: int
    cause_stream: str
    cause_version: int


class Caused(NamedTuple):
    """A fact says that another one led to it; that one is not among those at hand."""

    stream: str
    version: int
    causation_id: str


class CausalCheck:
    """Does each fact come after what its stream had heard, and after the fact that led to it?

    For the facts of whole cases (a case's streams hear only of each other), each in its turn.
    """

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self._lamports: dict[str, list[int]] = {}
        self._heard: dict[str, Mapping[str, int]] = {}
        self._claims: list[_Claim] = []
        self._ids: dict[str, tuple[str, int]] = {}
        self._caused: list[tuple[Caused, str, int]] = []

    def take(self, recorded: Recorded, *, judged: bool = True) -> None:
        """Take a fact in; one that is not judged serves as a cause only."""
        stream, version, lamport = recorded.stream, recorded.version, recorded.lamport
        lamports = self._lamports.setdefault(stream, [])
        if lamports and lamports[-1] >= lamport:
            self._add(stream, version, f"lamport {lamport} after {lamports[-1]}")
        lamports.extend([0] * (version - 1 - len(lamports)))  # what is missing is named elsewhere
        lamports.append(lamport)
        self._ids[recorded.fact_id] = (recorded.subject, lamport)
        if not judged:
            return
        before = self._heard.get(stream, {})
        heard = recorded.heard
        if heard != before:
            self._heard[stream] = heard
            for cause, at in heard.items():
                if before.get(cause) != at:
                    self._claims.append(_Claim(stream, version, lamport, cause, at))
            if any(heard.get(cause, 0) < at for cause, at in before.items()):
                self._add(stream, version, "forgets what it had heard")
        causation = recorded.attributes["causationid"]
        if causation:
            self._caused.append((Caused(stream, version, causation), recorded.subject, lamport))

    def finish(self) -> list[Caused]:
        """Judge all that was taken in; answers what was caused by facts that are not at hand."""
        for claim in self._claims:
            lamports = self._lamports.get(claim.cause_stream, [])
            named = f"{claim.cause_stream} {claim.cause_version}"
            if not 0 < claim.cause_version <= len(lamports):
                self._add(claim.stream, claim.version, f"{named} is not there")
            elif lamports[claim.cause_version - 1] >= claim.lamport:
                self._add(claim.stream, claim.version, f"{named} comes later")
        elsewhere: list[Caused] = []
        for caused, subject, lamport in self._caused:
            found = self._ids.get(caused.causation_id)
            if found is None:
                elsewhere.append(caused)
            elif found[0] == subject and found[1] >= lamport:
                detail = f"{caused.causation_id} led to it and comes later"
                self._add(caused.stream, caused.version, detail)
        return elsewhere

    @property
    def fact_ids(self) -> Iterable[str]:
        return self._ids.keys()

    def _add(self, stream: str, version: int, detail: str) -> None:
        self.findings.append(Finding(stream, version, Kind.AHEAD_OF_CAUSE, detail))
