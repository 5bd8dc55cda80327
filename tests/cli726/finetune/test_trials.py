"""Several penalties side by side, and the head's exact optimum."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from cli726.finetune.result import Finetuned
from cli726.finetune.run import Run
from cli726.finetune.storage import read_tensors
from cli726.reporting import Silent
from tests.cli726.finetune.synthetic import metrics, same_bits

pytestmark = pytest.mark.usefixtures("small_network")
PENALTIES = (0.0, 0.03, 1.0)
Told = Callable[..., tuple[Finetuned, list[str]]]


@pytest.mark.parametrize(
    "options",
    [{}, {"head": "mlp:8", "dropout": 0.3}, {"solver": "exact"}, {"epochs": 3, "unfreeze_after": "2"}],
    ids=["linear", "mlp", "exact", "two stages"],
)
def test_each_trial_is_the_run_that_has_its_value_alone_and_the_best_goes_on(
    told: Told, options: dict[str, Any]
) -> None:
    penalties = (0.01, 0.1, 1.0) if options.get("solver") else PENALTIES
    result, said = told(l2=penalties, **options)
    alone = {l2: told(l2=(l2,), **options)[0] for l2 in penalties}
    assert [trial.l2 for trial in result.trials] == list(penalties)
    for trial in result.trials:
        assert trial.best.phase == "head"
        if "unfreeze_after" not in options:
            assert trial.best == alone[trial.l2].best
            last, _ = read_tensors(alone[trial.l2].run_dir / "last.safetensors")
            weights = [t for n, t in last.items() if re.fullmatch(r"network\.head\.\d+\.weight", n) and t.ndim == 2]
            squares = sum(float(w.double().square().sum()) for w in weights)
            assert trial.norm == pytest.approx(squares**0.5)
            assert trial.penalty == pytest.approx(trial.l2 / 2 * squares)
    norms = [trial.norm for trial in result.trials]
    assert norms == sorted(set(norms), reverse=True)
    winner = min(result.trials, key=lambda trial: (trial.best.val_error, trial.best.val_loss)).l2
    assert (result.l2["l2"], alone[winner].trials) == (winner, ())
    assert metrics(result.run_dir) == metrics(alone[winner].run_dir)
    assert result.test == alone[winner].test
    mine, theirs = (read_tensors(run.run_dir / "last.safetensors")[0] for run in (result, alone[winner]))
    assert same_bits(mine, theirs)
    assert [line for line in said if line == f"L2: {winner:g} is the best of 3 by validation"]


def test_the_trials_share_the_features(told: Told) -> None:
    result, said = told(l2=PENALTIES, epochs=1, augment="flip", views=2, cache=True)
    assert len(result.cache["entries"]) == len({entry["key"] for entry in result.cache["entries"]}) == 3
    assert len([line for line in said if line.startswith("features of")]) == 3


@pytest.mark.parametrize(
    ("options", "l2"),
    [({}, 1e-3), ({"cache": True}, 0.1), ({"recompute": True}, 1e-2)],
    ids=["memory", "cache", "recompute"],
)
def test_the_exact_head_is_scikit_learns_and_its_gradient_vanishes(
    told: Told, options: dict[str, Any], l2: float
) -> None:
    result, said = told(epochs=3, solver="exact", l2=(l2,), **options)
    bank = Run.setup(result.config, Silent()).bank
    features, t = bank.features("train", 5).double().numpy(), bank.labels("train").numpy()
    x = (features - features.mean(0)) / features.std(0)
    fit = LogisticRegression(C=1 / (len(t) * l2), tol=1e-10, max_iter=10_000).fit(x, t)
    tensors, _ = read_tensors(result.run_dir / "best.safetensors")
    w, b = (tensors[f"head.1.{name}"].double().requires_grad_() for name in ("weight", "bias"))
    weights, bias = w.detach().numpy(), b.detach().numpy()
    np.testing.assert_allclose(weights - weights.mean(0), fit.coef_ - fit.coef_.mean(0), atol=2e-4)
    np.testing.assert_allclose(bias - bias.mean(), fit.intercept_ - fit.intercept_.mean(), atol=2e-4)

    scores = torch.from_numpy(x) @ w.T + b
    loss = torch.nn.functional.cross_entropy(scores, torch.from_numpy(t)) + l2 / 2 * w.square().sum()
    gradient = torch.cat([part.flatten() for part in torch.autograd.grad(loss, (w, b))])
    assert float(gradient.norm()) < 1e-5  # the head is stored in float32
    (line,) = [line for line in said if line.startswith("exact head: objective")]
    assert float(re.search(r"gradient norm (\S+)", line)[1]) < 1e-9  # type: ignore[index]
    assert result.solver is not None
    assert result.solver["objective"] == pytest.approx(float(loss.detach()), rel=1e-6)
    assert (result.solver["converged"], result.solver["separable"]) == (True, False)
    assert [line["epoch"] for line in metrics(result.run_dir)] == [3]


def test_without_a_penalty_separable_data_have_no_optimum_and_it_is_said(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hidden class of one's own for each image would be separable; eight features of few images are as well."""
    for l2, expected in ((0.0, 1), (1e-3, 0)):
        result, said = told(solver="exact", l2=(l2,), test_fraction=0.7, val_fraction=0.2)
        assert len([line for line in said if "separable" in line and "no optimum" in line]) == expected
        assert result.history[0].train_accuracy == 1.0


def test_unfreezing_goes_on_from_the_optimum_and_augmentation_waits_for_it(told: Told) -> None:
    options: dict[str, Any] = {"solver": "exact", "l2": (1e-2,), "epochs": 4, "unfreeze_after": "2"}
    plain, _ = told(**options, unfreeze="layer3")
    assert [(line["phase"], line["epoch"]) for line in metrics(plain.run_dir)] == [
        ("head", 2), ("layer3", 3), ("layer3", 4),
    ]  # fmt: skip
    assert [part.epochs for part in plain.phases] == [1, 2]
    augmented, said = told(**options, unfreeze="layer3", augment="flip,crop")
    assert [line for line in said if line.startswith("phase head: the exact solver takes")]
    assert [line for line in said if line.startswith("phase layer3: augments afresh")]
    assert metrics(augmented.run_dir)[0] == metrics(plain.run_dir)[0]
