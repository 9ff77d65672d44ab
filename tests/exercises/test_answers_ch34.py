"""Answers to the exercises of chapters 3 and 4 on which the checker once went wrong."""

import math

import pytest
import torch
import torch.nn.functional as F

from vitedu.exercises import check


def nine_heads(
    arange, pad=1, score=lambda delta, offset, alpha: -alpha * (delta - offset).square().sum(dim=-1), dim=-1
):
    """Exercise 4.5 by the page's own recipe: positions by `arange`, in whatever type `arange` gives."""

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


def blur_then_largest(x):
    for axis in (2, 3):
        x = (x.roll(1, axis) + 2 * x + x.roll(-1, axis)) / 4
    return torch.stack([x.roll((-i, -j), (2, 3)) for i in (0, 1) for j in (0, 1)]).amax(dim=0)[:, :, ::2, ::2]


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


def interval_with(grow, start=lambda first, padding, step: first - padding * step):
    """From the first layer on: what each adds to the width, and how its padding moves the start."""

    def answer(kernels, strides, paddings, place):
        first, width, step = place * math.prod(strides), 0, 1
        for kernel, stride, padding in zip(kernels, strides, paddings, strict=True):
            first, width, step = start(first, padding, step), width + grow(kernel) * step, step * stride
        return first, first + width

    return answer


def writing_in_closed_form(count, dim, keep):
    if keep:
        return 24 * count * dim**2 + 2 * count * (count + 1) * dim
    return 12 * count * (count + 1) * dim**2 + 2 * count * (count + 1) * (2 * count + 1) * dim // 3


def seen_by_swapping(score, tokens, symbols):
    """Each token becomes the symbol before its own, the last of all for symbol 0; exact comparison."""
    table = torch.zeros(tokens.shape[1], tokens.shape[1], dtype=torch.bool)
    for m in range(tokens.shape[1]):
        other = torch.cat([tokens[:, :m], (tokens[:, m : m + 1] - 1) % symbols, tokens[:, m + 1 :]], dim=1)
        table[:, m] = (score(other) != score(tokens)).any(dim=2).any(dim=0)
    return table


def beam_of_lists(score, start, length, width):
    texts = [(0.0, [start])]
    for _ in range(length):
        more = []
        for total, text in texts:
            gains = F.log_softmax(score(torch.tensor([text]))[0, -1], dim=0).tolist()
            more += [(total + gain, [*text, symbol]) for symbol, gain in enumerate(gains)]
        texts = sorted(more, reverse=True)[:width]
    return torch.tensor(texts[0][1][1:])


def on_a_parabola(bend, reach):
    def answer(count):
        n = torch.arange(count).float()
        keys = torch.stack([n, bend * n**2], dim=1)
        return 100 * torch.stack([reach * n.flip(0), torch.ones(count)], dim=1), keys

    return answer


RIGHT = [
    ("3.2", seen_by_swapping),
    ("3.4", writing_in_closed_form),
    ("3.5", beam_of_lists),
    ("3.6", lambda count: list(on_a_parabola(-1, 2)(count))),
    ("4.1", interval_with(lambda k: k - 1)),
    ("4.2", dense_in_float32),
    ("13.4", iou_one_by_one),
    ("4.5", nine_heads(floats)),
    ("4.5", nine_heads(torch.arange)),
    ("4.5", nine_heads(floats, score=lambda d, o, a: -a * ((d[..., 0] - o[0]) ** 2 + (d[..., 1] - o[1]) ** 2))),
]

WRONG = [
    ("3.2", lambda score, tokens, symbols: seen_by_swapping(score, tokens, symbols).mT, "the table is transposed"),
    ("3.4", lambda N, D, keep: writing_in_closed_form(N, D, not keep), "the two are swapped"),
    ("3.5", lambda score, start, length, width: beam_of_lists(score, start, length, 1), "this is greedy"),
    ("3.6", on_a_parabola(1, 2), "a parabola that opens the wrong way"),
    ("3.6", on_a_parabola(-1, 1), "make it (2m, 1)"),
    ("4.1", interval_with(lambda k: k), "adds k instead of k - 1"),
    ("4.1", interval_with(lambda k: k - 1, lambda first, padding, step: first - padding), "are added up as they are"),
    ("4.1", interval_with(lambda k: k - 1, lambda first, padding, step: first), "the paddings are missing"),
    ("4.2", group_by_the_number_of_groups, "o // (D // groups)"),
    ("4.3", blur_then_largest, "the blur comes before the maximum"),
    (
        "4.4",
        lambda x, w1, w2: x * F.relu(x.mean((0, 2, 3))[None] @ w1.T @ w2.T).sigmoid()[..., None, None],
        "as it stands",
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
