"""Problem 4: the gradient of every layer of a deep network, why it is small, when it is exactly zero."""

from cli726.vanishing.figures import figures
from cli726.vanishing.findings import document
from cli726.vanishing.gradients import Saturation, Vanishing, Zeros, analyse, formula
from cli726.vanishing.network import Setting
from cli726.vanishing.tables import magnitude

__all__ = ["Saturation", "Setting", "Vanishing", "Zeros", "analyse", "document", "figures", "formula", "magnitude"]
