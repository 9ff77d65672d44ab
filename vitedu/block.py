"""The Transformer encoder: MLP, stochastic depth, one block, a stack of blocks.

Pre-norm as in ViT (Dosovitskiy et al. 2020, Eqs. 2-3, arXiv:2010.11929), post-norm as in Vaswani et al. 2017
(arXiv:1706.03762). Stochastic depth: Huang et al. 2016, arXiv:1603.09382. Computing the inside of a block again on the
way back: Chen et al. 2016, arXiv:1604.06174.
"""

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vitedu.attention import MultiHeadAttention

NORMS = ("pre", "post")


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
        if not 0 <= rate < 1:
            raise ValueError(f"drop-path rate {rate} is outside [0, 1); 1 would drop every branch, use at most 0.99")
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> the same shape, each image of the batch either zeroed or divided by 1 - rate."""
        if not self.training or self.rate == 0:
            return x
        keep = x.new_empty(x.shape[0], *[1] * (x.ndim - 1)).bernoulli_(1 - self.rate)  # (B, 1, ...)
        return x * keep / (1 - self.rate)


class EncoderBlock(nn.Module):
    """Attention mixes the tokens, the MLP works on each alone; each is a residual branch with a LayerNorm.

    Args:
        dim: width D.
        num_heads: heads h.
        mlp_ratio: hidden width of the MLP over D.
        norm: "pre" normalises the input of a branch (ViT), "post" the sum after it (the original Transformer).
        dropout, attention_dropout, drop_path: probabilities, used in training only.
        eps: added to the variance in LayerNorm; the published ViT weights need 1e-6.

    Raises:
        ValueError: the norm is unknown, or D is not divisible by h.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        norm: str = "pre",
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        drop_path: float = 0.0,
        eps: float = 1e-6,
    ):
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"norm {norm!r} is not one of {', '.join(NORMS)}")
        self.pre_norm = norm == "pre"
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attention = MultiHeadAttention(dim, num_heads, dropout=attention_dropout)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = MLP(dim, round(dim * mlp_ratio), dropout)
        self.dropout = nn.Dropout(dropout)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x (B, N, D), mask broadcasting to (B, h, N, N) or None -> (B, N, D)."""
        if self.pre_norm:
            x = x + self.attention_branch(self.norm1(x), mask)  #     (B, N, D)   ViT Eq. 2
            return x + self.drop_path(self.mlp(self.norm2(x)))  #     (B, N, D)   ViT Eq. 3
        x = self.norm1(x + self.attention_branch(x, mask))  #         (B, N, D)
        return self.norm2(x + self.drop_path(self.mlp(x)))  #         (B, N, D)

    def attention_branch(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, N, D) -> (B, N, D): attention, dropout, stochastic depth."""
        return self.drop_path(self.dropout(self.attention(x, mask=mask)))


class Stack(nn.Module):
    """`depth` blocks of one kind; with pre-norm a last LayerNorm, since nothing else normalises the residual stream.

    `drop_path` is the rate of the last block; it grows linearly with depth (Huang et al. 2016, section 3).
    The other arguments are those of `EncoderBlock`.
    """

    kind: type[nn.Module]  # of the blocks, set by a subclass

    def __init__(
        self,
        depth: int,
        dim: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        norm: str = "pre",
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        drop_path: float = 0.0,
        eps: float = 1e-6,
    ):
        super().__init__()
        # differs from the paper: the first block of several is never dropped, as in the DeiT code
        rates = [drop_path * index / (depth - 1) for index in range(depth)] if depth > 1 else [drop_path]
        self.blocks = nn.ModuleList(
            self.kind(dim, num_heads, mlp_ratio, norm, dropout, attention_dropout, rate, eps) for rate in rates
        )
        self.norm = nn.LayerNorm(dim, eps=eps) if norm == "pre" else nn.Identity()


class Encoder(Stack):
    """A stack of `EncoderBlock`s.

    With `recompute` only the tokens between the blocks are kept for the way back. What is inside a block is computed a
    second time when its gradient is due, with the same random draws: less memory, more time, the same gradients.
    """

    kind = EncoderBlock
    recompute = False

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x (B, N, D), mask broadcasting to (B, h, N, N) or None -> (B, N, D)."""
        for block in self.blocks:
            x = checkpoint(block, x, mask, use_reentrant=False) if self.recompute else block(x, mask)
        return self.norm(x)  # ViT Eq. 4: LN(z_L)
