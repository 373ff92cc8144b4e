"""A sealed value opens with its own key, as it was made, and else not at all."""

import base64
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError

from shared.masks import mask_account, mask_id, mask_name, mask_phone
from shared.sealed import (
    Category,
    Personal,
    SealedError,
    is_sealed,
    new_key,
    parse,
    personal_fields,
    seal,
    unseal,
)

KEY = new_key("person-1", Category.IDENTITY)
FACT = "0198c0de-0000-7000-8000-000000000001"

Name = Annotated[str, Personal(Category.IDENTITY)]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_is_sealed_opens_again(text: str) -> None:
    token = seal(text, KEY, FACT, "members[0].name")
    assert token.isascii()
    assert unseal(token, KEY) == text


def test_a_token_tells_its_origin() -> None:
    token = seal("王建国", KEY, FACT, "applicant.name")
    parts = token.split(":")
    assert parts[:2] == ["sealed", "1"]
    assert parts[2:5] == [KEY.key_id, FACT, "applicant.name"]
    taken_apart = parse(token)
    assert taken_apart.category is Category.IDENTITY
    assert taken_apart.bound == token.rpartition(":")[0].encode()
    assert len(taken_apart.box) == 12 + len("王建国".encode()) + 16


def test_the_same_text_is_never_sealed_the_same() -> None:
    assert seal("王建国", KEY, FACT, "name") != seal("王建国", KEY, FACT, "name")


@given(st.data())
def test_no_changed_token_opens(data: st.DataObject) -> None:
    """Neither a changed character nor another fact, field or key id."""
    token = seal("王建国", KEY, FACT, "name")
    place = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.sampled_from("abcXYZ019-_:."))
    changed = token[:place] + letter + token[place + 1 :]
    if changed == token:
        return
    try:
        opened = unseal(changed, KEY)
    except SealedError:
        return
    # The last character of base64 carries bits that mean nothing; then the bytes are the same.
    assert opened == "王建国"
    assert parse(changed).box == parse(token).box


def test_another_key_does_not_open_it() -> None:
    token = seal("王建国", KEY, FACT, "name")
    with pytest.raises(SealedError, match="another key"):
        unseal(token, new_key("person-2", Category.IDENTITY))


@pytest.mark.parametrize(
    "text",
    ["", "王建国", "sealed:1:x", "sealed:2:" + "a" * 80, seal("a", KEY, FACT, "name") + "="],
)
def test_what_is_no_token_is_refused_without_repeating_it(text: str) -> None:
    assert not is_sealed(text)
    with pytest.raises(SealedError) as refused:
        parse(text)
    assert str(refused.value) == "not a sealed value"


@pytest.mark.parametrize(
    ("fact_id", "field"), [("a:b", "name"), (FACT, "姓名"), (FACT, ""), ("", "a")]
)
def test_what_can_not_stand_in_a_token_is_refused(fact_id: str, field: str) -> None:
    with pytest.raises(SealedError):
        seal("王建国", KEY, fact_id, field)


def test_a_lone_surrogate_is_refused_without_its_text() -> None:
    with pytest.raises(SealedError) as refused:
        seal("王\ud800", KEY, FACT, "name")
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


def test_a_key_shows_no_secret() -> None:
    assert base64.b64encode(KEY.secret).decode() not in repr(KEY)
    assert repr(KEY.secret) not in repr(KEY)


class Member(BaseModel):
    name: Name
    diagnosis: Annotated[str, Personal(Category.HEALTH)] | None = None
    age: int = 0


class Letter(BaseModel):
    kind: Literal["letter"] = "letter"
    text: Annotated[str, Personal(Category.FREE_TEXT)]


class Call(BaseModel):
    kind: Literal["call"] = "call"
    phone: Name


class Stated(BaseModel):
    applicant: Member
    members: list[Member] = []
    by_role: dict[str, Name] = {}
    aliases: tuple[Name, ...] = ()
    contact: Annotated[Letter | Call, Field(discriminator="kind")] | None = None
    children: "list[Stated]" = []
    case_id: str = ""


def test_a_personal_field_takes_a_sealed_value_only() -> None:
    token = seal("王建国", KEY, FACT, "name")
    assert Member(name=token).name == token
    with pytest.raises(ValidationError) as refused:
        Member(name="王建国")
    assert [(e["loc"], e["type"]) for e in refused.value.errors()] == [(("name",), "not_sealed")]
    assert "王建国" not in refused.value.errors()[0]["msg"]


def test_a_value_of_another_category_is_refused() -> None:
    """A diagnosis sealed as an identity would be open to those who may see identities."""
    with pytest.raises(ValidationError) as refused:
        Member(name=seal("x", KEY, FACT, "n"), diagnosis=seal("肺癌", KEY, FACT, "d"))
    assert refused.value.errors()[0]["type"] == "other_category"


def test_the_schema_marks_personal_fields() -> None:
    schema = Member.model_json_schema()
    assert schema["properties"]["name"]["x-personal"] == "identity"
    assert "health" in str(schema["properties"]["diagnosis"])
    assert "x-personal" not in schema["properties"]["age"]


def test_personal_fields_are_found_at_every_depth() -> None:
    assert personal_fields(Stated) == {
        "applicant.name": Category.IDENTITY,
        "applicant.diagnosis": Category.HEALTH,
        "members[].name": Category.IDENTITY,
        "members[].diagnosis": Category.HEALTH,
        "by_role{}": Category.IDENTITY,
        "aliases[]": Category.IDENTITY,
        "contact.text": Category.FREE_TEXT,
        "contact.phone": Category.IDENTITY,
    }


def test_masks_keep_what_may_be_seen() -> None:
    assert mask_name("王建国") == "王**"
    assert mask_name("欧阳锋") == "欧阳*"
    assert mask_name("欧阳") == "欧*"
    assert mask_name("王") == "***"
    assert mask_id("999999198001011234") == "999***********1234"
    assert mask_account("6222000000001234") == "***1234"
    assert mask_account("1234") == "***"
    assert mask_phone("13812345678") == "138****5678"


def test_the_birth_date_is_never_in_a_mask() -> None:
    for number in ("999999198001011234", "999999800101123"):
        assert "1980"[2:] + "0101" not in mask_id(number)
