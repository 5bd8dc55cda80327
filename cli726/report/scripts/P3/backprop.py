"""Problem 3: the six derivatives of error back-propagation, as formulas and numbers, checked numerically."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))  # the modules that came with this script

from cli726.backprop import solve
from cli726.backprop.example import example
from cli726.backprop.figures import figures
from cli726.backprop.findings import document
from cli726.drawing import draw_all

result = solve(*example(seed=0))
for finding in document(result).findings:
    print(finding.question, finding.text)

for path in draw_all(figures(result), Path("results/backprop")):
    print(path)
