"""Answers to the exercises of chapter 12 that are right in another way, and some that are wrong and must not pass."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vitedu.exercises import check
from vitedu.models.cvt import ConvProjection


def queries_and_keys_by_convolutions(height, width):
    """A list, and the sizes from convolutions themselves."""
    x, found = torch.zeros(1, 1, height, width), []
    for stage, (kernel, stride, padding) in enumerate([(7, 4, 2), (3, 2, 1), (3, 2, 1)]):
        x = F.conv2d(x, torch.zeros(1, 1, kernel, kernel), None, stride, padding)
        keys = F.conv2d(x, torch.zeros(1, 1, 3, 3), None, 2, 1)
        found += [x.numel() + (stage == 2), keys.numel() + (stage == 2)]
    return found


def projection_of_the_book(x, rows, kernel, gain, shift, weight, stride):
    D = x.shape[2]
    project = ConvProjection(D, "conv", stride, "zeros").to(x.dtype).train()
    project.conv.weight.data, project.norm.weight.data, project.norm.bias.data = kernel, gain, shift
    project.linear.weight.data = weight
    project.linear.bias.data.zero_()
    return project(x, (rows, (x.shape[1] - 1) // rows))


def stage_by_images(x, weights, keep, rate):
    """Without a mask: the images that keep a branch, one by one."""
    x = x.clone()
    for l, weight in enumerate(weights):
        p = rate * l / max(1, len(weights) - 1)
        for image in range(len(x)):
            if keep[l, image]:
                x[image] = x[image] + x[image] @ weight / (1 - p)
    return x


def smallest_roll_by_trying(strides, kv_strides):
    roll = 0
    while True:
        roll += 1
        token, suits = 1, True
        for stride, kv_stride in zip(strides, kv_strides, strict=True):
            token *= stride
            suits &= roll % (token * kv_stride) == 0
        if suits:
            return roll


def merged_by_impulses(kernel, gain, shift, mean, variance, weight, bias):
    """What the three steps answer to a single one in the middle of each channel, turned round; and to nothing."""
    D = len(gain)
    norm = nn.BatchNorm2d(D).to(kernel.dtype).eval()
    norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var = gain, shift, mean, variance

    def steps(x):
        features = norm(F.conv2d(x, kernel, padding=1, groups=D))
        return torch.einsum("bihw,oi->bohw", features, weight) + bias[:, None, None]

    impulses = torch.zeros(D, D, 5, 5, dtype=kernel.dtype)
    impulses[range(D), range(D), 2, 2] = 1
    nothing = steps(torch.zeros_like(impulses[:1]))
    answers = (steps(impulses) - nothing)[:, :, 1:4, 1:4]  # (i, o, 3, 3)
    return [answers.flip(2, 3).transpose(0, 1), nothing[0, :, 2, 2]]


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        ("12.1", queries_and_keys_by_convolutions),
        ("12.3", projection_of_the_book),
        ("12.4", stage_by_images),
        ("12.5", smallest_roll_by_trying),
        ("12.6", merged_by_impulses),
    ],
)
def test_a_right_answer_of_another_kind_passes(exercise, answer, capsys):
    check(exercise, answer)
    assert capsys.readouterr().out.startswith(f"Exercise {exercise}: passed")


@pytest.mark.parametrize(
    ("exercise", "answer", "said"),
    [
        ("12.6", lambda kernel, *others: kernel, "not yet"),
        ("12.6", lambda kernel, gain, *others: (kernel, gain), "not yet"),
        ("12.5", lambda strides, kv_strides: 32, "not yet"),
        ("12.4", lambda x, weights, keep, rate: x, "not yet"),
    ],
)
def test_a_wrong_answer_is_told_so(exercise, answer, said, capsys):
    check(exercise, answer)
    assert capsys.readouterr().out.startswith(f"Exercise {exercise}: {said}")
