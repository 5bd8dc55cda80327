"""Problem 6: fine-tune a pre-trained ResNet20 in two stages from stored features; see --help for what can be chosen."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))  # the modules that came with this script

from cli726.finetune.api import finetune
from cli726.finetune.config import FinetuneConfig
from cli726.reporting import Silent


class Printing(Silent):
    """A reporter that prints a line for each finished step."""

    def finish(self, text: str) -> None:
        print(text)

    say = finish


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--dataset", default="auto", help="cifar10, digits, folder:PATH, a data set of torchvision, ...")
parser.add_argument("--weights", default="bundled", help="bundled, random, or a file")
parser.add_argument("--epochs", type=int, default=10, help="in all; the new layers train alone for the first half")
parser.add_argument("--head", default="linear", help="the new layers: linear, mlp:128, ...")
parser.add_argument("--l2", type=float, default=1e-3, help="L2 penalty on the new layers' coefficients")
parser.add_argument("--augment", default="none", help="comma list of image transformations, such as crop,blur")
options = parser.parse_args()

chosen = {**vars(options), "l2": (options.l2,), "unfreeze_after": str(options.epochs // 2)}
result = finetune(FinetuneConfig(**chosen), reporter=Printing())
print(f"best validation error {result.best.val_error:.2%} in epoch {result.best.epoch}")
test = result.judged[1]
low, high = test.interval
print(f"test accuracy {test.accuracy:.2%} of {test.images} images, 95 % {low:.2%} to {high:.2%}")
print(f"run: {result.run_dir}")
