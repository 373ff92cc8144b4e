"""The board 公示栏: the page that is printed and hung up, and looked at inside the organisation.

It shows the whitelist of a notice and nothing else: name, unit, household size, income band,
class, cause category, programme, days, how to object. Words it does not know it shows as they are,
escaped. No script, nothing from elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from html import escape
from typing import Final, Literal

Language = Literal["zh", "en"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One standing notice with its clear name; None if the person was erased."""

    notice_id: str
    place: str
    name: str | None
    unit: str
    household_size: int
    income_band: str
    hardship_class: str
    cause_categories: Sequence[str]
    programmes: Sequence[str]
    posted_on: date
    last_day: date


@dataclass(frozen=True, slots=True)
class Texts:
    """What the page says in one language."""

    lang: str
    title: str
    intro: str
    columns: Sequence[str]
    persons: str
    days: str
    nothing: str
    objection: str
    other_language: str
    other_title: str
    other_lang: str
    printed: str
    number: str
    words: Mapping[str, str]
    separator: str


ZH: Final = Texts(
    lang="zh-Hans",
    title="困难职工建档公示",
    intro="下列职工申请困难职工建档，现予公示，接受群众监督。",
    columns=(
        "姓名",
        "单位（工作区）",
        "家庭人口",
        "收入情况",
        "困难类别",
        "致困原因",
        "申请救助项目",
        "公示期",
    ),
    persons="{}人",
    days="{} 至 {}",
    nothing="目前没有公示。",
    objection=(
        "如有异议，公示期内可向本单位工会或帮扶工作站反映，也可在网上公示平台凭公示编号提出；"
        "可以匿名。公示期满自行撤下。"
    ),
    other_language="en",
    other_title="English",
    other_lang="en",
    printed="张贴日期以公示期首日为准。查看日期：{}",
    number="公示编号",
    words={
        "low_income": "低保户",
        "marginal": "低保边缘户",
        "stricken": "意外致困户",
        "living": "生活救助",
        "education": "助学救助",
        "medical": "医疗救助",
        "disaster": "突发事件、意外灾害救助",
    },
    separator="、",
)
EN: Final = Texts(
    lang="en",
    title="Notice of filing: workers in hardship",
    intro="These workers have applied to be filed as in hardship. The notice is open to objection.",
    columns=(
        "Name",
        "Unit",
        "Household",
        "Income",
        "Class",
        "Cause",
        "Programmes",
        "Days",
    ),
    persons="{}",
    days="{} to {}",
    nothing="Nothing is noticed at present.",
    objection=(
        "Anyone may object while the notice stands: to the union of this workplace, to the help "
        "station, or online under the notice's number; without a name, too. The notice comes down "
        "when its days are over."
    ),
    other_language="zh",
    other_title="中文",
    other_lang="zh-Hans",
    printed="Posted on the first of its days. Looked at on {}",
    number="No.",
    words={
        "low_income": "low income",
        "marginal": "marginal income",
        "stricken": "stricken",
        "living": "living",
        "education": "education",
        "medical": "medical",
        "disaster": "disaster",
    },
    separator=", ",
)
TEXTS: Final[Mapping[Language, Texts]] = {"zh": ZH, "en": EN}
HIDDEN: Final = "***"
_BOTH_LANGUAGES: Final = re.compile(
    r"(?P<zh>[^\sA-Za-z]*[\u4e00-\u9fff][^\sA-Za-z]*) (?P<en>[ -~]+)"
)

STYLE: Final = """
@page { size: A4 landscape; margin: 14mm }
body { font: 16px/1.6 "Noto Serif CJK SC", "Songti SC", SimSun, serif; color: #111;
  margin: 2rem auto; max-width: 75rem; padding: 0 1rem }
header { text-align: center }
h1 { font-size: 1.9rem; letter-spacing: .08em; margin: 0 }
nav { text-align: right }
.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100% }
th, td { border: 1px solid #444; padding: .4rem .6rem; text-align: left; vertical-align: top }
th { background: #f3efe6 }
thead th, td:last-child { white-space: nowrap }
.number { color: #444; font: .75rem/1.3 monospace; display: block; max-width: 14rem;
  overflow-wrap: anywhere; font-weight: normal }
footer { margin-top: 1.2rem }
tr { break-inside: avoid }
@media (max-width: 45rem) {
  thead { display: none }
  tr, th, td { display: block; border-bottom: 0 }
  tr { margin-bottom: 1rem; border-bottom: 1px solid #444 }
  td::before { content: attr(data-label) "　"; color: #444 }
}
@media print { nav { display: none } body { margin: 0; max-width: none; font-size: 12pt } }
"""
STYLE_HASH: Final = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
}


def page(entries: Sequence[Entry], organisation: str, looked_on: date, language: Language) -> str:
    """The whole page, in Chinese or English."""
    texts = TEXTS[language]
    return f"""<!DOCTYPE html>
<html lang="{texts.lang}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(texts.title)} · {escape(organisation)}</title>
<style>{STYLE}</style>
</head>
<body>
<nav><a href="?lang={texts.other_language}" lang="{texts.other_lang}">{texts.other_title}</a></nav>
<header><h1>{escape(texts.title)}</h1><p>{escape(organisation)}</p></header>
<main>
<p>{escape(texts.intro)}</p>
{_table(entries, texts)}
</main>
<footer><p>{escape(texts.objection)}</p>
<p>{escape(texts.printed.format(looked_on.isoformat()))}</p></footer>
</body>
</html>
"""


def _table(entries: Sequence[Entry], texts: Texts) -> str:
    if not entries:
        return f"<p>{escape(texts.nothing)}</p>"
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in texts.columns)
    rows = "\n".join(_row(entry, texts) for entry in entries)
    return (
        f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table></div>"
    )


def _row(entry: Entry, texts: Texts) -> str:
    number = f"{texts.number} {entry.notice_id}"
    cells = [
        entry.unit,
        texts.persons.format(entry.household_size),
        _word(entry.income_band, texts),
        _word(entry.hardship_class, texts),
        _words(entry.cause_categories, texts),
        _words(entry.programmes, texts),
        texts.days.format(entry.posted_on.isoformat(), entry.last_day.isoformat()),
    ]
    labelled = zip(texts.columns[1:], cells, strict=True)
    return (
        f'<tr><th scope="row">{escape(entry.name or HIDDEN)}'
        f'<span class="number">{escape(number)}</span></th>'
        + "".join(
            f'<td data-label="{escape(label)}">{escape(cell)}</td>' for label, cell in labelled
        )
        + "</tr>"
    )


def _word(word: str, texts: Texts) -> str:
    """A code in the page's language; of a text that says both, Chinese then English, its half."""
    said = _BOTH_LANGUAGES.fullmatch(word)
    if said is not None:
        return said[texts.lang[:2]]
    return texts.words.get(word, word)


def _words(words: Sequence[str], texts: Texts) -> str:
    return texts.separator.join(_word(word, texts) for word in words)
