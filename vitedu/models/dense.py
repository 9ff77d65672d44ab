"""Dense prediction: an answer for each pixel, from the tokens of any model, by one linear map.

A token answers for the pixels under it. Several answers a token, laid out as its pixels are, are the sub-pixel
convolution of Shi et al. 2016, arXiv:1609.05158; one linear map in place of a decoder is Strudel et al., "Segmenter",
2021, section 3.2, arXiv:2105.05633.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from vitedu.models.cvt import CvT
from vitedu.models.swin import Swin
from vitedu.vit import ViT


def token_map(model: ViT | CvT | Swin, images: Tensor) -> Tensor:
    """The tokens behind the last LayerNorm, where they lie in the picture: (B, C, H, W) -> (B, gh, gw, D); no CLS."""
    if isinstance(model, Swin):
        return model.features(images)
    return model.encode(images)[:, model.config.num_prefix :].unflatten(1, model.grid)


def spread_out(answers: Tensor, side: int) -> Tensor:
    """side·side answers of each token, row by row, to where they belong: (B, gh, gw, side²) -> (B, gh·side, gw·side).

    >>> import torch
    >>> spread_out(torch.arange(8).view(1, 1, 2, 4), 2)[0]
    tensor([[0, 1, 4, 5],
            [2, 3, 6, 7]])
    """
    squares = answers.unflatten(-1, (side, side))  #         (B, gh, gw, side, side)
    return squares.transpose(2, 3).flatten(3).flatten(1, 2)  # (B, gh·side, gw·side)


class DensePrediction(nn.Module):
    """Images (B, C, H, W) in, a score for each pixel out, (B, H, W): above 0 it belongs to the object.

    Args:
        model: gives the tokens; its classifier is not used, and taken out.
        stride: pixels from one token to the next, P for a ViT.
        side: answers of a token along a side; 1 is one for its whole square, `stride` one for each pixel.

    ValueError unless `side` divides `stride`.
    """

    def __init__(self, model: ViT | CvT | Swin, stride: int, side: int | None = None):
        super().__init__()
        self.stride, self.side = stride, stride if side is None else side
        if self.side < 1 or stride % self.side:
            raise ValueError(f"side {side} does not divide stride {stride}; use 1, {stride}, or a divisor between")
        self.model, self.width = model, model.width
        model.head = nn.Identity()
        self.head = nn.Linear(model.width, self.side**2)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> scores before the sigmoid, (B, H, W)."""
        answers = spread_out(self.head(token_map(self.model, images)), self.side)  # (B, gh·side, gw·side)
        return F.interpolate(answers[:, None], scale_factor=self.stride // self.side)[:, 0]  # (B, H, W), each repeated
