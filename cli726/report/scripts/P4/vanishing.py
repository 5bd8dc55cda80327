"""Problem 4: the gradient of every layer of a network of 152 layers, why it vanishes, and when it is exactly zero."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))  # the modules that came with this script

from cli726.choices import Connect, Hidden
from cli726.drawing import save, styled
from cli726.figures.vanishing import by_layer, saturation
from cli726.vanishing import analyse
from cli726.vanishing_findings import explain
from cli726.vanishing_setting import Setting, formula

setting = Setting()
for connect in Connect:
    print(formula(connect, setting.depth))
results = [analyse(setting, hidden, connect) for hidden in Hidden for connect in Connect]
for result in results:
    print(f"{result.name}:")
    for finding in explain(result):
        print(f"  {finding.text}")

folder = Path("results/vanishing")
with styled():
    save(by_layer(results), folder / "gradients.png")
    save(saturation(results), folder / "saturation.png")
print(f"figures: {folder}")
