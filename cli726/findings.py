"""Findings: sentences built from measured numbers, stated only while they hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Finding"]


@dataclass(frozen=True)
class Finding:
    """One sentence and the numbers that it rests on.

    Attributes:
        text: The sentence, numbers rounded for reading.
        evidence: The same numbers, unrounded, by name.
    """

    text: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
