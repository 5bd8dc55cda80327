"""The plan of a run: stretches of epochs, each with its cut between frozen and trained stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from cli726.errors import RequestError, did_you_mean
from cli726.finetune.backbones import RESNET20, cuts_of
from cli726.text import listed

# Of a number of epochs: Python refuses to read numbers of thousands.
MOST_DIGITS = 10


@dataclass(frozen=True)
class Phase:
    """A stretch of epochs that trains the same layers.

    Attributes:
        position: 0 for the first phase.
        name: "head", or the value of --unfreeze that is in force.
        cut: How many stages are frozen, from the input: all of them to train the head alone, 0 to train everything.
        first, last: Its epochs, both included, numbered through from 1.
        stages: Those of the backbone, from input to output.
        gentle: Few images for a large network: what is unfrozen keeps BatchNorm's statistics as they are, is trained
            at a tenth of the head's rate, and ends early.
    """

    position: int
    name: str
    cut: int
    first: int
    last: int
    stages: tuple[str, ...] = RESNET20.stages
    gentle: bool = False

    @property
    def head_only(self) -> bool:
        return self.cut == len(self.stages)

    @property
    def epochs(self) -> int:
        return self.last - self.first + 1

    @property
    def trains(self) -> tuple[str, ...]:
        """Return the stages that train, from the input on, and the head."""
        return (*(stage for stage in self.stages[self.cut :] if stage != "pool"), "head")

    @property
    def label(self) -> str:
        """Return the trained layers in a few words, for a bar of progress."""
        if self.cut == 0:
            return "the whole network"
        return listed([*self.trains[:-1], "the head"])


def parse_steps(text: str, default: str, cuts: Mapping[str, int]) -> list[tuple[int, str]]:
    """Return `--unfreeze-after`, "5" or "5:layer3,10:all", as pairs (epochs before, how much to turn on)."""
    steps = []
    for part in text.split(","):
        number, colon, how_much = part.strip().partition(":")
        if not (number.isascii() and number.isdigit() and len(number) < MOST_DIGITS) or (colon and not how_much):
            raise RequestError(
                f"--unfreeze-after must be N or N:STAGE,N:STAGE; got {text}; for example 5:layer3,10:all"
            )
        if how_much and how_much not in cuts:
            near = did_you_mean(how_much, cuts)
            raise RequestError(f"--unfreeze-after knows the stages {', '.join(cuts)}; got {how_much}{near}")
        steps.append((int(number), how_much or default))
    for (earlier, before), (later, after) in pairwise(steps):
        if later <= earlier or cuts[after] >= cuts[before]:
            raise RequestError(f"--unfreeze-after must turn on more at later epochs; got {text}; try 5:layer3,10:all")
    return steps


def plan(
    epochs: int, unfreeze_after: str | None, unfreeze: str | None, stages: tuple[str, ...] = RESNET20.stages,
    *, gentle: bool = False,
) -> tuple[Phase, ...]:  # fmt: skip
    """Return the phases of a run, planned from three options, for a backbone of these stages.

    Raises:
        RequestError: for a stage that it hasn't; where the rest would be turned on at or after the end, or gradual
            unfreezing runs backwards.
    """
    cuts = cuts_of(stages)
    if unfreeze is not None and unfreeze not in cuts:
        near = did_you_mean(unfreeze, cuts)
        raise RequestError(f"--unfreeze must be one of {', '.join(cuts)}; got {unfreeze}{near}")
    if unfreeze_after is None:
        steps = [] if unfreeze is None else [(0, unfreeze)]
    else:
        if unfreeze is not None and ":" in unfreeze_after:
            raise RequestError(
                f"--unfreeze {unfreeze} and --unfreeze-after {unfreeze_after} both name stages; give one"
            )
        steps = parse_steps(unfreeze_after, unfreeze or "all", cuts)
    if steps and steps[-1][0] >= epochs:
        raise RequestError(
            f"--unfreeze-after must be below --epochs, {epochs}; got {unfreeze_after}; "
            f"try --epochs {steps[-1][0] * 2 or 1}"
        )
    names = {cut: name for name, cut in cuts.items()}  # "last" by the stage's own name, whatever was typed
    starts = [(0, "head", len(stages)), *((after, names[cuts[name]], cuts[name]) for after, name in steps)]
    ends = [start for start, _, _ in starts[1:]] + [epochs]
    spans = [(name, cut, start + 1, end) for (start, name, cut), end in zip(starts, ends, strict=True) if end > start]
    return tuple(
        Phase(position, *span, stages, gentle and span[1] < len(stages)) for position, span in enumerate(spans)
    )
