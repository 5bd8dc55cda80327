"""`cmpt726` with CIFAR-10 files that are not the published ones: python launch.py DIGESTS.json finetune ..."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

from cli726.finetune.data.names import CIFAR
from commands.app import main

digests = json.loads(Path(sys.argv.pop(1)).read_text())
files = CIFAR["cifar10"]
parts = {split: {name: digests[name] for name in part} for split, part in files.parts.items()}
CIFAR["cifar10"] = replace(files, parts=parts, names_md5=digests[files.names])
main()
