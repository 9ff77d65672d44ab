"""How the first weights and the size of the first positions decide what a small ViT learns (about 25 min on one core).

On `digits`, five-fold cross-validation over the training and validation images; on Fashion-MNIST, three seeds and the
validation split. The test splits are not looked at.
"""

import torch
from _record import Run, load, or_smoke, per_cent, spread, start
from sklearn.model_selection import StratifiedKFold

from vitedu.data import Dataset, DatasetUnavailable
from vitedu.initialise import SCHEMES
from vitedu.train import recipe
from vitedu.vit import ViT

POSITION_STDS = or_smoke((0.02, 0.1, 0.5, 1.0, 2.0), (0.02,))
EPOCHS = or_smoke({"digits": 20, "fashion-mnist": 2}, {"digits": 1, "fashion-mnist": 1})


def accuracy(run: Run, data: Dataset, seed: int, model: dict, settings: dict, splits: dict) -> float:
    """Validation accuracy after training the tiny preset once."""
    config, training = recipe(data, "tiny", model, settings)
    return run.train(lambda: ViT(config), data, training, seed, **splits)[1][-1]["accuracy"]


def folds(data: Dataset, count: int) -> list[dict]:
    """`count` ways to set a share of the images that may be looked at aside, each class in proportion."""
    pool = data.train_and_val()
    cuts = StratifiedKFold(count, shuffle=True, random_state=0).split(pool.labels, pool.labels)
    return [{"train": pool.subset(torch.from_numpy(a)), "validate": pool.subset(torch.from_numpy(b))} for a, b in cuts]


def sweep(run: Run, data: Dataset, splits: list[dict], stds: tuple, schemes: tuple) -> list[dict]:
    """One row per start; the seed of a run is the number of its split."""
    rows, settings = [], {"epochs": EPOCHS[data.name]}
    for init in schemes:
        for std in stds:
            model = {"init": init, "position_std": std}
            values = [accuracy(run, data, seed, model, settings, split) for seed, split in enumerate(splits)]
            rows.append({"data": data.name, **model, **settings, "accuracy": spread(values)})
            print(f"{data.name:14} {init:7} positions at {std:<5} {per_cent(rows[-1]['accuracy'])}", flush=True)
    return rows


def main() -> None:
    run, digits = start(__doc__, seeds=5), load("digits")
    rows = sweep(run, digits, folds(digits, max(2, len(run.seeds))), POSITION_STDS, SCHEMES)
    sources = [digits.describe()]
    try:
        fashion = load("fashion-mnist")
        rows += sweep(run, fashion, [{}] * or_smoke(3, 1), (0.02, 0.5, 1.0), ("xavier", "normal"))
        sources.append(fashion.describe())
    except DatasetUnavailable as error:
        print(error)
    run.record("accuracy on held-out images by first weights and positions", sources, rows)


if __name__ == "__main__":
    main()
