"""The console entry point: `cmpt726`, and `python -m cli726`, which is the same."""

import sys
from contextlib import suppress
from pathlib import Path

import cli726

# For `-m` Python puts the current folder first on the path; a `cache.py` there would stand in for ours.
with suppress(OSError):  # the current folder may be gone
    if sys.path and Path(sys.path[0] or ".").resolve() == Path.cwd():
        sys.path[0] = str(cli726.ROOT)


def main() -> None:
    """Run the command line and exit; elsewhere on the path, too, nothing may stand in for our packages."""
    try:
        for package in ("cache", "commands"):
            cli726.require_own(package)
    except ImportError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    from commands.app import main as run

    run()


if __name__ == "__main__":
    main()
