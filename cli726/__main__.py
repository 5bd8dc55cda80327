"""`python -m cli726`: the same as `cmpt726`.

Python puts the current folder first on the path; a `cache.py` or `commands.py` there would stand in for ours.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from commands.app import main  # noqa: E402 - only now is the path right

if __name__ == "__main__":
    main()
