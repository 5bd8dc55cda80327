"""Problem 3's setting and evidence, and the document and the JSON that hold everything it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cli726.backprop.findings import certain, chain, explain, formula, left_side, swept, symbol, typed, wording
from cli726.backprop.network import Backprop, Derivative, asked
from cli726.choices import Hidden
from cli726.document import Document, Table, m
from cli726.document.content import Content

__all__ = ["document", "payload"]

# Beyond this a layer is summed up in a row, and of many layers those in the middle are left out.
MOST_ROWS, MOST_COLUMNS = 12, 4
UNITS = {
    Hidden.logistic: ("h(a) = 1/(1 + exp(-a))", "h'(a) = h(a) (1 - h(a))"),
    Hidden.relu: ("h(a) = max(0, a)", "h'(a) = 1 (a > 0), 0 (a < 0)"),
}


def document(result: Backprop) -> Document:
    """Return all that a result says, question by question."""
    sizes = result.network.sizes
    small = sum(sizes[1:]) <= MOST_ROWS and max(sizes[:-1]) <= MOST_COLUMNS
    table = unit_table(result) if small else layer_table(result)
    return Document(lead(result), wording(sizes), list(explain(result)), [table])


def listed(texts: Sequence[str]) -> str:
    """Return numbers in brackets, or the first of many; a single one stands alone."""
    shown = texts if len(texts) <= MOST_COLUMNS else [*texts[: MOST_COLUMNS - 1], "..."]
    return texts[0] if len(texts) == 1 else f"({', '.join(shown)})"


def lead(result: Backprop) -> list[Content]:
    """Return the network, what its units do, the data point, and what the forward pass makes of it."""
    sizes, y, hidden = result.network.sizes, result.passed.outputs[-1], result.network.hidden
    x, t = (listed([f"{value:.4g}" for value in values]) for values in (result.x, result.t))
    values = listed([certain(value, bound, 4) for value, bound in zip(y, result.bounds.outputs[-1], strict=True)])
    error = "1/2 (y - t)^2" if len(y) == 1 else "1/2 Σ_k (y_k - t_k)^2"
    found = m(f"E_n = {error} = {certain(result.error, result.bounds.error)}")
    units = (m(UNITS[hidden][0]), ", so ", m(UNITS[hidden][1]), "; ") if len(sizes) > 2 else ()
    return [
        (f"{'-'.join(map(str, sizes))} network, no biases. ", *units, "output ", m("y = a"), "."),
        (m(f"x = {x}, t = {t}"), ": ", m(f"y = {values}"), ", ", found, "."),
    ]


def unit_table(result: Backprop) -> Table:
    """Return a row for each unit: forward, backward, the weights that lead to it and their gradients."""
    bounds, rows = result.bounds, []
    for layer, (weights, gradients) in enumerate(zip(result.network.weights, result.gradients, strict=True)):
        pairs = (
            (result.passed.activations[layer], bounds.activations[layer]),
            (result.passed.outputs[layer + 1], bounds.outputs[layer + 1]),
            (result.deltas[layer], bounds.deltas[layer]),
        )
        for unit, row in enumerate(weights):
            numbers = [certain(values[unit], errors[unit], 4) for values, errors in pairs]
            exact = [certain(*pair, 4) for pair in zip(gradients[unit], bounds.gradients[layer][unit], strict=True)]
            texts = (symbol("a", layer + 2, unit + 1), *numbers, listed([f"{w:.4g}" for w in row]), listed(exact))
            rows.append([m(text) for text in texts])
    columns = ("unit", m("a"), m("z"), m("δ"), m("w"), m("∂E_n/∂w"))
    return Table(title(result, "Every unit and every gradient"), columns, rows, numeric=len(columns))


def title(result: Backprop, what: str) -> Content:
    """Return what the table of all gradients shows, and what checking them found."""
    return what if result.sweep is None else (f"{what}; ", *swept(result.sweep))


def layer_table(result: Backprop) -> Table:
    """Return a row for each matrix of weights: its shape and its largest gradient."""
    rows: list[Sequence[Content]] = []
    for layer, (matrix, bounds) in enumerate(zip(result.gradients, result.bounds.gradients, strict=True), start=1):
        place = abs(matrix).argmax()
        largest = certain(abs(matrix.flat[place]), bounds.flat[place], 4)
        rows.append((m(f"w^({layer})"), f"{len(matrix)} x {matrix.shape[1]}", m(largest)))
    if len(rows) > MOST_ROWS:
        rows[MOST_ROWS // 2 : -MOST_ROWS // 2] = [("...", "...", "...")]
    return Table(title(result, "Every matrix of weights"), ("weights", "shape", ("largest ", m("|∂E_n/∂w|"))), rows)


def described(item: Derivative, sizes: Sequence[int]) -> Mapping[str, Any]:
    """Return a derivative under the keys of the JSON document; `relative_error` is that of the central difference."""
    name, left = f"∂E_n/∂{typed(item.variable)}", left_side(item.variable)
    right = f"{'' if left == name else f'{left} = '}{formula(item.variable, sizes)}"
    return {
        "question": item.question,
        "name": name.replace("∂", "d"),
        "symbol": str(m(name)),
        "chain_rule": str(m(chain(item.variable, sizes))),
        "formula": str(m(f"{name} = {right}")),
        "value": item.value,
        "central_difference": item.central_difference,
        "complex_step": item.complex_step,
        "relative_error": item.central_error,
        "complex_step_relative_error": item.complex_error,
        "complex_step_verdict": item.verdict,
        "not_testable_because": "a ReLU kink is near" if item.kink else "lost to rounding" if item.lost else None,
    }


def payload(result: Backprop) -> Mapping[str, Any]:
    """Return what `--json` prints; with a single output unit `t` and `output` are numbers, with several lists."""
    sizes, y = result.network.sizes, result.passed.outputs[-1]
    missing = {number: reason for number, reason in asked(sizes).items() if isinstance(reason, str)}
    return {
        "layers": sizes,
        "hidden": result.network.hidden,
        "x": result.x,
        "t": result.t[0] if len(y) == 1 else result.t,
        "output": y[0] if len(y) == 1 else y,
        "error": result.error,
        "derivatives": [described(item, sizes) for item in result.derivatives],
        "absent": [{"question": number, "reason": reason} for number, reason in missing.items()],
        "activations": result.passed.activations,
        "outputs": result.passed.outputs,
        "deltas": result.deltas,
        "weights": result.network.weights,
        "gradients": result.gradients,
        "sweep": result.sweep,
        "findings": list(explain(result)),
    }
