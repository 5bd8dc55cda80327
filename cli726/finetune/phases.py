"""The plan of a run: stretches of epochs, each with its cut between frozen and trained stages."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from cli726.errors import RequestError, did_you_mean
from cli726.text import listed

__all__ = ["CUTS", "HEAD_ONLY", "STAGES", "Phase", "plan"]

STAGES = ("stem", "layer1", "layer2", "layer3", "pool")
HEAD_ONLY = len(STAGES)
# How many stages stay frozen, from the input, for each value of --unfreeze.
CUTS = {"layer3": 3, "layer2": 2, "layer1": 1, "all": 0}
# Of a number of epochs: Python refuses to read numbers of thousands.
MOST_DIGITS = 10


@dataclass(frozen=True)
class Phase:
    """A stretch of epochs that trains the same layers.

    Attributes:
        position: 0 for the first phase.
        name: "head", or the value of --unfreeze that is in force.
        cut: How many stages are frozen, from the input: 5 trains the head alone, 0 everything.
        first, last: Its epochs, both included, numbered through from 1.
    """

    position: int
    name: str
    cut: int
    first: int
    last: int

    @property
    def epochs(self) -> int:
        return self.last - self.first + 1

    @property
    def trains(self) -> tuple[str, ...]:
        """The stages that train, from the input on, and the head."""
        return (*(stage for stage in STAGES[self.cut :] if stage != "pool"), "head")

    @property
    def label(self) -> str:
        """The trained layers in a few words, for a bar of progress."""
        if self.cut == 0:
            return "the whole network"
        return listed([*self.trains[:-1], "the head"])


def parse_steps(text: str, default: str) -> list[tuple[int, str]]:
    """Return `--unfreeze-after`, "5" or "5:layer3,10:all", as pairs (epochs before, how much to turn on)."""
    steps = []
    for part in text.split(","):
        number, colon, how_much = part.strip().partition(":")
        if not (number.isascii() and number.isdigit() and len(number) < MOST_DIGITS) or (colon and not how_much):
            raise RequestError(
                f"--unfreeze-after must be N or N:STAGE,N:STAGE; got {text}; for example 5:layer3,10:all"
            )
        if how_much and how_much not in CUTS:
            near = did_you_mean(how_much, CUTS)
            raise RequestError(f"--unfreeze-after knows the stages {', '.join(CUTS)}; got {how_much}{near}")
        steps.append((int(number), how_much or default))
    for (earlier, before), (later, after) in pairwise(steps):
        if later <= earlier or CUTS[after] >= CUTS[before]:
            raise RequestError(f"--unfreeze-after must turn on more at later epochs; got {text}; try 5:layer3,10:all")
    return steps


def plan(epochs: int, unfreeze_after: str | None, unfreeze: str | None) -> tuple[Phase, ...]:
    """Return the phases of a run, planned from three options.

    Raises:
        RequestError: where the rest would be turned on at or after the end, or gradual unfreezing runs backwards.
    """
    if unfreeze_after is None:
        steps = [] if unfreeze is None else [(0, unfreeze)]
    else:
        if unfreeze is not None and ":" in unfreeze_after:
            raise RequestError(
                f"--unfreeze {unfreeze} and --unfreeze-after {unfreeze_after} both name stages; give one"
            )
        steps = parse_steps(unfreeze_after, unfreeze or "all")
    if steps and steps[-1][0] >= epochs:
        raise RequestError(
            f"--unfreeze-after must be below --epochs, {epochs}; got {unfreeze_after}; "
            f"try --epochs {steps[-1][0] * 2 or 1}"
        )
    starts = [(0, "head", HEAD_ONLY), *((after, name, CUTS[name]) for after, name in steps)]
    ends = [start for start, _, _ in starts[1:]] + [epochs]
    spans = [(name, cut, start + 1, end) for (start, name, cut), end in zip(starts, ends, strict=True) if end > start]
    return tuple(Phase(position, *span) for position, span in enumerate(spans))
