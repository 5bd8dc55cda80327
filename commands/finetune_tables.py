"""What a person reads of a fine-tuning run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cli726.text import counted
from commands.render import table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from cli726.finetune.result import Finetuned


def percent(share: float) -> str:
    return f"{share:.2%}"


def tables(result: Finetuned) -> Iterator[RenderableType]:
    """What was done, phase by phase, and how good the best model is."""
    validation = f"{len(result.dataset.splits['validation']):,} validation images"
    if result.crossed is not None:
        validation = f"{result.crossed.result.images:,} images, each by a head that had not seen it"
    rows = [
        (
            part.phase.name,
            " ".join(part.phase.trains),
            part.epochs,
            percent(1 - part.best_val_error),
            part.best_epoch,
            f"{part.images_per_second:,.0f}",
            f"{part.seconds:.1f} s",
        )
        for part in result.phases
    ]
    yield table(
        f"Phases (accuracy on {validation})",
        "phase", "trains", "epochs", "best accuracy", "at epoch", "images/s", "time",
        rows=rows, numeric=2,
    )  # fmt: skip
    if result.trials:
        yield table(
            f"L2 in the head phase (accuracy on {validation})",
            "l2", "best accuracy", "loss", "at epoch", "penalty", "norm of coefficients",
            rows=[
                (
                    f"{trial.l2:g}",
                    percent(1 - trial.best.val_error),
                    f"{trial.best.val_loss:.4f}",
                    trial.best.epoch,
                    f"{trial.penalty:.4g}",
                    f"{trial.norm:.4g}",
                )
                for trial in result.trials
            ],
        )  # fmt: skip
    yield table("Result", "what", "value", rows=result_lines(result), numeric=2)


def result_lines(result: Finetuned) -> list[tuple[str, str]]:
    """Return what the run ended with, line by line."""
    from cli726.finetune.training.evaluation import AVERAGED

    data, best, (_, judged, _) = result.dataset, result.best, result.judged
    kind = "validation" if result.crossed is None else "cross-validation"
    sizes = ", ".join(f"{len(data.splits[name]):,} {name}" for name in ("train", "validation", "test"))
    lines = [
        ("data", f"{data.name}: {len(data.class_names)} classes; {sizes}"),
        ("weights", f"{result.weights.name} ({result.weights.kind.label})"),
        ("cache", cache_line(result.cache)),
        ("best model", f"epoch {best.epoch} (phase {best.phase}), {kind} accuracy {percent(1 - best.val_error)}"),
    ]
    if result.crossed is not None:
        lines.append((counted(len(result.crossed.parts), "fold"), result.crossed.result.text))
    if result.test is not None:
        lines.append(("test images", result.test.text))
    if result.test_plain is not None:
        lines.append(("scores", f"{AVERAGED}; without: {percent(result.test_plain.accuracy)}"))
    if result.gain is not None:
        lines.insert(3, ("unfreezing", f"{100 * result.gain:+.2f} points of validation accuracy over the first phase"))
    confused = judged.most_confused(3)
    if confused:
        names = data.class_names
        lines.append(("most confused", ", ".join(f"{names[t]} as {names[p]} ({count})" for t, p, count in confused)))
    lines.append(("calibration", f"expected calibration error: {100 * judged.calibration_error:.2f} points"))
    if result.solver is not None:
        lines.append(("exact head", f"gradient norm {result.solver['gradient_norm']:.1e} at the end"))
    if result.l2["l2"]:
        lines.append(("L2", f"penalty {result.l2['penalty']:.4g}, norm of the coefficients {result.l2['norm']:.4g}"))
    if result.duplicates:
        lines.append(
            ("duplicates", f"{result.duplicates:,} validation or test images are identical to one of another split")
        )
    lines.append(("time", f"{result.seconds:.1f} s"))
    lines.append(("run", str(result.run_dir)))
    return [*lines, *((path.stem, str(path)) for path in result.figures)]


def cache_line(cache: Any) -> str:
    if cache["state"] == "off":
        return "off"
    saved = sum(entry["seconds"] or 0 for entry in cache["entries"] if entry["state"] == "hit")
    gained = f", {saved:.1f} s of computing saved" if saved else ""
    count = len(cache["entries"])
    entries = f"{count} {'entry' if count == 1 else 'entries'}"
    return f"{cache['state']}: {entries}, {cache['bytes'] / 1e6:.1f} MB{gained}"


def next_steps(result: Finetuned) -> Iterator[str]:
    """What can be done with a finished run, as commands to type."""
    run = shlex.quote(str(result.run_dir))
    head = result.config.head
    own = f" --head {shlex.quote(head)}" if head.startswith("python:") else ""
    yield f"next: cmpt726 predict {run} IMAGE...{own}    classifies your own images"
    if result.config.gallery:
        yield f"      open {result.run_dir / 'gallery.html'} in a browser: the images with their scores"
    if result.test is not None:
        yield f"      cmpt726 report --run {run}    typesets all six problems with it"
