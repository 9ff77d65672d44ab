"""A convolutional teacher for a small ViT: DeiT's hard distillation on CIFAR-10 (about 35 min on one core).

The teacher is a ResNet, trained first and well above its students. The students are small DeiTs, in three arms of
equal epochs: a plain ViT that learns the labels; the same with a distillation token that learns the teacher's answers;
and, as the control, the same with a second token that learns the labels once more. What is looked at: the accuracy of
each head, and on how many test pictures its answer differs from the teacher's (DeiT's table 4). `longer` is the first
seed for four times the epochs; it has no row yet.

The five questions. *Converged?* No: four epochs, after which the students are right on half of the pictures. What more
of them would bring is not recorded. *Tuned alike?* A rate for each arm, chosen on validation pictures, with a worse one
on either side. *One difference?* From arm to arm the second token, and what it learns. *Can it show?* The teacher is
right on 81 % of the test pictures, far more than its students: there is something to hand on. *Recognisable?* DeiT's
gain of one to two points was measured after 300 epochs of ImageNet. A null result here is none about that.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from _rates import tuned, val_by_rate
from _record import Run, load, multiply_adds, nothing, or_smoke, per_cent, spread, start
from torch import Tensor, nn

from vitedu.cost import count_parameters
from vitedu.data import Dataset, Split, normalise
from vitedu.models.cnn import CNNConfig, ResNet
from vitedu.models.deit import DistilledViT
from vitedu.train import TrainConfig, evaluate, fit
from vitedu.train.augment import Augment
from vitedu.train.distill import distillation
from vitedu.vit import ViT, preset

DEIT = preset("tiny", image_size=32, num_classes=10, patch_size=8, position_std=0.02)
TEACHER = CNNConfig(widths=(24, 48, 96), stem_stride=2)
ARMS: dict[str, Callable[[], nn.Module]] = {
    "labels": lambda: ViT(DEIT),
    "teacher": lambda: DistilledViT(DEIT),
    "labels twice": lambda: DistilledViT(DEIT),
}
AUGMENT = Augment(crop=4, flip=True)
EPOCHS, LONGER, TAUGHT = or_smoke((4, 16, 14), (1, 1, 1))  # of the students, of the longer ones, of the teacher
RATES = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3)
STUDENT = TrainConfig(epochs=EPOCHS, batch_size=125, augment=AUGMENT)
OF_TEACHER = TrainConfig(epochs=TAUGHT, batch_size=125, lr=8e-3, channels_last=True, augment=AUGMENT)
SMOOTH = STUDENT.label_smoothing  # of what is learned from labels, as in DeiT; the teacher's answers are left alone
HEADS = ("cls", "dist", "both")


@torch.no_grad()
def answers(model: nn.Module, split: Split, data: Dataset) -> dict[str, Tensor]:
    """The class that each head names for each picture, (N,) each; a plain ViT has one head for all three."""
    model.eval()
    scores = {head: [] for head in HEADS}
    for images in split.images.split(500):
        x = normalise(images, data.mean, data.std)
        cls, dist = model.both(x) if hasattr(model, "both") else (model(x),) * 2
        for head, of_head in zip(HEADS, (cls, dist, (cls + dist) / 2), strict=True):
            scores[head].append(of_head.argmax(1))
    return {head: torch.cat(parts) for head, parts in scores.items()}


def student(run: Run, data: Dataset, teacher: nn.Module, named: Tensor, arm: str, rate: float, seed: int, epochs: int):
    """One student after training: accuracies of its heads, and how often they differ from what the teacher `named`."""
    torch.manual_seed(seed)
    model, began = ARMS[arm](), run.clock()
    loss = {
        "labels": None,
        "teacher": distillation(teacher, label_smoothing=SMOOTH),
        "labels twice": distillation(None, label_smoothing=SMOOTH),
    }[arm]
    recipe = replace(STUDENT, epochs=epochs, lr=rate, seed=seed)
    fit(model, data, recipe, device=run.device, shown=False, loss=loss, measure=nothing)
    found = {"cpu_seconds": run.clock() - began}
    model.cpu()
    found["val"] = evaluate(model, data.val, data).accuracy
    said = answers(model, data.test, data)
    found |= {head: (said[head] == data.test.labels).float().mean().item() for head in HEADS}
    found |= {f"differs {head}": (said[head] != named).float().mean().item() for head in HEADS}
    print(
        f"{arm}, {epochs} epochs, rate {rate:g}, seed {seed}: { ({k: round(v, 4) for k, v in found.items()}) }",
        flush=True,
    )
    return found


def row(part: str, arm: str, epochs: int, found: list[dict]) -> dict:
    """The runs of an arm."""
    over = {key: spread([one[key] for one in found]) for key in found[0]}
    differs = {head: over.pop(f"differs {head}") for head in HEADS}
    size = {"parameters": count_parameters(ARMS[arm]()), "macs": multiply_adds(ARMS[arm]().eval(), 32)}
    return {"part": part, "arm": arm, "epochs": epochs, **size, **over, "differs": differs}


def main() -> None:
    run, data = start(__doc__), load("cifar10")
    began = run.clock()
    torch.manual_seed(0)
    teacher = ResNet(TEACHER)
    fit(teacher, data, OF_TEACHER, device=run.device, shown=False, measure=nothing)
    seconds = run.clock() - began
    teacher.cpu().eval()
    named = evaluate(teacher, data.test, data).logits.argmax(1)
    knows = {part: spread([evaluate(teacher, getattr(data, part), data).accuracy]) for part in ("val", "train")}
    knows["accuracy"] = spread([(named == data.test.labels).float().mean().item()])
    size = {"parameters": count_parameters(teacher), "macs": multiply_adds(teacher, 32)}
    rows = [{"part": "teacher", "arm": "the teacher", "epochs": TAUGHT, **size, "cpu_seconds": seconds, **knows}]
    print("teacher", {part: per_cent(found) for part, found in knows.items()}, flush=True)

    def train(arm: str, rate: float, seed: int, epochs: int = EPOCHS) -> dict:
        return student(run, data, teacher, named, arm, rate, seed, epochs)

    runs, rates = tuned(run, train, list(ARMS), RATES)
    tried = {arm: {"rate": rates[arm], "val_accuracy_by_rate": val_by_rate(runs[arm])} for arm in ARMS}
    rows += [row("students", arm, EPOCHS, runs[arm][rates[arm]]) | tried[arm] for arm in ARMS]
    about = "accuracy on CIFAR-10 of small DeiTs with and without a teacher, and how often they differ from it"
    first = run.seeds[0]
    for arm in ("labels", "teacher"):
        run.record(about, [data.describe()], rows)  # what there is, should time run out
        rows.append(row("longer", arm, LONGER, [train(arm, rates[arm], first, LONGER)]) | tried[arm])
    run.record(about, [data.describe()], rows)


if __name__ == "__main__":
    main()
