"""A parameter set from a file and from single announcements; what contradicts is refused."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import services.eligibility.rules
from services.eligibility.rules.parameter_document import UnsoundDocument, read_document
from services.eligibility.rules.parameters import (
    UNDATED,
    AnnouncedParameter,
    MonthlySum,
    ParameterSet,
    used_version,
)
from shared.dated import VersionsConflict
from tests.worked_examples import PARAMETERS

SHIPPED = Path(services.eligibility.rules.__file__).parents[1] / "parameters" / "sample-city.json"
RAISE = AnnouncedParameter(
    name="lines",
    key="990802",
    effective_from=date(2017, 1, 1),
    announced_on=date(2016, 12, 1),
    value=MonthlySum(fen=50_000),
    source="notice 7",
)


def changed(**changes: Any) -> dict[str, Any]:
    return {**PARAMETERS, **changes}


@pytest.mark.parametrize("document", [PARAMETERS, json.loads(SHIPPED.read_text("utf-8"))])
def test_single_announcements_build_the_same_set(document: dict[str, Any]) -> None:
    parameters = read_document(document).parameters
    assert ParameterSet.of_announced(parameters.announced()) == parameters
    assert ParameterSet.of_announced(reversed(list(parameters.announced()))) == parameters


def test_the_shipped_sample_has_rules_through_2025() -> None:
    parameters = read_document(json.loads(SHIPPED.read_text("utf-8"))).parameters
    day = date(2025, 12, 31)
    assert parameters.rules("sample-city", day, day) is not None
    for month in range(1, 13):
        first = date(2025, month, 1)
        assert parameters.standard("sample-city", first, first) is not None
        for place in parameters.lines:
            assert parameters.line(place, first, first) is not None
    assert all(each.source for each in parameters.announced() if each.effective_from != UNDATED)


def test_an_announcement_adds_a_version_and_a_correction_replaces_one() -> None:
    parameters = read_document(PARAMETERS).parameters.with_announced(RAISE)
    day = date(2017, 1, 1)
    line = parameters.line("990802", day, day)
    assert line is not None
    assert (line.value, line.source) == (50_000, "notice 7")
    with pytest.raises(VersionsConflict):
        parameters.with_announced(RAISE)
    corrected = parameters.with_corrected(RAISE.model_copy(update={"value": MonthlySum(fen=1)}))
    line = corrected.line("990802", day, day)
    assert line is not None
    assert line.value == 1
    with pytest.raises(LookupError):
        read_document(PARAMETERS).parameters.with_corrected(RAISE)


def test_an_announced_value_must_suit_its_name() -> None:
    with pytest.raises(ValidationError):
        AnnouncedParameter(
            name="fund_rules",
            key="sample-city",
            effective_from=date(2017, 1, 1),
            announced_on=date(2017, 1, 1),
            value=MonthlySum(fen=1),
        )


def test_a_cost_without_dates_holds_always_and_is_named_without_dates() -> None:
    parameters = read_document(PARAMETERS).parameters
    cost = parameters.school_cost("school-d", date.min, date.min)
    assert cost is not None
    assert (cost.value, cost.effective_from) == (45_050, UNDATED)
    named = used_version("school_living_cost", "school-d", cost)
    assert (named.effective_from, named.announced_on) == (None, None)


def test_two_versions_of_one_day_and_a_reaching_end_are_refused_with_their_path() -> None:
    first, second = PARAMETERS["lines"]["990802"]
    twice = changed(lines={"990802": [first, second, dict(first)]})
    with pytest.raises(UnsoundDocument) as raised:
        read_document(twice)
    assert raised.value.path == ("lines", "990802", 2, "effective_from")
    reaching = {**first, "effective_to": second["effective_from"]}
    with pytest.raises(UnsoundDocument) as raised:
        read_document(changed(city_standard={"sample-city": [second, reaching]}))
    assert raised.value.path == ("city_standard", "sample-city", 1, "effective_to")


def test_holidays_of_further_years_are_read() -> None:
    entered = {"2099": {"rest_days": ["2099-03-09"], "working_days": ["2099-03-08"]}}
    reading = read_document(changed(holidays=entered))
    assert reading.holidays[2099].is_working_day(date(2099, 3, 8))
    assert not reading.holidays[2099].is_working_day(date(2099, 3, 9))
    with pytest.raises(UnsoundDocument):
        read_document(changed(holidays={"2098": entered["2099"]}))
    with pytest.raises(ValidationError):
        read_document(changed(holidays={"99": entered["2099"]}))
