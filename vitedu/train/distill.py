"""Training with a teacher: a loss for `fit` that asks another model about each batch.

Touvron et al. 2020, section 4, arXiv:2012.12877; Hinton, Vinyals and Dean 2015, arXiv:1503.02531.

    fit(DistilledViT(config), data, recipe, loss=distillation(teacher))
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vitedu.initialise import one_of
from vitedu.models.deit import hard_distillation, soft_distillation
from vitedu.train.loss import Loss

KINDS = {"hard": hard_distillation, "soft": soft_distillation}


def distillation(teacher: nn.Module | None, kind: str = "hard", **options: object) -> Loss:
    """The loss of a student that learns from the labels and from a teacher.

    The teacher sees what the student sees: the same images, normalised, augmented and mixed. It is put into evaluation
    mode, on the device of the images, and keeps its weights. So it has to be trained on images normalised alike.

    Args:
        teacher: images (B, C, H, W) -> class scores (B, K). None for the control: the second head then learns the
            labels, as the first does, and what is left of a gain was not the teacher's.
        kind: "hard" or "soft", `vitedu.models.deit.hard_distillation` or `soft_distillation`.
        options: their arguments, such as `weight` and `label_smoothing`; without a teacher, those two alone.

    Returns:
        A loss for `fit` or `TrainingLoop`. A student with two heads has a method `both`, as `DistilledViT`; of another
        model, the one vector of scores learns both.

    Raises:
        ValueError: an unknown kind, or, in training, several processes: a student's `both` passes by what averages
            their gradients.

    >>> from vitedu.vit import ViT, ViTConfig
    >>> config = ViTConfig(image_size=8, patch_size=4, dim=8, depth=1, num_heads=2, num_classes=3)
    >>> loss = distillation(ViT(config), "soft", temperature=2.0)
    >>> loss(ViT(config), torch.zeros(2, 3, 8, 8), torch.tensor([0, 2])).shape
    torch.Size([])
    """
    one_of("kind", kind, KINDS)
    if teacher is not None:
        teacher.eval().requires_grad_(False)
    compiled: dict[nn.Module, Callable] = {}

    def loss(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        cls, dist = _both(model, images, compiled)
        if teacher is None:
            return labels_twice(cls, dist, targets, **options)
        with torch.no_grad():
            answers = teacher.to(images.device)(images)  # (B, K)
        return KINDS[kind](cls, dist, targets, answers, **options)

    return loss


def labels_twice(
    cls: Tensor, dist: Tensor, targets: Tensor, weight: float = 0.5, label_smoothing: float = 0.0
) -> Tensor:
    """`hard_distillation` with the targets in place of the teacher's classes: two heads, and nothing else to learn."""
    labelled, again = (F.cross_entropy(scores, targets, label_smoothing=label_smoothing) for scores in (cls, dist))
    return (1 - weight) * labelled + weight * again


def _both(model: nn.Module, images: Tensor, compiled: dict[nn.Module, Callable]) -> tuple[Tensor, Tensor]:
    """The scores of both heads, or one head's twice; of a compiled model by a compiled `both`."""
    plain = getattr(model, "_orig_mod", model)
    if isinstance(plain, DistributedDataParallel) and hasattr(plain.module, "both"):
        kind = type(plain.module).__name__
        raise ValueError(f"a {kind} learns from a teacher in one process; start it without torchrun")
    if not hasattr(plain, "both"):
        scores = model(images)  # (B, K)
        return scores, scores
    if plain is not model and plain not in compiled:
        compiled[plain] = torch.compile(plain.both)
    return compiled.get(plain, plain.both)(images)
