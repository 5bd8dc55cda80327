"""Checks of a student's own answers: right or wrong, and if wrong by one known slip, which and where."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli726.check import descents, formulas, plane
from cli726.check.answers import Judge, Parameters, Slip, Verdict
from cli726.errors import RequestError

__all__ = ["QUESTIONS", "Parameters", "Verdict", "check", "marked", "question", "read_answers"]


@dataclass(frozen=True)
class Question:
    """One question: its marks, the form of an answer, an example, three hints (rule, symbols, first step)."""

    marks: int
    form: str
    example: str
    hints: tuple[str, str, str]
    judge: Judge


CHAIN = (
    "the chain rule: an activation changes the error through the activations that it feeds, and through nothing else"
)
DESCENT = "the gradient of the mean negative log-likelihood: the mean over the points of (y_n - t_n) x_n"
QUESTIONS: Mapping[str, Question] = {
    "1.1": Question(3, "probabilities at the green point, or the point", "1/3, 1/3, 1/3", (
        "the softmax of equal activations", "a1, a2 and a3 at the point where all three boundaries meet",
        "set a1 = a2 and a2 = a3: two linear equations in x1 and x2"), plane.point),
    "1.2": Question(3, "limits along a red line, or its equation", "1/2, 1/2, 0", (
        "the softmax depends on differences of activations only", "the two that tie, and the third",
        "divide numerator and denominator by the exp of the two that tie"), plane.ray),
    "1.3": Question(4, "limits inside a region", "C1: 1, 0, 0", (
        "the softmax depends on differences of activations only", "the differences of the winner from the others",
        "let the distance grow: which difference grows with it?"), plane.far),
    "2.1": Question(3, "formula of y1", "6 + 2 x1^2 + 2 x2^2", (
        "a generalised linear model is linear in the basis functions", "w1 and phi_0, phi_1, phi_2",
        "write the sum of weight times basis function"), formulas.surface),
    "2.2": Question(3, "formula of y2", "8", (
        "a generalised linear model is linear in the basis functions", "w2 and phi_0, phi_1, phi_2",
        "which of its weights are 0?"), formulas.surface),
    "2.3": Question(4, "equation, or region of a class", "C1 where x1^2 + x2^2 > 1", (
        "two regions meet where their scores are equal", "y1 and y2", "set y1 = y2, and collect what has no x"),
        plane.boundary),
    "3.1": Question(5, "formula, or number", "y - t", (
        CHAIN, "E_n, y and t; y = a_1^(4)",
        "differentiate the square; what becomes of the factor 1/2?"), formulas.derivative),
    "3.2": Question(5, "formula, or number", "delta_1^(4) z_2^(3)", (
        CHAIN, "delta_1^(4), and the activation a_1^(4) as a sum of weights times outputs",
        "which term of a_1^(4) has the weight w_12^(3)?"), formulas.derivative),
    "3.3": Question(5, "formula, or number", "h'(a_1^(3)) w_11^(3) delta_1^(4)", (
        CHAIN, "delta_1^(4), the weight between the two, and h' of the unit itself",
        "write d a_1^(4) / d a_1^(3) as two factors, through z_1^(3)"), formulas.derivative),
    "3.4": Question(5, "formula, or number", "delta_1^(3) z_1^(2)", (
        CHAIN, "delta_1^(3), and the outputs of layer 2", "which term of a_1^(3) has the weight w_11^(2)?"),
        formulas.derivative),
    "3.5": Question(5, "formula, or number", "h'(a_1^(2)) sum_k w_k1^(2) delta_k^(3)", (
        CHAIN, "all delta_k^(3), and the weights that leave the unit", "z_1^(2) feeds every a_k^(3): sum over k"),
        formulas.derivative),
    "3.6": Question(5, "formula, or number", "delta_1^(2) x_1", (
        CHAIN, "delta_1^(2), and the inputs", "which term of a_1^(2) has the weight w_11^(1)?"), formulas.derivative),
    "4.1": Question(6, "formula for layer l", "(y - t) z_1^(l) prod_{k=l+1}^{152} w_11^(k) h'(a_1^(k))", (
        CHAIN, "y - t, the output below the weight, and weight and h' of every unit above it",
        "write it for l = 152, then for 151"), formulas.layers),
    "4.2": Question(9, "formula of h'", "h(a) (1 - h(a))", (
        "the quotient rule", "exp(-a) and 1 + exp(-a)", "differentiate 1/u with u = 1 + exp(-a)"), formulas.slope),
    "4.3": Question(7, "condition in words", "some unit of the chain is inactive", (
        "a product is zero if one factor is", "h' of the ReLU: 1 or 0", "which factors has a gradient in a chain?"),
        formulas.condition),
    "4.4": Question(8, "condition in words", "no path of active units leads to the output", (
        "a gradient is a sum over paths", "active units of each layer", "when has a path no factor 0?"),
        formulas.condition),
    "5.1": Question(10, "file: losses or weights by epoch", "losses.csv", (
        DESCENT, "w, eta, and the error before the update", "compare the first two losses with yours"),
        descents.verdict),
    "5.2": Question(15, "file: a column for each rate, or --eta", "losses.csv", (
        DESCENT, "one eta for each descent, and the same start", "start each rate anew from (0.1, 0, 0)"),
        descents.verdict),
    "5.3": Question(15, "file: losses or weights by epoch", "losses.csv", (
        "one point an update, a fresh order in every epoch", "the gradient of one point, not their mean",
        "shuffle at the beginning of every epoch, for the labels are sorted"), descents.verdict),
}  # fmt: skip


def question(number: str) -> Question:
    """Return a question by its number; refuse one that there isn't."""
    if number not in QUESTIONS:
        raise RequestError(f"a question is one of {', '.join(QUESTIONS)}; got {number[:20]!r}; `cmpt726 check --list`")
    return QUESTIONS[number]


def check(number: str, answer: str, parameters: Parameters | None = None) -> Verdict:
    """Return the verdict on one answer.

    Args:
        number: Of the question, "1.1" to "5.3".
        answer: As typed; for problem 5 the text of the file.

    Raises:
        RequestError: for an answer that isn't understood (`Misread`), or a question that there isn't.
    """
    asked = question(number)
    if not answer.strip():
        raise RequestError(f"an answer must not be empty; {number} takes a {asked.form}, such as {asked.example}")
    found = asked.judge(number, answer, parameters or Parameters())
    if isinstance(found, Slip):
        return Verdict(number, False, found.name, found.where, found.message)
    return Verdict(number, True, None, None, found)


def read_answers(path: Path) -> dict[str, str]:
    """Return the answers in a TOML file: a line `"3.1" = "y - t"` for each; of problem 5 the texts of the files named.

    Raises:
        RequestError: for a file that isn't that.
    """
    try:
        found = tomllib.loads(descents.read(path))
    except tomllib.TOMLDecodeError as error:
        raise RequestError(f'{path} must be TOML with lines such as "3.1" = "y - t"; {error}') from None
    except RecursionError:
        raise RequestError(f"{path} must be TOML with lines of question and answer; it is nested too deep") from None
    answers = {}
    for key, value in found.items():
        for number, answer in (
            ((f"{key}.{k}", v) for k, v in value.items()) if isinstance(value, dict) else [(key, value)]
        ):
            question(number)
            if isinstance(answer, dict | list):
                kind = type(answer).__name__
                raise RequestError(f"{path}: an answer is one text; {number} has {kind}; put it in quotes")
            answers[number] = descents.read(path.parent / str(answer)) if number[0] == "5" else str(answer)
    if not answers:
        raise RequestError(f'{path} holds no answers; write lines such as "3.1" = "y - t"')
    return answers


def marked(answers: Mapping[str, str], parameters: Parameters) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Return the verdict on each of several answers, `right` None where it isn't understood, and the marks."""
    rows: list[dict[str, Any]] = []
    for number, answer in answers.items():
        try:
            rows.append(dict(vars(check(number, answer, parameters))))
        except RequestError as error:
            rows.append({"question": number, "right": None, "slip": None, "where": None, "message": str(error)})
    earned = sum(QUESTIONS[row["question"]].marks for row in rows if row["right"])
    return rows, {"earned": earned, "possible": sum(QUESTIONS[number].marks for number in answers)}
