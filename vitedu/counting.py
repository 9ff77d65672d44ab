"""How large a Vision Transformer is and what one image costs, by formula: parameters, multiply-adds.

Of the model in Dosovitskiy et al. 2020, section 3.1, arXiv:2010.11929. A multiply-add (MAC) is a multiplication and an
addition; a FLOP count is about twice as large. Only matrix products are counted: LayerNorm, softmax, GELU, biases and
sums add about one per cent.
"""

import math
from itertools import pairwise

from vitedu.patch import pair
from vitedu.vit import ViTConfig


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
    """Numbers that a `ViT` of this configuration learns."""
    D = config.dim
    embedding = _patch_numbers(config) * D + D
    prefix = (D if config.pool == "cls" else 0) + _position_numbers(config)
    norm = 2 * D if config.norm == "pre" else 0
    return embedding + prefix + config.depth * block_parameters(D, config.mlp_ratio) + norm + _head(config, bias=1)


def vit_macs(config: ViTConfig) -> int:
    """Multiply-adds of a `ViT` for one image, forward."""
    embedding = math.prod(config.grid) * _patch_numbers(config) * config.dim
    blocks = config.depth * block_macs(num_tokens(config), config.dim, config.mlp_ratio)
    return embedding + blocks + _head(config, bias=0)


def _patch_numbers(config: ViTConfig) -> int:
    """C·P·P."""
    return config.in_channels * math.prod(pair(config.patch_size))


def _position_numbers(config: ViTConfig) -> int:
    """A vector for every token; "learned2d" has half a one for every row and every column, and one for CLS."""
    if config.positions == "learned":
        return num_tokens(config) * config.dim
    prefix = config.dim if config.pool == "cls" else 0
    return sum(config.grid) * config.dim // 2 + prefix if config.positions == "learned2d" else 0


def num_tokens(config: ViTConfig) -> int:
    """N, and CLS where there is one."""
    return math.prod(config.grid) + (config.pool == "cls")


def _head(config: ViTConfig, bias: int) -> int:
    """One linear layer (D -> K), or with a representation two (D -> R -> K)."""
    widths = [config.dim, *([config.representation_size] if config.representation_size else []), config.num_classes]
    return sum((fan_in + bias) * fan_out for fan_in, fan_out in pairwise(widths))
