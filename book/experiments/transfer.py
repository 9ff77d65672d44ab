"""Starting from CIFAR-10 or from nothing, by pictures per class, on Imagenette at 32 pixels (18 min of one core).

`cifar10-small`, a hybrid that has learned CIFAR-10's ten classes, is given ten classes of photographs. Three ways to
use it: a linear classifier on its features (probe), all of its weights trained further under a new head that starts
at zero (fine-tuned), and the same architecture from random weights (scratch). 20 and 100 pictures of each class, and
all. With 100, layer-wise rates besides. Of what was fine-tuned the old head is put back, and the old task tested
again.

1. Has it converged? Scratch has not, with few steps. With all pictures the first seed also runs four times as long,
   scratch and fine-tuned (`longer`), at the same rates.
2. Tuned alike? Each arm and size has its own rate, the best on validation pictures with the first seed between two that
   are no better, as far as the ladder reaches (`val_by_rate`); the probe its own penalty. Layer-wise takes the highest
   rate and raw pixels take the strongest penalty that was tried. The 947 validation pictures are more than 20 a class
   leave to train on: nobody with 200 labels could choose so well, and this is so for all arms.
3. One difference? At each size pictures, order, steps, augmentation and architecture are equal; scratch starts from
   other weights. The pre-trained weights have seen 45,000 labelled pictures, which scratch has not: that is the point.
   From size to size the steps change with the pictures: 120, 400 and 684.
4. Can it show it? `raw pixels` under the same probe shows what no network at all gives.
5. Would a practitioner recognise it? Yes: the gain is largest with the fewest pictures (Kornblith et al. 2018,
   arXiv:1805.08974), and from scratch catches up with time where data suffice (He et al. 2018, arXiv:1811.08883).
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from _rates import tuned, val_by_rate
from _record import load, nothing, or_smoke, spread, start
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from vitedu.data import Dataset, Split, normalise
from vitedu.pretrained import describe
from vitedu.pretrained import load as load_weights
from vitedu.train import TrainConfig, evaluate, fit
from vitedu.train.augment import Augment

NAME = "cifar10-small"
SIZES = or_smoke({20: 30, 100: 20, 0: 4}, {2: 1, 0: 1})  # pictures a class (0: all) and epochs
DECAYS = {"layer-wise": 0.5}
LADDER = (2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3, 8e-3)
PENALTIES = or_smoke((1e-3, 1e-2, 1e-1, 1.0, 10.0), (0.1,))  # C of the probe: large is little penalty
RECIPE = TrainConfig(batch_size=or_smoke(50, 10), channels_last=True, augment=Augment(flip=True, crop=4))
OLD_PICTURES = or_smoke(2_000, 10)


def places(split: Split, count: int, seed: int) -> Tensor:
    """The places of `count` pictures of each class, drawn by the seed; of all of them for 0."""
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed))
    return torch.cat([order[split.labels[order] == k][: count or None] for k in split.labels.unique()])


def fresh(model: nn.Module) -> nn.Module:
    """The same architecture with random weights."""
    return type(model)(model.config, model.cnn.config)


def zero_head(model: nn.Module) -> None:
    """A new classifier that starts at zero."""
    nn.init.zeros_(model.vit.head.weight)
    nn.init.zeros_(model.vit.head.bias)


@torch.no_grad()
def features(model: nn.Module, images: Tensor, data: Dataset) -> Tensor:
    """Bytes (B, C, H, W) -> what the head reads, (B, D)."""
    parts = [normalise(part, data.mean, data.std) for part in images.split(500)]
    return torch.cat([model.vit.represent(model.cnn.features(part)) for part in parts])


if __name__ == "__main__":
    run = start(__doc__)
    card, cifar10 = describe(NAME), load("cifar10")
    mean, std = torch.tensor(card["mean"]), torch.tensor(card["std"])  # of what it has learned from, for all arms
    data = load("imagenette", image_size=32).normalised_by(mean, std)
    old = replace(cifar10).normalised_by(mean, std)
    old_test = old.test.subset(torch.arange(OLD_PICTURES))

    def train(arm: tuple[str, int], rate: float, seed: int, longer: int = 1) -> dict:
        kind, count = arm
        torch.manual_seed(seed)
        model = load_weights(NAME)
        old_head = {key: value.clone() for key, value in model.vit.head.state_dict().items()}
        if kind == "scratch":
            model = fresh(model)
        else:
            zero_head(model)
        decay = DECAYS.get(kind, 1.0)
        recipe = replace(RECIPE, epochs=longer * SIZES[count], lr=rate, layer_decay=decay, seed=seed)
        pictures, began = data.train.subset(places(data.train, count, seed)), run.clock()
        fit(model, data, recipe, train=pictures, device=run.device, shown=False, measure=nothing)
        found = {"seconds": run.clock() - began, "steps": recipe.epochs * -(-len(pictures) // recipe.batch_size)}
        found |= {name: evaluate(model, getattr(data, name), data).accuracy for name in ("val", "test")}
        if kind != "scratch":
            model.vit.head.load_state_dict(old_head)
            found["old"] = evaluate(model, old_test, old).accuracy
        return found

    def row(arm: tuple[str, int], runs: list[dict], **more: object) -> dict:
        kind, count = arm
        kept = {name: spread([one[key] for one in runs]) for name, key in (("accuracy", "test"), ("validation", "val"))}
        if "old" in runs[0]:
            kept["old_task"] = spread([one["old"] for one in runs])
        if "seconds" in runs[0]:
            kept |= {"cpu_seconds": spread([one["seconds"] for one in runs]), "steps": runs[0]["steps"]}
        found = {"arm": kind, "pictures": count, **kept, **more}
        print(kind, count, found["accuracy"], flush=True)
        return found

    def probes(kind: str, read: Callable[[Tensor], Tensor], sizes: list[int]) -> list[dict]:
        """A linear classifier on features (or pixels), its penalty chosen like a rate."""
        everything = {name: read(getattr(data, name).images) for name in ("train", "val", "test")}
        labels = {name: getattr(data, name).labels for name in everything}
        rows = []
        for count in sizes:
            tried: dict[float, list[dict]] = {}
            best = PENALTIES[0]
            for seed in run.seeds:
                chosen = places(data.train, count, seed)
                x = everything["train"][chosen]
                centre, scale = x.mean(dim=0), x.std(dim=0) + 1e-6
                for penalty in PENALTIES if seed == run.seeds[0] else [best]:
                    probe = LogisticRegression(C=penalty, max_iter=or_smoke(300, 5))
                    probe.fit((x - centre) / scale, labels["train"][chosen])
                    scores = {n: probe.score((everything[n] - centre) / scale, labels[n]) for n in ("val", "test")}
                    tried.setdefault(penalty, []).append(scores)
                best = max(tried, key=lambda penalty: tried[penalty][0]["val"])
            by_rate = {str(penalty): of[0]["val"] for penalty, of in tried.items()}
            rows.append(row((kind, count), tried[best], rate=best, val_by_rate=by_rate))
        return rows

    rows = []
    body = load_weights(NAME)
    before = evaluate(body, old_test, old).accuracy
    rows += probes("probe", lambda images: features(body, images, data), list(SIZES))
    rows += probes("raw pixels", lambda images: images.flatten(1).float() / 255, list(SIZES)[:-1])
    arms = [(kind, count) for count in SIZES for kind in ("fine-tuned", "scratch")]
    arms += [(kind, 100) for kind in DECAYS if 100 in SIZES]
    runs, chosen = tuned(run, train, arms, LADDER)
    for arm in arms:
        rate = chosen[arm]
        rows.append(row(arm, runs[arm][rate], rate=rate, val_by_rate=val_by_rate(runs[arm])))
    for arm in [arm for arm in arms if arm[0] not in DECAYS and not arm[1]]:
        rate = chosen[arm]
        rows.append(row(arm, [train(arm, rate, run.seeds[0], longer=4)], rate=rate, longer=4))
    for found in rows:
        found.setdefault("old_before", before)
    run.record(
        f"test accuracy on Imagenette at 32 pixels, starting from {NAME} or from nothing, by pictures per class",
        [data.describe(), cifar10.describe()],
        rows,
    )
