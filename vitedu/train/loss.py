"""The loss of a task. A training loop knows no task: it asks for loss(model, images, targets) -> scalar."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

# The model is called inside, so that a loss may call it twice, or another model beside it. Images are normalised,
# augmented and mixed, (B, C, H, W); targets are the labels (B,), or after mixing the shares of the classes (B, K). The
# result is the mean over the images.
Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


def classification(label_smoothing: float = 0.0) -> Loss:
    """Cross-entropy of the model's class scores, in nats.

    >>> import torch
    >>> loss = classification()
    >>> loss(nn.Identity(), torch.zeros(4, 10), torch.arange(4)).item()  # ln 10
    2.302585...
    """

    def loss(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(model(images), targets, label_smoothing=label_smoothing)

    return loss
