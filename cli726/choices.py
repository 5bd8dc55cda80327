"""What may be chosen in problems 3 and 4; standard library only, so that commands can name it at once."""

from __future__ import annotations

from enum import StrEnum


class Hidden(StrEnum):
    """What a hidden unit does to its activation."""

    logistic = "logistic"
    relu = "relu"


class Connect(StrEnum):
    """How the units of neighbouring layers are connected: each to its successor, or each to all."""

    chain = "chain"
    bipartite = "bipartite"


class Dtype(StrEnum):
    """Floating-point formats that the plain computation may use."""

    float32 = "float32"
    float64 = "float64"
