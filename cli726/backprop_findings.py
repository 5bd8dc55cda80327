"""Problem 3's findings: what the checks found, what the usual slips would have given, where gradients shrink."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from cli726.backprop_checks import Bench, Sweep
from cli726.choices import Hidden
from cli726.findings import Finding
from cli726.gradient_check import CENTRAL_TOLERANCE, COMPLEX_TOLERANCE, Check, Verdict, relative_error
from cli726.layered_network import slope

__all__ = ["Derivative", "explain"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Derivative:
    """One derivative that the assignment asks for.

    Attributes:
        name: As the assignment types it.
        symbol: The same in Unicode.
        formula: What back-propagation makes of it, in the assignment's notation.
        value: Its value.
        central: The check by central difference.
        complex: The check by complex step.
    """

    name: str
    symbol: str
    formula: str
    value: float
    central: Check
    complex: Check


@dataclass(frozen=True)
class Slip:
    """A usual mistake, what it would have given, and how far that is from the right value.

    Attributes:
        what: The mistake.
        value: The wrong value.
        relative_error: Between the wrong and the right value.
    """

    what: str
    value: float
    relative_error: float


def slips(bench: Bench, deltas: Sequence[Array]) -> Iterator[Slip]:
    """The usual mistakes that this network can tell from the right answer."""
    network = bench.network
    y, output = bench.passed.outputs[-1][:1], float(deltas[-1][0])
    mistakes = [
        ("h′ at the identity output", float(slope(y, Hidden.logistic)[0]) * output, output),
        ("the factor ½ forgotten", 2 * output, output),
    ]
    if len(network.weights) >= 3:
        first, second = bench.passed.activations[:2]
        matrix, right = network.weights[1], float(deltas[0][0])
        rate, wrong_rate = float(slope(first, network.hidden)[0]), float(slope(second, network.hidden)[0])
        if matrix.shape[0] == matrix.shape[1]:
            mistakes.append(("w₁ₖ⁽²⁾ for wₖ₁⁽²⁾", rate * float(matrix[0] @ deltas[1]), right))
        mistakes.append(("h′(a₁⁽³⁾) for h′(a₁⁽²⁾)", wrong_rate * float(matrix[:, 0] @ deltas[1]), right))
    for what, wrong, right in mistakes:
        error = relative_error(right, wrong)
        if error is not None and error > CENTRAL_TOLERANCE:
            yield Slip(what, wrong, error)


def explain(
    bench: Bench,
    derivatives: Sequence[Derivative],
    sweep: Sweep | None,
    deltas: Sequence[Array],
    gradients: Sequence[Array],
) -> Iterator[Finding]:
    """What the numbers show, each sentence only while it holds."""
    yield from explain_checks(derivatives)
    if sweep is not None:
        yield explain_sweep(sweep)
    caught = list(slips(bench, deltas))
    if caught:
        listed = "; ".join(f"{slip.what} gives {slip.value:.3g}" for slip in caught)
        yield Finding(f"Usual slips that the checks would catch here: {listed}.", {"slips": caught})
    sizes = [float(np.sqrt(np.mean(gradient**2))) for gradient in gradients]
    if len(sizes) > 1 and all(lower < upper for lower, upper in pairwise(sizes)):
        shown = ", ".join(f"{size:.2g}" for size in sizes)
        logistic = "each hidden layer on the way multiplies by h′ ≤ 1/4 and by weights"
        why = logistic if bench.network.hidden is Hidden.logistic else "the weights on the way, since h′ is 0 or 1"
        yield Finding(
            f"Gradients shrink towards the input (root mean square by layer, from 1: {shown}): {why}.",
            {"rms_gradient": sizes},
        )
    zeros = sum(int(np.sum(gradient == 0)) for gradient in gradients)
    if zeros:
        total = sum(gradient.size for gradient in gradients)
        yield Finding(f"{zeros} of {total} gradients are exactly 0.", {"zero_gradients": zeros, "total_weights": total})


def explain_checks(derivatives: Sequence[Derivative]) -> Iterator[Finding]:
    """What the checks of the derivatives asked for found."""
    central = [item.central for item in derivatives]
    exact = [item.complex for item in derivatives]
    failed = sum(check.verdict is Verdict.failed for check in central + exact)
    if failed:
        yield Finding(f"{failed} checks failed: a formula and its numerical derivative disagree.", {"failed": failed})
    if all(check.verdict is Verdict.passed for check in central + exact):
        worst_central, worst_exact = worst(central), worst(exact)
        yield Finding(
            f"All {len(derivatives)} derivatives agree with the central difference to {worst_central:.1g} "
            f"(limit {CENTRAL_TOLERANCE:.0e}) and with the complex step to {worst_exact:.1g} "
            f"(limit {COMPLEX_TOLERANCE:.0e}).",
            {"central_difference": worst_central, "complex_step": worst_exact},
        )
    for item in derivatives:
        for method, check in (("central difference", item.central), ("complex step", item.complex)):
            if check.verdict is Verdict.not_testable:
                yield Finding(f"{item.symbol} is not testable by {method}: {check.reason}.", {"value": item.value})


def worst(checks: Sequence[Check]) -> float:
    """The largest relative error."""
    return max((check.relative_error or 0.0 for check in checks), default=0.0)


def explain_sweep(sweep: Sweep) -> Finding:
    """What the complex step found over all weights."""
    if sweep.failed:
        text = f"{sweep.failed} of {sweep.weights} gradients disagree with the complex step."
    else:
        beyond = f", {sweep.not_testable} not testable" if sweep.not_testable else ""
        size = "all are exactly 0" if sweep.worst is None else f"worst relative error {sweep.worst:.1g}"
        text = f"Every weight checked by complex step: {sweep.passed} of {sweep.weights} pass{beyond}; {size}."
    return Finding(text, {"sweep": sweep})
