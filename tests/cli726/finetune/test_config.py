"""The configuration: every broken rule at once, the plan of phases, what is chosen from the data."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli726.errors import RequestError
from cli726.finetune.backbones import BACKBONES
from cli726.finetune.config import PRESETS, FinetuneConfig, Phase, PretrainConfig, TrainingConfig, plan_phases
from cli726.finetune.options import described
from tests.cli726.finetune.synthetic import CUTS, HEAD_ONLY


def plan(**options: Any) -> list[tuple[str, int, int, int]]:
    phases = plan_phases(FinetuneConfig(**options))
    assert [phase.position for phase in phases] == list(range(len(phases)))
    return [(phase.name, phase.cut, phase.first, phase.last) for phase in phases]


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(RequestError) as caught:
        FinetuneConfig(
            epochs=0, batch_size=1, lr=-1.0, momentum=1.0, test_fraction=0.0, schedule="steps", cache=True,
            recompute=True, unfreeze="layer9",
        )  # fmt: skip
    message = str(caught.value)
    for name in ("epochs", "batch-size", "lr", "momentum", "test-fraction", "schedule", "recompute", "unfreeze"):
        assert f"--{name} " in message, name
    for value in ("got 0", "got 1", "got -1.0", "got steps", "got layer9"):
        assert value in message


def test_a_late_unfreezing_is_reported_together_with_a_bad_rate() -> None:
    with pytest.raises(RequestError, match=r"--lr .*--unfreeze-after"):
        FinetuneConfig(lr=0.0, unfreeze_after="10")


@pytest.mark.parametrize(
    "options",
    [
        {"lr": float("nan")},
        {"lr": float("inf")},
        {"backbone_lr": 0.0},
        {"momentum": float("nan")},
        {"weight_decay": -1e-9},
        {"weight_decay": float("nan")},
        {"label_smoothing": 1.0},
        {"validate_every": 0},
        {"patience": 0},
        {"threads": 0},
        {"optimizer": "lbfgs"},
        {"precision": "fp16"},
        {"test_fraction": float("nan")},
        {"test_fraction": 0.5, "val_fraction": 0.5},
    ],
)
def test_each_rule_holds_by_itself(options: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="got"):
        FinetuneConfig(**options)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [("head", 5, 1, 10)]),
        ({"unfreeze_after": "5"}, [("head", 5, 1, 5), ("all", 0, 6, 10)]),
        ({"unfreeze_after": "0"}, [("all", 0, 1, 10)]),
        ({"unfreeze_after": "9"}, [("head", 5, 1, 9), ("all", 0, 10, 10)]),
        ({"unfreeze": "all"}, [("all", 0, 1, 10)]),
        ({"unfreeze": "layer1"}, [("layer1", 1, 1, 10)]),
        ({"unfreeze": "layer2", "unfreeze_after": "5"}, [("head", 5, 1, 5), ("layer2", 2, 6, 10)]),
        (
            {"unfreeze_after": "5:layer3,10:all", "epochs": 12},
            [("head", 5, 1, 5), ("layer3", 3, 6, 10), ("all", 0, 11, 12)],
        ),
        ({"unfreeze_after": "0:layer3, 3:layer1"}, [("layer3", 3, 1, 3), ("layer1", 1, 4, 10)]),
        ({"unfreeze_after": "2:layer3,4"}, [("head", 5, 1, 2), ("layer3", 3, 3, 4), ("all", 0, 5, 10)]),
    ],
)
def test_plan_of_every_spelling(options: dict[str, Any], expected: list[tuple[str, int, int, int]]) -> None:
    assert plan(**options) == expected


@pytest.mark.parametrize("late", ["10", "11", "5:layer3,10:all"])
def test_unfreezing_at_or_after_the_end_is_refused_with_a_remedy(late: str) -> None:
    with pytest.raises(RequestError, match=rf"below --epochs, 10; got {late}; try --epochs 2\d"):
        FinetuneConfig(unfreeze_after=late)


@pytest.mark.parametrize("text", ["", "x", "-1", "5.5", "5:layer9", "5:all,3:all", "3:all,5:layer3", "3,3", "٣"])
def test_spellings_that_mean_nothing_are_refused(text: str) -> None:
    with pytest.raises(RequestError, match="--unfreeze-after"):
        FinetuneConfig(unfreeze_after=text)


def test_stages_are_named_once() -> None:
    with pytest.raises(RequestError, match="give one"):
        FinetuneConfig(unfreeze="layer3", unfreeze_after="5:all")


@given(
    epochs=st.integers(1, 40),
    steps=st.lists(st.tuples(st.integers(0, 39), st.sampled_from(list(CUTS)[1:])), max_size=4),
)
def test_phases_cover_the_epochs_once_and_only_ever_turn_on_more(epochs: int, steps: list[tuple[int, str]]) -> None:
    text = ",".join(f"{after}:{name}" for after, name in steps) or None
    try:
        phases = plan_phases(FinetuneConfig(epochs=epochs, unfreeze_after=text))
    except RequestError:
        return
    assert [e for phase in phases for e in range(phase.first, phase.last + 1)] == list(range(1, epochs + 1))
    cuts = [phase.cut for phase in phases]
    assert cuts == sorted(set(cuts), reverse=True)
    assert {name for _, name in steps} <= {phase.name for phase in phases}


def test_stages_are_those_of_the_backbone() -> None:
    assert [phase.name for phase in plan_phases(FinetuneConfig(unfreeze_after="1:last,2:all"))] == [
        "head",
        "layer3",
        "all",
    ]
    for backbone, last in (("auto", "layer3"), ("resnet56", "layer3"), ("mobilenet_v2", "layer4")):
        (phase,) = plan_phases(FinetuneConfig(backbone=backbone, unfreeze="last"))
        assert (phase.name, phase.trains) == (last, (last, "head"))
        assert phase == plan_phases(FinetuneConfig(backbone=backbone, unfreeze=last))[0]
    # Whether auto has it is known once the images are.
    assert plan_phases(FinetuneConfig(unfreeze="layer4"))[0].trains == ("layer4", "head")
    with pytest.raises(RequestError, match="--unfreeze must be one of last, layer3, layer2, layer1, all; got layer4"):
        FinetuneConfig(backbone="resnet20", unfreeze="layer4")
    with pytest.raises(RequestError, match=r"--unfreeze-after knows the stages last, layer4, .*; got pool"):
        FinetuneConfig(backbone="resnet18", unfreeze_after="3:pool")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"backbone": "resnet21"}, "did you mean .*resnet20"),
        ({"backbone": "resnet32", "weights": "bundled"}, "bundled are not those of resnet32"),
        ({"backbone": "resnet50", "weights": "chenyaofo"}, "chenyaofo are not those of resnet50"),
    ],
)
def test_a_backbone_and_its_weights_fit(options: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        FinetuneConfig(**options)


def test_what_a_phase_trains() -> None:
    assert Phase(0, "head", HEAD_ONLY, 1, 5).trains == ("head",)
    assert Phase(0, "layer3", CUTS["layer3"], 1, 5).trains == ("layer3", "head")
    assert Phase(0, "all", 0, 1, 5).trains == ("stem", "layer1", "layer2", "layer3", "head")
    assert Phase(0, "all", 0, 3, 5).epochs == 3


@given(images=st.integers(1, 100_000))
def test_default_batch_is_a_power_of_two_that_leaves_tens_of_steps(images: int) -> None:
    batch = TrainingConfig().batch_for(images)
    assert 16 <= batch <= 256
    assert batch & (batch - 1) == 0
    if batch > 16:
        assert batch <= images / 40
    if batch < 256:
        assert 2 * batch > images / 40


@given(typed=st.integers(2, 5000), images=st.integers(2, 2000))
def test_a_typed_batch_is_kept_as_far_as_there_are_images(typed: int, images: int) -> None:
    assert TrainingConfig(batch_size=typed).batch_for(images) == min(typed, images)


def test_rates_and_smoothing_by_phase() -> None:
    head, whole = Phase(0, "head", HEAD_ONLY, 1, 5), Phase(1, "all", 0, 6, 10)
    default = TrainingConfig()
    assert default.rates_for(head, 256) == (0.1, 0.1)
    assert default.rates_for(whole, 256) == pytest.approx((0.2, 0.2))
    assert default.rates_for(whole, 32) == pytest.approx((0.025, 0.025))
    typed = TrainingConfig(lr=0.3, backbone_lr=0.01, label_smoothing=0.1)
    assert typed.rates_for(whole, 256) == (0.3, 0.01)
    assert TrainingConfig(lr=0.3).rates_for(whole, 256) == (0.3, 0.3)
    gentle = replace(whole, gentle=True)
    assert default.rates_for(gentle, 32) == pytest.approx((0.025, 0.0025))
    assert typed.rates_for(gentle, 256) == (0.3, 0.01)
    assert (default.patience_for(whole), default.patience_for(gentle)) == (None, 5)
    assert TrainingConfig(patience=9).patience_for(gentle) == 9

    assert (default.smoothing_for(head), default.smoothing_for(whole)) == (0.0, 0.05)
    assert (typed.smoothing_for(head), typed.smoothing_for(whole)) == (0.1, 0.1)


def test_few_images_train_a_large_network_gently() -> None:
    config = FinetuneConfig(unfreeze_after="3")
    for kind, images, gentle in (("resnet18", 999, True), ("resnet18", 1000, False), ("resnet56", 50, False)):
        head, rest = plan_phases(config, BACKBONES[kind], images)
        assert (head.gentle, rest.gentle) == (False, gentle)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_hold_from_python_as_on_the_command_line(preset: Any) -> None:
    config = FinetuneConfig(preset=preset)
    assert all(getattr(config, name) == value for name, value in PRESETS[preset].items())
    assert [phase.name for phase in plan_phases(config)] == {"course": ["head"], "best": ["head", "all"]}[preset]


def test_what_is_given_goes_before_the_preset_and_other_usual_values() -> None:
    config = FinetuneConfig(preset="best", epochs=3, l2=(0.0,), tta=False)
    assert (config.epochs, config.l2, config.tta, config.solver) == (3, (0.0,), False, "exact")
    assert FinetuneConfig(solver="exact").l2 == (1e-3,)
    assert FinetuneConfig(solver="exact", l2=(0.5,)).l2 == (0.5,)
    assert FinetuneConfig(preset="course").recompute
    assert not FinetuneConfig(preset="course", cache=True).recompute
    assert FinetuneConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize("configuration", [FinetuneConfig, PretrainConfig])
def test_every_field_refuses_other_types_unknown_choices_and_what_is_beyond_its_limits(configuration: Any) -> None:
    """Generated from the fields: each choice, each limit, each type."""
    tried = 0
    for name, field in described(configuration).items():
        wrong: list[Any] = [object(), ["x"], b"x"]
        if field.choices:
            wrong += ["nonsense", "", field.choices[0].upper()]
        option = field.option
        numbers = [] if option is None else [option.low, option.above, option.high, option.below]
        if any(bound is not None for bound in numbers):
            assert option is not None
            wrong += [float("nan")]
            wrong += [] if option.low is None else [option.low - 1]
            wrong += [] if option.high is None else [option.high * 2]
            wrong += [bound for bound in (option.above, option.below) if bound is not None]
            if field.kind is int:
                wrong = [int(value) if isinstance(value, float) and value == value else value for value in wrong]
        for value in wrong:
            given = (value,) if field.kind == tuple[float, ...] and isinstance(value, float | int) else value
            with pytest.raises(RequestError, match=re.escape("--" + name.replace("_", "-")) + " must be .*; got "):
                configuration(**{name: given})
            tried += 1
    assert tried > 60


def test_pretraining_has_no_options_that_it_would_not_heed() -> None:
    for name in ("patience", "backbone_lr", "validate_every"):
        with pytest.raises(TypeError):
            PretrainConfig(**{name: 3})


def test_the_configuration_needs_only_the_standard_library() -> None:
    code = (
        "import sys; import cli726.finetune.config; "
        "print([m for m in ('numpy', 'torch', 'h5py', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("text", ["5:", "5:layer3,", "9" * 5000, "-1", "5x", "", "5:nothing"])
def test_steps_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(RequestError, match="--unfreeze-after"):
        FinetuneConfig(unfreeze_after=text)


def test_what_is_written_is_read_back() -> None:
    config = FinetuneConfig(l2=(0.0, 0.5), lr=1.0, unfreeze_after="5", cache=True)
    stored = json.loads(json.dumps(config.to_json()))
    assert FinetuneConfig.from_json(stored) == config
    assert FinetuneConfig.from_json({**stored, "lr": 1}) == config, "JSON has one kind of number"


@pytest.mark.parametrize(
    "changed",
    [
        {"epochs": 2.0}, {"epochs": True}, {"epochs": None}, {"epochs": "2"}, {"dropout": "0"}, {"dropout": None},
        {"cache": 1}, {"cache": None}, {"l2": ["0"]}, {"l2": [True]}, {"l2": 1}, {"head": None}, {"threads": 1.5},
        {"cache_dir": 3}, {"dataset": ["digits"]}, {"augment": {}}, {"seed": 0.5}, {"of_a_later_version": 1},
    ],
)  # fmt: skip
def test_values_of_another_type_are_no_configuration(changed: dict[str, Any]) -> None:
    """Not silently converted: a run is gone on with as it was begun, or not at all."""
    with pytest.raises(TypeError):
        FinetuneConfig.from_json({**FinetuneConfig().to_json(), **changed})
