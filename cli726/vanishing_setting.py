"""What problem 4 is asked about: the network that somebody typed, and its formula in the assignment's notation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cli726.choices import Connect, Dtype, Hidden
from cli726.deep_network import DeepNetwork, build
from cli726.exact import number
from cli726.live_paths import DeadNetworks, simulate_dead
from cli726.notation import indexed, subscript, superscript
from cli726.vectors import vector

__all__ = ["Setting", "dead_networks", "formula", "slope_formula"]


@dataclass(frozen=True)
class Setting:
    """What somebody asked for.

    Attributes:
        depth: Layers of weights.
        weight: "1" for every weight, "normal:0.5" for random ones.
        bias: Of every unit, as typed; None for no biases.
        x: The two inputs, as typed.
        t: The target, as typed.
        dtype: Format of the plain computation.
        seed: Of random weights.
    """

    depth: int = 152
    weight: str = "1"
    bias: str | None = None
    x: str = "1,1"
    t: str = "0.5"
    dtype: Dtype = Dtype.float64
    seed: int = 0

    @property
    def bias_value(self) -> float:
        return 0.0 if self.bias is None else float(vector(self.bias, 1, "--bias")[0])

    def network(self, hidden: Hidden, connect: Connect) -> DeepNetwork:
        """The network that this describes.

        Raises:
            RequestError: for a value that makes none.
        """
        return build(
            hidden,
            connect,
            depth=self.depth,
            weight=self.weight,
            bias=self.bias_value,
            x=vector(self.x, 2, "--x"),
            t=float(vector(self.t, 1, "--t")[0]),
            seed=self.seed,
        )


def formula(connect: Connect, depth: int) -> str:
    """dE/dw of every layer in the assignment's notation."""
    product = f"∏{subscript('k')}₌ₗ₊₁{superscript(depth)}"
    if connect is Connect.chain:
        return (
            f"∂Eₙ/∂{indexed('w', 'l', 1, 1)} = (y − t) {indexed('z', 'l', 1)} {product} "
            f"{indexed('w', 'k', 1, 1)} h′({indexed('a', 'k', 1)})"
        )
    return f"∂Eₙ/∂wᵢⱼ⁽ˡ⁾ = (y − t) zⱼ⁽ˡ⁾ Σ over paths from unit i to y of {product} w⁽ᵏ⁾ h′(a⁽ᵏ⁾)"


def slope_formula(hidden: Hidden) -> str:
    """h' of hidden units."""
    if hidden is Hidden.logistic:
        return "h′(a) = h(a) (1 − h(a)) ≤ 1/4"
    return "h′(a) = 1 for a > 0, else 0"


def dead_networks(setting: Setting, units: Iterable[int] = (1, 2, 4, 10)) -> tuple[DeadNetworks, ...]:
    """Random bipartite ReLU networks of the setting's depth, biases and, if it draws them, deviation of weights."""
    kind, _, deviation = setting.weight.partition(":")
    scale = float(number(deviation)) if kind == "normal" else 1.0
    return tuple(
        simulate_dead(n, setting.depth - 1, deviation=scale, bias=setting.bias_value, seed=setting.seed) for n in units
    )
