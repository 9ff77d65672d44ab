"""Answers to the exercises of chapters 8, 9, 10 and 15 on which the checker once went wrong."""

import math
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vitedu.cost import block_parameters
from vitedu.exercises import check
from vitedu.exercises.chapter08 import count_vit, macs_vit
from vitedu.exercises.chapter09 import mean_scores


def normalised_by_a_module(tokens, gain, shift, weight, bias):
    """No gradient reaches the gain and the shift, and none is asked for."""
    norm = nn.LayerNorm(len(gain), eps=1e-6)
    norm.weight.data, norm.bias.data = gain, shift
    return norm(tokens)[:, 0] @ weight.T + bias


def maps_of_torch(tokens, weight, bias, num_heads):
    """A layer of float32."""
    layer = nn.MultiheadAttention(tokens.shape[-1], num_heads, batch_first=True)
    layer.in_proj_weight.data, layer.in_proj_bias.data = weight, bias
    return layer(tokens, tokens, tokens, average_attn_weights=False)[1]


def rate(rise, fall):
    def answer(step, total, warm, peak):
        return rise(step, warm, peak) if step < warm else peak * fall((step - warm) / (total - warm))

    return answer


def loss(log_p, pick=lambda log_p, labels: log_p[torch.arange(len(labels)), labels].mean()):
    def answer(logits, labels, eps):
        return -(1 - eps) * pick(log_p(logits), labels) - eps * log_p(logits).mean()

    return answer


def minus_the_largest_of_all(logits):
    shifted = logits - logits.max()
    return shifted - shifted.exp().sum(dim=1, keepdim=True).log()


def split(rule):
    def answer(model):
        named = list(model.named_parameters())
        return [[p for n, p in named if rule(n, p)], [p for n, p in named if not rule(n, p)]]

    return answer


def picture(row, scale=lambda row: row / row.sum(dim=-1, keepdim=True)):
    return lambda attention, *grid: scale(row(attention)).unflatten(-1, grid)


def picture_by_numbers(attention, rows, columns):
    pictures = torch.zeros(*attention.shape[:2], rows, columns)  # float32
    for n in range(rows * columns):
        pictures[:, :, n // columns, n % columns] = attention[:, :, 0, 1 + n] / (1 - attention[:, :, 0, 0])
    return pictures


def rolled(scale, join=torch.matmul, fuse=lambda attention: attention.amax(dim=1)):
    def answer(maps):
        result = None
        for attention in maps:
            step = scale((fuse(attention) + torch.eye(maps.shape[-1])) / 2)
            result = step if result is None else join(step, result)
        return result

    return answer


def maps_of_fused(width, dim=-1):
    def answer(x, weight, bias, heads):
        q, k, _ = F.linear(x, weight, bias).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        return (q @ k.mT / width(x.shape[-1], heads)).softmax(dim=dim)

    return answer


def kept(maps, share):
    values = maps.flatten(1)
    highest = values.topk(int(share * values.shape[1])).indices
    return torch.ones_like(values).scatter(1, highest, 0).view_as(maps)


def by_rows(mixed):
    return mixed / mixed.sum(dim=-1, keepdim=True)


def overlap(region):
    def answer(pictures, masks):
        regions = [region(picture, int(mask.sum())) for picture, mask in zip(pictures, masks, strict=True)]
        pairs = zip(regions, masks, strict=True)
        return torch.stack([(region & mask).sum() / (region | mask).sum() for region, mask in pairs])

    return answer


def accumulated(leaf):
    def answer(weight, x, labels, size):
        weight, total = leaf(weight), torch.zeros(weight.shape)
        for some, wanted in zip(x.split(size), labels.split(size), strict=True):
            total += torch.autograd.grad(F.cross_entropy(some @ weight.T, wanted, reduction="sum"), weight)[0] / len(x)
        return total

    return answer


def utilisation(speed, parameters, N, D, L, peak):
    return speed * N * (6 * parameters + 12 * L * N * D) / peak


def gpus(whole=math.ceil, first=lambda alone, limit: alone <= limit, never=lambda w, limit: w >= limit, number=float):
    def answer(*args):
        alone, size, rate, limit = (number(str(arg)) for arg in args)
        w = 2 * size / rate
        if first(alone, limit):
            return 1
        if never(w, limit):
            raise ValueError(f"the network alone takes {w} s")
        return whole((alone - w) / (limit - w))

    return answer


def gpus_up_to(most):
    def answer(alone, size, rate, limit):
        for n in range(1, most + 1):
            if alone / n + 2 * (n - 1) / n * size / rate <= limit:
                return n
        raise ValueError("too many")

    return answer


RIGHT = [
    ("8.2", normalised_by_a_module),
    ("8.5", maps_of_torch),
    ("9.3", split(lambda name, p: p.ndim == 2 and name != "positions.table")),  # a list of two
    ("9.5", lambda model, images: mean_scores(model.eval(), images)),
    ("10.1", picture_by_numbers),
    ("10.5", lambda maps: rolled(by_rows, lambda step, result: result @ step)(maps.flip(0))),
    ("10.6", overlap(lambda picture, k: picture >= picture.flatten().topk(k).values[-1])),
    ("15.2", accumulated(lambda weight: weight.clone().requires_grad_())),
    ("15.5", gpus(number=Fraction)),
    ("15.5", lambda *args: gpus()(*args) if args[0] <= args[3] else gpus_up_to(10**6)(*args)),
]
WRONG = [
    ("8.1", lambda N, CPP, D, L, K: count_vit(N, CPP, D, L, K) - 4 * D * L, "attention's four linear maps a bias each"),
    ("8.2", lambda z, g, s, W, b: F.layer_norm(z, g.shape, g, s, 1e-6)[:, 0] @ W + b, "the transpose of its weight"),
    ("8.3", lambda N, *size: (N + 1) * count_vit(N, *size), "parameters are multiplied by the N + 1 tokens"),
    ("8.3", lambda N, CPP, D, L, K: macs_vit(N, CPP, D, L, K) - 4 * L * (N + 1) * D * D, "one of the MLP's two layers"),
    ("8.4", lambda bytes, p, N, D, L: max(0, (bytes - 4 * p) // (64 * L * N * D)), "not yet in bytes"),
    ("8.4", lambda bytes, p, N, D, L: max(0, bytes // (64 * L * N * D) - p // (4 * L * N * D)), "two quotients"),
    ("9.1", rate(lambda s, w, peak: peak * (s + 1) / w, lambda part: math.cos(math.pi * part)), "falls to -1"),
    ("9.1", rate(lambda s, w, peak: peak * (s + 1) / w, lambda part: math.cos(math.pi / 2 * part)), "a quarter of a"),
    ("9.1", rate(lambda s, w, _: (s + 1) / w, lambda part: 0.5 + 0.5 * math.cos(math.pi * part)), "warm-up is not"),
    ("9.2", loss(minus_the_largest_of_all), "the largest logit of the whole batch"),
    ("9.2", loss(lambda logits: logits - logits.exp().sum(dim=1, keepdim=True).log()), "and so does the sum"),
    (
        "9.2",
        loss(lambda logits: logits.log_softmax(dim=1), lambda log_p, labels: log_p[:, labels].mean()),
        "every label in every row",
    ),
    ("9.3", split(lambda name, p: "bias" not in name and "norm" not in name), "neither `bias` nor `norm` in their"),
    ("9.3", split(lambda name, p: p.ndim == 2), "the position table decays too"),
    (
        "9.4",
        lambda S, P, D, L: 3 * (S // P) ** 2 * (L * 12 * D**2 + 2 * L * (S // P) ** 2 * D + P * P * D),
        "embedding",
    ),
    ("9.4", lambda S, P, D, L: 3 * L * (S // P) ** 2 * block_parameters(D), "parameters times tokens"),
    ("9.5", lambda model, images: mean_scores(model.train(), images), "leave its mode and its parameters as they are"),
    ("10.1", picture(lambda a: a[:, :, 0, 1:], lambda row: row / row.sum(dim=-1)), "keepdim=True"),
    ("10.1", picture(lambda a: a.mean(dim=1)[:, 0, 1:]), "the heads are averaged, and then scaled"),
    ("10.2", maps_of_fused(lambda D, heads: D**0.5), "divided by √d, not by √D (the other two"),
    ("10.2", maps_of_fused(lambda D, heads: (D / heads) ** 0.5, dim=-2), "the softmax runs over the queries"),
    ("10.3", lambda N, L, a: a**L, "the one path that stays on the residual throughout"),
    ("10.4", lambda x, maps, share: x * F.interpolate(1 - kept(maps, share)[:, None], x.shape[2:]), "are kept and all"),
    ("10.5", rolled(lambda mixed: mixed / mixed.sum(dim=-1)), "without `keepdim=True`"),
    ("10.5", rolled(by_rows, torch.mul), "number by number"),
    ("10.5", rolled(by_rows, fuse=lambda attention: attention.sum(dim=1)), "the heads are added up"),
    ("10.6", overlap(lambda picture, k: picture > picture.flatten().topk(k).values[-1]), "one patch too few"),
    ("10.6", overlap(lambda picture, k: picture > picture.median()), "the region is half of the picture"),
    ("15.1", lambda p, n, sharded: 4 * (-(-p // n) if sharded else p), "four numbers that are not yet in bytes"),
    ("15.2", accumulated(lambda weight: weight.requires_grad_()), "changes its input `weight` in place"),
    ("15.3", lambda *args: min(1.0, utilisation(*args)), "cut off at 1"),
    ("15.5", gpus(lambda n: int(n) + 1), "one GPU too many where the division leaves nothing over"),
    ("15.5", gpus(first=lambda alone, limit: alone < limit), "one GPU alone takes the limit exactly"),
    ("15.5", gpus(first=lambda alone, limit: False), "look at n = 1 first"),  # the text of its error is its own
    ("15.5", gpus(never=lambda w, limit: w > limit), "takes the limit exactly, no number of GPUs is enough"),
    ("15.5", gpus_up_to(1000), "only so many GPUs are tried"),
    ("15.5", gpus_up_to(100_000), "only so many GPUs are tried"),
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
