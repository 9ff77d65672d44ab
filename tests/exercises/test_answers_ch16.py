"""Answers to the exercises of chapter 16 that are right in another way, and some that are wrong and must not pass."""

import pytest
import torch
import torch.nn.functional as F

from vitedu.exercises import check
from vitedu.models.clip import contrastive_loss
from vitedu.models.mae import pick


def kept_one_by_one(tokens, noise, n):
    """Image by image; the way back as ranks that are counted."""
    visible = torch.stack([image[values.sort().indices[:n]] for image, values in zip(tokens, noise, strict=True)])
    return visible, (noise[:, None] < noise[:, :, None]).sum(dim=2)


def kept_by_the_book(tokens, noise, n):
    order = noise.sort(dim=1).indices
    return pick(tokens, order[:, :n]), torch.zeros_like(order).scatter(
        1, order, torch.arange(order.shape[1]).expand_as(order)
    )


def both_ways_by_the_book(pictures, captions, scale):
    return contrastive_loss(scale * F.cosine_similarity(pictures[:, None], captions[None], dim=2))


def both_ways_by_loops(pictures, captions, scale):
    p = pictures / pictures.norm(dim=1, keepdim=True)
    c = captions / captions.norm(dim=1, keepdim=True)
    total = pictures.new_zeros(())
    for i in range(len(p)):
        total = total + (scale * c @ p[i]).logsumexp(0) + (scale * p @ c[i]).logsumexp(0) - 2 * scale * p[i] @ c[i]
    return total / (2 * len(p))


def teacher_by_hand(scores, centre, temperature, momentum):
    weights = ((scores - centre) / temperature - ((scores - centre) / temperature).amax(1, keepdim=True)).exp()
    return [weights / weights.sum(1, keepdim=True), centre.lerp(scores.mean(0), 1 - momentum)[None]]


def zero_shot_by_loops(pictures, prompts):
    columns = []
    for one in prompts:
        mean = torch.stack([prompt / prompt.norm() for prompt in one]).sum(dim=0)
        columns.append(F.cosine_similarity(pictures, mean[None], dim=1))
    return torch.stack(columns, dim=1)


def painting_loss_by_mask(images, predicted, removed, patch):
    B, C = images.shape[:2]
    blocks = images.unfold(2, patch, patch).unfold(3, patch, patch)  # (B, C, gh, gw, P, P)
    patches = blocks.permute(0, 2, 3, 4, 5, 1).reshape(B, -1, patch * patch * C)
    return F.mse_loss(predicted[removed], patches[removed])


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        ("16.1", kept_one_by_one),
        ("16.1", kept_by_the_book),
        ("16.2", both_ways_by_the_book),
        ("16.2", both_ways_by_loops),
        ("16.3", teacher_by_hand),
        ("16.4", zero_shot_by_loops),
        ("16.5", painting_loss_by_mask),
    ],
)
def test_a_right_answer_of_another_kind_passes(exercise, answer, capsys):
    check(exercise, answer)
    assert capsys.readouterr().out.startswith(f"Exercise {exercise}: passed")


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        ("16.1", lambda tokens, noise, n: tokens[:, :n]),
        ("16.1", lambda tokens, noise, n: (tokens, noise)),
        ("16.2", lambda pictures, captions, scale: torch.tensor(0.0)),
        ("16.3", lambda scores, centre, temperature, momentum: scores.softmax(dim=1)),
        ("16.3", lambda scores, centre, temperature, momentum: (scores.softmax(dim=1), torch.zeros(()))),
        ("16.4", lambda pictures, prompts: pictures @ pictures.T),
        ("16.5", lambda images, predicted, removed, patch: predicted.mean()),
    ],
)
def test_a_wrong_answer_is_told_so(exercise, answer, capsys):
    check(exercise, answer)
    assert capsys.readouterr().out.startswith(f"Exercise {exercise}: not yet")
