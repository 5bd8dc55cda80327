"""Problem 3: the six derivatives of error back-propagation, as formulas and numbers, checked by differences."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))  # the modules that came with this script

from cli726.backprop import solve
from cli726.drawing import save, styled
from cli726.figures.backprop import paths
from cli726.worked_example import example

result = solve(*example(seed=0))
for item in result.derivatives:
    print(f"{item.formula:<45} {item.value:>12.6g}  central difference {item.central.numeric:>12.6g}")
for finding in result.findings:
    print(finding.text)

figure = Path("results/backprop/network.png")
with styled():
    save(paths(result), figure)
print(f"figure: {figure}")
