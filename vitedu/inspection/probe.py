"""The tokens from block to block: what a linear classifier or near neighbours tell of them, and how long they are.

Linear probes: Alain and Bengio 2016, arXiv:1610.01644. Neighbours: Wu et al. 2018, arXiv:1805.01978. Tokens of
outlying length: Darcet et al. 2023, arXiv:2309.16588.
"""

from collections.abc import Sequence

import torch
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor


def linear_probe(train: Tensor, labels: Tensor, test: Tensor, test_labels: Tensor, strength: float = 1.0) -> float:
    """Share of test vectors that a linear classifier names right: vectors (B, D) and labels (B,), of both sets.

    The classifier is a ridge regression to targets of +1 and -1 on standardised numbers, solved in closed form;
    `strength` is its penalty on large weights.
    """
    probe = make_pipeline(StandardScaler(), RidgeClassifier(alpha=strength))
    probe.fit(train.cpu().numpy(), labels.cpu().numpy())
    return float(probe.score(test.cpu().numpy(), test_labels.cpu().numpy()))


def nearest_neighbours(train: Tensor, labels: Tensor, test: Tensor, test_labels: Tensor, k: int = 20) -> float:
    """Share of test vectors whose k nearest training vectors vote for the right class: vectors (B, D), labels (B,).

    Nearest is what has the largest cosine, and a vote weighs exp(cosine / 0.07), as DINO is measured (section 4.1 of
    arXiv:2104.14294). Nothing is trained. ValueError if there are less than k training vectors.

    >>> vectors, labels = torch.eye(2), torch.tensor([0, 1])
    >>> nearest_neighbours(vectors, labels, torch.tensor([[3.0, 1.0], [1.0, 2.0]]), labels, k=1)
    1.0
    """
    if not 0 < k <= len(train):
        raise ValueError(f"k is {k}, and there are {len(train)} training vectors; choose k from 1 to {len(train)}")
    train, test = (vectors.float() / vectors.float().norm(dim=1, keepdim=True) for vectors in (train, test))
    cosines, nearest = (test @ train.T).topk(k, dim=1)  # (M, k) twice
    votes = torch.zeros(len(test), int(labels.max()) + 1, device=test.device)  # (M, K)
    votes.scatter_add_(1, labels[nearest], (cosines / 0.07).exp())
    return (votes.argmax(dim=1) == test_labels).float().mean().item()


def token_norms(tokens: Sequence[Tensor], num_prefix: int = 1) -> tuple[Tensor, Tensor]:
    """Lengths of the tokens after every block: L + 1 of (B, N, D) -> those of CLS (L + 1, B), of patches (L + 1, B, N).

    Without a class token, `num_prefix` 0, the first is empty, (L + 1, 0).
    """
    norms = torch.stack([layer.norm(dim=-1) for layer in tokens])  # (L + 1, B, num_prefix + N)
    return norms[..., 0] if num_prefix else norms.new_zeros(len(norms), 0), norms[..., num_prefix:]


def outlier_share(norms: Tensor, factor: float = 2.0) -> Tensor:
    """The share of patch tokens at least `factor` times as long as the layer's median: (L + 1, B, N) -> (L + 1,).

    The tokens with high norm of the paper are about ten times as long as the rest; a factor of 2 finds far tamer ones.
    """
    flat = norms.flatten(1)  # (L + 1, B·N)
    return (flat >= factor * flat.median(dim=1, keepdim=True).values).float().mean(dim=1)
