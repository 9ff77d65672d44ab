"""Chapters 1 and 2: right answers in other styles, and wrong ones that passed once or were told something untrue."""

import math

import pytest
import torch
import torch.nn.functional as F

from vitedu.exercises import check


def additive_with_zeros(q, k, v, W, U, w):
    out = torch.zeros(*q.shape[:2], v.shape[2])
    for b, queries in enumerate(q):
        for n, query in enumerate(queries):
            scores = torch.stack([w @ torch.tanh(W @ query + U @ key) for key in k[b]])
            out[b, n] = scores.softmax(dim=0) @ v[b]
    return out


def softmax_row_by_row(scores, mask):
    out, mask = torch.zeros(scores.shape), mask.expand_as(scores)
    for place in torch.cartesian_prod(*map(torch.arange, scores.shape[:2])).tolist():
        row, seen = scores[tuple(place)], mask[tuple(place)]
        if seen.any():
            out[(*place, seen)] = row[seen].softmax(dim=0)
    return out


def streamed(largest, first=-math.inf, new_scores=lambda z, old, new: z - new):
    """The running softmax of exercise 2.6, with the rule for the largest score so far replaced."""

    def answer(q, k, v, size):
        old, total, out = torch.full((len(q), 1), first), 0.0, 0.0
        for keys, values in zip(k.split(size), v.split(size), strict=True):
            z = q @ keys.T / math.sqrt(q.shape[1])
            new = largest(old, z.amax(dim=1, keepdim=True))
            exps, factor = new_scores(z, old, new).exp(), (old - new).exp()
            total, out, old = total * factor + exps.sum(dim=1, keepdim=True), out * factor + exps @ values, new
        return out / total

    return answer


def item_by_item(q, k, v, size):
    scores = [[(a @ b).item() / math.sqrt(q.shape[1]) for b in k] for a in q]
    exps = [[math.exp(score - max(row)) for score in row] for row in scores]
    return torch.tensor([[e / sum(row) for e in row] for row in exps]) @ v.float()


def less_a_bound(q, k, v, size):
    bound = q.norm(dim=1, keepdim=True) * k.norm(dim=1).max()
    exps = ((q @ k.T - bound) / math.sqrt(q.shape[1])).exp()
    return exps @ v / exps.sum(dim=1, keepdim=True)


def clipped(condition, norm=lambda a, b: math.hypot(a.norm(), b.norm())):
    def answer(a, b, m):
        scale = m / norm(a, b) if condition(a.norm(), b.norm(), m) else 1.0
        return a * scale, b * scale

    return answer


def filled(scores, mask):
    return scores.masked_fill(~mask, -math.inf).softmax(dim=-1)


def packed_in_loops(texts):
    B, N = texts.shape
    mask = torch.zeros(B, N, N).bool()
    for b in range(B):
        for n in range(N):
            for s in range(n + 1):
                mask[b, n, s] = texts[b, n] == texts[b, s] != -1
    return mask


def factor_row_by_row(scores, nats):
    """With steps of a tenth, then of a hundredth, and so on, as one would do it by hand."""
    found = []
    for z in scores:
        beta, step = 0.0, 1e4
        for _ in range(12):
            while torch.distributions.Categorical(logits=(beta + step) * z).entropy() > nats:
                beta += step
            step /= 10
        found.append(beta + step)
    return torch.tensor(found)


RIGHT = [
    ("1.3", lambda steps: torch.logit(torch.tensor(0.5) ** (1 / steps)).item()),
    ("1.5", clipped(lambda a, b, m: math.hypot(a, b) > m)),
    ("1.5", lambda a, b, m: [g * min(1.0, m / (math.hypot(a.norm(), b.norm()) + 1e-6)) for g in (a, b)]),
    ("1.6", additive_with_zeros),
    ("1.6", lambda *args: additive_with_zeros(*args).detach()),
    ("2.3", softmax_row_by_row),
    ("2.1", lambda x, W_q, W_k, W_v: F.scaled_dot_product_attention(x @ W_q, x @ W_k, x @ W_v)),
    ("2.2", packed_in_loops),
    ("2.4", lambda p: torch.where(p == p, 1 - p**2 / p.norm(dim=-1, keepdim=True) ** 2, p)),
    ("2.5", factor_row_by_row),
    ("2.6", streamed(torch.maximum)),
    ("2.6", item_by_item),
]

WRONG = [
    (
        "1.2",
        lambda N, k, far: math.floor(math.log(N, k)) if far else -(-(N - 1) // (k - 1)),
        "the logarithm is rounded",
    ),
    ("1.2", lambda N, k, far: math.ceil(math.log(N - 1, k)) if far else -(-(N - 1) // (k - 1)), "not yet"),
    ("1.5", clipped(lambda a, b, m: a > m or b > m), "together they can be too long when neither is"),
    ("1.5", clipped(lambda a, b, m: True, lambda a, b: torch.cat([a, b[None]]).norm()), "not yet"),
    ("1.6", lambda q, k, v, *W: additive_with_zeros(q[:1], k[:1], v[:1], *W).expand(len(q), -1, -1), "(B = 1) only"),
    (
        "2.3",
        lambda scores, mask: torch.where(mask.any(-1, True), filled(scores, mask), 1 / scores.shape[-1]),
        "1/S each",
    ),
    ("2.3", lambda scores, mask: filled(scores, mask | ~mask.any(-1, True)), "has without a mask"),
    ("2.3", lambda scores, mask: F.softmax(scores + mask.float().log(), -1).nan_to_num(), "gradient with respect to"),
    ("2.3", lambda scores, mask: filled(scores, mask).nan_to_num().detach(), "no gradient flows back to `scores`"),
    ("2.6", streamed(lambda old, new: torch.where(old.isinf(), new, old)), "stays that of the first chunk"),
    ("2.6", streamed(lambda old, new: new), "the newest chunk's maximum"),
    (
        "2.6",
        streamed(lambda old, new: torch.maximum(old, new) if (new > old).all() else old),
        "stays that of the first",
    ),
    ("2.6", streamed(torch.maximum, new_scores=lambda z, old, new: z - old), "shifted by the old maximum"),
    ("2.6", less_a_bound, "a bound such as"),
    ("2.6", streamed(lambda old, new: old, first=0.0), "exp overflows for large scores"),
]


@pytest.mark.parametrize(("exercise_id", "answer"), RIGHT)
def test_right_answers_pass(exercise_id, answer, capsys):
    check(exercise_id, answer)
    assert capsys.readouterr().out.startswith(f"Exercise {exercise_id}: passed (")


@pytest.mark.parametrize(("exercise_id", "answer", "part"), WRONG)
def test_wrong_answers_are_refused_for_the_true_reason(exercise_id, answer, part, capsys):
    check(exercise_id, answer)
    text = capsys.readouterr().out
    assert text.startswith(f"Exercise {exercise_id}: not yet: ")
    assert part in text
