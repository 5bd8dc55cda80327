"""An exported model is the run's own: the same test result from ONNX Runtime, in a process without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cli726.errors import ComputationError
from cli726.finetune.api import finetune
from cli726.finetune.config import FinetuneConfig
from cli726.finetune.data.datasets import open_dataset
from cli726.finetune.export import export
from cli726.finetune.predict import load_model
from cli726.reporting import Silent
from tests.cli726.finetune.synthetic import write_pictures
from tests.harness import REPOSITORY, cases

Run = Callable[..., Any]

SCORE = """
import json, sys, numpy, onnxruntime
data = numpy.load(sys.argv[2])
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
(found,) = session.run(None, {"images": data["pixels"]})
assert "torch" not in sys.modules
print(json.dumps([found.tolist(), session.get_modelmeta().custom_metadata_map]))
"""


FINISHED = REPOSITORY / "tests" / "data" / "run-0.1.0"


def run_in(root: Path, *, tta: bool) -> None:
    """Finish a run in float32, its test images beside it in images.npz."""
    config = FinetuneConfig(
        dataset=f"folder:{write_pictures(root / 'shapes', 60)}", epochs=1, precision="fp32", threads=1, gallery=False,
        tta=tta, head="mlp:8", unfreeze="layer3",
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("cli726.finetune.run.write_artifacts", lambda *_: [])
        finetune(config, root / "run")
    data = open_dataset(config, Silent())
    np.savez(root / "images.npz", pixels=data.pixels("test"), labels=data.labels("test"))


@pytest.mark.faults
@pytest.mark.parametrize("tta", cases(True, False))
def test_onnx_runtime_without_torch_gives_the_runs_own_test_result(cmpt726: Run, tmp_path: Path, tta: bool) -> None:
    run_in(tmp_path, tta=tta)
    done = cmpt726("export", tmp_path / "run", "--output", "model.onnx", "--json")
    assert done.status == 0, done.stderr
    assert 0 < done.json["difference"] < 1e-5
    asked = [sys.executable, "-c", SCORE, "model.onnx", str(tmp_path / "images.npz")]
    found, said = json.loads(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)
    with np.load(tmp_path / "images.npz") as data:
        pixels, labels = data["pixels"], data["labels"]
    model = load_model(tmp_path / "run")
    np.testing.assert_allclose(found, model.scores(pixels).softmax(1), atol=1e-5)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert np.mean(np.argmax(found, 1) == labels) == summary["test"]["accuracy"]
    assert json.loads(said["classes"]) == list(model.class_names)
    assert said["dataset_digest"] == summary["dataset"]["digest"]


@pytest.fixture(scope="module")
def exported_once() -> Iterator[None]:
    """torch's exporter, which takes seconds, called for the first model alone; later ones get that graph."""
    made, real = [], torch.onnx.export

    def export_first(*arguments: Any, **options: Any) -> Any:
        if not made:
            made.append(real(*arguments, **options))
        return made[0]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch.onnx, "export", export_first)
        yield


def test_a_graph_that_computes_something_else_is_not_written(tmp_path: Path, exported_once: None) -> None:
    model = load_model(FINISHED)
    export(model, tmp_path / "model.onnx")
    head = model.network.head[-1]
    head.bias = torch.nn.Parameter(head.bias + torch.arange(10.0))
    with pytest.raises(ComputationError, match="must compute what the network computes"):
        export(model, tmp_path / "other.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_without_the_extra_the_remedy_is_told(cmpt726: Run, exported_once: None, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    done = cmpt726("export", FINISHED, "--output", "model.onnx")
    assert done.status == 2
    assert "pip install 'cmpt726[onnx]'" in done.stderr
    monkeypatch.delitem(sys.modules, "onnxscript")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    done = cmpt726("export", FINISHED, "--output", "model.onnx")
    assert done.status == 0, done.stderr
    assert "not checked: ONNX Runtime isn't installed" in done.stdout
