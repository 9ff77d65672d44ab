"""What one epoch does with a recipe.

A model may tell two things about itself: its `width`, on which the precision that pays depends, and its `stages`, whose
blocks can be computed again in the backward pass.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from vitedu.block import Stack
from vitedu.data import Dataset, Split, normalise
from vitedu.device import amp_dtype, autocast
from vitedu.files import CheckpointError
from vitedu.train.checkpoint import load_checkpoint, read_state, save_checkpoint
from vitedu.train.config import TrainConfig
from vitedu.train.distributed import all_reduce, data_parallel, local_shard, no_sync, rank, stages_of, world_size
from vitedu.train.feed import feed_of
from vitedu.train.identity import what_changed
from vitedu.train.loss import Loss, classification
from vitedu.train.mix import mixer
from vitedu.train.optim import OPTIMIZERS, Average, learning_rate
from vitedu.train.progress import Progress

# Called after each step of the optimisers with the model and the share of all steps that are done, above 0 and up to 1.
AfterStep = Callable[[nn.Module, float], object]


class TrainingDiverged(RuntimeError):
    """The loss is no finite number any more."""


class TrainingLoop:
    """What one epoch does, and the optimisers it does it with; `fit` drives it. A step never waits for a GPU.

    Between epochs it keeps nothing but the state of the optimisers and of the loss scaler, and the averaged weights if
    there are any, so a checkpoint of the model and those is enough to go on.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Dataset,
        config: TrainConfig,
        num_images: int,
        device: torch.device,
        loss: Loss | None = None,
        after_step: AfterStep | None = None,
    ):
        self.model, self.data, self.config, self.device, self.after_step = model, data, config, device, after_step
        self.loss = loss or classification(config.label_smoothing)
        if num_images < world_size():
            raise ValueError(f"{num_images} training images for {world_size()} processes; each needs at least one")
        self.recomputed = stages_of(model) if config.recompute else []
        if config.channels_last:
            model.to(memory_format=torch.channels_last)
        self.network = data_parallel(model)
        if config.compile:
            self.network = torch.compile(self.network)
        self.mean, self.std = data.mean.to(device), data.std.to(device)  # a copy in each step would wait for a GPU
        self.optimizers = OPTIMIZERS[config.optimizer](model, config)
        self.average = Average(model, config.ema) if config.ema else None
        self.best = copy.deepcopy(model) if config.keep == "best" else None
        self.mix = mixer(config.mixup, config.cutmix, len(data.class_names))
        self.dtype = amp_dtype(device, getattr(model, "width", 0))
        # float16 has so few small numbers that gradients vanish in it: scale the loss up, and the gradients down again
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype == torch.float16)
        # Processes see equal shares of each batch; up to `world_size() - 1` images sit out an epoch for that.
        self.num_images, self.batch_size = num_images - num_images % world_size(), config.batch_size * world_size()
        self.steps_per_epoch = -(-self.num_images // self.batch_size)
        self.total_steps = config.epochs * self.steps_per_epoch
        self.lr = self.waiting = 0.0  # of the last epoch: its last rate, and which share of its time it waited for data

    @property
    def eval_model(self) -> nn.Module:
        """The model whose weights count: their moving average, if the recipe has one."""
        return self.average.module if self.average else self.model

    def epoch(self, train: Split, number: int, progress: Progress) -> float:
        """Show the model every image once, in a random order; returns the mean training loss in nats.

        The images may lie on another device than the model. Which share of the time was spent waiting for them is in
        `waiting` afterwards. TrainingDiverged, with the step, if a loss was not finite.
        """
        self.model.train()
        began, feed = time.perf_counter(), feed_of(train, self.device)
        loss, losses = torch.zeros((), device=self.device), []  # on the device: reading each step's would stall a GPU
        with seeded(self.config.seed, number, self.device):
            order = torch.randperm(len(train.labels)).to(train.labels.device)[: self.num_images]
            if rank():  # the same order everywhere, but crops of one's own
                torch.manual_seed(epoch_seed(self.config.seed, number, rank()))
            batches = feed.batches(map(local_shard, order.split(self.batch_size)))
            for index, (images, labels) in enumerate(progress.batches(batches, self.steps_per_epoch, number)):
                done = (number - 1) * self.steps_per_epoch + index
                self.set_learning_rate(done)
                losses.append(self.step(images, labels))
                loss += losses[-1] * len(labels)
                if self.after_step:
                    self.after_step(self.model, (done + 1) / self.total_steps)
        mean = all_reduce(loss).item() / self.num_images  # which waits for a GPU, so the time is that of all steps
        self.waiting = feed.waited / max(time.perf_counter() - began, 1e-9)
        if not math.isfinite(mean):  # in all processes alike
            bad = (~torch.stack(losses).isfinite()).nonzero().flatten().tolist()
            where = f"step {bad[0] + 1} of {self.steps_per_epoch}" if bad else "a step of another process"
            raise TrainingDiverged(f"epoch {number}, {where}: the training loss is {mean}")
        return mean

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """One update from bytes (B, C, H, W) and labels (B,); returns the loss, a scalar on the device."""
        images = normalise(images, self.mean, self.std)  # (B, C, H, W), float32
        images = self.config.augment(images)  #            (B, C, H, W)
        images, targets = self.mix(images, labels)  #      (B, C, H, W), (B,) or (B, K)
        if self.config.channels_last:
            images = images.to(memory_format=torch.channels_last)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss = self.backward(images, targets)
        if self.config.clip_norm:
            for optimizer in self.optimizers:
                self.scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        for optimizer in self.optimizers:
            self.scaler.step(optimizer)
        self.scaler.update()
        if self.average:
            self.average.update_parameters(self.model)
        return loss

    def backward(self, images: Tensor, targets: Tensor) -> Tensor:
        """Add up the gradient of the mean loss over the batch, in parts; returns that loss, a scalar on the device."""
        parts = list(zip(images.chunk(self.config.accumulate), targets.chunk(self.config.accumulate), strict=True))
        loss = torch.zeros((), device=self.device)
        for number, (images_part, targets_part) in enumerate(parts, start=1):
            with no_sync(self.network, number < len(parts)):
                with autocast(self.device, self.dtype), recomputing(self.recomputed):
                    mean = self.loss(self.network, images_part, targets_part)
                part = mean * (len(images_part) / len(images))  # a mean of means would overrate a smaller last part
                self.scaler.scale(part).backward()
            loss += part.detach()
        return loss

    def set_learning_rate(self, step: int) -> None:
        """Give every parameter group the schedule's rate for this step."""
        warmup_steps = round(self.config.warmup * self.total_steps)
        self.lr = learning_rate(step, self.total_steps, warmup_steps, self.config.lr, self.config.schedule)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.lr * group.get("scale", 1.0)  # of a lower layer, see `layer_wise`

    def save(self, out: str | Path, history: list[dict], about: dict) -> None:
        """Write a checkpoint after the last epoch of `history`; `about` is what a resumed run has to agree with."""
        state = {"epoch": len(history), "scaler": self.scaler.state_dict(), "history": history, "about": about}
        if rank() == 0:
            save_checkpoint(out, self.model, self.optimizers, state, average=self.average, best=self.best)

    def restore(self, out: str | Path, about: dict) -> list[dict]:
        """Go back to the checkpoint in `out`; returns the history up to it.

        CheckpointError if it does not fit, or the run was about something else.
        """
        state = read_state(out)
        problem = what_changed(state.get("about", {}), about)
        if problem:
            raise CheckpointError(f"{out} cannot be resumed: {problem}")
        load_checkpoint(out, self.model, self.optimizers, average=self.average, best=self.best)
        if state.get("scaler"):
            self.scaler.load_state_dict(state["scaler"])
        history = state.get("history", [])
        numbers = [number for record in history for number in (record.values() if isinstance(record, dict) else [None])]
        known = all(isinstance(record, dict) and {"epoch", "seconds"} <= record.keys() for record in history)
        if len(history) != state["epoch"] or not known or not all(isinstance(n, int | float) for n in numbers):
            raise CheckpointError(f"{out} has no history of its {state['epoch']} epochs; it is damaged")
        return history


@contextmanager
def recomputing(stages: list[Stack]) -> Iterator[None]:
    """Inside, these stages keep only the tokens between their blocks; afterwards what they kept before."""
    before = [stage.recompute for stage in stages]
    try:
        for stage in stages:
            stage.recompute = True
        yield
    finally:
        for stage, value in zip(stages, before, strict=True):
            stage.recompute = value


@contextmanager
def seeded(seed: int, epoch: int, device: torch.device) -> Iterator[None]:
    """Random numbers that depend on (seed, epoch) alone, so that a resumed epoch draws what it would have drawn.

    The generators that were there before are put back afterwards.
    """
    with torch.random.fork_rng([device] if device.type == "cuda" else [], device_type="cuda"):
        torch.manual_seed(epoch_seed(seed, epoch))
        yield


def epoch_seed(seed: int, epoch: int, process: int = 0) -> int:
    """The seed of one epoch's random numbers in one of several processes."""
    return seed * 1_000_003 + epoch + (process << 32)
