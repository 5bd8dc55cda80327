"""Problem 5: logistic regression by gradient descent, stochastic gradient descent and Newton's method, explained."""

from cli726.logistic.descent import compare, gradient_descent
from cli726.logistic.newton import solve
from cli726.logistic.points import Points, center, load_points
from cli726.logistic.results import Comparison, GradientDescent, NewtonResult, StochasticComparison
from cli726.logistic.stochastic import stochastic_descent

__all__ = [
    "Comparison",
    "GradientDescent",
    "NewtonResult",
    "Points",
    "StochasticComparison",
    "center",
    "compare",
    "gradient_descent",
    "load_points",
    "solve",
    "stochastic_descent",
]
