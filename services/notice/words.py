"""What each fact of the notices says, in Chinese and in English, for replay and other readers.

Sealed values stand in the words as they are, sealed: who may see them is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from services.notice import facts
from shared.fact import Fact

Said = tuple[str, str]

_PLACES: Final = {"workplace": "单位公示栏", "station": "帮扶工作站"}
_UNITS: Final = {"natural": "自然日", "working": "工作日"}
_REMOVALS: Final = {"elapsed": "公示期满", "rejected": "不予建档", "case_closed": "案件终结"}


def _form_taken_over(f: facts.FormTakenOver) -> Said:
    return f"接收登记表 {f.form_hash[:12]}", f"took over the form {f.form_hash[:12]}"


def _notice_posted(f: facts.NoticePosted) -> Said:
    return (
        f"在{_PLACES[f.place]}张贴公示：{f.published.name} {f.posted_on} 至 {f.last_day}"
        f"（{f.notice_days} 个{_UNITS[f.unit]}），登记表 {f.form_hash[:12]}",
        f"posted the notice at the {f.place}: {f.published.name} {f.posted_on} to {f.last_day} "
        f"({f.notice_days} {f.unit} days), form {f.form_hash[:12]}",
    )


def _objection_raised(f: facts.ObjectionRaised) -> Said:
    who, who_en = ("匿名", "anonymous") if f.anonymous else ("具名", "named")
    return f"收到异议（{who}）：{f.text}", f"objection raised ({who_en}): {f.text}"


def _objection_investigated(f: facts.ObjectionInvestigated) -> Said:
    return f"异议已调查：{f.findings}", f"investigated the objection: {f.findings}"


def _objection_dismissed(f: facts.ObjectionDismissed) -> Said:
    return f"异议不成立：{f.reasons}", f"dismissed the objection: {f.reasons}"


def _objection_upheld(f: facts.ObjectionUpheld) -> Said:
    return (
        f"异议成立（{f.outcome}）：{f.reasons}",
        f"upheld the objection ({f.outcome}): {f.reasons}",
    )


def _notice_elapsed(f: facts.NoticeElapsed) -> Said:
    return (
        f"{_PLACES[f.place]}公示期满，末日 {f.last_day}，登记表 {f.form_hash[:12]}",
        f"the notice at the {f.place} ran its days, last day {f.last_day}, form {f.form_hash[:12]}",
    )


def _notice_removed(f: facts.NoticeRemoved) -> Said:
    return (
        f"撤下{_PLACES[f.place]}公示：{_REMOVALS[f.reason]}",
        f"took the notice at the {f.place} down: {f.reason.replace('_', ' ')}",
    )


def _file_closed(f: facts.FileClosed) -> Said:
    return f"获悉案件终结：{f.reason}", f"the case has ended: {f.reason}"


def _registration_taken_over(_f: facts.RegistrationTakenOver) -> Said:
    return "获悉已建档", "the file is registered"


WORDS: Mapping[type[Fact], Callable[[Any], Said]] = {
    facts.FormTakenOver: _form_taken_over,
    facts.NoticePosted: _notice_posted,
    facts.ObjectionRaised: _objection_raised,
    facts.ObjectionInvestigated: _objection_investigated,
    facts.ObjectionDismissed: _objection_dismissed,
    facts.ObjectionUpheld: _objection_upheld,
    facts.NoticeElapsed: _notice_elapsed,
    facts.NoticeRemoved: _notice_removed,
    facts.FileClosed: _file_closed,
    facts.RegistrationTakenOver: _registration_taken_over,
}
