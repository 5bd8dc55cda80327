"""`cmpt726 check`: is an answer right, and if not, where does it differ."""

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli726.choices import Hidden
from cli726.errors import RequestError
from cli726.text import printable, typed_path
from commands.logistic import weights as weights_of
from commands.options import Command, Json, Seed, examples, option, path_option
from commands.render import emit, table

if TYPE_CHECKING:
    from cli726.check import Verdict

EPILOG = examples(
    'cmpt726 check 1.1 "1/3, 1/3, 1/3"', 'cmpt726 check 3.2 "(y - t) * z_2^(3)"', "cmpt726 check 3.5 --hint 1"
)
WRONG = 10


class Check(Command):
    """A command whose answer may begin with a minus sign."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [f" {word}" if re.match(r"-(?!-|h$).", word) else word for word in args])


OTHER, DESCENTS = "Other parameters", "Other parameters of problem 5"
ANSWER = typer.Argument(help="What you found, in quotes; for 5.1 to 5.3 a file. - reads standard input.")
LISTING = option("Show the questions, and how answers are typed.", None, None, "--list")
SOURCE = path_option("TOML file with an answer a line; a table with marks.", "FILE", None, "--from")
HINT = option("Help: the rule, the symbols, a first step.", "1|2|3", None, "--hint", min=1, max=3)
CLASSES = option("A class of problem 1 or 2, as their commands take it; repeat.", "W,W,W", OTHER, "--class")
LAYERS = option("Units in each layer of problem 3, inputs first.", "N,N,...", OTHER)
HIDDEN = option("What hidden units of problem 3 do (default: logistic).", None, OTHER)
X = option("Inputs of problem 3, for answers that are numbers.", "X1,X2,...", OTHER)
T = option("Targets of problem 3, for answers that are numbers.", "T,...", OTHER)
WEIGHTS = path_option("Weights of problem 3, as backprop takes them.", "FILE", OTHER)
DEPTH = option("Layers of weights of problem 4.", "N", OTHER, min=4, max=400)
DATA = path_option("Points (default: bundled).", "FILE", DESCENTS)
ETA = option("Learning rate of the file; repeat for one a column.", "RATE", DESCENTS, "--eta")
START = option("Weights to start from.", "W1,...,BIAS", DESCENTS)
TOL = option("Tolerance of the stopping rule.", "NATS", DESCENTS)
EPOCHS = option("Most epochs.", "N", DESCENTS, min=1, max=100_000)


def check(
    question: Annotated[str | None, typer.Argument(help="Its number, from 1.1 to 5.3.")] = None,
    answer: Annotated[str | None, ANSWER] = None,
    listing: Annotated[bool, LISTING] = False,
    source: Annotated[Path | None, SOURCE] = None,
    hint: Annotated[int | None, HINT] = None,
    classes: Annotated[list[str] | None, CLASSES] = None,
    layers: Annotated[str | None, LAYERS] = None,
    hidden: Annotated[Hidden | None, HIDDEN] = None,
    x: Annotated[str | None, X] = None,
    t: Annotated[str | None, T] = None,
    weights: Annotated[Path | None, WEIGHTS] = None,
    depth: Annotated[int, DEPTH] = 152,
    data: Annotated[Path | None, DATA] = None,
    etas: Annotated[list[float] | None, ETA] = None,
    start: Annotated[str | None, START] = None,
    tol: Annotated[float, TOL] = 1e-5,
    max_epochs: Annotated[int, EPOCHS] = 500,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Say whether an answer is right, and if not, which slip it has and where."""
    from cli726 import check as checks

    if listing:
        forms = [(number, one.form, one.example) for number, one in checks.QUESTIONS.items()]
        payload = {"questions": [dict(zip(("question", "form", "example"), row, strict=True)) for row in forms]}
        columns = ("question", "an answer is", "example")
        return emit(payload, lambda: [table(None, *columns, rows=forms, numeric=9)], as_json=as_json)
    if source is None and question is None:
        raise RequestError('name a question and an answer, as in `cmpt726 check 3.1 "y - t"`, or use --list or --from')
    if hint is not None:
        text = checks.question(question or "").hints[hint - 1]
        return emit({"question": question, "hint": text}, lambda: [text], as_json=as_json)
    parameters = checks.Parameters(
        classes=classes or None, layers=layers, hidden=hidden, x=x, t=t, weights=weights, depth=depth, data=data,
        etas=etas or None, start=weights_of(start), tol=tol, max_epochs=max_epochs, seed=seed,
    )  # fmt: skip
    if source is not None:
        rows, marks = checks.marked(checks.read_answers(source), parameters)
        emit({"answers": rows, "marks": marks}, lambda: mark_table(rows, marks), as_json=as_json)
        status = WRONG if any(row["right"] is False for row in rows) else 2 * any(row["right"] is None for row in rows)
        raise typer.Exit(status)
    asked, text = question or "", typed_answer(question or "", answer)
    verdict = checks.check(asked, text, parameters)
    emit(verdict, lambda: shown(verdict, text), as_json=as_json)
    raise typer.Exit(0 if verdict.right else WRONG)


def typed_answer(question: str, answer: str | None) -> str:
    """Return the answer as text, from standard input or, for problem 5, a file."""
    from cli726 import check as checks
    from cli726.check.descents import read

    asked = checks.question(question)
    if answer is None:
        example = f'`cmpt726 check {question} "{asked.example}"`'
        raise RequestError(f"{question} needs an answer: {asked.form}, as in {example}")
    if question.startswith("5."):
        return sys.stdin.read() if answer == "-" else read(typed_path(answer))
    return (sys.stdin.read() if answer == "-" else answer).strip()


def shown(verdict: "Verdict", text: str) -> Iterator[Any]:
    """Yield what a person reads: the verdict, and a mark under the place of a slip."""
    from rich.text import Text

    yield Text(f"{verdict.question}  {'' if verdict.right else 'wrong: '}{printable(verdict.message)}")
    if verdict.where and "\n" not in text and verdict.where[1] <= 90:
        first, last = verdict.where
        yield Text(f"     {printable(text)}\n     {' ' * (first - 1)}{'^' * (last - first + 1)}")


def mark_table(rows: list[dict[str, Any]], marks: Mapping[str, int]) -> Iterator[Any]:
    """Yield a row for each answer, and the marks."""
    words = {True: "right", False: "wrong", None: "not understood"}
    cells = [(row["question"], words[row["right"]], row["message"]) for row in rows]
    yield table(None, "question", "", "why", rows=cells, numeric=9)
    yield f"{marks['earned']} of {marks['possible']} marks"
