"""Numbers exactly as they were typed: decimals become fractions, and fractions become text again."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from fractions import Fraction

from cli726.errors import RequestError

__all__ = [
    "both",
    "decimal",
    "equation",
    "number",
    "pair",
    "point",
    "point_both",
    "polynomial",
    "positive",
    "root",
    "short",
]

DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,2})?|[+-]?\d+/\d+", re.ASCII)
LONGEST = 40
# Between these bounds (and below LONGEST) everything that we derive still fits a float64.
SMALLEST, LARGEST = Fraction(1, 10**30), Fraction(10**30)
SHORT = 12

Triple = tuple[Fraction, Fraction, Fraction]
# Integers up to this size still read well in an equation.
READABLE = 10**6


def number(text: str) -> Fraction:
    """The fraction that `text` stands for: "1.5", "2e-3" or "3/22".

    Raises:
        RequestError: not a finite number, or too large, too small or too long to compute with.
    """
    typed = text.strip()
    if len(typed) <= LONGEST and DECIMAL.fullmatch(typed) and not re.search(r"/0+$", typed):
        value = Fraction(typed)
        if value == 0 or SMALLEST <= abs(value) <= LARGEST:
            return value
    raise RequestError(
        f"a number must be finite, 0 or between 1e-30 and 1e30 in size, and at most {LONGEST} characters long; "
        f'got "{text[:LONGEST]}"; write it like 1.5, -2e-3 or 3/22'
    )


def classes(texts: Sequence[str], names: tuple[str, str, str]) -> tuple[Triple, ...]:
    """The weights of each class as a user typed them, three numbers separated by commas.

    Args:
        texts: One for each class.
        names: What the numbers are, for the message.

    Raises:
        RequestError: fewer than two classes, another count of numbers, or a part that is no number.
    """
    if len(texts) < 2:
        raise RequestError(
            f"at least two classes are needed, got {len(texts)}; repeat --class for each, "
            'as in --class "3,1,1" --class "1,3,2"'
        )
    result = []
    for text in texts:
        parts = text.split(",")
        if len(parts) != len(names):
            raise RequestError(
                f"a class takes three numbers, {','.join(names)}; got {len(parts)} in "
                f'"{text[:LONGEST]}"; write it like --class "3,1,1"'
            )
        first, second, third = map(number, parts)
        result.append((first, second, third))
    return tuple(result)


def pair(texts: tuple[str, str]) -> tuple[Fraction, Fraction]:
    """The two coordinates of a point.

    Raises:
        RequestError: one of them is no number.
    """
    return number(texts[0]), number(texts[1])


def positive(text: str, option: str) -> Fraction:
    """A number above 0.

    Raises:
        RequestError: no number, or not above 0.
    """
    value = number(text)
    if value <= 0:
        raise RequestError(f"{option} must be above 0, got {text}; write it like {option} 5")
    return value


def decimal(value: Fraction) -> str:
    """`value` in full: as a decimal where that ends ("1.5"), else as a fraction ("1/3")."""
    places = 0
    rest = value.denominator
    for factor in (2, 5):
        power = 0
        while rest % factor == 0:
            rest //= factor
            power += 1
        places = max(places, power)
    if rest != 1:
        return str(value)
    digits = str(abs(value.numerator) * 10**places // value.denominator).zfill(places + 1)
    whole, part = (digits[:-places], digits[-places:]) if places else (digits, "")
    return ("-" if value < 0 else "") + whole + ("." + part if part else "")


def short(value: Fraction) -> str:
    """`value` for reading: in full where that is short, else to six digits."""
    full = decimal(value)
    return full if len(full) <= SHORT else f"{float(value):.6g}"


def both(value: Fraction) -> str:
    """`value` in full, a fraction with its decimal: "23/22 = 1.045"."""
    full = decimal(value)
    return f"{full} = {float(value):.4g}" if "/" in full and len(full) <= SHORT else short(value)


def point(x: tuple[Fraction, Fraction]) -> str:
    """A point as exact fractions where they are short, else to six digits: "(3/22, -4/11)"."""
    texts = [str(value) if len(str(value)) <= SHORT else f"{float(value):.6g}" for value in x]
    return f"({', '.join(texts)})"


def point_both(x: tuple[Fraction, Fraction]) -> str:
    """A point as in `point`, fractions with their decimals: "(3/22, -4/11) = (0.1364, -0.3636)"."""
    text = point(x)
    return f"{text} = ({float(x[0]):.4g}, {float(x[1]):.4g})" if "/" in text else text


def polynomial(terms: Iterable[tuple[Fraction, str]], *, exact: bool = True) -> str:
    """A sum of coefficient times name, zero terms left out: "3 x1 - 1.5 x2 + 2"; "0" if none is left."""
    result = ""
    for coefficient, name in terms:
        if coefficient == 0:
            continue
        size = decimal(abs(coefficient)) if exact else short(abs(coefficient))
        body = name if size == "1" and name else f"{size} {name}".strip()
        negative = coefficient < 0
        if result:
            result += f" {'-' if negative else '+'} {body}"
        else:
            result = f"{'-' if negative else ''}{body}"
    return result or "0"


def equation(
    coefficients: Sequence[Fraction],
    names: Sequence[str],
    constant: Fraction,
    *,
    relation: str = "=",
    exact: bool = True,
) -> str:
    """`sum of coefficient * name + constant = 0` in smallest integers, the first positive: "2 x1 - 2 x2 = 1".

    Args:
        coefficients, names, constant: The left side.
        relation: "=", or ">" for the part of the plane in which the left side is positive.
        exact: If false, long integers give way to six digits of the coefficients over the largest of them, and "≈".
    """
    values = [*coefficients, -constant]
    multiple = math.lcm(*(value.denominator for value in values))
    whole = [int(value * multiple) for value in values]
    divisor = math.gcd(*whole) or 1
    if next((value for value in whole if value), 1) < 0:
        divisor, relation = -divisor, {">": "<"}.get(relation, relation)
    scaled = [Fraction(value, divisor) for value in whole]
    if exact or max(abs(value) for value in scaled) < READABLE:
        return f"{polynomial(zip(scaled[:-1], names, strict=True))} {relation} {scaled[-1]}"
    largest = max(abs(value) for value in scaled[:-1]) or Fraction(1)
    rounded = [Fraction(f"{float(value / largest):.6g}") for value in scaled]
    left = polynomial(zip(rounded[:-1], names, strict=True), exact=False)
    return f"{left} {'≈' if relation == '=' else relation} {short(rounded[-1])}"


def root(square: Fraction) -> str:
    """The square root of `square` (not negative): "3/2" where it is rational, else "sqrt(3/2)"."""
    above, below = math.isqrt(square.numerator), math.isqrt(square.denominator)
    if above**2 == square.numerator and below**2 == square.denominator:
        return str(Fraction(above, below))
    return f"sqrt({square})"
