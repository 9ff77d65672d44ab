"""What one epoch does with a recipe.

Label smoothing: Szegedy et al. 2015, arXiv:1512.00567. Clipping by the norm: Pascanu et al. 2012, arXiv:1211.5063.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitedu.block import Encoder
from vitedu.data import Dataset, Split, normalise
from vitedu.device import amp_dtype, autocast
from vitedu.train.checkpoint import load_checkpoint, save_checkpoint
from vitedu.train.config import TrainConfig
from vitedu.train.distributed import local_gradient, rank, share, together, total, world
from vitedu.train.mix import mixer
from vitedu.train.optim import adamw, averaged, learning_rate, sgd
from vitedu.train.progress import Progress


class TrainingLoop:
    """What one epoch does, and the optimiser it does it with; `fit` drives it.

    Between epochs it keeps nothing but the state of the optimiser and of the loss scaler, and the averaged weights if
    there are any, so a checkpoint of the model and those is enough to go on.
    """

    def __init__(self, model: nn.Module, data: Dataset, config: TrainConfig, num_images: int, device: torch.device):
        self.model, self.data, self.config, self.device = model, data, config, device
        if config.recompute:
            encoder_of(model).recompute = True
        self.network = together(model)
        self.optimizer = self.build_optimizer()
        self.average = averaged(model, config.ema) if config.ema else None
        self.mix = mixer(config.mixup, config.cutmix, len(data.class_names))
        self.dtype = amp_dtype(device, width_of(model))
        # float16 has so few small numbers that gradients vanish in it: scale the loss up, and the gradients down again
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype == torch.float16)
        # Processes see equal shares of each batch; up to `world() - 1` images sit out an epoch for that.
        self.num_images, self.batch_size = num_images - num_images % world(), config.batch_size * world()
        self.steps_per_epoch = -(-self.num_images // self.batch_size)
        self.total_steps = config.epochs * self.steps_per_epoch
        self.lr = 0.0

    def build_optimizer(self) -> torch.optim.Optimizer:
        """The one that the recipe names."""
        c = self.config
        if c.optimizer == "sgd":
            return sgd(self.model, c.lr, c.weight_decay, c.momentum)
        return adamw(self.model, c.lr, c.weight_decay)

    @property
    def kept(self) -> nn.Module:
        """The model whose weights count: their moving average, if the recipe has one."""
        return self.average.module if self.average else self.model

    def epoch(self, train: Split, number: int, progress: Progress) -> float:
        """Show the model every image once, in a random order; returns the mean training loss in nats."""
        self.model.train()
        loss = torch.zeros((), device=self.device)  # stays on the device: reading it after each step would stall a GPU
        with seeded(self.config.seed, number, self.device):
            order = torch.randperm(len(train.labels)).to(train.labels.device)[: self.num_images]
            if rank():  # the same order everywhere, but crops of one's own
                torch.manual_seed(stream(self.config.seed, number, rank()))
            batches = progress.batches(order.split(self.batch_size), self.steps_per_epoch, number)
            for index, chosen in enumerate(batches):
                mine = share(chosen)
                self.set_learning_rate((number - 1) * self.steps_per_epoch + index)
                loss += self.step(train.images[mine], train.labels[mine]) * len(mine)
        return total(loss).item() / self.num_images

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """One update from bytes (B, C, H, W) and labels (B,); returns the loss, a scalar on the device."""
        images, targets = self.mix(self.config.augment(normalise(images, self.data.mean, self.data.std)), labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.backward(images, targets)
        if self.config.clip_norm:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average:
            self.average.update_parameters(self.model)
        return loss

    def backward(self, images: Tensor, targets: Tensor) -> Tensor:
        """Add up the gradient of the mean loss over the batch, in parts; returns that loss, a scalar on the device."""
        parts = list(zip(images.chunk(self.config.accumulate), targets.chunk(self.config.accumulate), strict=True))
        loss = torch.zeros((), device=self.device)
        for number, (some, wanted) in enumerate(parts, start=1):
            with local_gradient(self.network, number < len(parts)):
                with autocast(self.device, self.dtype):
                    mean = F.cross_entropy(self.network(some), wanted, label_smoothing=self.config.label_smoothing)
                part = mean * (len(some) / len(images))  # a mean of means would overrate a smaller last part
                self.scaler.scale(part).backward()
            loss += part.detach()
        return loss

    def set_learning_rate(self, step: int) -> None:
        """Give every parameter group the schedule's rate for this step."""
        warmup_steps = round(self.config.warmup * self.total_steps)
        self.lr = learning_rate(step, self.total_steps, warmup_steps, self.config.lr, self.config.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr

    def save(self, out: str | Path, history: list[dict]) -> None:
        """Write a checkpoint after the last epoch of `history`."""
        state = {"epoch": len(history), "scaler": self.scaler.state_dict(), "history": history}
        if rank() == 0:
            save_checkpoint(out, self.model, self.optimizer, state, self.average)

    def restore(self, out: str | Path) -> list[dict]:
        """Go back to the checkpoint in `out`; returns the history up to it."""
        state = load_checkpoint(out, self.model, self.optimizer, self.average)
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        return state["history"]


def encoder_of(model: nn.Module) -> Encoder:
    """The encoder, whose blocks can be computed again. ValueError for a model without one."""
    encoder = getattr(model, "encoder", None)
    if not isinstance(encoder, Encoder):
        raise ValueError(f"{type(model).__name__} has no encoder whose blocks could be computed again; drop recompute")
    return encoder


def width_of(model: nn.Module) -> int:
    """The width D of a model with a config, 0 of any other."""
    return getattr(getattr(model, "config", None), "dim", 0)


@contextmanager
def seeded(seed: int, epoch: int, device: torch.device) -> Iterator[None]:
    """Random numbers that depend on (seed, epoch) alone, so that a resumed epoch draws what it would have drawn.

    The generators that were there before are put back afterwards.
    """
    with torch.random.fork_rng([device] if device.type == "cuda" else [], device_type="cuda"):
        torch.manual_seed(stream(seed, epoch))
        yield


def stream(seed: int, epoch: int, process: int = 0) -> int:
    """The seed of one epoch's random numbers in one of several processes."""
    return seed * 1_000_003 + epoch + (process << 32)
