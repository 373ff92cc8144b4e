"""What each fact of the network says, in Chinese and in English, for replay and other readers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.network import facts
from shared.fact import Fact

Said = tuple[str, str]


def _organisation_founded(f: facts.OrganisationFounded) -> Said:
    return (
        f"成立组织：{f.name} {f.organisation}（{f.kind}）",
        f"founded the organisation {f.name} {f.organisation} ({f.kind})",
    )


def _organisation_closed(f: facts.OrganisationClosed) -> Said:
    return f"撤销组织：{f.organisation}", f"closed the organisation {f.organisation}"


def _edge_opened(f: facts.EdgeOpened) -> Said:
    return (
        f"{f.child} 自 {f.from_day} 起隶属 {f.parent}",
        f"{f.child} stands under {f.parent} from {f.from_day}",
    )


def _edge_closed(f: facts.EdgeClosed) -> Said:
    return (
        f"{f.child} 自 {f.to_day} 起不再隶属 {f.parent}",
        f"{f.child} no longer stands under {f.parent} from {f.to_day}",
    )


def _office_taken(f: facts.OfficeTaken) -> Said:
    return (
        f"{f.person} 自 {f.from_day} 起任 {f.organisation} 的 {f.role}",
        f"{f.person} is {f.role} of {f.organisation} from {f.from_day}",
    )


def _office_left(f: facts.OfficeLeft) -> Said:
    return (
        f"{f.person} 自 {f.to_day} 起不再任 {f.organisation} 的 {f.role}",
        f"{f.person} is no longer {f.role} of {f.organisation} from {f.to_day}",
    )


def _delegation_given(f: facts.DelegationGiven) -> Said:
    return (
        f"{f.organisation} 自 {f.from_day} 起将 {f.role} 之职委托给 {f.to_organisation}",
        f"{f.organisation} delegates {f.role} to {f.to_organisation} from {f.from_day}",
    )


def _delegation_ended(f: facts.DelegationEnded) -> Said:
    return (
        f"{f.organisation} 自 {f.to_day} 起收回委托给 {f.to_organisation} 的 {f.role} 之职",
        f"{f.organisation} takes {f.role} back from {f.to_organisation} from {f.to_day}",
    )


WORDS: Mapping[type[Fact], Callable[[Any], Said]] = {
    facts.OrganisationFounded: _organisation_founded,
    facts.OrganisationClosed: _organisation_closed,
    facts.EdgeOpened: _edge_opened,
    facts.EdgeClosed: _edge_closed,
    facts.OfficeTaken: _office_taken,
    facts.OfficeLeft: _office_left,
    facts.DelegationGiven: _delegation_given,
    facts.DelegationEnded: _delegation_ended,
}
