"""Near duplicates: neighbours against brute force, planted twins found, look-alikes told apart."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.neighbors import NearestNeighbors

from cli726.finetune.data import twins
from cli726.finetune.data.images import digests_of
from cli726.finetune.data.twins import Twins, find_twins, neighbours

COUNT = 60


def scenes(count: int, seed: int = 0) -> np.ndarray:
    """Unlike pictures with coarse and fine parts: sums of random blobs, uint8 (count, 32, 32, 3)."""
    chance = np.random.default_rng(seed)
    coarse = chance.uniform(0, 255, (count, 4, 4, 3)).repeat(8, 1).repeat(8, 2)
    fine = chance.normal(0, 40, (count, 16, 16, 3)).repeat(2, 1).repeat(2, 2)
    return np.clip(coarse + fine, 0, 255).astype(np.uint8)


def encoded(image: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=50)
    return np.asarray(Image.open(buffer).convert("RGB"))


def resized(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((24, 24)).resize((32, 32)))


def cropped(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).crop((1, 3, 30, 31)).resize((32, 32)))


KINDS = {"encoded": encoded, "resized": resized, "mirrored": lambda image: image[:, ::-1].copy(), "cropped": cropped}


def features_of(pixels: np.ndarray) -> torch.Tensor:
    """Features that a mirror image keeps and a crop nearly does: each colour's mean and spread, and some of chance."""
    x = torch.from_numpy(pixels).float().flatten(1, 2)
    return torch.cat([x.mean(1), x.std(1), x.sort(1).values[:, ::64].flatten(1) / 8], 1)


@pytest.mark.parametrize("rows", [7, 1024])
def test_neighbours_are_those_of_brute_force(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(twins, "ROWS", rows)
    features = torch.from_numpy(np.random.default_rng(0).normal(1, 1, (50, 9))).float()
    distances, places = neighbours(features, 4)
    unit = torch.nn.functional.normalize(features).numpy()
    theirs, them = NearestNeighbors(n_neighbors=5, algorithm="brute").fit(unit).kneighbors(unit)
    np.testing.assert_array_equal(places, them[:, 1:])
    np.testing.assert_allclose(distances, theirs[:, 1:], atol=1e-3)
    assert neighbours(features[:3], 4)[0].shape == (3, 2)


@pytest.mark.parametrize("turned", [False, True])
def test_planted_twins_are_found_and_others_are_not(turned: bool) -> None:
    """Whichever of the two comes first."""
    originals = scenes(COUNT)
    planted = [(kind, number * 4 + place) for place, kind in enumerate(KINDS) for number in range(10)]
    pixels = np.concatenate([originals, [KINDS[kind](originals[source]) for kind, source in planted]])
    order = np.arange(len(pixels))[::-1] if turned else np.arange(len(pixels))
    found = find_twins(features_of(pixels[order]), pixels[order], digests_of(pixels[order]))
    expected = {tuple(sorted((order[source], order[COUNT + n]))) for n, (_, source) in enumerate(planted)}
    assert {tuple(pair) for pair in found.pairs.tolist()} == expected
    assert (np.diff(found.similarity) <= 0).all()
    assert 0.8 < found.similarity.min() <= found.similarity.max() < 1.001
    assert len(set(found.groups().tolist())) == COUNT


def test_what_is_not_cropped_is_found_without_features_and_half_alike_is_not() -> None:
    originals = scenes(COUNT)
    noise = torch.from_numpy(np.random.default_rng(1).normal(size=(COUNT + 30, 8))).float()
    kinds = ("encoded", "resized", "mirrored")
    planted = np.stack([KINDS[kinds[number % 3]](originals[number]) for number in range(30)])
    pixels = np.concatenate([originals, planted])
    found = find_twins(noise, pixels, digests_of(pixels))
    assert {tuple(pair) for pair in found.pairs.tolist()} == {(number, COUNT + number) for number in range(30)}
    halves = (originals[:30].astype(int) + scenes(30, seed=2)) // 2
    pixels = np.concatenate([originals, halves.astype(np.uint8)])
    assert not len(find_twins(features_of(pixels), pixels, digests_of(pixels)).pairs)


def test_of_identical_images_the_first_stands_for_all() -> None:
    originals = scenes(20)
    pixels = np.concatenate([originals, originals[[3, 3, 7]], [encoded(originals[7])]])
    found = find_twins(features_of(pixels), pixels, digests_of(pixels))
    assert found.original.tolist() == [*range(20), 3, 3, 7, 23]
    assert found.pairs.tolist() == [[7, 23]]
    assert found.groups().tolist() == [*range(20), 3, 3, 7, 7]
    assert found.distance[20] == found.distance[3] > 0


def test_skies_above_meadows_are_no_twins() -> None:
    """Coarsely alike to nine tenths, plain or mirrored; their details are of chance."""
    chance = np.random.default_rng(0)
    slope = np.linspace(220, 60, 32)[:, None, None] * np.ones((1, 32, 3))
    pixels = np.clip(slope + chance.normal(0, 12, (40, 32, 32, 3)), 0, 255).astype(np.uint8)
    small = pixels.reshape(40, 16, 2, 16, 2, 3).mean((2, 4, 5)).reshape(40, -1)
    assert np.corrcoef(small).min() > 0.9
    assert not len(find_twins(features_of(pixels), pixels, digests_of(pixels)).pairs)


@pytest.mark.parametrize("pixels", [scenes(1), scenes(2), np.zeros((5, 32, 32, 3), np.uint8)])
def test_few_images_and_images_of_one_colour_are_no_trouble(pixels: np.ndarray) -> None:
    found = find_twins(features_of(pixels), pixels, digests_of(pixels))
    assert not len(found.pairs)
    assert np.isfinite(found.distance).all()


@given(
    copies=st.lists(st.integers(0, 11), min_size=12, max_size=12),
    links=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=12),
)
def test_groups_are_the_connected_parts(copies: Any, links: Any) -> None:
    original = np.array([copies.index(value) for value in copies])
    pairs = [(min(pair), max(pair)) for pair in ((original[a], original[b]) for a, b in links) if pair[0] != pair[1]]
    edges = {place: {place, int(first)} for place, first in enumerate(original)}
    for a, b in [*pairs, *enumerate(original)]:
        edges[a].add(b), edges[b].add(a)
    found = Twins(original, np.array(pairs, np.int64).reshape(-1, 2), np.ones(len(pairs)), np.ones(12)).groups()
    for start in range(12):
        reached, frontier = {start}, {start}
        while frontier := {there for here in frontier for there in edges[here]} - reached:
            reached |= frontier
        assert found[start] == min(reached)
