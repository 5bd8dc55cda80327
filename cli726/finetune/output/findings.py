"""What a finished run says of the eight extensions: what it did of each, and what its numbers show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from cli726.document import Document, Finding, Table
from cli726.finetune.folder.runs import FinishedRun
from cli726.finetune.output.gallery import shown
from cli726.finetune.training.evaluation import wilson_interval
from cli726.text import counted, listed, number

# Letters of a class's or a data set's name that have room.
NAME = 40
EXTENSIONS = {
    "6.1": "HTML output of test images and scores",
    "6.2": "Validation, and the best model saved",
    "6.3": "L2 regularisation of the new layers",
    "6.4": "Other data sets",
    "6.5": "Other new layers",
    "6.6": "Data augmentation",
    "6.7": "ResNet20's outputs saved",
    "6.8": "Training the other layers later",
}


class Use(NamedTuple):
    """What a run did of an extension, and whether it did anything of it."""

    text: str
    used: bool = True


def percent(share: float) -> str:
    return f"{share:.2%}"


def uses(run: FinishedRun) -> Mapping[str, Use]:
    """Return what a run did of each extension."""
    config, summary = run.config, run.summary
    page = run.path / "gallery.html"
    every = "after every epoch" if config.validate_every == 1 else f"every {config.validate_every} epochs"
    data = summary["dataset"]
    extras = [f"dropout {config.dropout:g}"] if config.dropout else []
    extras += ["batch normalisation"] if config.batch_norm else []
    states = {"hit": "found in the cache", "built": "stored for later runs", "off": "kept in memory"}
    state = f"{states.get(str(summary['cache']['state']), 'kept in memory')}, {summary['cache']['seconds']:.1f} s"
    stages = [f"{phase['name']} for {counted(phase['epochs'], 'epoch')}" for phase in summary["phases"]]
    best = "; the best went on" if len(config.l2) > 1 else ""
    return {
        "6.1": Use(f"{page.name}, {page.stat().st_size / 1e6:.1f} MB") if page.is_file() else Use("none", used=False),
        "6.2": Use(f"{every}; best {percent(1 - run.best.val_error)} right, epoch {run.best.epoch}"),
        "6.3": Use(", ".join(f"{value:g}" for value in config.l2) + best, any(config.l2)),
        "6.4": Use(f"{shown(data['name'], NAME)}, {counted(data['classes'], 'class', 'classes')}"),
        "6.5": Use(", ".join([config.head, *extras]), config.head != "linear"),
        "6.6": Use(config.augment.replace(",", ", "), config.augment not in {"none", ""}),
        "6.7": Use("recomputed in every epoch", used=False) if config.recompute else Use(state),
        "6.8": Use(", then ".join(stages), len(stages) > 1),
    }


def document(run: FinishedRun, second: FinishedRun | None) -> Document:
    """Return what the runs show, extension by extension."""
    found = [*explain_stages(run), *explain_features(run), *explain_penalty(run)]
    return Document(
        [],
        EXTENSIONS,
        [*found, *explain_rest(run, second), *explain_copies(run)],
        [table for table in (phase_table(run), trial_table(run), run_table(run, second)) if table],
    )


def interval_of(phase: Mapping[str, Any], images: int) -> tuple[float, float]:
    """Return the 95 % interval of a stage's best validation accuracy."""
    return wilson_interval(round((1 - phase["best_val_error"]) * images), images)


def phase_table(run: FinishedRun) -> Table:
    """Return the stages beside each other."""
    images = run.summary["dataset"]["validation"]
    rows = []
    for phase in run.summary["phases"]:
        name = "new layers only" if phase["name"] == "head" else f"{phase['name']} turned on"
        accuracy = percent(1 - phase["best_val_error"]), "{} to {}".format(*map(percent, interval_of(phase, images)))
        speed = f"{phase['images_per_second']:,.0f}", f"{phase['seconds']:.1f} s"
        rows.append((name, f"{phase['epochs']}", *accuracy, f"{phase['best_epoch']}", *speed))
    columns = ("stage", "epochs", "best validation accuracy", "95 % interval", "at epoch", "images/s", "time")
    return Table("The stages of this run, with 95 % Wilson intervals", columns, rows, "6.8")


def trial_table(run: FinishedRun) -> Table | None:
    """Return the penalties tried in the first stage, if several were."""
    rows = []
    for trial in run.summary.get("trials") or ():
        error, loss = trial["best"]["val_error"], trial["best"]["val_loss"]
        kept = "goes on" if trial["l2"] == run.summary["l2"]["l2"] else ""
        rows.append((f"{trial['l2']:g}", percent(1 - error), f"{loss:.4f}", f"{trial['norm']:.3f}", kept))
    columns = ("penalty", "best validation accuracy", "loss", "norm of coefficients", "")
    return Table("L2 penalties tried while the new layers train alone", columns, rows, "6.3") if rows else None


def run_table(first: FinishedRun, second: FinishedRun | None) -> Table | None:
    """Return both runs beside each other."""
    rows = []
    for name, run in (("first", first), ("second", second)):
        if run is not None:
            test = run.summary["test"]
            told, right = uses(run), f"{percent(test['accuracy'])} of {test['images']:,}"
            interval = "{} to {}".format(*map(percent, test["interval"]))
            settings = [told[question].text for question in ("6.5", "6.6", "6.3")]
            data = shown(run.summary["dataset"]["name"], NAME)
            rows.append((name, data, *settings, percent(1 - run.best.val_error), right, interval))
    columns = ("run", "data", "new layers", "augmentation", "L2", "best validation", "test accuracy", "95 % interval")
    return Table("Both runs beside each other", columns, rows, "6.5", numeric=5) if second else None


def explain_stages(run: FinishedRun) -> Iterator[Finding]:
    """Say whether it does better once more of the network trains."""
    first, *later = run.summary["phases"]
    if not later or run.config.balance:  # which decides by another measure than accuracy
        return
    best = min(later, key=lambda phase: (phase["best_val_error"], phase["best_val_loss"]))
    before, after = first["best_val_error"], best["best_val_error"]
    images = run.summary["dataset"]["validation"]
    (low, high), (low_after, high_after) = interval_of(first, images), interval_of(best, images)
    evidence = {"before": (1 - before, low, high), "after": (1 - after, low_after, high_after), "images": images}
    change = f"from {percent(1 - before)} to {percent(1 - after)} of {images:,} images"
    if after < before:
        sure = "overlap: only more images would make the difference sure"
        if low_after > high:
            sure = "don't overlap, so that chance in the choice of images does not explain it"
        text = (
            f"Turning on more of the network did better: the best validation accuracy rose {change}; the 95 % "
            f"intervals of the two stages {sure}."
        )
    elif after > before:
        text = (
            f"Turning on more of the network did not help here: the best validation accuracy fell {change}; the model "
            "of the first stage is kept."
        )
    else:
        text = f"Turning on more of the network changed nothing: {percent(1 - before)} before and after."
    yield Finding("6.8", text, evidence)


def explain_features(run: FinishedRun) -> Iterator[Finding]:
    """Say what it saves to compute the frozen part once."""
    head = run.summary["phases"][0]
    once = run.summary["cache"]["seconds"]
    if head["name"] != "head" or run.config.recompute or not once or head["epochs"] < 2:
        return
    epoch = head["seconds"] / head["epochs"]
    if once > epoch:
        yield Finding(
            "6.7",
            f"Computing ResNet20's outputs took {number(once)}\u00a0s, once; an epoch of the new layers from them "
            f"takes {number(epoch, 2)}\u00a0s. Computing them anew in each of {head['epochs']} epochs, as the course's "
            f"script does, would have taken about {number(once * head['epochs'], 2)}\u00a0s.",
            {"seconds": once, "epoch_seconds": epoch},
        )


def explain_penalty(run: FinishedRun) -> Iterator[Finding]:
    """Say what the L2 penalty does to the coefficients."""
    trials = sorted(run.summary.get("trials") or (), key=lambda trial: float(trial["l2"]))
    norms = [trial["norm"] for trial in trials]
    if len(norms) > 1 and all(one > two for one, two in pairwise(norms)):
        fall = f"their norm falls from {norms[0]:.2f} to {norms[-1]:.2f}"
        yield Finding("6.3", f"The larger the penalty, the smaller the coefficients: {fall}.", {"norms": norms})


def explain_rest(run: FinishedRun, second: FinishedRun | None) -> Iterator[Finding]:
    """Name the extensions that no run here uses."""
    runs = [uses(one) for one in (run, second) if one is not None]
    unused = [name for question, name in EXTENSIONS.items() if not any(told[question].used for told in runs)]
    if unused:
        which = "either" if second else "this"
        yield Finding("", f"Described only, not used by {which} run: {listed(unused)}.", {"unused": unused})


def explain_copies(run: FinishedRun) -> Iterator[Finding]:
    """Warn of images that occur in more than one split."""
    copies = run.summary["dataset"].get("duplicates", 0)
    if copies:
        yield Finding(
            "",
            f"{counted(copies, 'validation or test image is', 'validation or test images are')} identical, pixel for "
            "pixel, to one of another split: there the model is not tested on anything new.",
            {"duplicates": copies},
        )
