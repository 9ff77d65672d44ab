"""DeiT's distillation: a second token beside CLS, whose head learns what a teacher answers.

Touvron et al., "Training data-efficient image transformers & distillation through attention", 2020, section 4,
arXiv:2012.12877. Without the token DeiT is the plain `ViT`, trained by another recipe.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitedu.initialise import at_least, initialise, one_of, probability
from vitedu.position import PositionEmbedding
from vitedu.vit import ViT, ViTConfig

AVERAGES = ("images", "numbers")


class DistilledViT(ViT):
    """Images (B, C, H, W) in, class scores (B, K) out, the mean of those that CLS and the distillation token give.

    Beside a `ViT` it has D numbers more for the token, D for its position, and (D + 1)·K for its head.

    Raises:
        ValueError: the config asks for no CLS, or for the head of pre-training.

    >>> model = DistilledViT(ViTConfig(image_size=8, patch_size=4, dim=8, depth=1, num_heads=2, num_classes=3))
    >>> cls, dist = model.both(torch.zeros(2, 3, 8, 8))
    >>> cls.shape, torch.equal(model(torch.zeros(2, 3, 8, 8)), (cls + dist) / 2)
    (torch.Size([2, 3]), True)
    """

    def __init__(self, config: ViTConfig):
        if config.pool != "cls" or config.representation_size:
            raise ValueError(
                f"pool {config.pool!r} and representation_size {config.representation_size}: the distillation token "
                "stands beside CLS, and each has one linear layer; use 'cls' and 0"
            )
        super().__init__(config)
        self.dist_token = nn.Parameter(torch.empty(1, 1, config.dim))
        nn.init.trunc_normal_(self.dist_token, std=0.02)
        self.positions = PositionEmbedding(config.grid, config.dim, config.positions, 2, config.position_std)
        self.head_dist = nn.Linear(config.dim, config.num_classes)
        initialise(self.head_dist, config.init)
        if config.zero_head:
            nn.init.zeros_(self.head_dist.weight)
            nn.init.zeros_(self.head_dist.bias)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> class scores before the softmax, (B, K)."""
        cls, dist = self.both(images)
        # differs from the paper, which adds the outputs of two softmaxes (section 4): its code takes the scores' mean
        return (cls + dist) / 2

    def both(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) -> the scores of CLS and those of the distillation token, (B, K) each, as a loss wants them."""
        tokens = self.encode(images)  # (B, 2 + N, D)
        return self.head(tokens[:, 0]), self.head_dist(tokens[:, 1])

    def encode(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> tokens after the last LayerNorm, (B, 2 + N, D): CLS, the distillation token, the patches."""
        self._check_size(images)
        patches = self.patch_embed(images)  # (B, N, D)
        cls, dist = (token.expand(patches.shape[0], -1, -1) for token in (self.cls_token, self.dist_token))
        tokens = torch.cat([cls, dist, patches], dim=1)  # (B, 2 + N, D)
        return self.encoder(self.dropout(self.positions(tokens)))


def hard_distillation(
    cls: Tensor, dist: Tensor, targets: Tensor, teacher: Tensor, weight: float = 0.5, label_smoothing: float = 0.0
) -> Tensor:
    """(1 - weight) · cross-entropy(cls, targets) + weight · cross-entropy(dist, the teacher's class). DeiT Eq. 3.

    Args:
        cls: scores of the student that learn the targets, (B, K).
        dist: scores of the student that learn from the teacher, (B, K); the same ones for a model with one head.
        targets: labels (B,), or shares of the classes (B, K).
        teacher: the teacher's scores for the same images, (B, K).
        weight: share of the teacher's term.
        label_smoothing: of the first term alone.

    Returns:
        A scalar, in nats, the mean over the images.
    """
    probability("weight", weight, below_one=False)
    labelled = F.cross_entropy(cls, targets, label_smoothing=label_smoothing)
    return (1 - weight) * labelled + weight * F.cross_entropy(dist, teacher.argmax(dim=1))


def soft_distillation(
    cls: Tensor,
    dist: Tensor,
    targets: Tensor,
    teacher: Tensor,
    weight: float = 0.1,
    label_smoothing: float = 0.0,
    temperature: float = 3.0,
    average: str = "images",
) -> Tensor:
    """(1 - weight) · cross-entropy(cls, targets) + weight · τ² · KL(teacher at τ, student at τ). DeiT Eq. 2.

    How much the second term weighs depends on what it is averaged over, too. Over the "images" the sum is divided by B,
    as the cross-entropy is and the equation says. The authors' code divides by B·K, here the average over "numbers":
    with K = 1000 classes the term is a thousand times smaller (a remark there says that they tried B as well). Who
    reports that soft distillation does nothing has to say which it was.

    Args:
        temperature: τ, by which the scores of both are divided before the softmax. The paper has weight 0.1 and τ = 3,
            the authors' code starts from 0.5 and 1.
        average: what the divergence is averaged over, "images" or "numbers".

    The others and the result are those of `hard_distillation`. ValueError for a weight, a temperature or an average
    that makes no sense.

    >>> scores, labels = torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([0])
    >>> soft_distillation(scores, scores, labels, scores, weight=1.0)  # the student agrees with its teacher
    tensor(0.)
    """
    probability("weight", weight, below_one=False)
    at_least("temperature", temperature, 0, above=True)
    one_of("average", average, AVERAGES)
    labelled = F.cross_entropy(cls, targets, label_smoothing=label_smoothing)
    student, wanted = ((scores.float() / temperature).log_softmax(dim=1) for scores in (dist, teacher))  # (B, K)
    divergence = F.kl_div(student, wanted, reduction="sum", log_target=True)
    taught = temperature**2 * divergence / (len(dist) if average == "images" else dist.numel())
    return (1 - weight) * labelled + weight * taught
