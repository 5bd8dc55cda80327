"""`cmpt726 lr`: problem 5."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cli726.errors import ComputationError, RequestError
from commands.drawing import Output, drawing
from commands.options import App, Seed, examples, option, path_option
from commands.progress import progress

if TYPE_CHECKING:
    from cli726.logistic import Points
    from cli726.logistic.figures import Draw
    from cli726.logistic.tables import Result

DESCENT, POINTS = "Descent", "Points"

app = App(
    name="lr",
    help="Logistic regression by gradient descent, stochastic gradient descent and Newton's method (problem 5).",
    epilog=examples("cmpt726 lr gd", "cmpt726 lr compare", "cmpt726 lr sgd --eta 0.05"),
)


FILE = "Points, a line each: features and a label 0 or 1, separated by white space or commas (default: bundled)."
Data = Annotated[Path | None, path_option(FILE, "FILE", POINTS, "--data")]
Center = Annotated[bool, option("Take each feature's mean away first.", None, POINTS, "--center")]
Eta = Annotated[float, option("Learning rate.", "RATE", DESCENT, "--eta")]
SEVERAL = "Learning rate; repeat for several (default: 0.5 0.3 0.1 0.05 0.01)."
Etas = Annotated[list[float] | None, option(SEVERAL, "RATE", DESCENT, "--eta")]
MaxEpochs = Annotated[int, option("Stop after so many epochs.", "N", DESCENT, "--max-epochs", min=1, max=1_000_000)]
Tol = Annotated[float, option("Stop when the loss changes by less than this; 0: never.", "NATS", DESCENT, "--tol")]
FROM = "Weights to start from (default: 0.1 for the first feature, 0 for the others)."
Start = Annotated[str | None, option(FROM, "W1,...,BIAS", DESCENT, "--start")]
Epochs = Annotated[int, option("Passes over the points.", "N", DESCENT, "--epochs", min=1, max=1_000_000)]
BatchSize = Annotated[int, option("Points an update.", "N", DESCENT, "--batch-size", min=1)]
ORDERS = "Independent orders of the points, for median and band."
Shuffles = Annotated[int, option(ORDERS, "N", DESCENT, "--shuffles", min=1, max=10_000)]


def weights(text: str | None) -> list[float] | None:
    """Return the numbers of `--start`."""
    try:
        return None if text is None else [float(part) for part in text.split(",")]
    except ValueError:
        raise RequestError(f"--start must be numbers separated by commas, got {text!r}; for example 0.1,0,0") from None


def present(output: Output, result: "Result") -> None:
    """Print and draw a result; then fail, if some of its descents diverged."""
    from cli726.logistic import document

    def figures() -> "Mapping[str, Draw]":
        from cli726.logistic import figures

        return figures.figures(result)

    output.present(result, document(result), figures)
    runs: Any = getattr(result, "runs", [result])
    if diverged := [f"{run.eta:g}" for run in runs if getattr(run, "diverged", False)]:
        raise ComputationError(
            f"the descent diverged at --eta {', '.join(diverged)}: the numbers grew beyond the largest float; choose a "
            "smaller rate"
        )


def read(data: Path | None, center: bool) -> "Points":
    """Return the points, centred if that is asked for."""
    from cli726 import logistic

    points = logistic.load_points(data)
    return logistic.center(points) if center else points


@app.command(
    epilog=examples(
        "cmpt726 lr gd", "cmpt726 lr gd --center --out figures", "cmpt726 lr gd --eta 0.1 --tol 1e-7 --json"
    )
)
@drawing("lr-gd")
def gd(
    output: Output, eta: Eta = 0.5, max_epochs: MaxEpochs = 500, tol: Tol = 1e-5, start: Start = None,
    data: Data = None, center: Center = False,
) -> None:  # fmt: skip
    """Run gradient descent on the mean negative log-likelihood, and say why it oscillates, if it does."""
    from cli726 import logistic

    settings: Any = {"max_epochs": max_epochs, "tol": tol, "start": weights(start)}
    present(output, logistic.gradient_descent(read(data, center), eta, **settings))


@app.command(epilog=examples("cmpt726 lr compare", "cmpt726 lr compare --eta 1 --eta 0.2 --max-epochs 2000"))
@drawing("lr-compare")
def compare(
    output: Output, etas: Etas = None, max_epochs: MaxEpochs = 500, tol: Tol = 1e-5, start: Start = None,
    data: Data = None, center: Center = False,
) -> None:  # fmt: skip
    """Compare gradient descent at several rates, in one plot, and say what each rate is good for."""
    from cli726 import logistic

    settings: Any = {"max_epochs": max_epochs, "tol": tol, "start": weights(start)}
    present(output, logistic.compare(read(data, center), etas or logistic.RATES, **settings))


@app.command(epilog=examples("cmpt726 lr sgd", "cmpt726 lr sgd --eta 0.05", "cmpt726 lr sgd --batch-size 20 --json"))
@drawing("lr-sgd")
def sgd(
    output: Output, etas: Etas = None, epochs: Epochs = 500, batch_size: BatchSize = 1, shuffles: Shuffles = 20,
    seed: Seed = 0, start: Start = None, data: Data = None, center: Center = False,
) -> None:  # fmt: skip
    """Run stochastic gradient descent, reshuffled every epoch, beside gradient descent at equal cost."""
    from cli726 import logistic

    points = read(data, center)
    with progress() as reporter:
        result = logistic.stochastic_descent(
            points, etas or logistic.RATES, epochs=epochs, batch_size=batch_size, shuffles=shuffles, seed=seed,
            start=weights(start), reporter=reporter,
        )  # fmt: skip
    present(output, result)


@app.command(epilog=examples("cmpt726 lr newton", "cmpt726 lr newton --center --no-figures"))
@drawing("lr-newton")
def newton(output: Output, data: Data = None, center: Center = False) -> None:
    """Find the minimum by Newton's method (IRLS), by which the descents are judged."""
    from cli726 import logistic

    present(output, logistic.solve(read(data, center)))
