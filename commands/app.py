"""The console entry point: the commands, and the edge where an exception becomes one line and an exit status."""

import errno
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from cli726 import launch
from cli726.errors import Cmpt726Error, EnvironmentFailure, ToldElsewhere
from cli726.text import printable
from commands import (
    backprop,
    cache,
    check,
    data,
    finetune,
    glm,
    logistic,
    predict,
    report,
    runs,
    softmax,
    vanishing,
)
from commands.options import App, examples
from commands.process import await_interrupts, flush, interrupt_behind, leave_interrupts, mute, open_streams

app = App(
    name="cmpt726",
    help="Train an image classifier on your own photos, on a laptop, in seconds; and work through the six problems of "
    "Simon Fraser University's CMPT 726, assignment 2, with exact answers, figures and explanations.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples("cmpt726 finetune --cache --unfreeze-after 5", "cmpt726 softmax", "cmpt726 report --run latest"),
)

# What the system says of a name that the user gave; whatever else it refuses is the machine's failure.
NAMES = {
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.ENXIO,
}  # fmt: skip
LONGEST_NAME = 200


def print_version(wanted: bool) -> None:
    """Print our version and those of torch, from their metadata: importing them takes seconds."""
    if wanted:
        from importlib.metadata import version

        print(f"cmpt726 {version('cmpt726')} (torch {version('torch')}, torchvision {version('torchvision')})")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 - its callback does it
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Show the versions and exit.")
    ] = False,
) -> None:
    """Refuse every command but `finetune` as one of several processes."""
    if context.invoked_subcommand != "finetune":
        launch.require_one(f"`cmpt726 {context.invoked_subcommand}`")


TUNING, PROBLEMS = "Your own images (problem 6)", "Problems 1 to 5"
HANDING_IN, KEEPING = "Report and code", "Data, cache, machine"

app.command(epilog=finetune.EPILOG, rich_help_panel=TUNING)(finetune.finetune)
app.command(epilog=predict.EPILOG, rich_help_panel=TUNING)(predict.predict)
app.command(epilog=predict.EPILOG_EVALUATE, rich_help_panel=TUNING)(predict.evaluate)
app.command(epilog=predict.EPILOG_EXPORT, rich_help_panel=TUNING)(predict.export)
app.add_typer(runs.app, name="runs", rich_help_panel=TUNING)
app.command(epilog=finetune.EPILOG_PRETRAIN, rich_help_panel=TUNING)(finetune.pretrain)
for problem in (softmax, glm, backprop, vanishing):
    name = problem.__name__.rpartition(".")[2]
    app.command(name, epilog=problem.EPILOG, rich_help_panel=PROBLEMS)(getattr(problem, name))
app.add_typer(logistic.app, rich_help_panel=PROBLEMS)
app.command(cls=check.Check, epilog=check.EPILOG, rich_help_panel=PROBLEMS)(check.check)
app.command(epilog=report.EPILOG, rich_help_panel=HANDING_IN)(report.report)
app.command(epilog=report.EPILOG_PACKAGE, rich_help_panel=HANDING_IN)(report.package)
app.add_typer(data.app, name="data", rich_help_panel=KEEPING)
app.add_typer(cache.app, rich_help_panel=KEEPING)
app.command(epilog=data.EPILOG_DOCTOR, rich_help_panel=KEEPING)(data.doctor)


def fail(message: str, status: int) -> int:
    """Print one `error:` line; with CMPT726_DEBUG=1 the traceback goes before it."""
    if os.environ.get("CMPT726_DEBUG") == "1":
        import traceback

        traceback.print_exc()
    notes = "".join(f" ({note})" for note in getattr(sys.exception(), "__notes__", ()))
    with suppress(OSError):  # with nowhere to say it, the status still does
        print("error: " + printable(" ".join(f"{message}{notes}".split())), file=sys.stderr)
    return status


def status_of(error: BaseException) -> int:
    """Report an exception that reached the edge; return its exit status."""
    if isinstance(error, ToldElsewhere):
        return error.status
    if isinstance(error, Cmpt726Error):
        return fail(str(error), error.status)
    interrupt = interrupt_behind(error)
    if interrupt is not None:
        return fail("interrupted", interrupt.status)
    if isinstance(error, BrokenPipeError):  # the reader went away (`| head`): not an error worth a line
        return 128 + signal.SIGPIPE
    if isinstance(error, OSError) and error.errno is not None:
        name = str(error.filename or "")
        where = f": {name if len(name) <= LONGEST_NAME else name[:LONGEST_NAME] + '...'}" if name else ""
        if error.errno in NAMES:
            return fail(f"{error.strerror}{where}; name another file or folder", 2)
        return fail(f"{error.strerror}{where}; free some space or choose a folder that you may write to", 4)
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):  # torch's is a RuntimeError
        return fail("out of memory; ask for less at once, or use a machine with more", 4)
    if isinstance(error, RuntimeError) and "determine home directory" in str(error):
        return fail("a path that begins with ~ needs a home folder, and there is none of that name; write it out", 2)
    if isinstance(error, ValueError) and "integer string conversion" in str(error):
        return fail("a number must have at most 4300 digits; one that was given has more; write it shorter", 2)
    return fail(f"a bug of ours, {type(error).__name__}: {error}; CMPT726_DEBUG=1 shows where", 1)


def require_folder() -> None:
    """Refuse to work in a folder that was removed: libraries fail there in ways of their own."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise EnvironmentFailure("the current folder must exist; it was removed; go to another one with cd") from None


def finish(status: int) -> int:
    """Write out what is still buffered; return the exit status after that."""
    flush(sys.stderr, 2)
    failure = flush(sys.stdout, 1)
    if failure is not None and status == 0:
        status = status_of(failure)
        flush(sys.stderr, 2)
    return status


def main() -> None:
    """Run the command line and exit."""
    await_interrupts()
    open_streams()
    stderr = sys.stderr
    if launch.rank():
        mute()
    # Figures are drawn without pyplot; a name there that matplotlib doesn't know would keep it from being imported.
    os.environ.pop("MPLBACKEND", None)
    try:
        require_folder()
        app()
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        # Typer and Rich exit with 1 where the reader went away; a command's own 1 is a bug of ours that it has told.
        if status == 1 and isinstance(stop.__context__, OSError) and stop.__context__.errno == errno.EPIPE:
            status = 128 + signal.SIGPIPE
        if status:
            launch.await_first()
    except BaseException as error:
        if launch.speaks(error):
            sys.stderr = stderr
        status = status_of(error)
    status = finish(status)
    leave_interrupts()
    sys.exit(status)
