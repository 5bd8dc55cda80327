"""`cmpt726 glm`: problem 2."""

from typing import Annotated

from commands.drawing import Figures, Output, drawing
from commands.options import MODEL, At, Extent, examples, option

EPILOG = examples(
    "cmpt726 glm",
    'cmpt726 glm --class "1,1,-2" --class "3,0,0" --class "2,0,1" --out figures',
    "cmpt726 glm --at 0.5 -0.5 --no-figures",
)
SCORES = "A class's weights of 1, x1^2 and x2^2; repeat for each (default: the assignment's two)."
Classes = Annotated[list[str] | None, option(SCORES, "W0,W1,W2", MODEL, "--class")]


@drawing("glm")
def glm(output: Output, classes: Classes = None, at: At = None, extent: Extent = None) -> None:
    """Draw scores over 1, x1^2 and x2^2: their surfaces, their decision regions, each boundary a conic."""
    from cli726 import exact
    from cli726.glm import ASSIGNMENT, NAMES, analyse, evaluate
    from cli726.glm.findings import document

    result = analyse(exact.classes(classes or ASSIGNMENT, NAMES))
    place = evaluate(result.weights, (exact.number(at[0]), exact.number(at[1]))) if at else None
    half = exact.extent(extent) if extent else None

    def figures() -> Figures:
        from cli726.glm import figures as drawn

        return drawn.figures(result, half, place)

    content = document(result, place)
    found = {**vars(result), "findings": content.findings}
    output.present(found | ({"at": place} if place else {}), content, figures)
