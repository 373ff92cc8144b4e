"""A version of a rule is proposed by one person, announced by another, and then it decides."""

from datetime import date
from typing import Any

import pytest

from services.eligibility.decisions.determination import DetermineEligibility
from services.eligibility.decisions.parameters import (
    AnnounceParameter,
    ProposeParameter,
    RulesInForce,
    rules_in_force,
)
from services.eligibility.facts import EligibilityDetermined, ParameterAnnounced, ParameterProposed
from services.eligibility.main import ROOM
from services.eligibility.rules.parameter_document import read_document
from services.eligibility.storage import versions_announced
from shared.fact import Actor, Fact
from shared.room import ReferenceRow
from tests.given_when_then import Given, given
from tests.services.eligibility.world import (
    ANNOUNCER,
    DAY,
    DECISIONS,
    FUND,
    KEEPER,
    PARAMETERS,
    PLACE,
    SAMPLE,
    SCHOOL,
    situation,
    values,
)

IDENTITY = f"place:{PLACE}"
RULES_VALUES = {
    "marginal_percent": 50,
    "living_single_fen": 100_000,
    "education_annual_fen": 500_000,
    "education_months": 10,
    "medical_rate_percent": 10,
    "medical_annual_fen": 1_000_000,
    "disaster_single_fen": 200_000,
    "notice_days": 5,
    "notice_unit": "natural",
}


def line(**changes: Any) -> ProposeParameter:
    proposed: dict[str, Any] = {
        "by": KEEPER,
        "proposal_id": "proposal-1",
        "parameter": "lines",
        "scope": PLACE,
        "effective_from": date(2015, 1, 1),
        "effective_to": None,
        "announced_on": date(2014, 12, 20),
        "values": {"fen": 42_000},
        "source": "示例公告（虚构）",
    }
    return ProposeParameter(**{**proposed, **changes})


def announce(proposal_id: str = "proposal-1", by: Actor = ANNOUNCER) -> AnnounceParameter:
    return AnnounceParameter(by=by, proposal_id=proposal_id)


def place() -> Given:
    return given(PARAMETERS, (), IDENTITY)


def announced(command: ProposeParameter | None = None, stream: Given | None = None) -> Given:
    command = command or line()
    stream = (stream or place()).when(command, situation()).afterwards()
    return stream.when(announce(command.proposal_id), situation()).afterwards()


def rows(stream: Given) -> list[ReferenceRow]:
    return [
        row
        for recorded in stream.recorded
        for row in ROOM.references(recorded.read(ROOM.reads), recorded)
    ]


def test_one_person_proposes_another_announces() -> None:
    """`ParameterProposed` and, by another person, `ParameterAnnounced` (DOMAIN §4)."""
    proposed = place().when(line(), situation())
    proposed.then_types(ParameterProposed)
    work = proposed.afterwards().work()["announce_parameter"]
    assert (work.organisation, work.role) == ("city", "parameter_announcer")
    after = proposed.afterwards().when(announce(), situation())
    after.then_types(ParameterAnnounced)
    assert after.afterwards().work() == {}
    assert PARAMETERS.holder(after.afterwards().state) == "city"


def test_a_proposal_decides_nothing_yet() -> None:
    proposed = place().when(line(), situation()).afterwards()
    assert rows(proposed) == []


def test_an_announced_version_is_a_reference_row_that_decides_and_is_named() -> None:
    """A decision uses the version in force and announced, and names it (reading 3)."""
    rules = given(PARAMETERS, (), f"fund:{FUND}")
    rules = announced(
        line(
            parameter="fund_rules",
            scope=FUND,
            values=RULES_VALUES,
            effective_from=date(2015, 8, 1),
            announced_on=date(2015, 8, 1),
        ),
        rules,
    )
    in_force = ROOM.build_reference([*rows(announced()), *rows(rules)])
    command: DetermineEligibility = values()
    found = given(DECISIONS).when(command, situation(rules=in_force)).facts[0]
    assert isinstance(found, EligibilityDetermined)
    assert found.line_fen == 42_000
    assert [(v.name, v.scope, v.effective_from, v.source) for v in found.versions] == [
        ("lines", PLACE, date(2015, 1, 1), "示例公告（虚构）"),
        ("fund_rules", FUND, date(2015, 8, 1), "示例公告（虚构）"),
    ]


def test_a_version_does_not_decide_before_the_day_it_is_announced_on() -> None:
    """Entered early, it waits for its announcement (DOMAIN §7, versions)."""
    early = announced(line(announced_on=date(2015, 11, 3), effective_from=date(2015, 11, 1)))
    built: RulesInForce = rules_in_force(rows(early))
    assert built.parameters.line(PLACE, on=DAY, known_on=DAY) is None
    assert built.parameters.line(PLACE, on=DAY, known_on=date(2015, 11, 3)) is not None


def test_nobody_announces_what_they_proposed() -> None:
    """Duties are kept apart, whatever offices one holds."""
    stream = place().when(line(), situation()).afterwards()
    both = Actor(KEEPER.person, "parameter_announcer", "city")
    assert stream.when(announce(by=both), situation()).refused("duties_apart").rule == "reading 18"


@pytest.mark.parametrize(
    "by",
    [
        Actor("x", "parameter_announcer", "city"),
        Actor("x", "parameter_keeper", "centre"),
        Actor("x", "reviewer", "centre"),
    ],
)
def test_only_a_federations_keeper_proposes(by: Actor) -> None:
    assert place().when(line(by=by), situation()).refused("wrong_office").status == 403


def test_only_that_federations_announcer_announces() -> None:
    stream = place().when(line(), situation()).afterwards()
    for by in (KEEPER, Actor("x", "parameter_announcer", "centre")):
        stream.when(announce(by=by), situation()).refused("wrong_office")


def test_a_second_announcement_and_an_unknown_proposal_are_refused() -> None:
    stream = announced()
    stream.when(announce(), situation()).refused("already_announced")
    assert stream.when(announce("other"), situation()).refused("unknown_proposal").status == 404


def test_the_same_proposal_twice_is_refused() -> None:
    stream = place().when(line(), situation()).afterwards()
    stream.when(line(proposal_id="proposal-2"), situation()).refused("already_proposed")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({}, "effective_from"),
        ({"effective_from": date(2014, 6, 1), "effective_to": date(2015, 3, 1)}, "effective_to"),
        ({"effective_from": date(2016, 1, 1), "effective_to": date(2015, 12, 1)}, "effective_to"),
    ],
)
def test_versions_never_overlap(changes: dict[str, Any], field: str) -> None:
    """Intervals never overlap (readings, head)."""
    second = line(proposal_id="proposal-2", **changes)
    refusal = announced().when(second, situation()).refused("versions_overlap")
    assert refusal.field == field


def test_of_two_open_proposals_for_one_day_only_one_can_be_announced() -> None:
    stream = place().when(line(), situation()).afterwards()
    second = line(proposal_id="proposal-2", values={"fen": 43_000})
    stream = stream.when(second, situation()).afterwards()
    stream = stream.when(announce(), situation()).afterwards()
    stream.when(announce("proposal-2"), situation()).refused("versions_overlap")


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in RULES_VALUES.items() if key != name}


@pytest.mark.parametrize(
    ("parameter", "scope", "given_values", "field"),
    [
        ("lines", PLACE, {}, "values.fen"),
        ("lines", PLACE, {"fen": -1}, "values.fen"),
        ("lines", PLACE, {"fen": "42000"}, "values.fen"),
        ("lines", PLACE, {"fen": 10**10 + 1}, "values.fen"),
        ("lines", PLACE, {"fen": 1, "yuan": 2}, "values.yuan"),
        ("fund_rules", FUND, {"fen": 42_000}, "values.marginal_percent"),
        ("fund_rules", FUND, without("notice_unit"), "values.notice_unit"),
        ("fund_rules", FUND, RULES_VALUES | {"notice_unit": "lunar"}, "values.notice_unit"),
        ("fund_rules", FUND, RULES_VALUES | {"marginal_percent": 1001}, "values.marginal_percent"),
    ],
)
def test_unknown_missing_and_wrong_values_are_refused_by_name(
    parameter: Any, scope: str, given_values: dict[str, int | str], field: str
) -> None:
    command = line(parameter=parameter, scope=scope, values=given_values)
    kind = {"lines": "place", "fund_rules": "fund"}[parameter]
    stream = given(PARAMETERS, (), f"{kind}:{scope}")
    refusal = stream.when(command, situation()).refused("parameter_refused")
    assert (refusal.field, refusal.status) == (field, 422)


@pytest.mark.parametrize("field", ["effective_from", "announced_on"])
def test_a_version_has_its_days(field: str) -> None:
    refusal = place().when(line(**{field: None}), situation()).refused("parameter_refused")
    assert refusal.field == field


def test_a_schools_cost_may_be_without_dates() -> None:
    """`school_living_cost` by school without dates (DOMAIN §7)."""
    cost = line(
        parameter="school_living_cost",
        scope=SCHOOL,
        effective_from=None,
        announced_on=None,
        values={"fen": 60_000},
    )
    stream = announced(cost, given(PARAMETERS, (), f"school:{SCHOOL}"))
    built = rules_in_force(rows(stream))
    version = built.parameters.school_cost(SCHOOL, on=date(2001, 1, 1), known_on=date(2001, 1, 1))
    assert version is not None
    assert version.value == 60_000


def test_the_shipped_files_can_be_announced_entry_by_entry() -> None:
    """Files only seed: announced one by one they give the same parameters."""
    facts: list[Fact] = []
    for number, entry in enumerate(read_document(SAMPLE).parameters.announced()):
        kind = {"lines": "place", "school_living_cost": "school"}.get(entry.name, "fund")
        dated = entry.effective_from != date.min
        command = line(
            proposal_id=f"proposal-{number}",
            parameter=entry.name,
            scope=entry.key,
            effective_from=entry.effective_from if dated else None,
            effective_to=entry.effective_to,
            announced_on=entry.announced_on if dated else None,
            values=entry.value.model_dump(),
            source=entry.source or "",
        )
        stream = announced(command, given(PARAMETERS, (), f"{kind}:{entry.key}"))
        facts.append(stream.recorded[-1].read(ROOM.reads))
    built = rules_in_force(
        ReferenceRow("parameter", str(i), fact.model_dump(mode="json"))
        for i, fact in enumerate(facts)
    )
    assert [e.model_copy(update={"source": ""}) for e in built.parameters.announced()] == [
        e.model_copy(update={"source": ""}) for e in read_document(SAMPLE).parameters.announced()
    ]


def test_anyone_in_office_can_read_what_is_announced_and_what_is_in_force() -> None:
    stream = announced()
    stream = announced(
        line(proposal_id="proposal-2", effective_from=date(2016, 7, 1), values={"fen": 45_000}),
        stream,
    )
    built = rules_in_force(rows(stream))
    everything = versions_announced(built, DAY, None, "", "")
    assert [v["in_force"] for v in everything] == [True, False]
    on_a_day = versions_announced(built, DAY, date(2016, 7, 1), "lines", PLACE)
    assert [v["values"] for v in on_a_day] == [{"fen": 45_000}]
    assert versions_announced(built, DAY, None, "city_standard", "") == []
