"""What a board shows: the whitelist of §6 in two languages, and nothing that runs."""

from datetime import date
from html.parser import HTMLParser

import pytest

from services.notice.board import HEADERS, TEXTS, Entry, Language, page
from tests.services.notice.cases import DAY

NOTICE = "9b2c6f5e-0f51-4a65-8a6a-2b1f3b0c9a11"


def entry(**changed: object) -> Entry:
    fields: dict[str, object] = {
        "notice_id": NOTICE,
        "place": "workplace",
        "name": "王建国",
        "unit": "示例纺织厂",
        "household_size": 3,
        "income_band": "人均月收入500元至1000元",
        "hardship_class": "low_income",
        "cause_categories": ("疾病 illness",),
        "programmes": ("living", "medical"),
        "posted_on": DAY,
        "last_day": date(2025, 3, 10),
    }
    return Entry(**{**fields, **changed})  # type: ignore[arg-type] # the test names what it changes


class Texts(HTMLParser):
    """Every text and tag of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002 - the parser gives them
        self.tags.append(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)


def test_the_board_shows_the_whitelist_in_chinese() -> None:
    said = " ".join(Texts(page([entry()], "示例纺织厂工会", DAY, "zh")).texts)
    for text in (
        "王建国",
        "示例纺织厂工会",
        "3人",
        "低保户",
        "生活救助、医疗救助",
        "2025-03-03 至 2025-03-10",
        "异议",
        NOTICE,
    ):
        assert text in said


def test_english_is_one_switch_away() -> None:
    chinese, english = (page([entry()], "x", DAY, lang) for lang in ("zh", "en"))
    assert 'href="?lang=en"' in chinese
    assert 'href="?lang=zh"' in english
    assert "low income" in english
    assert '<html lang="zh-Hans">' in chinese


@pytest.mark.parametrize("language", ["zh", "en"])
def test_what_is_shown_is_text_and_never_markup(language: Language) -> None:
    evil = '<script>alert("x")</script>&"\''
    changed = dict.fromkeys(("name", "unit", "income_band", "hardship_class"), evil)
    html = page(
        [entry(**changed, programmes=(evil,), cause_categories=(evil,))], evil, DAY, language
    )
    assert "script" not in Texts(html).tags
    assert "<script" not in html
    assert Texts(html).open == []


def test_what_is_said_in_both_languages_is_shown_in_the_pages_own() -> None:
    bands = entry(income_band="人均月收入500元至1000元 500 to 1,000 yuan")
    chinese, english = (page([bands], "x", DAY, lang) for lang in ("zh", "en"))
    assert "500 to 1,000 yuan" not in chinese
    assert "人均月收入" not in english
    assert "疾病" in chinese
    assert ">illness<" in english
    assert "只有中文" in page([entry(income_band="只有中文")], "x", DAY, "en")


def test_a_person_who_was_erased_has_no_name() -> None:
    assert "***" in page([entry(name=None)], "x", DAY, "zh")


def test_an_empty_board_says_so() -> None:
    assert TEXTS["zh"].nothing in page([], "x", DAY, "zh")


def test_nothing_is_kept_or_run_by_the_browser() -> None:
    assert HEADERS["Cache-Control"] == "no-store"
    assert HEADERS["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")


def test_both_languages_say_the_same_things() -> None:
    assert TEXTS["zh"].words.keys() == TEXTS["en"].words.keys()
    assert len(TEXTS["zh"].columns) == len(TEXTS["en"].columns)
