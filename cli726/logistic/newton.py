"""The optimum as an answer of its own: `cmpt726 lr newton`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

from cli726.findings import Finding
from cli726.logistic.descent import condition_number
from cli726.logistic.explain import explain_optimum, joined, number
from cli726.logistic.optimum import Optimum, find_optimum
from cli726.logistic.points import Points, center
from cli726.logistic.results import NewtonResult, summarise

__all__ = ["solve"]

# Gradients below this are rounding, and say nothing about the order of convergence.
LAST_DIGITS = 1e-12
# Ratios of curvatures from which gradient descent is slow enough for a sentence.
STEEP = 100


def solve(points: Points, *, centered: bool = False) -> NewtonResult:
    """The weights of least error, by Newton's method with step halving; from w = 0.

    Args:
        points: As they were read.
        centered: Centre the inputs first.

    Raises:
        ComputationError: if the method fails to reach a vanishing gradient.

    Source: Bishop (2006), section 4.3.3.
    """
    used = center(points) if centered else points
    found = find_optimum(used)
    bare = NewtonResult(
        data=used.name,
        points=summarise(used),
        iterations=len(found.iterations) - 1,
        w=found.optimum.w,
        nll=found.optimum.nll,
        gradient_norm=found.iterations[-1].gradient_norm,
        separation=found.separation,
        direction=found.direction,
        rank=found.rank,
        condition=condition_number(used, found),
        path=found.iterations,
        path_w=found.w,
    )
    return replace(bare, findings=tuple(explain_newton(bare)))


def explain_newton(result: NewtonResult) -> Iterator[Finding]:
    """What Newton's method found, and how quickly."""
    yield from explain_optimum(Optimum(result.w, result.nll), result.separation, result.rank, result.points)
    if result.w is None:
        return
    names = [*result.points.features, "bias"]
    weights = joined([f"{w:.5g} ({name})" for w, name in zip(result.w, names, strict=True)])
    yield Finding(
        f"The least error is {result.nll:.6g} at w = {weights}, after {result.iterations} Newton steps; there the "
        f"gradient has length {result.gradient_norm:.1e}.",
        {"w": result.w, "nll": result.nll, "gradient_norm": result.gradient_norm},
    )
    halved = [step for step, state in enumerate(result.path[:-1]) if state.step < 1]
    if halved:
        yield Finding(
            f"The full step would not have lowered the error enough in step {joined(halved)}: it was halved.",
            {"halved": halved},
        )
    yield from explain_order(result)
    if result.condition is not None and result.condition > STEEP:
        yield Finding(
            f"At the optimum the curvature differs {number(result.condition)}-fold between directions: gradient "
            "descent has to go slowly for the steepest and takes long along the flattest; Newton's steps don't notice.",
            {"condition": result.condition},
        )


def explain_order(result: NewtonResult) -> Iterator[Finding]:
    """Quadratic convergence, as far as the gradients show it: the number of right digits doubles."""
    norms = [state.gradient_norm for state in result.path]
    digits = [(one, two) for one, two in itertools.pairwise(norms) if 0 < two < one < 1e-2 and two > LAST_DIGITS]
    if len(digits) >= 2 and all(two < one**1.5 for one, two in digits[-2:]):
        listed = ", ".join(f"{norm:.0e}" for norm in [digits[-2][0], *(two for _, two in digits[-2:])])
        yield Finding(
            f"Near the optimum each step squares the gradient, but for a factor: {listed}.", {"gradient_norm": norms}
        )
