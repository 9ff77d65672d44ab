"""Answers to the exercises of chapter 11 as readers may write them: other right ones pass, wrong ones are named."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vitedu.cost import count_parameters
from vitedu.exercises import check
from vitedu.models.deit import DistilledViT
from vitedu.vit import ViT, ViTConfig


def counted(height, width, patch, dim, num_classes):
    """By building both models, with one block of one head."""
    config = ViTConfig(
        image_size=(height, width), patch_size=patch, dim=dim, depth=1, num_heads=1, num_classes=num_classes
    )
    return count_parameters(DistilledViT(config)) - count_parameters(ViT(config))


def shares_by_counting(logits, shape, texture):
    counts = [0, 0, 0]
    for scores, s, t in zip(logits.tolist(), shape.tolist(), texture.tolist(), strict=True):
        if s != t:
            named = scores.index(max(scores))
            counts[0 if named == s else 1 if named == t else 2] += 1
    return torch.tensor(counts) / sum(counts)


def shares_by_bins(logits, shape, texture):
    conflict = shape != texture
    named = logits[conflict].max(dim=1).indices
    kind = torch.where(named == shape[conflict], 0, torch.where(named == texture[conflict], 1, 2))
    return torch.bincount(kind, minlength=3) / conflict.sum()


def by_hand(cls, dist, labels, teacher, weight, tau):
    p, q = (teacher / tau).softmax(1), (dist / tau).softmax(1)
    kl = (p * (p.log() - q.log())).sum(1).mean()
    return (1 - weight) * -cls.log_softmax(1)[torch.arange(len(cls)), labels].mean() + weight * tau * tau * kl


def by_modules(cls, dist, labels, teacher, weight, tau):
    kl = nn.KLDivLoss(reduction="batchmean", log_target=True)
    taught = kl((dist / tau).log_softmax(-1), (teacher / tau).log_softmax(-1))
    return torch.lerp(nn.CrossEntropyLoss()(cls, labels), tau**2 * taught, weight)


def by_two_cross_entropies(cls, dist, labels, teacher, weight, tau):
    p = (teacher / tau).softmax(1)
    own = torch.special.entr(p).sum(1).mean()
    return (1 - weight) * F.cross_entropy(cls, labels) + weight * tau**2 * (F.cross_entropy(dist / tau, p) - own)


def overtaken(better, least=min):
    def answer(sizes, vit, cnn):
        ahead = [n for n, size in enumerate(sizes) if all(better(v, c) for v in vit[n] for c in cnn[n])]
        from_on = [sizes[n] for n in ahead if set(range(n, len(sizes))) <= set(ahead)]
        return least(from_on, default=math.inf)

    return answer


def to_the_first_from_behind(sizes, vit, cnn):
    first = math.inf
    for size, v, c in zip(sizes[::-1], vit.flip(0), cnn.flip(0), strict=True):
        if v.min() <= c.max():
            return first
        first = size
    return first


RIGHT = [
    ("11.1", counted),
    ("11.1", lambda height, width, patch, dim, num_classes: dim * (2 + num_classes) + num_classes),
    ("11.2", shares_by_counting),
    ("11.2", shares_by_bins),
    ("11.3", lambda weight, batch, num_classes: 1 / (1 + (1 - weight) * num_classes / weight) if weight else 0.0),
    ("11.3", lambda w, B, K: (w / (B * K)) / (w / (B * K) + (1 - w) / B)),
    ("11.4", by_hand),
    ("11.4", by_modules),
    ("11.4", by_two_cross_entropies),
    ("11.5", overtaken(lambda v, c: v > c)),
    ("11.5", to_the_first_from_behind),
]
WRONG = [
    ("11.1", lambda height, width, patch, dim, num_classes: 2 * dim, "the head that reads the token is missing"),
    ("11.1", lambda h, w, p, dim, classes: count_parameters(nn.Linear(dim, classes)), "token and position are missing"),
    ("11.2", lambda logits, s, t: shares_by_bins(logits, t, s), "texture comes first"),
    ("11.2", lambda logits, s, t: shares_by_counting(-logits, s, t), "the smallest score is taken"),
    ("11.3", lambda weight, batch, num_classes: weight / num_classes, "dividing λ by K is not enough"),
    ("11.3", lambda w, B, K: K * w / (K * w + 1 - w), "the average over B·K numbers makes it lighter"),
    ("11.4", lambda c, d, y, t, w, tau: by_hand(c.softmax(1), d, y, t, w, tau), "wants scores, not probabilities"),
    ("11.4", lambda c, d, y, t, w, tau: by_hand(c, d, y, t, 1 - w, tau), "4 of the five bugs are mended"),
    ("11.4", lambda c, d, y, t, w, tau: by_hand(c, d, y, t * tau, w, tau), "the teacher's scores are to be divided"),
    ("11.4", lambda c, d, y, t, w, tau: by_hand(c, t, y, d, w, tau), "runs the wrong way"),
    ("11.5", overtaken(lambda v, c: v >= c), "`>` and not `>=`"),
    ("11.5", overtaken(lambda v, c: v < c), "ViT and CNN are swapped"),
    ("11.5", overtaken(lambda v, c: v > c, least=max), "this is the last of the sizes"),
]


@pytest.mark.parametrize(("exercise", "answer"), RIGHT)
def test_other_right_answers_pass(exercise, answer, capsys):
    check(exercise, answer)
    assert capsys.readouterr().out.startswith(f"Exercise {exercise}: passed")


@pytest.mark.parametrize(("exercise", "answer", "said"), WRONG)
def test_wrong_answers_are_named(exercise, answer, said, capsys):
    check(exercise, answer)
    line = capsys.readouterr().out
    assert "not yet" in line
    assert said in line
