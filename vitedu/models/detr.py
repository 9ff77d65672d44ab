"""A small DETR: object detection as the prediction of a set, by a CNN, an encoder, a decoder and learned queries.

Carion et al., "End-to-End Object Detection with Transformers", 2020, arXiv:2005.12872.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vitedu.block import Encoder, Stack
from vitedu.capture import capture_attention
from vitedu.initialise import at_least, count
from vitedu.models.cnn import CNNConfig, ResNet
from vitedu.models.decoder import Decoder
from vitedu.patch import Size, check_images, pair
from vitedu.position import PositionEmbedding


@dataclass(frozen=True, kw_only=True)
class DETRConfig:
    """Everything that decides the shape of a `DETR`; `ValueError` if the numbers do not fit together."""

    image_size: Size = 64  # pixels, one side or (height, width)
    num_classes: int = 6  # K, "no object" not counted
    num_queries: int = 6  # Q, the most objects that can be found in an image
    dim: int = 64  # D
    num_heads: int = 4  # h
    encoder_depth: int = 2
    decoder_depth: int = 2
    mlp_ratio: float = 4.0
    widths: tuple[int, ...] = (24, 48, 96)  # channels of the CNN's stages; each stage after the first halves the sides
    stem_stride: int = 2

    def __post_init__(self) -> None:
        self.backbone.feature_size(self.image_size)  # checks both
        for name in ("num_classes", "num_queries", "dim", "num_heads", "encoder_depth", "decoder_depth"):
            count(name, getattr(self, name))
        at_least("mlp_ratio", self.mlp_ratio, 0, above=True)
        if self.dim % self.num_heads or self.dim % 4:
            raise ValueError(
                f"dim {self.dim} is not divisible by num_heads {self.num_heads} and by 4; "
                "heads need whole widths, positions sines and cosines of rows and of columns"
            )

    @property
    def backbone(self) -> CNNConfig:
        """The CNN in front."""
        return CNNConfig(widths=self.widths, depths=(1,) * len(self.widths), stem_stride=self.stem_stride)

    @property
    def grid(self) -> tuple[int, int]:
        """Tokens down and across: the size of the CNN's last feature map."""
        return self.backbone.feature_size(self.image_size)


class Predictions(NamedTuple):
    """What Q queries say about each image: a class, the last of which means *no object*, and a box.

    `logits` (B, Q, K + 1); `boxes` (B, Q, 4) as centre x, centre y, width, height in shares of the image's sides.
    """

    logits: Tensor
    boxes: Tensor

    @property
    def labels(self) -> Tensor:
        """The most likely class of each query, K for "no object", (B, Q)."""
        return self.logits.argmax(-1)  # (B, Q)

    @property
    def found(self) -> Tensor:
        """Which queries report an object, bool (B, Q)."""
        return self.labels != self.logits.shape[-1] - 1  # (B, Q)


class DETR(nn.Module):
    """Images (B, 3, H, W) in, a class and a box from each of Q queries out.

    >>> model = DETR(DETRConfig(num_queries=5))
    >>> predictions = model(torch.zeros(2, 3, 64, 64))
    >>> predictions.logits.shape, predictions.boxes.shape
    (torch.Size([2, 5, 7]), torch.Size([2, 5, 4]))
    """

    def __init__(self, config: DETRConfig):
        super().__init__()
        self.config, self.width = config, config.dim
        D, h, ratio = config.dim, config.num_heads, config.mlp_ratio
        self.backbone = ResNet(config.backbone)  # differs from the paper: trained from scratch, its batch norm too
        self.backbone.head = nn.Identity()  # nobody asks it for classes
        self.proj = nn.Linear(config.widths[-1], D)  # the paper's 1×1 convolution, applied to tokens
        # differs from the paper: positions are added once, and queries enter once, not in every attention layer
        self.positions = PositionEmbedding(config.grid, D, "sincos2d", num_prefix=0)
        # differs from the paper: pre-norm, and no dropout
        self.encoder = Encoder(config.encoder_depth, D, h, mlp_ratio=ratio)
        self.queries = nn.Parameter(torch.randn(config.num_queries, D))
        self.decoder = Decoder(config.decoder_depth, D, h, mlp_ratio=ratio)
        self.class_head = nn.Linear(D, config.num_classes + 1)
        hidden = [nn.Linear(D, D), nn.ReLU(), nn.Linear(D, D), nn.ReLU()]
        self.box_head = nn.Sequential(*hidden, nn.Linear(D, 4))

    @property
    def stages(self) -> list[Stack]:
        """The stacks of blocks, in the order in which they run."""
        return [self.encoder, self.decoder]

    def forward(self, images: Tensor) -> Predictions:
        """(B, 3, H, W) -> logits (B, Q, K + 1) and boxes (B, Q, 4)."""
        memory = self.encode(images)  # (B, N, D)
        return self.read(self.decoder(self.start(memory.shape[0]), memory))

    def by_layer(self, images: Tensor) -> list[Predictions]:
        """The predictions after each decoder block, the last of which is that of `forward`.

        Training asks every layer for the whole answer (section 3.2, auxiliary losses); the heads are shared.
        """
        memory, x, predictions = self.encode(images), self.start(images.shape[0]), []
        for block in self.decoder.blocks:
            x = block(x, memory)  # (B, Q, D)
            predictions.append(self.read(self.decoder.norm(x)))
        return predictions

    def encode(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> what the queries look at: one token for each position of the feature map, (B, N, D)."""
        check_images(images, 3)
        if tuple(images.shape[-2:]) != pair(self.config.image_size):
            height, width = pair(self.config.image_size)
            raise ValueError(f"images are {tuple(images.shape)}, expected (B, 3, {height}, {width}); resize them")
        features = self.backbone.features(images)  #         (B, C', gh, gw)
        tokens = self.proj(features.flatten(2).mT)  #        (B, N, D), N = gh·gw
        return self.encoder(self.positions(tokens))  #       (B, N, D)

    def start(self, count: int) -> Tensor:
        """The learned queries, the same for each of `count` images, (B, Q, D)."""
        return self.queries.expand(count, -1, -1)  # (B, Q, D)

    def read(self, x: Tensor) -> Predictions:
        """Queries after the decoder's norm (B, Q, D) -> their classes and boxes."""
        return Predictions(self.class_head(x), self.box_head(x).sigmoid())  # (B, Q, K + 1), (B, Q, 4)


@torch.no_grad()
def cross_attention(model: DETR, images: Tensor) -> Tensor:
    """Where each query looks: the weights of every decoder block and head, (B, blocks, h, Q, N).

    N counts the tokens of the feature map in raster order, `model.config.grid`; each row sums to one.
    """
    with capture_attention(model.decoder) as maps:  # of each block the queries' own attention, then this one
        model(images)
    return torch.stack(maps[1::2], dim=1)  # (B, blocks, h, Q, N)
