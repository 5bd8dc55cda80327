"""A tiny finished run whose classes are called like Typst markup, and PDF files as text."""

from __future__ import annotations

import shutil
import subprocess

import pytest
import torch

from cli726.finetune.api import finetune
from cli726.finetune.config import FinetuneConfig
from tests.cli726.finetune.conftest import shrunk
from tests.cli726.finetune.synthetic import write_pictures

# Of the three classes that `write_pictures` draws.
NAMES = {"cross": '#panic("cross")', "rows": "*rows* $x$", "columns": "列 columns"}


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """Two epochs, one of each stage, from random weights, two penalties."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = write_pictures(tmp_path_factory.mktemp("data") / "shapes", 45)
    for old, new in NAMES.items():
        (folder / old).rename(folder / new)
    config = FinetuneConfig(
        dataset=f"folder:{folder}", weights="random", epochs=2, unfreeze_after="1", l2=(0.0, 0.1), precision="fp32"
    )
    with shrunk():
        path = finetune(config, tmp_path_factory.mktemp("runs") / "shapes-run").run_dir
    torch.set_num_threads(threads)
    return path


@pytest.fixture
def text_of():
    """The text of a PDF file, or a visible skip where poppler's pdftotext is not installed."""
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext (poppler-utils) is not installed")
    return lambda path: subprocess.run(["pdftotext", str(path), "-"], capture_output=True, check=True).stdout.decode()
