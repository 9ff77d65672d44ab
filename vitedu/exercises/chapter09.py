"""The exercises of chapter 9, training."""

import math
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vitedu.exercises.contest  # noqa: F401 - exercise 9.6
from vitedu.cost import block_macs, block_parameters
from vitedu.exercises import compare
from vitedu.exercises.exercise import Case, batch_traits, exercise, formulas, on
from vitedu.train.optim import learning_rate as schedule
from vitedu.train.optim import split_parameters
from vitedu.vit import ViT, ViTConfig

# 9.1 -----------------------------------------------------------------------------------------------------------------


def learning_rate(step: int, total_steps: int, warmup_steps: int, peak: float) -> float:
    """The rate for one step: linear warm-up to `peak`, then half a cosine to zero."""
    return schedule(step, total_steps, warmup_steps, peak)


def _rate_cases() -> list[Case]:
    steps = [(0, 20, 4), (3, 20, 4), (4, 20, 4), (8, 20, 4), (15, 20, 4), (20, 20, 4), (0, 10, 0), (7, 10, 0)]
    return on(*((*step, 0.5) for step in steps), (30, 100, 10, 1e-3))


@formulas(0, 2, 1, 1.0)
def _rates(step, total, warm, peak):
    rising, w, right = step < warm, max(warm, 1), schedule(step, total, warm, peak)
    s, part = step, (step - warm) / max(total - warm, 1)  # of the cosine

    def first(rise: float) -> float:
        """The right cosine after this."""
        return peak * rise if rising else right

    def then(fall: float) -> float:
        """The right warm-up before this."""
        return right if rising else peak * fall

    def half(angle: float) -> float:
        return (1 + math.cos(angle)) / 2

    return {
        "the cosine is measured from step 0; it starts where the warm-up ends": then(half(math.pi * s / total)),
        "the ½ is missing: 1 + cos starts at 2": then(2 * half(math.pi * part)),
        "1 + … and the ½ are missing: the cosine alone falls to -1": then(math.cos(math.pi * part)),
        "this is a quarter of a turn; half a cosine, (1 + cos) / 2 from 0 to π, starts and ends level": then(
            math.cos(math.pi * part / 2)
        ),
        "the warm-up starts at 0, so the first step does not move; use step + 1": first(s / w),
        "the warm-up starts at 0, so the first step does not move: (step + 1) / warmup_steps": first(s / max(w - 1, 1)),
        "the angle is in degrees; `math.cos` takes radians, π for half a turn": then(half(180 * part)),
        "the π is missing inside the cosine": then(half(part)),
        "there is no warm-up: the cosine begins at once": peak * half(math.pi * s / total),
        "the rate is at its peak from the first step on; before `warmup_steps` it should rise": first(1),
        "the rate stays at its peak after the warm-up; it should fall along half a cosine": then(1),
        "the rate falls along a straight line; it should follow half a cosine": then(1 - part),
        "1 - cos rises from 0; 1 + cos falls to 0": then(1 - half(math.pi * part)),
        "the cosine is divided by `total_steps`; it lasts `total_steps - warmup_steps`, or it does not reach 0": then(
            half(math.pi * (s - warm) / total)
        ),
        "the cosine is one step ahead: it starts at the peak, at `step = warmup_steps`": then(
            half(math.pi * (s + 1 - warm) / max(total - warm, 1))
        ),
        "the cosine reaches 0 one step early; it would be there at `step = total_steps`": then(
            half(math.pi * (s - warm) / max(total - warm - 1, 1))
        ),
        "the warm-up is divided by `warmup_steps + 1`, so its last step misses the peak": first((s + 1) / (w + 1)),
        "the warm-up is divided by `total_steps`; it lasts `warmup_steps`": first((s + 1) / total),
        "the cosine goes through a whole turn and comes back up; half a turn, π, is enough": then(
            half(2 * math.pi * part)
        ),
        "the cosine is not multiplied by the peak": right if rising else half(math.pi * part),
        "the warm-up is not multiplied by the peak": (s + 1) / w if rising else right,
        "nothing is multiplied by the peak": right / peak,
    }


def _warm_up_too_long(step: int, total_steps: int, warmup_steps: int, peak: float) -> float:
    if step <= warmup_steps:
        return peak * (step + 1) / warmup_steps
    return learning_rate(step, total_steps, warmup_steps, peak)


exercise(
    "9.1",
    learning_rate,
    _rate_cases,
    difference=compare.floats,
    mistakes=_rates | {"the warm-up lasts one step too long; use `<`, not `<=`": _warm_up_too_long},
)


# 9.2 -----------------------------------------------------------------------------------------------------------------


def smoothed_cross_entropy(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Logits (B, K), labels (B,) -> the mean over the batch of -Σ_k target_k log softmax(logits)_k."""
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)


def _loss_case(batch: int, classes: int, smoothing: float, dtype=torch.float32) -> Case:
    generator = torch.Generator().manual_seed(batch * classes)
    logits = torch.randn(batch, classes, generator=generator, dtype=dtype).mul(2).round(decimals=1)
    labels = torch.randint(classes, (batch,), generator=generator)
    return Case((logits, labels, smoothing), traits=batch_traits(batch), gradient=True)


def _loss_cases() -> list[Case]:
    huge = torch.tensor([[1000.0, -1000.0, 0.0], [0.0, 1000.0, 500.0], [1.5, -0.5, 2.0]])  # the last row is not
    near = torch.tensor([[1000.0, 999.0, 998.0], [-999.0, -1000.0, -1000.0]])
    label = "logits up to ±1000, labels (3,), smoothing = 0.1"
    return [
        _loss_case(4, 3, 0.1),
        _loss_case(1, 5, 0.2),
        _loss_case(6, 10, 0.0),
        _loss_case(3, 3, 0.5),
        Case((huge, torch.tensor([0, 2, 1]), 0.1), label=label, gradient=True),
        Case((near, torch.tensor([1, 0]), 0.1), label="logits near ±1000, labels (2,), smoothing = 0.1"),
        _loss_case(5, 2, 0.1, dtype=torch.float64),
    ]


@formulas(*_loss_cases()[0].args)
def _losses(logits, labels, eps):
    K, right = logits.shape[1], smoothed_cross_entropy(logits, labels, eps)
    hot, p, log_p = F.one_hot(labels, K).to(logits), logits.softmax(dim=1), logits.log_softmax(dim=1)  # (B, K)
    smooth, exp, shifted = (1 - eps) * hot + eps / K, logits.exp(), logits - logits.max()

    def each(target: Tensor = smooth, log_p: Tensor = log_p) -> Tensor:
        return -(target * log_p).sum(dim=1)  # (B,)

    def with_log(log_p: Tensor) -> Tensor:
        return each(log_p=log_p).mean()

    return {
        "ε is shared among the other K - 1 classes; here every class gets ε/K, the true one included": (
            each((1 - eps) * hot + eps / (K - 1) * (1 - hot)).mean()
        ),
        "every class gets ε/(K - 1), the true one included; it is ε/K": each((1 - eps) * hot + eps / (K - 1)).mean(),
        "the losses of the batch are added up; take their mean": each().sum(),
        "one loss per image is returned; take the mean over the batch": each(),
        "a probability rounds to 0, and its log is -inf; `log_softmax` never leaves the logarithms": with_log(p.log()),
        "exp(1000) overflows to inf; `log_softmax` subtracts the largest logit first": (
            with_log((exp / exp.sum(dim=1, keepdim=True)).log())
        ),
        "exp(1000) overflows to inf, and so does the sum; `logsumexp` subtracts the largest logit first": (
            with_log(logits - exp.sum(dim=1, keepdim=True).log())
        ),
        "the largest logit of the whole batch is subtracted, and other rows underflow; each row has its own": (
            with_log(shifted - shifted.exp().sum(dim=1, keepdim=True).log())
        ),
        "softmax is applied twice: `F.cross_entropy` and `log_softmax` expect logits": with_log(p.log_softmax(dim=1)),
        "the logarithm is missing: a loss is -log p, not -p": with_log(p),
        "logits are not log-probabilities; `log_softmax` makes them": with_log(logits),
        "the smoothing is the wrong way round: the true class gets ε instead of 1 - ε": (
            each(eps * hot + (1 - eps) / K).mean()
        ),
        "the true class gets 1 - ε alone; its own ε/K is missing, so the targets sum to less than 1": (
            each((1 - eps) * hot + eps / K * (1 - hot)).mean()
        ),
        "only the true class counts, with 1 - ε; every class has a share of ε/K": each((1 - eps) * hot).mean(),
        "the smoothing is ignored: the targets are one-hot": each(hot).mean(),
        "ε is added to every class, not ε/K, so the targets sum to more than 1": each((1 - eps) * hot + eps).mean(),
        "the one-hot part is not scaled by 1 - ε, so the targets sum to more than 1": each(hot + eps / K).mean(),
        "the mean runs over the classes too; sum over the classes, then take the mean over the batch": right / K,
        "these are bits; the natural logarithm gives nats": right / math.log(2),
        "this is the KL divergence, from which the entropy of the targets is missing": (
            right + torch.xlogy(smooth, smooth).sum(dim=1).mean()
        ),
        "the sign is wrong: log-probabilities are negative, a loss is not": -right,
        "softmax runs over the batch (dim=0); it belongs over the classes (dim=1)": with_log(logits.log_softmax(dim=0)),
        "`log_p[:, labels]` picks every label in every row; `gather`, or `log_p[torch.arange(B), labels]`, its own": (
            -(1 - eps) * log_p[:, labels].mean() - eps * log_p.mean()
        ),
    }


exercise("9.2", smoothed_cross_entropy, _loss_cases, _losses)


# 9.3 -----------------------------------------------------------------------------------------------------------------

LISTS = ("decay", "no_decay")


def _model_cases() -> list[Case]:
    small = {"patch_size": 4, "num_classes": 5, "dim": 8, "num_heads": 2}
    learned = ViTConfig(image_size=8, depth=2, **small)
    fixed = ViTConfig(image_size=(8, 12), depth=1, in_channels=1, pool="mean", positions="sincos2d", **small)
    post = ViTConfig(image_size=8, depth=1, norm="post", **small)
    return [
        Case((ViT(learned),), label="a ViT with a CLS token and learned positions"),
        Case((ViT(fixed),), label="a ViT with mean pooling and fixed positions"),
        Case((ViT(post),), label="a post-norm ViT"),
    ]


def _names(returned: Any, args: tuple) -> Any:
    """What was returned, with the names of the parameters in their place, sorted; anything unexpected by its type."""
    if not isinstance(returned, tuple | list) or len(returned) != 2:
        return returned
    names = {id(parameter): name for name, parameter in args[0].named_parameters()}
    return tuple(
        sorted(names.get(id(item), f"<{compare.kind(item)}>") for item in part)
        if isinstance(part, tuple | list)
        else compare.kind(part)
        for part in returned
    )


def _wrong_lists(got: Any, expected: tuple[list[str], list[str]]) -> str | None:
    if not isinstance(got, tuple | list) or len(got) != 2:
        return f"returned {compare.shown(got)}, expected a pair of lists (decay, no_decay)"
    for title, part in zip(LISTS, got, strict=True):
        if isinstance(part, str):
            once = ": it can be read only once, and then it is empty" if part in ("generator", "filter", "map") else ""
            return f"{title} is a value of type {part}, expected a list{once}"
        for item in part:
            if item.startswith("<"):
                return f"{title} holds a value of type {item[1:-1]} that is not a parameter of the model"
            if part.count(item) > 1:
                return f"`{item}` is in {title} {part.count(item)} times, expected once"
    return _misplaced(got, expected)


def _misplaced(got: tuple[list[str], list[str]], expected: tuple[list[str], list[str]]) -> str | None:
    """Parameters in the wrong list, and those in neither."""
    problems = []
    for here, there in ((0, 1), (1, 0)):
        wrong = sorted(set(got[here]) & set(expected[there]))
        if wrong:
            problems.append(f"{_listed(wrong)} in {LISTS[here]}, but should be in {LISTS[there]}")
    missing = sorted(set(expected[0] + expected[1]) - set(got[0]) - set(got[1]))
    if missing:
        problems.append(f"{_listed(missing)} in neither list")
    twice = sorted(set(got[0]) & set(got[1]))
    if twice:
        problems.append(f"{_listed(twice)} in both lists")
    return ", and ".join(problems) or None


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:2])
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f"{shown}{more} {'is' if len(names) == 1 else 'are'}"


def _split_by(rule):
    """Split by `rule(name, parameter)`: True decays."""

    def answer(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        named = list(model.named_parameters())
        return [p for n, p in named if rule(n, p)], [p for n, p in named if not rule(n, p)]

    return answer


def _is_table(name: str) -> bool:
    return "cls_token" in name or "positions" in name


def _layers_only(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Walks through the layers, and so misses parameters that belong to no layer."""
    linear = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    norms = [p for layer in model.modules() if isinstance(layer, nn.LayerNorm) for p in layer.parameters()]
    return [layer.weight for layer in linear], [layer.bias for layer in linear] + norms


mistakes = {
    "positions and the CLS token decay too: they have two axes or more, and neither `bias` nor `norm` in their "
    "names, but are not the weights of linear layers": _split_by(lambda name, p: p.ndim >= 2),
    "the position table decays too: it has two axes, but is not the weight of a linear layer": _split_by(
        lambda name, p: p.ndim >= 2 and "cls" not in name
    ),
    "the CLS token decays too; it is not the weight of a linear layer": _split_by(
        lambda name, p: p.ndim >= 2 and "positions" not in name
    ),
    "the biases of the linear layers decay too; only their weights should": _split_by(
        lambda name, p: "norm" not in name and not _is_table(name)
    ),
    "the biases of LayerNorm decay too; only the weights of linear layers should": _split_by(
        lambda name, p: (p.ndim == 2 and not _is_table(name)) or ("norm" in name and name.endswith("bias"))
    ),
    "the gains of LayerNorm are called `weight` as well; they should not decay": _split_by(
        lambda name, p: name.endswith("weight")
    ),
    "only biases are exempt; LayerNorm's gains, positions and the CLS token should not decay either": _split_by(
        lambda name, p: not name.endswith("bias")
    ),
    "only the parameters of LayerNorm are exempt; biases, positions and the CLS token should not decay either": (
        _split_by(lambda name, p: "norm" not in name)
    ),
    "only positions and the CLS token are exempt; biases and LayerNorm should not decay either": _split_by(
        lambda name, p: not _is_table(name)
    ),
    "everything decays; only the weights of linear layers should": _split_by(lambda name, p: True),
    "nothing decays; the weights of linear layers should": _split_by(lambda name, p: False),
    "the head decays too; its weight is left out here": _split_by(
        lambda name, p: p.ndim == 2 and not _is_table(name) and "head" not in name
    ),
    "a walk through the linear and LayerNorm layers misses the parameters that belong to no layer: the CLS "
    "token and the positions": _layers_only,
    "the two lists are swapped; decay comes first": lambda model: split_parameters(model)[::-1],
    "round brackets around `p for p in …` make a generator; square brackets make a list": (
        lambda model: tuple((p for p in part) for part in split_parameters(model))
    ),
}
exercise("9.3", split_parameters, _model_cases, difference=_wrong_lists, simplify=_names, mistakes=mistakes)


# 9.4 -----------------------------------------------------------------------------------------------------------------


def training_macs(image_side: int, patch_side: int, dim: int, depth: int) -> int:
    """Multiply-adds in the encoder blocks for one step on one image: one forward, and two for the way back."""
    return 3 * depth * block_macs((image_side // patch_side) ** 2, dim)


@formulas(1, 1, 1, 1)
def _training_prices(S, P, D, L):
    right, N = training_macs(S, P, D, L), (S // P) ** 2
    linear, pairs = 3 * L * 12 * N * D * D, 3 * L * 2 * N * N * D
    return {
        "attention is missing, 2N²D for the scores and the weighted sum: it is what grows faster than N": linear,
        "attention compares every token with every other: 2N²D, not 2ND": linear + 3 * L * 2 * N * D,
        "attention has two products of N²D, the scores and the weighted sum of the values; one is missing": (
            linear + pairs // 2
        ),
        "attention's N² is not multiplied by the width: scores and weighted sum are matrix products, 2N²D": (
            linear + pairs // D
        ),
        "attention has D² in place of D: each of its two products is N²D": linear + pairs * D,
        "attention is counted twice over: its two products are N²D each, 2N²D together": linear + 2 * pairs,
        "the linear layers are counted for one token; all N go through them": linear // N + pairs,
        "this is the forward pass of one block; multiply by the depth, and by three for the step": right // (3 * L),
        "this is the forward pass alone; the way back costs about two more": right // 3,
        "this is two passes; each product has two on the way back, one for each of its factors, so there are three": (
            2 * right // 3
        ),
        "this is four passes; one forward and two for the way back are three": 4 * right // 3,
        "the way back is counted for the linear layers alone; the products of attention have one too": (
            linear + pairs // 3
        ),
        "N is S/P here; patches fill the image down and across, so it is (S/P)²": 3 * L * block_macs(S // P, D),
        "N is S²/P here; a patch is P pixels high and P wide, so divide by P²": 3 * L * block_macs(S * S // P, D),
        "every pixel is counted as a token; a token is a patch, so divide by P²": 3 * L * block_macs(S * S, D),
        "CLS is counted as a token; here the tokens are the patches alone": 3 * L * block_macs(N + 1, D),
        "the MLP is missing: 8D² for every token, beside the 4D² of the projections": linear // 3 + pairs,
        "8D² are counted for every token; the four projections have 4D² and the MLP's two layers 8D², 12D² in all": (
            linear // 3 * 2 + pairs
        ),
        "there are four projections, queries, keys, values and output; three are counted": linear // 12 * 11 + pairs,
        "the MLP's hidden layer is 4D wide, not D": linear // 2 + pairs,
        "these are FLOPs; a multiply–add is one MAC and two FLOPs": 2 * right,
        "this is one block; multiply by the depth": right // L,
        "the patch embedding is counted, for one channel; only the encoder blocks are asked for": right
        + 3 * N * P * P * D,
        "the patch embedding is counted, for three channels; only the encoder blocks are asked for": (
            right + 9 * N * P * P * D
        ),
        "biases are counted: they are added, not multiplied": right + 3 * L * 9 * N * D,
        "parameters times tokens: biases and LayerNorms multiply nothing, and attention has two products without "
        "parameters": 3 * L * N * block_parameters(D),
        "`/` always gives a float; count with `//`": float(right),
    }


exercise(
    "9.4",
    training_macs,
    lambda: on((28, 7, 64, 4), (56, 7, 64, 4), (112, 7, 64, 4), (224, 16, 768, 12), (32, 4, 24, 3), (8, 8, 16, 1)),
    difference=compare.integers,
    mistakes=_training_prices,
)


# 9.5 -----------------------------------------------------------------------------------------------------------------


def mean_scores(model: nn.Module, images: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, K): the head reads the mean of the patch tokens after the last LayerNorm."""
    return model.head(model.encode(images)[:, 1:].mean(dim=1))


def _pool_case(batch: int, channels: int, size: tuple[int, int], dim: int, classes: int) -> Case:
    config = ViTConfig(
        image_size=size, patch_size=4, in_channels=channels, num_classes=classes, dim=dim, depth=1, num_heads=2
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(batch)
        model = ViT(config).eval()  # an answer that leaves it in another mode changes its input
        for parameter in model.parameters():  # nothing may be 0 or 1, as CLS, biases and gains are at the start
            parameter.data += 0.3 * torch.randn(parameter.shape)
        images = torch.randn(batch, channels, *size)
    label = f"a ViT with a CLS token and {classes} classes, images {tuple(images.shape)}"
    return Case((model, images), label=label, traits=batch_traits(batch))


def _pool_cases() -> list[Case]:
    sizes = [(3, 1, (8, 8), 12, 5), (1, 2, (8, 12), 8, 3), (2, 1, (16, 16), 16, 10)]  # the last: N is D
    return [_pool_case(*size) for size in sizes]


@formulas(*_pool_cases()[0].args)
def _poolings(model, images):
    z, head, norm = model.encode(images), model.head, model.encoder.norm
    patches = z[:, 1:]
    right, patch_scores = head(patches.mean(dim=1)), head(patches)
    without_class = model.encoder(model.patch_embed(images) + model.positions.table[1:])
    cls = model.cls_token.expand(len(images), -1, -1)
    raw = model.positions(torch.cat([cls, model.patch_embed(images)], dim=1))
    for block in model.encoder.blocks:  # the last LayerNorm is left out
        raw = block(raw)
    return {
        "CLS is in the mean; the patches begin at token 1": head(z.mean(dim=1)),
        "the mean is taken before the last LayerNorm; normalise each token, then average": head(
            norm(raw[:, 1:].mean(1))
        ),
        "the last LayerNorm is missing: `model.encode` has it, the blocks alone do not": head(raw[:, 1:].mean(dim=1)),
        "there is a LayerNorm too many: the tokens of `model.encode` have been through the last one already": (
            head(norm(patches).mean(dim=1))
        ),
        "there is a LayerNorm too many, after the mean: `model.encode` ends with the last one": (
            head(norm(patches.mean(dim=1)))
        ),
        "the mean runs over the images of the batch; it belongs over the tokens, dim=1": head(patches.mean(dim=0)),
        "this is the largest number over the tokens; take their mean": head(patches.amax(dim=1)),
        "this is the sum over the tokens; divide it by N": head(patches.sum(dim=1)),
        "the sum over the N patches is divided by N + 1, which counts CLS": head(patches.sum(dim=1) / z.shape[1]),
        "this reads CLS, as the model does by itself; read the patches": head(z[:, 0]),
        "CLS is token 0, and here the last patch is left out in its place": head(z[:, :-1].mean(dim=1)),
        "this reads the first patch alone; take the mean of all patches": head(z[:, 1]),
        "`[1:]` leaves out the first image; the tokens are the second axis, `[:, 1:]`": head(z[1:].mean(dim=1)),
        "two tokens are left out; CLS is one token": head(z[:, 2:].mean(dim=1)),
        "every token has scores of its own here; average over the tokens": patch_scores,
        "the axis of the tokens is still there; `mean(dim=1)` drops it": right[:, None],
        "CLS was never in the encoder: the patches attend to it there, so let it go through and leave it out after": (
            head(without_class.mean(dim=1))
        ),
        "the head is missing: this is the mean token, (B, D)": patches.mean(dim=1),
        "these are probabilities; return the scores, before the softmax": right.softmax(dim=1),
        "these are log-probabilities; return the scores, as the head gives them": right.log_softmax(dim=1),
        "these are the probabilities' means over the patches; average the tokens, or their scores": (
            patch_scores.softmax(dim=2).mean(dim=1)
        ),
        "this is the best class; return the scores of all, (B, K)": right.argmax(dim=1),
    }


mistakes = _poolings | {
    "the mean runs over the D numbers of each token; it belongs over the tokens, dim=1": (
        lambda model, images: model.head(model.encode(images)[:, 1:].mean(dim=2))
    ),
    "this is a new model, untrained; read the one that is given": (
        lambda model, images: ViT(replace(model.config, pool="mean"))(images)
    ),
}
exercise("9.5", mean_scores, _pool_cases, mistakes)
