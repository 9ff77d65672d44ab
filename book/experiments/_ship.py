"""What every shipped model shares: rounding to half precision, its three files, and the frame of its card."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

from torch import nn

from vitedu.cost import count_parameters
from vitedu.files import write_whole
from vitedu.pretrained import WEIGHTS, describe
from vitedu.pretrained import load as load_weights

CARD = """# {name}

{what}: `vitedu.pretrained.load("{name}")`.

Licence: MIT. Made on {date} by `{command}` (seed {seed}) from {source}.

| | |
| --- | --- |
| Model | {model}, {parameters:,} parameters |
{rows}
| Tensors | half precision, SHA-256 `{sha256}` |

{results}

{limits}
"""


def command_line(script: str) -> str:
    """The command that is running, as a reader would type it."""
    return shlex.join(["python", f"book/experiments/{Path(script).name}", *sys.argv[1:]])


def round_to_half(model: nn.Module) -> nn.Module:
    """Give a model the numbers it will have once it is shipped, so that what is measured is what a reader gets."""
    weights = model.state_dict()
    model.load_state_dict({key: t.half().float() if t.is_floating_point() else t for key, t in weights.items()})
    return model


def write_card(
    name: str,
    what: str,
    model: str,
    source: str,
    facts: Mapping[str, str],
    results: str,
    limits: str,
    command: str,
    seed: int,
    folder: Path = WEIGHTS,
) -> None:
    """Write NAME.md beside the weights that were shipped.

    Args:
        name, seed, command: of the weights, and how they were made.
        what: one line, what the model does.
        model: its class and the paper.
        source: the pictures it learnt from, with their licence where they are of others.
        facts: further lines of the table, such as "Input" and "Recipe".
        results: what was measured, Markdown.
        limits: what the figures do not hold for.
    """
    text = CARD.format(
        name=name,
        what=what,
        date=date.today().isoformat(),
        command=command,
        seed=seed,
        source=source,
        model=model,
        parameters=count_parameters(load_weights(name, folder)),
        rows="\n".join(f"| {key} | {value} |" for key, value in facts.items()),
        sha256=describe(name, folder)["sha256"],
        results=results,
        limits=limits,
    )
    write_whole(folder / f"{name}.md", text.encode())


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
