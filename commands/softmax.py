"""`cmpt726 softmax`: problem 1."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from commands.drawing import Figures, draw
from commands.options import Extent, FigureFormat, Format, Json, NoFigures, Out, Show, examples
from commands.render import emit, findings, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from cli726.softmax import Softmax
    from cli726.softmax_geometry import Boundary, Place

MODEL = "Model and points"
EPILOG = examples(
    "cmpt726 softmax",
    "cmpt726 softmax --point",
    'cmpt726 softmax --class "1,2,0" --class "-1,0.5,1" --at 2 -1 --no-figures',
)
# With more classes than this only those that keep a share are listed.
LISTED = 4


def coordinates(x: Sequence[float] | None) -> str:
    return "" if x is None else "(" + ", ".join(f"{value:.4g}" for value in x) + ")"


def rate(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def shares(probabilities: Sequence[float] | None) -> str:
    """Probabilities in one cell of a table."""
    from cli726.softmax_geometry import readable

    if probabilities is None:
        return ""
    texts = readable(probabilities)
    if len(texts) <= LISTED:
        return ", ".join(texts)
    return ", ".join(f"C{k} {text}" for k, text in enumerate(texts, 1) if text != "0")


def place_table(title: str, place: "Place") -> "Iterator[RenderableType]":
    """Activations and probabilities at one point, a row for each class."""
    from rich.text import Text

    from cli726.exact import both, point_both
    from cli726.softmax_geometry import readable

    yield Text(f"{title} {point_both(place.exact)}", style="bold")
    rows = [
        (f"C{k}", both(activation), share, "largest" if k in place.tied else "")
        for k, (activation, share) in enumerate(
            zip(place.exact_activations, readable(place.probabilities), strict=True), start=1
        )
    ]
    yield table(None, "class", "activation", "probability", "", rows=rows)


def points(result: "Softmax", at: "Place | None") -> "Iterator[RenderableType]":
    """The user's point and the meeting points, alone."""
    if at:
        yield from place_table("The point", at)
    for place in result.vertices:
        yield from place_table("The green point" if result.point else "A meeting point", place)
    if not result.vertices:
        yield from findings(result.findings[:1])


def piece(item: "Boundary", result: "Softmax") -> str:
    """Which part of its line a boundary is."""
    from cli726.exact import point

    if item.start is None:
        return "whole line"
    if result.point:
        return "ray"
    return f"{point(item.start)} to {point(item.end)}" if item.end else f"ray from {point(item.start)}"


def answers(result: "Softmax", at: "Place | None") -> "Iterator[RenderableType]":
    """Everything on one screen."""
    from rich.text import Text

    from cli726.softmax_geometry import formula, line

    if at:
        yield from place_table("The point", at)
    formulas = "; ".join(f"a{k} = {formula(w, exact=False)}" for k, w in enumerate(result.weights, 1))
    yield Text(f"Softmax of {formulas}\n")
    if result.boundaries:
        yield table(
            f"Boundaries{' from the green point' if result.point else ''}, and probabilities far out",
            "classes", "equation", "piece", "direction", "rate", "far out", "behind",
            rows=[
                (
                    "|".join(f"C{k}" for k in item.classes), line(result.weights, item.classes, exact=False),
                    piece(item, result), coordinates(item.direction), rate(item.rate),
                    shares(item.limit), shares(item.behind),
                )
                for item in result.boundaries
            ],
            numeric=7,
        )  # fmt: skip
    yield table(
        "Regions, and probabilities far out",
        "class", "region", "direction", "rate", "far out",
        rows=[
            (
                f"C{item.class_}", item.kind, coordinates(item.direction), rate(item.rate), shares(item.limit),
            )
            for item in result.regions
        ],
        numeric=5,
    )  # fmt: skip
    yield from findings(result.findings)


def softmax(
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            metavar="W1,W2,BIAS",
            help="A class's activation; repeat for each (default: the assignment's three).",
            rich_help_panel=MODEL,
        ),
    ] = None,
    at: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="X1 X2", help="Also activations and probabilities at this point.", rich_help_panel=MODEL),
    ] = None,
    point: Annotated[
        bool, typer.Option("--point", help="Print the green point alone, and draw nothing.", rich_help_panel=MODEL)
    ] = False,
    as_json: Json = False,
    out: Out = None,
    format: Format = FigureFormat.png,
    extent: Extent = None,
    no_figures: NoFigures = False,
    show: Show = False,
) -> None:
    """Probabilities of a softmax over linear activations: where its regions meet, along their boundaries, far out."""
    from cli726 import exact
    from cli726.softmax import ASSIGNMENT, NAMES, analyse
    from cli726.softmax_geometry import evaluate

    result = analyse(exact.classes(classes or ASSIGNMENT, NAMES))
    place = evaluate(result.weights, exact.pair(at)) if at else None
    half = exact.positive(extent, "--extent") if extent else None

    def figures() -> Figures:
        from cli726.figures import softmax as drawn

        made = {"regions": lambda: drawn.regions(result, half, place)}
        if result.boundaries:
            made["along-boundaries"] = lambda: drawn.along_boundaries(result)
            made["into-regions"] = lambda: drawn.into_regions(result)
        return made

    alone = point and out is None and not show
    paths = draw(figures, "softmax", out=out, format=format, no_figures=no_figures or alone, show=show, as_json=as_json)
    payload = {"point": result.point} if point else dict(vars(result))
    if place:
        payload["at"] = place
    emit(payload, lambda: (points if point else answers)(result, place), as_json=as_json, figures=paths)
