"""The folder of 239 real pictures that own photographs are tried on: nine kinds, photographs cut out on white.

They come from Debian's package tuxpaint-stamps-default (2022.06.04, 161 MB; its licences are in its copyright file):

    apt-get download tuxpaint-stamps-default
    dpkg-deb -x tuxpaint-stamps-default_*.deb stamps
    python -m benchmarks.photographs stamps/usr/share/tuxpaint/stamps PICTURES
    cmpt726 finetune --dataset folder:PICTURES --cache --solver exact --epochs 1
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

# A kind, where its pictures lie, and how many there are: drawings lie in folders called cartoon.
KINDS = {
    "birds": ("animals/birds", 35),
    "clothes": ("clothes", 18),
    "fish": ("animals/fish", 11),
    "flowers": ("plants/flowers", 25),
    "fruit": ("food/fruit", 26),
    "household": ("household", 32),
    "insects": ("animals/insects", 9),
    "mammals": ("animals/mammals", 65),
    "vegetables": ("food/vegetables", 18),
}


def make(stamps: Path, target: Path) -> int:
    """Copy the pictures to TARGET/KIND/NAME.png; return how many there are."""
    total = 0
    for kind, (place, count) in KINDS.items():
        found = sorted(path for path in (stamps / place).rglob("*.png") if "cartoon" not in path.parts)
        if len(found) != count:
            raise SystemExit(f"{stamps / place} must hold {count} pictures; it has {len(found)}: another version?")
        (target / kind).mkdir(parents=True)
        for path in found:
            shutil.copyfile(path, target / kind / f"{path.parent.name}-{path.name}")
        total += len(found)
    return total


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    print(make(Path(sys.argv[1]), Path(sys.argv[2])))
