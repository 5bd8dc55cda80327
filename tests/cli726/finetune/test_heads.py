"""The new layers: how they start, what a penalty falls on; heads of the user's own, trained, resumed, put together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler
from torch import nn

from cli726.errors import RequestError
from cli726.finetune.api import finetune, resume
from cli726.finetune.chance import drawing_from, generator
from cli726.finetune.config import FinetuneConfig
from cli726.finetune.network.heads import Standardize, build_head, build_own_head, coefficients, parse_head
from cli726.finetune.result import Finetuned
from cli726.finetune.run import Run
from cli726.finetune.storage import read_tensors
from cli726.reporting import Silent
from tests.cli726.finetune.own import HEADS, write_code
from tests.cli726.finetune.synthetic import assert_same_result, same_bits, stopped

pytestmark = pytest.mark.usefixtures("small_network")
Small = Callable[..., FinetuneConfig]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    return write_code(tmp_path_factory.mktemp("own") / "heads.py", HEADS)


def test_a_standardised_head_starts_from_zero_another_as_torchs_own_layer() -> None:
    """Weights and biases uniform within 1/sqrt(inputs)."""
    assert torch.equal(build_head(64, 10, generator(0))(torch.randn(5, 64)), torch.zeros(5, 10))
    ours = build_head(64, 4000, generator(0, "head"), standardize=False)[-1]
    theirs = nn.Linear(64, 4000)
    for name in ("weight", "bias"):
        mine, reference = (getattr(layer, name).detach().flatten().numpy() for layer in (ours, theirs))
        assert np.abs(mine).max() <= 1 / 8
        np.testing.assert_allclose(
            np.quantile(mine, [0.1, 0.5, 0.9]), np.quantile(reference, [0.1, 0.5, 0.9]), atol=0.01
        )
    assert torch.equal(build_head(64, 4000, generator(0, "head"), standardize=False)[-1].weight, ours.weight)


def test_standardised_features_have_mean_zero_and_deviation_one_as_scikit_learn_says() -> None:
    features = torch.randn(50, 6) * torch.tensor([1e-3, 1, 10, 100, 3, 0]) + torch.tensor([5.0, 0, -3, 1000, 0, 3.1])
    layer = Standardize(6)
    layer.fit(features)
    expected = StandardScaler().fit_transform(features.double().numpy())
    torch.testing.assert_close(layer(features).double(), torch.from_numpy(expected), rtol=1e-3, atol=1e-3)
    assert set(layer.state_dict()) == {"mean", "scale"}
    assert list(layer.parameters()) == []
    assert layer.scale[5] == 1, "what never moves is not blown up"


@given(hidden=st.lists(st.integers(1, 40), max_size=3), dropout=st.sampled_from([0.0, 0.4]), norm=st.booleans())
def test_the_layers_are_those_asked_for_and_a_penalty_falls_on_linear_weights_alone(
    hidden: list[int], dropout: float, norm: bool
) -> None:
    head = build_head(64, 5, generator(0), hidden=tuple(hidden), dropout=dropout, batch_norm=norm)
    extras = ["BatchNorm1d"] * norm, ["Dropout"] * (dropout > 0)
    inner = [kind for _ in hidden for kind in ("Linear", *extras[0], "ReLU", *extras[1])]
    expected = ["Standardize", *inner, "Linear"] if hidden else ["Standardize", *extras[0], *extras[1], "Linear"]
    assert [type(layer).__name__ for layer in head] == expected
    assert {m.p for m in head.modules() if isinstance(m, nn.Dropout)} <= {dropout}
    assert [tuple(w.shape) for w in coefficients(head)] == [*zip([*hidden, 5], [64, *hidden], strict=True)]
    assert head(torch.randn(4, 64)).shape == (4, 5)


@pytest.mark.parametrize("hidden", [(16,), (256,)])
def test_hidden_layers_keep_the_scale_of_what_passes_through_them(hidden: tuple[int, ...]) -> None:
    """He et al. (2015): the mean square before a rectifier is that of the layer's input, doubled and halved again."""
    head = build_head(64, 5, generator(0), hidden=hidden)
    inside = head[:2](torch.randn(4000, 64, generator=generator(1)))
    assert inside.square().mean().item() == pytest.approx(2.0, rel=0.25)
    assert torch.equal(build_head(64, 5, generator(0), hidden=hidden)[1].weight, head[1].weight)
    assert not torch.equal(build_head(64, 5, generator(1), hidden=hidden)[1].weight, head[1].weight)


def test_spellings() -> None:
    told = {"linear": (), "mlp:128": (128,), "mlp:128,64": (128, 64)}
    assert {text: parse_head(text) for text in told} == told
    for text in ("", "mlp", "mlp:", "mlp:0", "mlp:8,", "linear:8", "mlp:-1", "mlp:65537", "conv"):
        with pytest.raises(RequestError, match="--head"):
            parse_head(text)


@pytest.mark.parametrize(
    "options",
    [{"head": "mlp:16,8", "dropout": 0.3, "batch_norm": True}, {"dropout": 0.3, "batch_norm": True},
     {"head": "mlp:16", "unfreeze_after": "1", "unfreeze": "layer3", "dropout": 0.2, "l2": (0.01,)}],
    ids=["deep", "linear", "two stages"],
)  # fmt: skip
def test_every_layer_of_a_head_learns(finished: Callable[..., Finetuned], options: dict[str, Any]) -> None:
    result = finished(**options)
    before = {f"network.head.{n}": t for n, t in Run.setup(result.config, Silent()).new_head().state_dict().items()}
    last, _ = read_tensors(result.run_dir / "last.safetensors")
    trained = {n: t for n, t in last.items() if n.startswith("network.head.")}
    assert trained.keys() == before.keys()
    assert [name for name, tensor in trained.items() if torch.equal(tensor, before[name])] == []


def test_an_own_head_is_trained_and_needs_its_code_to_be_resumed(
    tmp_path: Path, small: Small, own: Callable[[str], str]
) -> None:
    """Its dropout is drawn from (seed, phase, epoch): a run that was stopped ends as one that wasn't."""
    config = small(epochs=3, head=own("small"), unfreeze_after="2", unfreeze="layer3", l2=(0.01,))
    whole = finetune(config, tmp_path / "whole")
    assert whole.l2["penalty"] > 0
    assert {n for n in read_tensors(tmp_path / "whole" / "best.safetensors")[0] if n.startswith("head.")} == {
        "head.0.mean", "head.0.scale", "head.1.0.weight", "head.1.0.bias", "head.1.3.weight", "head.1.3.bias",
    }  # fmt: skip
    for after in (1, 2):
        with stopped(after):
            finetune(config, tmp_path / str(after))
        with pytest.raises(RequestError, match="never run"):
            resume(tmp_path / str(after))
        torch.rand(3)
        resume(tmp_path / str(after), [own("small")])
        assert_same_result(tmp_path / str(after), tmp_path / "whole")


def test_dropout_is_drawn_from_its_purpose_and_leaves_torchs_numbers_alone() -> None:
    layer = nn.Dropout(0.5)

    def mask(*purpose: int | str) -> tuple[float, ...]:
        with drawing_from(torch.device("cpu"), *purpose):
            return tuple(layer(torch.ones(64)).tolist())

    before = torch.get_rng_state()
    first = mask(0, "head", 1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert mask(0, "head", 1) == first
    assert len({first, mask(1, "head", 1), mask(0, "all", 1), mask(0, "head", 2)}) == 4


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("wide", r"\(N, 8\) to \(N, 3\); got \(2, 4\)"),
        ("flat", r"got \(6,\)"),
        ("failing", r"failed in line \d+: ZeroDivisionError"),
        ("leaving", r"failed in line \d+: SystemExit"),
        ("function", r"torch module; got function"),
        ("idle", r"without parameters"),
        ("not_a_function", r"must define a function not_a_function"),
        ("nowhere", r"must define a function nowhere"),
    ],
)
def test_what_is_wrong_with_an_own_head_is_said_before_anything_is_written(
    tmp_path: Path, small: Small, own: Callable[[str], str], function: str, message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        finetune(small(head=own(function)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_own_head_starts_the_same_for_one_seed(own: Callable[[str], str]) -> None:
    before = torch.get_rng_state()
    one, same, other = (build_own_head(64, 5, generator(seed), own("small")) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert isinstance(one[0], Standardize)
    assert same_bits(one.state_dict(), same.state_dict())
    assert not same_bits(one.state_dict(), other.state_dict())


def test_layers_of_an_own_head_may_share_their_weights(tmp_path: Path, small: Small, own: Callable[[str], str]) -> None:
    assert len(coefficients(build_own_head(64, 3, generator(0), own("tied")))) == 2
    finetune(small(head=own("tied"), epochs=1), tmp_path / "run")
    best, _ = read_tensors(tmp_path / "run" / "best.safetensors")
    assert torch.equal(best["head.1.0.weight"], best["head.1.1.weight"])
