"""Every 'no' of the network, with its reason."""

from __future__ import annotations

from shared.room import Refusal

NOT_KEEPER = Refusal(
    "not_network_keeper",
    "仅上级组织的组织管理员可以办理",
    "only the network keeper of a higher organisation may do this",
    status=403,
)
NOT_INSTALLATION = Refusal(
    "not_installation", "仅安装身份可以办理", "only the installation may do this", status=403
)
INSTALLED = Refusal("already_installed", "根组织已设立", "the root organisation exists already")
FOUNDED = Refusal("organisation_exists", "该组织已设立", "the organisation exists already")
CLOSED = Refusal("organisation_closed", "该组织已撤销", "the organisation is closed")
HAS_CHILDREN = Refusal("has_children", "下级组织尚未撤销或转出", "organisations stand below it")
CIRCLE = Refusal(
    "circle", "上下级关系成环", "the parent stands below the organisation", field="parent"
)
TWO_PARENTS = Refusal(
    "two_parents",
    "同一日不得有两个上级",
    "an organisation has one parent on one day",
    field="from_day",
)
NO_EDGE = Refusal("no_such_edge", "没有这一上下级关系", "no such edge is open", field="parent")
OFFICE_TAKEN = Refusal("office_taken", "该职务已有人担任", "the office is held already")
NOT_IN_OFFICE = Refusal("not_in_office", "未担任该职务", "the person does not hold this office")
LAST_KEEPER = Refusal(
    "last_keeper",
    "根组织须有组织管理员",
    "the root must keep a network keeper: seat a successor first",
)
DELEGATED = Refusal("delegated_already", "该职务已委托", "the role is delegated there already")
NOT_DELEGATED = Refusal("not_delegated", "没有这一委托", "no such delegation is open")
TO_ITSELF = Refusal(
    "delegated_to_itself",
    "不能委托给本组织",
    "an organisation cannot delegate to itself",
    field="to_organisation",
    status=422,
)
# The copy of the tree that this was decided on is older than the tree: decide again.
TREE_MOVED = Refusal("tree_moved", "组织关系刚有变动，请重试", "the tree has just changed: retry")


def no_organisation(field: str) -> Refusal:
    """The organisation named in ``field`` does not exist on the day asked about."""
    return Refusal(
        "no_such_organisation",
        "当日没有该组织",
        "there is no such organisation on that day",
        field=field,
        status=422,
    )


def wrong_day(field: str, zh: str, en: str) -> Refusal:
    """The day in ``field`` cannot be, with the reason."""
    return Refusal("wrong_day", zh, en, field=field, status=422)
