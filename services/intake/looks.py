"""Looking at cases: lists without personal values, one case masked, or unsealed for its offices.

Row-level security decides what is seen at all; this decides what is opened. Every opening is
recorded by the keys' database, with person and purpose.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel

from services.intake.decisions.offices import unsealing_offices
from shared.door import Caller, Door
from shared.looks import view, views
from shared.masks import HIDDEN, mask_id, mask_name, mask_phone
from shared.room import Refusal

MASKED: Final = "look at a case, masked"
UNSEALED: Final = "look at a case, unsealed"

# What a mask lets through; everything else is hidden without being opened.
MASKS: Final[Mapping[str, Callable[[str], str]]] = {
    "name": mask_name,
    "id_number": mask_id,
    "phone": mask_phone,
}


class PersonLook(BaseModel):
    """One member; null is what was erased."""

    person_id: str
    name: str | None
    id_number: str | None


class PersonalLook(BaseModel):
    """The personal values of a case, masked or in clear."""

    members: list[PersonLook]
    address: str | None
    phone: str | None
    incident_description: str | None
    account: str | None
    account_holder: str | None
    remarks: list[str | None]


class CaseLook(BaseModel):
    """A case: what is not personal, and what is."""

    case: dict[str, Any]
    personal: PersonalLook
    unsealed: bool


class CaseList(BaseModel):
    """Cases by id; pass the last one's id as ``after`` for the next page."""

    items: list[dict[str, Any]]


def look_routes(router: APIRouter, door: Door) -> None:
    """The two looks at cases; the work list is the machinery's own."""
    Reading = Annotated[Caller, Depends(door.reader)]  # noqa: N806 - a type, made for this door

    @router.get("/cases", summary="案件列表 Cases", tags=["查询 looks"])
    async def cases(
        caller: Reading,
        status: Annotated[str, Query(max_length=40)] = "",
        after: Annotated[str, Query(max_length=100)] = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    ) -> CaseList:
        found = await views(door, caller, "case", status=status, after=after, limit=limit)
        return CaseList(items=found)

    @router.get("/cases/{case_id}", summary="案件 A case", tags=["查询 looks"])
    async def case(
        caller: Reading,
        case_id: Annotated[str, Path(pattern=r"^[0-9a-f-]{36}$")],
        unsealed: bool = False,
    ) -> CaseLook:
        document = await view(door, caller, "case", case_id)
        if unsealed and not _may_unseal(door, caller, document):
            raise await door.refused(caller, "unseal", NOT_FOR_UNSEALING, case_id)
        sealed = await view(door, caller, "case_personal", case_id)
        personal = await _opened(door, caller, sealed, unsealed=unsealed)
        return CaseLook(case=dict(document), personal=personal, unsealed=unsealed)


NOT_FOR_UNSEALING: Final = Refusal(
    "not_for_unsealing",
    "仅本案经办、审核单位的相关人员可查看明文",
    "only handler, chair, reviewer and approver of the case's own offices may unseal",
    rule="§6",
    status=403,
)


def _may_unseal(door: Door, caller: Caller, case: Mapping[str, Any]) -> bool:
    directory, today = door.desk.reference.directory, door.desk.clock.today()
    offices = unsealing_offices(directory, case["organisation_id"], case["station_id"], today)
    return (caller.actor.organisation, caller.actor.role) in offices


async def _opened(
    door: Door, caller: Caller, sealed: Mapping[str, Any], *, unsealed: bool
) -> PersonalLook:
    """Opens what is to be shown, in one look on record, and nothing else."""
    tokens = dict(_tokens(sealed, "", unsealed=unsealed))
    purpose = UNSEALED if unsealed else MASKED
    opened = await door.keys.open(list(tokens), caller.actor.person, purpose)
    shown = {
        token: None if clear is None else clear if unsealed else MASKS[tokens[token]](clear)
        for token, clear in opened.items()
    }
    return PersonalLook.model_validate(_shown(sealed, "", shown))


def _tokens(value: Any, name: str, *, unsealed: bool) -> Iterator[tuple[str, str]]:
    """The sealed values that have to be opened, each with its field's name."""
    match value:
        case Mapping():
            for key, part in value.items():
                if key != "person_id":
                    yield from _tokens(part, key, unsealed=unsealed)
        case list():
            for part in value:
                yield from _tokens(part, name, unsealed=unsealed)
        case str() if unsealed or name in MASKS:
            yield value, name


def _shown(value: Any, name: str, shown: Mapping[str, str | None]) -> Any:
    match value:
        case Mapping():
            return {key: _shown(part, key, shown) for key, part in value.items()}
        case list():
            return [_shown(part, name, shown) for part in value]
        case str() if name != "person_id":
            return shown.get(value, HIDDEN)
        case _:
            return value
