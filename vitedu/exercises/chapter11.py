"""The exercises of chapter 11, data, scale and inductive bias."""

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vitedu.exercises import compare
from vitedu.exercises.exercise import Case, batch_traits, exercise, formulas, on
from vitedu.models.deit import soft_distillation

# 11.1 ----------------------------------------------------------------------------------------------------------------


def count_second_token(height: int, width: int, patch: int, dim: int, num_classes: int) -> int:
    """D for the token, D for its position, (D + 1)·K for its head."""
    return 2 * dim + (dim + 1) * num_classes


MODELS = [
    (224, 224, 16, 192, 1000),  # DeiT-Ti
    (224, 224, 16, 384, 1000),
    (32, 48, 8, 64, 10),
    (28, 28, 7, 48, 3),
    (8, 16, 4, 5, 1),
]


@formulas(*MODELS[0])
def _second_tokens(H, W, P, D, K):
    N, head = (H // P) * (W // P), (D + 1) * K
    right = 2 * D + head
    return {
        "D numbers are missing: the token is a learned vector, and its position is another": D + head,
        "the head that reads the token is missing: (D + 1)·K numbers": 2 * D,
        "token and position are missing, D numbers each": head,
        "the head has a bias, one number for each class": 2 * D + D * K,
        "the bias has one number for each class, K, and not D": 2 * D + D * K + D,
        "every token gets a new position here; those of CLS and the patches are there already": (
            D + (N + 2) * D + head
        ),
        "one position is added, not one for each patch": D + N * D + head,
        "one position is added; those of CLS and the patches are there already": D + (N + 1) * D + head,
        "the head reads the distillation token alone, not CLS beside it": 2 * D + (2 * D + 1) * K,
        "two heads are counted; that of CLS is there already": 2 * D + 2 * head,
        "CLS and its position are counted, too; they are there already": 4 * D + head,
        "D numbers are too many: the token and its position, and nothing else of this length": 3 * D + head,
        "the token does not pass through E, and E is there already": right + 3 * P * P * D,
        "the token does not pass through E, and E with its bias is there already": right + (3 * P * P + 1) * D,
        "no block gets weights for the new token: all tokens share them": right + 3 * D * D,
        "no block gets weights for the new token: all tokens share the projections": right + 4 * D * D,
        "token and position are counted for each class; only the head grows with K": (3 * D + 1) * K,
    }


exercise("11.1", count_second_token, lambda: on(*MODELS), _second_tokens, difference=compare.integers)


# 11.2 ----------------------------------------------------------------------------------------------------------------


def shares_by_cue(logits: Tensor, shape: Tensor, texture: Tensor) -> Tensor:
    """(N, K), (N,), (N,) -> (3,): shares of the conflicting pictures named by shape, by texture, by neither."""
    return _shares()(logits, shape, texture)


def _cue_cases() -> list[Case]:
    generator, cases = torch.Generator().manual_seed(0), []
    for N, K, agreeing in [(12, 6, 0), (20, 6, 7), (6, 6, 2), (1, 4, 0), (9, 3, 3), (30, 5, 1)]:
        logits = torch.randn(N, K, generator=generator)
        shape = torch.randint(K, (N,), generator=generator)
        texture = (shape + 1 + torch.randint(K - 1, (N,), generator=generator)) % K
        texture[:agreeing] = shape[:agreeing]
        answer = logits.argmax(dim=1)  # every second one of those that conflict is named by shape or by texture
        for n in range(agreeing, N, 2):
            cue = shape if n % 3 else texture
            other = texture if n % 3 else shape
            if other[n] != answer[n]:
                cue[n] = answer[n]
        cases.append(Case((logits, shape, texture), traits=batch_traits(N)))
    return cases


def _shares(among=lambda answer, s, t: s != t, order=(0, 1, 2), scale=lambda hits, asked: hits / asked.sum()):
    """The shares with one step changed: which pictures count, the order, and what the counts are divided by."""

    def answer(logits: Tensor, shape: Tensor, texture: Tensor) -> Tensor:
        named = logits.argmax(dim=1)
        asked = among(named, shape, texture)
        by_shape, by_texture = ((named == cue) & asked for cue in (shape, texture))
        neither = asked & ~by_shape & ~by_texture
        hits = torch.stack([by_shape.sum(), by_texture.sum(), neither.sum()]).float()
        return scale(hits, asked)[list(order)]

    return answer


def _probabilities(logits: Tensor, shape: Tensor, texture: Tensor) -> Tensor:
    asked = shape != texture
    p = logits.softmax(dim=1)[asked]
    by_shape, by_texture = (p.gather(1, cue[asked, None]).mean() for cue in (shape, texture))
    return torch.stack([by_shape, by_texture, 1 - by_shape - by_texture])


def _along(axis: int, largest: bool = True):
    def answer(logits: Tensor, shape: Tensor, texture: Tensor) -> Tensor:
        named = logits.argmax(dim=axis) if largest else logits.argmin(dim=axis)
        asked = shape != texture
        shares = [(named[asked] == cue[asked]).float().mean() for cue in (shape, texture)]
        return torch.stack([*shares, 1 - sum(shares)])

    return answer


def _rest(rest):
    def answer(logits: Tensor, shape: Tensor, texture: Tensor) -> Tensor:
        by_shape, by_texture, _ = shares_by_cue(logits, shape, texture)
        return torch.stack([by_shape, by_texture, rest(by_shape, by_texture)])

    return answer


def _everywhere(logits: Tensor, shape: Tensor, texture: Tensor) -> Tensor:
    named = logits.argmax(dim=1)
    by_shape, by_texture = ((named == cue).float().mean() for cue in (shape, texture))
    return torch.stack([by_shape, by_texture, 1 - by_shape - by_texture])


def _two_best(logits: Tensor, shape: Tensor, texture: Tensor) -> Tensor:
    best, asked = logits.topk(2, dim=1).indices, shape != texture
    by_shape, by_texture = ((best == cue[:, None]).any(1)[asked] for cue in (shape, texture))
    return torch.stack([hits.float().mean() for hits in (by_shape, by_texture, ~by_shape & ~by_texture)])


mistakes = {
    "pictures whose cues agree are counted; they cannot tell which cue was read": _shares(
        lambda answer, s, t: torch.ones_like(s, dtype=torch.bool)
    ),
    "pictures whose cues agree are counted, both for shape and for texture, and the rest is too small": _everywhere,
    "the hits are divided by all pictures, and only those whose cues differ were asked": _shares(
        scale=lambda hits, asked: hits / len(asked)
    ),
    "texture comes first; the order is shape, texture, neither": _shares(order=(1, 0, 2)),
    "the order is shape, texture, neither": _shares(order=(2, 0, 1)),
    "these are counts; divide them by the number of pictures whose cues differ": _shares(scale=lambda hits, _: hits),
    "this is per cent; give shares": _shares(scale=lambda hits, asked: 100 * hits / asked.sum()),
    "the first two are divided by each other's sum, the shape bias of Geirhos et al.; answers that name neither "
    "count among the pictures, too": _shares(
        scale=lambda hits, asked: torch.cat([hits[:2] / hits[:2].sum(), hits[2:] / asked.sum()])
    ),
    "only pictures named by one of their cues are counted; those named by neither were asked, too": _shares(
        lambda answer, s, t: (s != t) & ((answer == s) | (answer == t))
    ),
    "neither is what is left of 1 after shape *and* texture; texture is not taken off": _rest(lambda s, t: 1 - s),
    "neither is what is left of 1 after shape *and* texture; shape is not taken off": _rest(lambda s, t: 1 - t),
    "the last share is that of pictures named by one of the two cues, not by neither": _rest(lambda s, t: s + t),
    "mean probabilities are taken; count the answers, the class of the largest score": _probabilities,
    "the largest score is looked for among the pictures; take it along the classes, `dim=1`": _along(0),
    "the smallest score is taken": _along(1, largest=False),
    "the second-best class counts as an answer, too; there is one answer for a picture": _two_best,
    "the pictures whose cues agree are the ones that are kept; keep those whose cues differ": _shares(
        lambda answer, s, t: s == t
    ),
}
exercise("11.2", shares_by_cue, _cue_cases, mistakes)


# 11.3 ----------------------------------------------------------------------------------------------------------------


def weight_per_image(weight: float, batch: int, num_classes: int) -> float:
    """The λ' for which (1 - λ')·CE + λ'·KL/B is a multiple of (1 - λ)·CE + λ·KL/(B·K): λ / (λ + (1 - λ)·K)."""
    return weight / (weight + (1 - weight) * num_classes)


WEIGHTS = [(0.1, 128, 1000), (0.5, 64, 10), (0.9, 1, 100), (0.25, 32, 3), (0.0, 16, 10), (1.0, 16, 10), (0.7, 10, 1)]


@formulas(*WEIGHTS[0])
def _weights(w, B, K):
    right, rest = w / (w + (1 - w) * K), 1 - w
    return {
        "dividing λ by K is not enough: the weight of the labels, 1 - λ', changes with λ'": w / K,
        "B is in both averages and cancels out; and 1 - λ' changes with λ'": w / (B * K),
        "here the term is made K times heavier; the average over B·K numbers makes it lighter": w * K / (w * K + rest),
        "the ratio of the two terms is right now; a weight is the first over the sum of both": (
            w / (rest * K) if rest else math.inf
        ),
        "B is in both averages and cancels out; K is what differs": w / (w + rest * B),
        "B is in both averages and cancels out": w / (w + rest * B * K),
        "this is 1 - λ', the weight of the labels": 1 - right,
        "nothing is changed, but the term is K times as large once it is divided by B alone": w,
        "λ times K: that is the wrong way, and may be more than 1": w * K,
        "λ times K, cut off at 1: that is the wrong way": min(1.0, w * K),
        "the weight of the labels is 1 - λ; the other code weighs them with that, not with 1": w / (w + K),
        "the two weights are swapped: λ is that of the teacher's term": rest / (rest + w * K),
        "the ratio of the weights, λ / (1 - λ), is not the weight; divide by the sum of both": (
            w / rest if rest else math.inf
        ),
        "the square root of K belongs to standard deviations; a mean over K times as many numbers is K times as "
        "small": w / (w + rest * math.sqrt(K)),
        "K - 1 in the place of K: the average is over all K classes": w / (w + rest * (K - 1)),
    }


exercise("11.3", weight_per_image, lambda: on(*WEIGHTS), _weights, difference=compare.floats)


# 11.4 ----------------------------------------------------------------------------------------------------------------


def soft_loss(cls: Tensor, dist: Tensor, labels: Tensor, teacher: Tensor, weight: float, tau: float) -> Tensor:
    """(1 - weight)·CE(cls, labels) + weight·τ²·KL(teacher at τ, dist at τ), each the mean over the images."""
    return soft_distillation(cls, dist, labels, teacher, weight=weight, temperature=tau)


def _loss_cases() -> list[Case]:
    generator, cases = torch.Generator().manual_seed(0), []
    for B, K, weight, tau in [(4, 6, 0.3, 3.0), (1, 5, 0.5, 2.0), (7, 3, 0.1, 1.5), (3, 3, 0.8, 1.0), (5, 4, 0.6, 4.0)]:
        cls, dist, teacher = (2 * torch.randn(B, K, generator=generator) for _ in range(3))
        labels = torch.randint(K, (B,), generator=generator)
        cases.append(Case((cls, dist, labels, teacher, weight, tau), traits=batch_traits(B)))
    return cases


BUGS = {
    "`F.cross_entropy` wants scores, not probabilities": "probabilities",
    "the teacher's scores are to be divided by τ, as the student's are": "cold teacher",
    '`reduction="mean"` divides by B·K; the mean over the images is "batchmean"': "all numbers",
    "without τ² a high temperature makes the term small": "no square",
    "the weights are swapped: `weight` is that of the teacher's term": "swapped",
}


def _with(bugs: tuple[str, ...], **changed):
    """The loss with these bugs left in; `changed` puts other parts in."""

    def answer(cls: Tensor, dist: Tensor, labels: Tensor, teacher: Tensor, weight: float, tau: float) -> Tensor:
        if changed.get("crossed"):
            cls, dist = dist, cls
        labelled = F.cross_entropy(cls.softmax(dim=1) if "probabilities" in bugs else cls, labels)
        student = F.log_softmax(dist / changed.get("student", lambda tau: tau)(tau), dim=changed.get("axis", 1))
        wanted = F.softmax(teacher if "cold teacher" in bugs else teacher / tau, dim=changed.get("axis", 1))
        if changed.get("reversed"):
            student, wanted = wanted.log(), student.exp()
        taught = F.kl_div(student, wanted, reduction="sum") / (dist.numel() if "all numbers" in bugs else len(dist))
        taught = changed.get("taught", lambda student, wanted, taught: taught)(student, wanted, taught)
        taught = taught * (1 if "no square" in bugs else changed.get("factor", lambda tau: tau**2)(tau))
        first, second = (weight, 1 - weight) if "swapped" in bugs else (1 - weight, weight)
        return first * labelled + second * taught

    return answer


def _left_in(bugs: tuple[str, ...]) -> str:
    """The hint for a loss with these bugs."""
    count = len(BUGS) - len(bugs)
    found = f"{count} of the five bugs {'is' if count == 1 else 'are'} mended" if count else "no bug is mended"
    return f"{found}; still there: {'; '.join(bugs)}"


mistakes = {
    _left_in(bugs): _with(tuple(BUGS[bug] for bug in bugs))
    for count in range(1, len(BUGS) + 1)
    for bugs in itertools.combinations(BUGS, count)
} | {
    "all of its bugs are mended, but the divergence runs the wrong way: the teacher is what the student is measured "
    "against": _with((), reversed=True),
    "the heads are crossed: `cls` learns the labels, `dist` learns from the teacher": _with((), crossed=True),
    "`taught` is multiplied by τ once; the gradient of each softmax brings 1/τ, so it takes τ²": _with(
        (), factor=lambda tau: tau
    ),
    "`taught` is divided by τ² here; the temperature has made it small, so multiply": _with(
        (), factor=lambda tau: tau**-2
    ),
    "the softmax runs over the images; it runs over the classes, `dim=1`": _with((), axis=0),
    "a cross-entropy with the teacher's shares is not the divergence: it is larger by the teacher's entropy": _with(
        (), taught=lambda student, wanted, taught: -(wanted * student).sum(dim=1).mean()
    ),
    'the sum over the batch is not divided by B: `reduction="sum"` grows with the batch': _with(
        (), taught=lambda student, wanted, taught: taught * len(student)
    ),
    "the student's scores are to be divided by τ, too": _with((), student=lambda tau: 1.0),
    "the two terms are added without their weights": lambda cls, dist, labels, teacher, weight, tau: (
        F.cross_entropy(cls, labels) + soft_loss(cls, dist, labels, teacher, 1.0, tau)
    ),
    "the teacher's class is learned, which is hard distillation; learn its softened probabilities": (
        lambda cls, dist, labels, teacher, weight, tau: (
            (1 - weight) * F.cross_entropy(cls, labels) + weight * F.cross_entropy(dist, teacher.argmax(dim=1))
        )
    ),
    "the labels' term is missing": lambda cls, dist, labels, teacher, weight, tau: (
        weight * soft_loss(cls, dist, labels, teacher, 1.0, tau)
    ),
    "the teacher's term is missing": lambda cls, dist, labels, teacher, weight, tau: (
        (1 - weight) * F.cross_entropy(cls, labels)
    ),
}
exercise("11.4", soft_loss, _loss_cases, mistakes)


# 11.5 ----------------------------------------------------------------------------------------------------------------


def overtakes(sizes: list[int], vit: Tensor, cnn: Tensor) -> float:
    """The first of the sizes from which on every run of the ViT beats every run of the CNN; infinity if none is."""
    return _first()(sizes, vit, cnn)


def _race_cases() -> list[Case]:
    def runs(*rows: tuple) -> Tensor:
        return torch.tensor(rows)

    sizes, flat = [100, 1000, 10_000, 100_000], runs((0.5, 0.52), (0.6, 0.61), (0.7, 0.72), (0.8, 0.81))
    return on(
        (sizes, runs((0.3, 0.32), (0.5, 0.59), (0.73, 0.75), (0.85, 0.9)), flat),
        (sizes, runs((0.55, 0.6), (0.5, 0.59), (0.71, 0.75), (0.85, 0.9)), flat),  # ahead, behind, apart at the end
        (sizes, runs((0.3, 0.32), (0.62, 0.7), (0.715, 0.8), (0.85, 0.9)), flat),  # the mean is ahead, one run is not
        (sizes, flat - 0.2, flat),  # never
        (sizes, flat + 0.1, flat),  # always
        (sizes, flat.clone(), flat),
        ([50, 500], runs((0.2, 0.3, 0.1), (0.5, 0.62, 0.61)), runs((0.25, 0.2, 0.3), (0.4, 0.3, 0.5))),  # one is level
        ([7], runs((0.6,)), runs((0.5,))),
        ([7], runs((0.1, 0.9)), runs((0.5, 0.6))),  # the best run alone is ahead
        ([7], runs((0.55, 0.56)), runs((0.5, 0.9))),  # of the worst runs alone
        ([7], runs((0.6, 0.62)), runs((0.4, 0.7))),  # the mean of the mean, not of the best run
        ([10, 20, 40], runs((0.5,), (0.9,), (0.4,)), runs((0.6,), (0.5,), (0.6,))),  # ahead in the middle alone
        ([10, 20, 40], runs((0.2, 0.9), (0.7, 0.8), (0.7, 0.9)), runs((0.3, 0.4), (0.5, 0.6), (0.6, 0.65))),
    )


def _first(
    ahead=lambda vit, cnn: vit.amin(1) > cnn.amax(1), stays: bool = True, shown=lambda sizes, n: float(sizes[n])
):
    """The search with one step changed: when it is ahead, whether it has to stay so, and what is returned."""

    def answer(sizes: list[int], vit: Tensor, cnn: Tensor) -> float:
        yes = ahead(vit, cnn).tolist()
        for n in range(len(sizes)):
            if all(yes[n:]) if stays else yes[n]:
                return shown(sizes, n)
        return math.inf

    return answer


def _last(sizes: list[int], vit: Tensor, cnn: Tensor) -> float:
    yes = (vit.amin(1) > cnn.amax(1)).tolist()
    return float(max((size for size, one in zip(sizes, yes, strict=True) if one), default=math.inf))


mistakes = {
    "means are compared; every run of the ViT has to beat every run of the CNN": _first(
        lambda vit, cnn: vit.mean(1) > cnn.mean(1)
    ),
    "it is ahead here, and behind again at a larger size: it has to stay ahead": _first(stays=False),
    "means are compared, and it need not stay ahead": _first(lambda vit, cnn: vit.mean(1) > cnn.mean(1), stays=False),
    "runs are compared in pairs, the first with the first; their seeds have nothing to do with one another": _first(
        lambda vit, cnn: (vit > cnn).all(1)
    ),
    "the best run of the ViT is compared; take its worst and the CNN's best": _first(
        lambda vit, cnn: vit.amax(1) > cnn.amin(1)
    ),
    "the best runs are compared; take the worst of the ViT and the best of the CNN": _first(
        lambda vit, cnn: vit.amax(1) > cnn.amax(1)
    ),
    "the worst runs are compared; take the worst of the ViT and the best of the CNN": _first(
        lambda vit, cnn: vit.amin(1) > cnn.amin(1)
    ),
    "the CNN's mean is compared; take its best run": _first(lambda vit, cnn: vit.amin(1) > cnn.mean(1)),
    "the ViT's mean is compared; take its worst run": _first(lambda vit, cnn: vit.mean(1) > cnn.amax(1)),
    "a run that is level has not beaten the other: `>` and not `>=`": _first(
        lambda vit, cnn: vit.amin(1) >= cnn.amax(1)
    ),
    "ViT and CNN are swapped": _first(lambda vit, cnn: cnn.amin(1) > vit.amax(1)),
    "this is the number of the size in the list; return the size": _first(shown=lambda sizes, n: n),
    "this is an accuracy; return the size": lambda sizes, vit, cnn: (
        vit[sizes.index(n)].mean().item() if (n := overtakes(sizes, vit, cnn)) < math.inf else n
    ),
    "this is the largest size at which it is ahead; return the first from which on it is": _last,
    "this is the last of the sizes; it is ahead from a smaller one on": lambda sizes, vit, cnn: (
        float(sizes[-1]) if vit[-1].amin() > cnn[-1].amax() else math.inf
    ),
    "this is the size before: the last at which it is not ahead": _first(
        shown=lambda sizes, n: float(sizes[max(n - 1, 0)])
    ),
    "the runs are taken along the wrong axis: each row holds the runs of one size": _first(
        lambda vit, cnn: (vit.amin(0) > cnn.amax(0)).repeat(len(vit))[: len(vit)]
    ),
    "where it never overtakes the answer is `math.inf`, not 0": lambda *args: (
        0.0 if overtakes(*args) == math.inf else overtakes(*args)
    ),
    "where it never overtakes the answer is `math.inf`, not -1": lambda *args: (
        -1.0 if overtakes(*args) == math.inf else overtakes(*args)
    ),
    "where it never overtakes the answer is `math.inf`, not the largest size": lambda sizes, *runs: min(
        overtakes(sizes, *runs), float(sizes[-1])
    ),
    "the largest size alone decides; it has to be ahead from the returned size on": lambda sizes, vit, cnn: (
        float(sizes[0]) if vit[-1].amin() > cnn[-1].amax() else math.inf
    ),
}
exercise("11.5", overtakes, _race_cases, mistakes, difference=compare.floats)
