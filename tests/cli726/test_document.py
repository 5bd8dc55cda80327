"""What a result says, in the terminal, in figures and in the report: nothing lost, nothing evaluated."""

from __future__ import annotations

import io
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import typst
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.mathtext import MathTextParser
from rich.console import Console

from cli726.document import FOREIGN, GREEK, OPERATORS, Document, Finding, Table, m, mathtext, plain, typeset
from commands.render import document as in_terminal

# As sentences have them: source, what a terminal shows, what a figure is given.
KNOWN = {
    "w_12^(3)": ("w₁₂⁽³⁾", r"$w_{12}^{(3)}$"),
    "w_k1^(2)": ("wₖ₁⁽²⁾", r"$w_{k1}^{(2)}$"),
    "delta_1^(4) = y - t": ("δ₁⁽⁴⁾ = y - t", r"$\delta _{1}^{(4)}\ =\ y\ -\ t$"),
    "∂E_n/∂w_11^(l+1)": ("∂Eₙ/∂w₁₁⁽ˡ⁺¹⁾", "$∂E_{n}/∂w_{11}^{(l+1)}$"),
    "h'(a_1^(2))^2 <= 1/4": ("h′(a₁⁽²⁾)² ≤ 1/4", r"$h'(a_{1}^{(2)})^{2}\ ≤\ \frac{1}{4}$"),
    "argmax_k y_k(x)": ("argmaxₖ yₖ(x)", r"$\mathrm{argmax}_{k}\ y_{k}(x)$"),
    "e^{-rho s} -> 0": ("e^(-rho s) → 0", r"$e^{-\rho \ s}\ →\ 0$"),
    "exp(-eta q)": ("exp(-eta q)", r"$\mathrm{exp}(-\eta \ q)$"),
    "|g|^2": ("|g|²", "$|g|^{2}$"),
    "x1^2 + x2^2 = sqrt(3/2)": ("x1² + x2² = sqrt(3/2)", r"$x_{1}^{2}\ +\ x_{2}^{2}\ =\ \sqrt{3/2}$"),
    "∏_{k=l+1}^{152} w_11^(k)": ("∏ₖ₌ₗ₊₁¹⁵² w₁₁⁽ᵏ⁾", r"$\prod _{k=l+1}^{152}\ w_{11}^{(k)}$"),
    "Σ_k delta_k^(3)": ("Σₖ δₖ⁽³⁾", r"$\sum _{k}\ \delta _{k}^{(3)}$"),
    "w_bias, lambda_max": ("w_bias, λₘₐₓ", r"$w_{\mathrm{bias}},\ \lambda _{\mathrm{max}}$"),
    "w_12,13^(10)": ("w₁₂,₁₃⁽¹⁰⁾", "$w_{12,13}^{(10)}$"),
    "4^-151 = 1.2e-91": ("4⁻¹⁵¹ = 1.2e-91", r"$4^{-151}\ =\ 1.2 \times 10^{-91}$"),
    "p(C1|x) != -3/22": ("p(C1|x) ≠ -3/22", r"$p(C_{1}|x)\ ≠\ -\frac{3}{22}$"),
}
SIGNS = [*"abhwxyzCE0123456789+-=<>()[]|,.'_^{}*/ !~∂∇Σ∏∑→≈·", "<=", "sqrt(2)", "1e-7", "bias"]
SYMBOLS = st.sampled_from([*GREEK, *OPERATORS, *SIGNS])
FORMULAS = st.one_of(st.sampled_from(sorted(KNOWN)), st.lists(SYMBOLS, max_size=12).map("".join))
# What can stand in a JSON file.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
HOSTILE = [
    '#panic("x")',
    "*bold* _it_ $x$ @y <z> -- --- ' \" \\u{41} `c` // c",
    "= 1",
    "- a",
    "/ b: c",
    "#let",
    "[red]",
]
PARTS = st.lists(st.one_of(TEXTS, FORMULAS.map(m)), min_size=1, max_size=4).map(tuple)
PARSER: Any = MathTextParser("agg")


@pytest.mark.parametrize("source", KNOWN)
def test_formulas_come_out_as_written_by_hand(source: str) -> None:
    assert (str(m(source)), mathtext(source)) == KNOWN[source]


@given(FORMULAS)
def test_matplotlib_understands_every_formula(source: str) -> None:
    PARSER.parse(mathtext(source))


@pytest.mark.parametrize("letter", sorted(FOREIGN))
def test_what_is_no_formula_is_refused(letter: str) -> None:
    with pytest.raises(ValueError, match="a formula consists of"):
        m(f"x{letter}y")


def flat(nodes: Any) -> str:
    """Return the letters, digits and signs of a formula, in order."""
    text = ""
    for node in nodes:
        text += "/".join(node.get("over", ())) + node.get("root", "") + node.get("sign", "")
        text += f"{node['number']}e{node['power']}" if "number" in node else ""
        text += node.get("base", "") + flat(node.get("sub", ())) + flat(node.get("sup", ()))
    return text.replace(" ", "")


@pytest.mark.parametrize("source", [*KNOWN, *(f"{word}_{word}" for word in (*GREEK, *OPERATORS))])
def test_no_renderer_loses_a_symbol(source: str) -> None:
    typed = source
    written = {**GREEK, "<=": "≤", ">=": "≥", "!=": "≠", "->": "→", "sqrt(3/2)": "3/2"}
    for word in sorted(written, key=len, reverse=True):
        typed = typed.replace(word, written[word])
    assert flat(m(source).nodes()) == "".join(c for c in typed if c not in " _^{}'")


def compiled(folder: Path, body: str, **data: Any) -> list[Any]:
    """Return the values that a template marks; a PDF comes into being."""
    (folder / "style.typ").write_bytes((files("cli726.report") / "templates" / "style.typ").read_bytes())
    (folder / "data.json").write_text(json.dumps(data))
    (folder / "main.typ").write_text(f'#import "style.typ": *\n#let d = json("data.json")\n{body}')
    assert typst.compile(folder / "main.typ", root=folder).startswith(b"%PDF-")
    return json.loads(typst.query(folder / "main.typ", "<value>", field="value", root=folder))


@settings(max_examples=2)
@given(st.lists(TEXTS, min_size=100, max_size=100), st.lists(FORMULAS, min_size=150, max_size=150))
def test_typst_sets_every_character_of_texts_and_every_formula(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], sources: list[str]
) -> None:
    texts, sources = [*HOSTILE, *texts], ["argmax_k y_k(x)", "Σ_k delta_k^(3)", *KNOWN, *sources]
    body = (
        "#for t in d.texts [#metadata(prose(t)) <value> #prose(t)]"
        "#for f in d.formulas [#prose(f) $ #formula(f.first()) $ #metadata(repr(formula(f.first()))) <value>]"
    )
    given = {"texts": [typeset((text, text)) for text in texts], "formulas": [typeset(m(s)) for s in sources]}
    values = compiled(tmp_path_factory.mktemp("typst"), body, **given)
    assert values[: len(texts)] == [2 * text for text in texts]
    assert ["argmax" in values[len(texts)], "∑" in values[len(texts) + 1]] == [True, True]


@given(PARTS, PARTS)
def test_terminal_and_json_show_every_character(sentence: tuple[Any, ...], cell: tuple[Any, ...]) -> None:
    finding = Finding("1", sentence)
    assert finding.to_json()["text"] == "".join(map(str, sentence))
    content = Document([sentence], {"1": "What?"}, [finding], [Table(None, ["a", "b"], [[cell, cell]], "1")])
    file = io.StringIO()
    Console(file=file, width=100_000, markup=True).print(*in_terminal(content))
    for parts in (sentence, cell):
        text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in plain(parts))
        assert "".join(file.getvalue().split()).count("".join(text.split())) >= 2


def test_the_report_gets_each_question_with_its_answers_and_tables(tmp_path: Path) -> None:
    table = Table(("Rates ", m("eta")), ["rate", m("E_n")], [["-1", "-1"], ["1e5", "1e-05"]], "1.1")
    content = Document([], {"1.1": "Why?", "1.2": "How?"}, [Finding("1.1", "It is."), Finding("", "Beware.")], [table])
    given = content.to_typst()
    assert {number: part["findings"] for number, part in given.items()} == {
        "1.1": [["It is."]], "1.2": [], "notes": [["Beware."]],
    }  # fmt: skip
    (shown,) = given["1.1"]["tables"]
    assert (shown["title"][0], shown["columns"][0], shown["numeric"]) == ("Rates ", ["rate"], 1)
    # A number is mathematics in a column of numbers only.
    assert [[type(cell[0]) for cell in row] for row in shown["rows"]] == [[str, list], [str, list]]
    compiled(tmp_path, '#answers(d, "1.1") #evidence(d, "1.1") #evidence(d, "1.2") #answers(d, "")', document=given)


def test_what_belongs_to_no_question_of_the_document_is_refused() -> None:
    for findings, tables in (([Finding("1.2", "It is.")], []), ([], [Table(None, ["a"], [], "2.1")])):
        with pytest.raises(ValueError, match=r"answer one of 1\.1; got"):
            Document([], {"1.1": "Why?"}, findings, tables)
    with pytest.raises(ValueError, match="a row needs 2 cells"):
        Table(None, ["a", "b"], [["1"]])
