"""CLIP: an image tower and a text tower that learn which caption belongs to which picture.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021, section 2,
arXiv:2103.00020. Under the same weights the image tower is equal to that of the authors' code.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitedu.block import BlockOptions, Encoder, Stack
from vitedu.initialise import count, initialise, one_of
from vitedu.models.activation import ACTIVATIONS
from vitedu.patch import PatchEmbed
from vitedu.vit import PRESETS, ViT, ViTConfig

MOST_SCALE = math.log(100)  # of `CLIP.log_scale`


@dataclass(frozen=True, kw_only=True)
class ImageTowerConfig(ViTConfig):
    """Everything that decides the shape and the start of an `ImageTower`; `num_classes` is its output's width E."""

    num_classes: int = 512  # E
    activation: str = "quick_gelu"
    eps: float = 1e-5
    position_std: float = 0.02
    init: str = "normal"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("activation", self.activation, ACTIVATIONS)
        if self.pool != "cls" or self.representation_size:
            raise ValueError(
                f"pool {self.pool!r} and representation_size {self.representation_size}: the tower projects CLS with "
                "one linear map; use 'cls' and 0"
            )


class ImageTower(ViT):
    """Images (B, C, H, W) in, vectors (B, E) out: a `ViT` with a LayerNorm before the first block, too.

    Neither the embedding of the patches nor the projection of CLS at the end has a bias.

    >>> tower = ImageTower(ImageTowerConfig(image_size=8, patch_size=4, dim=8, depth=1, num_heads=2, num_classes=6))
    >>> tower(torch.zeros(2, 3, 8, 8)).shape
    torch.Size([2, 6])
    """

    def __init__(self, config: ImageTowerConfig):
        super().__init__(config)
        self.patch_embed = PatchEmbed(config.patch_size, config.in_channels, config.dim, bias=False)
        self.norm_pre = nn.LayerNorm(config.dim, eps=config.eps)
        self.head = nn.Linear(config.dim, config.num_classes, bias=False)
        for layer in (self.patch_embed, self.head):
            initialise(layer, config.init)
        use_activation(self.encoder, config.activation)

    def encode(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> tokens after the last LayerNorm, (B, 1 + N, D), CLS first."""
        self._check_size(images)
        patches = self.patch_embed(images)  #                            (B, N, D)
        cls = self.cls_token.expand(len(patches), -1, -1)  #             (B, 1, D)
        tokens = self.positions(torch.cat([cls, patches], dim=1))  #     (B, 1 + N, D)
        return self.encoder(self.norm_pre(self.dropout(tokens)))


@dataclass(frozen=True, kw_only=True)
class TextTowerConfig(BlockOptions):
    """Everything that decides the shape of a `TextTower`; the defaults are those beside the paper's B/32 and B/16."""

    vocabulary: int = 49_408  # words, or parts of words; the last one ends a text
    length: int = 77  # T, the most words a text can have, its end counted
    dim: int = 512  # D
    depth: int = 12
    num_heads: int = 8  # h
    width: int = 512  # E
    activation: str = "quick_gelu"
    eps: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("activation", self.activation, ACTIVATIONS)
        for name in ("vocabulary", "length", "dim", "depth", "num_heads", "width"):
            count(name, getattr(self, name))


class TextTower(nn.Module):
    """Texts as numbers of words (B, T) in, vectors (B, E) out: a Transformer whose words look back, never forward.

    So the token at the end of a text has seen all of it; its output is projected, and what stands behind is not seen.
    """

    def __init__(self, config: TextTowerConfig):
        super().__init__()
        self.config = config
        self.words = nn.Embedding(config.vocabulary, config.dim)
        self.positions = nn.Parameter(torch.randn(config.length, config.dim) * 0.01)
        self.encoder = Encoder(config.depth, config.dim, config.num_heads, **config.block_options)
        self.head = nn.Linear(config.dim, config.width, bias=False)
        initialise(self, "normal")
        nn.init.normal_(self.words.weight, std=0.02)
        use_activation(self.encoder, config.activation)

    def forward(self, texts: Tensor) -> Tensor:
        """(B, T) whole numbers, each row with one end of text, the highest number of the vocabulary -> (B, E)."""
        B, T = texts.shape
        if self.config.length < T:
            raise ValueError(f"texts have {T} words, the tower was built for {self.config.length}; shorten them")
        back = torch.ones(T, T, dtype=torch.bool, device=texts.device).tril()  # (T, T): True where a word may look
        tokens = self.encoder(self.words(texts) + self.positions[:T], back)  #   (B, T, D)
        ends = tokens[torch.arange(B, device=texts.device), texts.argmax(dim=1)]  # (B, D)
        return self.head(ends)


class CLIP(nn.Module):
    """Images (B, C, H, W) and texts (M, T) in, (B, M) out: how well each image goes with each text.

    These are cosines of the angle between their vectors, times a scale that is learned, 14.3 at first, at most 100.
    With the captions of K classes they are class scores: zero-shot classification (section 3.1).

    Args:
        image: of the image tower; or a network that gives vectors (B, E), such as a `HybridViT` with `num_classes` E.
            The paper trains residual networks as well.
        text: of the text tower.

    >>> image = ImageTowerConfig(image_size=8, patch_size=4, dim=8, depth=1, num_heads=2, num_classes=6)
    >>> text = TextTowerConfig(vocabulary=10, length=5, dim=8, depth=1, num_heads=2, width=6)
    >>> CLIP(image, text)(torch.zeros(2, 3, 8, 8), torch.tensor([[1, 2, 9]])).shape
    torch.Size([2, 1])
    """

    def __init__(self, image: ImageTowerConfig | nn.Module, text: TextTowerConfig):
        super().__init__()
        tower = ImageTower(image) if isinstance(image, ImageTowerConfig) else image
        if (width := tower.config.num_classes) != text.width:
            raise ValueError(f"images become {width} numbers and texts {text.width}; make num_classes equal")
        self.image, self.text, self.width = tower, TextTower(text), tower.width
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    @property
    def stages(self) -> list[Stack]:
        """Both towers' blocks."""
        return [*self.image.stages, self.text.encoder]

    @property
    def scale(self) -> Tensor:
        """What cosines are multiplied by, a scalar; beyond 100 it counts as 100, and its gradient still leads back."""
        beyond = (self.log_scale - MOST_SCALE).clamp(min=0)
        return (self.log_scale - beyond.detach()).exp()

    def forward(self, images: Tensor, texts: Tensor) -> Tensor:
        """(B, C, H, W), (M, T) -> scaled cosines (B, M)."""
        pictures, captions = F.normalize(self.image(images), dim=1), F.normalize(self.text(texts), dim=1)
        return self.scale * pictures @ captions.T  # (B, M)   figure 3


def contrastive_loss(scores: Tensor) -> Tensor:
    """Scores (B, B) of images and texts, the pairs on the diagonal -> a scalar, in nats. Figure 3 of the paper.

    Each image has to find its text among B, and each text its image: the mean of both cross-entropies.

    >>> contrastive_loss(torch.zeros(4, 4))  # all alike: ln 4
    tensor(1.3863)
    """
    pairs = torch.arange(len(scores), device=scores.device)
    return (F.cross_entropy(scores, pairs) + F.cross_entropy(scores.T, pairs)) / 2


def use_activation(encoder: Encoder, activation: str) -> None:
    """Put another non-linearity into every MLP, in place."""
    for block in encoder.blocks:
        block.mlp.activation = ACTIVATIONS[activation]()


# The image towers of the paper (table 20), by names as in `vitedu.vit`, with the width E of what they give.
WIDTHS = {"B/32": 512, "B/16": 512, "L/14": 768}


def preset(name: str, **changes) -> ImageTowerConfig:
    """The image tower called `name`, with `changes` to any field. ValueError for an unknown name."""
    one_of("preset", name, WIDTHS)
    size = PRESETS[name.replace("L/14", "L/16")] | {"patch_size": int(name[2:]), "num_classes": WIDTHS[name]}
    return ImageTowerConfig(**size | changes)
