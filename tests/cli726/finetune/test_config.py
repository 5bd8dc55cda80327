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

MEANINGLESS = ("", "x", "-1", "5.5", "5x", "5:", "5:layer9", "5:layer3,", "5:all,3:all", "3,3", "٣")


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
    with pytest.raises(RequestError, match=r"--lr .*--unfreeze-after"):
        FinetuneConfig(lr=0.0, unfreeze_after="10")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_fraction": 0.5, "val_fraction": 0.5}, "must leave images to train on; got 0.5 and 0.5"),
        ({"test_fraction": 0.9}, "must leave images to train on; got 0.9 and 0.15"),
        ({"head": "python:x.py:f", "dropout": 0.2}, "build them into your own"),
        ({"head": "python:x.py:f", "batch_norm": True}, "build them into your own"),
        ({"views": 4}, "--views 4 needs --augment"),
        ({"learning_curve": True}, "--learning-curve needs --folds"),
        ({"views": 4, "augment": "flip", "recompute": True}, "--views and --recompute exclude each other"),
        ({"solver": "exact", "head": "mlp:8"}, "plain linear head"),
        ({"solver": "exact", "dropout": 0.1}, "plain linear head"),
        ({"solver": "exact", "batch_norm": True}, "plain linear head"),
        *(
            ({**options, **phases}, "need a phase that trains the head alone.*--unfreeze-after N")
            for options in ({"l2": (0.0, 0.1)}, {"solver": "exact"})
            for phases in ({"unfreeze": "layer3"}, {"unfreeze_after": "0"})
        ),
        ({"unfreeze": "layer3", "unfreeze_after": "5:all"}, "both name stages; give one"),
        *(({"unfreeze_after": text}, "--unfreeze-after") for text in (*MEANINGLESS, "9" * 5000)),
        ({"unfreeze_after": "3:all,5:layer3"}, "must turn on more at later epochs"),
        ({"unfreeze_after": "10"}, "below --epochs, 10; got 10; try --epochs 20"),
        ({"unfreeze_after": "5:layer3,11:all"}, "below --epochs, 10; got 5:layer3,11:all; try --epochs 22"),
    ],
)
def test_options_that_go_not_together_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        FinetuneConfig(**options)


@pytest.mark.parametrize("configuration", [FinetuneConfig, PretrainConfig])
def test_every_field_refuses_other_types_unknown_choices_and_what_is_beyond_its_limits(configuration: Any) -> None:
    """Generated from the fields: each choice, each limit, each type; at an included limit it is taken."""
    tried = 0
    for name, field in described(configuration).items():
        wrong: list[Any] = [object(), ["x"], b"x"]
        right: list[Any] = list(field.choices)
        if field.choices:
            wrong += ["nonsense", "", field.choices[0].upper()]
        option = field.option
        if option is not None and option.rule:
            assert f"{option.low if option.above is None else option.above:g}" in option.rule
            wrong += [float("nan"), *([] if option.low is None else [option.low - 1])]
            wrong += [] if option.high is None else [option.high * 2]
            wrong += [bound for bound in (option.above, option.below) if bound is not None]
            right += [bound for bound in (option.low, option.high) if bound is not None and bound != 2**63 - 1]
        if field.kind is int:
            wrong = [int(value) if isinstance(value, float) and value == value else value for value in wrong]
        many = field.kind == tuple[float, ...]
        for value in wrong:
            given = (value,) if many and isinstance(value, float | int) else value
            with pytest.raises(RequestError, match=re.escape("--" + name.replace("_", "-")) + " must be .*; got "):
                configuration(**{name: given})
            tried += 1
        for value in right if name not in {"views", "solver"} else ():  # these need other options
            given = (value,) if many else value
            assert getattr(configuration(**{name: given}), name) == given
    assert tried > 60


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [("head", 5, 1, 10)]),
        ({"unfreeze_after": "5"}, [("head", 5, 1, 5), ("all", 0, 6, 10)]),
        ({"unfreeze_after": "0"}, [("all", 0, 1, 10)]),
        ({"unfreeze_after": "9"}, [("head", 5, 1, 9), ("all", 0, 10, 10)]),
        ({"unfreeze": "layer1"}, [("layer1", 1, 1, 10)]),
        ({"unfreeze": "layer2", "unfreeze_after": "5"}, [("head", 5, 1, 5), ("layer2", 2, 6, 10)]),
        ({"unfreeze_after": "0:layer3, 3:layer1"}, [("layer3", 3, 1, 3), ("layer1", 1, 4, 10)]),
        ({"unfreeze_after": "2:layer3,4"}, [("head", 5, 1, 2), ("layer3", 3, 3, 4), ("all", 0, 5, 10)]),
    ],
)
def test_plan_of_every_spelling(options: dict[str, Any], expected: list[tuple[str, int, int, int]]) -> None:
    phases = plan_phases(FinetuneConfig(**options))
    assert [phase.position for phase in phases] == list(range(len(phases)))
    assert [(phase.name, phase.cut, phase.first, phase.last) for phase in phases] == expected
    assert sum(phase.epochs for phase in phases) == 10


@given(
    epochs=st.integers(1, 40),
    steps=st.lists(st.tuples(st.integers(0, 39), st.sampled_from(list(CUTS)[1:])), max_size=4),
)
def test_phases_cover_the_epochs_once_and_only_ever_turn_on_more(epochs: int, steps: list[tuple[int, str]]) -> None:
    text = ",".join(f"{after}:{name}" for after, name in steps) or None
    afters, cuts = [after for after, _ in steps], [CUTS[name] for _, name in steps]
    grows = afters == sorted(set(afters)) and cuts == sorted(set(cuts), reverse=True)
    try:
        phases = plan_phases(FinetuneConfig(epochs=epochs, unfreeze_after=text))
    except RequestError:
        assert not grows or afters[-1] >= epochs
        return
    assert grows
    assert [e for phase in phases for e in range(phase.first, phase.last + 1)] == list(range(1, epochs + 1))
    assert [phase.cut for phase in phases] == ([] if afters[:1] == [0] else [HEAD_ONLY]) + cuts


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
    told = {name: (phase.trains, phase.label) for name, cut in {"head": HEAD_ONLY, **CUTS}.items()
            for phase in [Phase(0, name, cut, 1, 5)]}  # fmt: skip
    assert told["head"] == (("head",), "the head")
    assert told["layer2"] == (("layer2", "layer3", "head"), "layer2, layer3 and the head")
    assert told["all"] == (("stem", "layer1", "layer2", "layer3", "head"), "the whole network")


@given(images=st.integers(1, 100_000), typed=st.none() | st.integers(2, 5000))
def test_the_batch_is_as_typed_or_a_power_of_two_that_leaves_tens_of_steps(images: int, typed: int | None) -> None:
    batch = TrainingConfig(batch_size=typed).batch_for(images)
    if typed is not None:
        assert batch == min(typed, max(images, 2))
        return
    assert 16 <= batch <= 256
    assert batch & (batch - 1) == 0
    assert batch == 16 or batch <= images / 40
    assert batch == 256 or 2 * batch > images / 40


def test_rates_and_smoothing_by_phase() -> None:
    head, whole = Phase(0, "head", HEAD_ONLY, 1, 5), Phase(1, "all", 0, 6, 10)
    default, typed = TrainingConfig(), TrainingConfig(lr=0.3, backbone_lr=0.01, label_smoothing=0.1)
    assert default.rates_for(head, 256) == (0.1, 0.1)
    assert default.rates_for(whole, 256) == pytest.approx((0.2, 0.2))
    assert default.rates_for(whole, 32) == pytest.approx((0.025, 0.025))
    assert TrainingConfig(optimizer="adamw").rates_for(whole, 256) == pytest.approx((0.002, 0.002))
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


@pytest.mark.parametrize(("preset", "phases"), [("course", ["head"]), ("best", ["head", "all"])])
def test_presets_hold_from_python_as_on_the_command_line(preset: Any, phases: list[str]) -> None:
    config = FinetuneConfig(preset=preset)
    assert all(getattr(config, name) == value for name, value in PRESETS[preset].items())
    assert [phase.name for phase in plan_phases(config)] == phases


def test_what_is_given_goes_before_the_preset_and_other_usual_values() -> None:
    config = FinetuneConfig(preset="best", epochs=3, l2=(0.0,), tta=False)
    assert (config.epochs, config.l2, config.tta, config.solver) == (3, (0.0,), False, "exact")
    assert FinetuneConfig(solver="exact").l2 == (1e-3,)
    assert FinetuneConfig(solver="exact", l2=(0.5,)).l2 == (0.5,)
    assert FinetuneConfig(preset="course").recompute
    assert not FinetuneConfig(preset="course", cache=True).recompute


def test_pretraining_has_no_options_that_it_would_not_heed() -> None:
    for name in ("patience", "backbone_lr", "validate_every"):
        with pytest.raises(TypeError):
            PretrainConfig(**{name: 3})
    with pytest.raises(RequestError, match="--depth must be one of 20, 32, 44, 56; got 18"):
        PretrainConfig(depth=18)


def test_the_configuration_needs_only_the_standard_library() -> None:
    code = (
        "import sys; import cli726.finetune.config; "
        "print([m for m in ('numpy', 'torch', 'h5py', 'matplotlib') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_what_is_written_is_read_back() -> None:
    given = {"l2": (0.0, 0.5), "lr": 1.0, "unfreeze_after": "5", "cache": True}
    for config in (FinetuneConfig(**given), FinetuneConfig(preset="best")):
        stored = json.loads(json.dumps(config.to_json()))
        assert FinetuneConfig.from_json(stored) == config
        assert FinetuneConfig.from_json({**stored, "dropout": 0}) == config, "JSON has one kind of number"


@pytest.mark.parametrize(
    "changed",
    [
        {"epochs": 2.0}, {"epochs": True}, {"epochs": None}, {"dropout": "0"}, {"cache": 1}, {"l2": ["0"]},
        {"l2": [True]}, {"l2": 1}, {"head": None}, {"cache_dir": 3}, {"augment": {}}, {"of_a_later_version": 1},
    ],
)  # fmt: skip
def test_values_of_another_type_are_no_configuration(changed: dict[str, Any]) -> None:
    """Not silently converted: a run is gone on with as it was begun, or not at all."""
    with pytest.raises(TypeError):
        FinetuneConfig.from_json({**FinetuneConfig().to_json(), **changed})
