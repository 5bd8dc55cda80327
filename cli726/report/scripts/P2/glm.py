"""Problem 2: two scores over the basis functions 1, x1^2, x2^2, their surfaces and decision regions."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))  # the modules that came with this script

from cli726 import exact
from cli726.drawing import save, styled
from cli726.figures import glm as figures
from cli726.glm import ASSIGNMENT, NAMES, analyse

result = analyse(exact.classes(ASSIGNMENT, NAMES))
for finding in result.findings:
    print(finding.text)

folder = Path("results/glm")
with styled():
    save(figures.surface(result, 1), folder / "y1.png")
    save(figures.surface(result, 2), folder / "y2.png")
    save(figures.all_surfaces(result), folder / "surfaces.png")
    save(figures.regions(result), folder / "regions.png")
print(f"figures: {folder}")
