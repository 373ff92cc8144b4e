"""The rules as a file for Prometheus: `python -m cli.watching.alerts > deploy/alerts.yaml`."""

from __future__ import annotations

import re
import sys
from typing import Any, Final

import yaml

from cli.watching.rule import Rule
from cli.watching.rules import RULES

HEAD: Final = """\
# Alert rules for Prometheus, written from cli/watching/rules.py, which `bangfu status` uses too:
#   python -m cli.watching.alerts > deploy/alerts.yaml
# deploy/prometheus.yaml shows what they expect of a scrape: the job `bangfu`, and honor_labels.
"""


def alert_file() -> str:
    """The file as it is committed."""
    groups = [{"name": "bangfu", "rules": [_alert(rule) for rule in RULES]}]
    text: str = yaml.safe_dump({"groups": groups}, allow_unicode=True, sort_keys=False, width=100)
    return HEAD + text


def _alert(rule: Rule) -> dict[str, Any]:
    labels = {"severity": rule.severity, **_fixed_labels(rule)}
    told: dict[str, Any] = {"alert": rule.alert, "expr": rule.condition.expression()}
    if rule.lasting_seconds:
        told["for"] = f"{rule.lasting_seconds}s"
    what, why = rule.what, rule.why
    return {
        **told,
        "labels": labels,
        "annotations": {
            "summary": _template(f"{what.zh} {what.en}"),
            "description": f"{why.zh} {why.en}",
            "command": _template("\n".join(rule.do)),
            "runbook": f"docs/operating.md#{rule.anchor}",
        },
    }


def _fixed_labels(rule: Rule) -> dict[str, str]:
    """What the condition itself fixes: it tells rules of one alert apart, and what is absent."""
    where = rule.condition.where.items()
    return {name: value for name, value in where if value.isidentifier() and name != "job"}


def _template(text: str) -> str:
    """`{label}` as Prometheus fills it in; what merely looks like it stays."""
    known = "service|command|code|outbox|kind|reason|topic|component|state|what|server"
    return re.sub(rf"\{{({known})\}}", r"{{ $labels.\1 }}", text)


if __name__ == "__main__":
    sys.stdout.write(alert_file())
