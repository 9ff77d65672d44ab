"""DINO: a student that learns without labels to answer as its teacher does, who sees more of the picture.

Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", 2021, section 3.1, arXiv:2104.14294. The
teacher is the student's own average over the steps. What keeps both from giving one answer to every picture is that
the teacher's scores are centred and sharpened; either can be switched off.
"""

import copy
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitedu.block import Stack
from vitedu.initialise import at_least, count, initialise, probability
from vitedu.patch import pair, patch_grid
from vitedu.position import interpolate_positions
from vitedu.vit import ViT


@dataclass(frozen=True, kw_only=True)
class DINOConfig:
    """What there is beside the backbone; `ValueError` for numbers that make no sense. The defaults are the paper's."""

    outputs: int = 65_536  # K, of which nobody says what they stand for
    hidden: int = 2048  # width of the head's layers
    bottleneck: int = 256  # width of the vector before the last layer
    student_temperature: float = 0.1  # τ_s
    teacher_temperature: float = 0.04  # τ_t
    centre_momentum: float = 0.9  # share of the centre that each batch leaves
    momentum: float = 0.996  # share of the teacher that a step leaves, at first; at the end it leaves all
    centring: bool = True  # whether the mean of the teacher's scores is taken from them
    sharpening: bool = True  # whether the teacher has a temperature of its own, a lower one

    def __post_init__(self) -> None:
        for name in ("outputs", "hidden", "bottleneck"):
            count(name, getattr(self, name))
        for name in ("student_temperature", "teacher_temperature"):
            at_least(name, getattr(self, name), 0, above=True)
        for name in ("centre_momentum", "momentum"):
            probability(name, getattr(self, name))

    @property
    def sharpness(self) -> float:
        """The temperature that is used for the teacher; without sharpening that of the student."""
        return self.teacher_temperature if self.sharpening else self.student_temperature


class DINOHead(nn.Module):
    """Three layers down to a bottleneck, then cosines with K learned directions: (B, D) -> (B, K).

    The last layer is weight-normalised, its lengths fixed at one, and has no bias.
    """

    def __init__(self, dim: int, config: DINOConfig):
        super().__init__()
        hidden = config.hidden
        self.mlp = nn.Sequential(
            *(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU()),
            nn.Linear(hidden, config.bottleneck),
        )
        self.directions = nn.Parameter(torch.empty(config.outputs, config.bottleneck))
        initialise(self, "normal")
        nn.init.normal_(self.directions)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D) -> (B, K), each between -1 and 1."""
        return F.normalize(self.mlp(x), dim=1) @ F.normalize(self.directions, dim=1).T


class Branch(nn.Module):
    """A backbone and its head: images (B, C, H, W), of any size that P divides -> scores (B, K)."""

    def __init__(self, backbone: ViT, config: DINOConfig):
        super().__init__()
        self.backbone, self.head = backbone, DINOHead(backbone.width, config)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, K)."""
        return self.head(represent(self.backbone, images))


class DINO(nn.Module):
    """Views of B images in; the scores of the student for each view, and what the teacher says of the large ones, out.

    In training mode each pass moves the centre, as batch norm's statistics move. The teacher learns nothing from the
    loss: `update`, after each step of the optimiser, moves it towards the student.

    Args:
        backbone: of the student; the teacher starts as a copy, and is what is used at the end: `teacher.backbone`.
        config: the rest.
    """

    def __init__(self, backbone: ViT, config: DINOConfig):
        super().__init__()
        self.config, self.width = config, backbone.width
        self.student = Branch(backbone, config)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False).eval()
        self.register_buffer("centre", torch.zeros(config.outputs))

    @property
    def stages(self) -> list[Stack]:
        """The student's stacks of blocks."""
        return self.student.backbone.stages

    def train(self, mode: bool = True) -> "DINO":
        """The student's mode; the teacher stays in evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, large: Tensor, small: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Views (V, B, C, H, W), and smaller ones (S, B, C, h, w) or None -> scores, and answers of the teacher.

        The scores are the student's, (V + S, B, K), the large views first; the answers probabilities (V, B, K), without
        a gradient.
        """
        views = [large] if small is None else [large, small]
        scores = torch.cat([self.student(v.flatten(0, 1)).unflatten(0, v.shape[:2]) for v in views])  # (V + S, B, K)
        return scores, self.answers(large)

    @torch.no_grad()
    def answers(self, large: Tensor) -> Tensor:
        """What the teacher says of views (V, B, C, H, W): probabilities (V, B, K), centred and sharpened."""
        scores = self.teacher(large.flatten(0, 1)).float()  # (V·B, K)
        centre = self.centre.clone() if self.config.centring else 0.0
        if self.training:
            self.centre.lerp_(scores.mean(dim=0), 1 - self.config.centre_momentum)  # Eq. 4
        return ((scores - centre) / self.config.sharpness).softmax(dim=1).unflatten(0, large.shape[:2])

    @torch.no_grad()
    def update(self, progress: float) -> None:
        """Move the teacher towards the student. `progress` is the share of all steps that are done, up to 1.

        The share of it that stays rises from `momentum` to 1 along half a cosine. `fit(..., after_step=DINO.update)`.
        """
        moved = (1 - self.config.momentum) * (1 + math.cos(math.pi * progress)) / 2
        torch._foreach_lerp_(list(self.teacher.parameters()), list(self.student.parameters()), moved)


def cross_view_loss(scores: Tensor, answers: Tensor, temperature: float = 0.1) -> Tensor:
    """Cross-entropy of the teacher's answers with the student's, over all pairs of different views. Eq. 3.

    Args:
        scores: the student's, (V + S, B, K).
        answers: the teacher's, (V, B, K), of the first V views.
        temperature: τ_s, of the student.

    Returns:
        A scalar, in nats: the mean over V·(V + S) - V pairs and B images. ValueError if there is no pair.
    """
    if len(scores) < 2:
        raise ValueError(f"{len(scores)} view of each image, expected at least 2; a view is not compared with itself")
    logs = (scores.float() / temperature).log_softmax(dim=2)  # (V + S, B, K)
    pairs = [(t, v) for t in range(len(answers)) for v in range(len(scores)) if t != v]
    return torch.stack([-(answers[t] * logs[v]).sum(dim=1).mean() for t, v in pairs]).mean()


def entropies(answers: Tensor) -> tuple[float, float]:
    """Mean entropy of each answer, and the entropy of the mean answer: probabilities (..., K) -> nats, 0 to ln K.

    Collapsed to one class, both are 0; to the uniform answer, both are ln K. A teacher that tells images apart is sure
    of each (low) and uses many classes (high). Their difference is what an answer tells of its image.
    """
    flat = answers.flatten(0, -2).double()  # (B, K)
    each, mean = (torch.special.entr(p).sum(dim=-1).mean().item() for p in (flat, flat.mean(dim=0)))
    return each, mean


def represent(model: ViT, images: Tensor) -> Tensor:
    """`model.represent` for images of any size that P divides: (B, C, H, W) -> (B, D). Positions are interpolated."""
    if tuple(images.shape[-2:]) == pair(model.config.image_size):
        return model.represent(images)
    tokens, grid = model.patch_embed(images), patch_grid(tuple(images.shape[-2:]), model.config.patch_size)
    if model.cls_token is not None:
        tokens = torch.cat([model.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
    if model.positions.kind != "none":
        table = model.positions.vectors()
        tokens = tokens + interpolate_positions(table, model.grid, grid, model.config.num_prefix, "timm")
    tokens = model.encoder(model.dropout(tokens))
    return tokens[:, 0] if model.config.pool == "cls" else tokens.mean(dim=1)
