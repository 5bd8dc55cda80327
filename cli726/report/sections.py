"""What the builder gets from each of problems 1 to 5: its document, what else its template reads, and figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from cli726 import backprop, exact, glm, logistic, softmax, vanishing
from cli726.backprop import figures as backprop_figures
from cli726.backprop import findings as backprop_findings
from cli726.backprop.example import example
from cli726.choices import Connect, Hidden
from cli726.document import Content, Document, m
from cli726.glm import figures as glm_figures
from cli726.glm import findings as glm_findings
from cli726.logistic import figures as logistic_figures
from cli726.softmax import figures as softmax_figures
from cli726.softmax import findings as softmax_findings
from cli726.text import counted
from cli726.vanishing import figures as vanishing_figures
from cli726.vanishing import findings as vanishing_findings

Draw = Callable[[], Figure]
# Of problem 5, in the order in which they stand.
FIGURES = ("separator-path", "error", "curvature", "rates-error", "rates-distance", "sgd-error", "sgd-equal-cost")


@dataclass(frozen=True)
class Section:
    """One problem, computed.

    templates/problemN.typ has `#let body(d) = { [ ... ] }`. In it `#answers(d, "1.2")` sets the findings of a question,
    `#evidence(d, "1.2")` its tables, their titles as captions (`only: 0` the first of them); `#answers(d, "")` the
    warnings. `d.lines.at(0)` is the formula that `data` holds under that name: `$ #formula(d.lines.at(0)) $` in an
    equation, `#prose((d.lines.at(0),))` in a sentence. `#picture(d, "regions", [Caption.], alt: "...")` shows a figure
    where there is room for it, `#pictures(d, ("y1", [Caption.], "..."), ("y2", ...))` two beside each other; one that
    `figures` lacks is left out. Mathematics, a negative number or 1e-7 in a sentence too, is marked with `m(...)`.

    Attributes:
        headline: Its answer in a line.
        document: Its findings and tables, those of the command.
        data: Whatever else its template reads: texts, numbers, formulas, lists and mappings.
        figures: File stem -> how to draw it.
        images: File name -> content of a PNG file.
    """

    headline: Content
    document: Document
    data: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, Draw] = field(default_factory=dict)
    images: Mapping[str, bytes] = field(default_factory=dict)


def of_softmax() -> Section:
    """Return problem 1: the assignment's three activations."""
    result = softmax.analyse(exact.classes(softmax.ASSIGNMENT, softmax.NAMES))
    (point,) = result.vertices
    return Section(
        headline=exact.marked(f"The regions meet at `{exact.place(point.exact)}`, where every probability is `1/3`."),
        document=softmax_findings.document(result),
        data={
            "activations": [m(text) for text in result.activations],
            "lines": [{"classes": item.classes, "equation": m(item.equation)} for item in result.boundaries],
            "point": m(exact.place(point.exact)),
            "height": m(str(point.exact_activations[0])),
        },
        figures=softmax_figures.figures(result),
    )


def of_glm() -> Section:
    """Return problem 2: the assignment's two weight vectors."""
    result = glm.analyse(exact.classes(glm.ASSIGNMENT, glm.NAMES))
    content = glm_findings.document(result)
    return Section(
        headline=content.findings[-1].parts,
        document=content,
        data={
            "weights": [m(f"({', '.join(map(str, w))})") for w in result.weights],
            "scores": [m(item.formula) for item in result.surfaces],
            "equation": m(result.boundaries[0].equation),
        },
        figures=glm_figures.figures(result),
    )


def of_backprop() -> Section:
    """Return problem 3: the assignment's network, on an example drawn from seed 0."""
    result = backprop.solve(*example(seed=0))
    items, content = result.derivatives.values(), backprop_findings.document(result)
    confirmed = sum(item.verdict == "passed" for item in items)
    return Section(
        headline=f"{counted(len(items), 'derivative')} derived; the complex step confirms {confirmed} in an example.",
        document=content,
        data={
            "values": [m(backprop_findings.certain(item.value, item.bound)) for item in items],
            "weights": [[[m(f"{w:.3g}") for w in row] for row in matrix] for matrix in result.network.weights],
            "point": content.lead[-1],
        },
        figures=backprop_figures.figures(result),
    )


def of_vanishing() -> Section:
    """Return problem 4: 152 layers of weights, every weight 1; the template has what holds in general."""
    setting = vanishing.Setting()
    results = [vanishing.analyse(setting, hidden, connect) for hidden in Hidden for connect in Connect]
    answers = vanishing_findings.document(results)
    first = m(vanishing_findings.magnitude(results[0].log10[0]))
    dead = f"; with ReLU one inactive unit makes all {setting.depth} gradients of its chain 0."
    return Section(
        headline=("In the logistic chain ", m("w_11^(1)"), " has a gradient of ", first, dead),
        document=replace(answers, findings=[item for item in answers.findings if item.evidence]),
        data={"depth": setting.depth},
        figures=vanishing_figures.figures(results),
    )


def of_logistic(data: Path | None) -> Section:
    """Return problem 5: its three questions, on the bundled points or the user's."""
    points = logistic.load_points(data)
    descent, compared = logistic.gradient_descent(points), logistic.compare(points)
    stochastic = logistic.stochastic_descent(points)
    documents = [logistic.document(result) for result in (descent, compared, stochastic)]
    made = {
        f"{name}{stem}": draw
        for name, result in (("", descent), ("rates-", compared), ("sgd-", stochastic))
        for stem, draw in logistic_figures.figures(result).items()
    }
    rises = len(descent.risen)
    rose = f"rose in {rises} of {descent.epochs}" if rises else f"never rose in {descent.epochs}"
    exactly = (", exactly where ", m("eta q > 2")) if rises and not descent.unexplained else ()
    return Section(
        headline=("At rate ", m(f"{descent.eta:g}"), f" the loss {rose} steps", *exactly, "."),
        document=Document(
            documents[0].lead,
            {number: question for part in documents for number, question in part.questions.items()},
            # What belongs to no question, such as whether there is a minimum, is the same in each.
            [item for part in documents for item in part.findings if item.question or part is documents[0]],
            [table for part in documents for table in part.tables],
        ),
        data={
            "source": points.name,
            "points": len(points.X),
            "classes": points.classes,
            "rate": f"{descent.eta:g}",
            "start": ", ".join(f"{value:g}" for value in descent.w[0]),
            "rates": [f"{run.eta:g}" for run in compared.runs],
            "shuffles": stochastic.shuffles,
            "minimum": f"{descent.optimum.nll:.4g}",
            "goal": "infimum" if descent.optimum.separation else "minimum",
        },
        figures={stem: made[stem] for stem in FIGURES if stem in made},
    )


# The last takes a file of points, None for the bundled ones.
SECTIONS: dict[int, Callable[..., Section]] = {
    1: of_softmax, 2: of_glm, 3: of_backprop, 4: of_vanishing, 5: of_logistic,
}  # fmt: skip
