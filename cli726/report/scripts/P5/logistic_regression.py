"""Problem 5.1: logistic regression by gradient descent, and why it oscillates. Takes a file of points, too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))  # the modules that came with this script

from cli726 import logistic
from cli726.drawing import draw_all
from cli726.logistic.figures import figures

points = logistic.load_points(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
result = logistic.gradient_descent(points, 0.5)
for finding in result.findings:
    print(finding.text)

for path in draw_all(figures(result), Path("results/logistic_regression")):
    print(path)
