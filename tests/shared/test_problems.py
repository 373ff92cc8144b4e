"""Errors over HTTP name the rule and the field, and repeat nothing that was sent."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from enum import StrEnum
from typing import Annotated, Any

import httpx
import pytest
from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from pydantic import Field, field_validator
from structlog.testing import capture_logs

from shared.problems import Problem, install_problem_handlers
from shared.request_body import RequestBody


class Kind(StrEnum):
    PAPER = "paper"
    APP = "app"


class Person(RequestBody):
    name: str = Field(max_length=20)
    id_number: str | None = Field(default=None, pattern=r"^\d{17}[\dX]$")
    income_fen: tuple[int, ...] = ()
    notes: dict[str, str] = Field(default_factory=dict)

    @field_validator("name")
    @classmethod
    def _no_digits(cls, value: str) -> str:
        if any(character.isdigit() for character in value):
            raise ValueError(f"{value} is no name")
        return value


class Application(RequestBody):
    applicant: Person
    members: tuple[Person, ...] = ()
    channel: Kind = Kind.PAPER
    on: date = date(2025, 1, 1)
    urgent: bool = False
    count: int = 0


def application() -> FastAPI:
    app = FastAPI()
    install_problem_handlers(app)

    @app.post("/applications")
    async def submit(body: Application) -> dict[str, str]:
        return {"on": body.on.isoformat(), "channel": body.channel}

    @app.get("/cases/{number}")
    async def case(number: int, day: Annotated[date | None, Field()] = None) -> dict[str, Any]:
        return {"number": number, "day": day}

    @app.get("/refused")
    async def refused() -> None:
        raise Problem(
            "cap-exceeded",
            status=409,
            title_zh="超过年度上限",
            title_en="Over the annual cap",
            detail="还剩 0 分",
            rule="K11",
            field="$.amount_fen",
            extra={"room_fen": 0},
        )

    @app.get("/forbidden")
    async def forbidden() -> None:
        raise HTTPException(403, detail="999999198001011234 may not")

    @app.get("/broken")
    async def broken() -> None:
        try:
            raise LookupError("王建国")
        except LookupError as error:
            raise RuntimeError("card 6222000000001234 not found") from error

    @app.get("/half")
    async def half() -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            yield b"some"
            raise RuntimeError("card 6222000000001234 not found")

        return StreamingResponse(parts())

    return app


@asynccontextmanager
async def client() -> AsyncIterator[httpx.AsyncClient]:
    # Errors that escape the application are raised here: none may.
    transport = httpx.ASGITransport(application(), raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as opened:
        yield opened


async def post(body: Any) -> httpx.Response:
    async with client() as opened:
        if isinstance(body, bytes):
            headers = {"content-type": "application/json"}
            return await opened.post("/applications", content=body, headers=headers)
        return await opened.post("/applications", json=body)


async def get(path: str) -> httpx.Response:
    async with client() as opened:
        return await opened.get(path)


def fields(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:bangfu:problem:request-invalid"
    return {item["field"]: item["code"] for item in answer.json()["errors"]}


async def test_a_problem_says_type_rule_and_field() -> None:
    answer = await get("/refused")
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "urn:bangfu:problem:cap-exceeded",
        "title": "超过年度上限",
        "title_en": "Over the annual cap",
        "status": 409,
        "detail": "还剩 0 分",
        "rule": "K11",
        "field": "$.amount_fen",
        "room_fen": 0,
    }


async def test_a_fitting_body_passes() -> None:
    answer = await post({"applicant": {"name": "王建国"}, "channel": "app", "on": "2025-03-01"})
    assert answer.json() == {"on": "2025-03-01", "channel": "app"}


async def test_each_wrong_field_is_named_by_its_path() -> None:
    answer = await post(
        {
            "applicant": {"id_number": "99999919800101"},
            "members": [{"name": "李"}, {"name": "李" * 21, "income_fen": [1, "2"]}],
            "channel": "carrier pigeon",
            "on": "1 March",
            "urgent": "yes",
            "count": 1.5,
            "surplus": 1,
        }
    )
    assert fields(answer) == {
        "$.applicant.name": "missing",
        "$.applicant.id_number": "string_pattern_mismatch",
        "$.members[1].name": "string_too_long",
        "$.members[1].income_fen[1]": "int_type",
        "$.channel": "enum",
        "$.on": "date_from_datetime_parsing",
        "$.urgent": "bool_type",
        "$.count": "int_type",
        "$.surplus": "extra_forbidden",
    }
    assert answer.json()["field"] == "$.applicant.name"


@pytest.mark.parametrize("value", ["99999919800101123", "carrier pigeon", "王建国7", "x" * 50])
async def test_no_value_is_ever_repeated(value: str) -> None:
    """Not even by a validator of ours that put it into its message."""
    person = {"name": value + "0", "id_number": value}
    answer = await post({"applicant": person, "channel": value, "on": value, value: value})
    assert answer.status_code == 422
    assert value not in answer.text or value == "x" * 50  # a plain word may be a member's name
    assert "is no name" not in answer.text


@pytest.mark.parametrize("levels", [300, 500, 900])
async def test_a_body_nested_deeper_than_python_calls_itself_is_refused(levels: int) -> None:
    answer = await post(b'{"applicant": ' + b"[" * levels + b"]" * levels + b"}")
    assert fields(answer) == {"$.applicant": "model_attributes_type"}


async def test_a_member_name_that_may_be_data_is_not_repeated() -> None:
    answer = await post({"applicant": {"name": "王"}, "999999198001011234": 1, "王建国": 1})
    assert fields(answer) == {"$.*": "extra_forbidden"}
    assert "王建国" not in answer.text
    assert "999999" not in answer.text


@pytest.mark.parametrize("numbers", ['"1"', "true", "1.0", "[1]", "null"])
async def test_numbers_are_not_made_from_other_things(numbers: str) -> None:
    body = f'{{"applicant": {{"name": "王"}}, "count": {numbers}}}'.encode()
    assert fields(await post(body)) == {"$.count": "int_type"}


@pytest.mark.parametrize("number", [2**53, -(2**53), 10**30])
async def test_integers_beyond_53_bits_are_refused(number: int) -> None:
    assert fields(await post({"applicant": {"name": "王"}, "count": number})) == {
        "$.count": "number_refused"
    }
    person = {"name": "王", "income_fen": [1, number]}
    assert fields(await post({"applicant": person})) == {
        "$.applicant.income_fen[1]": "number_refused"
    }
    kept = await post({"applicant": {"name": "王"}, "count": 2**53 - 1})
    assert kept.status_code == 200


async def test_nul_is_refused_with_the_field() -> None:
    answer = await post({"applicant": {"name": "王"}, "members": [{"name": "李\x00"}]})
    assert fields(answer) == {"$.members[0].name": "text_refused"}
    answer = await post({"applicant": {"name": "王", "notes": {"a": "b\x00"}}})
    assert fields(answer) == {"$.applicant.notes.*": "text_refused"}
    answer = await post({"applicant": {"name": "王", "notes": {"a\x00": "b"}}})
    assert fields(answer) == {"$.applicant.notes.*": "text_refused"}


async def test_half_a_surrogate_pair_is_refused_with_the_field() -> None:
    answer = await post(b'{"applicant": {"name": "\\ud800"}}')
    assert list(fields(answer)) == ["$.applicant.name"]
    whole = await post(b'{"applicant": {"name": "\\ud83d\\ude00"}}')
    assert whole.status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"",
        b'{"applicant": {"name": "\xff\xfe"}}',
        b"\xff",
        b"[" * 100_000,
        b'{"count": ' + b"9" * 5_000 + b"}",
    ],
)
async def test_what_is_no_json_is_a_problem(body: bytes) -> None:
    answer = await post(body)
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"].startswith("urn:bangfu:problem:")


async def test_not_a_number_is_no_number() -> None:
    for text in (b"NaN", b"Infinity", b"1e999"):
        answer = await post(b'{"applicant": {"name": "a"}, "count": ' + text + b"}")
        assert fields(answer) == {"$.count": "int_type"}


async def test_unknown_addresses_and_methods_are_problems() -> None:
    async with client() as opened:
        missing, method = await opened.get("/nowhere"), await opened.put("/applications")
    assert missing.status_code == 404
    assert missing.json()["type"] == "urn:bangfu:problem:not-found"
    assert method.status_code == 405
    assert method.json()["type"] == "urn:bangfu:problem:method-not-allowed"
    assert method.headers["allow"] == "POST"


async def test_wrong_addresses_are_named_by_their_place() -> None:
    assert fields(await get("/cases/many?day=tomorrow")) == {
        "path.number": "int_parsing",
        "query.day": "date_from_datetime_parsing",
    }


@pytest.mark.parametrize("path", ["/cases/%00", "/cases/1?day=%00"])
async def test_nul_in_an_address_is_refused(path: str) -> None:
    answer = await get(path)
    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:bangfu:problem:request-unreadable"


async def test_the_detail_of_a_framework_is_not_passed_on() -> None:
    answer = await get("/forbidden")
    assert answer.status_code == 403
    assert "999999" not in answer.text


async def test_an_unexpected_error_shows_a_correlation_and_nothing_else() -> None:
    """The log has the kinds of the errors and their places, but not their messages."""
    with capture_logs() as entries:
        answer = await get("/broken")
    assert answer.status_code == 500
    body = answer.json()
    assert body.keys() == {"type", "title", "title_en", "status", "correlation_id"}
    (entry,) = entries
    assert entry["correlation_id"] == body["correlation_id"]
    assert entry["error_types"] == ["RuntimeError", "LookupError"]
    assert "broken" in entry["frames"][-1]
    assert "6222" not in str(entry)
    assert "王建国" not in str(entry)


async def test_an_answer_that_breaks_off_does_not_look_whole() -> None:
    with capture_logs() as entries, pytest.raises(RuntimeError, match="cut short") as escaped:
        await get("/half")
    assert "6222" not in str(escaped.value)
    assert escaped.value.__suppress_context__
    assert entries[0]["event"] == "unexpected_error"
