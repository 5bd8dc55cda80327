"""The page of a data report: every finding with its picture, in one HTML file built as the gallery is; no script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cli726.finetune.data.decoding import shrunk
from cli726.finetune.data.images import SPLITS
from cli726.finetune.data_report import DataReport
from cli726.finetune.output.figures import THUMBNAIL
from cli726.finetune.output.gallery import (
    CLASS_NAME,
    NAME,
    TILES,
    shown,
    sprite_sheets,
    tile_of,
    wrapping,
    write_page,
)

# Findings of a kind, and copies of an image; JSON and CSV have all.
MOST, COPIES = 200, 6
NOTES = {
    "Probable label errors": "The label given, the one that is more probable, and 1 minus the probability of the label "
    "given, by a head that had not seen the image; the most certain first.",
    "Identical images": "Pixel for pixel, as the network sees them. Leaks are marked: tests would be on images seen.",
    "Near duplicates": "Re-encoded, resized, mirrored or slightly cropped; similarity is the correlation of details.",
    "Outliers": "Far from all others in the network's features.",
    "Odd images": "Blank, very dark, blurred, tiny, or unlike the others in shape, size or mode.",
    "Not read": "Files that were skipped, and why.",
}


@dataclass
class Cards:
    """The findings as the template takes them; pictures are numbered as they come.

    Attributes:
        images: Positions of the images that are shown.
    """

    report: DataReport
    images: list[int] = field(default_factory=list)

    def card(self, head: str, images: Sequence[int], names: Sequence[str] = (), mark: str = "") -> dict[str, Any]:
        """Return one finding: what it is, its pictures, and names beside those of the images."""
        tiles = [tile_of(len(self.images) + number) for number in range(len(images))]
        self.images += images
        lines = [*(self.report.paths[image] for image in images), *names]
        return {"head": head, "mark": mark, "tiles": tiles, "names": [wrapping(shown(line, NAME)) for line in lines]}

    def alike(self, identical: bool) -> Iterator[dict[str, Any]]:
        """Yield groups of identical images, or pairs of near duplicates."""
        for one in [one for one in self.report.near_duplicates if one.identical == identical][:MOST]:
            labels = list(dict.fromkeys(shown(label, CLASS_NAME) for label in one.labels))
            marks = ["leak: " + ", ".join(dict.fromkeys(one.splits))] if one.leaks else []
            marks += ["labels differ: " + ", ".join(labels)] if len(labels) > 1 else []
            more = len(one.images) - COPIES
            head = f"{len(one.images)} copies" if identical else f"similarity {one.similarity:.3f}"
            names = [f"and {more:,} more"] if more > 0 else []
            yield self.card(head, one.images[:COPIES], names, "; ".join(marks))

    def sections(self) -> Iterator[dict[str, Any]]:
        """Yield each kind of finding that there is."""
        report, alike = self.report, self.report.near_duplicates
        copies = sum(one.identical for one in alike)
        errors = []
        for one in report.label_errors[:MOST]:
            given, suggested = shown(one.given, CLASS_NAME), shown(one.suggested, CLASS_NAME)
            errors.append(self.card(f"{given} → {suggested}: {one.score:.3f}", [one.image]))
        outliers = (self.card(f"distance {far:.3f}", [image]) for image, far in report.outliers[:MOST])
        odd = (self.card(reason, [image]) for image, reason in report.odd[:MOST])
        skipped = (self.card(shown(reason, 2 * NAME), [], [name]) for name, reason in report.skipped[:MOST])
        kinds = (
            ("Probable label errors", len(report.label_errors), errors),
            ("Identical images", copies, self.alike(identical=True)),
            ("Near duplicates", len(alike) - copies, self.alike(identical=False)),
            ("Outliers", len(report.outliers), outliers),
            ("Odd images", len(report.odd), odd),
            ("Not read", len(report.skipped), skipped),
        )
        for title, count, cards in kinds:
            first = f" The first {MOST} are shown; --json and --csv list all." if count > MOST else ""
            if count:
                yield {"title": f"{title}: {count:,}", "note": NOTES[title] + first, "cards": list(cards)}


def write_data_page(report: DataReport, path: Path) -> int:
    """Write the page, atomically, and return its size in bytes; any names, however hostile."""
    cards = Cards(report)
    sections = list(cards.sections())
    places = [(pool, index) for pool, indices in map(report.data.chosen, SPLITS) for index in indices]
    side = next(iter(report.data.pools.values())).pixels.shape[1]
    pixels = np.zeros((len(cards.images), min(side, THUMBNAIL), min(side, THUMBNAIL), 3), np.uint8)
    for number, image in enumerate(cards.images):
        pool, index = places[image]
        pixels[number] = shrunk(pool.pixels[index : index + 1], THUMBNAIL)[0]
    most = max(report.counts.values())
    lead = dict(line.partition(": ")[::2] for line in report.lead()[1:])
    summary = {"Data": report.lead()[0], "Network": report.backbone, **lead}
    values = {
        "title": shown(f"{report.data.name}: data report", NAME, "Data report"),
        "summary": {shown(key.capitalize(), NAME): shown(text, 4 * NAME) for key, text in summary.items()},
        "sections": sections,
        "classes": [
            (wrapping(shown(name, CLASS_NAME, f"class {number}")), count, f"{count / most:.3f}")
            for number, (name, count) in enumerate(report.counts.items())
        ],
    }
    return write_page(path, "data", {"sheets": sprite_sheets(pixels), "tiles": TILES}, values)
