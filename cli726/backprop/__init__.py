"""Problem 3: error back-propagation in a network of any layer sizes, with the assignment's numbers or one's own."""

from cli726.backprop.example import example
from cli726.backprop.network import Backprop, Derivative, LayeredNetwork, Variable, solve
from cli726.backprop.tables import document, payload

__all__ = ["Backprop", "Derivative", "LayeredNetwork", "Variable", "document", "example", "payload", "solve"]
