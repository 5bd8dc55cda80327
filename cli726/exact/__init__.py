"""Numbers exactly as they were typed: decimals become fractions, and fractions become text again."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

from cli726.document import Finding, Math, Table, m
from cli726.errors import RequestError
from cli726.exact.envelope import Spot

__all__ = [
    "both", "classes", "decimal", "equation", "extent", "finding", "marked", "named", "number", "place", "place_table",
    "polynomial", "root", "table",
]  # fmt: skip

DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,2})?|[+-]?\d+/0*[1-9]\d*", re.ASCII)
LONGEST = 40
# Between these bounds (and below LONGEST) everything that we derive still fits a float64.
SMALLEST, LARGEST = Fraction(1, 10**30), Fraction(10**30)
SHORT = 12

Triple = tuple[Fraction, Fraction, Fraction]


def number(text: str) -> Fraction:
    """Return the fraction that `text` stands for, "1.5", "2e-3" or "3/22".

    Raises:
        RequestError: not a finite number, or too large, too small or too long to compute with.
    """
    typed = text.strip()
    if len(typed) <= LONGEST and DECIMAL.fullmatch(typed):
        value = Fraction(typed)
        if value == 0 or SMALLEST <= abs(value) <= LARGEST:
            return value
    raise RequestError(
        f"a number must be finite, 0 or between 1e-30 and 1e30 in size, and at most {LONGEST} characters long; "
        f'got "{text[:LONGEST]}"; write it like 1.5, -2e-3 or 3/22'
    )


def classes(texts: Sequence[str], names: Sequence[str]) -> tuple[Triple, ...]:
    """Return the weights of each class as a user typed them: three numbers, for messages with `names`, after commas.

    Raises:
        RequestError: fewer than two classes, another count of numbers, or a part that is no number.
    """
    if len(texts) < 2:
        example = 'as in --class "3,1,1" --class "1,3,2"'
        raise RequestError(f"at least two classes are needed, got {len(texts)}; repeat --class for each, {example}")
    result = []
    for text in texts:
        parts = text.split(",")
        if len(parts) != 3:
            raise RequestError(
                f"a class takes three numbers, {','.join(names)}; got {len(parts)} in "
                f'"{text[:LONGEST]}"; write it like --class "3,1,1"'
            )
        first, second, third = map(number, parts)
        result.append((first, second, third))
    return tuple(result)


def extent(text: str) -> Fraction:
    """Return half the width of axes; refuse what is not above 0, and what `number` refuses."""
    value = number(text)
    if value <= 0:
        raise RequestError(f"--extent must be above 0, got {text}; write it like --extent 5")
    return value


def decimal(value: Fraction) -> str:
    """Return `value` in full: as a decimal where that ends ("1.5"), else as a fraction ("1/3")."""
    places = value.denominator.bit_length()
    if 10**places % value.denominator:
        return str(value)
    return format(Decimal(f"{value * 10**places}e-{places}"), "f").rstrip("0").rstrip(".")


def both(value: Fraction) -> str:
    """Return `value` in full, a fraction with its decimal, "23/22 ~= 1.045"; six digits of a long one."""
    text = decimal(value)
    if len(text) > SHORT:
        return f"~= {float(value):.6g}"
    return f"{text} ~= {float(value):.4g}" if "/" in text else text


def place(x: tuple[Fraction, Fraction]) -> str:
    """Return a point as `both` does a number: "(3/22, -4/11) ~= (0.1364, -0.3636)"."""
    if max(len(str(value)) for value in x) > SHORT:
        return f"~= ({float(x[0]):.6g}, {float(x[1]):.6g})"
    text = f"({x[0]}, {x[1]})"
    return f"{text} ~= ({float(x[0]):.4g}, {float(x[1]):.4g})" if "/" in text else text


def named(numbers: Iterable[int], joint: str = ", ") -> str:
    """Return the names of classes, counted from 1: "C1, C2"; with "|" as joint the name of a boundary: "C1|C2"."""
    return joint.join(f"C{k}" for k in numbers)


def marked(text: str) -> list[str | Math]:
    """Return the parts of a sentence in which mathematics stands between backticks."""
    return [m(part) if k % 2 else part for k, part in enumerate(text.split("`")) if part]


def finding(question: str, text: str, **evidence: Any) -> Finding:
    """Return a sentence in which mathematics stands between backticks."""
    return Finding(question, marked(text), evidence)


def table(
    title: str, columns: Iterable[str], rows: Iterable[Iterable[str]], question: str = "", numeric: int = 9
) -> Table:
    """Return a table in whose texts mathematics stands between backticks."""
    cells = [[marked(cell) for cell in row] for row in rows]
    return Table(marked(title), [marked(column) for column in columns], cells, question, numeric)


def place_table(title: str, item: Spot, name: str, heights: Sequence[Fraction], **more: Sequence[str]) -> Table:
    """Return what holds at one point, a row for each class: its height, `more` by column, and which are the largest."""
    rows = [
        (f"`C{k}`", f"`{both(height)}`", *texts, "largest" if k in item.tied else "")
        for k, (height, *texts) in enumerate(zip(heights, *more.values(), strict=True), 1)
    ]
    return table(f"{title} `{place(item.exact)}`", ("class", name, *more, ""), rows, numeric=1)


def polynomial(terms: Iterable[tuple[Fraction, str]]) -> str:
    """Return a sum of coefficient times name without zero terms: "3 x1 - 1.5 x2 + 2"; "0" if none is left."""
    result = ""
    for coefficient, name in terms:
        if coefficient:
            size = decimal(abs(coefficient))
            body = name if size == "1" and name else f"{size} {name}".strip()
            sign = "-" if coefficient < 0 else "+"
            result += f" {sign} {body}" if result else body if coefficient > 0 else f"-{body}"
    return result or "0"


def equation(coefficients: Sequence[Fraction], names: Sequence[str], constant: Fraction, relation: str = "=") -> str:
    """Return `sum of coefficient * name + constant = 0` in smallest integers, the first positive: "2 x1 - 2 x2 = 1".

    With ">" as relation it is the part of the plane in which the left side is positive.
    """
    values = [*coefficients, -constant]
    multiple = math.lcm(*(value.denominator for value in values))
    whole = [int(value * multiple) for value in values]
    divisor = math.gcd(*whole) or 1
    if next((value for value in whole if value), 1) < 0:
        divisor, relation = -divisor, {">": "<"}.get(relation, relation)
    *scaled, right = (Fraction(value, divisor) for value in whole)
    return f"{polynomial(zip(scaled, names, strict=True))} {relation} {right}"


def root(square: Fraction) -> str:
    """Return the square root of `square` (not negative): "3/2" where it is rational, else "sqrt(3/2)"."""
    exact = Fraction(math.isqrt(square.numerator), math.isqrt(square.denominator))
    return str(exact) if exact**2 == square else f"sqrt({square})"
