"""Mixup and CutMix: pictures of a batch blended, or pasted into one another, and their labels in the same shares.

Mixup: Zhang et al. 2017, arXiv:1710.09412. CutMix: Yun et al. 2019, arXiv:1905.04899.
"""

from collections.abc import Callable

from torch import Tensor

Mixer = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def mixer(mixup: float, cutmix: float, num_classes: int) -> Mixer:
    """What turns images (B, C, H, W) and labels (B,) into mixed images and targets (B, K), rows of shares.

    Args:
        mixup: both parameters of the Beta distribution from which the share of the first picture is drawn; 0 for none.
        cutmix: the same for the share of the area that stays. With both, each batch draws which of the two it gets.
        num_classes: K.

    With neither, images and labels come back as they are. Partners are neighbours in the batch, whose order is random.
    """
    if not (mixup or cutmix):
        return lambda images, labels: (images, labels)
    from torchvision.transforms import v2  # importing torchvision takes seconds

    kinds = ((v2.MixUp, mixup), (v2.CutMix, cutmix))
    chosen = [kind(alpha=alpha, num_classes=num_classes) for kind, alpha in kinds if alpha > 0]
    return v2.RandomChoice(chosen)
