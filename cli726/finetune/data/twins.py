"""Near duplicates: pictures of one original, re-encoded, resized, mirrored or slightly cropped.

Candidates are neighbours in the features, which a crop hardly moves, and among small grey pictures, which JPEG and
resizing hardly change. Each pair is confirmed on the pixels: one picture, cut in every way that loses up to a fifth of
its sides, is laid upon the other, plain and mirrored, where they agree best; there their details must agree, with what
is coarse taken out. (Features of 32 x 32 images alone, and coarse pictures alone, make twins of any two skies above a
meadow.) What counts as agreement depends on what neighbours of this data set usually show: any two digits are alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cli726.finetune.data.decoding import Pixels
from cli726.finetune.data.images import Labels
from cli726.finetune.data.odd import LUMA

# Neighbours that are looked at, in either way; sides of the pictures that are cut, and compared at first and at last.
NEIGHBOURS, SIDE, ROUGH, THUMB = 10, 32, 8, 16
# The least in which twins agree, cut roughly, and the least in which their details do; and of what neighbours usually
# lack of perfect agreement the shares that they may lack.
LEAST, LACK = (0.85, 0.8), (0.6, 0.25)
# Pairs that tell what is usual, and their share that must lie below.
SAMPLE, USUAL = 512, 0.75
# How often rows and columns are cut anew; rows and pairs at a time.
TURNS, ROWS, PAIRS = 4, 1024, 512


@dataclass(frozen=True)
class Twins:
    """What looks alike among N images.

    Attributes:
        original: (N,): position of the first image that is identical, pixel for pixel.
        pairs: (P, 2): positions of near duplicates, the smaller first, among the first of identical ones; most alike
            first.
        similarity: (P,): correlation of their details.
        distance: (N,): from each image to its tenth neighbour in the features, see `neighbours`.
    """

    original: Labels
    pairs: Labels
    similarity: NDArray[np.float32]
    distance: NDArray[np.float32]

    def groups(self) -> Labels:
        """Return the position of the first image of each image's group, (N,): identical ones and twins, joined."""
        first = self.original.copy()
        changed = True
        while changed:
            before = first.copy()
            for one, two in self.pairs:
                first[one] = first[two] = min(first[one], first[two])
            changed = bool((before != first).any())
        return first[self.original]


def nearest(queries: Tensor, keys: Sequence[Tensor], count: int) -> tuple[Tensor, Tensor]:
    """Return each image's largest products with other images, in falling order, and whose they are: (N, count) each.

    Args:
        queries: (N, D).
        keys: One or more of shape (N, D); the largest product counts. Never are more than some rows of all products
            in memory.
        count: Fewer than N.
    """
    found = []
    for start in range(0, len(queries), ROWS):
        block = queries[start : start + ROWS]
        products = block @ keys[0].T
        for more in keys[1:]:
            torch.maximum(products, block @ more.T, out=products)
        rows = torch.arange(len(block))
        products[rows, rows + start] = -torch.inf
        found.append(products.topk(count))
    return torch.cat([best.values for best in found]), torch.cat([best.indices for best in found])


def neighbours(features: Tensor, count: int = NEIGHBOURS) -> tuple[Tensor, Tensor]:
    """Return the distances of each image's nearest images, and which these are: (N, min(count, N - 1)) each.

    Distances are Euclidean, from 0 to 2, between features of length 1: on CIFAR-10 noise, one colour and foreign
    pictures lie far out there, in standardised or whitened features near the middle.
    """
    points = nn.functional.normalize(features)
    cosines, places = nearest(points, [points], min(count, len(points) - 1))
    return (2 - 2 * cosines).clamp(min=0).sqrt(), places


def cuts(ends: Sequence[tuple[int, int]], size: int) -> Tensor:
    """Return matrices (C, size, SIDE), each of which averages a line's pixels between two ends into `size` of them."""
    found = []
    for first, last in ends:
        places = np.linspace(first, last, size + 1)
        shares = np.minimum(places[1:, None], np.arange(1, SIDE + 1)) - np.maximum(places[:-1, None], np.arange(SIDE))
        shares = shares.clip(0)
        found.append(torch.from_numpy(shares / shares.sum(1, keepdims=True)).float())
    return torch.stack(found)


# Of a line: a few cuts, and all that lose up to a fifth. The first of each loses nothing.
FEW = [(0, SIDE), *((first, first + SIDE - 4) for first in (0, 2, 4))]
ALL = [(first, first + side) for side in range(SIDE, SIDE - 7, -1) for first in range(SIDE - side + 1)]


def standard(pictures: Tensor) -> Tensor:
    """Return pictures (..., D) without their mean, of length 1: products are correlations. One colour stays 0."""
    centred = pictures - pictures.mean(-1, keepdim=True)
    unit: Tensor = centred / centred.norm(dim=-1, keepdim=True).clamp(min=1)
    return unit


def details(pictures: Tensor) -> Tensor:
    """Return what is fine in grey pictures (N, S, S): the difference from the mean of 3 x 3 pixels; as `standard`."""
    planes = pictures[:, None]
    coarse = nn.functional.avg_pool2d(nn.functional.pad(planes, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return standard((planes - coarse).flatten(1))


def small(pictures: Tensor, size: int) -> Tensor:
    """Return pictures (N, SIDE, SIDE) at another size."""
    plain = cuts(ALL[:1], size)[0]
    return (plain @ pictures) @ plain.T


def candidates(pictures: Tensor, near: Tensor) -> Tensor:
    """Return pairs of positions (P, 2), each once: neighbours in the features (N, k), and among small pictures."""
    ways = [standard(small(way, ROUGH).flatten(1)) for way in (pictures, pictures.flip(2))]
    _, like = nearest(ways[0], ways, near.shape[1])
    second = torch.cat([near, like], 1)
    first = torch.arange(len(second))[:, None].expand_as(second)
    keys = torch.unique(torch.minimum(first, second) * len(second) + torch.maximum(first, second))
    return torch.stack([keys // len(second), keys % len(second)], 1)


def rough_cuts(pictures: Tensor) -> Tensor:
    """Return pictures (N, SIDE, SIDE) cut in a few ways, to be compared: (N, C^2, ROUGH^2)."""
    lines = cuts(FEW, ROUGH)
    rows = torch.einsum("cts,psx->pctx", lines, pictures)
    return standard(torch.einsum("dux,pctx->pcdtu", lines, rows).flatten(3).flatten(1, 2))


def best_cut(cut: Tensor, whole: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Return how well pictures (P, SIDE, SIDE), cut in the best way, agree with others, and their details: (P,) each.

    From the rough cut `start` on, the best one is found for rows and for columns by turns.
    """
    lines, target = cuts(ALL, THUMB), standard(small(whole, THUMB).flatten(1))
    fixed = cuts(FEW, THUMB)[start % len(FEW)]  # (P, THUMB, SIDE): of the columns at first
    for turn in range(TURNS):
        other_way = turn % 2 == 1
        across = (cut.mT if other_way else cut) @ fixed.mT
        tried = torch.einsum("cts,psu->pctu", lines, across)  # (P, C, THUMB, THUMB)
        tried = tried.mT if other_way else tried
        best = torch.einsum("pcd,pd->pc", standard(tried.flatten(2)), target).max(1)
        fixed = lines[best.indices]
    chosen = tried[torch.arange(len(cut)), best.indices]
    return best.values, (details(chosen) * details(small(whole, THUMB))).sum(1)


def compare(pictures: Tensor, rough: Tensor, pairs: Tensor, least: float) -> tuple[Tensor, Tensor]:
    """Return how well the pictures of each pair agree, cut roughly, and their details at the best cut: (P,) each.

    Args:
        pictures: (N, SIDE, SIDE).
        rough: Their `rough_cuts`.
        pairs: Positions (P, 2).
        least: Pairs that agree less are not looked at any further: 0.
    """
    whole = torch.stack([standard(small(way, ROUGH).flatten(1)) for way in (pictures, pictures.flip(2))], 1)
    likes, fines = torch.zeros(len(pairs)), torch.zeros(len(pairs))
    for places in torch.arange(len(pairs)).split(PAIRS):
        both = torch.stack([pairs[places], pairs[places].flip(1)])  # (2, p, 2): the one that is cut, and the other
        looks = torch.einsum("wpcd,wpmd->wpmc", rough[both[..., 0]], whole[both[..., 1]]).flatten(2)
        likes[places] = looks.amax((0, 2))
        able = torch.nonzero(likes[places] >= least)[:, 0]
        found = []
        # What is cut little agrees with the other as well as the other with it: both ways are tried.
        for way, best in zip(both, looks.max(2).indices[:, able], strict=True):
            one, two = pictures[way[able]].unbind(1)
            two = torch.where((best >= len(FEW) ** 2)[:, None, None], two.flip(2), two)
            found.append(best_cut(one, two, best % len(FEW) ** 2))
        (like, fine), (other, other_fine) = found
        fines[places[able]] = torch.where(other > like, other_fine, fine)
    return likes, fines


def find_twins(features: Tensor, pixels: Pixels, digests: Pixels) -> Twins:
    """Return what looks alike.

    Args:
        features: float32, (N, D).
        pixels: The images, uint8 (N, 32, 32, 3).
        digests: uint8, (N, 32); equal for identical images.
    """
    _, first, inverse = np.unique(digests, axis=0, return_index=True, return_inverse=True)
    original = first[inverse.reshape(-1)]
    kept = torch.from_numpy(np.unique(first))
    distance = torch.zeros(len(pixels))
    if len(kept) < 2:
        return Twins(original, np.zeros((0, 2), np.int64), np.zeros(0, np.float32), distance.numpy())
    pictures = torch.cat(
        [torch.from_numpy(pixels[block]).float() @ torch.from_numpy(LUMA) for block in kept.split(ROWS)]
    )
    distances, near = neighbours(features[kept])
    distance[kept] = distances[:, -1]
    pairs = candidates(pictures, near)
    rough = torch.cat([rough_cuts(block) for block in pictures.split(ROWS)])
    sample = pairs[torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0))[:SAMPLE]]
    usual = (float(part.quantile(USUAL)) for part in compare(pictures, rough, sample, -1))
    like, fine = (max(least, 1 - lack * (1 - u)) for least, lack, u in zip(LEAST, LACK, usual, strict=True))
    _, details_alike = compare(pictures, rough, pairs, like)
    chosen = torch.nonzero(details_alike >= fine)[:, 0]
    chosen = chosen[details_alike[chosen].argsort(descending=True, stable=True)]
    found = kept[pairs[chosen]].numpy()
    return Twins(original, found, details_alike[chosen].numpy(), distance[torch.from_numpy(original)].numpy())
