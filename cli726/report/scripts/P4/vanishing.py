"""Problem 4: the gradient of every layer of a network of 152 layers, why it vanishes, and when it is exactly zero."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))  # the modules that came with this script

from cli726.choices import Connect, Hidden
from cli726.drawing import draw_all
from cli726.vanishing import Setting, analyse
from cli726.vanishing.figures import figures
from cli726.vanishing.findings import document

results = [analyse(Setting(), hidden, connect) for hidden in Hidden for connect in Connect]
for finding in document(results).findings:
    print(f"{finding.question}  {finding.text}")

for path in draw_all(figures(results), Path("results/vanishing")):
    print(path)
