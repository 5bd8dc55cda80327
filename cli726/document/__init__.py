"""What a result says, made once beside the computation; the terminal, JSON and the report render it."""

from cli726.document.content import Document, Finding, Table
from cli726.document.mathematics import Math, m, mathtext

__all__ = ["Document", "Finding", "Math", "Table", "m", "mathtext"]
