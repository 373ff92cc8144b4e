"""`bangfu decide`: every worked example, and every input that is refused."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as hypothesis_given
from hypothesis import settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from cli.__main__ import app
from cli.decide import SHIPPED_PARAMETERS, answers_to
from cli.strict_json import BadInput
from tests.worked_examples import EXAMPLES, PARAMETERS, given, name_of

ROOT = Path(__file__).resolve().parents[2]
PARAMETERS_TEXT = json.dumps(PARAMETERS).encode()
REMOVED = object()


def answers(questions: list[Any], parameters: bytes | None = PARAMETERS_TEXT) -> list[Any]:
    return answers_to(json.dumps(questions).encode(), parameters)


def refusal(questions: bytes, parameters: bytes | None = PARAMETERS_TEXT) -> str:
    with pytest.raises(BadInput) as raised:
        answers_to(questions, parameters)
    line = str(raised.value)
    assert len(line.splitlines()) == 1
    assert len(line) < 400
    line.encode("utf-8")
    return line


def parameters_refusal(document: Any) -> str:
    return refusal(b"[]", json.dumps(document).encode())


def changed(document: Any, path: str, value: Any) -> Any:
    """A copy of `document` with the value at a dotted path replaced, added or removed."""
    copy = json.loads(json.dumps(document))
    *way, last = path.split(".")
    place = copy
    for step in way:
        place = place[int(step) if isinstance(place, list) else step]
    if value is REMOVED:
        del place[last]
    else:
        place[int(last) if isinstance(place, list) else last] = value
    return copy


@pytest.mark.parametrize("parameters", [PARAMETERS_TEXT, None], ids=["given", "shipped"])
@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_worked_example(example: dict[str, Any], parameters: bytes | None) -> None:
    [answer] = answers([example["given"]], parameters)
    assert {name: answer[name] for name in example["expect"]} == example["expect"]


def test_all_questions_are_answered_in_order_from_a_file_and_from_standard_input(
    tmp_path: Path,
) -> None:
    text = json.dumps([example["given"] for example in EXAMPLES])
    (tmp_path / "questions.json").write_text(text)
    (tmp_path / "parameters.json").write_bytes(PARAMETERS_TEXT)
    options = ["--parameters", str(tmp_path / "parameters.json")]
    from_file = CliRunner().invoke(app, ["decide", str(tmp_path / "questions.json"), *options])
    from_input = CliRunner().invoke(app, ["decide", "-", *options], input=text)
    assert from_file.exit_code == from_input.exit_code == 0
    assert from_file.stdout == from_input.stdout
    found = json.loads(from_file.stdout)
    assert len(found) == len(EXAMPLES)
    for example, answer in zip(EXAMPLES, found, strict=True):
        assert {name: answer[name] for name in example["expect"]} == example["expect"]


def test_no_question_has_no_answer() -> None:
    assert answers([]) == []
    result = CliRunner().invoke(app, ["decide", "-"], input="[]")
    assert json.loads(result.stdout) == []


def test_the_command_runs_alone_in_a_bare_environment(tmp_path: Path) -> None:
    """No database, no broker, no clock, no locale."""
    (tmp_path / "questions.json").write_text(json.dumps([given("W01"), given("W34")]))
    command = [sys.executable, "-P", "-m", "cli", "decide", "questions.json"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.defpath, "LC_ALL": "C"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True)
    assert [each["outcome"] for each in json.loads(done.stdout)] == ["eligible", "no_rule"]
    assert done.stderr == b""


def test_a_refusal_is_one_line_exit_two_and_nothing_written() -> None:
    fine, wrong = given("W06"), changed(given("W06"), "incident.occurred_on", "2015-13-01")
    text = json.dumps([fine, fine, fine, wrong])
    result = CliRunner().invoke(app, ["decide", "-"], input=text)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("question 3: incident.occurred_on: ")
    assert result.stderr.count("\n") == 1


def test_the_trace_shows_other_funds_and_the_year(tmp_path: Path) -> None:
    [answer] = answers([given("W47")])
    assert answer["trace"]["aided_by_others_fen"] == {"sample-district": 504000}
    [refused] = answers([given("W16")])
    assert refused["cap_year"] == 2015
    assert "amount_fen" not in refused


BAD_FIELDS: list[tuple[str, str, Any]] = [
    # example, path of the changed and blamed field, its value
    ("W01", "members", 0),
    ("W01", "members", True),
    ("W01", "members", 5.0),
    ("W01", "members", "3"),
    ("W01", "members", None),
    ("W01", "members", 2**53),
    ("W01", "income_12m_fen", -1),
    ("W01", "income_12m_fen", 1.5),
    ("W01", "income_12m_fen", float("nan")),
    ("W01", "income_12m_fen", float("inf")),
    ("W01", "income_12m_fen", 2**53),
    ("W01", "income_12m_fen", [1]),
    ("W01", "income_12m_fen", REMOVED),
    ("W01", "hardship_after_relief", REMOVED),
    ("W01", "hardship_after_relief", 1),
    ("W01", "hardship_after_relief", "true"),
    ("W01", "incident", REMOVED),
    ("W01", "incident", []),
    ("W01", "causes", None),
    ("W01", "causes", "illness"),
    ("W02", "causes.0", "poverty"),
    ("W02", "causes.0", None),
    ("W01", "relief", "Receiving"),
    ("W01", "relief", None),
    ("W01", "kind", "eligible"),
    ("W01", "kind", REMOVED),
    ("W01", "kind", ["eligibility"]),
    ("W01", "fund", 7),
    ("W01", "fund", ""),
    ("W01", "fund", "\ud800"),
    ("W01", "residence", 990802),
    ("W01", "applied_on", "2015-02-29"),
    ("W01", "applied_on", "20151008"),
    ("W01", "applied_on", "2015-W41-4"),
    ("W01", "applied_on", "2015-10-8"),
    ("W01", "applied_on", "2015-10-08T00:00:00"),
    ("W01", "applied_on", 20151008),
    ("W01", "applied_on", None),
    ("W01", "members_", 3),
    ("W01", "asked_fen", 1),
    ("W06", "incident.occurred_on", "2015-10-09"),
    ("W06", "incident.kind", "fire"),
    ("W06", "incident.hardship_found", REMOVED),
    ("W06", "incident.hardship_found", 0),
    ("W06", "incident.place", "home"),
    ("W13", "asked_fen", 0),
    ("W13", "asked_fen", True),
    ("W13", "asked_fen", REMOVED),
    ("W13", "student", "S1"),
    ("W13", "loss_fen", 1),
    ("W13", "self_paid_fen", 1),
    ("W13", "programme", "food"),
    ("W13", "programme", REMOVED),
    ("W13", "prior", REMOVED),
    ("W13", "prior", {}),
    ("W13", "household", REMOVED),
    ("W13", "decided_on", "0000-01-01"),
    ("W19", "members", 0),
    ("W19", "members", None),
    ("W15", "prior.4.amount_fen", -1),
    ("W15", "prior.1.amount_fen", REMOVED),
    ("W15", "prior.1.cap_year", "2015"),
    ("W15", "prior.1.cap_year", 0),
    ("W15", "prior.1.programme", "training"),
    ("W15", "prior.1.fund", None),
    ("W15", "prior.1.note", "x"),
    ("W15", "prior.1", None),
    ("W25a", "prior.0.student", REMOVED),
    ("W30b", "prior.0.self_paid_fen", REMOVED),
    ("W30b", "prior.0.self_paid_fen", -1),
    ("W33", "prior.0.incident_id", REMOVED),
    ("W21", "school", REMOVED),
    ("W21", "student", None),
    ("W26", "patient", REMOVED),
    ("W26", "self_paid_fen", REMOVED),
    ("W26", "self_paid_fen", -1),
    ("W26", "asked_fen", 1),
    ("W29", "self_paid_fen", 1),
    ("W29", "total_fen", REMOVED),
    ("W29", "reimbursed_fen", REMOVED),
    ("W29", "reimbursed_fen", 3812015),
    ("W29", "reimbursed_fen.1", -1),
    ("W29", "reimbursed_fen", [5231846, 1]),
    ("W32a", "loss_fen", -1),
    ("W32a", "incident_id", REMOVED),
    ("T1", "unit", "calendar"),
    ("T1", "unit", None),
    ("T1", "posted_on", REMOVED),
    ("T1", "interrupted", None),
    ("T1", "household", "H1"),
    ("T5", "interrupted.0.down", "2015-10-11"),
    ("T5", "interrupted.0.reposted", "2015-10-13"),
    ("T5", "interrupted.0.reposted", REMOVED),
    ("T5", "interrupted.0.down", None),
]


@pytest.mark.parametrize(("example", "path", "value"), BAD_FIELDS)
def test_a_bad_field_is_refused_with_index_and_path(example: str, path: str, value: Any) -> None:
    wrong = changed(given(example), path, value)
    line = refusal(json.dumps([given("W01"), wrong, {}]).encode())
    assert line.startswith(f"question 1: {path}: ")


def test_the_edge_of_what_is_bad_is_answered() -> None:
    """An incident on the application day, a bill wholly reimbursed, the largest exact sum."""
    incident = changed(given("W06"), "incident.occurred_on", given("W06")["applied_on"])
    bill = given("W29", reimbursed_fen=[5231846])
    rich = given("W01", income_12m_fen=2**53 - 1)
    same_day = given("T5", interrupted=[{"down": "2015-10-12", "reposted": "2015-10-12"}])
    found = answers([incident, bill, rich, same_day])
    assert found[0]["primary"] == "stricken"
    assert found[1]["reason"] == "NOTHING_DUE"
    assert found[2]["reason"] == "ABOVE_MARGIN"
    assert found[3]["last_day"] == "2015-10-19"


@pytest.mark.parametrize(
    ("interrupted", "path"),
    [
        ([("2015-10-14", None), ("2015-10-15", "2015-10-16")], "interrupted.1.down"),
        ([("2015-10-14", "2015-10-16"), ("2015-10-15", None)], "interrupted.1.down"),
    ],
)
def test_interruptions_out_of_order_are_refused(
    interrupted: list[tuple[str, str | None]], path: str
) -> None:
    entries = [{"down": down, "reposted": reposted} for down, reposted in interrupted]
    line = refusal(json.dumps([given("T5", interrupted=entries)]).encode())
    assert line.startswith(f"question 0: {path}: ")


@pytest.mark.parametrize("text", ["5.0", "1e2", "1E2", "-0.0", "NaN", "-Infinity", "9" * 5000])
def test_a_number_in_another_form_is_refused_where_it_stands(text: str) -> None:
    raw = json.dumps([given("W01", members="HERE")]).replace('"HERE"', text)
    assert refusal(raw.encode()).startswith("question 0: members: ")


def test_a_doubled_key_is_refused_wherever_it_stands() -> None:
    text = json.dumps([given("W01"), given("W06")])
    assert refusal(text.replace('"members":', '"fund": "x", "members":').encode()).startswith(
        "question 0: fund: "
    )
    doubled = text.replace('"hardship_found":', '"kind": "accident", "hardship_found":')
    assert refusal(doubled.encode()).startswith("question 1: incident.kind: ")


@pytest.mark.parametrize(
    "data",
    [
        b"", b" ", b"{}", b"null", b"3", b'"[]"', b"NaN", b"5.0", b"[", b"[,]", b"[1,]", b"[] []",
        b"[]x", b"{'a': 1}", b"\xff\xfe[\x00]\x00", b"\xef\xbb\xbf[]", b'["\xff"]', b"[01]",
        b'["a\nb"]', b"[" * 100_000, b'{"a":' * 100_000, b"[" * 100_000 + b"]" * 100_000, b"\x00",
    ],
)  # fmt: skip
def test_text_that_is_no_json_list_is_refused(data: bytes) -> None:
    assert refusal(data).startswith("questions: ")


@pytest.mark.parametrize("question", [None, 1, "x", [], True, 1.5])
def test_a_question_that_is_no_object_is_refused(question: Any) -> None:
    assert refusal(json.dumps([given("W01"), question]).encode()).startswith("question 1: ")


def test_values_are_not_echoed_and_names_are_kept_on_one_line() -> None:
    """A value may be personal; a name may hold anything."""
    secret = "张三 999999199001011234"
    assert secret not in refusal(json.dumps([given("W01", relief=secret)]).encode())
    assert "secret" not in refusal(json.dumps([given("W01", members="secret")]).encode())
    hostile = "a\nquestion 9: b\u2028\u202e" + "x" * 5000
    line = refusal(json.dumps([given("W01", **{hostile: 1})]).encode())
    assert line.startswith("question 0: a\\u000aquestion 9: b\\u2028\\u202e")
    assert refusal(b'[{"\\ud800": 1}]').startswith("question 0: \\ud800: ")
    deep = b'[{"fund": ' + b"[" * 500 + b"1.5" + b"]" * 500 + b"}]"
    assert refusal(deep).startswith("question 0: fund.0.0")


VERSION = "fund_rules.sample-city.0"
BAD_PARAMETERS: list[tuple[str, Any]] = [
    ("lines", REMOVED),
    ("school_living_cost", REMOVED),
    ("lines", []),
    ("lines.990802", {}),
    ("lines.990802.0", 3),
    ("lines.990802.1.fen", -1),
    ("lines.990802.1.fen", 45000.0),
    ("lines.990802.1.fen", True),
    ("lines.990802.1.fen", "45000"),
    ("lines.990802.1.fen", 10**400),
    ("lines.990802.1.effective_from", "2015-01-01"),
    ("lines.990802.1.effective_from", "2015-02-30"),
    ("lines.990802.1.effective_to", "2016-06-30"),
    ("lines.990802.0.effective_to", "2016-07-01"),
    ("lines.990802.0.effective_to", 1),
    ("lines.990802.0.announced_on", REMOVED),
    ("lines.990802.0.source", 1),
    ("lines.990802.0.yuan", 420),
    ("city_standard.sample-city.0.fen", None),
    (f"{VERSION}.marginal_percent", -1),
    (f"{VERSION}.medical_rate_percent", 101),
    (f"{VERSION}.medical_rate_percent", float("nan")),
    (f"{VERSION}.notice_days", 0),
    (f"{VERSION}.notice_unit", "days"),
    (f"{VERSION}.living_single_fen", REMOVED),
    (f"{VERSION}.fen", 1),
    ("school_living_cost.school-a", "600"),
    ("school_living_cost.school-a", {"fen": 1}),
    ("rules", {}),
    ("note", 1),
]


@pytest.mark.parametrize(("path", "value"), BAD_PARAMETERS)
def test_a_bad_parameter_is_refused_with_its_path(path: str, value: Any) -> None:
    line = parameters_refusal(changed(PARAMETERS, path, value))
    assert line.startswith(f"parameters: {path}: ")


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{", b"\xff"])
def test_a_parameter_file_that_is_none_is_refused(data: bytes) -> None:
    assert refusal(b"[]", data).startswith("parameters: ")


def test_every_number_of_a_rule_comes_from_the_parameters() -> None:
    """Other parameters, other answers: nothing of the sample stands in the code."""
    rules = {
        "marginal_percent": 100,
        "living_single_fen": 7,
        "education_annual_fen": 11,
        "medical_rate_percent": 50,
        "medical_annual_fen": 13,
        "disaster_single_fen": 17,
        "notice_days": 1,
        "notice_unit": "working",
    }
    document = changed(PARAMETERS, VERSION, {**PARAMETERS["fund_rules"]["sample-city"][0], **rules})
    questions = [given(name) for name in ("W05", "W13", "W21", "W26", "W32a")]
    notice = given("T1")
    del notice["unit"]
    found = answers([*questions, notice], json.dumps(document).encode())
    assert found[0]["classes"] == ["marginal"]
    assert [answer["amount_fen"] for answer in found[1:5]] == [7, 11, 13, 17]
    assert found[5]["last_day"] == "2015-09-15"
    months = changed(PARAMETERS, f"{VERSION}.education_months", 3)
    [school] = answers([given("W22")], json.dumps(months).encode())
    assert (school["amount_fen"], school["binding"]) == (114000, "education.school")


def test_entered_holidays_publish_a_further_year() -> None:
    holidays = {"2099": {"rest_days": ["2099-03-09"], "working_days": []}}
    [answer] = answers([given("T8")], json.dumps({**PARAMETERS, "holidays": holidays}).encode())
    assert (answer["last_day"], answer["sign_from"]) == ("2099-03-10", "2099-03-11")


@pytest.mark.parametrize(
    "arguments",
    [["decide", "/nowhere/questions.json"], ["decide", "/"],
     ["decide", "-", "--parameters", "/nowhere/parameters.json"],
     ["decide", "-", "--parameters", "-"]],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_one_clear_line(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments, input="[]")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith(("FILE: ", "--parameters: "))


def test_the_shipped_parameters_are_where_the_command_looks() -> None:
    assert json.loads(SHIPPED_PARAMETERS.read_text("utf-8"))["fund_rules"]["sample-city"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    | st.sampled_from(["2015-10-08", "living", "eligibility", "sample-city", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner,
                                                                max_size=3),
    max_leaves=6,
)  # fmt: skip


def paths(value: Any, before: tuple[str, ...] = ()) -> list[str]:
    children = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for step, child in children:
        path = (*before, str(step))
        found.append(".".join(path))
        if isinstance(child, dict | list):
            found += paths(child, path)
    return found


@settings(deadline=None)
@hypothesis_given(st.data())
def test_nonsense_is_answered_or_refused_but_never_breaks(data: st.DataObject) -> None:
    """One value of one good question becomes anything at all; the same in the parameter file."""
    question = data.draw(st.sampled_from(EXAMPLES))["given"]
    document: Any = PARAMETERS
    if data.draw(st.booleans()):
        question = changed(question, data.draw(st.sampled_from(paths(question))), data.draw(JSON))
    else:
        document = changed(document, data.draw(st.sampled_from(paths(document))), data.draw(JSON))
    try:
        found = answers_to(json.dumps([question]).encode(), json.dumps(document).encode())
    except BadInput as refused:
        line = str(refused)
        assert len(line.splitlines()) == 1
        assert line.startswith(("question 0: ", "parameters: "))
    else:
        json.dump(found, io.StringIO(), allow_nan=False)


@hypothesis_given(st.binary(max_size=60))
def test_any_bytes_that_are_no_list_are_refused_cleanly(data: bytes) -> None:
    result = CliRunner().invoke(app, ["decide", "-"], input=data)
    if result.exit_code == 0:
        assert json.loads(result.stdout) == json.loads(data) == []
    else:
        assert (result.exit_code, result.stdout) == (2, "")
        assert len(result.stderr.splitlines()) == 1
