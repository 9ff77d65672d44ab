"""Training without labels, or with captions: losses for `fit`, and what to measure where there are no class scores.

He et al. 2021, arXiv:2111.06377 (MAE); Caron et al. 2021, arXiv:2104.14294 (DINO); Radford et al. 2021,
arXiv:2103.00020 (CLIP).

    fit(MAE(config), data, recipe, loss=masked_patches(), measure=measured(masked_patches()))
    fit(DINO(backbone, config), data, recipe, loss=self_distillation(), measure=…, after_step=DINO.update)
    fit(CLIP(image, text), with_captions(data), recipe, loss=matching_captions(texts), measure=…)
"""

import torch
from torch import Tensor, nn

from vitedu.data import Dataset, Split, normalise
from vitedu.device import amp_dtype, autocast
from vitedu.initialise import count
from vitedu.models.clip import contrastive_loss
from vitedu.models.dino import DINO, cross_view_loss
from vitedu.patch import Size, pair
from vitedu.train.augment import random_flip, random_tones, random_window
from vitedu.train.fit import Measure
from vitedu.train.loop import seeded
from vitedu.train.loss import Loss

Share = tuple[float, float]
UNCHANGED = (0.0, 0.0)  # tones
LARGE, SMALL = (0.4, 1.0), (0.05, 0.4)  # shares of the picture that a view of DINO shows: the paper's


def masked_patches() -> Loss:
    """The loss of `vitedu.models.mae.MAE`: how far what it painted is from what was removed."""

    def loss(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        predicted, removed = model(images)
        return _plain(model).loss(images, predicted, removed)

    return loss


def self_distillation(
    num_small: int = 4,
    small: Size | None = None,
    flip: bool = False,
    shares: tuple[Share, Share] = (LARGE, SMALL),
    tones: tuple[float, float] = UNCHANGED,
) -> Loss:
    """The loss of `vitedu.models.dino.DINO` on two large and some small views of each image.

    Beside the views go `fit`'s `after_step=DINO.update`, without which the teacher never moves, and no label.

    Args:
        num_small: small views, which the student alone sees.
        small: their size in pixels; None for half as many patches of the student down and across.
        flip: whether views are mirrored at random.
        shares: of the picture, from and to, that a large view and a small one show. Two views of an image have to have
            something in common, or the teacher says nothing that a student could know: of pictures that are themselves
            small, show more than the paper's shares.
        tones: how far brightness and contrast of each view are changed, as in `random_tones`. What differs between the
            views of an image cannot help the student to answer as the teacher does.
    """
    count("num_small", num_small, 0)

    def loss(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        dino = _plain(model)
        scores, answers = model(*multi_crop(images, num_small, small or _half(dino), flip, shares, tones))
        return cross_view_loss(scores, answers, dino.config.student_temperature)

    return loss


def multi_crop(
    images: Tensor,
    num_small: int,
    small: Size,
    flip: bool = False,
    shares: tuple[Share, Share] = (LARGE, SMALL),
    tones: tuple[float, float] = UNCHANGED,
) -> tuple[Tensor, Tensor | None]:
    """Images (B, C, H, W) -> large views (2, B, C, H, W) and small ones (S, B, C, h, w), None if there are to be none.

    A large view shows 40 to 100 per cent of the picture, a small one 5 to 40, if no other shares are asked for.
    """

    def view(share: Share, size: Size) -> Tensor:
        window = random_window(images, *share, size)
        window = random_flip(window) if flip else window
        return random_tones(window, *tones) if any(tones) else window

    # differs from the paper: nothing changes the hues of a view, blurs it or turns its tones round
    large = torch.stack([view(shares[0], tuple(images.shape[-2:])) for _ in range(2)])  # (2, B, C, H, W)
    return large, torch.stack([view(shares[1], small) for _ in range(num_small)]) if num_small else None


def matching_captions(texts: Tensor) -> Loss:
    """The loss of `vitedu.models.clip.CLIP` where a label is the number of a caption: texts (K, T), as words' numbers.

    Every image is told from the captions of the others in its part of the batch; where two have the same caption, one
    of the pairs that count as wrong is right.
    """

    def loss(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        return contrastive_loss(model(images, texts.to(images.device)[targets]))

    return loss


def measured(loss: Loss, seed: int = 0, batch_size: int = 500) -> Measure:
    """What `fit` notes of such a model after an epoch: its loss on the validation images, {"loss": nats, or squares}.

    In evaluation mode, and with the same random draws each time: the same patches are removed.
    """

    @torch.no_grad()
    def measure(model: nn.Module, split: Split, data: Dataset) -> dict[str, float]:
        device, was_training = next(model.parameters()).device, model.training
        model.eval()
        total = torch.zeros((), device=device)
        with seeded(seed, 0, device), autocast(device, amp_dtype(device, getattr(model, "width", 0))):
            for images, labels in zip(split.images.split(batch_size), split.labels.split(batch_size), strict=True):
                total += len(images) * loss(model, normalise(images.to(device), data.mean, data.std), labels.to(device))
        model.train(was_training)
        return {"loss": total.item() / len(split)}

    return measure


def _plain(model: nn.Module) -> nn.Module:
    """The model itself, where it is compiled or runs in several processes."""
    while isinstance(inner := getattr(model, "_orig_mod", getattr(model, "module", None)), nn.Module):
        model = inner
    return model


def _half(dino: DINO) -> tuple[int, int]:
    """The size in pixels of half the student's grid, rounded up."""
    backbone = dino.student.backbone
    height, width = (-(-side // 2) * P for side, P in zip(backbone.grid, pair(backbone.config.patch_size), strict=True))
    return height, width
