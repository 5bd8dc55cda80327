"""What a result says, made once beside the computation: findings, tables, the document; three renderers of mathematics.

A formula is kept as people type it and rendered as Unicode, for figures and for Typst. It is marked where a sentence is
written: `m("w_12^(3)")`, `m("eta q > 2")`. `_` lowers and `^` raises what follows: a word, a number, what stands in
braces, which are left out, or in round brackets, which stay. Names of Greek letters become letters in print. A letter
is a variable; words of three letters or more are words in an index only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "eta": "η", "theta": "θ", "kappa": "κ",
    "lambda": "λ", "mu": "μ", "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ", "omega": "ω",
}  # fmt: skip
# Names that stay upright words.
OPERATORS = ("argmax", "exp", "grad", "ln", "log", "max", "min")
LOW = dict(zip("0123456789aehijklmnoprstuvx+-=()", "₀₁₂₃₄₅₆₇₈₉ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ₊₋₌₍₎", strict=True))
HIGH = dict(zip("0123456789iklnT+-=()", "⁰¹²³⁴⁵⁶⁷⁸⁹ⁱᵏˡⁿᵀ⁺⁻⁼⁽⁾", strict=True))
# An index of several parts keeps its comma, which has no lowered form.
LOW[","] = ","

NAMES = rf"(?:{'|'.join(sorted([*GREEK, *OPERATORS], key=len, reverse=True))})(?![A-Za-z])"
TOKEN = re.compile(
    r"(?P<root>sqrt\((?P<inside>\d+(?:\.\d+)?(?:/\d+)?)\))"
    r"|(?P<over>(?<![\w^./])(?P<above>\d+)/(?P<below>\d+)(?![\w./]))"
    r"|(?P<float>(?<![\w.])(?P<number>\d+(?:\.\d+)?)e(?P<power>[+-]?\d+))"
    rf"|(?P<base>{NAMES}|(?:\d+(?:,\d{{3}})+|\d+)(?:\.\d+)?|[^\W\d_]|[∂∇Σ∑Π∏\])|])(?P<prime>['′]?)"
    r"(?P<digits>(?<=[A-Za-z])\d+)?"
    r"(?:_(?P<sub>\{[^{}]*\}|[A-Za-z0-9]+(?:,[A-Za-z0-9]+)*))?"
    r"(?:\^(?P<sup>\{[^{}]*\}|\([^()]*\)|[-+]?[A-Za-z0-9]+))?"
    r"|(?P<sign><=|>=|!=|->|~=|\s+|.)"
)
WORD = re.compile(rf"(?!{NAMES})[A-Za-z]{{3,}}")
# How signs of two characters are set; the terminal shows them so too.
SIGNS = {"<=": "≤", ">=": "≥", "!=": "≠", "->": "→", "~=": "≈"}
FOREIGN = '"#&`@$\\'
# Matplotlib's own names of what would mean something else there, or nothing.
MATHTEXT = {
    "∏": r"\prod", "Π": r"\prod", "∑": r"\sum", "Σ": r"\sum", "^": r"\wedge", "′": "'",
    "'": r"\prime", "~": r"\sim", " ": r"\ ", "*": r"\ast", **{sign: rf"\{sign}" for sign in "{}%_"},
    **{letter: rf"\{name}" for name, letter in GREEK.items()},
}  # fmt: skip


@dataclass(frozen=True)
class Math:
    """A formula; `str()` is what a terminal shows.

    Raises:
        ValueError: for a character that has no meaning in a formula: texts, and names above all, are none.
    """

    source: str

    def __post_init__(self) -> None:
        if set(self.source) & set(FOREIGN):
            raise ValueError(f"a formula consists of letters, numbers and signs; got {self.source!r}")

    def __str__(self) -> str:
        return "".join(unicode(token) for token in TOKEN.finditer(self.source))

    def nodes(self) -> list[dict[str, Any]]:
        """Return the formula for the report's template, which sets it symbol by symbol and evaluates nothing.

        Returns:
            A list of {"base", "prime", "sub", "sup"}, whose indices are lists of the same kind, {"number", "power"},
            {"over": [above, below]}, {"root"} and {"sign"}.
        """
        return [node(token) for token in TOKEN.finditer(self.source)]


# How a formula is marked: `m("w_12^(3)")`.
m = Math


def inner(text: str | None) -> str:
    """Return an index without the braces that hold it together."""
    return (text or "").removeprefix("{").removesuffix("}")


def lifted(text: str, table: dict[str, str], mark: str) -> str:
    """Return an index in Unicode's small characters, or as typed where one of them doesn't exist."""
    text = GREEK.get(text, text)
    if all(c in table for c in text):
        return "".join(table[c] for c in text)
    return mark + (text if len(text) == 1 or text[0] == "(" or text.lstrip("-").isalnum() else f"({text})")


def unicode(token: re.Match[str]) -> str:
    """Return one token as a terminal shows it; what is neither lowered nor raised stays as typed."""
    if not token["base"]:
        return SIGNS.get(token.group(), token.group())
    sub, sup = inner(token["sub"]), inner(token["sup"])
    base = GREEK.get(token["base"], token["base"]) if sub or sup else token["base"]
    text = base + token["prime"].replace("'", "′") + (token["digits"] or "")
    return text + (lifted(sub, LOW, "_") if sub else "") + (lifted(sup, HIGH, "^") if sup else "")


def index(text: str) -> list[dict[str, Any]]:
    """Return the nodes of an index, in which words are words and a digit stands beside its letter."""
    if WORD.fullmatch(text):
        return [symbol(text)]
    found: list[dict[str, Any]] = []
    for item in Math(text).nodes():
        found += [{**item, "sub": []}, *item["sub"]] if item.get("sub") else [item]
    return found


def symbol(base: str, **parts: Any) -> dict[str, Any]:
    """Return the node of a letter, digit or word."""
    return {"base": base, "prime": False, "sub": [], "sup": [], **parts}


def node(token: re.Match[str]) -> dict[str, Any]:
    """Return one token for the template."""
    if token["root"]:
        return {"root": token["inside"]}
    if token["over"]:
        return {"over": [token["above"], token["below"]]}
    if token["float"]:
        return {"number": token["number"], "power": str(int(token["power"]))}
    if token["sign"]:
        return {"sign": SIGNS.get(token["sign"], " " if token["sign"].isspace() else token["sign"])}
    sub = ",".join(part for part in (token["digits"], inner(token["sub"])) if part)
    base = GREEK.get(token["base"], token["base"])
    return symbol(base, prime=bool(token["prime"]), sub=index(sub), sup=index(inner(token["sup"])))


def mathtext(source: str) -> str:
    """Return a formula for a figure, in matplotlib's mathtext, such as $w_{12}^{(3)}$."""
    return f"${figure(Math(source).nodes())}$" if source.strip() else source


def figure(items: list[dict[str, Any]]) -> str:
    """Return nodes in mathtext, without the dollars around them."""
    text = ""
    for item in items:
        if "root" in item:
            text += rf"\sqrt{{{item['root']}}}"
        elif "over" in item:
            text += r"\frac{{{}}}{{{}}}".format(*item["over"])
        elif "number" in item:
            text += rf"{item['number']} \times 10^{{{item['power']}}}"
        else:
            base = item.get("sign") or item["base"]
            word = len(base) > 1 and base.isascii() and base.isalpha()
            name = rf"\mathrm{{{base}}}" if word else MATHTEXT.get(base, base)
            # A name of matplotlib's ends in a space, so that no letter after it belongs to it.
            end = "'" if item.get("prime") else " " if name[0] == "\\" and name[-1].isalpha() else ""
            indices = [f"{mark}{{{figure(item[key])}}}" for mark, key in (("_", "sub"), ("^", "sup")) if item.get(key)]
            text += "".join([name, end, *indices])
    return text


# A sentence or a cell: text that stays text, and marked mathematics, one after another.
Content: TypeAlias = "str | Math | Sequence[str | Math]"
NUMBER = re.compile(r"[-+]?\d[\d,]*(\.\d+)?(e[-+]?\d+)?", re.ASCII)


def parts(content: Content) -> Sequence[str | Math]:
    """Return the texts and formulas, one after another."""
    return (content,) if isinstance(content, str | Math) else content


def plain(content: Content) -> str:
    """Return the content as a terminal shows it."""
    return "".join(map(str, parts(content)))


def typeset(content: Content) -> list[str | list[dict[str, Any]]]:
    """Return the content for the report's template: a string for text, a list of nodes for a formula."""
    return [part if isinstance(part, str) else part.nodes() for part in parts(content)]


def cell(content: Content) -> list[str | list[dict[str, Any]]]:
    """Return the cell of a numeric column for the template: a number is set as mathematics, with a real minus."""
    return typeset(Math(content) if isinstance(content, str) and NUMBER.fullmatch(content) else content)


@dataclass(frozen=True)
class Finding:
    """One sentence that answers a question, or warns, stated only while it holds."""

    question: str  # its number in the assignment, such as "1.2"; "" for a warning that belongs to none
    parts: Content  # the sentence; numbers rounded for reading, mathematics marked
    evidence: Mapping[str, Any] = field(default_factory=dict)  # the numbers that it rests on, unrounded, by name

    @property
    def text(self) -> str:
        """Return the sentence as a terminal shows it."""
        return plain(self.parts)

    def to_json(self) -> dict[str, Any]:
        """Return what `--json` prints of it."""
        return {"question": self.question, "text": self.text, "evidence": self.evidence}


@dataclass(frozen=True)
class Table:
    """Rows of cells under a question."""

    title: Content | None  # what it shows
    columns: Sequence[Content]
    rows: Sequence[Sequence[Content]]  # as many cells as there are columns, ready to read: numbers are rounded already
    question: str = ""  # that it is evidence for
    numeric: int = 1  # columns from this one on hold numbers, and are aligned to the right

    def __post_init__(self) -> None:
        wrong = [row for row in self.rows if len(row) != len(self.columns)]
        if wrong:
            raise ValueError(f"a row needs {len(self.columns)} cells; got {wrong[0]}")


@dataclass(frozen=True)
class Document:
    """All that a result says, question by question."""

    lead: Sequence[Content]  # lines above everything: the setting, whose data
    questions: Mapping[str, Content]  # number -> the question in brief, in the order in which they are answered
    findings: Sequence[Finding]  # those of one question stand together, before its tables
    tables: Sequence[Table]

    def __post_init__(self) -> None:
        asked = {"", *self.questions}
        strange = ({item.question for item in self.findings} | {item.question for item in self.tables}) - asked
        if strange:
            raise ValueError(f"findings and tables answer one of {', '.join(self.questions)}; got {strange}")

    def answers(self) -> Iterable[tuple[str, Content, list[Finding], list[Table]]]:
        """Yield each question's number, wording, findings and tables; what belongs to none comes last."""
        for number, question in {**self.questions, "": ""}.items():
            findings = [item for item in self.findings if item.question == number]
            yield number, question, findings, [item for item in self.tables if item.question == number]

    def to_typst(self) -> dict[str, Any]:
        """Return the findings and tables of each question for the report's template."""
        return {
            number or "notes": {
                "findings": [typeset(item.parts) for item in findings],
                "tables": [
                    {
                        "title": typeset(table.title or ""),
                        "columns": [typeset(column) for column in table.columns],
                        "rows": [
                            [*map(typeset, row[: table.numeric]), *map(cell, row[table.numeric :])]
                            for row in table.rows
                        ],
                        "numeric": table.numeric,
                    }
                    for table in tables
                ],
            }
            for number, _, findings, tables in self.answers()
        }
