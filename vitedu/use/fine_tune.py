"""Fine-tuning a published model on the small pictures of CIFAR-10, all of its weights.

Dosovitskiy et al., "An Image Is Worth 16x16 Words", 2020, appendix B.1.1, arXiv:2010.11929.
"""

import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitedu.block import Stack
from vitedu.data import Dataset
from vitedu.train import TrainConfig, evaluate, fit
from vitedu.train.augment import Augment
from vitedu.use.published import Preparation

# As in the paper: momentum, no weight decay, clipping at 1, cosine.
FINE_TUNING = TrainConfig(
    epochs=3,
    batch_size=64,
    optimizer="sgd",
    lr=3e-3,
    weight_decay=0.0,
    warmup=0.05,
    label_smoothing=0.0,
    augment=Augment(flip=True, crop=4),
)


class Enlarged(nn.Module):
    """A model for small pictures: (B, C, H, W) are enlarged to (B, C, side, side) before it sees them."""

    def __init__(self, model: nn.Module, side: int):
        super().__init__()
        self.model, self.side, self.width = model, side, getattr(model, "width", 0)

    @property
    def stages(self) -> list[Stack]:
        """Those of the model."""
        return self.model.stages

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, K)."""
        return self.model(F.interpolate(images, size=(self.side, self.side), mode="bicubic", align_corners=False))


def fine_tune(
    model: nn.Module,
    data: Dataset,
    prepare: Preparation,
    config: TrainConfig = FINE_TUNING,
    device: torch.device | None = None,
    shown: bool = True,
) -> tuple[float, float]:
    """Train all weights of a model with a new head on small pictures, which it sees enlarged and normalised as ever.

    Returns:
        Accuracy on the test split, looked at once, and the seconds of training.
    """
    as_it_was = data.normalised_by(torch.tensor(prepare.mean), torch.tensor(prepare.std))
    network, began = Enlarged(model, prepare.crop), time.perf_counter()
    fit(network, as_it_was, config, device=device, shown=shown)
    seconds = time.perf_counter() - began
    return evaluate(network, data.test, as_it_was, batch_size=100).accuracy, seconds
