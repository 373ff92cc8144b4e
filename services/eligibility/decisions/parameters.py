"""The dated rules' own streams: one person proposes a version, another announces it.

A stream stands for one fund, place or school (``parameters-fund:sample-city``) and belongs to the
federation that opened it. What is announced decides everywhere, so `rules_in_force` is built from
it; an overlap is refused here, once, and can't turn up there.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, Final, assert_never, cast

from pydantic import ValidationError

from services.eligibility.decisions.offices import acted_before, not_in_office
from services.eligibility.facts import (
    ParameterAnnounced,
    ParameterName,
    ParameterProposed,
    VersionUsed,
)
from services.eligibility.rules.parameters import (
    UNDATED,
    AnnouncedParameter,
    FundRules,
    MonthlySum,
    ParameterSet,
    ParameterUsed,
)
from shared.dated import VersionsConflict
from shared.fact import Fact, Recorded
from shared.room import Answer, Command, Decided, ReferenceRow, Refusal, Situation

REFERENCE_KIND: Final = "parameter"

# What a parameter is announced for; the first half of its stream's identity.
SCOPE_KINDS: Final[dict[ParameterName, str]] = {
    "lines": "place",
    "city_standard": "fund",
    "fund_rules": "fund",
    "school_living_cost": "school",
}

# Beyond these a product of two of them, twelve months and a large household could leave the 53
# bits that every reader of a fact keeps exactly. They are no rules: real values are far below.
LARGEST_MONTHLY_FEN: Final = 10**10
LARGEST_FACTOR: Final = 1000


class ProposeParameter(Command):
    """One version of one parameter, as it was or will be published."""

    proposal_id: str
    parameter: ParameterName
    scope: str
    effective_from: date | None
    effective_to: date | None
    announced_on: date | None
    values: dict[str, int | str]
    source: str


class AnnounceParameter(Command):
    """Let a proposed version decide."""

    proposal_id: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """A version that waits for a second person."""

    proposed: ParameterProposed
    by: str


@dataclass(frozen=True, slots=True)
class Parameters:
    """All versions for one fund, place or school."""

    identity: str
    organisation_id: str | None = None
    open: tuple[Proposal, ...] = ()
    announced: tuple[ParameterAnnounced, ...] = ()


@dataclass(frozen=True, slots=True)
class RulesInForce:
    """What a decision asks for rules: every announced version, each named by its own dates."""

    parameters: ParameterSet = field(default_factory=ParameterSet)
    announced: tuple[ParameterAnnounced, ...] = ()


def identity_of(parameter: ParameterName, scope: str) -> str:
    """The stream's identity for a parameter of a place, fund or school."""
    return f"{SCOPE_KINDS[parameter]}:{scope}"


def initial(identity: str) -> Parameters:
    """Before the first proposal."""
    return Parameters(identity)


def evolve(state: Parameters, fact: Fact, recorded: Recorded) -> Parameters:
    """Copy one fact of the stream into the state."""
    stated = cast(ParameterProposed | ParameterAnnounced, fact)
    match stated:
        case ParameterProposed():
            return replace(
                state,
                organisation_id=state.organisation_id or recorded.actor.organisation,
                open=(*state.open, Proposal(stated, recorded.actor.person)),
            )
        case ParameterAnnounced():
            return replace(
                state,
                open=tuple(o for o in state.open if o.proposed.proposal_id != stated.proposal_id),
                announced=(*state.announced, stated),
            )
        case _:
            assert_never(stated)


def propose(state: Parameters, command: ProposeParameter, at: Situation) -> Answer:
    """A federation's keeper enters a version; it must be sound and fit those announced."""
    keeps = at.directory.organisation(command.by.organisation)
    own = state.organisation_id or command.by.organisation
    federation = (own,) if keeps is not None and keeps.kind == "federation" else ()
    refused = not_in_office(command.by, "parameter_keeper", federation)
    if refused is not None:
        return refused
    if identity_of(command.parameter, command.scope) != state.identity:
        return _refused_value("scope", "the parameter does not belong to this scope")
    entered = command.model_dump(exclude={"by", "occurred_on", "fact_id"})
    proposed = ParameterProposed(**entered)
    unsound = _unsound(state, proposed)
    if unsound is not None:
        return unsound
    if any(_same_version(proposed, waiting.proposed) for waiting in state.open):
        return Refusal(
            "already_proposed",
            "同样的参数版本已提交，待发布",
            "the same version is proposed already and waits to be announced",
            rule="§3",
        )
    return Decided([proposed])


def announce(state: Parameters, command: AnnounceParameter, _: Situation) -> Answer:
    """Another person of the same federation lets the version decide from here on."""
    organisations = (state.organisation_id,) if state.organisation_id is not None else ()
    refused = not_in_office(command.by, "parameter_announcer", organisations)
    if refused is not None:
        return refused
    if any(known.proposal_id == command.proposal_id for known in state.announced):
        return Refusal("already_announced", "该版本已发布", "this version is announced already")
    waiting = [o for o in state.open if o.proposed.proposal_id == command.proposal_id]
    if not waiting:
        return Refusal(
            "unknown_proposal", "没有这一提案", "no such proposal", field="proposal_id", status=404
        )
    proposal = waiting[0]
    refused = acted_before(command.by, (proposal.by,))
    if refused is not None:
        return replace(
            refused,
            zh="提出与发布须由不同的人办理",
            en="a version is proposed and announced by different people",
        )
    unsound = _unsound(state, proposal.proposed)
    if unsound is not None:
        return unsound
    return Decided([ParameterAnnounced(**proposal.proposed.model_dump(), proposed_by=proposal.by)])


def reference_of(fact: Fact, recorded: Recorded) -> Sequence[ReferenceRow]:
    """An announced version, as a row that every later decision is given."""
    if not isinstance(fact, ParameterAnnounced):
        return ()
    return (ReferenceRow(REFERENCE_KIND, recorded.fact_id, fact.model_dump(mode="json")),)


def rules_in_force(rows: Iterable[ReferenceRow]) -> RulesInForce:
    """The rules' parameters, from all reference rows."""
    announced = tuple(
        ParameterAnnounced.model_validate(row.document)
        for row in rows
        if row.kind == REFERENCE_KIND
    )
    return RulesInForce(ParameterSet.of_announced(map(as_announced, announced)), announced)


def version_used(used: ParameterUsed) -> VersionUsed:
    """Name a version in a fact, so that it can be found again."""
    return VersionUsed(
        name=used.name,
        scope=used.key,
        effective_from=used.effective_from,
        announced_on=used.announced_on,
        source=used.source,
    )


def as_announced(fact: ParameterProposed | ParameterAnnounced) -> AnnouncedParameter:
    """The version as the rules take it. Raises ValidationError for values that do not suit."""
    value: FundRules | MonthlySum
    if fact.parameter == "fund_rules":
        value = FundRules.model_validate(fact.values)
    else:
        value = MonthlySum.model_validate(fact.values)
    return AnnouncedParameter(
        name=fact.parameter,
        key=fact.scope,
        effective_from=fact.effective_from or UNDATED,
        announced_on=fact.announced_on or UNDATED,
        value=value,
        effective_to=fact.effective_to,
        source=fact.source,
    )


def _unsound(state: Parameters, proposed: ParameterProposed) -> Refusal | None:
    """What is wrong with a version by itself, or beside those that are announced."""
    undated = _dates_missing(proposed)
    if undated is not None:
        return undated
    try:
        version = as_announced(proposed)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        return _refused_value(".".join(("values", *map(str, first["loc"]))), first["msg"])
    beyond = _beyond_exact(version.value)
    if beyond is not None:
        return _refused_value(f"values.{beyond}", "the value is too large to compute with exactly")
    try:
        ParameterSet.of_announced([*map(as_announced, state.announced), version])
    except VersionsConflict as conflict:
        return Refusal(
            "versions_overlap",
            "与已发布的版本冲突",
            f"it cannot stand beside the announced versions: {conflict}",
            rule="§3",
            field=conflict.field,
        )
    return None


def _dates_missing(proposed: ParameterProposed) -> Refusal | None:
    """Every version has its days; only a school's cost may be without any (DOMAIN §7)."""
    days: dict[str, Any] = {
        "effective_from": proposed.effective_from,
        "announced_on": proposed.announced_on,
    }
    absent = [name for name, day in days.items() if day is None]
    if not absent:
        return None
    if proposed.parameter == "school_living_cost" and len(absent) == len(days):
        if proposed.effective_to is None:
            return None
        absent = ["effective_from"]
    return _refused_value(absent[0], "the day is missing")


def _beyond_exact(value: FundRules | MonthlySum) -> str | None:
    """The first value with which products might no longer be exact."""
    if isinstance(value, MonthlySum):
        return "fen" if value.fen > LARGEST_MONTHLY_FEN else None
    for name in ("marginal_percent", "education_months"):
        if getattr(value, name) > LARGEST_FACTOR:
            return name
    return None


def _same_version(one: ParameterProposed, other: ParameterProposed) -> bool:
    return one.model_copy(update={"proposal_id": other.proposal_id}) == other


def _refused_value(field: str, why: str) -> Refusal:
    return Refusal(
        "parameter_refused",
        "参数内容不符合要求",
        f"the parameter is not sound: {why}",
        rule="§3",
        field=field,
        status=422,
    )
