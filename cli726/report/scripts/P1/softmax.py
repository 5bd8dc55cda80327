"""Problem 1: the softmax of three linear activations where its regions meet, along their boundaries, and far away."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))  # the modules that came with this script

from cli726 import exact
from cli726.drawing import draw_all
from cli726.softmax import ASSIGNMENT, NAMES, analyse
from cli726.softmax.figures import figures
from cli726.softmax.findings import findings

result = analyse(exact.classes(ASSIGNMENT, NAMES))
for finding in findings(result):
    print(finding.question, finding.text)

for path in draw_all(figures(result), Path("results/softmax")):
    print(path)
