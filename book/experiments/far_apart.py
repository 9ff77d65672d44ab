"""Which small networks relate what no window of theirs holds: plain, deeper, with SE, as BoTNet (about 20 min).

*Cue*: of a red and a blue thing, name the kind of the one in the cue's colour. What a channel is worth depends on
something elsewhere in the picture. *Pair*: have two things the same colour? Two places have to be compared. In the test
the cue, or the other thing, is out of reach of the plain network's windows of 19 pixels, and what it averages are
windows none of which knows the answer. "Deeper" has two more such blocks and sees 51 pixels, more than a picture has.

The five questions. *Converged?* The plain and the deeper network are trained four times as long, too, on the first
seed: do they only need time? *Tuned alike?* Each network in each task has its own rate, chosen on validation pictures
of the first seed. Only two of the eight far rows have a worse rate on either side, and those two networks guess. In
five several rates reach 100 %, of which the lowest is taken, four times the lowest of the range; at it two other seeds
of SE, and one of "deeper", end at 84 % in the pair. In one (plain, cue) two rates guess alike. The long runs and the
negative control take rates chosen so, the plain network that of its positive control. *One difference?* The module (of
"deeper", two blocks); pictures are the same for all. *Can it show?* Positive control: the cue tints the whole ground,
the two things lie side by side; there the plain network has to succeed. Negative control: the cue is of a third colour
and says nothing; nobody can be right more than half of the time. *Recognisable?* In networks as deep as those of
practice all units of the last map see most of the picture; the deeper one stands for them.
"""

from collections.abc import Callable
from functools import partial

from _rates import sparsely, tuned, val_by_rate
from _record import Run, or_smoke, spread, start
from torch import nn

from vitedu.cost import count_parameters
from vitedu.data.pairs import SIDE, draw_cued, draw_pairs, load_pairs
from vitedu.models.botnet import botnet
from vitedu.models.channel_attention import SqueezeExcite
from vitedu.models.cnn import CNNConfig, ResNet
from vitedu.train import TrainConfig, evaluate
from vitedu.train.augment import Augment

REDUCTION, CLASSES = 8, {"cue": 3, "pair": 2}
MODELS: dict[str, Callable[[CNNConfig], nn.Module]] = {
    "BoTNet": lambda config: botnet(config, SIDE),
    "SE": lambda config: ResNet(config, lambda channels: SqueezeExcite(channels, REDUCTION)),
    "deeper": ResNet,
    "plain": ResNet,
}
DRAW = {
    ("cue", "far"): partial(draw_cued, cue="patch"),
    ("pair", "far"): partial(draw_pairs, far=True),
    ("cue", "everywhere"): partial(draw_cued, cue="ground"),  # positive control
    ("pair", "side by side"): partial(draw_pairs, far=False),  # positive control
    ("cue", "says nothing"): partial(draw_cued, cue="none"),  # negative control
}
RATES = (0.00125, 0.0025, 0.005, 0.01, 0.02, 0.04)
COUNTS = or_smoke((6_000, 500, 2_000), (12, 12, 12))  # pictures to train on, to choose the rate by, and to report
EPOCHS, LONGER, BATCH_SIZE = or_smoke(6, 1), or_smoke(4, 2), 64
MARKS = or_smoke(6, 1)  # points of a curve

Arm = tuple[str, str, str, int]  # task, variant, model, epochs


def build(name: str, task: str) -> nn.Module:
    """A network of three stages that sees 19 pixels, or, deeper, 51."""
    depths = (1, 1, 3) if name == "deeper" else (1, 1, 1)
    size = {"widths": (32, 64, 128), "depths": depths, "block": "bottleneck", "stem_stride": 2}
    return MODELS[name](CNNConfig(num_classes=CLASSES[task], **size))


def train(run: Run, arm: Arm, rate: float, seed: int) -> dict:
    """One run: validation accuracy on the way and at the end, and test accuracy."""
    task, variant, name, epochs = arm
    data = load_pairs(f"{task}, {variant}", DRAW[task, variant], COUNTS, seed)
    config = TrainConfig(epochs=epochs, batch_size=BATCH_SIZE, lr=rate, channels_last=True, augment=Augment(flip=True))
    model, history = run.train(lambda: build(name, task), data, config, seed, measure=sparsely(epochs, MARKS))
    curve = [epoch["accuracy"] for epoch in history if "accuracy" in epoch]
    test = evaluate(model, data.test, data).accuracy
    print(f"{task} {variant}, {name}, {epochs} epochs, rate {rate}, seed {seed}: {100 * test:.1f} %", flush=True)
    return {"val": curve[-1], "test": test, "curve": curve, "train_loss": history[-1]["train_loss"]}


def summarise(arm: Arm, runs: dict[float, list[dict]], rate: float) -> dict:
    """One row: what a network reaches in one variant of a task, and when."""
    task, variant, name, epochs = arm
    steps, at_rate = -(-COUNTS[0] // BATCH_SIZE) * epochs, runs[rate]
    return {
        "task": task,
        "variant": variant,
        "model": name,
        "steps": steps,
        "parameters": count_parameters(build(name, task)),
        "rate": rate,
        "accuracy": over_seeds([run["test"] for run in at_rate]),
        "train_loss": over_seeds([run["train_loss"] for run in at_rate]),
        "curve_steps": [steps * (mark + 1) // MARKS for mark in range(MARKS)],
        "val_curve": [over_seeds(list(values)) for values in zip(*(run["curve"] for run in at_rate), strict=True)],
        "val_accuracy_by_rate": val_by_rate(runs),
    }


def over_seeds(values: list[float]) -> dict:
    """Mean and spread; the long runs have one seed, and so no spread."""
    return spread(values) if len(values) > 1 else {"mean": values[0], "values": values}


def main() -> None:
    run = start(__doc__)
    tests = [(task, "far", name, EPOCHS) for task in CLASSES for name in MODELS]
    controls = [("cue", "everywhere", "plain", EPOCHS), ("pair", "side by side", "plain", EPOCHS)]
    runs, rates = tuned(run, lambda arm, rate, seed: train(run, arm, rate, seed), [*tests, *controls], RATES)
    # at rates that have been chosen already: long runs, and the negative control
    rate_of = {(arm[0], arm[2]): rate for arm, rate in rates.items()}  # of the plain network that of its control
    longer = [(task, "far", name, LONGER * EPOCHS) for task in CLASSES for name in ("deeper", "plain")]
    silent = [("cue", "says nothing", name, EPOCHS) for name in MODELS if name != "deeper"]
    cases = [(arm, run.seeds[0]) for arm in longer] + [(arm, seed) for arm in silent for seed in run.seeds]
    found = run.each(lambda case: train(run, case[0], rate_of[case[0][0], case[0][2]], case[1]), cases)
    for (arm, _), one in zip(cases, found, strict=True):
        rates[arm] = rate_of[arm[0], arm[2]]
        runs.setdefault(arm, {}).setdefault(rates[arm], []).append(one)
    rows = [summarise(arm, of_arm, rates[arm]) for arm, of_arm in runs.items()]
    for row in rows:
        accuracy = f"{100 * row['accuracy']['mean']:.1f} % ({len(row['accuracy']['values'])} seeds)"
        print(*(row[key] for key in ("task", "variant", "model", "steps")), accuracy)
    sources = [f"pictures of two things (drawn anew for each of the seeds {run.seeds}), {COUNTS} to train, val, test"]
    run.record("test accuracy where two places of a picture have to be related", sources, rows)


if __name__ == "__main__":
    main()
