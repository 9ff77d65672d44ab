"""The exercises of chapter 16, where next."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vitedu.exercises.exercise import Answer, Case, batch_traits, distinct, exercise, formulas
from vitedu.models.pixels import to_patches
from vitedu.patch import patchify


def _random(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def _pair(returned: Any, args: tuple) -> Any:
    """Two tensors that were asked for, laid side by side: (B, n, D) and (B, N) -> (B, n·D + N)."""
    if isinstance(returned, tuple | list) and len(returned) == 2 and all(isinstance(one, Tensor) for one in returned):
        first, second = (one.flatten(1) if one.ndim > 1 else one[None] for one in returned)
        return torch.cat([first, second.to(first.dtype)], dim=1) if len(first) == len(second) else first
    return returned


# 16.1 ----------------------------------------------------------------------------------------------------------------
def keep_some(tokens: Tensor, noise: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Tokens (B, N, D), noise (B, N) -> those n of least noise, in its order, (B, n, D), and the way back, (B, N)."""
    return _kept(tokens, noise.argsort(dim=1), n)


def _kept(tokens: Tensor, order: Tensor, n: int, back: Tensor | None = None) -> tuple[Tensor, Tensor]:
    index = order[:, :n, None].expand(-1, -1, tokens.shape[2])
    return tokens.gather(1, index), order.argsort(dim=1) if back is None else back


def _keep_case(B: int, N: int, D: int, n: int, dtype=torch.float32) -> Case:
    noise = torch.rand(B, N, generator=torch.Generator().manual_seed(B * N))
    label = f"tokens {(B, N, D)}, noise {(B, N)}, n = {n}" + (", float64" if dtype == torch.float64 else "")
    return Case((distinct(B, N, D, dtype=dtype), noise, n), label=label, traits=batch_traits(B))


def _keep_cases() -> list[Case]:
    sizes = [(2, 8, 3, 2), (1, 9, 2, 3), (3, 16, 4, 4), (2, 7, 1, 6)]
    return [*(_keep_case(*size) for size in sizes), _keep_case(2, 12, 2, 3, torch.float64)]


@formulas(*_keep_cases()[0].args)
def _keepers(tokens: Tensor, noise: Tensor, n: int) -> dict[str, Any]:
    order = noise.argsort(dim=1)
    back = order.argsort(dim=1)
    in_place = order[:, :n].sort(dim=1).values
    return {
        "the tokens with the most noise are kept; those with the least are asked for": (
            _kept(tokens, noise.argsort(dim=1, descending=True), n)
        ),
        "the most noise counts here for the way back; the tokens are the right ones": (
            _kept(tokens, order, n, noise.argsort(dim=1, descending=True).argsort(dim=1))
        ),
        "the second result is the order itself; the way back is its inverse, `order.argsort(dim=1)`": (
            _kept(tokens, order, n, order)
        ),
        "the first n tokens are kept, whatever the noise says": (tokens[:, :n], back),
        "the n last of the order are kept; the first n have the least noise": (
            tokens.gather(1, order[:, -n:, None].expand(-1, -1, tokens.shape[2])),
            back,
        ),
        "the kept tokens stand in raster order; in the order of their noise they fit the way back": (
            tokens.gather(1, in_place[:, :, None].expand(-1, -1, tokens.shape[2])),
            back,
        ),
        "every image keeps the patches of the first one; each has its own noise": (
            _kept(tokens, order[:1].expand_as(order), n)
        ),
        "places were ranked by `argsort().argsort()`, and tokens picked by their ranks; pick them by the order": (
            _kept(tokens, back, n, back)
        ),
        "n tokens were taken away, and the others kept": (
            tokens.gather(1, order[:, n:, None].expand(-1, -1, tokens.shape[2])),
            back,
        ),
        "the second result says which are kept; the way back has the place of each token in the order": (
            _kept(tokens, order, n, (back < n).long())
        ),
        "the second result says which are removed; the way back has the place of each token in the order": (
            _kept(tokens, order, n, (back >= n).long())
        ),
        "the way back has the n kept places alone; all N are asked for": _kept(tokens, order, n, back[:, :n]),
        "the way back starts at 1; places start at 0": _kept(tokens, order, n, back + 1),
        "the results are swapped: first the tokens, then the way back": (back, tokens[:, :n]),
    }


exercise("16.1", keep_some, _keep_cases, _keepers, simplify=_pair)


# 16.2 ----------------------------------------------------------------------------------------------------------------
def both_ways(pictures: Tensor, captions: Tensor, scale: float) -> Tensor:
    """Vectors of pictures and of their captions (B, E), any lengths -> CLIP's loss, a scalar."""
    scores = scale * F.normalize(pictures, dim=1) @ F.normalize(captions, dim=1).T  # (B, B)
    pairs = torch.arange(len(scores))
    return (F.cross_entropy(scores, pairs) + F.cross_entropy(scores.T, pairs)) / 2


def _clip_case(B: int, E: int, scale: float, dtype=torch.float32, **options) -> Case:
    captions = _random(B, E, seed=10 * B + E, dtype=dtype)
    pictures = (captions + _random(B, E, seed=E, dtype=dtype)) * torch.linspace(0.5, 3, B, dtype=dtype)[:, None]
    return Case((pictures, captions, scale), traits=batch_traits(B), **options)


def _clip_cases() -> list[Case]:
    return [
        _clip_case(4, 3, 2.0, gradient=True),
        *(_clip_case(*size) for size in [(3, 5, 10.0), (6, 2, 1.0), (1, 4, 3.0)]),
        _clip_case(5, 4, 5.0, torch.float64),
    ]


@formulas(*_clip_cases()[0].args)
def _clips(pictures: Tensor, captions: Tensor, scale: float) -> dict[str, Tensor]:
    p, c, pairs = F.normalize(pictures, dim=1), F.normalize(captions, dim=1), torch.arange(len(pictures))

    def both(scores: Tensor) -> Tensor:
        return (F.cross_entropy(scores, pairs) + F.cross_entropy(scores.T, pairs)) / 2

    cosines = p @ c.T
    rows, columns = F.cross_entropy(scale * cosines, pairs), F.cross_entropy(scale * cosines.T, pairs)
    total = sum(F.cross_entropy(s, pairs, reduction="sum") for s in (scale * cosines, scale * cosines.T))
    return {
        "the vectors are not brought to length one; cosines are asked for": both(scale * pictures @ captions.T),
        "only the captions are brought to length one": both(scale * pictures @ c.T),
        "only the pictures are brought to length one": both(scale * p @ captions.T),
        "the numbers of each column were brought to length one, across the batch; a vector is a row": (
            both(scale * F.normalize(pictures, dim=0) @ F.normalize(captions, dim=0).T)
        ),
        "this asks each picture for its caption; each caption has to find its picture, too": rows,
        "this asks each caption for its picture; each picture has to find its caption, too": columns,
        "both ways are added; the mean is half of that": rows + columns,
        "the scale is left out": both(cosines),
        "the cosines are divided by the scale; multiply": both(cosines / scale),
        "the losses are summed over the batch; cross-entropy takes the mean": total / 2,
        "the probabilities went through another softmax; cross_entropy takes scores": (
            (
                F.cross_entropy((scale * cosines).softmax(1), pairs)
                + F.cross_entropy((scale * cosines.T).softmax(1), pairs)
            )
            / 2
        ),
        "the sign is wrong: a loss that is made small has to fall when pairs agree": -both(scale * cosines),
        "pictures are compared with pictures": both(scale * p @ p.T),
        "captions are compared with captions": both(scale * c @ c.T),
    }


exercise("16.2", both_ways, _clip_cases, _clips)


# 16.3 ----------------------------------------------------------------------------------------------------------------
def teacher_says(scores: Tensor, centre: Tensor, temperature: float, momentum: float) -> tuple[Tensor, Tensor]:
    """Scores (B, K), centre (K,) -> what the teacher answers, (B, K), and the new centre, (K,)."""
    return ((scores - centre) / temperature).softmax(dim=1), momentum * centre + (1 - momentum) * scores.mean(dim=0)


def _rows(returned: Any, args: tuple) -> Any:
    """The new centre as a row under the answers."""
    if isinstance(returned, tuple | list) and len(returned) == 2 and all(isinstance(one, Tensor) for one in returned):
        answers, centre = returned
        centre = centre.reshape(-1, centre.shape[-1]) if centre.ndim else centre.reshape(1, 1)
        if answers.ndim == 2 and answers.shape[1] == centre.shape[1]:
            return torch.cat([answers, centre])
    return returned


def _teacher_case(B: int, K: int, temperature: float, momentum: float, dtype=torch.float32) -> Case:
    scores = _random(B, K, seed=B * K, dtype=dtype) / 3
    centre = _random(K, seed=K, dtype=dtype) / 3
    return Case((scores, centre, temperature, momentum), traits=batch_traits(B))


def _teacher_cases() -> list[Case]:
    sizes = [(4, 3, 0.1, 0.9), (3, 5, 0.25, 0.8), (1, 4, 0.5, 0.6), (5, 2, 2.0, 0.7)]
    return [*(_teacher_case(*size) for size in sizes), _teacher_case(3, 4, 0.2, 0.75, torch.float64)]


@formulas(*_teacher_cases()[0].args)
def _teachers(scores: Tensor, centre: Tensor, temperature: float, momentum: float) -> dict[str, Any]:
    answers, new = teacher_says(scores, centre, temperature, momentum)
    mean = scores.mean(dim=0)

    def said(logits: Tensor, dim: int = 1) -> Tensor:
        return logits.softmax(dim=dim)

    return {
        "the centre is moved before it is used; the answers take the one from before": (
            said((scores - new) / temperature),
            new,
        ),
        "the centre is added; subtract it": (said((scores + centre) / temperature), new),
        "the answers are not centred": (said(scores / temperature), new),
        "the answers are not sharpened: divide by the temperature": (said(scores - centre), new),
        "multiplied by the temperature; divide, so that a low one makes differences large": (
            said((scores - centre) * temperature),
            new,
        ),
        "the scores are divided by the temperature, and the centre is not": (said(scores / temperature - centre), new),
        "the softmax runs over the images; over the K outputs is asked for": (
            said((scores - centre) / temperature, 0),
            new,
        ),
        "the batch's own mean is taken off; the centre is a running mean": (said((scores - mean) / temperature), new),
        "the momentum is on the wrong side: it is the share of the old centre that stays": (
            answers,
            (1 - momentum) * centre + momentum * mean,
        ),
        "the new centre is the mean of this batch alone": (answers, mean),
        "the centre does not move": (answers, centre),
        "the scores are summed into the centre, not averaged": (
            answers,
            momentum * centre + (1 - momentum) * scores.sum(dim=0),
        ),
        "the centre is a mean of the answers; of the scores is asked for": (
            answers,
            momentum * centre + (1 - momentum) * answers.mean(dim=0),
        ),
        "the centre is a mean of centred scores, so that it runs back to zero": (
            answers,
            momentum * centre + (1 - momentum) * (scores - centre).mean(dim=0),
        ),
        "the mean runs over the K outputs and is one number for all; each output has its own centre": (
            answers,
            momentum * centre + (1 - momentum) * scores.mean(),
        ),
        "the old centre is kept whole; only a share of it stays": (answers, centre + (1 - momentum) * mean),
        "these are logarithms; probabilities are asked for": (answers.log(), new),
    }


exercise("16.3", teacher_says, _teacher_cases, _teachers, simplify=_rows)


# 16.4 ----------------------------------------------------------------------------------------------------------------
def zero_shot(pictures: Tensor, prompts: Tensor) -> Tensor:
    """Vectors of pictures (B, E), and of R prompts for each of K classes (K, R, E) -> cosines (B, K)."""
    classes = F.normalize(F.normalize(prompts, dim=-1).mean(dim=1), dim=-1)  # (K, E)
    return F.normalize(pictures, dim=-1) @ classes.T


def _prompt_case(B: int, K: int, R: int, E: int, dtype=torch.float32, **options) -> Case:
    prompts = _random(K, R, E, seed=K * R + E, dtype=dtype) + 1
    prompts = prompts * torch.linspace(0.3, 2, R, dtype=dtype)[None, :, None]
    pictures = (_random(B, E, seed=B + E, dtype=dtype) + 0.5) * 2
    return Case((pictures, prompts), traits=batch_traits(B), **options)


def _prompt_cases() -> list[Case]:
    return [
        _prompt_case(3, 4, 2, 5, gradient=True),
        *(_prompt_case(*size) for size in [(1, 3, 3, 4), (4, 2, 5, 3), (2, 6, 2, 8)]),
        _prompt_case(2, 3, 4, 6, torch.float64),
    ]


@formulas(*_prompt_cases()[0].args)
def _prompted(pictures: Tensor, prompts: Tensor) -> dict[str, Tensor]:
    p, t = F.normalize(pictures, dim=-1), F.normalize(prompts, dim=-1)
    mean, cosines = F.normalize(t.mean(dim=1), dim=-1), zero_shot(pictures, prompts)
    each = torch.einsum("be,kre->bkr", p, t)
    return {
        "the prompts are not brought to length one before they are averaged, so that a long one counts more": (
            p @ F.normalize(prompts.mean(dim=1), dim=-1).T
        ),
        "the mean of a class's prompts is not brought to length one again": p @ t.mean(dim=1).T,
        "the prompts keep their lengths, before and after the mean": p @ prompts.mean(dim=1).T,
        "the pictures keep their lengths": pictures @ mean.T,
        "nothing is brought to length one": pictures @ prompts.mean(dim=1).T,
        "only the first prompt of each class is read": p @ t[:, 0].T,
        "only the last prompt of each class is read": p @ t[:, -1].T,
        "the best prompt of each class counts; the mean of all is asked for": each.amax(dim=2),
        "the prompts are summed, without another normalisation": p @ t.sum(dim=1).T,
        "these are the cosines with every prompt, (B, K, R); a class has one number": each,
        "the mean runs over the classes; it runs over the prompts of each class": p @ F.normalize(t.mean(0), dim=-1).T,
        "rows and columns are swapped: a row for each picture": cosines.T,
        "these are probabilities; cosines are asked for": cosines.softmax(dim=1),
        "these are the classes; a cosine for each is asked for": cosines.argmax(dim=1),
        "this is the squared distance; cosines are asked for": (p[:, None] - mean).square().sum(dim=-1),
    }


exercise("16.4", zero_shot, _prompt_cases, _prompted)


# 16.5 ----------------------------------------------------------------------------------------------------------------
def painting_loss(images: Tensor, predicted: Tensor, removed: Tensor, patch: int) -> Tensor:
    """Images (B, C, H, W), predictions (B, N, P·P·C), True where removed (B, N) -> MAE's loss, a scalar."""
    return _painting()(images, predicted, removed, patch)


def _painting(order: Answer = to_patches, where: str = "removed", power: int = 2, reduce: str = "mean") -> Answer:
    """The loss with another order of pixels, other patches that count, another distance or another mean."""

    def answer(images: Tensor, predicted: Tensor, removed: Tensor, patch: int) -> Tensor:
        difference = predicted - order(images, patch)
        error = difference.square() if power == 2 else difference.abs()
        error = error.mean(dim=2) if reduce != "sum of pixels" else error.sum(dim=2)  # (B, N)
        counts = {"removed": removed, "visible": ~removed, "all": torch.ones_like(removed)}[where]
        if reduce == "over all":
            return (error * removed).mean()
        if reduce == "sum":
            return (error * removed).sum()
        return (error * counts).sum() / counts.sum()

    return answer


def _columns_first(images: Tensor, patch: int) -> Tensor:
    return to_patches(images.mT, patch)


def _painting_case(B: int, C: int, H: int, W: int, P: int, dtype=torch.float32, **options) -> Case:
    N = (H // P) * (W // P)
    generator = torch.Generator().manual_seed(N + B)
    removed = torch.rand(B, N, generator=generator).argsort(dim=1) >= max(1, N // 4)
    images = _random(B, C, H, W, seed=B * H, dtype=dtype)
    predicted = (to_patches(images, P) + _random(B, N, P * P * C, seed=W, dtype=dtype)) / 2
    return Case((images, predicted, removed, P), traits=batch_traits(B), **options)


def _painting_cases() -> list[Case]:
    return [
        _painting_case(2, 3, 8, 8, 4, gradient=True),
        *(_painting_case(*size) for size in [(1, 2, 4, 8, 2), (3, 3, 6, 4, 2), (2, 1, 9, 6, 3)]),
        _painting_case(2, 2, 4, 4, 2, torch.float64),
    ]


def _with(function: Answer) -> Answer:
    """The loss times, or with, something else."""
    return lambda images, predicted, removed, patch: function(painting_loss(images, predicted, removed, patch))


exercise(
    "16.5",
    reference=painting_loss,
    cases=_painting_cases,
    mistakes={
        "both bugs are still there: all patches count, and `patchify` puts the channel first": (
            lambda images, predicted, removed, patch: (predicted - patchify(images, patch)).square().mean()
        ),
        "the order of the pixels is still `patchify`'s, channel first": _painting(patchify),
        "all patches still count; the visible ones are no task": _painting(where="all"),
        "the visible patches count here; `removed` is True where a patch is gone": _painting(where="visible"),
        "the errors of the removed patches are divided by the number of all patches": _painting(reduce="over all"),
        "the errors are added up; the mean over the removed patches is asked for": _painting(reduce="sum"),
        "the squares of a patch are summed; the mean over its pixels is asked for": _painting(reduce="sum of pixels"),
        "this is the mean absolute error; MAE's loss is the mean of squares": _painting(power=1),
        "inside a patch rows and columns are swapped, and the patches stand column by column": (
            _painting(lambda images, patch: _columns_first(images, patch))
        ),
        "this is the root of the loss": _with(Tensor.sqrt),
        "this is half of the loss": _with(lambda loss: loss / 2),
        "the sign is wrong": _with(lambda loss: -loss),
    },
)
