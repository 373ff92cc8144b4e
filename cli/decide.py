"""`bangfu decide FILE`: answers a JSON list of questions. No database, no broker, no clock."""

from pathlib import Path
from typing import Annotated, Final

import typer
from pydantic import ValidationError

from cli.answers import Answer, answer, written
from cli.failures import file_failed
from cli.faults import bad_input
from cli.questions import read_questions
from cli.strict_json import BadInput, read_json, refuse_flaws
from services.eligibility.rules.parameter_document import (
    Reading,
    UnsoundDocument,
    read_document,
)

SHIPPED_PARAMETERS: Final = (
    Path(__file__).resolve().parents[1] / "services/eligibility/parameters/sample-city.json"
)
STANDARD_INPUT: Final = "-"
REFUSED: Final = 2

_CONTRADICTIONS: Final = {
    "effective_from": "两个版本同日生效",
    "effective_to": "截止日与其他日期矛盾",
}


def decide(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="问题列表 questions, a JSON list; - 标准输入")
    ],
    parameters: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="参数文件 parameter file; 缺省为随附参数 shipped"),
    ] = None,
) -> None:
    """按规则回答资格、金额与公示期问题 answer questions of class, award and notice."""
    try:
        if file == STANDARD_INPUT == parameters:
            raise BadInput("--parameters", (), "标准输入只能读一次 standard input is read once")
        questions = _bytes_of(file, "FILE")
        chosen = None if parameters is None else _bytes_of(parameters, "--parameters")
        answers = answers_to(questions, chosen)
    except BadInput as refused:
        typer.echo(str(refused), err=True)
        raise typer.Exit(REFUSED) from None
    typer.echo(written(answers), nl=False)


def answers_to(questions: bytes, parameters: bytes | None = None) -> list[Answer]:
    """Answer the questions in a JSON text, in their order, with their traces.

    `parameters` is the text of a parameter file; None means the parameters shipped. Raise
    `BadInput` for the first thing that is wrong in either: then nothing is answered.
    """
    if parameters is None:
        parameters = SHIPPED_PARAMETERS.read_bytes()
    reading = read_parameters(parameters)
    return [answer(read, reading) for read in read_questions(questions)]


def read_parameters(data: bytes) -> Reading:
    """Read the text of a parameter file; raise `BadInput` with the field's path."""
    place = "parameters"
    document = read_json(data, place)
    refuse_flaws(document, place)
    try:
        return read_document(document)
    except ValidationError as error:
        raise bad_input(place, error) from None
    except UnsoundDocument as error:
        chinese = _CONTRADICTIONS.get(str(error.path[-1]), "节假日数据矛盾")
        raise BadInput(place, error.path, f"{chinese} {error}") from None


def _bytes_of(name: str, place: str) -> bytes:
    try:
        if name == STANDARD_INPUT:
            return typer.get_binary_stream("stdin").read()
        return Path(name).read_bytes()
    except (RuntimeError, ValueError):
        # No such stream was given to this process, or a name that no file can have.
        raise BadInput(place, (), "无法读取 cannot be read: 没有输入 no input") from None
    except OSError as error:
        raise BadInput(place, (), file_failed(Path(name), error)) from None
