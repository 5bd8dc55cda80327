"""`cmpt726 doctor`: versions, devices, folders, and what to do about each problem."""

from commands.options import Json, examples
from commands.render import emit, table

EPILOG = examples("cmpt726 doctor", "cmpt726 doctor --json")


def doctor(as_json: Json = False) -> None:
    """Look at this machine and say what to do about each problem."""
    from cli726.doctor import examine

    checks = list(examine())
    rows = [("" if check.ok else "!", check.name, check.value, check.remedy) for check in checks]
    bad = sum(not check.ok for check in checks)
    title = "All is well" if not bad else f"{bad} problem{'s' if bad > 1 else ''}"
    emit(
        {"checks": checks, "problems": bad},
        lambda: [table(title, "", "what", "found", "what to do", rows=rows, numeric=9)],
        as_json=as_json,
    )
