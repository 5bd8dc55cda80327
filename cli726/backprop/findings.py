"""What problem 3's answers say: each derivative by the chain rule, its number and its check; and all units in a table.

A number has the digits that rounding leaves certain, six at most; "0" alone is exactly 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from cli726.backprop import Backprop, Derivative, Variable, asked
from cli726.choices import Hidden
from cli726.document import Content, Document, Finding, Math, Table, m, parts
from cli726.text import counted

PLACES = [place for place in ("Output layer", "Penultimate layer", "First weights") for _ in range(2)]
# More rows than this, or numbers in a cell, and those in the middle, or all but the first two, are left out.
MOST_ROWS, MOST_COLUMNS = 12, 4
UNITS: dict[Hidden, Content] = {
    Hidden.logistic: (m("h(a) = 1/(1 + exp(-a))"), ", so ", m("h'(a) = h(a) (1 - h(a))")),
    Hidden.relu: (m("h(a) = max(0, a)"), ", ", m("h'(a) = 1"), " for ", m("a > 0"), ", else 0"),
}


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
    return symbol("delta", variable.layer, variable.unit) if variable.source is None else f"∂E_n/∂{typed(variable)}"


def above(layer: int, sizes: Sequence[int]) -> tuple[object, str]:
    """Return the index of the units that a layer feeds, and the sum over them where there are several."""
    return (1, "") if sizes[layer] == 1 else ("k", "Σ_k ")


def output(unit: int, sizes: Sequence[int]) -> tuple[str, str]:
    """Return the symbols of an output and its target, which have no index where there is only one."""
    return ("y", "t") if sizes[-1] == 1 else (f"y_{unit}", f"t_{unit}")


def formula(variable: Variable, sizes: Sequence[int]) -> str:
    """Return the right-hand side that back-propagation gives."""
    return steps(variable, sizes)[1]


def steps(variable: Variable, sizes: Sequence[int]) -> tuple[str, str]:
    """Return the step of the chain rule, and the right-hand side that it gives."""
    layer, unit, name = variable.layer, variable.unit, typed(variable)
    if variable.source is not None:
        a = symbol("a", layer + 1, unit)
        right = f"{symbol('delta', layer + 1, unit)} {symbol('z', layer, variable.source)}"
        return f"∂E_n/∂{a} · ∂{a}/∂{name}", right
    if layer == len(sizes):
        y, t = output(unit, sizes)
        return f"∂E_n/∂{y} · ∂{y}/∂{name} = ({y} - {t}) · 1", f"{y} - {t}"
    k, total = above(layer, sizes)
    z, a = symbol("z", layer, unit), symbol("a", layer + 1, k)
    right = f"h'({name}) {total}{symbol('w', layer, k, unit)} {symbol('delta', layer + 1, k)}"
    return f"{total}∂E_n/∂{a} · ∂{a}/∂{z} · ∂{z}/∂{name}", right


def wording(place: str, variable: Variable | str, sizes: Sequence[int]) -> Content:
    """Return a question in brief, for a network of these sizes."""
    if isinstance(variable, str):
        return place
    if variable.source is not None:
        return f"{place}: from it, ", m(left_side(variable))
    name = m(f"{left_side(variable)} = ∂E_n/∂{typed(variable)}")
    if variable.layer == len(sizes):
        return f"{place}: ", name
    k, total = above(variable.layer, sizes)
    terms = "the set of " if total else ""
    return f"{place}: ", name, f" in terms of {terms}", m(symbol("delta", variable.layer + 1, k))


def explain(result: Backprop) -> Iterator[Finding]:
    """Yield the answer to each question, and what its check found."""
    sizes = result.network.sizes
    for question, item in result.derivatives.items():
        stated = [left_side(item.variable), *steps(item.variable, sizes), certain(item.value, item.bound)]
        yield Finding(question, (m(" = ".join(stated)), "."), {"value": item.value, "bound": item.bound})
        evidence = {"complex_step": item.complex_step, "central_difference": item.central_difference}
        yield Finding(question, checked(item), evidence)
    yield from (Finding(question, reason) for question, reason in asked(sizes).items() if isinstance(reason, str))


def checked(item: Derivative) -> Content:
    """Return what numerical differentiation makes of a derivative."""
    exact, central = m(f"{item.complex_step:.6g}"), m(f"{item.central_difference:.6g}")
    agrees: list[str | Math] = [" (relative error ", m(certain(item.complex_error, 0, 1)), ")"]
    beside: list[str | Math] = [" (", m(certain(item.central_error, 0, 1)), ")"]
    if item.kink:
        agrees, beside = [], [": not testable, a ReLU kink is near"]
    elif item.lost:
        beside = [" (not testable: lost to rounding)"]
    verdict = "Wrong" if item.verdict == "failed" else "Check"
    return f"{verdict}: complex step ", exact, *agrees, ", central difference ", central, *beside, "."


def document(result: Backprop) -> Document:
    """Return all that a result says, question by question."""
    sizes = result.network.sizes
    variables = zip(PLACES, asked(sizes).items(), strict=True)
    questions = {number: wording(place, variable, sizes) for place, (number, variable) in variables}
    return Document(lead(result), questions, list(explain(result)), [unit_table(result)])


def listed(texts: Sequence[str]) -> str:
    """Return numbers in brackets, or the first of many; a single one stands alone."""
    shown = texts if len(texts) <= MOST_COLUMNS else [*texts[:2], "..."]
    return texts[0] if len(texts) == 1 else f"({', '.join(shown)})"


def numbers(values: Any, bounds: Any) -> str:
    """Return one number or several, with four certain digits."""
    return listed([certain(*pair, 4) for pair in zip(np.atleast_1d(values), np.atleast_1d(bounds), strict=True)])


def lead(result: Backprop) -> list[Content]:
    """Return the network, what its units do, the data point, and what the forward pass makes of it."""
    sizes, values, bounds = result.network.sizes, result.values, result.bounds
    x, t = (listed([f"{value:.4g}" for value in point]) for point in (result.x, result.t))
    y = numbers(values.outputs[-1], bounds.outputs[-1])
    error = "1/2 (y - t)^2" if sizes[-1] == 1 else "1/2 Σ_k (y_k - t_k)^2"
    network = f"{'-'.join(map(str, sizes))} network, no biases. "
    return [
        (network, *parts(UNITS[result.network.hidden]), "; output ", m("y = a"), "."),
        (m(f"x = {x}, t = {t}"), ": ", m(f"y = {y}, E_n = {error} = {certain(values.error, bounds.error)}"), "."),
    ]


def unit_table(result: Backprop) -> Table:
    """Return a row for each unit: forward, backward, the weights that lead to it and their gradients."""
    units = [(layer, unit) for layer, matrix in enumerate(result.network.weights) for unit in range(len(matrix))]
    half, many = MOST_ROWS // 2, len(units) > MOST_ROWS
    values, bounds = ((n.activations, n.outputs[1:], n.deltas, n.gradients) for n in (result.values, result.bounds))
    rows = []
    for layer, unit in [*units[:half], *units[-half:]] if many else units:
        pairs = zip(values, bounds, strict=True)
        *own, gradients = (numbers(exact[layer][unit], error[layer][unit]) for exact, error in pairs)
        weights = listed([f"{w:.4g}" for w in result.network.weights[layer][unit]])
        rows.append([m(text) for text in (symbol("a", layer + 2, unit + 1), *own, weights, gradients)])
    columns = ("unit", m("a"), m("z"), m("δ"), m("w"), m("∂E_n/∂w"))
    if many:
        rows.insert(half, [m("...")] * len(columns))
    title: list[str | Math] = ["All units"]
    if sweep := result.sweep:
        gradients = counted(int(sweep["weights"]), "gradient")
        title += [f"; {sweep['passed']} of {gradients} confirmed by complex step"]
        title += [" (largest relative error ", m(certain(sweep["worst"], 0, 1)), ")"] if sweep["passed"] else []
        others = {"failed": "wrong", "not_testable": "not testable, a ReLU kink is near"}
        title += [f"; {sweep[kind]} {words}" for kind, words in others.items() if sweep[kind]]
    return Table(title, columns, rows, numeric=len(columns))


def payload(result: Backprop) -> Mapping[str, Any]:
    """Return what `--json` prints; with a single output unit `t` and `output` are numbers, with several lists."""
    sizes, values, y = result.network.sizes, result.values, result.values.outputs[-1]
    return {
        "layers": sizes,
        "hidden": result.network.hidden,
        "x": result.x,
        "t": result.t[0] if len(y) == 1 else result.t,
        "output": y[0] if len(y) == 1 else y,
        "derivatives": [described(item, sizes) for item in result.derivatives.values()],
        "absent": [{"question": key, "reason": why} for key, why in asked(sizes).items() if isinstance(why, str)],
        **values._asdict(),
        "weights": result.network.weights,
        "sweep": result.sweep,
        "findings": list(explain(result)),
    }


def described(item: Derivative, sizes: Sequence[int]) -> Mapping[str, Any]:
    """Return a derivative under the keys of the JSON document; `relative_error` is that of the central difference."""
    name = f"∂E_n/∂{typed(item.variable)}"
    equal = dict.fromkeys((name, left_side(item.variable), formula(item.variable, sizes)))
    return {
        "name": name.replace("∂", "d"),
        "symbol": str(m(name)),
        "formula": str(m(" = ".join(equal))),
        "value": item.value,
        "central_difference": item.central_difference,
        "complex_step": item.complex_step,
        "relative_error": item.central_error,
        "complex_step_relative_error": item.complex_error,
        "complex_step_verdict": item.verdict,
        "not_testable_because": "a ReLU kink is near" if item.kink else "lost to rounding" if item.lost else None,
    }
