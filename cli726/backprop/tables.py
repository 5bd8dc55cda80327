"""Problem 3's setting and evidence, and the document and the JSON that hold everything it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Any

from cli726.backprop.findings import certain, explain, formula, left_side, swept, symbol, typed, wording
from cli726.backprop.network import Backprop, Derivative, asked
from cli726.choices import Hidden
from cli726.document import Document, Table, m
from cli726.document.content import Content, parts

__all__ = ["document", "payload"]

# More rows than this, or numbers in a cell, and those in the middle, or all but the first two, are left out.
MOST_ROWS, MOST_COLUMNS = 12, 4
UNITS: dict[Hidden, Content] = {
    Hidden.logistic: (m("h(a) = 1/(1 + exp(-a))"), ", so ", m("h'(a) = h(a) (1 - h(a))")),
    Hidden.relu: (m("h(a) = max(0, a)"), ", ", m("h'(a) = 1"), " for ", m("a > 0"), ", else 0"),
}


def document(result: Backprop) -> Document:
    """Return all that a result says, question by question."""
    return Document(lead(result), wording(result.network.sizes), list(explain(result)), [unit_table(result)])


def listed(texts: Sequence[str]) -> str:
    """Return numbers in brackets, or the first of many; a single one stands alone."""
    shown = texts if len(texts) <= MOST_COLUMNS else [*texts[:2], "..."]
    return texts[0] if len(texts) == 1 else f"({', '.join(shown)})"


def lead(result: Backprop) -> list[Content]:
    """Return the network, what its units do, the data point, and what the forward pass makes of it."""
    sizes, values, bounds = result.network.sizes, result.values, result.bounds
    x, t = (listed([f"{value:.4g}" for value in numbers]) for numbers in (result.x, result.t))
    y = listed(list(map(certain, values.outputs[-1], bounds.outputs[-1], repeat(4))))
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
    values, bounds = ((n.activations, n.outputs[1:], n.deltas) for n in (result.values, result.bounds))
    rows = []
    for layer, unit in [*units[:half], *units[-half:]] if many else units:
        pairs = zip(values, bounds, strict=True)
        numbers = [certain(exact[layer][unit], error[layer][unit], 4) for exact, error in pairs]
        weights = [f"{w:.4g}" for w in result.network.weights[layer][unit]]
        gradients = map(certain, *(n.gradients[layer][unit] for n in (result.values, result.bounds)), repeat(4))
        cells = (symbol("a", layer + 2, unit + 1), *numbers, listed(weights), listed(list(gradients)))
        rows.append([m(text) for text in cells])
    columns = ("unit", m("a"), m("z"), m("δ"), m("w"), m("∂E_n/∂w"))
    if many:
        rows.insert(half, [m("...")] * len(columns))
    checked = ("; ", *swept(result.sweep)) if result.sweep else ()
    return Table(("All units", *checked), columns, rows, numeric=len(columns))


def payload(result: Backprop) -> Mapping[str, Any]:
    """Return what `--json` prints; with a single output unit `t` and `output` are numbers, with several lists."""
    sizes, values, y = result.network.sizes, result.values, result.values.outputs[-1]
    missing = {number: reason for number, reason in asked(sizes).items() if isinstance(reason, str)}
    return {
        "layers": sizes,
        "hidden": result.network.hidden,
        "x": result.x,
        "t": result.t[0] if len(y) == 1 else result.t,
        "output": y[0] if len(y) == 1 else y,
        "derivatives": [described(item, sizes) for item in result.derivatives.values()],
        "absent": [{"question": number, "reason": reason} for number, reason in missing.items()],
        **values._asdict(),
        "weights": result.network.weights,
        "sweep": result.sweep,
        "findings": list(explain(result)),
    }


def described(item: Derivative, sizes: Sequence[int]) -> Mapping[str, Any]:
    """Return a derivative under the keys of the JSON document; `relative_error` is that of the central difference."""
    name, left, right = f"∂E_n/∂{typed(item.variable)}", left_side(item.variable), formula(item.variable, sizes)
    return {
        "name": name.replace("∂", "d"),
        "symbol": str(m(name)),
        "formula": str(m(f"{name} = {right}" if left == name else f"{name} = {left} = {right}")),
        "value": item.value,
        "central_difference": item.central_difference,
        "complex_step": item.complex_step,
        "relative_error": item.central_error,
        "complex_step_relative_error": item.complex_error,
        "complex_step_verdict": item.verdict,
        "not_testable_because": "a ReLU kink is near" if item.kink else "lost to rounding" if item.lost else None,
    }
