"""`cmpt726 lr`: problem 5."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli726.errors import ComputationError, RequestError
from commands.drawing import Figures, draw
from commands.logistic_tables import comparison_tables, descent_tables, newton_tables, stochastic_tables
from commands.options import App, FigureFormat, Format, Json, NoFigures, Out, Seed, Show, examples
from commands.progress import progress
from commands.render import emit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cli726.logistic import GradientDescent, Points

DESCENT, POINTS = "Descent", "Points"
RATES = (0.5, 0.3, 0.1, 0.05, 0.01)

app = App(
    name="lr",
    help="Logistic regression by gradient descent, stochastic gradient descent and Newton's method (problem 5).",
    no_args_is_help=True,
    rich_markup_mode="rich",
    epilog=examples("cmpt726 lr gd", "cmpt726 lr compare", "cmpt726 lr sgd --eta 0.05"),
)

Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="FILE",
        help="Points, a line each: features and a label 0 or 1, separated by white space or commas (default: bundled).",
        rich_help_panel=POINTS,
    ),
]
Center = Annotated[bool, typer.Option("--center", help="Take each feature's mean away first.", rich_help_panel=POINTS)]
Eta = Annotated[float, typer.Option("--eta", metavar="RATE", help="Learning rate.", rich_help_panel=DESCENT)]
Etas = Annotated[
    list[float] | None,
    typer.Option(
        "--eta",
        metavar="RATE",
        help="Learning rate; repeat for several (default: 0.5 0.3 0.1 0.05 0.01).",
        rich_help_panel=DESCENT,
    ),
]
MaxEpochs = Annotated[
    int,
    typer.Option(
        "--max-epochs", metavar="N", min=1, max=1_000_000, help="Stop after so many epochs.", rich_help_panel=DESCENT
    ),
]
Tol = Annotated[
    float,
    typer.Option(
        "--tol",
        metavar="NATS",
        help="Stop when the error changes by less than this; 0: never.",
        rich_help_panel=DESCENT,
    ),
]
Start = Annotated[
    str | None,
    typer.Option(
        "--start",
        metavar="W1,...,BIAS",
        help="Weights to start from (default: 0.1 for the first feature, 0 for the others).",
        rich_help_panel=DESCENT,
    ),
]


def weights(text: str | None) -> list[float] | None:
    """The numbers of `--start`."""
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise RequestError(f"--start must be numbers separated by commas, got {text!r}; for example 0.1,0,0") from None


def refuse_divergence(etas: Sequence[float]) -> None:
    """The failure of a command some of whose descents diverged; its results are out already."""
    if etas:
        listed = ", ".join(f"{eta:g}" for eta in etas)
        raise ComputationError(
            f"the descent diverged at --eta {listed}: the numbers grew beyond the largest float; choose a smaller rate"
        )


@app.command(
    epilog=examples(
        "cmpt726 lr gd", "cmpt726 lr gd --eta 0.5 --center --out figures", "cmpt726 lr gd --eta 0.1 --tol 1e-7 --json"
    )
)
def gd(
    eta: Eta = 0.5,
    max_epochs: MaxEpochs = 500,
    tol: Tol = 1e-5,
    start: Start = None,
    data: Data = None,
    center: Center = False,
    as_json: Json = False,
    out: Out = None,
    format: Format = FigureFormat.png,
    no_figures: NoFigures = False,
    show: Show = False,
) -> None:
    """Gradient descent on the mean negative log-likelihood, and why it oscillates, if it does."""
    from cli726 import logistic

    points = logistic.load_points(data)
    result = logistic.gradient_descent(
        points, eta, max_epochs=max_epochs, tol=tol, start=weights(start), centered=center
    )

    def figures() -> Figures:
        return descent_figures(result, logistic.center(points) if center else points)

    paths = draw(figures, "lr-gd", out=out, format=format, no_figures=no_figures, show=show, as_json=as_json)
    emit(result, lambda: descent_tables(result), as_json=as_json, figures=paths)
    refuse_divergence([eta] if result.diverged else [])


def descent_figures(result: "GradientDescent", points: "Points") -> Figures:
    """The figures that this descent has: none if it diverged; with two features, those of the separator."""
    from cli726.figures import logistic as drawn

    if result.diverged:
        return {}
    made: dict[str, Callable[[], Figure]] = {}
    if result.has_slopes:
        made["separator-path"] = lambda: drawn.separator_path(result)
    made["error"] = lambda: drawn.error(result)
    made["curvature"] = lambda: drawn.curvature(result)
    if result.slope_intercept is not None:
        made["data"] = lambda: drawn.data(result, points)
        made["orientation"] = lambda: drawn.orientation(result)
    return made


@app.command(
    epilog=examples(
        "cmpt726 lr compare",
        "cmpt726 lr compare --eta 1 --eta 0.2 --max-epochs 2000",
        "cmpt726 lr compare --center --json",
    )
)
def compare(
    etas: Etas = None,
    max_epochs: MaxEpochs = 500,
    tol: Tol = 1e-5,
    start: Start = None,
    data: Data = None,
    center: Center = False,
    as_json: Json = False,
    out: Out = None,
    format: Format = FigureFormat.png,
    no_figures: NoFigures = False,
    show: Show = False,
) -> None:
    """Gradient descent at several rates, in one plot, and what each rate is good for."""
    from cli726 import logistic

    points = logistic.load_points(data)
    result = logistic.compare(
        points, etas or RATES, max_epochs=max_epochs, tol=tol, start=weights(start), centered=center
    )

    def figures() -> Figures:
        from cli726.figures import logistic_rates as drawn

        return {"error": lambda: drawn.errors(result), "distance": lambda: drawn.gaps(result)}

    paths = draw(figures, "lr-compare", out=out, format=format, no_figures=no_figures, show=show, as_json=as_json)
    emit(result, lambda: comparison_tables(result), as_json=as_json, figures=paths)
    refuse_divergence([run.eta for run in result.runs if run.diverged])


@app.command(
    epilog=examples(
        "cmpt726 lr sgd", "cmpt726 lr sgd --eta 0.05", "cmpt726 lr sgd --eta 0.3 --eta 0.1 --batch-size 20 --json"
    )
)
def sgd(
    etas: Etas = None,
    epochs: Annotated[
        int, typer.Option(metavar="N", min=1, max=1_000_000, help="Passes over the points.", rich_help_panel=DESCENT)
    ] = 500,
    batch_size: Annotated[int, typer.Option(metavar="N", min=1, help="Points an update.", rich_help_panel=DESCENT)] = 1,
    shuffles: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            max=10_000,
            help="Independent orders of the points, for median and band.",
            rich_help_panel=DESCENT,
        ),
    ] = 20,
    seed: Seed = 0,
    start: Start = None,
    data: Data = None,
    center: Center = False,
    as_json: Json = False,
    out: Out = None,
    format: Format = FigureFormat.png,
    no_figures: NoFigures = False,
    show: Show = False,
) -> None:
    """Stochastic gradient descent, reshuffled every epoch, beside gradient descent at equal cost."""
    from cli726 import logistic

    points = logistic.load_points(data)
    with progress() as reporter:
        result = logistic.stochastic_descent(
            points,
            etas or RATES,
            epochs=epochs,
            batch_size=batch_size,
            shuffles=shuffles,
            seed=seed,
            start=weights(start),
            centered=center,
            reporter=reporter,
        )

    def figures() -> Figures:
        from cli726.figures import logistic_rates as drawn

        return {"error": lambda: drawn.stochastic_errors(result), "equal-cost": lambda: drawn.equal_cost(result)}

    paths = draw(figures, "lr-sgd", out=out, format=format, no_figures=no_figures, show=show, as_json=as_json)
    emit(result, lambda: stochastic_tables(result), as_json=as_json, figures=paths)
    refuse_divergence([run.eta for run in result.runs if run.diverged])


@app.command(
    epilog=examples("cmpt726 lr newton", "cmpt726 lr newton --center --no-figures", "cmpt726 lr newton --json")
)
def newton(
    data: Data = None,
    center: Center = False,
    as_json: Json = False,
    out: Out = None,
    format: Format = FigureFormat.png,
    no_figures: NoFigures = False,
    show: Show = False,
) -> None:
    """The optimum by Newton's method (IRLS), by which the descents are judged."""
    from cli726 import logistic

    points = logistic.load_points(data)
    result = logistic.solve(points, centered=center)

    def figures() -> Figures:
        from cli726.figures import logistic_rates as drawn

        made: dict[str, Callable[[], Figure]] = {"steps": lambda: drawn.newton_steps(result)}
        if len(points.features) == 2:
            made["data"] = lambda: drawn.newton_data(result, logistic.center(points) if center else points)
        return made

    paths = draw(figures, "lr-newton", out=out, format=format, no_figures=no_figures, show=show, as_json=as_json)
    emit(result, lambda: newton_tables(result), as_json=as_json, figures=paths)
