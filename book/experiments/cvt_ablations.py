"""What CvT's parts are worth: its paper's ablations, on Imagenette at 64 pixels (45 min on one core).

A CvT of three stages and, for the first question, a ViT of about as many multiply-adds in the place of the paper's
DeiT-S. Positions added or left out; token embeddings whose windows overlap or cut patches; convolutional or linear
projections; keys and values at every second place or at all. Equal epochs; time and multiply-adds stand beside.

The five questions. *Converged?* No: six epochs, after which most curves, recorded epoch by epoch, still rise. Four
times the steps have not been run, so the page speaks of learning soon and from few pictures. *Tuned alike?* A ViT and a
CvT have a rate each, the best of three in two epochs without positions, on validation pictures of the first seed
("tried" rows); the arms of a model share it. That of CvT is the lowest of the three. *One difference?* Per pair of
arms, but for the linear projection. It has no stride: beside it stands the CvT that keeps every key. And it has no
BatchNorm, so what is lost with it is convolution and norm together. *Can it show?* A ViT without positions gives one
answer to its patches in any order: it has to lose in the end. *Would a practitioner recognise it?* The paper trains 300
epochs on 1.28 million pictures; its tables stand beside.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from _record import Run, load, multiply_adds, or_smoke, per_cent, repeat, spread, start
from torch import nn

from vitedu.cost import count_parameters
from vitedu.data import Dataset
from vitedu.models.cvt import CvT
from vitedu.models.table import small_cvt
from vitedu.recorded import recorded
from vitedu.train import TrainConfig, evaluate
from vitedu.train.augment import Augment
from vitedu.vit import ViT, preset

SIDE, EPOCHS = 64, or_smoke(6, 1)
TRIED, TRIED_EPOCHS = or_smoke((1e-3, 2e-3, 4e-3), (2e-3,)), or_smoke(2, 1)
RECIPE = TrainConfig(batch_size=or_smoke(64, 10), augment=Augment(flip=True, crop=4))
VIT = preset("tiny", image_size=SIDE, patch_size=8, num_classes=10, position_std=0.02)
CVT = small_cvt(VIT)
EVERYWHERE, LINEAR = ("learned",) * 3, ("linear",) * 3
ARMS: dict[str, Callable[[], nn.Module]] = {
    "ViT, learned positions": lambda: ViT(VIT),
    "ViT, no positions": lambda: ViT(replace(VIT, positions="none")),
    "CvT, no positions": lambda: CvT(CVT),
    "CvT, learned positions": lambda: CvT(replace(CVT, positions=EVERYWHERE)),
    "CvT, every key": lambda: CvT(replace(CVT, kv_strides=(1, 1, 1))),
    "CvT, patches, linear": lambda: CvT(replace(CVT, kernels=CVT.strides, projections=LINEAR)),
    "CvT, linear": lambda: CvT(replace(CVT, projections=LINEAR)),
    "CvT, patches": lambda: CvT(replace(CVT, kernels=CVT.strides)),
}


def trained(run: Run, data: Dataset, arm: str, epochs: int, rate: float, seed: int) -> dict:
    """One training: accuracy on validation pictures after each epoch, on test pictures at the end; seconds of it."""
    began = run.clock()
    model, history = run.train(ARMS[arm], data, replace(RECIPE, epochs=epochs, lr=rate), seed)
    seconds = run.clock() - began
    test = evaluate(model, data.test, data).accuracy
    print(f"{arm}, {epochs} epochs, rate {rate}, seed {seed}: {100 * test:.1f} % in {seconds:.0f} s", flush=True)
    curve = [epoch["accuracy"] for epoch in history]
    return {"curve": curve, "test": test, "seconds": seconds, "train_loss": history[-1]["train_loss"]}


def best_rate(done: list[dict], arm: str) -> float:
    """The best of the rates that were tried for the model of an arm."""
    of_model = [one for one in done if one["part"] == "tried" and one["arm"][:3] == arm[:3]]
    return max(of_model, key=lambda one: one["accuracy"]["mean"])["rate"]


def row_of(arm: str, epochs: int, rate: float, runs: list[dict]) -> dict:
    """What is recorded of an arm, a training for each seed."""
    measured = {"accuracy": spread([one["test"] for one in runs])}
    measured["val"] = spread([one["curve"][-1] for one in runs])
    measured["curve"] = [spread(list(values)) for values in zip(*(one["curve"] for one in runs), strict=True)]
    measured |= {key: spread([one[key] for one in runs]) for key in ("seconds", "train_loss")}
    model = ARMS[arm]()
    size = {"parameters": count_parameters(model), "multiply_adds": multiply_adds(model.eval(), SIDE)}
    return {"part": "arm", "arm": arm, "epochs": epochs, "rate": rate, **size, **measured}


def tried(run: Run, data: Dataset, arm: str, rate: float, seeds: list[int]) -> dict:
    """Validation accuracy at one rate after a short training."""
    found = trained(run, data, arm, TRIED_EPOCHS, rate, seeds[0])
    accuracy = spread([found["curve"][-1]])
    return {"part": "tried", "arm": arm, "epochs": TRIED_EPOCHS, "rate": rate, "accuracy": accuracy}


def row(run: Run, data: Dataset, done: list[dict], arm: str, seeds: list[int]) -> dict:
    """An arm over the seeds."""
    rate = best_rate(done, arm)
    return row_of(arm, EPOCHS, rate, [trained(run, data, arm, EPOCHS, rate, seed) for seed in seeds])


def main() -> None:
    run, data = start(__doc__, device="cpu", rows=True), load("imagenette", image_size=SIDE)
    tries = {f"tried: {arm[:3]} at {rate}": (arm, rate) for arm in list(ARMS)[1:3] for rate in TRIED}
    if run.row:
        done = recorded(run.name)["rows"]
        rows = {name: partial(tried, run, data, *one) for name, one in tries.items()}
        rows |= {arm: partial(row, run, data, done, arm) for arm in ARMS}
        return repeat(run, rows, lambda found: per_cent(found["accuracy"]))
    done = [{"name": name, **tried(run, data, *one, run.seeds)} for name, one in tries.items()]
    runs: dict[str, list[dict]] = {}
    for arm in list(ARMS) * len(run.seeds):  # a seed of all arms, then the next; what is done is on disk
        rate, seed = best_rate(done, arm), run.seeds[len(runs.get(arm, []))]
        runs.setdefault(arm, []).append(trained(run, data, arm, EPOCHS, rate, seed))
        rows = [{"name": one, **row_of(one, EPOCHS, best_rate(done, one), found)} for one, found in runs.items()]
        run.record("test accuracy; of tried rates, validation accuracy", [data.describe()], done + rows)


if __name__ == "__main__":
    main()
