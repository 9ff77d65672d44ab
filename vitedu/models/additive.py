"""Additive attention: a small network with one hidden layer says how well a query and a key fit.

Bahdanau, Cho and Bengio, "Neural Machine Translation by Jointly Learning to Align and Translate", 2014,
section 3.1 and appendix A.1.2, arXiv:1409.0473.
"""

import torch
from torch import Tensor, nn

from vitedu.attention import Attention, masked_softmax


class AdditiveAttention(Attention):
    """score(q, k) = w · tanh(W q + U k), then a softmax over the keys and a weighted mean of the values.

    Query and key may have different widths, which a scalar product does not allow.

    Args:
        query_dim: width Dq of a query.
        key_dim: width Dk of a key.
        hidden_dim: width of the network's hidden layer.
    """

    def __init__(self, query_dim: int, key_dim: int, hidden_dim: int):
        super().__init__()
        self.q_proj = nn.Linear(query_dim, hidden_dim, bias=False)  # W in the text, W_a in the paper
        self.k_proj = nn.Linear(key_dim, hidden_dim, bias=False)  # U, U_a in the paper
        self.score = nn.Linear(hidden_dim, 1, bias=False)  # w, v_a in the paper

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Each query's mean of the values, weighted by how well the keys fit it, and the weights.

        Args:
            q: queries, (B, N, Dq).
            k: keys, (B, S, Dk).
            v: values, (B, S, Dv), one for each key.
            mask: optional booleans with two axes or more that broadcast to (B, N, S); True where a query may look.

        Returns:
            The outputs (B, N, Dv) and the weights (B, N, S). Each row of weights sums to one, except that a query that
            may look nowhere gets a row of zeros, and so an output of zeros.

        Raises:
            ValueError: q or k has another width than the layer was built for; the lengths of k and v differ; or the
                mask has a single axis.
            TypeError: the mask is not boolean.
        """
        weights = self.weights(q, k, v, mask).squeeze(1)  # (B, N, S)
        return weights @ v, weights  # (B, N, Dv), (B, N, S)

    def weights(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """The same arguments -> the weights with an axis for the one head, (B, 1, N, S)."""
        self.check_shapes(q, k, v)
        pairs = self.q_proj(q).unsqueeze(-2) + self.k_proj(k).unsqueeze(-3)  # (B, N, S, hidden)
        scores = self.score(torch.tanh(pairs)).squeeze(-1)  #                  (B, N, S)
        return masked_softmax(scores, mask).unsqueeze(1)  #                    (B, 1, N, S)

    def check_shapes(self, q: Tensor, k: Tensor, v: Tensor) -> None:
        """ValueError if a width is not the layer's, or keys and values differ in number."""
        for name, x, layer in (("queries", q, self.q_proj), ("keys", k, self.k_proj)):
            if x.shape[-1] != layer.in_features:
                raise ValueError(f"{name} have width {x.shape[-1]}, but the layer was built for {layer.in_features}")
        if k.shape[-2] != v.shape[-2]:
            raise ValueError(f"{k.shape[-2]} keys but {v.shape[-2]} values; every key needs exactly one value")
