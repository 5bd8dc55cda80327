"""`cmpt726 softmax`: problem 1."""

from typing import Annotated

from commands.drawing import Figures, Output, drawing
from commands.options import MODEL, At, Extent, examples, option

EPILOG = examples(
    "cmpt726 softmax",
    "cmpt726 softmax --point",
    'cmpt726 softmax --class "1,2,0" --class "-1,0.5,1" --at 2 -1 --no-figures',
)
ACTIVATION = "A class's activation; repeat for each (default: the assignment's three)."
Classes = Annotated[list[str] | None, option(ACTIVATION, "W1,W2,BIAS", MODEL, "--class")]
Point = Annotated[bool, option("Print the green point alone; draw nothing.", None, MODEL, "--point")]


@drawing("softmax")
def softmax(
    output: Output, classes: Classes = None, at: At = None, point: Point = False, extent: Extent = None
) -> None:
    """Give the softmax of linear activations: where its regions meet, along their boundaries, far out."""
    from cli726 import exact
    from cli726.softmax import ASSIGNMENT, NAMES, analyse, evaluate
    from cli726.softmax.findings import document, point_document

    result = analyse(exact.classes(classes or ASSIGNMENT, NAMES))
    place = evaluate(result.weights, (exact.number(at[0]), exact.number(at[1]))) if at else None
    half = exact.extent(extent) if extent else None

    def figures() -> Figures:
        from cli726.softmax import figures as drawn

        return drawn.figures(result, half, place)

    content = (point_document if point else document)(result, place)
    found = {"point": result.point} if point else {**vars(result), "findings": content.findings}
    alone = point and output.out is None and not output.show
    output.present(found | ({"at": place} if place else {}), content, None if alone else figures)
