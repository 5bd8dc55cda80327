"""A finished run put to use: classes and scores for images that it has never seen."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, get_args, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cli726.errors import RequestError, UntrustedDataError
from cli726.finetune.backbones import Backbone, Fit, backbone_of
from cli726.finetune.config import LARGEST_IMAGE, SMALLEST_IMAGE
from cli726.finetune.data.decoding import Levels, Treatment, decode
from cli726.finetune.data.sources import image_files, text_of
from cli726.finetune.features.extractor import resolve_precision
from cli726.finetune.folder import read_json
from cli726.finetune.folder.runs import find_run
from cli726.finetune.network.build import build_backbone
from cli726.finetune.network.heads import build_head, build_own_head, parse_head
from cli726.finetune.network.resnet import Network, Normalization, width_of
from cli726.finetune.storage import read_tensors, require_size
from cli726.finetune.training.evaluation import head_features, head_scores
from cli726.finetune.trust import Trust, network_part
from cli726.finetune.user_code import is_code
from cli726.text import typed_path

BLOCK = 512
Picture: TypeAlias = "str | Path | Image.Image | np.ndarray"


@dataclass(frozen=True)
class Model:
    """A run's best model.

    Attributes:
        network: In eval mode.
        class_names: One for each score.
        normalization: What it expects of its input.
        precision: That it was validated in.
        tta: Whether scores are averaged over each image and its mirror image, as the run's test result was.
        levels: What black and white were in its training images, where they had other levels than eight bits.
        treatment: How its images were brought to one size.
        trust: Its temperature, what thresholds are chosen from, and where its training images lie.
        run: Where it came from.
        facts: What else its file says.
    """

    network: Network
    class_names: tuple[str, ...]
    normalization: Normalization
    precision: torch.dtype
    tta: bool
    run: Path
    levels: Levels | None
    treatment: Treatment
    trust: Trust
    facts: Mapping[str, Any]

    def scores(self, pixels: np.ndarray) -> Tensor:
        """Return the calibrated scores (N, K), in float64, of uint8 images (N, H, W, 3), as the run was tested."""
        return self.judge(pixels)[0]

    def judge(self, pixels: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return the same, and which images are unlike the training images, bool (N,)."""
        stored = torch.from_numpy(np.ascontiguousarray(pixels))
        views = [stored, stored.flip(2)] if self.tta else [stored]
        seen = [head_features(self.network, 0, view, self.precision, self.normalization) for view in views]
        scores = torch.stack([head_scores(self.network.head, features) for features in seen]).mean(0)
        familiar = self.trust.familiar
        unlike = torch.zeros(len(scores)) if familiar is None else familiar.distances(seen[0]) > familiar.limit
        return scores.double() / self.trust.temperature, unlike.bool()


@dataclass(frozen=True)
class Prediction:
    """One image's result.

    Attributes:
        image: Its path, as given; "" for an image or array in memory.
        label: Most probable class; None if the image is broken.
        probability: Of that class, from 0 to 1.
        probabilities: Of every class, in the model's order.
        problem: Why there is no label.
        unknown: The probability is below the threshold that was asked for.
        unlike: It is further from all training images, in feature space, than nearly all validation images are.
    """

    image: str
    label: str | None
    probability: float | None
    probabilities: tuple[float, ...]
    problem: str | None = None
    unknown: bool = False
    unlike: bool = False


def load_model(run: Path, code: str | None = None) -> Model:
    """Return the best model of a run, its file checked against the digest in `model.json`.

    Nothing that the files name is ever run: a head of the user's own code must be named again.

    Args:
        code: `--head python:FILE.py:FUNCTION`, as typed now.

    Raises:
        RequestError: if the run has a head of its author's own code, and it isn't what was typed.
        UntrustedDataError: if the files don't match each other, or aren't a model of ours.
    """
    path = run / "best.safetensors"
    try:
        model = read_json(run / "model.json")
        stated = {model["sha256"], model.get("previous_sha256")}  # two in the moment of a replacement
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UntrustedDataError(
            f"{run / 'model.json'} must hold the model's digest ({error}); train it again"
        ) from None
    require_size(path)
    if hashlib.sha256(path.read_bytes()).hexdigest() not in stated:
        raise UntrustedDataError(f"{path} doesn't match the digest in model.json: it was changed; train it again")
    tensors, facts = read_tensors(path)
    try:
        return build_model(tensors, facts, run, code)
    except (KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise UntrustedDataError(f"{path} is not a model of ours ({' '.join(str(error).split())[:160]})") from None


def build_model(tensors: dict[str, torch.Tensor], facts: dict[str, Any], run: Path, code: str | None) -> Model:
    """Return the network that the facts describe, with the tensors; ValueError or KeyError where they make no sense."""
    form = str(facts["head"]["kind"])
    if is_code(form) and code != form:
        raise RequestError(f"{run} has a head of its own code; code named in a file is never run: type --head {form}")
    if code is not None and code != form:
        raise RequestError(f"--head is for runs whose head is code of your own; {run} has {form}; leave it out")
    kind, names = backbone_of(facts["architecture"]), facts["classes"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("classes")
    mean, std = (tuple(float(v) for v in facts["normalization"][part]) for part in ("mean", "std"))
    if len(mean) != 3 or len(std) != 3 or not all(map(math.isfinite, mean + std)) or min(std) <= 0:
        raise ValueError("normalization")
    backbone = build_backbone(kind)
    width = width_of(backbone)
    if is_code(form):
        head = build_own_head(width, len(names), torch.Generator(), form)
    else:
        head = build_head(
            width,
            len(names),
            torch.Generator(),
            hidden=stated_widths(form, tensors),
            dropout=float(facts["head"]["dropout"]),
            batch_norm=facts["head"]["batch_norm"] is True,
        )
    network = Network(backbone, head)
    network.load_state_dict(network_part(tensors))
    trust = Trust.read(facts.get("trust"), tensors, width)
    stored = "bf16" if facts["precision"] == "bfloat16" else "fp32"
    precision = resolve_precision(stored, torch.device("cpu"))
    levels = stated_levels(facts.get("levels"))
    tta = facts.get("tta") is True
    treatment = stated_treatment(facts, kind)
    normalization = Normalization(mean, std)
    return Model(network.eval(), tuple(names), normalization, precision, tta, run, levels, treatment, trust, facts)


def stated_treatment(facts: Mapping[str, Any], kind: Backbone) -> Treatment:
    """Return what a file says of size and fit, as runs before 0.3.0 had them where it says nothing; else ValueError."""
    size, fit = facts.get("image_size", kind.size), facts.get("fit", kind.fit)
    if not (isinstance(size, int) and SMALLEST_IMAGE <= size <= LARGEST_IMAGE and fit in get_args(Fit)):
        raise ValueError("image_size or fit")
    return Treatment.of(kind, size, fit)


def stated_levels(stated: Any) -> Levels | None:
    """Return what a file says of black and white; ValueError where they make no sense."""
    if stated is None:
        return None
    black, white = map(float, stated)
    if not (math.isfinite(black) and math.isfinite(white) and black < white):
        raise ValueError("levels")
    return black, white


def stated_widths(kind: str, tensors: Mapping[str, torch.Tensor]) -> tuple[int, ...]:
    """Return the hidden layers that a file states; ValueError unless its tensors bear them out."""
    try:
        widths = parse_head(kind)
    except RequestError as error:
        raise ValueError(error) from None
    if any(width not in {len(tensor) for tensor in tensors.values() if tensor.ndim} for width in widths):
        raise ValueError(f"head {kind}")
    return widths


def collect_images(places: Sequence[str]) -> list[Path]:
    """Return files as they are, folders as the images in them, in order.

    Raises:
        RequestError: if one doesn't exist, or there are none at all.
    """
    found: list[Path] = []
    for place in places:
        path = typed_path(place)
        if path.is_dir():
            found += image_files(path)
        elif path.exists():
            found.append(path)
        else:
            raise RequestError(f"IMAGE must be a file or folder that exists; got {place}; check the path")
    if not found:
        raise RequestError(f"IMAGE must name at least one image; found none in {', '.join(places) or 'standard input'}")
    return found


@overload
def predict(  # type: ignore[overload-overlap] # a str is a sequence, too
    run: Model | str | Path, images: Picture, *, threshold: float | None = None
) -> Prediction: ...
@overload
def predict(
    run: Model | str | Path, images: Sequence[Picture], *, threshold: float | None = None
) -> list[Prediction]: ...
def predict(
    run: Model | str | Path, images: Picture | Sequence[Picture], *, threshold: float | None = None
) -> Prediction | list[Prediction]:
    """Return class and scores of each image, in order; a broken one is reported in its place.

    Args:
        run: A model, or a finished run: its folder, its name in `runs/`, or "latest".
        images: One image, or a sequence of them: paths (str or Path), PIL images, or ndarrays of shape (H, W, 3) or
            (H, W), of uint8 or of floats from 0 to 1.
        threshold: Images whose class is less probable are unknown; `load_model(...).trust.threshold(0.05)` is the one
            at which 5 % of the answers on validation images were wrong.

    Raises:
        RequestError: if there is no such run, or an array is no image.
    """
    model = run if isinstance(run, Model) else load_model(find_run(run))
    if isinstance(images, str | Path | Image.Image | np.ndarray):
        return predict(model, [images], threshold=threshold)[0]
    results: list[Prediction] = []
    for start in range(0, len(images), BLOCK):
        results += predict_block(model, images[start : start + BLOCK], threshold or 0.0)
    return results


def picture_of(array: np.ndarray) -> Image.Image:
    """Return an array as an image.

    Raises:
        RequestError: if its shape or its numbers are none of an image.
    """
    if array.dtype.kind == "f" and array.size and array.min() >= 0 and array.max() <= 1:
        array = np.rint(array * 255).astype(np.uint8)
    if array.dtype != np.uint8 or array.ndim not in {2, 3} or (array.ndim == 3 and array.shape[2] != 3):
        raise RequestError(
            "an image must be a uint8 array of shape (H, W, 3) or (H, W), or floats from 0 to 1; got "
            f"{array.dtype} of shape {array.shape}; divide by the largest value, or move the channels last"
        )
    return Image.fromarray(np.ascontiguousarray(array))


def pixels_of(model: Model, image: Picture, treatment: Treatment) -> np.ndarray | str:
    """Return an image as a treatment leaves it, uint8 of shape (H, W, 3), or what is wrong with it."""
    try:
        if isinstance(image, np.ndarray):
            image = picture_of(image)
        content = image if isinstance(image, Image.Image) else typed_path(str(image)).read_bytes()
        return decode(content, model.levels, treatment)
    except (ValueError, OSError) as error:
        return str(error)


def predict_block(model: Model, images: Sequence[Picture], threshold: float) -> list[Prediction]:
    read = [pixels_of(model, image, model.treatment) for image in images]
    pixels = [one for one in read if not isinstance(one, str)]
    rows: Iterator[tuple[list[float], bool]] = iter(())
    if pixels:
        scores, far = model.judge(np.stack(pixels))
        rows = zip(scores.softmax(1).tolist(), far.tolist(), strict=True)
    results = []
    for image, one in zip(images, read, strict=True):
        name = text_of(Path(image)) if isinstance(image, str | Path) else ""
        if isinstance(one, str):
            results.append(Prediction(name, None, None, (), one))
            continue
        shares, unlike = next(rows)
        top = int(np.argmax(shares))
        sure = shares[top] >= threshold
        label = model.class_names[top]
        results.append(Prediction(name, label, shares[top], tuple(shares), unknown=not sure, unlike=unlike))
    return results
