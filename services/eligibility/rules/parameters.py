"""The dated numbers that the rules run on, and which version of each a decision uses.

Every number of a rule is here (lines, city standards, a fund's rules, schools' living costs);
none stands in the code. Not for reading files (`parameter_document`) nor for deciding.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Annotated, Final, Literal, Self, TypeVar

from pydantic import Field, model_validator

from shared.calendar import DayUnit
from shared.dated import Version, Versions, in_force_for
from shared.fact import Fen, Value
from shared.money import LARGEST_FEN

ParameterName = Literal["lines", "city_standard", "fund_rules", "school_living_cost"]

Held = TypeVar("Held")

# A value that was published without dates holds on every day and was always known.
UNDATED: Final = date.min

Percent = Annotated[int, Field(strict=True, ge=0, le=LARGEST_FEN)]
RatePercent = Annotated[int, Field(strict=True, ge=0, le=100)]
Months = Annotated[int, Field(strict=True, ge=0, le=LARGEST_FEN)]
Days = Annotated[int, Field(strict=True, ge=1, le=LARGEST_FEN)]


class FundRules(Value):
    """The rules by which one fund pays (K2, K8, K12-K15); sums in fen."""

    marginal_percent: Percent
    living_single_fen: Fen
    education_annual_fen: Fen
    education_months: Months
    medical_rate_percent: RatePercent
    medical_annual_fen: Fen
    disaster_single_fen: Fen
    notice_days: Days
    notice_unit: DayUnit


class MonthlySum(Value):
    """Fen a month: a line (per head), a city's standard, or a school's basic living cost."""

    fen: Fen


class AnnouncedParameter(Value):
    """One version as it is announced on its own: what it is called, for whom, from when, what.

    `key` is the place of a line, the fund of a standard or of rules, the school of a cost. A
    cost without dates has `effective_from` and `announced_on` = `UNDATED`.
    """

    name: ParameterName
    key: Annotated[str, Field(min_length=1)]
    effective_from: date
    announced_on: date
    value: FundRules | MonthlySum
    effective_to: date | None = None
    source: str | None = None

    @model_validator(mode="after")
    def _value_suits_name(self) -> Self:
        if (self.name == "fund_rules") is not isinstance(self.value, FundRules):
            raise ValueError("the value does not suit the parameter's name")
        return self


class ParameterUsed(Value):
    """Names the version that a decision used; the dates are None for a value without dates."""

    name: ParameterName
    key: str
    effective_from: date | None
    announced_on: date | None
    source: str | None = None


def used_version(
    name: ParameterName, key: str, version: Version[FundRules] | Version[int]
) -> ParameterUsed:
    """Name `version` of the parameter `name` of `key` for a trace."""
    dated = version.effective_from != UNDATED
    return ParameterUsed(
        name=name,
        key=key,
        effective_from=version.effective_from if dated else None,
        announced_on=version.announced_on if dated else None,
        source=version.source,
    )


@dataclass(frozen=True, slots=True)
class ParameterSet:
    """All parameters, by place, fund or school. Sums are fen a month.

    A decision asks for a day and for the day of deciding: only what was announced by then
    counts (reading 3, "Versions"). None means a gap, and a gap never has a default.
    """

    lines: Mapping[str, Versions[int]] = field(default_factory=dict)
    city_standard: Mapping[str, Versions[int]] = field(default_factory=dict)
    fund_rules: Mapping[str, Versions[FundRules]] = field(default_factory=dict)
    school_living_cost: Mapping[str, Versions[int]] = field(default_factory=dict)

    @classmethod
    def of_announced(cls, announced: Iterable[AnnouncedParameter]) -> "ParameterSet":
        """Build the set from single announcements, in any order; raise `VersionsConflict`."""
        parameters = cls()
        for parameter in announced:
            parameters = parameters.with_announced(parameter)
        return parameters

    def line(self, place: str, on: date, known_on: date) -> Version[int] | None:
        """The line of `place`, fen per head and month."""
        return in_force_for(self.lines, place, on, known_on)

    def standard(self, fund: str, on: date, known_on: date) -> Version[int] | None:
        """The minimum-living standard of the fund's city, fen a month (reading 7)."""
        return in_force_for(self.city_standard, fund, on, known_on)

    def rules(self, fund: str, on: date, known_on: date) -> Version[FundRules] | None:
        """The rules of `fund`."""
        return in_force_for(self.fund_rules, fund, on, known_on)

    def school_cost(self, school: str, on: date, known_on: date) -> Version[int] | None:
        """The basic living cost at `school`, fen a month."""
        return in_force_for(self.school_living_cost, school, on, known_on)

    def with_announced(self, parameter: AnnouncedParameter) -> "ParameterSet":
        """This set and one more version; raise `VersionsConflict` if it cannot stand."""
        return self._changed(parameter, corrected=False)

    def with_corrected(self, parameter: AnnouncedParameter) -> "ParameterSet":
        """This set with the version of the same `effective_from` replaced.

        Raise `LookupError` if there is none, `VersionsConflict` if the result cannot stand.
        """
        return self._changed(parameter, corrected=True)

    def announced(self) -> Iterator[AnnouncedParameter]:
        """Every version as a single announcement, in order of name, key and beginning."""
        sums: tuple[tuple[ParameterName, Mapping[str, Versions[int]]], ...] = (
            ("lines", self.lines),
            ("city_standard", self.city_standard),
            ("school_living_cost", self.school_living_cost),
        )
        for name, kept in sums:
            for key in sorted(kept):
                for version in kept[key]:
                    yield _announced(name, key, version, MonthlySum(fen=version.value))
        for fund in sorted(self.fund_rules):
            for rules in self.fund_rules[fund]:
                yield _announced("fund_rules", fund, rules, rules.value)

    def _changed(self, parameter: AnnouncedParameter, *, corrected: bool) -> "ParameterSet":
        value = parameter.value
        if isinstance(value, FundRules):
            rules = _put(self.fund_rules, parameter, value, corrected)
            return replace(self, fund_rules=rules)
        match parameter.name:
            case "lines":
                return replace(self, lines=_put(self.lines, parameter, value.fen, corrected))
            case "city_standard":
                standards = _put(self.city_standard, parameter, value.fen, corrected)
                return replace(self, city_standard=standards)
            case _:
                costs = _put(self.school_living_cost, parameter, value.fen, corrected)
                return replace(self, school_living_cost=costs)


def _put(
    kept: Mapping[str, Versions[Held]], parameter: AnnouncedParameter, value: Held, corrected: bool
) -> Mapping[str, Versions[Held]]:
    version = Version(
        effective_from=parameter.effective_from,
        announced_on=parameter.announced_on,
        value=value,
        effective_to=parameter.effective_to,
        source=parameter.source,
    )
    versions = kept.get(parameter.key, Versions[Held]())
    changed = versions.with_corrected(version) if corrected else versions.with_added(version)
    return {**kept, parameter.key: changed}


def _announced(
    name: ParameterName, key: str, version: Version[Held], value: FundRules | MonthlySum
) -> AnnouncedParameter:
    return AnnouncedParameter(
        name=name,
        key=key,
        effective_from=version.effective_from,
        announced_on=version.announced_on,
        value=value,
        effective_to=version.effective_to,
        source=version.source,
    )
