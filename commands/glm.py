"""`cmpt726 glm`: problem 2."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from commands.drawing import Figures, draw
from commands.options import Extent, FigureFormat, Format, Json, NoFigures, Out, Show, examples
from commands.render import emit, findings, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import RenderableType

    from cli726.glm import Glm
    from cli726.glm_regions import Place

MODEL = "Model and points"
EPILOG = examples(
    "cmpt726 glm",
    'cmpt726 glm --class "1,1,-2" --class "3,0,0" --class "2,0,1" --out figures',
    "cmpt726 glm --at 0.5 -0.5 --no-figures",
)


def place_table(place: "Place") -> "Iterator[RenderableType]":
    """The scores at one point, a row for each class."""
    from rich.text import Text

    from cli726.exact import both, point_both

    yield Text(f"The point {point_both(place.exact)}", style="bold")
    rows = [
        (f"C{k}", both(score), "largest" if k in place.tied else "")
        for k, score in enumerate(place.exact_scores, start=1)
    ]
    yield table(None, "class", "score", "", rows=rows)


def answers(result: "Glm", at: "Place | None") -> "Iterator[RenderableType]":
    """Everything on one screen."""
    from cli726.conics import describe
    from cli726.exact import short
    from cli726.glm_regions import curve, formula

    if at:
        yield from place_table(at)
    yield table(
        "Scores",
        "score", "formula", "surface", "at the origin", "",
        rows=[
            (f"y{item.class_}", formula(w, exact=False), item.shape, short(w[0]), item.stationary)
            for item, w in zip(result.surfaces, result.weights, strict=True)
        ],
        numeric=9,
    )  # fmt: skip
    yield table(
        "Where two scores are equal",
        "classes", "equation", "conic", "", "divides their regions",
        rows=[
            (
                "|".join(f"C{k}" for k in item.classes), curve(result.weights, item.classes, exact=False), item.conic,
                describe(item), item.separates,
            )
            for item in result.boundaries
        ],
        numeric=9,
    )  # fmt: skip
    yield from findings(result.findings)


def glm(
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            metavar="W0,W1,W2",
            help="A class's weights of 1, x1^2 and x2^2; repeat for each (default: the assignment's two).",
            rich_help_panel=MODEL,
        ),
    ] = None,
    at: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="X1 X2", help="Also scores and region at this point.", rich_help_panel=MODEL),
    ] = None,
    as_json: Json = False,
    out: Out = None,
    format: Format = FigureFormat.png,
    extent: Extent = None,
    no_figures: NoFigures = False,
    show: Show = False,
) -> None:
    """Scores over the basis functions 1, x1^2, x2^2: their surfaces, their decision regions, each boundary a conic."""
    from cli726 import exact
    from cli726.glm import ASSIGNMENT, NAMES, analyse
    from cli726.glm_regions import evaluate

    result = analyse(exact.classes(classes or ASSIGNMENT, NAMES))
    place = evaluate(result.weights, exact.pair(at)) if at else None
    half = exact.positive(extent, "--extent") if extent else None

    def figures() -> Figures:
        from cli726.figures import glm as drawn

        made: dict[str, Callable[[], Figure]] = {
            f"y{item.class_}": partial(drawn.surface, result, item.class_, half) for item in result.surfaces
        }
        made["surfaces"] = lambda: drawn.all_surfaces(result, half)
        made["regions"] = lambda: drawn.regions(result, half, place)
        return made

    paths = draw(figures, "glm", out=out, format=format, no_figures=no_figures, show=show, as_json=as_json)
    payload = dict(vars(result))
    if place:
        payload["at"] = place
    emit(payload, lambda: answers(result, place), as_json=as_json, figures=paths)
