"""The console entry point: the commands, and the edge where an exception becomes one line and an exit status."""

from __future__ import annotations

import errno
import os
import signal
import sys
from types import FrameType
from typing import Annotated, NoReturn

import typer

from cli726.errors import Cmpt726Error, Interrupted
from commands import (
    backprop,
    cache,
    data,
    doctor,
    finetune,
    glm,
    logistic,
    predict,
    pretrain,
    runs,
    softmax,
    vanishing,
)
from commands.render import printable

app = typer.Typer(
    name="cmpt726",
    help="A laboratory for classification and deep learning: six problems, exact numbers, figures, explanations.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# What the operating system refuses, as opposed to what we got wrong.
REFUSALS = {
    errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.EFBIG, errno.EMFILE,
}  # fmt: skip


def print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"cmpt726 {version('cmpt726')} (torch {version('torch')}, torchvision {version('torchvision')})")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Show the versions and exit.")
    ] = False,
) -> None:
    """A laboratory for classification and deep learning: six problems, exact numbers, figures, explanations."""


PROBLEMS, TUNING, KEEPING = "Problems 1 to 5", "Problem 6: fine-tuning", "Data, cache, machine"

for problem in (softmax, glm, backprop, vanishing):
    name = problem.__name__.rpartition(".")[2]
    app.command(name, epilog=problem.EPILOG, rich_help_panel=PROBLEMS)(getattr(problem, name))
app.add_typer(logistic.app, rich_help_panel=PROBLEMS)
app.command(epilog=finetune.EPILOG, rich_help_panel=TUNING)(finetune.finetune)
app.command(epilog=predict.EPILOG, rich_help_panel=TUNING)(predict.predict)
app.add_typer(runs.app, name="runs", rich_help_panel=TUNING)
app.command(epilog=pretrain.EPILOG, rich_help_panel=TUNING)(pretrain.pretrain)
app.add_typer(data.app, name="data", rich_help_panel=KEEPING)
app.add_typer(cache.app, rich_help_panel=KEEPING)
app.command(epilog=doctor.EPILOG, rich_help_panel=KEEPING)(doctor.doctor)


def interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    raise Interrupted(number)


def fail(message: str, status: int) -> int:
    """Print one `error:` line; with CMPT726_DEBUG=1 the traceback goes before it."""
    if os.environ.get("CMPT726_DEBUG") == "1":
        import traceback

        traceback.print_exc()
    print("error: " + printable(" ".join(message.split())), file=sys.stderr)
    return status


def status_of(error: BaseException) -> int:
    """Report an exception that reached the edge; its exit status."""
    if isinstance(error, Cmpt726Error):
        return fail(str(error), error.status)
    if isinstance(error, Interrupted):
        return fail("interrupted", error.status)
    if isinstance(error, BrokenPipeError):
        # The reader went away (`| head`): not an error worth a line. Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    if isinstance(error, OSError) and error.errno in REFUSALS:
        where = f": {error.filename}" if error.filename else ""
        return fail(f"{error.strerror or error}{where}; free some space or choose a folder that you may write to", 4)
    return fail(f"a bug of ours, {type(error).__name__}: {error}; CMPT726_DEBUG=1 shows where", 1)


def main() -> None:
    """Run the command line and exit."""
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)
    try:
        app()
    except SystemExit:
        raise
    except BaseException as error:
        sys.exit(status_of(error))
