"""Problem 5: logistic regression by gradient descent, stochastic gradient descent and Newton's method, explained."""

from cli726.logistic.descent import RATES, Comparison, GradientDescent, compare, gradient_descent
from cli726.logistic.optimum import NewtonResult, solve
from cli726.logistic.points import Points, center, load_points
from cli726.logistic.stochastic import StochasticComparison, stochastic_descent
from cli726.logistic.tables import document

__all__ = [
    "RATES", "Comparison", "GradientDescent", "NewtonResult", "Points", "StochasticComparison", "center", "compare",
    "document", "gradient_descent", "load_points", "solve", "stochastic_descent",
]  # fmt: skip
