"""What painting in removed patches teaches: a small MAE on photographs, then a tenth of the labels (35 min).

The MAE learns on the training photographs of Imagenette, scaled to 64 × 64 pixels, without labels, for 5, 15 or 60
epochs. First, how far what it paints is from what was removed, beside two ways to fill holes that have learned nothing:
the mean of the visible pixels, and bilinear interpolation. Then with the labels of every tenth photograph: the same ViT
trained from scratch, fine-tuned from the MAE's encoder, and a linear probe of the frozen encoder, beside probes of an
untrained one and of the pixels.

1. Has it converged? Not the MAE: the paper has 800 epochs and more; what 5, 15 and 60 are worth stands side by side.
   `longer` are scratch and fine-tuning, each over four times the steps.
2. Tuned alike? Scratch and fine-tuning have each their own rate, chosen on validation photographs with the first seed,
   over the short training; both chose the highest of the ladder, and a higher one was not tried. Fine-tuning chose with
   the encoder of 60 epochs: after 5 and 15 it has that rate, where another might do better. The probes' penalty is
   chosen on validation photographs for each encoder. The MAE's rate is chosen at 15 epochs by its error on validation
   photographs, and lies between two that are worse.
3. One difference? Scratch and fine-tuning differ in the first weights alone. Fine-tuning has had more computing before,
   of which four times the steps give scratch a part.
4. Can it show it? `probe` beside `probe, untrained` and `probe, pixels` shows whether the encoder has learned anything
   of use.
5. Would a practitioner recognise it? In the paper an encoder that has painted beats one from scratch on ImageNet, after
   hundreds of times these steps, and more under fine-tuning than under a linear probe.
"""

from dataclasses import dataclass, replace

import torch
from _rates import tuned, val_by_rate
from _record import Run, load, nothing, or_smoke, spread, start
from torch import Tensor, nn

from vitedu.data import Dataset, Split, normalise
from vitedu.inspection.probe import linear_probe
from vitedu.models.mae import MAE, MAEConfig
from vitedu.models.pixels import bilinear_fill, mean_fill, to_images
from vitedu.train import TrainConfig, evaluate
from vitedu.train.augment import Augment
from vitedu.train.pretext import masked_patches, measured

SIDE, P = 64, 8
CONFIG = MAEConfig(
    image_size=SIDE,
    patch_size=P,
    dim=64,
    depth=3,
    num_heads=4,
    mlp_ratio=2.0,
    decoder_dim=32,
    decoder_depth=1,
    decoder_heads=2,
)
LENGTHS = or_smoke((5, 15, 60), (1, 2))  # epochs of the MAE
FINE, LONGER = or_smoke((20, 4), (1, 2))
MAE_RATES = or_smoke((1.5e-3, 3e-3, 6e-3), (3e-3,))
LADDER = (5e-4, 1e-3, 2e-3, 4e-3)
PAINTING = TrainConfig(batch_size=or_smoke(64, 10), augment=Augment(flip=True))
NAMING = replace(PAINTING, epochs=FINE, augment=Augment(crop=6, flip=True))
PENALTIES = (0.1, 1.0, 10.0, 100.0, 1000.0)
ARMS = ("scratch", "fine-tuned")


@dataclass(frozen=True)
class Photographs:
    """All of them, and every tenth of those to learn from, with its label."""

    data: Dataset
    tenth: Split


def main() -> None:
    run, data = start(__doc__), load("imagenette", image_size=SIDE)
    photographs = Photographs(data, Split(data.train.images[::10], data.train.labels[::10]))
    rate, errors_by_rate = choose_rate(run, data)
    begin = run.clock()
    cases = [(epochs, seed) for epochs in LENGTHS for seed in run.seeds]
    painters = dict(zip(cases, run.each(lambda case: pretrain(run, data, rate, *case)[0], cases), strict=True))
    print(f"pre-trained in {(pretraining := run.clock() - begin):.0f} s", flush=True)
    encoders = {seed: painters[LENGTHS[-1], seed] for seed in run.seeds}
    rows = painting(run, data, encoders) + naming(run, photographs, painters) + probing(run, photographs, painters)
    paid = {"epochs": list(LENGTHS), "fine": FINE, "longer": LONGER, "seconds": pretraining}
    rows.append({"name": "MAE", "rate": rate, "val_by_rate": errors_by_rate} | paid)
    about = "A small MAE on photographs: what it paints, and what its encoder is worth with a tenth of the labels"
    run.record(about, [data.describe()], rows)


def choose_rate(run: Run, data: Dataset) -> tuple[float, dict[str, float]]:
    """The MAE's rate with the least error on validation photographs, and the error at each, of the first seed."""
    errors = {}
    for rate in MAE_RATES:
        errors[rate] = pretrain(run, data, rate, LENGTHS[len(LENGTHS) // 2], run.seeds[0])[1]
        print(f"MAE, rate {rate:g}: error {errors[rate]:.3f}", flush=True)
    return min(errors, key=errors.get), {f"{rate:g}": error for rate, error in errors.items()}


def pretrain(run: Run, data: Dataset, rate: float, epochs: int, seed: int) -> tuple[MAE, float]:
    """An MAE after so many epochs, and its error on the removed patches of validation photographs."""
    recipe, loss = replace(PAINTING, epochs=epochs, lr=rate), masked_patches()
    model, _ = run.train(lambda: MAE(CONFIG), data, recipe, seed, loss=loss, measure=nothing)
    return model, measured(loss)(model, data.val, data)["loss"]


def untrained(run: Run, seed: int) -> MAE:
    """The MAE as it starts."""
    torch.manual_seed(seed)
    return MAE(CONFIG).to(run.device)


def painting(run: Run, data: Dataset, encoders: dict[int, MAE]) -> list[dict]:
    """Rows: the error over removed patches of the model and of both fills, on 500 test photographs."""
    images = normalise(data.test.images[:500].to(run.device), data.mean, data.std)
    errors = [painted(encoders[seed], images) for seed in run.seeds]
    return [{"name": f"painted: {kind}", "error": spread([one[kind] for one in errors])} for kind in errors[0]]


@torch.no_grad()
def painted(model: MAE, images: Tensor) -> dict[str, float]:
    """The mean squared error over removed patches, of the model and of both fills: pixels of variance about 1."""
    torch.manual_seed(0)
    predicted, removed = model.eval()(images)
    hole = to_images(removed[:, :, None].expand_as(predicted), P, SIDE)[:, :1]  # (B, 1, H, W)

    def error(filled: Tensor) -> float:
        return (filled - images).square().masked_select(hole).mean().item()

    fills = {"mean": mean_fill(images, hole), "bilinear": bilinear_fill(images, hole)}
    return {"MAE": error(model.paint(images, predicted, removed))} | {key: error(x) for key, x in fills.items()}


def naming(run: Run, photographs: Photographs, painters: dict[tuple[int, int], MAE]) -> list[dict]:
    """Rows: trained with the tenth's labels, from scratch and from encoders that have painted."""
    most, first = LENGTHS[-1], run.seeds[0]

    def learn(case: str, rate: float, seed: int, painted_for: int = most, times: int = 1) -> dict:
        start_of = painters[painted_for, seed] if case == "fine-tuned" else untrained(run, seed)
        return classify(run, photographs, start_of, replace(NAMING, lr=rate, epochs=FINE * times), seed)

    runs, chosen = tuned(run, learn, ARMS, LADDER)
    rows = []
    for arm in ARMS:
        kept = runs[arm][chosen[arm]]
        row = {"name": arm, "rate": chosen[arm], "val_by_rate": val_by_rate(runs[arm])}
        row |= {"accuracy": spread([one["test"] for one in kept]), "seconds": sum(one["seconds"] for one in kept)}
        longer = run.each(lambda seed, arm=arm: learn(arm, chosen[arm], seed, times=LONGER)["test"], run.seeds)
        rows.append(row | {"longer": spread(longer)})
    for epochs in LENGTHS[:-1]:
        found = [learn("fine-tuned", chosen["fine-tuned"], seed, epochs)["test"] for seed in run.seeds]
        rows.append({"name": f"fine-tuned after {epochs}", "accuracy": spread(found)})
    print(f"chosen with seed {first}: {chosen}", flush=True)
    return rows


def classify(run: Run, photographs: Photographs, mae: MAE, recipe: TrainConfig, seed: int) -> dict:
    """Train a classifier from the encoder of `mae` with the tenth's labels: accuracy on two splits."""
    begin, data = run.clock(), photographs.data

    def build() -> nn.Module:
        return mae.classifier(len(data.class_names), pool="mean")

    model, _ = run.train(build, data, recipe, seed, train=photographs.tenth, measure=nothing)
    seconds = run.clock() - begin
    val, test = (evaluate(model, split, data).accuracy for split in (data.val, data.test))
    print(f"rate {recipe.lr:g} seed {seed} ×{recipe.epochs}: {val:.3f}, {test:.3f}, {seconds:.0f} s", flush=True)
    return {"val": val, "test": test, "seconds": seconds}


def probing(run: Run, photographs: Photographs, painters: dict[tuple[int, int], MAE]) -> list[dict]:
    """Rows: linear probes with the tenth's labels, of encoders that have painted, of untrained ones and of pixels."""
    data, tenth = photographs.data, photographs.tenth
    splits = {"train": tenth, "val": data.val, "test": data.test}

    @torch.no_grad()
    def vectors(mae: MAE) -> dict[str, Tensor]:
        model = mae.classifier(len(data.class_names), pool="mean").to(run.device).eval()
        return {name: torch.cat([model.represent(x).cpu() for x in pixels(split)]) for name, split in splits.items()}

    def pixels(split: Split) -> list[Tensor]:
        return [normalise(part.to(run.device), data.mean, data.std) for part in split.images.split(250)]

    def probed(of: dict[str, Tensor]) -> float:
        def accuracy(split: str, penalty: float) -> float:
            return linear_probe(of["train"], tenth.labels, of[split], splits[split].labels, penalty)

        return accuracy("test", max(PENALTIES, key=lambda penalty: accuracy("val", penalty)))

    arms = {f"probe after {epochs}": [painters[epochs, seed] for seed in run.seeds] for epochs in LENGTHS}
    arms["probe, untrained"] = [untrained(run, seed) for seed in run.seeds]
    rows = [{"name": name, "probed": spread([probed(vectors(mae)) for mae in maes])} for name, maes in arms.items()]
    flat = {name: torch.cat([x.flatten(1).cpu() for x in pixels(split)]) for name, split in splits.items()}
    return [*rows, {"name": "probe, pixels", "probed": spread([probed(flat)])}]


if __name__ == "__main__":
    main()
