"""What painting in removed patches teaches: a small MAE on photographs, then a tenth of the labels (5 min).

The MAE learns on the training photographs of Imagenette, scaled to 64 × 64 pixels, without labels. First, how far what
it paints is from what was removed, beside two ways to fill holes that have learned nothing: the mean of the visible
pixels, and bilinear interpolation. Then with the labels of every tenth photograph: the same ViT trained from scratch,
fine-tuned from the MAE's encoder, and a linear probe of the frozen encoder, beside probes of an untrained one and of
the pixels.

1. Has it converged? No, at five epochs, where the paper has 800 and more. `longer` are scratch and fine-tuning of the
   first seed over three times the steps.
2. Tuned alike? Scratch and fine-tuning have each their own rate, chosen on validation photographs with the first seed.
   The MAE's own was not tuned, which can only make fine-tuning worse than it could be.
3. One difference? Scratch and fine-tuning differ in the first weights alone. Fine-tuning has had more computing before.
4. Can it show it? `probe` beside `probe, untrained` and `probe, pixels` shows whether the encoder has learned anything
   of use.
5. Would a practitioner recognise it? In the paper an encoder that has painted beats one from scratch on ImageNet, after
   hundreds of times these steps, and more under fine-tuning than under a linear probe.
"""

from dataclasses import replace

import torch
from _rates import tuned, val_by_rate
from _record import load, nothing, or_smoke, spread, start
from torch import Tensor, nn

from vitedu.data import Split, normalise
from vitedu.inspection.probe import linear_probe
from vitedu.models.mae import MAE, MAEConfig
from vitedu.models.pixels import bilinear_fill, mean_fill, to_images
from vitedu.train import TrainConfig, evaluate
from vitedu.train.pretext import masked_patches

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
EPOCHS, FINE, LONGER = or_smoke((5, 8, 3), (1, 1, 2))
MAE_RATE = 3e-3
LADDER = (5e-4, 1e-3, 2e-3, 4e-3)
RECIPE = TrainConfig(batch_size=or_smoke(64, 10))
STRENGTH = 100.0  # of the probes' penalty


def main() -> None:
    run = start(__doc__)
    data = load("imagenette", image_size=SIDE)
    loss = masked_patches()
    tenth = Split(data.train.images[::10], data.train.labels[::10])

    def pretrain(seed: int) -> MAE:
        recipe = replace(RECIPE, epochs=EPOCHS, lr=MAE_RATE)
        return run.train(lambda: MAE(CONFIG), data, recipe, seed, loss=loss, measure=nothing)[0]

    begin = run.clock()
    encoders = {seed: pretrain(seed) for seed in run.seeds}
    pretraining = run.clock() - begin
    print(f"pre-trained in {pretraining:.0f} s", flush=True)

    def untrained(seed: int) -> MAE:
        torch.manual_seed(seed)
        return MAE(CONFIG).to(run.device)

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

    @torch.no_grad()
    def vectors(model: nn.Module, split: Split) -> Tensor:
        batches = (normalise(part.to(run.device), data.mean, data.std) for part in split.images.split(250))
        return torch.cat([model.represent(images).cpu() for images in batches])

    def learn(case: str, rate: float, seed: int, epochs: int = FINE) -> dict:
        begin, mae = run.clock(), encoders[seed] if case == "fine-tuned" else untrained(seed)
        recipe = replace(RECIPE, epochs=epochs, lr=rate)
        build = lambda: mae.classifier(len(data.class_names), pool="mean")  # noqa: E731
        model, _ = run.train(build, data, recipe, seed, train=tenth, measure=nothing)
        seconds = run.clock() - begin
        val, test = (evaluate(model, split, data).accuracy for split in (data.val, data.test))
        print(f"{case:12} rate {rate:g} seed {seed} ×{epochs}: {test:.3f}, {seconds:.0f} s", flush=True)
        return {"val": val, "test": test, "seconds": seconds}

    def probed(model: nn.Module) -> float:
        return linear_probe(vectors(model, tenth), tenth.labels, vectors(model, data.test), data.test.labels, STRENGTH)

    images = normalise(data.test.images[:500].to(run.device), data.mean, data.std)
    errors = [painted(encoders[seed], images) for seed in run.seeds]
    rows = [{"name": f"painted: {kind}", "error": spread([one[kind] for one in errors])} for kind in errors[0]]
    runs, chosen = tuned(run, learn, ("scratch", "fine-tuned"), LADDER)
    for arm in ("scratch", "fine-tuned"):
        kept = runs[arm][chosen[arm]]
        row = {"name": arm, "rate": chosen[arm], "val_by_rate": val_by_rate(runs[arm])}
        row |= {"accuracy": spread([one["test"] for one in kept]), "seconds": sum(one["seconds"] for one in kept)}
        rows.append(row | {"longer": learn(arm, chosen[arm], run.seeds[0], FINE * LONGER)["test"]})
    pool = {"pool": "mean"}
    probes = {
        "probe": [probed(encoders[seed].classifier(10, **pool).to(run.device).eval()) for seed in run.seeds],
        "probe, untrained": [
            probed(untrained(seed).classifier(10, **pool).to(run.device).eval()) for seed in run.seeds
        ],
    }
    rows += [{"name": name, "probed": spread(values)} for name, values in probes.items()]
    flat = [normalise(split.images, data.mean, data.std).flatten(1) for split in (tenth, data.test)]
    rows.append(
        {
            "name": "probe, pixels",
            "probed": spread([linear_probe(flat[0], tenth.labels, flat[1], data.test.labels, STRENGTH)]),
        }
    )
    rows.append({"name": "MAE", "epochs": EPOCHS, "fine": FINE, "rate": MAE_RATE, "seconds": pretraining})
    about = "A small MAE on photographs: what it paints, and what its encoder is worth with a tenth of the labels"
    run.record(about, [data.describe()], rows)


if __name__ == "__main__":
    main()
