"""The Transformer decoder: a block that reads its own tokens and, by cross-attention, those of an encoder; a stack.

Vaswani et al., "Attention Is All You Need", 2017, sections 3.1 and 3.2.3, arXiv:1706.03762. Post-norm as there, or
pre-norm as in `vitedu.block`. Without a mask, all tokens are decoded at once, as DETR does (arXiv:2005.12872).
"""

from torch import Tensor, nn

from vitedu.attention import MultiHeadAttention
from vitedu.block import MLP, BlockOptions, DropPath, Stack


class DecoderBlock(nn.Module):
    """Self-attention among the N tokens, cross-attention to the S tokens of a memory, and an MLP.

    Each is a residual branch with a LayerNorm. Queries come from the tokens; in the cross-attention keys and values
    come from the memory, which the block does not normalise: an encoder's last layer has done that.

    Args:
        dim: width D, that of the memory too.
        num_heads: heads h, of both attentions.
        options: the fields of `BlockOptions`, by name.

    Raises:
        ValueError: an option makes no sense, or D is not divisible by h.
    """

    def __init__(self, dim: int, num_heads: int, **options):
        super().__init__()
        o = BlockOptions(**options)
        self.pre_norm = o.norm == "pre"
        self.norm1 = nn.LayerNorm(dim, eps=o.eps)
        self.self_attention = MultiHeadAttention(dim, num_heads, dropout=o.attention_dropout)
        self.norm2 = nn.LayerNorm(dim, eps=o.eps)
        self.cross_attention = MultiHeadAttention(dim, num_heads, dropout=o.attention_dropout)
        self.norm3 = nn.LayerNorm(dim, eps=o.eps)
        self.mlp = MLP(dim, round(dim * o.mlp_ratio), o.dropout)
        self.dropout = nn.Dropout(o.dropout)
        self.drop_path = DropPath(o.drop_path)

    def forward(
        self, x: Tensor, memory: Tensor, mask: Tensor | None = None, memory_mask: Tensor | None = None
    ) -> Tensor:
        """x (B, N, D), memory (B, S, D) -> (B, N, D).

        Args:
            mask: booleans broadcasting to (B, h, N, N), True where a token may look at a token; None: at all.
            memory_mask: booleans broadcasting to (B, h, N, S), the same for the memory.
        """
        if self.pre_norm:
            x = x + self.self_attention_branch(self.norm1(x), mask)  #                  (B, N, D)
            x = x + self.cross_attention_branch(self.norm2(x), memory, memory_mask)  #  (B, N, D)
            return x + self.drop_path(self.mlp(self.norm3(x)))  #                       (B, N, D)
        x = self.norm1(x + self.self_attention_branch(x, mask))  #                      (B, N, D)
        x = self.norm2(x + self.cross_attention_branch(x, memory, memory_mask))  #      (B, N, D)
        return self.norm3(x + self.drop_path(self.mlp(x)))  #                           (B, N, D)

    def self_attention_branch(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, N, D) -> (B, N, D): attention among the tokens, dropout, stochastic depth."""
        return self.drop_path(self.dropout(self.self_attention(x, mask=mask)))

    def cross_attention_branch(self, x: Tensor, memory: Tensor, mask: Tensor | None) -> Tensor:
        """(B, N, D), (B, S, D) -> (B, N, D): attention to the memory, dropout, stochastic depth."""
        return self.drop_path(self.dropout(self.cross_attention(x, memory, mask=mask)))


class Decoder(Stack):
    """A stack of `DecoderBlock`s that all read the same memory."""

    kind = DecoderBlock

    def forward(
        self, x: Tensor, memory: Tensor, mask: Tensor | None = None, memory_mask: Tensor | None = None
    ) -> Tensor:
        """x (B, N, D), memory (B, S, D) -> (B, N, D); the masks are those of `DecoderBlock`."""
        return super().forward(x, memory, mask, memory_mask)  # (B, N, D)
