"""Heads of several layers and of the user's own, trained, resumed and put back together."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cli726.errors import RequestError
from cli726.finetune.chance import drawing_from, generator
from cli726.finetune.network.heads import Standardize, build_head, build_own_head, coefficients
from cli726.finetune.run import Run, finetune, resume
from cli726.finetune.storage import read_tensors
from cli726.reporting import Silent
from tests.cli726.finetune.own import HEADS, write_code
from tests.cli726.finetune.synthetic import run, same_bits, small_run
from tests.cli726.finetune.test_resume import assert_same_result, interrupt


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    return write_code(tmp_path_factory.mktemp("own") / "heads.py", HEADS)


def kinds(head: nn.Sequential) -> list[str]:
    return [type(layer).__name__ for layer in head]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["Standardize", "Linear"]),
        ({"dropout": 0.3}, ["Standardize", "Dropout", "Linear"]),
        ({"batch_norm": True}, ["Standardize", "BatchNorm1d", "Linear"]),
        ({"hidden": (8,)}, ["Standardize", "Linear", "ReLU", "Linear"]),
        (
            {"hidden": (8, 4), "dropout": 0.3, "batch_norm": True},
            ["Standardize", *["Linear", "BatchNorm1d", "ReLU", "Dropout"] * 2, "Linear"],
        ),
    ],
)
def test_the_layers_are_those_asked_for(options: dict[str, Any], expected: list[str]) -> None:
    head = build_head(64, 5, generator(0), **options)
    assert kinds(head) == expected
    assert [m.p for m in head.modules() if isinstance(m, nn.Dropout)] == [0.3] * expected.count("Dropout")
    widths = [64, *options.get("hidden", ()), 5]
    assert [tuple(w.shape) for w in coefficients(head)] == [(wide, narrow) for narrow, wide in pairwise(widths)]


@pytest.mark.parametrize("hidden", [(16,), (256,)])
def test_hidden_layers_keep_the_scale_of_what_passes_through_them(hidden: tuple[int, ...]) -> None:
    """He et al. (2015): the mean square before a rectifier is that of the layer's input, doubled and halved again."""
    head = build_head(64, 5, generator(0), hidden=hidden)
    x = torch.randn(4000, 64, generator=generator(1))
    inside = head[:2](x)
    assert inside.square().mean().item() == pytest.approx(2.0, rel=0.25)
    assert torch.equal(build_head(64, 5, generator(0), hidden=hidden)[1].weight, head[1].weight)
    assert not torch.equal(build_head(64, 5, generator(1), hidden=hidden)[1].weight, head[1].weight)


@pytest.mark.parametrize(
    "options",
    [
        {"head": "mlp:16"},
        {"head": "mlp:16,8", "dropout": 0.3, "batch_norm": True},
        {"dropout": 0.3},
        {"batch_norm": True},
        {"head": "mlp:16", "unfreeze_after": "1", "unfreeze": "layer3", "dropout": 0.2, "l2": (0.01,)},
    ],
    ids=["mlp", "deep", "dropout", "batch norm", "two stages"],
)
def test_every_layer_of_a_head_learns(
    tmp_path: Path, shapes_folder: Path, weights_file: Path, options: dict[str, Any]
) -> None:
    config = small_run(shapes_folder, weights_file, epochs=2, **options)
    before = {f"network.head.{n}": t for n, t in Run.setup(config, Silent()).new_head().state_dict().items()}
    _, _, last = run(config, tmp_path / "run")
    trained = {n: t for n, t in last.items() if n.startswith("network.head.")}
    assert trained.keys() == before.keys()
    assert [name for name, tensor in trained.items() if torch.equal(tensor, before[name])] == []


def test_an_own_head_is_trained_and_needs_its_code_to_be_resumed(
    tmp_path: Path, shapes_folder: Path, weights_file: Path, own: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its dropout is drawn from (seed, phase, epoch): a run that was stopped ends as one that wasn't."""
    config = small_run(
        shapes_folder, weights_file, head=own("small"), unfreeze_after="2", unfreeze="layer3", l2=(0.01,)
    )
    whole = finetune(config, tmp_path / "whole")
    assert whole.l2["penalty"] > 0
    assert {n for n in read_tensors(tmp_path / "whole" / "best.safetensors")[0] if n.startswith("head.")} == {
        "head.0.mean", "head.0.scale", "head.1.0.weight", "head.1.0.bias", "head.1.3.weight", "head.1.3.bias",
    }  # fmt: skip
    for after in (1, 2):
        interrupt(config, tmp_path / str(after), monkeypatch, after=after, written=True)
        with pytest.raises(RequestError, match="never run"):
            resume(tmp_path / str(after))
        torch.rand(3)
        resume(tmp_path / str(after), [own("small")])
        assert_same_result(tmp_path / str(after), tmp_path / "whole")


def test_dropout_is_drawn_from_seed_phase_and_epoch_and_leaves_torchs_numbers_alone() -> None:
    layer = nn.Dropout(0.5)

    def mask(*purpose: int | str) -> torch.Tensor:
        with drawing_from(torch.device("cpu"), *purpose):
            return layer(torch.ones(64))

    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    first = mask(0, "head", 1)
    assert torch.equal(torch.rand(4), expected)
    assert torch.equal(mask(0, "head", 1), first)
    others = [mask(1, "head", 1), mask(0, "all", 1), mask(0, "head", 2)]
    assert len({tuple(m.tolist()) for m in [first, *others]}) == 4


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("wide", r"\(N, 64\) to \(N, 5\); got \(2, 6\)"),
        ("flat", r"got \(10,\)"),
        ("failing", r"failed in line \d+: ZeroDivisionError"),
        ("leaving", r"failed in line \d+: SystemExit"),
        ("function", r"torch module; got function"),
        ("idle", r"without parameters"),
        ("not_a_function", r"must define a function not_a_function"),
        ("nowhere", r"must define a function nowhere"),
    ],
)
def test_what_is_wrong_with_an_own_head_is_said_before_anything_is_written(
    tmp_path: Path, shapes_folder: Path, weights_file: Path, own: Callable[[str], str], function: str, message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        build_own_head(64, 5, generator(0), own(function))
    with pytest.raises(RequestError):
        finetune(small_run(shapes_folder, weights_file, head=own(function)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_own_head_starts_the_same_for_one_seed(own: Callable[[str], str]) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one, same, other = (build_own_head(64, 5, generator(seed), own("small")) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert isinstance(one[0], Standardize)
    assert same_bits(one.state_dict(), same.state_dict())
    assert not same_bits(one.state_dict(), other.state_dict())


def test_layers_of_an_own_head_may_share_their_weights(
    tmp_path: Path, shapes_folder: Path, weights_file: Path, own: Callable[[str], str]
) -> None:
    assert len(coefficients(build_own_head(64, 3, generator(0), own("tied")))) == 2
    _, best, _ = run(small_run(shapes_folder, weights_file, head=own("tied"), epochs=1), tmp_path / "run")
    assert torch.equal(best["head.1.0.weight"], best["head.1.1.weight"])


@pytest.mark.parametrize("options", [{"dropout": 0.2}, {"batch_norm": True}])
def test_options_of_our_heads_are_not_silently_ignored_for_an_own_one(
    shapes_folder: Path, weights_file: Path, own: Callable[[str], str], options: dict[str, Any]
) -> None:
    with pytest.raises(RequestError, match="build them into your own"):
        small_run(shapes_folder, weights_file, head=own("small"), **options)
