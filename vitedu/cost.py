"""What a model and a training run cost: parameters, multiply-adds, memory, arithmetic, network, time.

By formula for the model of Dosovitskiy et al. 2020, section 3.1, arXiv:2010.11929, and `kept_bytes` by measurement. A
multiply-add (MAC) is a multiplication and an addition, two FLOPs. Only matrix products are counted: LayerNorm, softmax,
GELU, biases and sums add about one per cent. Rates are per second.

Utilisation as in Chowdhery et al., "PaLM", 2022, appendix B, arXiv:2204.02311; the all-reduce in a ring as in Goyal et
al. 2017, section 4, arXiv:1706.02677.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from vitedu.patch import pair
from vitedu.vit import ViTConfig

FLOAT32 = 4  # bytes
COPIES = 4  # of each parameter with AdamW: weight, gradient, and two running means
KEPT = 16  # numbers for each token, channel and block that wait for the backward pass (chapter 8)


def count_parameters(module: nn.Module) -> int:
    """The number of trainable numbers in a module.

    >>> count_parameters(nn.Linear(3, 2))
    8
    """
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def block_parameters(dim: int, mlp_ratio: float = 4.0) -> int:
    """Numbers that one encoder block learns: 12D² + 13D at an MLP ratio of 4; the heads share D and do not count."""
    hidden = round(dim * mlp_ratio)
    attention = 4 * (dim * dim + dim)  # queries, keys, values, output
    mlp = 2 * dim * hidden + hidden + dim
    norms = 2 * 2 * dim
    return attention + mlp + norms


def block_macs(tokens: int, dim: int, mlp_ratio: float = 4.0) -> int:
    """Multiply-adds of one encoder block for one image of N `tokens`, CLS counted: 12ND² + 2N²D at a ratio of 4."""
    linear = tokens * (4 * dim * dim + 2 * dim * round(dim * mlp_ratio))
    pairs = 2 * tokens * tokens * dim  # q kᵀ, then weights · v
    return linear + pairs


def vit_parameters(config: ViTConfig) -> int:
    """Numbers that a `ViT` of this configuration learns.

    >>> vit_parameters(ViTConfig())  # ViT-B/16
    86567656
    """
    D = config.dim
    embedding = _patch_numbers(config) * D + D
    prefix = config.num_prefix * D + _position_numbers(config)
    norm = 2 * D if config.norm == "pre" else 0
    return embedding + prefix + config.depth * block_parameters(D, config.mlp_ratio) + norm + _head(config, bias=1)


def vit_macs(config: ViTConfig) -> int:
    """Multiply-adds of a `ViT` for one image, forward."""
    embedding = math.prod(config.grid) * _patch_numbers(config) * config.dim
    blocks = config.depth * block_macs(config.num_tokens, config.dim, config.mlp_ratio)
    return embedding + blocks + _head(config, bias=0)


def _patch_numbers(config: ViTConfig) -> int:
    """C·P·P."""
    return config.in_channels * math.prod(pair(config.patch_size))


def _position_numbers(config: ViTConfig) -> int:
    """A vector for every token; "learned2d" has half a one for every row and every column, and one for CLS."""
    if config.positions == "learned":
        return config.num_tokens * config.dim
    if config.positions == "learned2d":
        return sum(config.grid) * config.dim // 2 + config.num_prefix * config.dim
    return 0


def _head(config: ViTConfig, bias: int) -> int:
    """One linear layer (D -> K), or with a representation two (D -> R -> K)."""
    widths = [config.dim, *([config.representation_size] if config.representation_size else []), config.num_classes]
    return sum((fan_in + bias) * fan_out for fan_in, fan_out in pairwise(widths))


def kept_bytes(model: nn.Module, images: Tensor) -> int:
    """Bytes that autograd keeps after `model(images)`, measured; the parameters and the images are not counted.

    Autograd hands every tensor that it saves to a hook. Several may share one memory block, which counts once. It is
    what is kept when the forward pass ends; the highest point of a step lies somewhat above.
    """
    not_counted = {tensor.untyped_storage().data_ptr() for tensor in (images, *model.parameters())}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in not_counted:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        scores = model(images)  # as long as the scores live, so does everything that was noted: no address twice
    del scores
    return sum(kept.values())


def state_bytes(parameters: int, processes: int = 1) -> int:
    """Weights, gradients and AdamW's moments in float32, in each of the processes over which they are split."""
    return FLOAT32 * COPIES * math.ceil(parameters / processes)


def activation_bytes(config: ViTConfig, batch: int, recompute: bool = False) -> int:
    """What the blocks of a `ViT` keep for the backward pass, in float32; with `recompute` only the tokens between."""
    return FLOAT32 * batch * config.depth * config.num_tokens * config.dim * (1 if recompute else KEPT)


def training_flops(config: ViTConfig, recompute: bool = False) -> int:
    """FLOPs of one training step for one image: a forward pass, and twice as much for the backward pass.

    There each product is the source of two: one for the gradient of its input, one for that of its weight.
    `recompute` adds a forward pass through the blocks, except for the last product of each: nothing waits for it.
    """
    last = config.num_tokens * config.dim * round(config.dim * config.mlp_ratio)
    again = config.depth * (block_macs(config.num_tokens, config.dim, config.mlp_ratio) - last)
    return 2 * (3 * vit_macs(config) + (again if recompute else 0))


def utilisation(config: ViTConfig, images_per_second: float, peak: float) -> float:
    """Model FLOPs utilisation: the share of `peak` FLOPs a second that the model needs at this speed of training.

    What an implementation computes beyond that, such as a block a second time, does not count as use.
    """
    return images_per_second * training_flops(config) / peak


@dataclass(frozen=True)
class Cluster:
    """So many GPUs in nodes of `per_node`; rates in FLOPs and, in one direction, bytes a second."""

    gpus: int
    peak: float  # of one GPU
    inside: float  # from one GPU to the next in the same node
    between: float  # out of one node
    per_node: int = 8

    @property
    def rate(self) -> float:
        """The slowest link of a ring through all GPUs, which sets its pace."""
        return self.inside if self.gpus <= self.per_node else self.between


def all_reduce_seconds(size: int, cluster: Cluster) -> float:
    """Time for a sum of `size` bytes over all GPUs in a ring: each sends and receives 2·(n - 1)/n of them."""
    return 2 * (cluster.gpus - 1) / cluster.gpus * size / cluster.rate


@dataclass(frozen=True)
class Step:
    """Seconds of one optimiser step: arithmetic, and the all-reduce of the float32 gradients."""

    compute: float
    network: float

    @property
    def best(self) -> float:
        """If all of the network's work is hidden behind the arithmetic."""
        return max(self.compute, self.network)

    @property
    def worst(self) -> float:
        """If none of it is."""
        return self.compute + self.network


def step_of(config: ViTConfig, batch: int, cluster: Cluster, share: float) -> Step:
    """One step on `batch` images in all, with every GPU at `share` of its peak. Waiting for a message is left out.

    ValueError if there are fewer images than GPUs.
    """
    if batch < cluster.gpus:
        raise ValueError(f"a batch of {batch} leaves some of {cluster.gpus} GPUs without an image; enlarge it")
    compute = batch * training_flops(config) / (cluster.gpus * cluster.peak * share)
    return Step(compute, all_reduce_seconds(FLOAT32 * vit_parameters(config), cluster))


def steps_of(images: int, epochs: int, batch: int) -> int:
    """Optimiser steps of a run, the last of an epoch on what is left."""
    return epochs * math.ceil(images / batch)
