"""How much of what is planted in CIFAR-10 `cmpt726 data report` finds: flipped labels, near duplicates.

    python -m benchmarks.data_report ../shared/data/cifar10/train

3,000 images, features of the bundled ResNet20, one thread. Labels: 3 % are flipped to another class, by seeds 0, 1 and
2; counted are those among the first N candidates, where N were flipped. Beside it, from the same scores, cleanlab's
find_label_issues with its usual settings, where it is installed. Near duplicates: 100 of each kind; any other pair
between different originals counts as false, though CIFAR-10 has real ones.
"""

from __future__ import annotations

import importlib.util
import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from cli726.finetune.backbones import RESNET20
from cli726.finetune.data.images import digests_of
from cli726.finetune.data.twins import Twins, find_twins
from cli726.finetune.data_report import FOLDS, label_errors, score_unseen
from cli726.finetune.features.extractor import Extractor
from cli726.finetune.network.weights import load_weights
from cli726.finetune.training.folds import draw_folds
from cli726.reporting import Silent

IMAGES, SHARE, SEEDS, PLANTED = 3000, 0.03, (0, 1, 2), 100
chance = np.random.default_rng(0)


def encoded(quality: int) -> Callable[[Image.Image], Image.Image]:
    def change(image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        return Image.open(buffer).convert("RGB")

    return change


def resized(side: int) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.resize((side, side)).resize(image.size)


def cropped(lost: int) -> Callable[[Image.Image], Image.Image]:
    def change(image: Image.Image) -> Image.Image:
        x, y = chance.integers(0, lost + 1, 2)
        return image.crop((x, y, 32 - lost + x, 32 - lost + y)).resize(image.size)

    return change


KINDS = {
    **{f"JPEG, quality {quality}": encoded(quality) for quality in (30, 50, 75)},
    **{f"resized to {side} and back": resized(side) for side in (16, 24, 64)},
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    **{f"cropped by {lost} of 32 pixels": cropped(lost) for lost in (2, 3, 4)},
}


def labels(features: torch.Tensor, truth: np.ndarray, twins: Twins, names: tuple[str, ...]) -> None:
    ours, theirs = [], []
    number = round(SHARE * IMAGES)
    for seed in SEEDS:
        draw = np.random.default_rng(seed)
        flipped = draw.choice(IMAGES, number, replace=False)
        given = truth.copy()
        given[flipped] = (truth[flipped] + draw.integers(1, len(names), number)) % len(names)
        _, found, _ = label_errors(features, given, twins, names, seed, Silent())
        ours.append(np.isin([one.image for one in found[:number]], flipped).mean())
        if importlib.util.find_spec("cleanlab") is None:
            continue
        from cleanlab.filter import find_label_issues

        folds = draw_folds(given, twins.groups(), names, FOLDS, seed)
        scores = score_unseen(features, torch.from_numpy(given), folds, seed, Silent()).scores
        ranked = find_label_issues(
            given, scores.double().softmax(1).numpy(), n_jobs=1, return_indices_ranked_by="self_confidence"
        )
        theirs.append(np.isin(ranked[:number], flipped).mean())
    print(f"labels: of {number} flipped among the first {number}: {shown(ours)}")
    print(f"cleanlab: {shown(theirs)}" if theirs else "cleanlab: SKIPPED, it is not installed")


def shown(shares: list[float]) -> str:
    return f"{', '.join(f'{share:.1%}' for share in shares)}; mean {np.mean(shares):.1%}"


def duplicates(extract: Extractor, pixels: np.ndarray) -> None:
    sources = {kind: chance.choice(IMAGES, PLANTED, replace=False) for kind in KINDS}
    planted = [np.asarray(KINDS[kind](Image.fromarray(pixels[k]))) for kind in KINDS for k in sources[kind]]
    every = np.concatenate([pixels, planted])
    original = np.concatenate([np.arange(IMAGES), *sources.values()])
    found = find_twins(extract(torch.from_numpy(every)), every, digests_of(every))
    pairs = {tuple(pair) for pair in found.pairs.tolist()}
    for place, (kind, chosen) in enumerate(sources.items()):
        start = IMAGES + place * PLANTED
        recall = np.mean([(k, start + n) in pairs or found.original[start + n] == k for n, k in enumerate(chosen)])
        print(f"{kind}: {recall:.0%} found")
    false = {tuple(sorted((original[a], original[b]))) for a, b in pairs if original[a] != original[b]}
    print(f"other pairs of originals: {len(false)}, {100 * len(false) / IMAGES:.2f} for 100 images")


def main(root: Path) -> None:
    torch.set_num_threads(1)
    names = tuple(sorted(path.name for path in root.iterdir()))
    files = sorted(root.glob("*/*.png"))
    chosen = [files[k] for k in np.random.default_rng(0).permutation(len(files))[:IMAGES]]
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in chosen])
    truth = np.array([names.index(path.parent.name) for path in chosen])
    weights = load_weights("auto", RESNET20, seed=0, reporter=Silent())
    extract = Extractor(weights.build(), torch.float32, weights.normalization)
    features = extract(torch.from_numpy(pixels))
    labels(features, truth, find_twins(features, pixels, digests_of(pixels)), names)
    duplicates(extract, pixels)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
