"""What comes out where a chapter says *change and rerun*: its own cells, changed as asked, again (3 min of one core).

The model answers of chapters 1, 2, 3, 5, 6, 7 and 11 quote these numbers. Each row takes cells out of the notebook by
their ids, makes the replacements that the exercise asks for, and runs them; seed 0 is the reader's run, the others put
their number in the place of the 0. tests/book/test_reruns.py compares the quotes with the record.

The five questions. *Converged?* As far as the page's own cells train, and no farther: each row repeats a demonstration
of seconds. *Tuned alike?* Nothing is tuned; rates are those of the page. *One difference?* The replacements are all
that differs from the cells as they stand, and stand in this file. *Can it show?* Each chapter has the unchanged run
beside it. *Recognisable?* That is for the chapter to say. Accuracies are those that the cells measure.
"""

import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib
from _record import compute, or_smoke, spread, start

CHAPTERS = Path(__file__).resolve().parents[2] / "chapters"
Numbers = dict[str, float]
Names = dict[str, object]  # the variables that the cells leave behind


@dataclass(frozen=True)
class Rerun:
    """Cells of a chapter, what is changed in them, and what is asked of them afterwards.

    Attributes:
        chapter: the name of its notebook.
        cells: their ids, in order.
        ask: the numbers, from the variables at the end.
        says: what the chapter has to quote, from their means.
        edits: texts that are replaced, each of which occurs once in these cells, and what comes in their place.
        seed: a text with the reader's seed, every occurrence of it, and what comes in its place.
        more: code that follows the cells.
    """

    chapter: str
    cells: tuple[str, ...]
    ask: Callable[[Names], Numbers]
    says: Callable[[Numbers], list[str]]
    edits: dict[str, str] = field(default_factory=dict)
    seed: tuple[str, str] = ("torch.manual_seed(0)", "torch.manual_seed(SEED)")
    more: str = ""

    def source(self, seed: int) -> str:
        """The code as the reader has it after the change; SystemExit if the chapter has no such text any more."""
        notebook = json.loads((CHAPTERS / f"{self.chapter}.ipynb").read_text(encoding="utf-8"))
        known = {cell["id"]: "".join(cell["source"]) for cell in notebook["cells"]}
        code = "\n\n".join([*(known[one] for one in self.cells), self.more])
        for old, new in self.edits.items():
            if code.count(old) != 1:
                raise SystemExit(f"{self.chapter} has {old!r} {code.count(old)} times in these cells, expected 1")
            code = code.replace(old, new)
        if self.seed[0] not in code:
            raise SystemExit(f"{self.chapter} has no {self.seed[0]!r} in these cells, so no seed can be set")
        return code.replace(self.seed[0], self.seed[1].replace("SEED", str(seed)))

    def run(self, seed: int) -> Numbers:
        """Run the code and ask; what it prints does not reach the screen, and the style of its figures ends with it."""
        names: Names = {"__name__": "rerun"}
        with contextlib.redirect_stdout(io.StringIO()), matplotlib.rc_context():
            exec(compile(self.source(seed), self.chapter, "exec"), names)
            return self.ask(names)


def forget_bias(bias: int) -> Rerun:
    """Chapter 1: the LSTM with open forget gates."""
    opened = f"nn.init.constant_(self.layer.bias_ih_l0.detach()[D : 2 * D], {bias})"
    return Rerun(
        "01_limits_of_recurrence",
        ("ch01-02", "ch01-84", "ch01-86", "ch01-87", "ch01-88"),
        lambda names: {"accuracy": names["recall_accuracy"]("LSTM", 32)},
        lambda mean: [f"{mean['accuracy']:.0f} % with {bias}"],
        {
            "        self.head = nn.Linear(D, K)\n": f'        if kind == "LSTM":\n            {opened}\n'
            "        self.head = nn.Linear(D, K)\n",
            "steps=300": f"steps={or_smoke(300, 2)}",
        },
    )


def bent_values(steps: int) -> Rerun:
    """Chapter 2: one head whose values are no longer linear maps of their tokens."""
    return Rerun(
        "02_attention",
        ("ch02-02", "ch02-98", "ch02-99", "ch02-102", "ch02-103", "ch02-104", "ch02-105"),
        lambda names: {"error": names["errors"]["one head"]},
        lambda mean: [f"{mean['error']:.2f} after {steps:,} steps"],
        {
            "nn.Linear(64 + marks, D)": "nn.Sequential(nn.Linear(64 + marks, 2 * D), nn.GELU(), nn.Linear(2 * D, D))",
            '{"one head": (1, 1), "two heads": (2, 1)}': '{"one head": (1, 1)}',
            'versions["one head, two queries"] = (1, 2)': "",
            "steps=500": f"steps={or_smoke(steps, 2)}",
            'assert 0.3 < errors["one head"] < 0.6': "",
            'assert errors["two heads"] < 0.1 and errors["one head, two queries"] < 0.1': "",
        },
    )


def half_without_positions(line: str) -> Rerun:
    """Chapter 3: a Transformer with positions in one of its halves alone."""
    return Rerun(
        "03_transformer",
        ("ch03-02", "ch03-49", "ch03-54", "ch03-57", "ch03-58", "ch03-59", "ch03-61"),
        lambda names: dict(zip(("loss", "right"), names["scores"]["reverse", "nothing"], strict=True)),
        lambda mean: [f"the loss ends at {mean['loss']:.2f} nats and {100 * mean['right']:.0f} % of the sequences"],
        {
            f" + self.table[: {line}.shape[1]]": "",
            ', ("reverse", "positions")]': "]",
            'runs += [("sort", "nothing"), ("sort", "positions"), ("sort", "causal")]': "",
            "steps=300": f"steps={or_smoke(300, 2)}",
        },
    )


def pieces(side: int, says: Callable[[Numbers], list[str]]) -> Rerun:
    """Chapter 5: the bag and the linear reader, on pieces of another side."""
    return Rerun(
        "05_patch_partitioning",
        ("ch05-02", "ch05-73", "ch05-73b", "ch05-76", "ch05-77", "ch05-79"),
        lambda names: {row: values[0] for row, values in names["results"].items()},
        says,
        {"P = 2\n": f"P = {side}\n", "steps=300": f"steps={or_smoke(300, 2)}"},
        seed=("range(3)", "range(SEED, SEED + 1)"),
    )


ROWS_PLUS_COLUMNS = Rerun(
    "06_linear_embedding",
    ("ch06-02", "ch06-70", "ch06-71", "ch06-74", "ch06-75", "ch06-84", "ch06-86", "ch06-88", "ch06-90", "ch06-92"),
    lambda names: {name: float(names[name]) for name in ("whole", "left", "share")},
    lambda mean: [
        f"{100 * mean['left']:.0f} % are right with it, {100 * mean['whole']:.0f} % with the table itself",
        f"a share of {mean['share']:.2f}",
    ],
    {
        '(("where", where, 8), ("colour", colour, 3))': f'(("where", where, {or_smoke(8, 1)}),)',
        '("none", "learned"):': '("learned",):',
        'assert live["where", "none"] < 0.34 and live["where", "learned"] > 0.45\n': "",
        'assert min(live["colour", "none"], live["colour", "learned"]) > 0.9': "",
    },
    seed=("seed=0, **changes", "seed=SEED, **changes"),
    more="""
from vitedu.exercises.exercise import chapter_exercises
fitted = chapter_exercises(6)["6.5"].reference(table_32, (8, 8))
whole, left = accuracy_with(table_32, 32), accuracy_with(fitted, 32)
share = fitted[1:].var(dim=0).sum() / table_32[1:].var(dim=0).sum()
""",
)

GROWTH = Rerun(
    "07_encoder_block",
    (*(f"encoder-block-{cell}" for cell in ("setup", "77", "79", "80", "89")), "ch7-measure-growth"),
    lambda names: {name: float(names[name]) for name in ("length", "formula")},
    lambda mean: [f"{mean['length']:.1f} against {mean['formula']:.1f}"],
    {
        'for norm in ("pre", "post"):': 'for norm in ("pre",):',
        'assert live["pre"] > 0.5 and live["post"] < 0.35': "",
        '"epochs": 5': f'"epochs": {or_smoke(5, 1)}',
        'growth(narrow_vit("pre"))  # then: growth(trained["pre"])': 'growth(trained["pre"])',
    },
    seed=("seed=0, init", "seed=SEED, init"),
    more="length, formula = measured[-1], (measured[0] ** 2 + added.square().sum()).sqrt()",
)

SHUFFLED = Rerun(
    "11_data_and_scale",
    ("ds-02", "ds-5e", "ds-60", "ds-61", "ds-97", "ds-98"),
    lambda names: {f"{who}, {size}": one[0] for who in names["found"] for size, one in names["found"][who].items()},
    lambda mean: [f"{100 * mean['ViT, 1200']:.0f} against {100 * mean['CNN, 1200']:.0f} %"],
    {
        'return overtakes(sizes, *(torch.tensor(found[name]) for name in ("ViT", "CNN")))': "return found, sizes",
        "assert knows > 0.98 and said.accuracy > 0.9": "",
        "steps=150": f"steps={or_smoke(150, 20)}",
    },
    seed=("range(runs)", "range(SEED, SEED + runs)"),
    more="""
digits = load("digits", quiet=True)
found, sizes = who_wins(runs=1, shuffled=True)
found = {name: dict(zip(sizes, values)) for name, values in found.items()}
""",
)

ROWS: dict[str, Rerun] = {f"chapter 1: forget bias {bias}": forget_bias(bias) for bias in (1, 2, 3, 10)}
ROWS |= {f"chapter 2: bent values, {steps} steps": bent_values(steps) for steps in (500, 3_000)}
ROWS |= {
    "chapter 3: no positions in the encoder": half_without_positions("source"),
    "chapter 3: no positions in the decoder": half_without_positions("written"),
    "chapter 5: pieces of side 4": pieces(
        4,
        lambda mean: [
            f"came to {mean['bag, a new order each']:.0f} %",
            f"{mean['linear, a new order each']:.0f} %: each piece",
        ],
    ),
    "chapter 5: pieces of side 8": pieces(8, lambda mean: [f"near {sum(mean.values()) / len(mean):.0f} %"]),
    "chapter 6: rows plus columns": ROWS_PLUS_COLUMNS,
    "chapter 7: growth after training": GROWTH,
    "chapter 11: shuffled digits": SHUFFLED,
}


def row(rerun: Rerun, seeds: list[int]) -> dict:
    """A row of the record: each number over the seeds."""
    found = [rerun.run(seed) for seed in seeds]
    return {"chapter": rerun.chapter, "numbers": {key: spread([one[key] for one in found]) for key in found[0]}}


def in_words(found: dict) -> str:
    """The numbers of a row, in words."""
    return ", ".join(f"{key} {value['mean']:.4g} ± {value['std']:.2g}" for key, value in found["numbers"].items())


def main() -> None:
    run = start(__doc__, device="cpu", rows=True)
    matplotlib.use("Agg")
    rows = {name: lambda seeds, rerun=rerun: row(rerun, seeds) for name, rerun in ROWS.items()}
    sources = ["digits (scikit-learn): 1,257 train", "shapes (drawn by vitedu): 2,400 train"]
    compute(run, "what comes out where a chapter says: change, and rerun", sources, rows, in_words)


if __name__ == "__main__":
    main()
