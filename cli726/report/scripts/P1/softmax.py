"""Problem 1: the softmax of three linear activations where its regions meet, along their boundaries, and far away."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))  # the modules that came with this script

from cli726 import exact
from cli726.drawing import save, styled
from cli726.figures import softmax as figures
from cli726.softmax import ASSIGNMENT, NAMES, analyse

result = analyse(exact.classes(ASSIGNMENT, NAMES))
for finding in result.findings:
    print(finding.text)

folder = Path("results/softmax")
with styled():
    save(figures.regions(result), folder / "regions.png")
    save(figures.along_boundaries(result), folder / "along-boundaries.png")
    save(figures.into_regions(result), folder / "into-regions.png")
print(f"figures: {folder}")
