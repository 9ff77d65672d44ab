"""The Transformer decoder: a block that reads its own tokens and, by cross-attention, those of an encoder; a stack.

Vaswani et al., "Attention Is All You Need", 2017, sections 3.1 and 3.2.3, arXiv:1706.03762. Post-norm as there, or
pre-norm as in `vitedu.block`. Without a mask, all tokens are decoded at once, as DETR does (arXiv:2005.12872).
"""

from torch import Tensor, nn

from vitedu.attention import MultiHeadAttention
from vitedu.block import MLP, NORMS, DropPath, Stack


class DecoderBlock(nn.Module):
    """Self-attention among the N tokens, cross-attention to the S tokens of a memory, and an MLP.

    Each is a residual branch with a LayerNorm. Queries come from the tokens; in the cross-attention keys and values
    come from the memory, which the block does not normalise: an encoder's last layer has done that.

    Args:
        dim: width D, that of the memory too.
        num_heads: heads h, of both attentions.
        mlp_ratio: hidden width of the MLP over D.
        norm: "pre" normalises the input of a branch, "post" the sum after it (the original Transformer).
        dropout, attention_dropout, drop_path: probabilities, used in training only.
        eps: added to the variance in LayerNorm.

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
        self.self_attention = MultiHeadAttention(dim, num_heads, dropout=attention_dropout)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.cross_attention = MultiHeadAttention(dim, num_heads, dropout=attention_dropout)
        self.norm3 = nn.LayerNorm(dim, eps=eps)
        self.mlp = MLP(dim, round(dim * mlp_ratio), dropout)
        self.dropout = nn.Dropout(dropout)
        self.drop_path = DropPath(drop_path)

    def forward(
        self, x: Tensor, memory: Tensor, mask: Tensor | None = None, memory_mask: Tensor | None = None
    ) -> Tensor:
        """x (B, N, D), memory (B, S, D) -> (B, N, D).

        Args:
            mask: booleans broadcasting to (B, h, N, N), True where a token may look at a token; None: at all.
            memory_mask: booleans broadcasting to (B, h, N, S), the same for the memory.
        """
        if self.pre_norm:
            x = x + self.look_around(self.norm1(x), mask)  #                  (B, N, D)
            x = x + self.look_up(self.norm2(x), memory, memory_mask)  #       (B, N, D)
            return x + self.drop_path(self.mlp(self.norm3(x)))  #             (B, N, D)
        x = self.norm1(x + self.look_around(x, mask))  #                      (B, N, D)
        x = self.norm2(x + self.look_up(x, memory, memory_mask))  #           (B, N, D)
        return self.norm3(x + self.drop_path(self.mlp(x)))  #                 (B, N, D)

    def look_around(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """The self-attention branch: (B, N, D) -> (B, N, D)."""
        return self.drop_path(self.dropout(self.self_attention(x, mask=mask)))

    def look_up(self, x: Tensor, memory: Tensor, mask: Tensor | None) -> Tensor:
        """The cross-attention branch: (B, N, D), (B, S, D) -> (B, N, D)."""
        return self.drop_path(self.dropout(self.cross_attention(x, memory, mask=mask)))


class Decoder(Stack):
    """A stack of `DecoderBlock`s that all read the same memory."""

    kind = DecoderBlock

    def forward(
        self, x: Tensor, memory: Tensor, mask: Tensor | None = None, memory_mask: Tensor | None = None
    ) -> Tensor:
        """x (B, N, D), memory (B, S, D) -> (B, N, D); the masks are those of `DecoderBlock`."""
        for block in self.blocks:
            x = block(x, memory, mask, memory_mask)
        return self.norm(x)  # (B, N, D)
