"""Many small models of one shape trained at once: their weights in one tensor, and each step a step of all of them.

A GPU takes the same few milliseconds for a step of one `tiny` ViT as for a step of forty, and hardly less when forty
processes share it. So the models of a table are trained together, each on its own pictures, at its own rate and decay.
What each sees, in which order and at which rate, is what the book's `TrainingLoop` would show it; the step is that of
`TrainingLoop` with AdamW, to rounding (tests/book/test_together.py).
"""

import copy
import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from vitedu.data import Dataset, Split, normalise
from vitedu.train import TrainConfig, TrainingLoop
from vitedu.train.optim import split_parameters
from vitedu.train.progress import Progress

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8  # torch's defaults for AdamW
SHARED = ("epochs", "batch_size", "clip_norm", "optimizer", "ema", "accumulate")  # what all have in common

Batch = tuple[Tensor, Tensor]  # images (B, C, H, W), and targets (B, K), the smoothed shares of the classes


class Feed(TrainingLoop):
    """The book's loop that takes no step, and keeps what each step of an epoch would be about."""

    def gather(self, train: Split, number: int) -> list[Batch]:
        """The batches of one epoch."""
        self.batches: list[Batch] = []
        self.epoch(train, number, Progress(self.config.epochs, shown=False))
        return self.batches

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """Keep a batch; there is no loss, so it is 0."""
        images = self.config.augment(normalise(images, self.mean, self.std))
        images, targets = self.mix(images, labels)
        K, smoothing = len(self.data.class_names), self.config.label_smoothing
        shares = F.one_hot(targets, K).float() if targets.ndim == 1 else targets  # (B, K)
        self.batches.append((images, (1 - smoothing) * shares + smoothing / K))
        return torch.zeros((), device=self.device)


class Together:
    """Models of one shape, each with its recipe, whose weights are the rows of one matrix.

    Args:
        models: M of them, on the CPU; afterwards on the device, with the weights they had at the last `model`.
        configs: their recipes, by AdamW; ValueError if they differ in what all have in common, `SHARED`.
        data: gives mean, std and classes.
        train: the images to learn from, on the device.
        device: where to train.
    """

    def __init__(
        self, models: list[nn.Module], configs: list[TrainConfig], data: Dataset, train: Split, device: torch.device
    ):
        for name in SHARED:
            if len(values := {getattr(config, name) for config in configs}) > 1:
                raise ValueError(f"{name} differs, {values}; train models together that have it in common")
        if configs[0].optimizer != "adamw" or configs[0].ema or configs[0].accumulate != 1:
            raise ValueError("only AdamW in one piece, without averages, is done here; take TrainingLoop for the rest")
        self.models, self.config, self.data, self.train, self.device = models, configs[0], data, train, device
        self.template = copy.deepcopy(models[0]).to("meta")
        self.flat = torch.stack([parameters_to_vector(m.parameters()).detach() for m in models]).to(device)  # (M, P)
        parts = self.flat.split([p.numel() for p in models[0].parameters()], dim=1)
        self.weights = {
            name: part.view(len(models), *p.shape).detach().requires_grad_()  # they share the memory of `flat`
            for part, (name, p) in zip(parts, models[0].named_parameters(), strict=True)
        }
        self.decay = torch.stack([shrinking(m, c) for m, c in zip(models, configs, strict=True)]).to(device)  # (M, P)
        self.mean, self.square = torch.zeros_like(self.flat), torch.zeros_like(self.flat)
        self.steps, self.traced = 0, {}
        loops = [Feed(model, data, config, len(train), device) for model, config in zip(models, configs, strict=True)]
        self.rates = schedule(loops).to(device)  # (S, M, 1): looking one up costs nothing
        keys = [(c.seed, c.augment, c.mixup, c.cutmix, c.label_smoothing) for c in configs]
        self.feeds = dict(zip(keys, loops, strict=True))  # models that see the same share what they see
        self.places = [list(self.feeds).index(key) for key in keys]
        for model in models:
            model.to(device)

    def epoch(self, number: int) -> Tensor:
        """One epoch of all models; the mean training loss of each, (M,), on the device."""
        total = torch.zeros(len(self.models), device=self.device)
        for images, targets in self.batches(number):
            total += self.step(images, targets) * images.shape[1]
        return total / len(self.train)

    def batches(self, number: int) -> Iterator[Batch]:
        """What the models see in each step of an epoch: images (M, B, C, H, W), targets (M, B, K)."""
        seen = [feed.gather(self.train, number) for feed in self.feeds.values()]
        for batch in zip(*seen, strict=True):
            images, targets = ([part[kind] for part in batch] for kind in (0, 1))
            yield torch.stack([images[i] for i in self.places]), torch.stack([targets[i] for i in self.places])

    def step(self, images: Tensor, targets: Tensor) -> Tensor:
        """One step of AdamW for each model on its own batch; their losses, (M,)."""
        if images.shape not in self.traced:  # mapping takes Python longer than the GPU its work: it is done once
            found = make_fx(lambda *arguments: self.gradients(*arguments))  # it takes functions, and no methods
            self.traced[images.shape] = found(self.weights, images, targets)
        with torch.no_grad():
            losses, gradient = self.traced[images.shape](self.weights, images, targets)
            self.update(gradient)
        return losses

    def gradients(self, weights: dict[str, Tensor], images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The losses of all models, (M,), and their gradients, (M, P)."""
        # differs from TrainingLoop: attention written out, which is the form that can be mapped over the models
        with sdpa_kernel(SDPBackend.MATH):
            losses = torch.vmap(self.loss)(weights, images, targets)  # (M,)
        # the sum over the models: none depends on the weights of another, so each gets its own gradient
        gradients = torch.autograd.grad(losses.sum(), list(weights.values()))
        return losses.detach(), torch.cat([gradient.flatten(1) for gradient in gradients], dim=1)

    def loss(self, weights: dict[str, Tensor], images: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of one model, in nats."""
        return F.cross_entropy(functional_call(self.template, weights, (images,)), targets)

    def update(self, gradient: Tensor) -> None:
        """Clip each model's gradient, a row of (M, P), and let AdamW move the weights."""
        if self.config.clip_norm:
            length = gradient.norm(dim=1, keepdim=True)  # (M, 1)
            gradient = gradient * (self.config.clip_norm / (length + 1e-6)).clamp(max=1)
        rate = self.rates[self.steps]  # (M, 1)
        self.steps += 1
        self.flat.mul_(1 - rate * self.decay)
        self.mean.lerp_(gradient, 1 - BETA1)
        self.square.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
        size = self.square.sqrt().div_(math.sqrt(1 - BETA2**self.steps)).add_(EPS)
        self.flat.sub_(rate / (1 - BETA1**self.steps) * self.mean / size)

    def model(self, index: int) -> nn.Module:
        """One of the models, with the weights that it has by now."""
        vector_to_parameters(self.flat[index].clone(), self.models[index].parameters())
        return self.models[index]


def shrinking(model: nn.Module, config: TrainConfig) -> Tensor:
    """The weight decay of each number of a model, (P,)."""
    matrices = {id(parameter) for parameter in split_parameters(model)[0]}
    return torch.cat([torch.full((p.numel(),), config.weight_decay * (id(p) in matrices)) for p in model.parameters()])


def schedule(loops: list[TrainingLoop]) -> Tensor:
    """The learning rate of each loop in each step, (S, M, 1)."""
    rates = torch.empty(loops[0].total_steps, len(loops), 1)
    for index, loop in enumerate(loops):
        for step in range(loop.total_steps):
            loop.set_learning_rate(step)
            rates[step, index] = loop.lr
    return rates
