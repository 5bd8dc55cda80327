"""Problem 2: two scores over the basis functions 1, x1^2, x2^2, their surfaces and decision regions."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))  # the modules that came with this script

from cli726 import exact
from cli726.drawing import draw_all
from cli726.glm import ASSIGNMENT, NAMES, analyse
from cli726.glm.figures import figures
from cli726.glm.findings import findings

result = analyse(exact.classes(ASSIGNMENT, NAMES))
for finding in findings(result):
    print(finding.question, finding.text)

for path in draw_all(figures(result), Path("results/glm")):
    print(path)
