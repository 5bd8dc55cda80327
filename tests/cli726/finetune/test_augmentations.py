"""Each transformation against torchvision's, image by image, and what `--augment` promises of all of them."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cli726.drawing import styled
from cli726.errors import RequestError
from cli726.finetune.augment import transforms
from cli726.finetune.augment.table import Augmentation, apply_all, draw_all, parse_augmentations
from cli726.finetune.augment.transforms import (
    OPERATIONS,
    blur,
    color,
    crop,
    draw_erase,
    draw_randaugment,
    erase,
    flip,
    motionblur,
    noise,
    randaugment,
    rotate,
    saltpepper,
)
from cli726.finetune.chance import generator
from cli726.finetune.data.vision import import_torchvision
from cli726.finetune.features.feed import Feed, batch_sizes, from_images
from cli726.finetune.network.resnet import Normalization
from cli726.finetune.output.figures import augmentation_sheet
from cli726.finetune.recipe import KNOWN
from tests.cli726.finetune.synthetic import pictures

OWN = """
import torch
def darken(images, generator):
    assert images.shape[1] == 3
    return (images * torch.rand(len(images), 1, 1, 1, generator=generator)).to(torch.uint8)
def cut(images, generator):
    return images[:, :, 1:]
def widen(images, generator):
    return images.float()
def fail(images, generator):
    return images[99]
def spoil(images, generator):
    images.zero_()
    return images
"""


@cache
def torchvision_v2() -> Any:
    import_torchvision()
    import torchvision.transforms.v2 as v2

    return v2


def images(count: int) -> Tensor:
    return torch.from_numpy(pictures(count)[0])


def planes(pixels: Tensor) -> Tensor:
    return pixels.permute(0, 3, 1, 2)


def farthest(ours: Tensor, theirs: Tensor) -> int:
    """The largest difference of two sets of uint8 images, ours (B, H, W, 3) and theirs (B, 3, H, W)."""
    return int((planes(ours).int() - theirs.int()).abs().max())


def one(text: str) -> Augmentation:
    (augmentation,) = parse_augmentations(text)
    return augmentation


@pytest.fixture
def own(tmp_path: Path) -> str:
    (tmp_path / "own.py").write_text(OWN)
    return f"python:{tmp_path / 'own.py'}"


@settings(max_examples=30, deadline=None)
@given(factors=st.tuples(*[st.floats(0.0, 2.0)] * 3, st.floats(-0.25, 0.25)))
def test_color_is_torchvisions_colors(factors: tuple[float, float, float, float]) -> None:
    f = torchvision_v2().functional
    pixels = images(3)
    expected = planes(pixels).float() / 255  # in float, since torchvision truncates to a byte between steps
    for adjust, factor in zip((f.adjust_brightness, f.adjust_contrast, f.adjust_saturation), factors, strict=False):
        expected = adjust(expected, factor)
    expected = (255 * f.adjust_hue(expected, factors[3])).round()
    assert farthest(color(pixels, torch.tensor([factors] * 3)), expected) <= 1


def test_color_knows_what_its_factors_mean_and_quarter_turns_are_exact() -> None:
    pixels = images(4)
    assert torch.equal(color(pixels, torch.tensor([[1.0, 1, 1, 0]] * 4)), pixels)
    assert not color(pixels, torch.tensor([[0.0, 1, 1, 0]] * 4)).any()
    grey = color(pixels, torch.tensor([[1.0, 1, 0, 0]] * 4))
    assert torch.equal(grey[..., 0], grey[..., 1])
    red = torch.tensor([200, 10, 10], dtype=torch.uint8).expand(1, 2, 2, 3)
    assert color(red, torch.tensor([[1.0, 1, 1, 1 / 3]]))[0, 0, 0].tolist() == [10, 200, 10]
    for turns in range(4):
        assert torch.equal(rotate(pixels, torch.full((4,), turns * math.pi / 2)), torch.rot90(pixels, turns, (1, 2)))


@pytest.mark.parametrize("degrees", [-40.0, -7.5, 3.0, 90.0, 133.0])
def test_rotation_is_torchvisions_but_for_the_corners(degrees: float) -> None:
    v2 = torchvision_v2()
    pixels = images(3)
    bilinear = v2.InterpolationMode.BILINEAR
    expected = v2.functional.rotate(planes(pixels), degrees, interpolation=bilinear)
    ours = rotate(pixels, torch.full((3,), math.radians(degrees)))
    y, x = torch.meshgrid(torch.arange(32) - 15.5, torch.arange(32) - 15.5, indexing="ij")
    inside = y**2 + x**2 < 14**2
    assert farthest(ours[:, inside][:, None], expected[:, :, inside][:, :, None]) <= 1
    # The corners hold the image's own colours, not black.
    assert (ours.flatten(1).amin(1) >= pixels.flatten(1).amin(1)).all()


def test_blur_is_torchvisions_and_in_one_batch_each_images_own() -> None:
    pixels, widths = images(5), torch.tensor([[0.0], [0.3], [1.0], [2.7], [5.0]])
    together = blur(pixels, widths)
    assert torch.equal(together[0], pixels[0])
    for number, sigma in enumerate(widths[:, 0].tolist()):
        assert torch.equal(together[number], blur(pixels[[number, 0]], widths[[number, 0]])[0])
        size = 2 * math.ceil(3 * sigma) + 1
        if sigma:
            one_image = planes(pixels)[number : number + 1]
            expected = torchvision_v2().functional.gaussian_blur(one_image, [size, size], [sigma, sigma])
            assert farthest(together[number : number + 1], expected) <= 1


@pytest.mark.parametrize("name", list(OPERATIONS))
@pytest.mark.parametrize("magnitude", [0, 9, 30])
def test_each_operation_of_randaugment_is_torchvisions(name: str, magnitude: int) -> None:
    theirs = torchvision_v2().RandAugment(num_ops=1, magnitude=magnitude)
    key = "".join(word.capitalize() for word in name.split("-")).replace("Autocontrast", "AutoContrast")
    magnitudes, signed = theirs._AUGMENTATION_SPACE[key]
    levels = magnitudes(31, 32, 32)
    pixels = images(3)
    for sign in (1, -1) if signed else (1,):
        value = 0.0 if levels is None else sign * float(levels[magnitude])
        expected = theirs._apply_image_or_video_transform(
            planes(pixels), key, value, interpolation=theirs.interpolation, fill=theirs._fill
        )
        number = list(OPERATIONS).index(name)
        drawn = torch.tensor([[[number, sign * magnitude / 30], [0, 1.0]]] * 3)
        assert farthest(randaugment(pixels, drawn), expected) <= 1  # torchvision truncates: 0.27 in float32 or float64


def test_randaugment_knows_all_that_torchvision_does() -> None:
    assert len(OPERATIONS) == len(torchvision_v2().RandAugment._AUGMENTATION_SPACE)
    drawn = draw_randaugment(3000, generator(0), 9)
    assert drawn.shape == (3000, 2, 2)
    assert sorted(drawn[..., 0].unique().tolist()) == list(range(len(OPERATIONS)))
    assert drawn[..., 1].unique().tolist() == pytest.approx([-0.3, 0.3])


def test_erased_rectangles_are_as_torchvisions() -> None:
    """Same areas and shapes as RandomErasing draws; checked by their quantiles."""
    v2 = torchvision_v2()
    drawn = draw_erase(4000, generator(0), 1.0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        erasing = v2.RandomErasing(p=1.0)
        theirs = [erasing.make_params([torch.zeros(3, 256, 256)]) for _ in range(400)]
    at = torch.tensor([0.1, 0.5, 0.9])
    areas = torch.tensor([p["h"] * p["w"] / 256**2 for p in theirs])
    shapes = torch.tensor([p["h"] / p["w"] for p in theirs]).log()
    torch.testing.assert_close((drawn[:, 2] * drawn[:, 3]).quantile(at), areas.quantile(at), atol=0.03, rtol=0)
    torch.testing.assert_close((drawn[:, 2] / drawn[:, 3]).log().quantile(at), shapes.quantile(at), atol=0.25, rtol=0)
    assert bool((drawn[:, 0] + drawn[:, 2] <= 1).all())
    assert bool((drawn[:, 1] + drawn[:, 3] <= 1).all())


def test_erasing_covers_the_rectangle_and_nothing_else() -> None:
    pixels = images(2)
    erased = erase(pixels, torch.tensor([[0.25, 0.5, 0.5, 0.25], [0.0, 0.0, 0.0, 0.0]]))
    expected = pixels.clone()
    expected[0, 8:24, 16:24] = pixels[0].double().mean((0, 1)).round().to(torch.uint8)
    assert torch.equal(erased, expected)


def test_motion_to_the_right_spreads_a_point_along_its_row() -> None:
    dark = torch.zeros(3, 32, 32, 3, dtype=torch.uint8)
    dark[:, 16, 16] = 250
    across, down, still = motionblur(dark, torch.tensor([[0.0, 5.0], [5.0, 0.0], [0.0, 0.0]]))
    assert across[16, 13:20, 0].tolist() == pytest.approx([6.25, 43.75, 50, 50, 50, 43.75, 6.25], abs=0.6)
    assert not across[torch.arange(32) != 16].any()
    assert torch.equal(down, across.transpose(0, 1))
    assert torch.equal(still, dark[2])


@settings(max_examples=30, deadline=None)
@given(angle=st.floats(0, math.pi), length=st.floats(0, 15))
def test_motion_keeps_light_and_spreads_it_as_far_as_it_goes(angle: float, length: float) -> None:
    dark = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
    dark[:, 12:20, 12:20] = 255
    motion = length * torch.tensor([math.sin(angle), math.cos(angle)])
    moved = motionblur(dark, motion.expand(2, 2))[0, ..., 0].double()
    light = moved.sum()
    assert float(light) == pytest.approx(64 * 255, rel=0.01)
    y, x = torch.meshgrid(torch.arange(32.0) - 15.5, torch.arange(32.0) - 15.5, indexing="ij")
    along = (y * motion[0] + x * motion[1]) / max(length, 1e-9)
    # A segment of length L adds L^2/12 to the variance along it; the square has (64 - 1)/12, bilinear shares up to 1/4.
    if length > 3:
        variance = float((moved * along**2).sum() / light)
        assert variance - 63 / 12 == pytest.approx(length**2 / 12, abs=0.3)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 1.0])
def test_salt_and_pepper_hit_that_share_of_pixels_in_all_channels(share: float) -> None:
    grey = torch.full((64, 32, 32, 3), 128, dtype=torch.uint8)
    places = torch.arange(64) * 16001
    hit = saltpepper(grey, torch.stack([torch.full((64,), share), places], 1).double())
    assert float((hit[..., 0] == 255).float().mean()) == pytest.approx(share / 2, abs=0.01)
    assert float((hit[..., 0] == 0).float().mean()) == pytest.approx(share / 2, abs=0.01)
    assert torch.equal(hit[..., 0], hit[..., 2])


def test_noise_has_its_deviation_and_is_another_for_each_image() -> None:
    grey = torch.full((40, 32, 32, 3), 128, dtype=torch.uint8)
    augmentation = one("noise:0.2")
    drawn = augmentation.draw(40, generator(3), 0.2)
    noisy = noise(grey, drawn).double() - 128
    torch.testing.assert_close(noisy.flatten(1).std(1), 255 * drawn[:, 0], rtol=0.06, atol=0.3)
    assert float(noisy.mean()) == pytest.approx(0, abs=0.5)
    flat = noisy.flatten(1) / noisy.flatten(1).norm(dim=1, keepdim=True)
    assert float((flat @ flat.T - torch.eye(40)).abs().max()) < 0.12


def test_the_noise_table_is_normal() -> None:
    table = transforms.noise_table("normal", torch.device("cpu"))
    assert float(table.mean()) == pytest.approx(0, abs=0.005)
    assert float(table.std()) == pytest.approx(1, abs=0.005)
    assert float((table.abs() > 1.96).float().mean()) == pytest.approx(0.05, abs=0.002)


@pytest.mark.parametrize("name", KNOWN)
def test_neither_batch_nor_order_changes_an_image(name: str) -> None:
    augmentation = one(name)
    pixels = images(37)
    drawn = augmentation.draw(37, generator(1, name), augmentation.strength)
    whole = augmentation.apply(pixels, drawn)
    assert torch.equal(pixels, images(37)), "the images given are left alone"
    assert whole.dtype == torch.uint8
    assert whole.shape == pixels.shape
    assert whole.is_contiguous()
    assert not torch.equal(whole, pixels)
    order = torch.randperm(37, generator=generator(2))
    for size in (2, 5, 16):
        for chosen in order.split(size):
            assert torch.equal(augmentation.apply(pixels[chosen], drawn[chosen]), whole[chosen])


@pytest.mark.parametrize("name", KNOWN)
def test_the_range_of_strengths_is_what_is_accepted_and_the_least_changes_nothing(name: str) -> None:
    kind = KNOWN[name]
    assert one(name).strength == kind.default
    for strength in (kind.low, kind.high):
        assert one(f"{name}:{strength}").strength == strength
    for wrong in (kind.low - 1, kind.high + 1, "much", "nan"):
        said = f"--augment {name} takes .* from {kind.low} to {kind.high}; got {wrong}"
        with pytest.raises(RequestError, match=said):
            parse_augmentations(f"flip,{name}:{wrong}")
    if name != "randaugment":  # whose operations are drawn whatever their strength
        least, pixels = one(f"{name}:0"), images(20)
        assert torch.equal(least.apply(pixels, least.draw(20, generator(1), least.strength)), pixels)


@pytest.mark.parametrize("strength", [0.5, 0.2])
def test_alternating_flips_show_each_image_either_way_in_two_epochs(strength: float) -> None:
    chosen = parse_augmentations(f"crop,altflip:{strength}")
    first, second, third = (draw_all(chosen, 2000, 0, "all", epoch)[1] for epoch in (4, 5, 6))
    assert torch.equal(first, ~second)
    assert torch.equal(first, third)
    assert float(first.float().mean()) == pytest.approx(strength, abs=0.05)
    assert not torch.equal(first, draw_all(chosen, 2000, 1, "all", 4)[1]), "another seed, other images"


@pytest.mark.parametrize("text", ["crop:2.5", "randaugment:0.5"])
def test_whole_numbers_are_asked_for(text: str) -> None:
    with pytest.raises(RequestError, match="takes a whole number"):
        parse_augmentations(text)


@pytest.mark.parametrize("name", ["color", "rotate", "blur", "noise", "motionblur", "saltpepper"])
def test_more_strength_changes_more(name: str) -> None:
    pixels = images(60)

    def change(strength: float) -> float:
        augmentation = one(f"{name}:{strength}")
        drawn = augmentation.draw(60, generator(1), augmentation.strength)
        return float((augmentation.apply(pixels, drawn).float() - pixels.float()).abs().mean())

    high = KNOWN[name].high
    assert 0 < change(high / 8) < change(high / 2)


def test_torchvision_is_imported_only_for_what_needs_it(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-batches-py").mkdir()
    code = """if True:
        import sys, torch
        from contextlib import suppress
        from pathlib import Path
        from cli726.errors import RequestError
        from cli726.finetune.augment.table import apply_all, draw_all, parse_augmentations
        from cli726.finetune.data.datasets import load_dataset
        from cli726.finetune.data.sources import Reading
        chosen = parse_augmentations("flip,crop,color,rotate,erase,blur,noise,motionblur,saltpepper")
        images = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
        apply_all(chosen, images, draw_all(chosen, 2, 0))
        parse_augmentations("randaugment")
        with suppress(RequestError):
            load_dataset("cifar10", Reading(folders=[Path(sys.argv[1])]))
        assert "torchvision" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True)


def test_own_function_gets_planes_and_a_generator(own: str) -> None:
    pixels = images(6)
    chosen = parse_augmentations(f"flip:0,{own}:darken")
    assert [a.label for a in chosen] == ["flip:0", "python:darken"]
    drawn = draw_all(chosen, 6, 0, "all", 1)
    darker = apply_all(chosen, pixels, drawn)
    assert darker.is_contiguous()
    shares = darker.flatten(1).double().mean(1) / pixels.flatten(1).double().mean(1)
    assert float(shares.std()) > 0.05
    assert torch.equal(apply_all(chosen, pixels, drawn), darker)
    assert not torch.equal(apply_all(chosen, pixels, draw_all(chosen, 6, 1, "all", 1)), darker)
    spoiling = parse_augmentations(f"{own}:spoil")  # writes into what it gets
    assert not apply_all(spoiling, pixels, draw_all(spoiling, 6, 0)).any()
    assert torch.equal(pixels, images(6))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("cut", r"own.py:cut must return torch.uint8 \(3, 3, 32, 32\), as it was given; got .* \(3, 3, 31, 32\)"),
        ("widen", "got torch.float32"),
        ("fail", "own.py:fail failed in line 11: IndexError"),
        ("missing", "must define a function missing"),
    ],
)
def test_own_function_is_held_to_the_contract(own: str, function: str, message: str) -> None:
    def augment() -> None:
        chosen = parse_augmentations(f"{own}:{function}")
        apply_all(chosen, images(3), draw_all(chosen, 3, 0))

    with pytest.raises(RequestError, match=message):
        augment()


def test_another_version_of_own_code_has_another_name(own: str, tmp_path: Path) -> None:
    before = one(f"{own}:darken").name
    moved = tmp_path / "elsewhere.py"
    moved.write_text(OWN)
    assert one(f"python:{moved}:darken").name == before
    moved.write_text(OWN + "# mended")
    assert one(f"python:{moved}:darken").name != before


def shown(text: str, count: int = 3) -> tuple[list[str], list[np.ndarray]]:
    with styled():
        figure = augmentation_sheet(images(count).numpy(), parse_augmentations(text))
        figure.draw_without_rendering()
    texts = [text.get_text() for axes in figure.axes for text in axes.texts if text.get_text()]
    return texts, [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]


def test_the_sheet_shows_each_alone_and_all_together() -> None:
    labels, drawn = shown("flip:1,noise:0.3")
    assert labels == ["flip:1", "probability", "noise:0.3", "sigma, at most", "all together", "in this order"]
    assert len(drawn) == 3 * 2 * (1 + 4)
    pixels = images(3).numpy()
    assert (drawn[0] == pixels[0]).all()
    assert all((drawn[n] == pixels[0][:, ::-1]).all() for n in range(1, 5))
    assert (drawn[5] == pixels[2]).all()
    noisy = drawn[11:15]
    assert len({image.tobytes() for image in noisy}) == 4
    labels, drawn = shown("crop", count=1)
    assert labels == ["crop:4", "pixels, at most"]
    assert len(drawn) == 5


@given(shifts=st.lists(st.tuples(st.integers(-31, 31), st.integers(-31, 31)), min_size=1, max_size=6))
def test_crop_is_a_slice_of_torchs_reflected_padding(shifts: Sequence[tuple[int, int]]) -> None:
    pixels = images(len(shifts))
    padded = nn.functional.pad(pixels.permute(0, 3, 1, 2).float(), (31, 31, 31, 31), mode="reflect")
    cropped = crop(pixels, torch.tensor(shifts))
    for number, (down, right) in enumerate(shifts):
        expected = padded[number, :, 31 + down : 63 + down, 31 + right : 63 + right].permute(1, 2, 0)
        assert torch.equal(cropped[number].float(), expected)


def test_flip_mirrors_those_images_and_no_others() -> None:
    pixels = images(4)
    flipped = flip(pixels, torch.tensor([True, False, False, True]))
    assert torch.equal(flipped[1:3], pixels[1:3])
    assert torch.equal(flipped[0], pixels[0].flip(1))
    assert not torch.equal(flipped[0], pixels[0])
    assert torch.equal(flip(flipped, torch.tensor([True, False, False, True])), pixels)


def test_each_image_gets_its_own_draw() -> None:
    for name, distinct in (("flip", 2), ("crop", 81)):
        augmentation = one(name)
        drawn = augmentation.draw(4000, generator(0, name), augmentation.strength)
        kinds, counts = drawn.unique(dim=0, return_counts=True)
        assert len(kinds) == distinct
        assert counts.min() > 0.4 * 4000 / distinct


@pytest.mark.parametrize(("text", "share"), [("flip:0", 0.0), ("flip:1", 1.0), ("flip:0.25", 0.25)])
def test_the_strength_of_a_flip_is_its_probability(text: str, share: float) -> None:
    augmentation = one(text)
    drawn = augmentation.draw(4000, generator(0), augmentation.strength)
    assert drawn.float().mean() == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("pixels", [0, 2, 31])
def test_the_strength_of_a_crop_is_how_far_it_reaches(pixels: int) -> None:
    augmentation = one(f"crop:{pixels}")
    drawn = augmentation.draw(4000, generator(0), augmentation.strength)
    assert (int(drawn.min()), int(drawn.max())) == (-pixels, pixels)


PLAIN = Normalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def feed(batch_size: int, text: str = "flip,crop", seed: int = 0, count: int = 40) -> Feed:
    labels = torch.arange(count)  # so that a label tells which image it is
    source = from_images(images(count), PLAIN, None, parse_augmentations(text))
    return Feed(labels, batch_sizes(count, batch_size), (seed, "all"), source)


def by_image(feed: Feed, epoch: int) -> Tensor:
    """The epoch's inputs in the images' own order."""
    inputs, labels = map(torch.cat, zip(*feed.batches(epoch), strict=True))
    return inputs[labels.argsort()]


@pytest.mark.parametrize("batch_size", [2, 7, 16, 40])
def test_parameters_belong_to_the_image_whatever_its_batch(batch_size: int) -> None:
    assert torch.equal(by_image(feed(batch_size), 3), by_image(feed(13), 3))


def test_every_epoch_and_seed_draws_afresh_and_again_the_same() -> None:
    first = by_image(feed(16), 1)
    assert torch.equal(by_image(feed(16), 1), first)
    assert not torch.equal(by_image(feed(16), 2), first)
    assert not torch.equal(by_image(feed(16, seed=1), 1), first)
    assert not torch.equal(by_image(feed(16, "none"), 1), first)


def test_the_draws_of_two_transformations_are_independent() -> None:
    """Adding one in front of another leaves the parameters of neither equal to those of the other."""
    twice = by_image(feed(16, "flip:0.5,flip:0.5"), 1)
    plain = by_image(feed(16, "none"), 1)
    unchanged = sum(torch.equal(a, b) for a, b in zip(twice, plain, strict=True))
    assert 5 < unchanged < 35


@pytest.mark.parametrize("text", ["", "none"])
def test_none_is_none(text: str) -> None:
    assert parse_augmentations(text) == ()


def test_a_list_is_kept_in_order_with_its_strengths() -> None:
    chosen = parse_augmentations("crop:2, flip,crop")
    assert [(a.name, a.strength) for a in chosen] == [("crop", 2), ("flip", 0.5), ("crop", 4)]


@pytest.mark.parametrize("text", ["mirror", "flip:", "flip,,crop", ","])
def test_what_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="--augment"):
        parse_augmentations(text)
