"""Results that took longer than a notebook may: read from the JSON files that the scripts in book/experiments wrote."""

import json
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOLDERS = (HERE / "results", HERE.parent / "book" / "results")  # inside an installed package; in a checkout


def recorded(name: str) -> dict:
    """One recorded result: {"about", "command", "date", "device", "processor", "versions", "data", "rows", ...}.

    ValueError if there is none of that name.
    """
    paths = {path.stem: path for folder in FOLDERS for path in folder.glob("*.json")}
    if name not in paths:
        raise ValueError(f"no recorded result {name!r}; there are: {', '.join(sorted(paths)) or 'none'}")
    return json.loads(paths[name].read_text(encoding="utf-8"))


def provenance(result: dict) -> str:
    """Where a recorded result comes from, in one line for under a figure."""
    torch = result["versions"]["torch"].partition("+")[0]  # without the mark of its build, such as +cu132
    return f"{result['command']}, {result['date']}, {result['processor']}, torch {torch}"
