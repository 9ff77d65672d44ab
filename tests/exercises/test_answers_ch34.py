"""Answers to the exercises of chapters 3 and 4 on which the checker once went wrong."""

import math

import pytest
import torch
import torch.nn.functional as F

from vitedu.exercises import check


def nine_heads(
    arange, pad=1, score=lambda delta, offset, alpha: -alpha * (delta - offset).square().sum(dim=-1), dim=-1
):
    """Exercise 4.5 by the page's own recipe: positions as for Figure 4.10, in whatever type `arange` gives."""

    def answer(images, weight, alpha):
        padded = F.pad(images, [pad] * 4)
        H, W = padded.shape[-2:]
        rows, columns = torch.meshgrid(arange(H), arange(W), indexing="ij")
        positions = torch.stack([rows.flatten(), columns.flatten()], dim=1)
        delta, tokens, total = positions[None] - positions[:, None], padded.flatten(2).mT, 0
        for i in range(3):
            for j in range(3):
                scores = score(delta, torch.tensor([i - 1, j - 1]), alpha)
                total = total + scores.softmax(dim=dim) @ tokens @ weight[:, :, i, j].T
        return total.mT.unflatten(2, (H, W))[:, :, pad : H - pad, pad : W - pad]

    return answer


def floats(count):
    return torch.arange(float(count))


def dense_in_float32(weight, groups):
    D, each, k, _ = weight.shape
    dense = torch.zeros(D, each * groups, k, k)
    for o in range(D):
        dense[o, o // (D // groups) * each :][:each] = weight[o]
    return dense


def group_by_the_number_of_groups(weight, groups):
    D, each, k, _ = weight.shape
    dense = torch.zeros(D, each * groups, k, k)
    for o in range(D):
        dense[o, o // groups * each : (o // groups + 1) * each] = weight[o]
    return dense


def iou_one_by_one(a, b):
    table = torch.zeros(len(a), len(b))
    for i, (x, y, w, h) in enumerate(a.tolist()):
        for j, (X, Y, W, H) in enumerate(b.tolist()):
            across = max(0, min(w, W, (w + W) / 2 - abs(x - X)))
            both = across * max(0, min(h, H, (h + H) / 2 - abs(y - Y)))
            table[i, j] = both / (w * h + W * H - both)
    return table


def iou_place_by_place(a, b):
    low = torch.maximum(a[:, :2] - a[:, 2:] / 2, b[:, :2] - b[:, 2:] / 2)
    both = (torch.minimum(a[:, :2] + a[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2) - low).clamp(min=0).prod(dim=1)
    return both / (a[:, 2:].prod(dim=1) + b[:, 2:].prod(dim=1) - both)


def field_with(grow):
    return lambda kernels, strides: 1 + sum(grow(k) * math.prod(strides[:m]) for m, k in enumerate(kernels))


def flops(projections, mlp, attention):
    return lambda H, W, P, D: (
        (projections + mlp) * (H * W // P**2) * D**2 + attention * (H // P) ** 2 * (W // P) ** 2 * D
    )


def on_a_parabola(bend, reach):
    def answer(count):
        n = torch.arange(count).float()
        keys = torch.stack([n, bend * n**2], dim=1)
        return 100 * torch.stack([reach * n.flip(0), torch.ones(count)], dim=1), keys

    return answer


RIGHT = [
    ("3.4", flops(8, 16, 4)),
    ("3.6", lambda count: list(on_a_parabola(-1, 2)(count))),
    ("4.2", dense_in_float32),
    ("13.4", iou_one_by_one),
    ("4.5", nine_heads(floats)),
    ("4.5", nine_heads(torch.arange)),
    ("4.5", nine_heads(floats, score=lambda d, o, a: -a * ((d[..., 0] - o[0]) ** 2 + (d[..., 1] - o[1]) ** 2))),
]

WRONG = [
    ("3.4", flops(8, 8, 4), "or one of the MLP's two layers"),
    ("3.4", flops(0, 16, 4), "the four projections"),
    ("3.4", flops(8, 4, 4), "the MLP's hidden width is counted as D"),
    ("3.4", flops(4, 8, 4), "multiply–adds are not doubled"),
    ("3.4", flops(8, 16, 2), "or their multiply–adds are not doubled"),
    ("3.6", on_a_parabola(1, 2), "a parabola that opens the wrong way"),
    ("3.6", on_a_parabola(-1, 1), "make it (2m, 1)"),
    ("4.1", field_with(lambda k: 2 * (k // 2)), "one too many for an even kernel"),
    ("4.1", field_with(lambda k: 2 * ((k - 1) // 2)), "loses one of an even kernel"),
    ("4.1", field_with(lambda k: k // 2), "only one side is counted"),
    ("4.1", field_with(lambda k: 2), "that is k - 1 of a 3 × 3 window"),
    ("4.2", group_by_the_number_of_groups, "o // (D // groups)"),
    (
        "4.3",
        lambda f, x, p, s: (f(x.roll(p, 3)) - f(x).roll(int(p / s), 3)).norm().div(f(x).norm()).item(),
        "also below",
    ),
    ("13.4", iou_place_by_place, "meet in all pairs"),
    ("4.5", nine_heads(floats, dim=0), "the softmax runs over the queries"),
    ("4.5", nine_heads(floats, score=lambda d, o, a: -a * (d - o).square().sum(-1).sqrt()), "distance is not squared"),
    ("4.5", nine_heads(torch.arange, score=lambda d, o, a: -((d - o) ** 2).sum(-1).float()), "α is missing"),
    ("4.5", nine_heads(floats, score=lambda d, o, a: -a * (d + o).square().sum(-1)), "look to the opposite side"),
    ("4.5", nine_heads(floats, score=lambda d, o, a: -a * (d**2 - o**2).sum(-1)), "Δ has no effect"),
    ("4.5", nine_heads(floats, pad=2), "the rim is two places wide"),
    ("4.5", nine_heads(floats, score=lambda d, o, a: -20 * (d - o).square().sum(-1)), "this is the convolution itself"),
]


@pytest.mark.parametrize(("exercise_id", "answer"), RIGHT)
def test_right_answers_pass(exercise_id, answer, capsys):
    """Whatever they are in double precision."""
    check(exercise_id, answer)
    assert f"Exercise {exercise_id}: passed (" in capsys.readouterr().out


@pytest.mark.parametrize(("exercise_id", "answer", "hint"), WRONG)
def test_wrong_answers_get_a_true_name(exercise_id, answer, hint, capsys):
    check(exercise_id, answer)
    before, _, slip = capsys.readouterr().out.partition("likely slip: ")
    assert "not yet" in before
    assert hint in slip


def test_no_trait_of_the_images_stands_for_the_size_of_alpha(capsys):
    """In 4.6, an answer that is right for a large α only is not told "right for C = 3 only"."""
    check("4.5", nine_heads(floats, score=lambda d, o, a: -max(a, 8.0) * (d - o).square().sum(-1)))
    assert "right for" not in capsys.readouterr().out
