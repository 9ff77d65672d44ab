"""One training loop for every model of the book, and a command line for it.

python -m vitedu.train --data fashion-mnist --preset tiny --epochs 3 --out runs/a
python -m vitedu.train --resume runs/a
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitedu.augment import Augment, normalise
from vitedu.checkpoint import load_checkpoint, save_checkpoint
from vitedu.data import Dataset, Split
from vitedu.device import amp_dtype, autocast, pick_device
from vitedu.optim import adamw, learning_rate
from vitedu.progress import Progress


@dataclass(frozen=True)
class TrainConfig:
    """A recipe. Rates are per optimiser step, probabilities in [0, 1]; `ValueError` for numbers that make no sense."""

    epochs: int = 10
    batch_size: int = 128
    lr: float = 1e-3  # the highest rate of the schedule
    weight_decay: float = 0.05
    warmup: float = 0.1  # share of the steps over which the rate rises
    label_smoothing: float = 0.1
    clip_norm: float = 1.0  # longest gradient over all parameters; 0 leaves it alone
    augment: Augment = field(default_factory=Augment)
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it has to be at least 1")
        for name in ("warmup", "label_smoothing"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name)} is outside [0, 1]; it is a share")
        if self.lr <= 0:
            raise ValueError(f"lr is {self.lr}; it has to be above 0")


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
    with autocast(device, amp_dtype(device, width_of(model))):
        batches = [normalise(images.to(device), data.mean, data.std) for images in split.images.split(batch_size)]
        logits = torch.cat([model(images).float().cpu() for images in batches])  # (N, K)
    model.train(was_training)
    labels = split.labels.cpu()
    return Evaluation(
        F.cross_entropy(logits, labels).item(), (logits.argmax(1) == labels).float().mean().item(), logits
    )


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
) -> list[dict]:
    """Train `model` in place and return its history, one record per epoch.

    Args:
        data: gives mean, std and, by default, the splits.
        train: images to learn from; `data.train` if None.
        validate: images to evaluate on after each epoch; `data.val` if None.
        out: folder for a checkpoint after each epoch; None keeps nothing.
        resume: continue from the checkpoint in `out`. The result equals that of an uninterrupted run, bit by bit.
        device: where to train; the GPU if there is one.
        shown: whether to print a line per epoch.

    Returns:
        [{"epoch": 1, "train_loss", "loss", "accuracy", "lr", "seconds"}, ...]; losses in nats, accuracy as a share.

    Raises:
        ValueError: `resume` without `out`.
        CheckpointError: nothing to resume, or it is damaged.
    """
    if resume and out is None:
        raise ValueError("resume needs out, the folder that holds the checkpoint")
    device = device or pick_device()
    model.to(device)
    train = (data.train if train is None else train).to(device)
    validate = data.val if validate is None else validate
    loop = TrainingLoop(model, data, config, len(train.labels), device)
    history = loop.restore(out) if resume else []
    progress = Progress(config.epochs, shown)
    start = time.perf_counter() - (history[-1]["seconds"] if history else 0)
    for epoch in range(len(history) + 1, config.epochs + 1):
        train_loss = loop.epoch(train, epoch, progress)
        result = evaluate(model, validate, data)
        history.append(
            {
                "epoch": epoch,
                "train_loss": train_loss,
                "loss": result.loss,
                "accuracy": result.accuracy,
                "lr": loop.lr,
                "seconds": time.perf_counter() - start,
            }
        )
        progress.epoch(history[-1])
        if out is not None:
            loop.save(out, history)
    return history


class TrainingLoop:
    """What one epoch does, and the optimiser it does it with; `fit` drives it.

    Between epochs it keeps nothing but the state of the optimiser and of the loss scaler, so a checkpoint of the model
    and those two is enough to go on.
    """

    def __init__(self, model: nn.Module, data: Dataset, config: TrainConfig, num_images: int, device: torch.device):
        self.model, self.data, self.config, self.device = model, data, config, device
        self.optimizer = adamw(model, config.lr, config.weight_decay)
        self.dtype = amp_dtype(device, width_of(model))
        # float16 has so few small numbers that gradients vanish in it: scale the loss up, and the gradients down again
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype == torch.float16)
        self.steps_per_epoch = -(-num_images // config.batch_size)
        self.total_steps = config.epochs * self.steps_per_epoch
        self.lr = 0.0

    def epoch(self, train: Split, number: int, progress: Progress) -> float:
        """Show the model every image once, in a random order; returns the mean training loss in nats."""
        self.model.train()
        total = torch.zeros((), device=self.device)  # stays on the device: reading it after each step would stall a GPU
        with seeded(self.config.seed, number, self.device):
            order = torch.randperm(len(train.labels)).to(train.labels.device)
            batches = progress.batches(order.split(self.config.batch_size), self.steps_per_epoch, number)
            for index, chosen in enumerate(batches):
                self.set_learning_rate((number - 1) * self.steps_per_epoch + index)
                total += self.step(train.images[chosen], train.labels[chosen]) * len(chosen)
        return total.item() / len(train.labels)

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """One update from bytes (B, C, H, W) and labels (B,); returns the loss, a scalar on the device."""
        images = self.config.augment(normalise(images, self.data.mean, self.data.std))
        with autocast(self.device, self.dtype):
            loss = F.cross_entropy(self.model(images), labels, label_smoothing=self.config.label_smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        if self.config.clip_norm:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.detach()

    def set_learning_rate(self, step: int) -> None:
        """Give every parameter group the schedule's rate for this step."""
        warmup_steps = round(self.config.warmup * self.total_steps)
        self.lr = learning_rate(step, self.total_steps, warmup_steps, self.config.lr)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr

    def save(self, out: str | Path, history: list[dict]) -> None:
        """Write a checkpoint after the last epoch of `history`."""
        state = {"epoch": len(history), "scaler": self.scaler.state_dict(), "history": history}
        save_checkpoint(out, self.model, self.optimizer, state)

    def restore(self, out: str | Path) -> list[dict]:
        """Go back to the checkpoint in `out`; returns the history up to it."""
        state = load_checkpoint(out, self.model, self.optimizer)
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        return state["history"]


def width_of(model: nn.Module) -> int:
    """The width D of a model with a config, 0 of any other."""
    return getattr(getattr(model, "config", None), "dim", 0)


@contextmanager
def seeded(seed: int, epoch: int, device: torch.device) -> Iterator[None]:
    """Random numbers that depend on (seed, epoch) alone, so that a resumed epoch draws what it would have drawn.

    The generators that were there before are put back afterwards.
    """
    with torch.random.fork_rng([device] if device.type == "cuda" else [], device_type="cuda"):
        torch.manual_seed(seed * 1_000_003 + epoch)
        yield


if __name__ == "__main__":
    from vitedu.cli import main

    raise SystemExit(main())
