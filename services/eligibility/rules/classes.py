"""Which classes of hardship a household belongs to (K1-K4; readings 1-7).

A pure function of a question and the parameters. It proposes; a person confirms (reading 17).
"""

from dataclasses import dataclass
from datetime import date
from typing import Final, Literal

from services.eligibility.rules.parameters import (
    FundRules,
    ParameterSet,
    ParameterUsed,
    used_version,
)
from shared.dated import Version
from shared.fact import Value

Relief = Literal["receiving", "refused", "ceased", "not_applied"]
Cause = Literal["illness", "schooling", "disability", "single_parent", "other_special"]
IncidentKind = Literal["sudden_event", "accident", "serious_illness", "other_special"]
HardshipClass = Literal["low_income", "marginal", "stricken"]
EligibilityOutcome = Literal["eligible", "needs_determination", "refer", "not_eligible", "no_rule"]
EligibilityReason = Literal[
    "TEST_UNPUBLISHED",
    "AFTER_RELIEF_UNKNOWN",
    "RELIEF_NOT_SOUGHT",
    "HARDSHIP_RELIEVED",
    "CAUSE_MISSING",
    "ABOVE_MARGIN",
    "NO_RULE_IN_FORCE",
]
UndeterminedReason = Literal["TEST_UNPUBLISHED", "AFTER_RELIEF_UNKNOWN"]

# The calendar's twelve months before the application month (reading 2), and a percent's whole.
MONTHS_A_YEAR: Final = 12
WHOLE_PERCENT: Final = 100


@dataclass(frozen=True, slots=True)
class Incident:
    """An event that struck the household; `hardship_found` is a person's finding, None if open."""

    kind: IncidentKind
    occurred_on: date
    hardship_found: bool | None


@dataclass(frozen=True, slots=True)
class EligibilityQuestion:
    """What is known of a household on the application day.

    `income_12m_fen` is the whole household's over the twelve months before the application
    month, before relief and union aid (reading 3). `hardship_after_relief` is None if unknown.
    """

    fund: str
    applied_on: date
    residence: str
    members: int
    income_12m_fen: int
    causes: tuple[Cause, ...]
    incident: Incident | None
    relief: Relief
    hardship_after_relief: bool | None


class Comparison(Value):
    """Both sides of each comparison: nothing is divided, so one fen decides (reading 2).

    low_income: `income_12m_fen` < `threshold_fen` = 12 × members × line.
    marginal: `income_times_100` ≤ `margin_times_100` = (100 + `marginal_percent`) × threshold.
    The last two stay within 2^53 - 1, as facts must, for incomes up to 900 thousand million yuan.
    """

    line: ParameterUsed
    rules: ParameterUsed
    members: int
    line_fen: int
    marginal_percent: int
    income_12m_fen: int
    threshold_fen: int
    income_times_100: int
    margin_times_100: int

    @property
    def below_line(self) -> bool:
        """Whether the income lies below the line, strictly (reading 1)."""
        return self.income_12m_fen < self.threshold_fen

    @property
    def within_margin(self) -> bool:
        """Whether the income lies from the line to the margin, both inclusive (reading 1)."""
        return not self.below_line and self.income_times_100 <= self.margin_times_100


class Eligibility(Value):
    """The proposal: all matching classes, the primary first (reading 6), or why there is none.

    `undetermined` lists what a person has still to find out, even beside a class that matched.
    `comparison` is None only when no rule was in force.
    """

    outcome: EligibilityOutcome
    classes: tuple[HardshipClass, ...] = ()
    primary: HardshipClass | None = None
    reason: EligibilityReason | None = None
    undetermined: tuple[UndeterminedReason, ...] = ()
    comparison: Comparison | None = None


def determine(question: EligibilityQuestion, parameters: ParameterSet) -> Eligibility:
    """Determine the classes of a household on its application day.

    The line is that of the residence, the margin that of the fund (reading 7), both in force
    and announced on that day; without either the answer is `no_rule`, before anything else.
    """
    day = question.applied_on
    line = parameters.line(question.residence, on=day, known_on=day)
    rules = parameters.rules(question.fund, on=day, known_on=day)
    if line is None or rules is None:
        return Eligibility(outcome="no_rule", reason="NO_RULE_IN_FORCE")
    comparison = _compare(question, line, rules)
    classes = _classes(question, comparison)
    undetermined = _undetermined(question, comparison)
    if classes:
        return Eligibility(
            outcome="eligible",
            classes=classes,
            primary=classes[0],
            undetermined=undetermined,
            comparison=comparison,
        )
    outcome, reason = _without_class(question, comparison, undetermined)
    return Eligibility(
        outcome=outcome, reason=reason, undetermined=undetermined, comparison=comparison
    )


def _compare(
    question: EligibilityQuestion, line: Version[int], rules: Version[FundRules]
) -> Comparison:
    threshold_fen = MONTHS_A_YEAR * question.members * line.value
    percent = rules.value.marginal_percent
    return Comparison(
        line=used_version("lines", question.residence, line),
        rules=used_version("fund_rules", question.fund, rules),
        members=question.members,
        line_fen=line.value,
        marginal_percent=percent,
        income_12m_fen=question.income_12m_fen,
        threshold_fen=threshold_fen,
        income_times_100=WHOLE_PERCENT * question.income_12m_fen,
        margin_times_100=(WHOLE_PERCENT + percent) * threshold_fen,
    )


def _classes(question: EligibilityQuestion, compared: Comparison) -> tuple[HardshipClass, ...]:
    """All classes that match, in the order that makes the first the primary one (reading 6)."""
    asked_for_relief = question.relief != "not_applied"
    incident = question.incident
    matches: tuple[tuple[HardshipClass, bool], ...] = (
        (
            "low_income",  # K1
            compared.below_line and asked_for_relief and question.hardship_after_relief is True,
        ),
        ("marginal", compared.within_margin and bool(question.causes)),  # K2
        ("stricken", incident is not None and incident.hardship_found is True),  # K3
    )
    return tuple(name for name, matched in matches if matched)


def _undetermined(
    question: EligibilityQuestion, compared: Comparison
) -> tuple[UndeterminedReason, ...]:
    """What only a person's finding settles: the unpublished tests of K4, the rest of K1."""
    incident = question.incident
    open_findings: tuple[tuple[UndeterminedReason, bool], ...] = (
        ("TEST_UNPUBLISHED", incident is not None and incident.hardship_found is None),
        (
            "AFTER_RELIEF_UNKNOWN",
            compared.below_line
            and question.relief != "not_applied"
            and question.hardship_after_relief is None,
        ),
    )
    return tuple(reason for reason, is_open in open_findings if is_open)


def _without_class(
    question: EligibilityQuestion,
    compared: Comparison,
    undetermined: tuple[UndeterminedReason, ...],
) -> tuple[EligibilityOutcome, EligibilityReason]:
    """Why no class matched: the first that applies (the decision contract)."""
    if undetermined:
        return "needs_determination", undetermined[0]
    if compared.below_line:
        if question.relief == "not_applied":
            return "refer", "RELIEF_NOT_SOUGHT"  # reading 4
        return "not_eligible", "HARDSHIP_RELIEVED"
    if compared.within_margin:
        return "not_eligible", "CAUSE_MISSING"
    return "not_eligible", "ABOVE_MARGIN"
