"""How a replayed case is told: as one document, and as lines for a person to read.

Sealed values stand in the document as tokens until `revealed` puts clear text or a mask in their
place; nothing is printed before that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import date
from enum import Enum
from typing import Any, Final

import orjson
from pydantic import BaseModel

from cli.rooms import Reasons, Words
from cli.strict_json import printable
from shared.case_log import CaseLog, Entry, Folded, recorded_on, states
from shared.directory import Directory
from shared.masks import HIDDEN
from shared.sealed import replace_tokens

ROLES: Final[Mapping[str, str]] = {
    "chair": "主席",
    "handler": "经办人",
    "visitor": "入户人员",
    "reviewer": "审核人",
    "approver": "审批人",
    "maker": "制单人",
    "checker": "复核人",
    "account_clerk": "账户管理员",
    "fund_keeper": "资金管理员",
    "parameter_keeper": "参数管理员",
    "parameter_announcer": "参数发布人",
    "training_officer": "培训专员",
    "network_keeper": "组织管理员",
}
SYSTEM: Final = "system"
_LONGEST_LINE: Final = 4_000
_LONGEST_VALUE: Final = 240

Document = dict[str, Any]
# A line and what it is: title, head, text, reason, state, finding, rest.
Line = tuple[str, str]


def document_of(
    log: CaseLog,
    words: Words,
    reasons: Reasons,
    as_of: date | None,
    valid_on: date | None,
) -> Document:
    """Everything that is told of a case, sealed values still sealed."""
    seen = log.seen(as_of, valid_on)
    return {
        "case_id": log.case_id,
        "as_of": as_of.isoformat() if as_of else None,
        "valid_on": valid_on.isoformat() if valid_on else None,
        "verified": {
            "facts": len(log.entries),
            "streams": len({entry.recorded.stream for entry in log.entries}),
            "repeats": log.repeats,
            "findings": [
                {"stream": f.stream, "version": f.version, "kind": f.kind, "detail": f.detail}
                for f in log.findings
            ],
        },
        "facts": [_told(entry, log.directory, words, reasons) for entry in seen],
        "states": [_state(folded) for folded in states(seen)],
    }


def _told(entry: Entry, directory: Directory, words: Words, reasons: Reasons) -> Document:
    recorded, fact = entry.recorded, entry.fact
    say, why = words.get(type(fact)), reasons.get(type(fact))
    zh, en = say(fact) if say else (recorded.type, recorded.type)
    actor = recorded.actor
    organisation = directory.organisation(actor.organisation)
    return {
        "service": entry.room.name,
        "stream": recorded.stream,
        "version": recorded.version,
        "fact": recorded.type.rpartition(".")[2],
        "type": recorded.type,
        "schema_version": recorded.schema_version,
        "fact_id": recorded.fact_id,
        "occurred_on": recorded.occurred_on.isoformat(),
        "recorded_at": recorded.recorded_at.isoformat(),
        "recorded_on": recorded_on(recorded).isoformat(),
        "lamport": recorded.lamport,
        "actor": {
            "person": actor.person,
            "role": actor.role,
            "organisation": actor.organisation,
            "organisation_name": organisation.name if organisation else "",
        },
        "zh": zh,
        "en": en,
        "why": [{"zh": z, "en": e} for z, e in (why(fact) if why else ())],
        "data": orjson.loads(recorded.raw),
    }


def _state(folded: Folded) -> Document:
    return {
        "service": folded.room.name,
        "kind": folded.kind.name,
        "version": folded.version,
        "fault": folded.fault,
        "state": plain(folded.state),
    }


def plain(value: Any) -> Any:
    """A state as JSON knows it: sets sorted, days and enumerations as text."""
    if isinstance(value, BaseModel):
        return plain({name: getattr(value, name) for name in type(value).model_fields})
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(plain(name)): plain(part) for name, part in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((plain(part) for part in value), key=orjson.dumps)
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, Enum):
        return value.value
    return value.isoformat() if isinstance(value, date) else value


def tokens_in(document: Any) -> set[str]:
    """All sealed values that would be shown."""
    found: set[str] = set()

    def note(token: str) -> str:
        found.add(token)
        return token

    revealed(document, note)
    return found


def revealed(document: Any, by: Callable[[str], str]) -> Any:
    """The document with each sealed value replaced, wherever it stands in a text."""
    if isinstance(document, str):
        return replace_tokens(document, by) if "sealed:" in document else document
    if isinstance(document, dict):
        return {revealed(name, by): revealed(part, by) for name, part in document.items()}
    if isinstance(document, list):
        return [revealed(part, by) for part in document]
    return document


def masked(_token: str) -> str:
    """What stands for a value that is not for these eyes."""
    return HIDDEN


def lines(document: Document) -> Iterator[Line]:
    """The document for a person: a timeline, then the state, then what was verified."""
    days = [f"{n} {document[k]}" for n, k in _HORIZONS if document[k]]
    yield "title", _clean("  ".join([f"案件 case {document['case_id']}", *days]))
    for fact in document["facts"]:
        yield "head", _clean(_headline(fact))
        yield "text", _clean(f"    {fact['zh']}")
        yield "text", _clean(f"    {fact['en']}")
        for why in fact["why"]:
            yield "reason", _clean(f"      · {why['zh']}  {why['en']}")
    for folded in document["states"]:
        title = f"现状 state: {folded['service']} {folded['kind']} (v{folded['version']})"
        yield "title", _clean(title)
        if folded["fault"]:
            yield "finding", _clean(f"    无法还原 cannot be folded: {folded['fault']}")
        # A stream of discarded records has facts and no state.
        for name, value in (folded["state"] or {}).items():
            if value not in (None, "", [], {}):
                yield "state", _clean(f"    {name}: {_compact(value)}")
    verified = document["verified"]
    for finding in verified["findings"]:
        detail = f" ({finding['detail']})" if finding["detail"] else ""
        place = f"{finding['stream'] or '?'} {finding['version']}"
        yield "finding", _clean(f"不符 finding: {place}: {finding['kind']}{detail}")
    shown, all_facts = len(document["facts"]), verified["facts"]
    verdict = "哈希、版本、因果次序均无误 hashes, versions and causal order hold"
    if verified["findings"]:
        verdict = f"{len(verified['findings'])} 处不符 findings"
    counts = f"{all_facts} 条事实 facts, {verified['streams']} 条流 streams"
    yield "rest", f"{counts}, {verified['repeats']} 次重复 repeats; {shown} 条列出 shown; {verdict}"


_HORIZONS: Final = (("截至所知 as of", "as_of"), ("截至发生 valid on", "valid_on"))


def _headline(fact: Document) -> str:
    late = ""
    if fact["recorded_on"] != fact["occurred_on"]:
        late = f" (记录于 recorded {fact['recorded_on']})"
    said = f"{fact['occurred_on']}{late}  {fact['service']}  {fact['fact']}"
    return f"{said}  {_who(fact['actor'])}"


def _who(actor: Mapping[str, str]) -> str:
    person, role, organisation = actor["person"], actor["role"], actor["organisation"]
    if person == SYSTEM:
        return "系统 system"
    office = f"{ROLES[role]} {role}" if role in ROLES else role
    named = f"{actor['organisation_name']} {organisation}".strip()
    return f"{person} ({', '.join(part for part in (named, office) if part)})"


def _compact(value: Any) -> str:
    """A value of the state on one line; what is long is cut here, and whole in the document."""
    if isinstance(value, str):
        return value
    text = orjson.dumps(value).decode()
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}… (--json)"


def _clean(text: str) -> str:
    """No control characters reach a terminal, whatever was sealed."""
    return printable(text, _LONGEST_LINE)
