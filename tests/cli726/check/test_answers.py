"""Right answers in many spellings are right; wrong ones are refused for the right reason."""
# ruff: noqa: E501 - tables of answers

from __future__ import annotations

import itertools
import random
import re
import string
import sys
import time
from contextlib import suppress

import numpy as np
import numpy.random
import pytest

from cli726.backprop import solve
from cli726.backprop.example import example
from cli726.check import QUESTIONS, Parameters, check
from cli726.check.grammar import parse, spelt
from cli726.choices import Hidden
from cli726.errors import RequestError
from tests.harness import times

HIGH = str.maketrans("0123456789()lk+", "⁰¹²³⁴⁵⁶⁷⁸⁹⁽⁾ˡᵏ⁺")
LOW = str.maketrans("0123456789klj", "₀₁₂₃₄₅₆₇₈₉ₖₗⱼ")
SYMBOL = r"([a-z]+)_(\w+)\^\(([^)]+)\)"


def latex(text):
    text = re.sub(SYMBOL, r"\1_{\2}^{(\3)}", text)
    return re.sub(r"\b(delta|sum|prod)", r"\\\1", text)


def unicode(text):
    text = re.sub(SYMBOL, lambda s: s[1] + s[2].translate(LOW) + f"({s[3]})".translate(HIGH), text)
    return text.replace("delta", "δ").replace("sum_k", "Σₖ").replace("'", "′").replace(" - ", " − ")


def compact(text):
    return re.sub(r"(?<![h\w])([a-z]+)_(\d+)\^\((\d)\)", r"\1\2(\3)", text)


def layer_first(text):
    return re.sub(SYMBOL, r"\1^(\3)_\2", text)


STYLES = (str, latex, unicode, compact, layer_first)
WRAPPINGS = ("{}", "({})", "[{}]", "1 * ({})", "{} + 0", "-(-({}))", r"\left( {} \right)", "$ {} $", r"\frac{{{}}}{{1}}",
             "2 ({}) / 2", "({})^1", "  {}  ", "({}) · 1")  # fmt: skip

FORMULAS = {
    "2.1": ["6 + 2 x1^2 + 2 x2^2", "2(x1^2 + x2^2 + 3)", "2*x1**2 + 2*x2**2 + 6", "6 + 2 x_1^2 + 2 x_2^2", "y1 = 6 + 2x1² + 2x2²",
            "y_1(x) = 6+2x_1^{2}+2x_2^{2}", "8 - 2 + 2 x^2 + 2 y^2"],
    "2.2": ["8", "y2 = 8", "y_2(x) = 8", "8.0", "8 / 2 * 2", "16 / 2 / 1", "2^3^1", "-2 * -4", "16 - 2^3", "-2^3 + 16", "10 - 1 - 1", "2^2 2", "4 / 2 4", "2^-1 * 16", "8 - (2 - 2)",
            "8 + 0 x1^2 + 0 x2^2", "16/2", "2^3", "6 + 2", "8 x1 / x1"],
    "3.1": ["y - t", "y(x_n, w) - t_n", "a_1^(4) - t", "-(t - y)", "-t + y", "delta_1^(4) = y - t", "dE_n/da_1^(4) = y - t",
            "z_1^(4) - t", "w_11^(3) z_1^(3) + w_12^(3) z_2^(3) + w_13^(3) z_3^(3) - t", "sum_k w_1k^(3) z_k^(3) - t",
            r"\frac{\partial E_n}{\partial a_1^{(4)}} = y - t"],
    "3.2": ["delta_1^(4) z_2^(3)", "(y - t) * z_2^(3)", "z_2^(3) (y - t)", "dE_n/dw_12^(3) = delta_1^(4) z_2^(3)",
            "(y - t) h(a_2^(3))", "y z_2^(3) - t z_2^(3)"],
    "3.3": ["h'(a_1^(3)) w_11^(3) delta_1^(4)", "delta_1^(4) w_11^(3) h'(a_1^(3))", "z_1^(3) (1 - z_1^(3)) w_11^(3) (y - t)",
            "(y - t) w_11^(3) (z_1^(3) - z_1^(3)^2)", "delta_1^(3) = h'(a_1^(3)) w_11^(3) delta_1^(4)"],
    "3.4": ["delta_1^(3) z_1^(2)", "z_1^(2) delta_1^(3)", "h'(a_1^(3)) w_11^(3) delta_1^(4) z_1^(2)",
            "(y - t) w_11^(3) z_1^(3) (1 - z_1^(3)) h(a_1^(2))", "dE/dw_11^(2) = delta_1^(3) z_1^(2)"],
    "3.5": ["h'(a_1^(2)) sum_k w_k1^(2) delta_k^(3)", "h'(a_1^(2)) (w_11^(2) delta_1^(3) + w_21^(2) delta_2^(3) + w_31^(2) delta_3^(3))",
            "z_1^(2) (1 - z_1^(2)) sum_{k=1}^{3} w_k1^(2) delta_k^(3)", "sum_k delta_k^(3) w_k1^(2) h'(a_1^(2))",
            "delta_1^(2) = h'(a_1^(2)) sum_j w_j1^(2) delta_j^(3)",
            "h'(a_1^(2)) sum_k w_k1^(2) h'(a_k^(3)) w_1k^(3) (y - t)"],
    "3.6": ["delta_1^(2) x_1", "x_1 delta_1^(2)", "delta_1^(2) z_1^(1)", "h'(a_1^(2)) (sum_k w_k1^(2) delta_k^(3)) x_1", "delta_1^(2) x1"],
    "4.1": ["(y - t) z_1^(l) prod_{k=l+1}^{152} w_11^(k) h'(a_1^(k))", "delta_1^(l+1) z_1^(l)",
            "(y - t) z_1^(l) (prod_{k=l+1}^{152} w_11^(k)) prod_{k=l+1}^{152} h'(a_1^(k))",
            "(y - t) z_1^(l) prod_{j=l+1}^{152} w_11^(j) z_1^(j) (1 - z_1^(j))"],
    "4.2": ["h(a) (1 - h(a))", "h(1-h)", "z (1 - z)", "z - z^2", "sigma(a) (1 - sigma(a))", r"\sigma(a)(1-\sigma(a))",
            "exp(-a)/(1 + exp(-a))^2", r"\frac{e^{-a}}{(1+e^{-a})^2}", "h'(a) = h(a)(1 - h(a))", "1/(2 + exp(a) + exp(-a))", "y(1 - y)",
            "h(a) h(-a)", "e^a/(1+e^a)^2"],
}  # fmt: skip
BLANKS = ("{}", " {} ", "({})", "[{}]")
LISTS = {
    "1.1": ["1/3, 1/3, 1/3", "1/3; 1/3; 1/3", "0.333, 0.333, 0.333", "33.3%, 33.3%, 33.3%", "1/3", "0.3333", "3/22, -4/11",
            "0.1364, -0.3636", "2/6, 3/9, 1/3", "p1 = 1/3, p2 = 1/3, p3 = 1/3", "p(C1|x) = 1/3, p(C2|x) = 1/3, p(C3|x) = 1/3",
            "x1 = 3/22, x2 = -4/11", "p = 1/3", "0.33,0.33,0.33"],
    "1.2": ["1/2, 1/2, 0", "0.5, 0.5, 0", "0, 1/2, 1/2", "50%, 50%, 0", "C1|C2: 1/2, 1/2, 0", "C1|C3: 1/2, 0, 1/2", "C2|C3: 0, 1/2, 1/2",
            "0.50; 0; 0.50", "2 x1 - 2 x2 = 1", "C1|C2: x1 - x2 = 1/2", "12 x1 - x2 = 2", "8 x1 + 3 x2 = 0", "x2 = 12 x1 - 2", "x2 = -8/3 x1",
            "C1|C3: 12 x1 - x2 - 2 = 0", "x1 = x2 + 0.5", "3 x1 + x2 + 1 = x1 + 3 x2 + 2", "C1|C3: 6 x1 = 1 + x2/2", "4(x1 - x2) = 2",
            "C2|C3: 16 x1 + 6 x2 = 0", "1/(2 + exp(-rho s))", "p1 = 1/(2 + e^(-rho s))", r"C1|C2: \frac{1}{2 + e^{-\rho s}}",
            "exp(rho s)/(1 + 2 exp(rho s))"],
    "1.3": ["1, 0, 0", "0, 1, 0", "0, 0, 1", "C1: 1, 0, 0", "C2: 0, 1, 0", "C3: 0, 0, 1", "1.0, 0.0, 0.0", "100%, 0, 0", "C2: 0; 1; 0",
            "p1 = 1, p2 = 0, p3 = 0", "C1 : 1,0,0"],
    "2.3": ["x1^2 + x2^2 = 1", "2 x1^2 + 2 x2^2 = 2", "6 + 2 x1^2 + 2 x2^2 = 8", "x1² + x2² − 1 = 0", "x^2 + y^2 = 1", "x_1^2 = 1 - x_2^2",
            "C1 where x1^2 + x2^2 > 1", "C2 where x1^2 + x2^2 < 1", "C1: x1^2 + x2^2 > 1; C2: x1^2 + x2^2 < 1", "x1^2 + x2^2 > 1",
            "x1^2 + x2^2 < 1", "x1^2 + x2^2 ≤ 1",
            "C1 if 2 x1^2 + 2 x2^2 >= 2", "circle", "circle, radius 1", "circle of radius 1.0", "C1|C2: x1**2 + x2**2 = 1", "1 = x1^2 + x2^2",
            "x1 x1 + x2 x2 = 1", "(x1^2 + x2^2)/2 = 1/2", "C2: 1 > x1^2 + x2^2", "C1 where x1^2+x2^2>1 and C2 where x1^2+x2^2<1"],
    "4.3": ["some unit of the chain is inactive", "a_1^(k) <= 0 for some k", "any unit inactive", "one unit is off", "a unit is not active",
            "at least one ReLU is inactive", "any neuron dead", "no path of active units", "not active: any node", "a^(k) < 0 for some layer's unit",
            "some activation is negative", "h'(a_1^(k)) = 0 for some k", "z_1^(k) = 0", "the path is blocked", "a layer is inactive",
            "one unit inactive or y = t", "an inactive unit", "some unit inactive, or x = 0 or y = t", "if any unit of the chain is zero",
            "one dead relu"],
    "4.4": ["no path of active units leads to the output", "no active path", "all paths are blocked", "every path has an inactive unit",
            "a layer in which no unit is active", "all units of some layer are inactive", "a whole layer is inactive", "each path is broken",
            "a layer has no active unit", "all units of a layer are off", "every unit of some layer is dead", "no path is active",
            "no path is open", "all paths are dead or y = t", "a wholly inactive layer", "an entire layer is off", "some layer without active units",
            "every path passes an inactive unit", "both units of a layer are inactive", "all paths inactive or its unit is inactive"],
}  # fmt: skip


def spellings(question):
    if question in LISTS:
        usual = LISTS[question]
        extra = [f"  {text} " for text in usual if question in ("1.1", "1.3")] + [
            f"({text})" for text in usual if text[0].isdigit() and "=" not in text
        ]
        return dict.fromkeys(usual + (extra if question in ("1.1", "1.3") else []))
    base = FORMULAS[question]
    styled = [style(text) for text in base for style in STYLES]
    plain = next(text for text in base if "=" not in text)
    return dict.fromkeys(styled + [wrapping.format(plain) for wrapping in WRAPPINGS])


@pytest.mark.parametrize("question", [*FORMULAS, *LISTS])
def test_right_answers_are_right_however_they_are_spelt(question):
    texts = spellings(question)
    assert len(texts) >= 20
    wrong = [(text, check(question, text).message) for text in texts if not check(question, text).right]
    assert wrong == []


SLIPPED = {"3.1", "3.2", "3.3", "3.4", "3.5", "3.6", "4.1"}
CANONICAL = {
    "3.1": "w_11^(3) z_1^(3) + w_12^(3) z_2^(3) + w_13^(3) z_3^(3) - t",
    "3.5": "h'(a_1^(2)) (w_11^(2) delta_1^(3) + w_21^(2) delta_2^(3) + w_31^(2) delta_3^(3))",
}


def slipped(question):
    """Every slip in a formula: what was typed, which names may be given to it."""
    for text in dict.fromkeys(
        [next(t for t in FORMULAS[question] if "=" not in t or "{" in t), CANONICAL.get(question, "")]
    ):
        if not text:
            continue
        for style in (str, latex):
            typed = style(text)
            yield f"-({typed})", {"sign"}
            yield f"2 ({typed})", {"factor 2"}
            yield rf"\frac{{1}}{{2}} ({typed})", {"factor 1/2"}
            yield f"({typed}) h'(a_1^({153 if question == '4.1' else 4}))", {"h' too many"}
            last = "(153)" if question == "4.1" else "(4)"
            yield f"({typed}) z_1^{last}", {"factor too many"}
            yield f"({typed}) t", {"factor too many"}
            yield f"({typed}) y", {"factor too many"}
        for found in re.finditer(SYMBOL, text):
            name, index, layer = found.groups()
            swaps = [(f"{name}_{index}^({moved(layer, k)})", {"layer"}) for k in (1, -1)]
            if len(index) == 2 and index[0] != index[1]:
                swaps.append((f"{name}_{index[::-1]}^({layer})", {"indices swapped"}))
            swaps += [
                (f"{name}_{index[:-1]}{u}^({layer})", {"unit", "indices swapped", "missing sum"})
                for u in "123"
                if u != index[-1]
            ]
            if name in ("z", "a"):
                swaps.append((f"{'az'[name == 'a']}_{index}^({layer})", {"a for z", "z for a"}))
                swaps.append((f"x_{index}", {"input for unit", "unit"}))
            for new, names in swaps:
                changed = text[: found.start()] + new + text[found.end() :]
                for typed in (changed, latex(changed)):
                    yield typed, names | {"unit", "delta of the layer"}


def moved(layer, step):
    return (
        str(int(layer) + step)
        if layer.isdecimal()
        else {"l": f"l{step:+d}", "k": f"k{step:+d}", "l+1": f"l+{1 + step}"}[layer]
    )


HAND = {
    "3.1": {"y + t": "sign", "t - y": "sign", "1/2 (y - t)": "factor 1/2", "(y - t) h'(a_1^(4))": "h' too many", "delta_1^(4)": "name only",
            "y": "missing term", "z_1^(4) + t": "sign"},
    "3.2": {"z_2^(3)": "missing factor", "delta_1^(4)": "missing factor", "delta_1^(4) + z_2^(3)": "sum for product",
            "delta_1^(4) z_2^(3) w_12^(3)": "factor too many", "delta_1^(4) h'(a_2^(3))": "h' for h", "delta_1^(4) / z_2^(3)": "quotient", "delta_1^(4) z_2^(3) h(a_1^(3))": "factor too many"},
    "3.3": {"w_11^(3) delta_1^(4)": "missing factor", "h'(a_1^(3)) delta_1^(4)": "missing factor", "h(a_1^(3)) w_11^(3) delta_1^(4)": "h for h'",
            "h'(z_1^(3)) w_11^(3) delta_1^(4)": "z for a", "z_1^(3) (1 + z_1^(3)) w_11^(3) delta_1^(4)": "sign", "delta_1^(3)": "name only"},
    "3.4": {"delta_1^(3)": "missing factor", "z_1^(2)": "missing factor", "delta_1^(3) x_1": "input for unit",
            "w_11^(3) delta_1^(4) z_1^(2)": "missing factor", "delta_1^(3) + z_1^(2)": "sum for product", "delta_1^(3) / z_1^(2)": "quotient",
            "delta_1^(3) h'(a_1^(2))": "h' for h", "delta_1^(3) z_1^(2)^2": "power", "h'(a_1^(3)) delta_1^(3) z_1^(2)": "h' too many"},
    "3.5": {"h'(a_1^(2)) w_k1^(2) delta_k^(3)": "missing sum", "sum_k w_k1^(2) delta_k^(3)": "missing factor",
            "h'(a_1^(2)) w_11^(2) delta_1^(3)": "missing sum", "h'(a_1^(2)) sum_k w_1k^(2) delta_k^(3)": "indices swapped",
            "h'(a_1^(2)) sum_{k=1}^{2} w_k1^(2) delta_k^(3)": "bounds"},
    "3.6": {"delta_1^(2)": "missing factor", "x_1": "missing factor", "delta_1^(2) z_1^(2)": "layer", "delta_1^(2) x_2": "unit",
            "delta_1^(2) h(x_1)": None, "delta_1^(3) x_1": "layer", "delta_2^(2) x_1": "unit", "delta_1^(2) a_1^(2)": "unit for input",
            "delta_1^(2) w_11^(1)": None, "delta_1^(2) + x_1": "sum for product", "delta_1^(2) x_1^2": "power", "delta_1^(2) / x_1": "quotient",
            "(y - t) x_1": None, "delta_1^(2) - x_1": "sum for product", "delta_1^(2) t x_1": "factor too many",
            **{f"{s} delta_{i}^(2) x_{j}": "unit" for s in ("", "1 *") for i in "123" for j in "123" if (i == "1") != (j == "1")}},
    "4.1": {"(y - t) z_1^(l) prod_{k=l}^{152} w_11^(k) h'(a_1^(k))": "delta of the layer", "(y - t) prod_{k=l+1}^{152} w_11^(k) h'(a_1^(k))": "missing factor",
            "(y - t) z_1^(l) prod_{k=l+2}^{152} w_11^(k) h'(a_1^(k))": "bounds", "(y - t) z_1^(l) sum_{k=l+1}^{152} w_11^(k) h'(a_1^(k))": "sum for product"},
}  # fmt: skip


@pytest.mark.parametrize("question", sorted(SLIPPED))
def test_slips_in_formulas_are_named_and_pointed_at(question):
    cases = [*slipped(question), *((text, {name}) for text, name in HAND[question].items())]
    assert len({text for text, _ in cases}) >= 40
    missed = []
    for text, names in cases:
        verdict = check(question, text)
        assert not verdict.right, text
        if verdict.slip not in names:
            missed.append((text, verdict.slip, names))
        elif verdict.slip is not None:
            first, last = verdict.where
            assert 1 <= first <= last <= len(text), text
    assert missed == []


def solved(weights):
    (a, b, c), (d, e, f), (g, h, i) = weights
    return np.linalg.solve([[a - d, b - e], [a - g, b - h]], [f - c, i - c])


ACTIVATIONS = ((3, 1, 1), (1, 3, 2), (-3, 1.5, 2))
LINES = {"C1|C2": (2, -2, 1), "C1|C3": (12, -1, 2), "C2|C3": (8, 3, 0)}


def wrong_points():
    """A point from activations with one number left out or of the wrong sign, and other slips."""
    for k, i in itertools.product(range(3), range(3)):
        for factor in (0, -1):
            changed = [list(w) for w in ACTIVATIONS]
            changed[k][i] *= factor
            x, y = solved(changed)
            yield f"{x:.5f}, {y:.5f}", {"coefficient", "sign", "swapped"}
    for text, name in {
        "-4/11, 3/22": "swapped",
        "3/22, 4/11": "sign",
        "-3/22, -4/11": "sign",
        "-3/22, 4/11": "sign",
        "22/3, -11/4": "inverse",
        "3/22, -11/4": "inverse",
        "3/44, -2/11": "factor 1/2",
        "0.1363, -0.3636": "last digit",
        "0.1364, -0.3637": "last digit",
        "0.13, -0.36": "last digit",
        "23/22": "activations",
        "23/22, 23/22, 23/22": "activations",
        "1.0455, 1.0455, 1.0455": "activations",
        "2.845, 2.845, 2.845": "not normalised",
        "1/2": "two classes",
        "2/3": "complement",
        "1/2, 1/2, 1/2": "two classes",
        "1/4, 1/4, 1/4": "count",
        "33.3, 33.3, 33.3": "percent",
        "-1/3, -1/3, -1/3": "sign",
        "1/2, 1/2, 1": "sum",
        "0.4, 0.4, 0.33": "sum",
        "0.334, 0.334, 0.334": "last digit",
        "1.5, -0.5, 0": "no probability",
    }.items():
        yield text, {name}


def wrong_rays():
    for line, (p, q, c) in LINES.items():
        yield from (
            (text, {name})
            for text, name in {
                f"{line}: {p} x1 + {-q} x2 = {c}": "sign",
                f"{line}: {p} x1^2 + {q} x2^2 = {c}": "squares",
            }.items()
        )
        if c:
            yield f"{line}: {p} x1 + {q} x2 = {-c}", {"sign of the constant"}
            yield f"{line}: {p} x1 + {q} x2 = 0", {"constant missing"}
            yield f"{line}: {p} x1 + {q} x2 = {2 * c}", {"factor not divided through"}
            yield f"{line}: {q} x1 + {p} x2 = {c}", {"swapped", "sign of the constant"}
        else:
            yield f"{line}: {q} x1 + {p} x2 = {c}", {"swapped"}
    lists = {
        "0, 0, 1": "behind the point", "1, 0, 0": "behind the point", "0, 1, 0": "behind the point", "1/3, 1/3, 1/3": "at the point",
        "0.333, 0.333, 0.333": "at the point", "1/2, 1/2, 1/2": "third class", "1/2, 1/2": "count", "1/2": "count", "1/2, 1/2, 0, 0": "count",
        "50, 50, 0": "percent", "1/4, 1/4, 0": "factor 1/2", "1, 1, 0": "factor 2", "-1/2, -1/2, 0": "sign", "0.6, 0.6, 0": "sum",
        "C1|C2: 0, 1/2, 1/2": "order", "C1|C2: 1/2, 0, 1/2": "order", "C1|C3: 1/2, 1/2, 0": "order", "C1|C3: 0, 1/2, 1/2": "order",
        "C2|C3: 1/2, 1/2, 0": "order", "C2|C3: 1/2, 0, 1/2": "order", "C1|C2: 0, 0, 1": "behind the point", "C1|C3: 0, 1, 0": "behind the point",
        "C2|C3: 1, 0, 0": "behind the point", "C1|C2: 1, 0, 0": "inside", "C1|C2: 1/3, 1/3, 1/3": "at the point", "1/2, 1/2, 1/3": "sum",
        "2, -1, 0": "no probability", "1/(1 + exp(-rho s))": "third class", "1/(2 + exp(rho s))": "sign", "1/(2 - exp(-rho s))": "sign",
        "C1|C2: 1/(3 + exp(-rho s))": "number", "1/(2 + exp(-s))": "missing factor", "2 + exp(-rho s)": "inverse",
        "exp(-rho s)/(2 + exp(-rho s))": "other class", "1/(2 exp(-rho s))": "product for sum", "2/(2 + exp(-rho s))": "other class",
        "1/(2 + exp(-rho s^2))": "power", "exp(0)/2": "third class", "exp(0)/3": "at the point",
    }  # fmt: skip
    yield from ((text, {name}) for text, name in lists.items())


def wrong_regions():
    for text, name in {"1/2, 1/2, 0": "on a boundary", "1/3, 1/3, 1/3": "at the point", "1, 1, 1": "sum", "1, 0": "count", "1": "count",
                       "100, 0, 0": "percent", "1/2, 0, 0": "factor 1/2", "2, 0, 0": "factor 2", "-1, 0, 0": "sign", "0, 0, 0": "sum",
                       "0.6, 0.3, 0.1": "limit", "0.9, 0.1, 0": "limit"}.items():  # fmt: skip
        yield text, {name}
        yield f"({text})", {name}
    for k, j in itertools.product((1, 2, 3), (0, 1, 2)):
        if j != k - 1:
            yield f"C{k}: {', '.join('1' if i == j else '0' for i in range(3))}", {"order"}
        yield f"C{k}: {', '.join('0' if i == j else '1/2' for i in range(3))}", {"on a boundary", "order"}
    yield from ((f"C{k}: 1/3, 1/3, 1/3", {"at the point"}) for k in (1, 2, 3))


def wrong_scores():
    shapes = ("{} + {} x1^2 + {} x2^2", "{} + {} * x**2 + {} * y**2")
    for shape in shapes:
        for a, b, c in itertools.product((6, 2), (2, 6, -2), (2, 6, -2, 4)):
            if (a, b, c) != (6, 2, 2):
                yield shape.format(a, b, c), None
    for text, name in {"6 + 2 x1 + 2 x2": "squares", "8": "other class", "y2 = 8": "other class", "6 + 2 (x1 + x2)^2": "square of the sum",
                       "(6 + 2 x1 + 2 x2)^2": "square of all", "10": "weights only", "-6 - 2 x1^2 - 2 x2^2": "sign",
                       "12 + 4 x1^2 + 4 x2^2": "factor 2", "3 + x1^2 + x2^2": "factor 1/2", "6 + 2 x1^2": "missing term",
                       "2 x1^2 + 2 x2^2": "missing term", "6 + 2 x1^2 + 2 x2": "square", "2 + 6 x1^2 + 2 x2^2": "order of the weights",
                       "6 + 2 x1^2 - 2 x2^2": "sign", "6 + 2 x1^3 + 2 x2^2": "power", "2 x1^2 + 2 x2^2 - 2": "difference"}.items():  # fmt: skip
        yield text, {name}


def wrong_constants():
    for text, name in {"-8": "sign", "16": "factor 2", "4": "factor 1/2", "8 x1": "factor too many", "8 x2^2": None, "6 + 2 x1^2 + 2 x2^2": "other class",
                       "8 x1^2": "order of the weights", "8 + x1": "term too many", "8 + x1^2": "term too many", "8 - x2^2": "term too many",
                       "0": None, "8 + x1 x2": "term too many"}.items():  # fmt: skip
        yield text, {name} if name else {"order of the weights", "number", "factor too many"}
    yield from ((str(value), {"number", "factor 2", "factor 1/2"}) for value in range(1, 34) if value != 8)


def wrong_conics():
    for form in ("{0} x1^2 + {0} x2^2 = {1}", "{0} x^2 + {0} y^2 - {1} = 0", "C1 where {0} x1^2 + {0} x2^2 > {1}"):
        for a, c in ((1, 2), (2, 1), (1, 4), (1, 3), (4, 1)):
            yield form.format(a, c), {"factor not divided through"}
        yield form.format(1, -1) if "- {1}" not in form else "x^2 + y^2 + 1 = 0", {"sign of the constant"}
        yield form.format(1, 0), {"constant missing"}
    for text, name in {
        "x1 + x2 = 1": "squares", "x1^2 - x2^2 = 1": "sign", "2 x1^2 + x2^2 = 1": "factor not divided through", "x1^2 = 1": "term missing",
        "x2^2 = 1": "term missing", "(x1 + x2)^2 = 1": "product too many", "(x1 - x2)^2 = 1": "product too many", "C1 where x1^2 + x2^2 < 1": "other side",
        "C2 where x1^2 + x2^2 > 1": "other side", "C1: x1^2 + x2^2 > 1; C2: x1^2 + x2^2 > 1": "other side", "circle, radius 2": "factor 2",
        "circle, radius 1/2": "factor 1/2", "circle, radius 4": "radius", "ellipse": "conic", "hyperbola": "conic", "line": "conic",
        "6 + 2 x1^2 + 2 x2^2 + 8 = 0": "scores added", "6 + 2 x1^2 + 2 x2^2 = 0": "one score", "x1^2 + 2 x2^2 = 1": "factor not divided through",
    }.items():  # fmt: skip
        yield text, {name}


def wrong_slopes():
    for text, name in {
        "z": "function itself", "1 - z": "function itself", "1 - z^2": "tanh", "1": "ReLU", "0": "ReLU", "1/4": "largest value", "1/2": "value of h",
        "-z (1 - z)": "sign", "z (z - 1)": "sign", "2 z (1 - z)": "factor 2", "1/2 z (1 - z)": "factor 1/2", "z (1 + z)": "sign",
        "a (1 - a)": "a for z", "z + (1 - z)": "ReLU", "h(a) (1 + h(a))": "sign", "exp(-a)/(1 + exp(-a))": "function itself",
        "1/(1 + exp(-a))^2": "chain rule", "-1/(1 + exp(-a))^2": "chain rule", "-exp(-a)/(1 + exp(-a))^2": "sign",
        "exp(a)/(1 + exp(-a))^2": "sign of the exponent", "z (1 - z) (1 - 2 z)": "second derivative", "ln(1 + exp(a))": "integral",
        "-exp(-a)": "exp", "exp(-a)": "exp", "h'(a)": "name only", "z^2 (1 - z)": "power", "z (1 - z)^2": "power", "z / (1 - z)": "quotient",
        "exp(-a)/(1 - exp(-a))^2": "sign", "exp(-a)/(1 + exp(-a))^3": "power", "z - z^3": "power", "z + z^2": "sign", "z (1 - z) a": "factor too many",
        "h'(a) z": "factor too many", "z (1 - a)": "a for z", "a (1 - z)": "a for z", "h(a) (1 - a)": "a for z", "z (2 - z)": "number",
        "h(1 + h)": "sign", "(1 - z)^2": None, "exp(-a) (1 + exp(-a))^2": "product for quotient",
    }.items():  # fmt: skip
        yield text, {name}


def conditions(wrong, some):
    """Conditions with their reason; `some` words for one, all or no unit, layer or path."""
    for (phrase, name), form in itertools.product(wrong.items(), some):
        yield form.format(phrase), {name}


CHAIN_WRONG = {"all units are inactive": "asks too much", "every unit is inactive": "asks too much", "each neuron is dead": "asks too much",
               "some unit is active": "asks too little", "all units are active": "opposite", "no unit is inactive": "opposite",
               "no unit is active": "asks too much", "y = t": "ReLU missing", "x = 0": "ReLU missing", "all relus are off": "asks too much"}  # fmt: skip
BIPARTITE_WRONG = {"some unit is inactive": "asks too little", "any neuron is off": "asks too little", "all units are inactive": "asks too much",
                   "no unit is active": "asks too much", "some unit is active": "asks too little", "every unit is active": "asks too little",
                   "some path is blocked": "asks too little", "a path is active": "opposite", "y = t": "ReLU missing", "x = 0": "ReLU missing"}  # fmt: skip
FORMS = ("{}", "if {}", "{} or y = t", "when {}")
WRONG = {
    "1.1": wrong_points, "1.2": wrong_rays, "1.3": wrong_regions, "2.1": wrong_scores, "2.2": wrong_constants, "2.3": wrong_conics,
    "4.2": wrong_slopes, "4.3": lambda: conditions(CHAIN_WRONG, FORMS), "4.4": lambda: conditions(BIPARTITE_WRONG, FORMS),
}  # fmt: skip


@pytest.mark.parametrize("question", WRONG)
def test_wrong_answers_are_refused_for_the_right_reason(question):
    cases = dict(WRONG[question]())
    assert len(cases) >= 40
    missed = []
    for text, names in cases.items():
        verdict = check(question, text)
        assert not verdict.right, text
        if names is not None and verdict.slip not in names:
            missed.append((text, verdict.slip, names))
        assert verdict.message
    assert missed == []


PIECES = ["y", "t", "z_1^(3)", "delta_k^(3)", "w_11^(2)", "h'(", "sum_k", "prod_{k=1}^{9}", "(", ")", "^", "_", "*", "/", "+", "-", "2", "1/3", "e^", "exp(",
          "frac{", "}", "{", "=", ",", ";", "<", "C1", "x1^2", "999999", "1e99", "∑", "δ", "⁽³⁾", "__import__('os').system('exit 1')", "\\", "\x00", "%"]  # fmt: skip


def garbage(count):
    source = random.Random(726)
    for k in range(count):
        if k % 2:
            yield "".join(source.choice(PIECES) for _ in range(source.randint(1, 9)))
        else:
            yield "".join(source.choice(string.printable + "δΣ⁽₁²√∞") for _ in range(source.randint(1, 30)))


WATCHED: list[str] = []
FORBIDDEN = {"exec", "compile", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect", "open"}
watching = False
sys.addaudithook(lambda event, _: WATCHED.append(event) if watching and event in FORBIDDEN else None)


def test_nothing_that_is_typed_crashes_hangs_or_runs():
    global watching
    questions = [number for number in QUESTIONS if number[0] != "5"]
    longest = 0.0
    for k, text in enumerate(garbage(times(2_000, 10_000))):
        watching = k > 100  # first uses import what they need
        began = time.process_time()
        with suppress(RequestError):
            check(questions[k % len(questions)], text)
        longest = max(longest, time.process_time() - began)
    watching = False
    assert WATCHED == []
    assert longest < 2


@pytest.mark.parametrize("text", ["(" * 900 + "y", "-" * 999 + "y", "y" + "^2" * 500, "+".join(["y"] * 999), "9" * 1999, "9^9^9^9^9", "y" * 1999,
                                  "sum_k " * 300 + "z_k^(3)", "prod_{k=1}^{999999} 2", "((y^200)^200)^200", "x" * 10**6, "exp(exp(exp(exp(9))))",
                                  "1e99" * 400, "sum_{k=1}^{999} sum_{j=1}^{999} sum_{i=1}^{999} y"])  # fmt: skip
def test_endless_answers_end_at_once(text):
    began = time.perf_counter()
    for question in ("1.1", "2.3", "3.1", "4.1", "4.3"):
        with suppress(RequestError):
            assert not check(question, text).right
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize(("question", "text", "column"), [("3.1", "y - ", 5), ("3.1", "y - t)", 6), ("3.2", "(y - t) $? z", 10), ("1.1", "1/3, , 1/3", 6),
                                                          ("3.1", "y - q_2", 5), ("2.3", "x1^2 + = 1", 8)])  # fmt: skip
def test_reading_stops_at_the_column_that_is_named(question, text, column):
    with pytest.raises(RequestError, match=rf"column {column}\)"):
        check(question, text)


@pytest.mark.parametrize("text", [text for texts in FORMULAS.values() for text in texts if "=" not in text])
def test_a_formula_spelt_again_is_the_same(text):
    assert parse(spelt(parse(text))) == parse(text) or check_same(text)


def check_same(text):
    question = next(number for number, texts in FORMULAS.items() if text in texts)
    return check(question, spelt(parse(text))).right


@pytest.mark.parametrize(
    ("question", "text", "typed"),
    [
        ("1.1", "(0.1363, -0.3636)", "0.1363"),
        ("1.1", "3/22, 4/11", "4/11"),
        ("1.1", "23/22, 23/22, 23/22", "23/22, 23/22, 23/22"),
        ("1.2", "C1|C2: 0, 1/2, 1/2", "0, 1/2, 1/2"),
        ("1.3", "C1: 1.5, -0.5, 0", "1.5"),
        ("1.3", " 1, 1, 1", "1, 1, 1"),
        ("2.3", "C1 where x1^2 + x2^2 < 1", "<"),
        ("2.3", "C1: x1^2 + x2^2 > 1; C2: x1^2 + x2^2 < 2", "x1^2 + x2^2 < 2"),
        ("2.3", "a circle of radius 2", "2"),
        ("2.3", "an ellipse", "ellipse"),
        ("3.2", "dE/dw_12^(3) = (y - t) * z_2^(2)", "z_2^(2)"),
        ("3.2", "δ₁⁽⁴⁾ z₂⁽²⁾", "z₂⁽²⁾"),
        ("3.3", "h'(a_1^(2)) w_11^(3) delta_1^(4)", "(a_1^(2))"),
        ("4.3", "all units are inactive", "all units are inactive"),
    ],
)
def test_the_place_of_a_slip_is_where_it_was_typed(question, text, typed):
    first, last = check(question, text).where
    assert text[first - 1 : last] == typed


def test_an_unknown_letter_is_refused_and_a_unit_that_is_not_there_is_named():
    for text in ("y - q", "y - z_1^(7)", "sum_k q"):
        with pytest.raises(RequestError, match=r"means nothing here; there are w_11\^\(1\), x_1"):
            check("3.1", text)


def test_with_relu_the_slope_is_no_function_of_the_output():
    relu, usual = Parameters(hidden=Hidden.relu), Parameters()
    logistic, general = "z_1^(3) (1 - z_1^(3)) w_11^(3) delta_1^(4)", "h'(a_1^(3)) w_11^(3) delta_1^(4)"
    assert [check("3.3", text, given).right for text in (logistic, general) for given in (relu, usual)] == [
        False, True, True, True,
    ]  # fmt: skip
    given = {"x": "1,2,3", "t": "1"}
    result = solve(*example(**given, hidden=Hidden.relu))
    assert check("3.6", f"{result.derivatives['3.6'].value:.5f}", Parameters(**given, hidden=Hidden.relu)).right
    assert not check("3.6", f"{result.derivatives['3.6'].value:.5f}", Parameters(**given)).right


def test_several_slips_are_not_guessed_at():
    verdict = check("3.3", "2 h'(a_1^(4)) w_12^(3) (y + t)")
    assert (verdict.right, verdict.slip) == (False, None)
    assert "more than one" in verdict.message
