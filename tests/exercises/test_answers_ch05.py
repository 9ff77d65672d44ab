"""Answers to chapters 5 to 7 that were once misjudged: right and refused, wrong and accepted, or told another slip."""

import math

import pytest
import torch
import torch.nn.functional as F

from vitedu.exercises import check
from vitedu.exercises.exercise import chapter_exercises


def unpatchify_into_zeros(tokens, patch, height, width):
    images = torch.zeros(len(tokens), tokens.shape[2] // patch**2, height, width)
    for n in range(tokens.shape[1]):
        top, left = n * patch // width * patch, n * patch % width
        images[:, :, top : top + patch, left : left + patch] = tokens[:, n].view(len(tokens), -1, patch, patch)
    return images


def patchify_as_on_the_page(images, patch, stride):
    """Rung 5, with another stride."""
    C = images.shape[1]
    kernels = torch.eye(C * patch * patch).unflatten(1, (C, patch, patch))
    return F.conv2d(images, kernels, stride=stride).flatten(2).transpose(1, 2)


def pad_into_zeros(images, patch):
    B, C, H, W = images.shape
    padded = torch.zeros(B, C, math.ceil(H / patch) * patch, math.ceil(W / patch) * patch)
    padded[:, :, :H, :W] = images
    return padded


def padded_if_the_width_asks_for_it(images, patch):
    H, W = images.shape[2:]
    return F.pad(images, (0, -W % patch, 0, -H % patch)) if W % patch else images


def count(height, width, patch):
    return height * width // patch**2


def instead_of_raising(value):
    return lambda height, width, patch: value if height % patch or width % patch else count(height, width, patch)


def count_with_assert(height, width, patch):
    assert height % patch == width % patch == 0
    return count(height, width, patch)


def lengths(first, added):
    found = [torch.tensor(first, dtype=added.dtype)]
    for step in added:
        found.append(torch.hypot(found[-1], step))
    return torch.stack(found)


def embedded(rows_of_patches, swap):
    def answer(images, weight, bias, cls_token, positions):
        tokens = swap(F.conv2d(images, weight, bias, stride=weight.shape[-1]).flatten(2))
        cls = (cls_token + positions[0]).expand(len(images), -1, -1)
        return torch.cat([cls, tokens + positions[rows_of_patches]], dim=1)

    return answer


def fitted(weight_of_all):
    def answer(table, grid):
        places = table[1:].unflatten(0, grid)
        both = places.mean(1, keepdim=True) + places.mean(0, keepdim=True) - weight_of_all * places.mean((0, 1))
        return torch.cat([table[:1], both.flatten(0, 1)])

    return answer


def transposed(part):
    def answer(layer):
        right = chapter_exercises(7)["7.6"].reference(layer)
        return {name: tensor.T if part in name and tensor.ndim == 2 else tensor for name, tensor in right.items()}

    return answer


RIGHT = [
    ("5.2", unpatchify_into_zeros),
    ("5.4", pad_into_zeros),
    ("5.5", patchify_as_on_the_page),
    ("6.4", lambda rows, columns: torch.stack([torch.cat([row, column]) for row in rows for column in columns])),
    ("6.3", embedded(slice(1, None), lambda tokens: tokens.permute(0, 2, 1))),
    ("6.5", fitted(1)),
    ("7.2", lambda x: torch.special.ndtr(x) + x * torch.tensor(2 * math.pi).rsqrt() * torch.exp(-x * x / 2)),
    ("7.3", lengths),
]
WRONG = [
    ("5.1", instead_of_raising(None), "likely slip: no error is raised"),
    ("5.1", instead_of_raising(ValueError("a side does not divide")), "likely slip: no error is raised"),
    ("5.1", count_with_assert, "`assert` raises an AssertionError"),
    ("5.4", padded_if_the_width_asks_for_it, "the width alone decides"),
    (
        "6.1",
        lambda H, W, C, P, D: D * (C * H * W + 3 + count(H, W, P)),
        "for each patch, or with a row for each number",
    ),
    ("6.2", lambda weight: weight.mT.flatten(1).T, "likely slip: rows and columns of each kernel are swapped"),
    (
        "6.3",
        embedded(slice(1, None), lambda tokens: tokens.reshape(len(tokens), -1, tokens.shape[1])),
        "one bug is left: `reshape`",
    ),
    ("6.3", embedded(slice(-1), lambda tokens: tokens.mT), "the patches have rows 0 to N - 1"),
    ("6.5", fitted(0), "counted twice"),
    ("7.3", lambda first, added: first + lengths(0.0, added), "the start is added after the root"),
    (
        "7.4",
        lambda x, b, keep, rate, training: x + b / (1 - rate * training) * (keep.any() | (not training)),
        "or any,",
    ),
    ("7.6", transposed("mlp"), "the weights of the MLP are transposed"),
]


@pytest.mark.parametrize(("exercise_id", "answer"), RIGHT)
def test_right_in_another_style(exercise_id, answer, capsys):
    check(exercise_id, answer)
    assert capsys.readouterr().out.startswith(f"Exercise {exercise_id}: passed (")


@pytest.mark.parametrize(("exercise_id", "answer", "part"), WRONG)
def test_wrong_and_told_why(exercise_id, answer, part, capsys):
    check(exercise_id, answer)
    line = capsys.readouterr().out
    assert line.startswith(f"Exercise {exercise_id}: not yet: ")
    assert part in line
