"""Decoding, digests, splits: what the network sees, and that nothing of it can change unnoticed."""

from __future__ import annotations

import hashlib
import io
import struct
import threading
import warnings
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image, ImageOps

from cli726.errors import RequestError
from cli726.finetune.data import images as module
from cli726.finetune.data.decoding import decode, fit_size, is_picture
from cli726.finetune.data.images import Dataset, Images, Split, duplicates_across, make_splits
from tests.cli726.finetune.synthetic import pictures, small_dataset

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
FORMATS = ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM"]


def encoded(picture: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def photo(width: int = 64, height: int = 64) -> Image.Image:
    """Left half red, right half blue, top quarter green."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2] = RED
    pixels[:, width // 2 :] = BLUE
    pixels[: height // 4] = GREEN
    return Image.fromarray(pixels)


def test_pixels_of_the_right_size_come_through_bit_for_bit() -> None:
    pixels = pictures(1)[0][0]
    assert_array_equal(decode(encoded(Image.fromarray(pixels))), pixels)
    assert_array_equal(decode(encoded(Image.fromarray(pixels[..., 0]))), np.repeat(pixels[..., :1], 3, axis=-1))


@pytest.mark.parametrize(("width", "height"), [(96, 64), (64, 96), (200, 64)])
def test_the_square_is_cut_about_the_centre(width: int, height: int) -> None:
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[top : top + side, left : left + side] = (10, 200, 90)
    seen = decode(encoded(Image.fromarray(pixels)))
    inner = np.broadcast_to((10, 200, 90), (26, 26, 3))  # the filter reaches three pixels beyond the cut
    assert_array_equal(seen[3:-3, 3:-3], inner)
    assert seen[..., 1].min() > 160


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_turned_upright(orientation: int) -> None:
    transposed = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    upright = photo()
    as_taken = upright.transpose(transposed[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert_array_equal(decode(encoded(as_taken, exif=exif)), decode(encoded(upright)))


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_gives_the_picture(format: str) -> None:
    content = encoded(photo(), format)
    assert is_picture(content[:12])
    assert_allclose(decode(content)[[20, 20, 2], [4, 28, 16]], [RED, BLUE, GREEN], atol=40)


def test_images_are_resized_as_pillow_does_with_antialiasing() -> None:
    checks = np.indices((256, 256)).sum(0) % 2 * 255
    assert_allclose(decode(encoded(Image.fromarray(checks.astype(np.uint8)))), np.full((32, 32, 3), 127.5), atol=2)
    whole = ImageOps.fit(photo(2048, 2048), (32, 32), Image.Resampling.LANCZOS)
    seen = decode(encoded(photo(2048, 2048), "JPEG", quality=95))  # decoded at a fraction of its size
    assert_allclose(seen.astype(int), np.asarray(whole, dtype=int), atol=24)


def test_palettes_and_transparency_become_colours() -> None:
    """What lies under a transparent pixel is not seen."""
    small = photo(32, 32)
    expected = decode(encoded(small))
    assert_array_equal(decode(encoded(small.convert("P", palette=Image.Palette.ADAPTIVE))), expected)
    opaque = small.copy()
    opaque.putalpha(255)
    assert_array_equal(decode(encoded(opaque)), expected)
    assert decode(encoded(small.convert("1"))).shape == decode(encoded(small.convert("CMYK"), "TIFF")).shape
    for colour, seen in (((200, 10, 10, 0), 255), ((0, 0, 0, 128), 127)):
        content = encoded(Image.new("RGBA", (40, 40), colour))
        assert_array_equal(decode(content), np.full((32, 32, 3), seen, np.uint8))


def png_header(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds next to nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("strict", [True, False])
def test_a_bomb_is_refused_whether_warnings_are_errors_or_not(strict: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error" if strict else "ignore")
        for side in (9_500, 60_000):
            with pytest.raises(ValueError, match=r"(?i)bomb|pixels"):
                decode(png_header(side, side))


@given(st.data())
def test_damaged_files_are_decoded_or_refused_and_nothing_else(data: st.DataObject) -> None:
    whole = encoded(photo(), data.draw(st.sampled_from(FORMATS)))
    place = data.draw(st.integers(0, len(whole) - 1))
    damaged = whole[:place] + data.draw(st.binary(max_size=8)) + whole[place + data.draw(st.integers(0, 8)) :]
    try:
        seen = decode(damaged)
    except ValueError:
        return
    assert seen.shape == (32, 32, 3)
    assert seen.dtype == np.uint8


def test_decoding_in_two_threads_leaves_the_filters_of_warnings_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two decoders that overlap, the one that began first ending first: what read_files' threads do all day."""
    content = encoded(photo())
    inside, may_go = [threading.Event(), threading.Event()], [threading.Event(), threading.Event()]
    turns = iter(range(2))
    really_open = Image.open

    def slow_open(*args: Any, **options: Any) -> Any:
        turn = next(turns)
        inside[turn].set()
        may_go[turn].wait(5)
        return really_open(*args, **options)

    monkeypatch.setattr(Image, "open", slow_open)
    before = list(warnings.filters)
    threads = [threading.Thread(target=decode, args=(content,)) for _ in range(2)]
    for turn in range(2):
        threads[turn].start()
        assert inside[turn].wait(5)
    for turn in range(2):
        may_go[turn].set()
        threads[turn].join(5)
    assert list(warnings.filters) == before


@pytest.mark.parametrize("shape", [(3, 28, 28), (3, 28, 28, 1), (3, 28, 28, 3), (3, 96, 96, 3), (3, 32, 32)])
def test_arrays_are_treated_as_files_are(shape: tuple[int, ...]) -> None:
    arrays = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    for array, image in zip(arrays, fit_size(arrays), strict=True):
        picture = Image.fromarray(array.squeeze(-1) if array.shape[-1] == 1 else array)
        assert_array_equal(image, decode(encoded(picture)))


def test_the_digest_sees_every_pixel_and_every_label() -> None:
    pixels, labels = pictures(6)
    digests = {Images.of(pixels, labels).digest}
    for place in [(0, 0, 0, 0), (3, 16, 5, 1), (5, 31, 31, 2)]:
        changed = pixels.copy()
        changed[place] ^= 1
        digests.add(Images.of(changed, labels).digest)
    for number in range(6):
        changed_labels = labels.copy()
        changed_labels[number] += 1
        digests.add(Images.of(pixels, changed_labels).digest)
    digests.add(Images.of(pixels[::-1], labels[::-1]).digest)
    one, other = Images.of(pixels, labels), Images.of(pixels, labels[::-1])
    assert one.digests.shape == (6, 32)
    assert bytes(one.digests[3]) == hashlib.sha256(pixels[3].tobytes()).digest()
    assert_array_equal(one.digests, other.digests)
    assert len(digests) == 1 + 3 + 6 + 1
    assert Images.of(np.asfortranarray(pixels), labels, list("abcdef")).digest == Images.of(pixels, labels).digest


def test_the_data_sets_digest_sees_class_names_and_pools_but_not_splits() -> None:
    one = small_dataset()
    pools = dict(one.pools)
    assert Dataset("other name", one.class_names, pools, {}).digest == one.digest
    assert Dataset(one.name, ("a", "b", "c"), pools, {}).digest != one.digest
    assert (
        Dataset(one.name, one.class_names, {**pools, "test": small_dataset(9, seed=1).pools["train"]}, {}).digest
        != one.digest
    )


@st.composite
def labelled(draw: st.DrawFn) -> np.ndarray:
    counts = draw(st.lists(st.integers(3, 40), min_size=2, max_size=6))
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng(draw(st.integers(0, 99))).permutation(labels)


def of_kinds(kinds: Sequence[int], labels: Sequence[int]) -> Images:
    """Images of one pixel, identical where their kinds are."""
    pixels = np.array(kinds, "<u4").view(np.uint8).reshape(-1, 1, 1, 4)[..., :3]
    return Images.of(pixels, np.array(labels))


def different(labels: np.ndarray) -> Images:
    return of_kinds(range(len(labels)), list(labels))


shares = st.floats(0.01, 0.98)


@example(labels=np.array([0, 0, 0, 1, 1, 1]), test=0.5, validation=0.25)
@given(labels=labelled(), test=shares, validation=shares)
def test_splits_are_disjoint_cover_everything_have_each_class_and_are_stratified(
    labels: np.ndarray, test: float, validation: float
) -> None:
    if test + validation >= 1:
        test, validation = test / 2, validation / 2
    classes = [str(label) for label in range(labels.max() + 1)]
    splits = make_splits({"train": different(labels)}, test, validation, classes)
    together = np.concatenate([splits[name].indices for name in ("train", "validation", "test")])
    assert_array_equal(np.sort(together), np.arange(len(labels)))
    for split in splits.values():
        assert_array_equal(split.indices, np.sort(split.indices))
        assert set(labels[split.indices]) == set(labels), "a split lacks a class"
    if max(test, validation) <= 0.4:  # else a class may be too small for its shares
        for name, share in (("test", test), ("validation", validation)):
            drawn = np.bincount(labels[splits[name].indices], minlength=len(classes))
            assert np.abs(drawn - share * np.bincount(labels)).max() <= 1


def parts_by_name(
    kinds: Sequence[int], labels: Sequence[int], names: Sequence[int], share: float | None
) -> dict[int, str]:
    """The split of each image, by its name."""
    splits = make_splits({"train": of_kinds(kinds, labels)}, share, share, ["a", "b", "c"])
    return {names[index]: part for part, split in splits.items() for index in split.indices}


@given(
    kinds=st.lists(st.integers(0, 60), min_size=60, max_size=80), data=st.data(),
    share=st.sampled_from([None, 0.08, 0.4]), change=st.sampled_from(["add", "remove", "relabel"]),
)  # fmt: skip
def test_one_image_changed_moves_at_most_one_across_each_boundary_of_the_classes_it_touches(
    kinds: list[int], data: st.DataObject, share: float | None, change: str
) -> None:
    labels = [number % 3 for number in range(len(kinds))]
    names = list(range(len(kinds)))
    before = parts_by_name(kinds, labels, names, share)
    at = data.draw(st.integers(0, len(kinds) - 1))
    new_kinds, new_labels, new_names = list(kinds), list(labels), list(names)
    if change == "add":
        new_kinds.insert(at, data.draw(st.integers(0, 99)))
        new_labels.insert(at, data.draw(st.integers(0, 2)))
        new_names.insert(at, -1)
        changed, touched = new_kinds[at], {new_labels[at]}
    elif change == "remove":
        changed, touched = new_kinds.pop(at), {new_labels.pop(at)}
        new_names.pop(at)
    else:
        new_labels[at] = (labels[at] + 1) % 3
        changed, touched = kinds[at], {labels[at], new_labels[at]}
    after = parts_by_name(new_kinds, new_labels, new_names, share)
    touched |= {label for kind, label in zip(kinds, labels, strict=True) if kind == changed}  # copies go with it
    home = {kind: min(k for i, k in enumerate(labels) if kinds[i] == kind) for kind in kinds}
    moved = {(home[kinds[name]], kinds[name], before[name], after[name]) for name in before.keys() & after.keys()}
    crossings = [(label, {old, new}) for label, kind, old, new in moved if old != new and kind != changed]
    assert {label for label, _ in crossings} <= touched
    assert all(crossings.count(crossing) == 1 for crossing in crossings)


@given(kinds=st.lists(st.integers(0, 40), min_size=60, max_size=80))
def test_identical_images_go_to_one_split_under_whatever_label(kinds: list[int]) -> None:
    labels = [number % 3 for number in range(len(kinds))]
    parts = parts_by_name(kinds, labels, range(len(kinds)), None)
    home = {kind: min(labels[i] for i, one in enumerate(kinds) if one == kind) for kind in kinds}
    assume(all(list(home.values()).count(label) > 2 for label in range(3)))  # else a class is divided copy by copy
    for kind in set(kinds):
        assert len({parts[name] for name, one in enumerate(kinds) if one == kind}) == 1


def test_a_class_of_identical_images_is_still_divided() -> None:
    splits = make_splits({"train": of_kinds([1] * 10 + [2] * 10, [0] * 10 + [1] * 10)}, 0.2, 0.2, "ab")
    assert {name: len(split) for name, split in splits.items()} == {"train": 12, "test": 4, "validation": 4}


@pytest.mark.parametrize(("typed", "expected"), [(None, 5000), (0.15, 9000)])
def test_at_most_five_thousand_images_are_drawn_unless_typed(typed: float | None, expected: int) -> None:
    splits = make_splits({"train": different(np.arange(60_000) % 10)}, typed, typed, "0123456789")
    assert len(splits["test"]) == len(splits["validation"]) == expected
    shares = {module.share_of(None, images) for images in range(59_001, 60_001)}
    assert len(shares) == 1, "one image more must not change the share of every class"


@pytest.mark.parametrize(("pools", "expected"), [(["train"], 5000), (["train", "test"], 1000)])
def test_fewer_are_drawn_for_validation_where_there_are_test_images(pools: list[str], expected: int) -> None:
    splits = make_splits(dict.fromkeys(pools, different(np.arange(40_000) % 10)), None, None, "0123456789", 1000)
    assert len(splits["validation"]) == expected


def test_pools_of_their_own_are_taken_whole() -> None:
    train, test = different(np.tile([0, 1], 20)), different(np.array([1, 0, 1]))
    splits = make_splits({"train": train, "test": test}, 0.5, 0.25, "ab")
    assert splits["test"].pool == "test"
    assert_array_equal(splits["test"].indices, [0, 1, 2])
    assert len(splits["validation"]) == 10
    assert len(splits["train"]) == 30


def test_a_class_with_too_few_images_is_named() -> None:
    with pytest.raises(RequestError, match=r"at least 3 images.*rare \(2\)"):
        make_splits({"train": different(np.array([0, 0, 0, 1, 1]))}, 0.2, 0.2, ["common", "rare"])


def test_the_splits_of_a_data_set_never_move() -> None:
    splits = make_splits({"train": different(np.tile(np.arange(3), 8))}, None, None, "abc")
    assert splits["test"].indices.tolist() == [11, 18, 19]
    assert splits["validation"].indices.tolist() == [1, 5, 12]


def test_identical_images_across_splits_are_counted() -> None:
    pixels, labels = pictures(12)
    pixels[9], pixels[10], pixels[1] = pixels[0], pixels[0], pixels[0]  # two in the test, one in training itself
    pixels[8] = pixels[3]  # one in validation
    parts = {"train": range(6), "validation": range(6, 9), "test": range(9, 12)}
    splits = {name: Split("train", np.array(part)) for name, part in parts.items()}
    dataset = Dataset("shapes", ("a", "b", "c"), {"train": Images.of(pixels, labels)}, splits)
    assert duplicates_across(dataset) == 3
    assert duplicates_across(small_dataset()) == 0


def test_a_split_is_copied_out_of_its_pool(shapes: Dataset) -> None:
    part = shapes.images("test")
    indices = shapes.splits["test"].indices
    assert_array_equal(part.pixels, shapes.pools["train"].pixels[indices])
    assert_array_equal(part.labels, shapes.pools["train"].labels[indices])
    assert_array_equal(shapes.image_digests("test"), part.digests)
    assert part.names == tuple(str(i) for i in indices)
