"""The Transformer encoder: MLP, stochastic depth, one block, a stack of blocks.

Pre-norm as in ViT (Dosovitskiy et al. 2020, Eqs. 2-3, arXiv:2010.11929), post-norm as in Vaswani et al. 2017
(arXiv:1706.03762). Stochastic depth: Huang et al. 2016, arXiv:1603.09382. Computing the inside of a block again in the
backward pass: Chen et al. 2016, arXiv:1604.06174.
"""

from dataclasses import dataclass, fields

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vitedu.attention import MultiHeadAttention
from vitedu.initialise import at_least, one_of, probability

NORMS = ("pre", "post")


@dataclass(frozen=True, kw_only=True)
class BlockOptions:
    """What a block can be told beside its width and heads; rates are probabilities used in training only.

    ValueError if a number makes no sense.
    """

    mlp_ratio: float = 4.0  # hidden width of the MLP over D
    norm: str = "pre"  # "pre" normalises the input of a branch (ViT), "post" the sum after it (the first Transformer)
    dropout: float = 0.0
    attention_dropout: float = 0.0
    drop_path: float = 0.0
    eps: float = 1e-6  # added to the variance in LayerNorm; the published ViT weights need 1e-6

    def __post_init__(self) -> None:
        one_of("norm", self.norm, NORMS)
        at_least("mlp_ratio", self.mlp_ratio, 0, above=True)
        at_least("eps", self.eps, 0)
        for name in ("dropout", "attention_dropout", "drop_path"):
            probability(name, getattr(self, name))

    @property
    def block_options(self) -> dict[str, object]:
        """These options by name, those of a subclass left out: what a stack hands on to its blocks."""
        return {field.name: getattr(self, field.name) for field in fields(BlockOptions)}


class MLP(nn.Module):
    """Two linear layers with a GELU between them, applied to every token alone: (..., D) -> (..., D).

    Args:
        dim: width D.
        hidden_dim: width of the layer between, usually 4·D.
        dropout: probability of zeroing a number after each linear layer, in training.
    """

    def __init__(self, dim: int, hidden_dim: int, dropout: float = 0.0):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.activation = nn.GELU()
        self.fc2 = nn.Linear(hidden_dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        hidden = self.dropout(self.activation(self.fc1(x)))  # (..., hidden_dim)
        return self.dropout(self.fc2(hidden))  #               (..., D)


class DropPath(nn.Module):
    """Stochastic depth: in training, drop a residual branch for whole images and scale up those that keep it.

    Dividing by 1 - rate keeps the expected value, so nothing changes at test time.
    ValueError if the rate is not in [0, 1).
    """

    def __init__(self, rate: float = 0.0):
        super().__init__()
        probability("drop_path", rate)
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> the same shape, each image of the batch either zeroed or divided by 1 - rate."""
        if not self.training or self.rate == 0:
            return x
        one_each = (x.shape[0],) + (1,) * (x.ndim - 1)  # (B, 1, ...)
        keep = x.new_empty(one_each).bernoulli_(1 - self.rate)
        return x * keep / (1 - self.rate)


class EncoderBlock(nn.Module):
    """Attention mixes the tokens, the MLP works on each alone; each is a residual branch with a LayerNorm.

    Args:
        dim: width D.
        num_heads: heads h.
        options: the fields of `BlockOptions`, by name.

    Raises:
        ValueError: an option makes no sense, or D is not divisible by h.

    >>> import torch
    >>> EncoderBlock(8, 2, norm="post")(torch.zeros(1, 5, 8)).shape
    torch.Size([1, 5, 8])
    """

    def __init__(self, dim: int, num_heads: int, **options):
        super().__init__()
        o = BlockOptions(**options)
        self.pre_norm = o.norm == "pre"
        self.norm1 = nn.LayerNorm(dim, eps=o.eps)
        self.attention = MultiHeadAttention(dim, num_heads, dropout=o.attention_dropout)
        self.norm2 = nn.LayerNorm(dim, eps=o.eps)
        self.mlp = MLP(dim, round(dim * o.mlp_ratio), o.dropout)
        self.dropout = nn.Dropout(o.dropout)
        self.drop_path = DropPath(o.drop_path)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x (B, N, D), mask broadcasting to (B, h, N, N) or None -> (B, N, D)."""
        if self.pre_norm:
            x = x + self.attention_branch(self.norm1(x), mask)  # (B, N, D)   ViT Eq. 2
            return x + self.mlp_branch(self.norm2(x))  #          (B, N, D)   ViT Eq. 3
        x = self.norm1(x + self.attention_branch(x, mask))  #     (B, N, D)
        return self.norm2(x + self.mlp_branch(x))  #              (B, N, D)

    def attention_branch(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, N, D) -> (B, N, D): attention, dropout, stochastic depth."""
        return self.drop_path(self.dropout(self.attention(x, mask=mask)))

    def mlp_branch(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D): MLP, stochastic depth."""
        return self.drop_path(self.mlp(x))


class Stack(nn.Module):
    """`depth` blocks of one kind; with pre-norm a last LayerNorm, since nothing else normalises the residual stream.

    `drop_path` is the rate of the last block; it grows linearly with depth (Huang et al. 2016, section 3). The other
    options are those of the blocks.

    With `recompute` only the tokens between the blocks are kept for the backward pass. What is inside a block is
    computed a second time when its gradient is due, with the same random draws: less memory, more time, the same
    gradients.
    """

    kind: type[nn.Module]  # of the blocks, set by a subclass
    recompute = False

    def __init__(self, depth: int, dim: int, num_heads: int, **options):
        super().__init__()
        o = BlockOptions(**options)
        # differs from the paper: the first block of several is never dropped, as in the DeiT code
        rates = [o.drop_path * index / (depth - 1) for index in range(depth)] if depth > 1 else [o.drop_path]
        self.blocks = nn.ModuleList(
            self.kind(dim, num_heads, **o.block_options | {"drop_path": rate}) for rate in rates
        )
        self.norm = nn.LayerNorm(dim, eps=o.eps) if o.norm == "pre" else nn.Identity()

    def forward(self, x: Tensor, *context: Tensor | None) -> Tensor:
        """x (B, N, D), and whatever else each block takes -> (B, N, D)."""
        for block in self.blocks:
            x = checkpoint(block, x, *context, use_reentrant=False) if self.recompute else block(x, *context)
        return self.norm(x)  # ViT Eq. 4: LN(z_L)


class Encoder(Stack):
    """A stack of `EncoderBlock`s: x (B, N, D), mask broadcasting to (B, h, N, N) or None -> (B, N, D)."""

    kind = EncoderBlock

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x (B, N, D), mask broadcasting to (B, h, N, N) or None -> (B, N, D)."""
        return super().forward(x, mask)
