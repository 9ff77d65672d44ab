"""Training a model from its first epoch to its last, and measuring it."""

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitedu.data import Dataset, Split, normalise
from vitedu.device import amp_dtype, autocast, pick_device
from vitedu.train.checkpoint import STATE_FILE, read_state
from vitedu.train.config import TrainConfig
from vitedu.train.distributed import all_reduce, local_shard, rank, world_size
from vitedu.train.feed import near
from vitedu.train.identity import about_run, changed_settings
from vitedu.train.loop import AfterStep, TrainingDiverged, TrainingLoop
from vitedu.train.loss import Loss
from vitedu.train.progress import Progress

Measure = Callable[[nn.Module, Split, Dataset], dict[str, float]]


@dataclass(frozen=True)
class Evaluation:
    """What a model makes of a split: mean cross-entropy in nats, share right, and the scores (N, K) behind both."""

    loss: float
    accuracy: float
    logits: Tensor


@torch.no_grad()
def evaluate(model: nn.Module, split: Split, data: Dataset, batch_size: int = 500) -> Evaluation:
    """Run `model` over a split of `data` in evaluation mode, without augmentation; its mode is restored afterwards."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    with autocast(device, amp_dtype(device, getattr(model, "width", 0))):
        # one batch of floats at a time: a split may be larger than memory
        batches = (normalise(images.to(device), data.mean, data.std) for images in split.images.split(batch_size))
        logits = torch.cat([model(images).float().cpu() for images in batches])  # (N, K)
    model.train(was_training)
    labels = split.labels.cpu()
    return Evaluation(
        F.cross_entropy(logits, labels).item(), (logits.argmax(1) == labels).float().mean().item(), logits
    )


def evaluate_shared(model: nn.Module, split: Split, data: Dataset) -> dict[str, float]:
    """Mean cross-entropy in nats, "loss", and share right, "accuracy"; each process runs its part of the split."""
    if world_size() == 1:
        result = evaluate(model, split, data)
        return {"loss": result.loss, "accuracy": result.accuracy}
    mine = Split(local_shard(split.images), local_shard(split.labels))
    count, sums = len(mine), torch.zeros(3, device=next(model.parameters()).device)
    if count:  # of few images some processes have none: sums are added, not means
        result = evaluate(model, mine, data)
        sums += torch.tensor([result.loss * count, result.accuracy * count, count], device=sums.device)
    all_reduce(sums)
    return {"loss": (sums[0] / sums[2]).item(), "accuracy": (sums[1] / sums[2]).item()}


def fit(
    model: nn.Module,
    data: Dataset,
    config: TrainConfig,
    train: Split | None = None,
    validate: Split | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    device: torch.device | None = None,
    shown: bool = True,
    loss: Loss | None = None,
    measure: Measure = evaluate_shared,
    after_step: AfterStep | None = None,
) -> list[dict]:
    """Train `model` in place and return its history, one record per epoch.

    With a moving average (`config.ema`) its weights are what is evaluated, and what the model has at the end; with
    `config.keep` "best", those of the epoch that did best on the validation images.

    Args:
        data: gives mean, std and, by default, the splits.
        train: images to learn from; `data.train` if None.
        validate: images to evaluate on after each epoch; `data.val` if None.
        out: folder for a checkpoint after each epoch; None keeps nothing.
        resume: continue from the checkpoint in `out`. The result equals that of an uninterrupted run, bit by bit; a
            recipe that has changed is warned of.
        device: where to train; the GPU if there is one. The images move there, if they do not lie in a file that is
            too large for it.
        shown: whether to print a line per epoch (the first of several processes does).
        loss: what to make small, see `vitedu.train.loss`; None classifies, with the recipe's label smoothing.
        measure: what to note after each epoch, (model, split, data) -> numbers by name.
        after_step: called after each step with the model and the share of all steps that are done, for what moves with
            training but not by its gradient. What it keeps has to be in the model's state, or a resumed run lacks it.

    Returns:
        [{"epoch": 1, "train_loss", "loss", "accuracy", "lr", "waiting", "seconds"}, ...]; losses in nats, accuracy as a
        share, and so is what the epoch waited for its data of the time it took. Another `measure` puts its own numbers
        in the place of "loss" and "accuracy".

    Raises:
        ValueError: `resume` without `out`; `out` holds a run and `resume` is not asked for; too few images.
        CheckpointError: nothing to resume, it is damaged, or it is a run on other data or of another model.
        TrainingDiverged: a loss is no finite number; what was saved before stays.
    """
    if resume and out is None:
        raise ValueError("resume needs out, the folder that holds the checkpoint")
    if out is not None and not resume and (Path(out) / STATE_FILE).exists():
        raise ValueError(f"{out} holds a run already; continue it with resume=True, or choose another out")
    device = device or pick_device()
    model.to(device)
    train = near(data.train if train is None else train, device)
    validate = data.val if validate is None else validate
    if not len(validate):
        raise ValueError("0 images to evaluate on; give validate at least one")
    loop = TrainingLoop(model, data, config, len(train), device, loss, after_step)
    about = about_run(data, config, len(train)) if out is not None else {}
    history = loop.restore(out, about) if resume else []
    if resume and (changes := changed_settings(read_state(out).get("about", {}), about)):
        warnings.warn(f"the run goes on with another recipe: {', '.join(changes)}", stacklevel=2)
    progress = Progress(config.epochs, shown and rank() == 0)
    start = time.perf_counter() - (history[-1]["seconds"] if history else 0)
    for epoch in range(len(history) + 1, config.epochs + 1):
        try:
            train_loss = loop.epoch(train, epoch, progress)
            found = finite(measure(loop.eval_model, validate, data), epoch)
        except TrainingDiverged as error:
            raise TrainingDiverged(f"{error}; {advice(config, out, history)}") from None
        seconds = time.perf_counter() - start
        about_epoch = {"epoch": epoch, "train_loss": train_loss, **found, "lr": loop.lr}
        history.append(about_epoch | {"waiting": loop.waiting, "seconds": seconds})
        progress.epoch(history[-1])
        if loop.best is not None and best_epoch(history) == epoch:
            loop.best.load_state_dict(loop.eval_model.state_dict())
        if out is not None:
            loop.save(out, history, about)
    if loop.best is not None:
        progress.say(
            f"kept: epoch {best_epoch(history)}, the best on the validation images, which therefore flatter it"
        )
        model.load_state_dict(loop.best.state_dict())
    elif loop.average:
        model.load_state_dict(loop.eval_model.state_dict())
    return history


def best_epoch(history: list[dict]) -> int:
    """The epoch of the highest validation accuracy, of equals that of the lowest loss; without either, the last."""
    keys = [(record.get("accuracy", 0.0), -record.get("loss", 0.0), record["epoch"]) for record in history]
    return max(keys)[-1]


def finite(found: dict[str, float], epoch: int) -> dict[str, float]:
    """What was measured, if all of it is finite; else TrainingDiverged."""
    for name, value in found.items():
        if not math.isfinite(value):
            raise TrainingDiverged(f"epoch {epoch}, after its last step: the validation {name} is {value}")
    return found


def advice(config: TrainConfig, out: str | Path | None, history: list[dict]) -> str:
    """Where the last good weights are, and what makes a loss diverge."""
    kept = (
        f"the last good checkpoint is that of epoch {len(history)} in {out}" if out and history else "nothing was saved"
    )
    return (
        f"{kept}. Usual causes: a learning rate that is too high (lr is {config.lr:g}, try a tenth), a short warm-up "
        f"(warmup is {config.warmup:g}), or no limit to the gradient (clip_norm is {config.clip_norm:g})"
    )
