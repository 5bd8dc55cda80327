"""A finished run's model as one ONNX graph: from pixels to probabilities, for programs that have no torch."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cli726.errors import ComputationError, RequestError
from cli726.finetune.predict import Model
from cli726.finetune.storage import replace_file

# Images on which the graph is compared with the network, and the largest difference of a probability that is rounding.
TRIED, ROUNDING = 8, 1e-4


@dataclass(frozen=True)
class Exported:
    """An exported model.

    Attributes:
        path: Its file.
        bytes: The file's size.
        input: Shape of a batch; uint8, red, green, blue.
        output: Shape of its probabilities; float32.
        difference: The largest difference of a probability from the network's own, both in float32; None where ONNX
            Runtime isn't installed.
    """

    path: Path
    bytes: int
    input: tuple[str | int, ...]
    output: tuple[str | int, ...]
    difference: float | None


class Graph(nn.Module):
    """A model from pixels to calibrated probabilities, in float32; over the mirror image too with --tta."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.network, self.normalization, self.mirrored = model.network, model.normalization, model.tta
        self.temperature = model.trust.temperature

    def forward(self, images: Tensor) -> Tensor:
        """Return the probabilities (N, K) of uint8 images (N, H, W, 3)."""
        scores: Tensor = self.network(self.normalization(images))
        if self.mirrored:
            scores = (scores + self.network(self.normalization(images.flip(2)))) / 2
        return (scores / self.temperature).softmax(1)


def export(model: Model, output: Path) -> Exported:
    """Write a model as an ONNX graph: uint8 images (N, H, W, 3) to probabilities (N, K), N free.

    Class names, the treatment of images and where the model came from are in the graph's metadata.

    Raises:
        RequestError: if the extra `onnx` isn't installed, or the graph can't be made.
        ComputationError: if ONNX Runtime computes something else than the network.
    """
    try:
        onnx = importlib.import_module("onnx")
        importlib.import_module("onnxscript")
    except ImportError as error:
        raise RequestError(
            f"cmpt726 export needs the extra `onnx` ({error}); install it: pip install 'cmpt726[onnx]'"
        ) from None
    graph, size = Graph(model).eval(), model.treatment.size
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (TRIED, size, size, 3), np.uint8))
    # torch's exporter prints its progress, and warns of what only its authors can mend.
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program: Any = torch.onnx.export(
            graph, (images,), dynamo=True, verbose=False, input_names=["images"], output_names=["probabilities"],
            dynamic_shapes={"images": {0: torch.export.Dim("N")}},
        )  # fmt: skip
    made = program.model_proto
    onnx.helper.set_model_props(made, facts_of(model))
    content: bytes = made.SerializeToString()
    difference = difference_from(graph, images, content)
    replace_file(output, content)
    return Exported(output, len(content), ("N", size, size, 3), ("N", len(model.class_names)), difference)


def facts_of(model: Model) -> dict[str, str]:
    """Return the metadata of a model's graph."""
    size = model.treatment.size
    return {
        "classes": json.dumps(list(model.class_names), ensure_ascii=False),
        "input": f"uint8 (N, {size}, {size}, 3): red, green, blue",
        "treatment": model.treatment.words,
        "output": "float32 (N, classes): probabilities",
        "run": model.run.name,
        "dataset_digest": str(model.facts.get("dataset_digest")),
        "weights_digest": str(model.facts.get("weights_digest")),
        "made_by": f"cmpt726 {version('cmpt726')}",
    }


@torch.inference_mode()
def difference_from(graph: Graph, images: Tensor, content: bytes) -> float | None:
    """Return the largest difference of ONNX Runtime's probabilities from the network's; None where it is missing."""
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError:
        return None
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"images": images.numpy()})
    difference = float(np.abs(found - graph(images).numpy()).max())
    if not difference <= ROUNDING:
        raise ComputationError(
            f"the exported graph must compute what the network computes, to {ROUNDING:g}; its probabilities differ by "
            f"{difference:.1e}; please report this, with the versions that `cmpt726 doctor` prints"
        )
    return difference
