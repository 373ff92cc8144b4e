"""`docs/operating.md` against the program: each command that it tells people to type is one.

Nothing is run here; what the commands do was tried by hand (docs/operating-tried.md) and is tested
beside each of them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any, Final

import pytest
import yaml
from typer.main import get_command

from cli.__main__ import app
from cli.rooms import SERVICES
from cli.watching.rules import RULES
from sandbox.installation import CHECKOUT
from shared.arrival import REASONS
from shared.publisher import ALARM_KINDS

OPERATING: Final = (CHECKOUT / "docs" / "operating.md").read_text(encoding="utf-8")
PLACEHOLDERS: Final = {
    "SERVICE": "payout",
    "{service}": "payout",
    "MODEL": "case",
    "ID": "1",
    "HELD_ID": "1",
}


def typed() -> Iterator[str]:
    """Every command line of `bangfu`, in a block or in the text, and those of the alert rules."""
    told = re.findall(r"\bbangfu ([a-z]+[^`\n#]*)", OPERATING)
    ruled = [command.partition("bangfu ")[2] for rule in RULES for command in rule.do]
    yield from dict.fromkeys(command.strip() for command in (*told, *filter(None, ruled)))


def words_of(command: str) -> list[str]:
    """As a shell would split it, what may be left out put in, and something for placeholders."""
    whole = re.sub(r"\$\([^)]*\)", "", command.translate({ord("["): None, ord("]"): None}))
    return [PLACEHOLDERS.get(word, word) for word in shlex.split(whole)]


@pytest.mark.parametrize("command", list(typed()), ids=str)
def test_every_command_of_the_handbook_is_one(command: str) -> None:
    """Its name, its options and what it takes, by the program's own parser; nothing is run."""
    found: Any = get_command(app)
    context: Any = None
    words = words_of(command)
    while hasattr(found, "get_command"):
        context = found.make_context(found.name, words[:1], parent=context)
        name, *words = words
        found = found.get_command(context, name)
        assert found is not None, f"no command {name}"
    if words:  # in the text a command may be meant by its name alone
        found.make_context(found.name, words, parent=context)


def test_every_state_has_its_place() -> None:
    """Reasons for which records are held, kinds of alarm, alerts by name, and the six services."""
    for told in (*REASONS, *ALARM_KINDS, *SERVICES):
        assert f"`{told}`" in OPERATING, told
    for alert in {rule.alert for rule in RULES} - {"RelayAlarm"}:
        assert re.search(rf"(?m)^### .*\b{alert}\b", OPERATING), alert


def ways_out() -> dict[str, tuple[str, str]]:
    """Of the table at the top: each alert, with its kind of alarm, its severity and its place."""
    top = OPERATING.partition("\n## 报警 Alerts")[0]
    found: dict[str, tuple[str, str]] = {}
    for severity, names, place in re.findall(
        r"(?m)^\| (page|ticket) \| ([^|]*) \|[^|]*\| \[[^]]*\]\(#([\w-]+)\) \|$", top
    ):
        listed = re.findall(r"`(\w+)`", names)
        for name in [" ".join(listed)] if listed[0] == "RelayAlarm" else listed:
            assert name not in found, name
            found[name] = (severity, place)
    return found


def test_every_alert_has_one_place_with_its_way_out_and_the_table_at_the_top_leads_there() -> None:
    """As Prometheus has it, and no line for an alert that is none."""
    document = yaml.safe_load((CHECKOUT / "deploy" / "alerts.yaml").read_text(encoding="utf-8"))
    ruled: dict[str, tuple[str, str]] = {}
    for rule in (rule for group in document["groups"] for rule in group["rules"]):
        file, _, place = rule["annotations"]["runbook"].partition("#")
        assert file == "docs/operating.md"
        assert OPERATING.count(f'<a id="{place}"></a>') == 1, place
        kind = re.search(r'kind="(\w+)"', rule["expr"]) if rule["alert"] == "RelayAlarm" else None
        name = f"{rule['alert']} {kind[1]}" if kind else rule["alert"]
        assert ruled.setdefault(name, (rule["labels"]["severity"], place))[1] == place
    assert ways_out() == ruled


def test_every_link_within_the_handbook_leads_somewhere() -> None:
    assert set(re.findall(r"\]\(#([\w-]+)\)", OPERATING)) <= set(
        re.findall(r'<a id="([\w-]+)"></a>', OPERATING)
    )
