"""What a training run costs, by formula: memory, arithmetic, network, time.

Utilisation as in Chowdhery et al., "PaLM", 2022, appendix B, arXiv:2204.02311; the all-reduce in a ring as in Goyal et
al. 2017, section 4, arXiv:1706.02677. Rates are per second; FLOPs count a multiply-add as two, and products alone.
"""

import math
from dataclasses import dataclass

from vitedu.counting import block_macs, num_tokens, vit_macs, vit_parameters
from vitedu.vit import ViTConfig

FLOAT32 = 4  # bytes
COPIES = 4  # of each parameter with AdamW: weight, gradient, and two running means
KEPT = 16  # numbers for each token, channel and block that wait for the way back (chapter 8)


def state_bytes(parameters: int, processes: int = 1) -> int:
    """Weights, gradients and AdamW's moments in float32, in each of the processes over which they are split."""
    return FLOAT32 * COPIES * math.ceil(parameters / processes)


def activation_bytes(config: ViTConfig, batch: int, recompute: bool = False) -> int:
    """What the blocks of a `ViT` keep for the way back, in float32; with `recompute` only the tokens between them."""
    return FLOAT32 * batch * config.depth * num_tokens(config) * config.dim * (1 if recompute else KEPT)


def training_flops(config: ViTConfig, recompute: bool = False) -> int:
    """FLOPs of one training step for one image: a forward pass, and twice as much on the way back.

    On the way back each product is the source of two: one for the gradient of its input, one for that of its weight.
    `recompute` adds a forward pass through the blocks, except for the last product of each: nothing waits for it.
    """
    tokens = num_tokens(config)
    last = tokens * config.dim * round(config.dim * config.mlp_ratio)
    again = config.depth * (block_macs(tokens, config.dim, config.mlp_ratio) - last)
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
