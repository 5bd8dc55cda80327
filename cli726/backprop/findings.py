"""Problem 3 in words: each derivative by the chain rule, as formula and number, and what checking it found.

A number has the digits that rounding leaves certain, six at most; "0" alone is exactly 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from cli726.backprop.network import Backprop, Derivative, Variable, asked
from cli726.document import Finding, Math, m
from cli726.document.content import Content, parts
from cli726.text import counted

__all__ = ["certain", "chain", "explain", "formula", "left_side", "output", "swept", "symbol", "typed", "wording"]

PLACES = [place for place in ("Output layer", "Penultimate layer", "First weights") for _ in range(2)]


def certain(value: float, bound: float, digits: int = 6) -> str:
    """Return the digits of a number that an error of `bound` leaves, `digits` at most; "0 ± ..." if none are left."""
    if value == bound == 0:
        return "0"
    kept = digits if bound == 0 else math.floor(math.log10(abs(value) / bound)) if value else 0
    return f"{value:.{min(kept, digits)}g}" if kept > 0 else f"0 ± {2 * (abs(value) + bound):.0e}"


def symbol(letter: str, layer: int, *indices: object) -> str:
    """Return a symbol as typed: `w_12^(3)`, `w_1,12^(3)`, and `x_1` for an output of layer 1."""
    texts = [str(index) for index in indices]
    joined = "".join(texts) if all(len(text) == 1 for text in texts) else ",".join(texts)
    return f"x_{joined}" if (letter, layer) == ("z", 1) else f"{letter}_{joined}^({layer})"


def typed(variable: Variable) -> str:
    """Return the symbol of a variable."""
    if variable.source is None:
        return symbol("a", variable.layer, variable.unit)
    return symbol("w", variable.layer, variable.unit, variable.source)


def left_side(variable: Variable) -> str:
    """Return what a derivative is called: its delta, or dE/dw."""
    if variable.source is None:
        return symbol("delta", variable.layer, variable.unit)
    return f"∂E_n/∂{typed(variable)}"


def above(layer: int, sizes: Sequence[int]) -> tuple[object, str]:
    """Return the index of the units that a layer feeds, and the sum over them where there are several."""
    return (1, "") if sizes[layer] == 1 else ("k", "Σ_k ")


def output(unit: int, sizes: Sequence[int]) -> tuple[str, str]:
    """Return the symbols of an output and its target, which have no index where there is only one."""
    return ("y", "t") if sizes[-1] == 1 else (f"y_{unit}", f"t_{unit}")


def formula(variable: Variable, sizes: Sequence[int]) -> str:
    """Return the right-hand side that back-propagation gives."""
    layer, unit = variable.layer, variable.unit
    if variable.source is not None:
        return f"{symbol('delta', layer + 1, unit)} {symbol('z', layer, variable.source)}"
    if layer == len(sizes):
        return " - ".join(output(unit, sizes))
    k, total = above(layer, sizes)
    return f"h'({typed(variable)}) {total}{symbol('w', layer, k, unit)} {symbol('delta', layer + 1, k)}"


def chain(variable: Variable, sizes: Sequence[int]) -> str:
    """Return the step of the chain rule that gives the formula."""
    layer, unit, name = variable.layer, variable.unit, typed(variable)
    if variable.source is not None:
        a = symbol("a", layer + 1, unit)
        return f"∂E_n/∂{a} · ∂{a}/∂{name}"
    if layer == len(sizes):
        y, t = output(unit, sizes)
        return f"∂E_n/∂{y} · ∂{y}/∂{name} = ({y} - {t}) · 1"
    k, total = above(layer, sizes)
    z, a = symbol("z", layer, unit), symbol("a", layer + 1, k)
    return f"{total}∂E_n/∂{a} · ∂{a}/∂{z} · ∂{z}/∂{name}"


def wording(sizes: Sequence[int]) -> dict[str, Content]:
    """Return each question in brief, for a network of these sizes."""
    result: dict[str, Content] = {}
    for place, (number, variable) in zip(PLACES, asked(sizes).items(), strict=True):
        if isinstance(variable, str):
            result[number] = place
        elif variable.source is not None:
            result[number] = (f"{place}: from it, ", m(left_side(variable)))
        else:
            given: tuple[str | Math, ...] = ()
            if variable.layer < len(sizes):
                k, total = above(variable.layer, sizes)
                words = " in terms of the set of " if total else " in terms of "
                given = (words, m(symbol("delta", variable.layer + 1, k)))
            result[number] = (f"{place}: ", m(f"{left_side(variable)} = ∂E_n/∂{typed(variable)}"), *given)
    return result


def explain(result: Backprop) -> Iterator[Finding]:
    """Yield the answer to each question, and what its check found."""
    sizes = result.network.sizes
    for question, item in result.derivatives.items():
        members = (left_side(item.variable), chain(item.variable, sizes), formula(item.variable, sizes))
        stated = m(" = ".join([*members, certain(item.value, item.bound)]))
        yield Finding(question, (stated, "."), {"value": item.value, "bound": item.bound})
        yield checked(question, item)
    yield from (Finding(question, reason) for question, reason in asked(sizes).items() if isinstance(reason, str))


def checked(question: str, item: Derivative) -> Finding:
    """Return what numerical differentiation makes of a derivative."""
    exact, central = m(f"{item.complex_step:.6g}"), m(f"{item.central_difference:.6g}")
    agrees: Content = ("Check: complex step ", exact, " (relative error ", m(certain(item.complex_error, 0, 1)), ")")
    beside: Content = (" (", m(certain(item.central_error, 0, 1)), ").")
    if item.kink:
        agrees, beside = ("Check: complex step ", exact), ": not testable, a ReLU kink is near."
    elif item.verdict == "failed":
        agrees = ("Wrong: complex step ", exact)
    elif item.lost:
        beside = " (not testable: lost to rounding)."
    evidence = {"complex_step": item.complex_step, "central_difference": item.central_difference}
    return Finding(question, (*parts(agrees), ", central difference ", central, *parts(beside)), evidence)


def swept(sweep: Mapping[str, float]) -> Sequence[str | Math]:
    """Return what the complex step says of all weights."""
    text = f"{sweep['passed']} of {counted(int(sweep['weights']), 'gradient')} confirmed by complex step"
    tested = (" (largest relative error ", m(certain(sweep["worst"], 0, 1)), ")") if sweep["passed"] else ()
    others = {"failed": "wrong", "not_testable": "not testable, a ReLU kink is near"}
    return text, *tested, "".join(f"; {sweep[kind]} {words}" for kind, words in others.items() if sweep[kind])
