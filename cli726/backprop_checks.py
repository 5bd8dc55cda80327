"""Problem 3's checks: every derivative against the central difference and the complex step, with bounds on rounding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cli726.choices import Hidden
from cli726.gradient_check import CENTRAL_STEP, Check, Verdict, check_central, check_complex
from cli726.layered_network import LayeredNetwork, Pass, Variable, error_of, forward

__all__ = ["Bench", "Sweep", "check_all"]

Array = NDArray[np.float64]
# Each weight costs a forward pass.
MOST_CHECKED = 2_000


@dataclass(frozen=True)
class Sweep:
    """The complex step applied to every weight.

    Attributes:
        weights: How many were checked.
        worst: The largest relative error; None if every derivative is zero.
        passed, failed, not_testable: How many of each verdict.
    """

    weights: int
    worst: float | None
    passed: int
    failed: int
    not_testable: int


@dataclass(frozen=True)
class Bench:
    """What checking needs: the network at one data point, and the bounds on rounding there."""

    network: LayeredNetwork
    x: Array
    t: Array
    passed: Pass
    error_bound: float
    delta_bounds: Sequence[Array]
    gradient_bounds: Sequence[Array]

    def error(self, variable: Variable, shift: complex) -> Any:
        return error_of(forward(self.network, self.x, variable, shift), self.t)

    def pattern(self, variable: Variable, shift: float) -> list[bool]:
        """Which hidden units are active."""
        hidden = forward(self.network, self.x, variable, shift).activations[:-1]
        return [bool(active) for a in hidden for active in a > 0]

    def on_kink(self, variable: Variable) -> bool:
        """Whether a ReLU unit that the variable moves stands exactly at 0."""
        if self.network.hidden is not Hidden.relu:
            return False
        hidden = forward(self.network, self.x, variable, 1e-20j).activations[:-1]
        return any(bool(np.any((a.real == 0) & (a.imag != 0))) for a in hidden)

    def complex_check(self, variable: Variable, value: float) -> Check:
        if variable.source is None:
            bound = self.delta_bounds[variable.layer - 2][variable.unit - 1]
        else:
            bound = self.gradient_bounds[variable.layer - 1][variable.unit - 1, variable.source - 1]
        return check_complex(
            value,
            lambda shift: complex(self.error(variable, shift)),
            0.0,
            rounding=float(bound),
            kink=self.on_kink(variable),
        )

    def central_check(self, variable: Variable, value: float) -> Check:
        """The step is measured where the variable acts: a weight shifts its unit's activation by the step times z."""
        if variable.source is None:
            at, reach = self.passed.activations[variable.layer - 2][variable.unit - 1], 1.0
        else:
            at = self.network.weights[variable.layer - 1][variable.unit - 1, variable.source - 1]
            reach = max(1.0, abs(float(self.passed.outputs[variable.layer - 1][variable.source - 1])))
        step = CENTRAL_STEP * max(1.0, abs(float(at))) / reach
        kink = self.network.hidden is Hidden.relu and (
            self.on_kink(variable) or self.pattern(variable, step) != self.pattern(variable, -step)
        )
        return check_central(
            value,
            lambda shift: float(self.error(variable, shift)),
            0.0,
            step=step,
            rounding=self.error_bound,
            kink=kink,
        )


def check_all(bench: Bench, gradients: Sequence[Array]) -> Sweep | None:
    """The complex step for every weight, where there are few enough."""
    if sum(gradient.size for gradient in gradients) > MOST_CHECKED:
        return None
    checks = [
        bench.complex_check(Variable(layer, unit + 1, source + 1), float(value))
        for layer, gradient in enumerate(gradients, start=1)
        for (unit, source), value in np.ndenumerate(gradient)
    ]
    verdicts = [check.verdict for check in checks]
    return Sweep(
        weights=len(checks),
        worst=max((check.relative_error for check in checks if check.relative_error is not None), default=None),
        passed=verdicts.count(Verdict.passed),
        failed=verdicts.count(Verdict.failed),
        not_testable=verdicts.count(Verdict.not_testable),
    )
