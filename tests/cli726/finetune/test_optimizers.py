"""Training starts without torch's compiler, and steps as it would with it."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import sys
import torch
from cli726.finetune.training import plain

torch.manual_seed(0)
x, w = torch.randn(8, 4), torch.randn(4, requires_grad=True)
kind = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[sys.argv[2]]
kind = plain(kind) if sys.argv[1] == "plain" else kind
optimizer = kind([{"params": [w], "lr": 0.1, "weight_decay": 0.01}])
for _ in range(3):
    optimizer.zero_grad()
    (x @ w).square().mean().backward()
    optimizer.step()
again = kind([{"params": [w]}])
again.load_state_dict(optimizer.state_dict())
print(w.tolist(), "torch._dynamo" in sys.modules)
"""


def run(*words: str) -> tuple[str, str]:
    done = subprocess.run([sys.executable, "-c", CODE, *words], capture_output=True, text=True, check=True)
    weights, _, imported = done.stdout.strip().rpartition(" ")
    return weights, imported


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_the_compiler_is_not_imported_and_the_numbers_are_the_same(name: str) -> None:
    weights, imported = run("plain", name)
    assert imported == "False"
    assert weights == run("as it is", name)[0]
