"""Answers questions with the rules, and shapes each answer with its trace as plain JSON values.

What the decision contract shows stands at the top of an answer, everything else under `trace`.
"""

import json
from typing import Any

from pydantic_core import to_jsonable_python

from cli.questions import AwardRead, EligibilityRead, NoticeRead, Read
from services.eligibility.rules.awards import aided_by_others, compute_award, used_before
from services.eligibility.rules.classes import determine
from services.eligibility.rules.parameter_document import Reading
from services.eligibility.rules.parameters import FundRules, ParameterSet
from services.notice.period import NoticePeriod, NoticeRule, notice_period
from shared.calendar import BusinessCalendar
from shared.dated import Versions

Answer = dict[str, Any]


def answer(read: Read, reading: Reading) -> Answer:
    """Answer one question under the parameters of `reading`."""
    match read:
        case EligibilityRead():
            return _eligibility(read, reading.parameters)
        case AwardRead():
            return _award(read, reading.parameters)
        case NoticeRead():
            return _notice(read, reading)


def written(answers: list[Answer]) -> bytes:
    """The list of answers as JSON text, one answer a line."""
    lines = [json.dumps(each, ensure_ascii=False) for each in answers]
    return "[{}]\n".format(",\n ".join(lines)).encode()


def _eligibility(read: EligibilityRead, parameters: ParameterSet) -> Answer:
    found = determine(read.question(), parameters)
    shown: Answer = {
        "outcome": found.outcome,
        "classes": list(found.classes),
        "primary": found.primary,
    }
    if found.reason is not None:
        shown["reason"] = found.reason
    trace = found.model_dump(mode="json", include={"undetermined", "comparison"})
    return {**shown, "trace": trace}


def _award(read: AwardRead, parameters: ParameterSet) -> Answer:
    request, priors = read.request(), read.priors()
    award = compute_award(request, used_before(request, priors), parameters)
    dumped = award.model_dump(mode="json")
    trace = {name: dumped.pop(name) for name in ("inputs", "caps", "parameters")}
    trace["aided_by_others_fen"] = aided_by_others(request, priors)
    shown = {name: value for name, value in dumped.items() if value is not None}
    return {**shown, "trace": trace}


def _notice(read: NoticeRead, reading: Reading) -> Answer:
    rules = reading.parameters.fund_rules.get(read.fund, Versions[FundRules]())
    period = notice_period(
        read.posted_on,
        read.interruptions(),
        rules.mapped(_notice_rule),
        BusinessCalendar(reading.holidays),
        read.unit,
    )
    trace = {"unpublished_year": period.unpublished_year, "runs": period.runs}
    plain: Answer = to_jsonable_python({**_shown_period(period), "trace": trace})
    return plain


def _notice_rule(rules: FundRules) -> NoticeRule:
    return NoticeRule(rules.notice_days, rules.notice_unit)


def _shown_period(period: NoticePeriod) -> Answer:
    if period.reason is None:
        return {"last_day": period.last_day, "sign_from": period.sign_from}
    outcome = "no_rule" if period.reason == "NO_RULE_IN_FORCE" else "needs_data"
    return {"outcome": outcome, "reason": period.reason}
