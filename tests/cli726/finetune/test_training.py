"""The one training loop: what moves, what must not, which model is kept."""

from __future__ import annotations

import copy
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from cli726.errors import ComputationError
from cli726.finetune import training
from cli726.finetune.chance import generator
from cli726.finetune.config import FinetuneConfig, Phase, TrainingConfig, plan_phases
from cli726.finetune.features.extractor import Extractor
from cli726.finetune.features.feed import Feed, batch_sizes, from_stored
from cli726.finetune.network.heads import build_head, coefficients, penalty
from cli726.finetune.network.resnet import Network, Normalization, as_maps, channels_last, convolution_weights, divide
from cli726.finetune.training import Best, EpochMetrics, Progress, Trainer
from cli726.finetune.training.evaluation import Evaluation, evaluate
from cli726.finetune.training.optimizer import make_optimizer, rate_factor
from cli726.reporting import Silent
from tests.cli726.finetune.conftest import SMALL, shrunk
from tests.cli726.finetune.synthetic import CUTS, HEAD_ONLY, lively_backbone, pictures, same_bits
from tests.harness import FULL

pytestmark = pytest.mark.usefixtures("small_network")

PIXELS, LABELS = map(torch.from_numpy, pictures(24))
FEW = LABELS.clamp_max(1)  # of class 0 8, of class 1 16
NORMALIZATION = Normalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
HEAD, LAYER3, LAYER2, ALL = HEAD_ONLY, CUTS["layer3"], CUTS["layer2"], CUTS["all"]
with shrunk():
    STORED = {
        cut: Extractor(divide(lively_backbone(), cut)[0], normalization=NORMALIZATION)(PIXELS)
        for cut in (LAYER2, LAYER3, HEAD)
    }


def new_network() -> Network:
    head = build_head(SMALL[-1], 3, generator(0, "head"), standardize=False)
    return channels_last(Network(lively_backbone(), head))


def judged(error: float, loss: float) -> Evaluation:
    return replace(
        evaluate(torch.zeros(1000, 2), torch.zeros(1000).long()), correct=round(1000 * (1 - error)), loss=loss
    )


def always(*_: Any) -> Evaluation:
    return judged(0.5, 1.0)


class Example(Trainer):
    """A training on stored features that remembers what it was to keep."""

    def __init__(self, network: Network, config: TrainingConfig, validate: Any = always, **options: Any) -> None:
        super().__init__(replace(config, precision=options.pop("precision", "fp32")), Silent())
        self.network, self.judge, self.batch = network, validate, options.pop("batch", 24)
        self.stored: Tensor | None = options.pop("stored", None)
        vars(self).update(options)
        self.bests: list[Best] = []
        self.kept: dict[str, Tensor] = {}
        self.metrics: list[EpochMetrics] = []
        self.states: list[dict[str, Tensor]] = []

    def feed(self, phase: Phase) -> Feed:
        features = STORED[phase.cut] if self.stored is None else self.stored
        return Feed(
            FEW if self.balance else LABELS, batch_sizes(24, self.batch), (0, phase.name), from_stored(features)
        )

    def validate(self, phase: Phase) -> Evaluation | None:
        return self.judge(self.network, phase)  # type: ignore[no-any-return]

    def keep(self, metrics: EpochMetrics) -> None:
        self.metrics.append(metrics)
        self.states.append(copy.deepcopy(dict(self.network.state_dict())))
        best = self.progress.best
        if best is not None and best.epoch == metrics.epoch:
            self.bests.append(best)
            self.kept = self.states[-1]


def fit(
    phases: int | Sequence[Phase], config: TrainingConfig, *rest: Any, epochs: int = 1, **options: Any
) -> tuple[Network, Example]:
    """Train a new network: a list of phases, or some epochs from one cut; gives both."""
    network = options.pop("network", None) or new_network()
    trained = Example(network, config, *rest, **options)
    trained.run_phases([Phase(0, "x", phases, 1, epochs)] if isinstance(phases, int) else phases)
    return network, trained


def two(epochs: int, after: int) -> tuple[Phase, ...]:
    """The head alone, then layer3 as well."""
    return plan_phases(FinetuneConfig(epochs=epochs, unfreeze_after=f"{after}", unfreeze="layer3"))


PLAIN_SGD = TrainingConfig(lr=0.05, momentum=0.0, schedule="constant", label_smoothing=0.0, weight_decay=0.0)


def by_autograd(cut: int, l2: float, decay: float, *, balance: bool = False) -> dict[str, Tensor]:
    """One plain step on loss + l2/2 sum w^2 + decay/2 sum w^2, the penalties written out."""
    network = new_network()
    prefix, suffix = divide(network.backbone, cut)
    network.train()
    prefix.eval()
    scores = network.head(suffix(as_maps(STORED[cut])))
    loss = nn.functional.cross_entropy(scores, LABELS)
    if balance:  # the mean of the two classes' means
        loss = sum(nn.functional.cross_entropy(scores[FEW.eq(k)], FEW[FEW.eq(k)]) for k in (0, 1)) / 2
    loss = loss + l2 / 2 * sum(w.square().sum() for w in coefficients(network.head))
    loss = loss + decay / 2 * sum((w.square().sum() for w in convolution_weights(suffix)), torch.zeros(()))
    parameters = [*suffix.parameters(), *network.head.parameters()]
    with torch.no_grad():
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter -= 0.05 * gradient
    return dict(network.named_parameters())


@pytest.mark.parametrize("cut", [HEAD, LAYER3])
@pytest.mark.parametrize(("l2", "decay"), [(0.0, 0.0), (0.7, 0.0), (0.0, 0.4), (0.7, 0.4)])
def test_a_step_is_that_of_autograd_on_the_penalised_loss(cut: int, l2: float, decay: float) -> None:
    network, _ = fit(cut, replace(PLAIN_SGD, weight_decay=decay), l2=l2)
    expected = by_autograd(cut, l2, decay)
    assert not same_bits(expected, by_autograd(cut, l2 + 0.1, decay))
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter, expected[name], rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("cut", [HEAD, LAYER3])
def test_balanced_the_loss_is_the_mean_of_the_classes_own(cut: int) -> None:
    network, trained = fit(cut, PLAIN_SGD, l2=0.1, balance=True)
    expected = by_autograd(cut, 0.1, 0.0, balance=True)
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter, expected[name], rtol=1e-4, atol=1e-6, msg=name)
    (line,) = trained.metrics
    assert (line.val_error, line.val_balanced_error) == (0.5, pytest.approx(1 - always().balanced_accuracy))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("cut", [HEAD, LAYER3, ALL])
def test_a_phase_trains_what_it_turns_on_and_penalises_coefficients_and_convolutions(optimizer: Any, cut: int) -> None:
    network = new_network()
    config = TrainingConfig(lr=0.3, backbone_lr=0.01, weight_decay=0.002, optimizer=optimizer)
    made = make_optimizer(network, Phase(0, "x", cut, 1, 2), config, 128, 0.05)
    kinds = {"head.1.weight": (0.3, 0.05), "head.1.bias": (0.3, 0.0)}
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    seen = set()
    for group in made.param_groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            expected = kinds.get(name, (0.01, 0.002 if parameter.ndim == 4 else 0.0))
            assert (group["lr"], group["peak"], group["weight_decay"]) == (expected[0], *expected), name
            seen.add(id(parameter))
    suffix = divide(network.backbone, cut)[1]
    assert seen == {id(p) for p in (*suffix.parameters(), *network.head.parameters())}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("cut", [HEAD, LAYER3, LAYER2])
def test_the_frozen_prefix_keeps_every_bit_and_the_rest_moves(cut: int, precision: str) -> None:
    network = new_network()
    before = copy.deepcopy(dict(network.state_dict()))
    kind = torch.float32 if precision == "fp32" else torch.bfloat16
    stored = Extractor(divide(network.backbone, cut)[0], kind, NORMALIZATION)(PIXELS)
    config = TrainingConfig()
    _, trained = fit(cut, config, epochs=2, network=network, batch=8, stored=stored, precision=precision)
    prefix, suffix = divide(network.backbone, cut)
    frozen = {f"backbone.{name}" for name in prefix.state_dict()}
    assert len(frozen) > 10
    for state in trained.states:
        assert all(torch.equal(state[name], before[name]) for name in frozen)
        moving = {f"backbone.{name}" for name in suffix.state_dict()} | {"head.1.weight", "head.1.bias"}
        assert [name for name in moving if torch.equal(state[name], before[name])] == []
    assert all(parameter.grad is None for parameter in prefix.parameters())
    assert not any(module.training for module in network.modules())


def test_without_settling_batch_norm_takes_one_step_of_its_average_for_each_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = int(new_network().get_submodule("backbone.layer3.0.bn1").num_batches_tracked)  # type: ignore[arg-type]
    for steps, settled in ((3, False), (4, True)):
        monkeypatch.setattr(training, "SETTLING_STEPS", steps)
        network, _ = fit(LAYER3, TrainingConfig(), epochs=2, batch=8)
        tracked = int(network.get_submodule("backbone.layer3.0.bn1").num_batches_tracked)  # type: ignore[arg-type]
        assert (tracked == before + 6) is not settled


def test_early_statistics_are_those_of_the_training_images() -> None:
    network, _ = fit(LAYER3, TrainingConfig(), batch=8)
    with torch.no_grad():
        maps = network.get_submodule("backbone.layer3.0.conv1")(as_maps(STORED[LAYER3]))
    norm = network.get_submodule("backbone.layer3.0.bn1")
    torch.testing.assert_close(norm.running_mean, maps.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var, maps.var((0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert norm.momentum == 0.1


@given(steps=st.integers(1, 400), cut=st.sampled_from([HEAD, ALL]), warmup=st.floats(0, 0.9))
def test_rates_stay_within_the_peak_and_start_and_end_where_they_should(steps: int, cut: int, warmup: float) -> None:
    phase = Phase(0, "x", cut, 1, 1)
    for schedule in ("cosine", "linear", "constant"):
        config = TrainingConfig(schedule=schedule, warmup=warmup)
        factors = [rate_factor(config, phase, step, steps) for step in range(steps)]
        assert all(0 < factor <= 1 for factor in factors)
        assert max(factors) == 1
        if schedule == "constant":
            assert set(factors) == {1}
            continue
        top = factors.index(1)
        assert factors[top:] == sorted(factors[top:], reverse=True)
        climb = int(warmup * steps) if cut == ALL else 0
        assert factors[:climb] == pytest.approx([(step + 1) / climb for step in range(climb)])
        assert rate_factor(config, phase, steps, steps) == pytest.approx(0)
        if schedule == "linear":
            falls = [before - after for before, after in zip(factors[climb:], factors[climb + 1 :], strict=False)]
            assert falls == pytest.approx([1 / (steps - climb)] * len(falls))


@pytest.mark.parametrize("steps", [1, 7, 40])
def test_the_cosine_is_torchs(steps: int) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    config, phase = TrainingConfig(), Phase(0, "head", HEAD, 1, 1)
    for step in range(steps):
        assert rate_factor(config, phase, step, steps) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()


def test_the_rate_falls_over_a_phase_and_starts_afresh_in_the_next_with_an_optimizer_of_its_own() -> None:
    config = TrainingConfig(lr=0.1)
    _, both = fit(two(4, 2), config, batch=8)
    # three steps an epoch; the rate written down is that of the epoch's last step
    head = [0.1 * (1 + math.cos(math.pi * step / 6)) / 2 for step in (2, 5)]
    rest = [0.1 * (1 + math.cos(math.pi * (step - 1) / 5)) / 2 for step in (2, 5)]
    assert [line.lr for line in both.metrics] == pytest.approx([*head, *rest])
    alone = new_network()
    alone.load_state_dict(both.states[1])
    fit(two(4, 2), config, network=alone, batch=8, progress=Progress(epoch=2))
    assert same_bits(dict(alone.state_dict()), both.states[3])


def scripted(*results: tuple[float, float]) -> Callable[..., Evaluation]:
    left = iter(results)
    return lambda *_: judged(*next(left))


def test_a_worse_later_phase_never_overwrites_the_best() -> None:
    validate = scripted((0.5, 1.0), (0.25, 0.5), (0.5, 0.1), (0.375, 0.1))
    _, trained = fit(two(4, 2), TrainingConfig(), validate)
    assert trained.best == trained.bests[-1] == Best("head", 2, 0.25, 0.5)
    assert [best.epoch for best in trained.bests] == [1, 2]
    assert same_bits(trained.kept, trained.states[1])
    assert not same_bits(trained.kept, trained.states[3])


@pytest.mark.parametrize(
    ("results", "best"),
    [
        ([(0.3, 0.9), (0.3, 0.8), (0.3, 0.8)], 2),  # equal errors: the lower loss; equal in both: the earlier
        ([(0.3, 0.1), (0.2, 9.0), (0.3, 0.0)], 2),  # the error counts first
        ([(0.3, 0.5), (0.3, 0.5), (0.3, 0.5)], 1),
    ],
)
def test_error_then_loss_then_the_earlier_decide(results: list[tuple[float, float]], best: int) -> None:
    _, trained = fit(HEAD, TrainingConfig(), scripted(*results), epochs=3)
    assert trained.best.epoch == best
    assert same_bits(trained.kept, trained.states[best - 1])


def of_counts(*confusion: tuple[int, ...]) -> Evaluation:
    right, images = sum(row[k] for k, row in enumerate(confusion)), sum(map(sum, confusion))
    return Evaluation(1.0, right, images, confusion, 0.0)


def test_balanced_the_balanced_error_decides() -> None:
    all_of_one, some_of_both, most = (
        of_counts((90, 0), (10, 0)),
        of_counts((60, 30), (2, 8)),
        of_counts((70, 20), (5, 5)),
    )
    for balance, best in ((False, 1), (True, 2)):
        results = iter([all_of_one, some_of_both, most, some_of_both])
        _, trained = fit(two(4, 2), TrainingConfig(), lambda *_, left=results: next(left), balance=balance)
        assert trained.best.epoch == best == trained.bests[-1].epoch
        assert same_bits(trained.kept, trained.states[best - 1])
        stated = trained.best.val_balanced_error
        assert stated == (pytest.approx(1 - (60 / 90 + 8 / 10) / 2) if balance else None)
        assert Progress.from_json(trained.progress.to_json()) == trained.progress


def test_validation_every_few_epochs_and_at_each_phases_end() -> None:
    _, trained = fit(two(9, 5), TrainingConfig(validate_every=3))
    assert [line.epoch for line in trained.metrics] == list(range(1, 10))
    for judged_ in ([line.val_error for line in trained.metrics], [line.val_loss for line in trained.metrics]):
        assert [number + 1 for number, value in enumerate(judged_) if value is not None] == [3, 5, 8, 9]


def test_patience_ends_a_phase_and_the_next_begins_where_it_was_planned() -> None:
    # The second phase's own best counts for its patience, not the first one's.
    validate = scripted((0.25, 1.0), (0.5, 1.0), (0.5, 1.0), (0.75, 1.0), (0.625, 1.0), (0.5, 1.0))
    _, trained = fit(two(8, 5), TrainingConfig(patience=2), validate)
    epochs = [("head", 1), ("head", 2), ("head", 3), ("layer3", 6), ("layer3", 7), ("layer3", 8)]
    assert [(line.phase, line.epoch) for line in trained.metrics] == epochs
    assert trained.best == Best("head", 1, 0.25, 1.0)


def test_progress_survives_json() -> None:
    for progress in (Progress(), Progress(3, Best("head", 2, 0.1, 0.2), 1, (0.1, 0.2), ended=True)):
        assert Progress.from_json(progress.to_json()) == progress


@pytest.mark.parametrize(
    ("options", "validate"),
    [({"lr": 1e38}, always), ({"lr": 1e-9}, scripted((0.9, math.nan))), ({"lr": 1e-9}, scripted((0.9, math.inf)))],
    ids=["in a step", "nan afterwards", "infinite afterwards"],
)
def test_divergence_is_an_error_with_all_that_helps(options: dict[str, Any], validate: Any) -> None:
    """A last step may blow up the weights after its loss was taken."""
    rate = f"{options['lr']:.3g}".replace("+", r"\+")
    message = rf"epoch 1 \(phase x\): loss .* at rate {rate}; try --lr {options['lr'] / 10:.2g}".replace("e+", r"e\+")
    with pytest.raises(ComputationError, match=message) as caught:
        fit(HEAD, TrainingConfig(schedule="constant", **options), validate, epochs=3, batch=8)
    assert caught.value.status == 5


def test_training_losses_are_means_over_images_and_accuracies_are_counted() -> None:
    network = new_network()
    with torch.no_grad():
        network.head[1].weight.zero_()  # type: ignore[index]
        network.head[1].bias.copy_(torch.tensor([1.0, 0.0, 0.0]))  # type: ignore[index]
    _, trained = fit(HEAD, TrainingConfig(lr=1e-12), network=network, batch=7)
    expected = nn.functional.cross_entropy(torch.tensor([[1.0, 0.0, 0.0]]).expand(24, 3), LABELS).item()
    assert trained.metrics[0].train_loss == pytest.approx(expected, rel=1e-6)
    assert trained.metrics[0].train_accuracy == pytest.approx(1 / 3)


def test_label_smoothing_is_torchs_and_on_only_where_something_is_unfrozen() -> None:
    for cut, smoothing in ((HEAD, 0.0), (LAYER3, 0.05)):
        network = new_network().train()
        with torch.no_grad():
            scores = network.head(divide(network.backbone, cut)[1](as_maps(STORED[cut])))
        expected = nn.functional.cross_entropy(scores, LABELS, label_smoothing=smoothing).item()
        _, trained = fit(cut, TrainingConfig(lr=1e-9))
        assert trained.metrics[0].train_loss == pytest.approx(expected, rel=1e-4)


def test_training_learns() -> None:
    _, trained = fit(LAYER3, TrainingConfig(lr=0.1), epochs=10, batch=8)
    assert trained.metrics[-1].train_loss < 0.8 * trained.metrics[0].train_loss


class OtherNorm(torch.nn.modules.batchnorm._BatchNorm):
    """A BatchNorm that is no BatchNorm2d, as torchrun's SyncBatchNorm on GPUs is none."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass


def test_statistics_are_settled_whatever_kind_of_batch_norm_it_is() -> None:
    settled = []
    for kind in (nn.BatchNorm2d, OtherNorm):
        network = new_network()
        stage = network.get_submodule("backbone.layer3.0")
        norm = kind(stage.bn1.num_features)  # type: ignore[union-attr, arg-type]
        norm.load_state_dict(stage.bn1.state_dict())  # type: ignore[union-attr]
        stage.bn1 = norm
        fit(LAYER3, TrainingConfig(), network=network, batch=8)
        settled.append(norm.running_mean)
        assert norm.momentum == 0.1
    assert torch.equal(*settled)


class NoDoubles(TorchDispatchMode):
    """A device, as Apple's, that has no float64: the meta device, from which only zeros come back."""

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = operation.name()
        there = [value for value in args if isinstance(value, Tensor) and value.device.type == "meta"]
        if name == "aten::_local_scalar_dense" and there:
            return 1.0 if there[0].is_floating_point() else 1
        if name == "aten::_to_copy" and there and str(kwargs.get("device")) == "cpu":
            return torch.ones(there[0].shape, dtype=kwargs.get("dtype") or there[0].dtype)
        made = operation(*args, **kwargs)
        for value in made if isinstance(made, tuple | list) else [made]:
            if isinstance(value, Tensor) and value.device.type == "meta" and value.dtype == torch.float64:
                raise TypeError(f"{name}: the device has no float64")
        return made


@pytest.mark.parametrize("cut", [HEAD, LAYER3])
def test_a_device_without_float64_is_asked_for_none(cut: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of an epoch, settled statistics, standardisation, the penalty."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # meta has none
    network = Network(lively_backbone(), build_head(SMALL[-1], 3, generator(0, "head"))).to("meta")
    features = STORED[cut].to("meta")
    example = Example(network, TrainingConfig(), always, stored=features, batch=8)
    feed = Feed(LABELS.to("meta"), batch_sizes(24, 8), (0, "x"), from_stored(features))
    example.feed = lambda phase: feed  # type: ignore[method-assign]
    example.keep = lambda metrics: example.metrics.append(metrics)  # type: ignore[method-assign]
    with NoDoubles():
        with pytest.raises(TypeError, match="no float64"):
            torch.zeros(1, device="meta").double()
        if cut == HEAD:
            network.head[0].fit(features)  # type: ignore[operator, index]
        example.run_phases([Phase(0, "x", cut, 1, 1)])
        penalty(network.head, 0.1)
    assert [line.epoch for line in example.metrics] == [1]


COMPILER = """
import sys
import torch
import cli726.finetune.api
from cli726.finetune.network.weights import load_weights
from cli726.finetune.training.optimizer import plain

if sys.argv[1] == "plain":
    load_weights("bundled")
x, w = torch.arange(32.0).reshape(8, 4).sin(), torch.ones(4, requires_grad=True)
kinds = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}
for name in sys.argv[2:]:
    kind = plain(kinds[name]) if sys.argv[1] == "plain" else kinds[name]
    optimizer = kind([{"params": [w], "lr": 0.1, "weight_decay": 0.01}])
    for _ in range(3):
        optimizer.zero_grad()
        (x @ w).square().mean().backward()
        optimizer.step()
    kind([{"params": [w]}]).load_state_dict(optimizer.state_dict())
print(w.tolist(), not {"torch._dynamo", "sympy", "matplotlib", "torchvision"}.isdisjoint(sys.modules))
"""


def test_training_imports_neither_compiler_nor_matplotlib_and_the_optimizers_numbers_are_torchs() -> None:
    def run(how: str) -> tuple[str, str]:
        words = [sys.executable, "-c", COMPILER, how, "sgd", "adamw"]
        weights, _, imported = subprocess.check_output(words, text=True).strip().rpartition(" ")
        return weights, imported

    weights, imported = run("plain")
    assert imported == "False"
    if FULL:  # importing it takes as long as all other tests here
        assert weights == run("as it is")[0]
