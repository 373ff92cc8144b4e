"""The alert rules against what running processes really tell: each is about something, and fires.

The expressions are read from the committed file and judged by a few lines of their own, which know
the forms that are used and refuse any other; `promtool`, where it is installed, judges them again
by Prometheus itself.
"""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from cli.__main__ import COMMANDS
from cli.rooms import SERVICES
from cli.watching.alerts import alert_file
from sandbox.installation import CHECKOUT
from shared.publisher import ALARM_KINDS
from tests.demo.host import Host

FILE: Final = CHECKOUT / "deploy" / "alerts.yaml"
OPERATING: Final = CHECKOUT / "docs" / "operating.md"
ALERTS: Final[Sequence[Mapping[str, Any]]] = yaml.safe_load(FILE.read_text())["groups"][0]["rules"]
OF_PROMETHEUS: Final = "up"
EXPRESSION: Final = re.compile(
    r"(?:(?P<function>max by \(service\) |increase|changes|absent)\()?"
    r"(?P<metric>[a-z_]+)(?:\{(?P<matchers>[^}]*)\})?(?:\[(?P<window>\d+)m\])?"
    r"\)?(?: (?P<operator>[<>]) (?P<threshold>[\d.]+))?"
    r"(?: unless on \(service, outbox\) (?P<unless>[a-z_]+) > 0)?"
)
MATCHER: Final = re.compile(r'(\w+)(=~?)"([^"]*)"')
MINUTE_SECONDS: Final = 60
SETTLED_SECONDS: Final = 20
PROMTOOL: Final = shutil.which("promtool") or str(CHECKOUT / ".bangfu" / "promtool" / "promtool")

Series = tuple[str, tuple[tuple[str, str], ...]]
Scrape = dict[Series, float]


@dataclass(frozen=True)
class Expression:
    """One of the forms that the file uses, taken apart."""

    function: str
    metric: str
    matchers: Sequence[tuple[str, str, str]]
    window_minutes: int
    operator: str
    threshold: float
    unless: str = ""

    @classmethod
    def of(cls, text: str) -> Expression:
        found = EXPRESSION.fullmatch(text)
        assert found, f"a form that this test does not know: {text}"
        return cls(
            (found["function"] or "").strip(),
            found["metric"],
            MATCHER.findall(found["matchers"] or ""),
            int(found["window"] or 0),
            found["operator"] or "",
            float(found["threshold"] or 0),
            found["unless"] or "",
        )

    def selected(self, scrape: Scrape) -> Iterator[Series]:
        for series in scrape:
            labels = dict(series[1])
            if series[0] == self.metric and all(
                re.fullmatch(value, labels.get(name, ""))
                if kind == "=~"
                else labels.get(name, "") == value
                for name, kind, value in self.matchers
            ):
                yield series

    def explained(self, series: Series, now: Scrape) -> bool:
        """Whether the metric behind `unless` says why, of the same outbox."""
        about = {n: v for n, v in series[1] if n in ("service", "outbox")}
        return any(
            name == self.unless and about.items() <= dict(labels).items() and value > 0
            for (name, labels), value in now.items()
        )

    def fires(self, before: Scrape, now: Scrape) -> bool:
        """Whether it holds for any series; `before` is the scrape at the window's beginning."""
        chosen = [series for series in self.selected(now) if not self.explained(series, now)]
        if self.function == "absent":
            return not chosen
        values = [now[series] for series in chosen]
        if self.function == "increase":
            values = [now[series] - before[series] for series in chosen]
        elif self.function == "changes":
            # Between two scrapes a value changes once; a value past the limit stands for more.
            values = [now[series] - before[series] for series in chosen]
        elif self.function:
            highest: dict[str, float] = {}
            for series in chosen:
                service = dict(series[1])["service"]
                highest[service] = max(now[series], highest.get(service, -math.inf))
            values = list(highest.values())
        past = float.__gt__ if self.operator == ">" else float.__lt__
        return any(past(float(value), self.threshold) for value in values)


@pytest.fixture(scope="module")
def scrape(duty: Host) -> Scrape:
    """What Prometheus would have of all processes, with what it adds by itself."""
    deadline = time.monotonic() + SETTLED_SECONDS
    while True:
        found = scrape_all(duty)
        ready = [value for (name, _), value in found.items() if name == "bangfu_ready"]
        if all(ready) or time.monotonic() > deadline:
            return found
        time.sleep(0.5)


def scrape_all(duty: Host) -> Scrape:
    """One scrape of each process."""
    found: Scrape = {}
    for service in SERVICES:
        added = {"job": "bangfu", "instance": f"{service}.internal:8000"}
        answer = httpx.get(duty.installation.url(service) + "/metrics", timeout=10)
        for family in text_string_to_metric_families(answer.raise_for_status().text):
            for sample in family.samples:
                labels = {"service": service, **sample.labels, **added}
                found[sample.name, tuple(sorted(labels.items()))] = sample.value
        found[OF_PROMETHEUS, tuple(sorted({"service": service, **added}.items()))] = 1.0
    return found


def named(alert: Mapping[str, Any]) -> str:
    return f"{alert['alert']}: {alert['expr']}"


def past(expression: Expression) -> float:
    return expression.threshold + (1 if expression.operator == ">" else -1)


def made_to_fire(expression: Expression, scrape: Scrape) -> Scrape:
    """The same scrape but for what the rule is about."""
    chosen = list(expression.selected(scrape))
    if expression.function == "absent":
        return {series: value for series, value in scrape.items() if series not in chosen}
    rise = scrape if expression.function in ("increase", "changes") else {}
    return {**scrape, **{each: rise.get(each, 0.0) + past(expression) for each in chosen}}


def test_the_file_is_written_from_the_table_of_the_screen() -> None:
    """One mechanism: `bangfu status` and Prometheus judge by the same rules."""
    assert FILE.read_text(encoding="utf-8") == alert_file(), (
        "python -m cli.watching.alerts > deploy/alerts.yaml"
    )


@pytest.mark.parametrize("alert", ALERTS, ids=named)
def test_every_alert_leads_to_its_place_in_the_handbook(alert: Mapping[str, Any]) -> None:
    """In Chinese and in English, with a command that exists."""
    notes = alert["annotations"]
    page, _, anchor = notes["runbook"].partition("#")
    assert page == "docs/operating.md"
    assert f'<a id="{anchor}"></a>' in OPERATING.read_text(encoding="utf-8")
    for text in (notes["summary"], notes["description"]):
        assert re.search(r"[\u4e00-\u9fff]", text)
        assert re.search(r"[a-z]{3}", text)
    for command in re.findall(r"\./run bangfu ([a-z]+)", notes["command"]):
        assert command in COMMANDS
    assert alert["labels"]["severity"] in ("page", "ticket")


@pytest.mark.parametrize("alert", ALERTS, ids=named)
def test_every_alert_is_about_what_processes_really_tell(
    scrape: Scrape, alert: Mapping[str, Any]
) -> None:
    """A metric or label that is spelled otherwise would never fire, and nobody would notice."""
    expression = Expression.of(alert["expr"])
    chosen = list(expression.selected(scrape))
    assert chosen
    told = set().union(*(dict(series[1]) for series in chosen))
    for label in re.findall(r"\$labels\.(\w+)", str(alert["annotations"])):
        assert label in told | set(alert["labels"])
    for label, _, _ in expression.matchers:
        assert label in told


@pytest.mark.parametrize("alert", ALERTS, ids=named)
def test_every_alert_fires_when_it_should_and_only_then(
    scrape: Scrape, alert: Mapping[str, Any]
) -> None:
    """On what a healthy installation tells, and on the same with that one thing gone wrong."""
    expression = Expression.of(alert["expr"])
    assert not expression.fires(scrape, scrape)
    assert expression.fires(scrape, made_to_fire(expression, scrape))


def alarmed(scrape: Scrape, kind: str) -> Scrape:
    """The same scrape with every outbox behind, and its relay alarmed of this kind."""
    return {
        series: 1.0
        if series[0] == "bangfu_relay_alarm" and ("kind", kind) in series[1]
        else 600.0
        if series[0] == "bangfu_relay_behind_seconds"
        else value
        for series, value in scrape.items()
    }


def test_a_relay_whose_alarm_says_why_is_not_also_told_to_be_behind(scrape: Scrape) -> None:
    """Whoever is paged for the one cause is not paged twice; for another cause they are."""
    behind = next(a for a in ALERTS if a["alert"] == "RelayBehind")
    told = {kind: alarmed(scrape, kind) for kind in (*ALARM_KINDS, "none")}
    firing = {
        kind: {a["alert"] for a in ALERTS if Expression.of(a["expr"]).fires(scrape, now)}
        for kind, now in told.items()
    }
    assert firing == {kind: {"RelayAlarm"} for kind in ALARM_KINDS} | {"none": {behind["alert"]}}


def test_every_kind_of_alarm_has_a_rule() -> None:
    """Also one that a publisher learns to raise later."""
    ruled = {a["labels"].get("kind") for a in ALERTS if a["alert"] == "RelayAlarm"}
    assert ruled == set(ALARM_KINDS)
    raised: set[str] = set()
    for path in (CHECKOUT / "shared").rglob("*.py"):
        raised.update(re.findall(r'Alarm\(\s*"(\w+)"', path.read_text(encoding="utf-8")))
    assert raised == set(ALARM_KINDS)


# By Prometheus itself


def promtool_tests(scrape: Scrape) -> dict[str, Any]:
    """Two tests a rule: on the healthy scrape it is silent, on the broken one it fires."""
    tests = []
    for alert in ALERTS:
        expression = Expression.of(alert["expr"])
        window = max(expression.window_minutes, 1)
        minutes = window + int(str(alert.get("for", "0s")).rstrip("s")) // MINUTE_SECONDS + 2
        chosen = list(expression.selected(scrape))
        broken = made_to_fire(expression, scrape)
        for is_broken in (False, True):
            kept = [each for each in chosen if not is_broken or each in broken]
            series = [
                {
                    "series": _text(each),
                    "values": _values(expression, each, scrape, broken, minutes),
                }
                if is_broken
                else {"series": _text(each), "values": f"{scrape[each]}x{minutes}"}
                for each in kept
            ]
            # One series that is always there, for a rule about what is absent.
            series.append({"series": "another", "values": f"1x{minutes}"})
            about = {**alert["labels"], "alertname": alert["alert"], "alertstate": "firing"}
            count = f"count({_text(('ALERTS', tuple(about.items())))})"
            fired = [{"labels": "{}", "value": _firing(alert, chosen)}] if is_broken else []
            tests.append(
                {
                    "interval": "1m",
                    "input_series": series,
                    "promql_expr_test": [
                        {"expr": count, "eval_time": f"{minutes}m", "exp_samples": fired}
                    ],
                }
            )
    tests.append(
        {
            "interval": "1m",
            "input_series": [
                {"series": _text(series), "values": f"{value}x5"}
                for series, value in alarmed(scrape, ALARM_KINDS[0]).items()
                if series[0] in ("bangfu_relay_alarm", "bangfu_relay_behind_seconds")
            ],
            "promql_expr_test": [
                {
                    "expr": 'count(ALERTS{alertname="RelayBehind"})',
                    "eval_time": "5m",
                    "exp_samples": [],
                }
            ],
        }
    )
    return {"rule_files": [str(FILE)], "evaluation_interval": "1m", "tests": tests}


def _firing(alert: Mapping[str, Any], chosen: Sequence[Series]) -> int:
    """How many alerts stand at the end: one a series, or one a service, or one for an absence."""
    expression = Expression.of(alert["expr"])
    if expression.function.startswith("max"):
        return len({dict(series[1])["service"] for series in chosen})
    return 1 if expression.function == "absent" else len(chosen)


def _values(
    expression: Expression, series: Series, scrape: Scrape, broken: Scrape, minutes: int
) -> str:
    """promtool's notation: `1+2x3` rises by 2 three times."""
    if expression.function in ("increase", "changes"):
        return f"{scrape[series]}+{past(expression)}x{minutes}"
    return f"{broken[series]}x{minutes}"


def _text(series: Series) -> str:
    return series[0] + "{" + ",".join(f'{name}="{value}"' for name, value in series[1]) + "}"


@pytest.mark.skipif(not shutil.which(PROMTOOL), reason="promtool is not installed")
def test_prometheus_judges_the_same(scrape: Scrape, tmp_path: Path) -> None:
    """The file is valid, and every rule fires, by promtool's own evaluation."""
    checked = subprocess.run(
        [PROMTOOL, "check", "config", str(CHECKOUT / "deploy" / "prometheus.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr + checked.stdout
    tests = tmp_path / "tests.yaml"
    tests.write_text(yaml.safe_dump(promtool_tests(scrape)))
    judged = subprocess.run(
        [PROMTOOL, "test", "rules", str(tests)], capture_output=True, text=True, check=False
    )
    assert judged.returncode == 0, judged.stdout + judged.stderr
