"""Problem 5.2: gradient descent at several rates, in one plot. Takes a file of points, too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))  # the modules that came with this script

from cli726 import logistic
from cli726.drawing import draw_all
from cli726.logistic.figures import figures

points = logistic.load_points(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
result = logistic.compare(points, (0.5, 0.3, 0.1, 0.05, 0.01))
for finding in result.findings:
    print(finding.text)

for path in draw_all(figures(result), Path("results/logistic_regression_mod")):
    print(path)
