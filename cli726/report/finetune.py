"""Problem 6 in the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from cli726.findings import Finding
from cli726.finetune.augment.table import KNOWN as AUGMENTATIONS
from cli726.finetune.config import FinetuneConfig
from cli726.finetune.data.vision import KNOWN as VISION
from cli726.finetune.finetuning import finetune
from cli726.finetune.output.figures import confusion_figure, contact_sheet, history_figure
from cli726.finetune.output.gallery import shown
from cli726.finetune.training.evaluation import wilson_interval
from cli726.report.run_folder import NAME, FinishedRun, Gallery, gallery, read_run
from cli726.report.section import Draw, Section
from cli726.reporting import Reporter

__all__ = ["section", "train"]

# As `cmpt726 finetune --unfreeze-after 5 --l2 0 --l2 0.001 --l2 0.01` would.
RECIPE: dict[str, Any] = {"unfreeze_after": "5", "l2": (0.0, 1e-3, 1e-2)}


def train(dataset: str, reporter: Reporter) -> Path:
    """Fine-tune for the report: new layers first, several penalties, then the whole network. The run's folder."""
    return finetune(FinetuneConfig(dataset=dataset, **RECIPE), reporter=reporter).run_dir


def section(path: Path, reporter: Reporter) -> Section:
    """A finished run.

    Raises:
        UntrustedDataError: if its files are not those of a run of ours.
    """
    run = read_run(path)
    summary, test = run.summary, run.summary["test"]
    found = gallery(run, reporter)
    names = [shown(name, NAME, f"class {k}") for k, name in enumerate(summary["dataset"]["class_names"])]
    data = summary["dataset"]
    low, high = test["interval"]
    return Section(
        headline=f"On {data['name']} the best validation error is {percent(run.best.val_error)} (epoch "
        f"{run.best.epoch}); test accuracy {percent(test['accuracy'])} of {test['images']:,} images.",
        data={
            "run": path.name,
            "dataset": shown(data["name"], NAME),
            "classes": data["classes"],
            "train": f"{data['train']:,}",
            "validation": f"{data['validation']:,}",
            "test": f"{data['test']:,}",
            "weights": shown(str(summary["weights"]["name"]), NAME),
            "depth": summary["weights"]["depth"],
            "epochs": len(run.history),
            "best": {"error": percent(run.best.val_error), "epoch": run.best.epoch, "phase": run.best.phase},
            "accuracy": percent(test["accuracy"]),
            "low": percent(low),
            "high": percent(high),
            "here": here(run),
            "phases": phase_table(run),
            "trials": trial_table(run),
            "confused": confused_table(run),
            "vision": len(VISION),
            "augmentations": sorted(AUGMENTATIONS),
            "findings": [[finding.text] for finding in explain(run)],
            "rows": found.rows if isinstance(found, Gallery) else [],
            "no_rows": found if isinstance(found, str) else "",
        },
        figures=figures(run, names, found),
        images=found.images if isinstance(found, Gallery) else {},
    )


def figures(run: FinishedRun, names: Sequence[str], found: Gallery | str) -> dict[str, Draw]:
    """History, confusion matrix and, where the data set is at hand, what the network sees."""
    test = run.summary["test"]
    made: dict[str, Draw] = {"history": lambda: history_figure(run.history, run.best)}
    if "confusion" in test:
        title = f"{percent(test['accuracy'])} of {test['images']:,} test images"
        made["confusion"] = lambda: confusion_figure(np.array(test["confusion"]), names, title)
    if isinstance(found, Gallery):
        data = found.dataset
        made["inputs"] = lambda: contact_sheet(data)
    return made


def percent(share: float) -> str:
    return f"{share:.2%}"


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Mapping[str, Any]:
    """A table whose cells are text as it stands: class names are nobody's mathematics."""
    return {"columns": [[name] for name in columns], "rows": [[[cell] for cell in row] for row in rows]}


def correct(error: float, images: int) -> int:
    return round((1 - error) * images)


def phase_table(run: FinishedRun) -> Mapping[str, Any]:
    """The stages beside each other."""
    images = run.summary["dataset"]["validation"]
    rows = []
    for phase in run.summary["phases"]:
        low, high = wilson_interval(correct(phase["best_val_error"], images), images)
        rows.append(
            (
                "new layers only" if phase["name"] == "head" else f"{phase['name']} turned on",
                f"{phase['epochs']}",
                percent(phase["best_val_error"]),
                f"{percent(1 - high)} to {percent(1 - low)}",
                f"{phase['best_epoch']}",
                f"{phase['images_per_second']:,.0f}",
                f"{phase['seconds']:.1f} s",
            )
        )
    columns = ("stage", "epochs", "best validation error", "95 % interval", "at epoch", "images/s", "time")
    return plain_table(columns, rows)


def trial_table(run: FinishedRun) -> Mapping[str, Any] | None:
    """The penalties tried in the first stage, if several were."""
    trials = run.summary.get("trials") or ()
    if not trials:
        return None
    rows = [
        (
            f"{trial['l2']:g}",
            percent(trial["best"]["val_error"]),
            f"{trial['best']['val_loss']:.4f}",
            f"{trial['norm']:.3f}",
            "goes on" if trial["l2"] == run.summary["l2"]["l2"] else "",
        )
        for trial in trials
    ]
    return plain_table(("penalty", "best validation error", "loss", "norm of coefficients", ""), rows)


def confused_table(run: FinishedRun) -> Mapping[str, Any] | None:
    """The commonest mistakes, if there are any."""
    pairs = run.summary["test"].get("most_confused") or ()
    rows = [(shown(p["true"], NAME), shown(p["predicted"], NAME), f"{p['images']:,}") for p in pairs]
    return plain_table(("true class", "taken for", "test images"), rows) if rows else None


def here(run: FinishedRun) -> list[str]:
    """What this run did of each of the eight extensions."""
    config, summary = run.config, run.summary
    page = run.path / "gallery.html"
    size = f"{page.name}, {page.stat().st_size / 1e6:.1f} MB" if page.is_file() else "not written in this run"
    every = "after every epoch" if config.validate_every == 1 else f"every {config.validate_every} epochs"
    data = summary["dataset"]
    extras = [f"dropout {config.dropout:g}"] if config.dropout else []
    extras += ["batch normalisation"] if config.batch_norm else []
    cached = {"hit": "found in the cache", "built": "stored for later runs", "off": "kept in memory"}
    state = cached.get(str(summary["cache"]["state"]), "kept in memory")
    stages = [f"{phase['name']} for {phase['epochs']} epochs" for phase in summary["phases"]]
    return [
        size,
        f"{every}; best {percent(run.best.val_error)}, epoch {run.best.epoch}",
        f"{', '.join(f'{value:g}' for value in config.l2)}" + ("; the best went on" if len(config.l2) > 1 else ""),
        f"{shown(data['name'], NAME)}, {data['classes']} classes",
        ", ".join([config.head, *extras]),
        config.augment,
        "recomputed in every epoch" if config.recompute else f"{state}, {summary['cache']['seconds']:.1f} s",
        ", then ".join(stages),
    ]


def explain(run: FinishedRun) -> Iterator[Finding]:
    """What the run shows, each sentence only while it holds."""
    yield from explain_stages(run)
    yield from explain_generality(run)
    yield from explain_features(run)
    yield from explain_penalty(run)
    yield from explain_copies(run)


def explain_stages(run: FinishedRun) -> Iterator[Finding]:
    """Does it do better once more of the network trains?"""
    first, *later = run.summary["phases"]
    if not later:
        return
    best = min(later, key=lambda phase: (phase["best_val_error"], phase["best_val_loss"]))
    before, after = first["best_val_error"], best["best_val_error"]
    images = run.summary["dataset"]["validation"]
    (low, high), (low_after, high_after) = (
        wilson_interval(correct(error, images), images) for error in (before, after)
    )
    evidence = {"before": before, "after": after, "images": images}
    change = f"from {percent(before)} to {percent(after)} of {images:,} images"
    if after < before:
        clear = low_after > high
        yield Finding(f"Turning on more of the network did better: the best validation error fell {change}.", evidence)
        yield Finding(
            "The 95 % intervals of the two stages don't overlap, so that chance in the choice of images does not "
            "explain it."
            if clear
            else "The 95 % intervals of the two stages overlap: with more images the difference would be surer.",
            {"before": (low, high), "after": (low_after, high_after)},
        )
    elif after > before:
        yield Finding(
            f"Turning on more of the network did not help here: the best validation error rose {change}; the model of "
            "the first stage is kept.",
            evidence,
        )
    else:
        yield Finding(f"Turning on more of the network changed nothing: {percent(before)} before and after.", evidence)


def explain_generality(run: FinishedRun) -> Iterator[Finding]:
    """Training against validation and test."""
    last = next(line for line in run.history if line.epoch == run.best.epoch)
    test = run.summary["test"]
    gap = last.train_accuracy - test["accuracy"]
    yield Finding(
        f"In the best model's epoch {percent(last.train_accuracy)} of the training images were classified right, and "
        f"afterwards {percent(test['accuracy'])} of the test images, which were used this once"
        + (f": a gap of {100 * gap:.1f} points." if gap > 0 else "."),
        {"train_accuracy": last.train_accuracy, "test_accuracy": test["accuracy"]},
    )
    if "calibration_error" in test:
        yield Finding(
            f"The expected calibration error is {percent(test['calibration_error'])}: by so much its confidence and "
            "its accuracy differ on average.",
            {"calibration_error": test["calibration_error"]},
        )


def explain_features(run: FinishedRun) -> Iterator[Finding]:
    """What it saves to compute the frozen part once."""
    head = run.summary["phases"][0]
    once = run.summary["cache"]["seconds"]
    if head["name"] != "head" or run.config.recompute or not once or head["epochs"] < 2:
        return
    epoch = head["seconds"] / head["epochs"]
    if once > epoch:
        yield Finding(
            f"Computing ResNet20's outputs took {once:.1f}\u00a0s, once; an epoch of the new layers from them takes "
            f"{epoch:.2f}\u00a0s. Computing them anew in each of {head['epochs']} epochs, as the course's script does, "
            f"would have taken about {once * head['epochs']:.0f}\u00a0s.",
            {"seconds": once, "epoch_seconds": epoch},
        )


def explain_penalty(run: FinishedRun) -> Iterator[Finding]:
    """What the L2 penalty does to the coefficients."""
    trials = sorted(run.summary.get("trials") or (), key=lambda trial: float(trial["l2"]))
    norms = [trial["norm"] for trial in trials]
    if len(norms) > 1 and all(one > two for one, two in pairwise(norms)):
        yield Finding(
            f"The larger the penalty, the smaller the coefficients: their norm falls from {norms[0]:.2f} to "
            f"{norms[-1]:.2f}.",
            {"norms": norms},
        )


def explain_copies(run: FinishedRun) -> Iterator[Finding]:
    """Images that occur in more than one split."""
    copies = run.summary["dataset"].get("duplicates", 0)
    if copies:
        yield Finding(
            f"{copies:,} validation or test images are identical, pixel for pixel, to one of another split: on these "
            "the model is not tested on anything new.",
            {"duplicates": copies},
        )
