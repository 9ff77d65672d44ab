"""A recorded table made row by row: all of it, or one row to be compared with what stands in the record."""

import argparse
import difflib
from collections.abc import Callable

from _common import Start, provenance_of, record, write_result

from vitedu.recorded import recorded

Rows = dict[str, Callable[[list[int]], dict]]  # what computes the row of a name, given the seeds


def compute(
    name: str, about: str, data: list[str], rows: Rows, description: str | None, default_seeds: int = 3
) -> list[dict]:
    """Run every row and write book/results/NAME.json, or with --row one of them, and show it beside the recorded one.

    Each row is a dict with "accuracy", a spread over the seeds; "name" is added to it.

    Returns:
        The rows, none with --row.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=default_seeds, help="how many; a spread needs 3 or more")
    parser.add_argument("--row", help="run this row alone and compare it with the record, which stays as it is")
    parser.add_argument("--update", action="store_true", help="with --row: put the new row into the record")
    options = parser.parse_args()
    start, seeds = Start.now(), list(range(options.seeds))
    if options.row:
        if options.row not in rows:
            near = difflib.get_close_matches(options.row, rows, n=1) or list(rows)
            parser.error(f"{name} has no row {options.row!r}; did you mean {' or '.join(map(repr, near))}?")
        row = {"name": options.row, **compare(name, options.row, rows, seeds)}
        if options.update:
            update(name, row, start)
        return []
    done = []
    for row, run in rows.items():
        done.append({"name": row, **run(seeds)})
        print(f"{row:34} {in_words(done[-1])}", flush=True)
    record(name, about, data, done, start)
    return done


def compare(name: str, row: str, rows: Rows, seeds: list[int]) -> dict:
    """Run one row and print it under what the record says of it."""
    before = next((known for known in known_rows(name) if known["name"] == row), None)
    print(f"recorded: {in_words(before) if before else 'not yet'}")
    now = rows[row](seeds)
    print(f"now:      {in_words(now)}")
    return now


def update(name: str, row: dict, start: Start) -> None:
    """Put a row that was run by itself into the record, with where it comes from; it is the last one if it is new."""
    result = recorded(name)
    origin = {key: value for key, value in provenance_of(name, start).items() if result[key] != value}
    known = [old["name"] for old in result["rows"]]
    place = known.index(row["name"]) if row["name"] in known else len(known)
    result["rows"][place : place + 1] = [row | origin]
    write_result(name, result)


def known_rows(name: str) -> list[dict]:
    """What stands in the record; nothing if there is none yet."""
    try:
        return recorded(name)["rows"]
    except ValueError:
        return []


def in_words(row: dict) -> str:
    """The accuracy of a row, per cent."""
    mean, std, values = (row["accuracy"][key] for key in ("mean", "std", "values"))
    return (
        f"{100 * mean:.2f} % (1 seed)"
        if len(values) == 1
        else f"{100 * mean:.2f} ± {100 * std:.2f} % ({len(values)} seeds)"
    )
