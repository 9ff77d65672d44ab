"""The exercises of chapter 9, training."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vitedu.exercises.contest  # noqa: F401 - exercise 9.6
from vitedu.cost import block_macs, block_parameters
from vitedu.exercises import compare
from vitedu.exercises.exercise import Case, batch_traits, exercise, formulas, on
from vitedu.train.optim import split_parameters
from vitedu.vit import ViT, ViTConfig

# 9.1 -----------------------------------------------------------------------------------------------------------------


def plateau_rate(step: int, total_steps: int, warmup_steps: int, cooldown_steps: int, peak: float) -> float:
    """The rate for one step: linear warm-up to `peak`, there until the last steps, then half a cosine to zero."""
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    part = max(0, step - (total_steps - cooldown_steps)) / cooldown_steps
    return peak * (1 + math.cos(math.pi * part)) / 2


def _rate_cases() -> list[Case]:
    whole = [(step, 20, 4, 8) for step in (0, 3, 4, 8, 12, 13, 17, 20)]
    others = [(0, 10, 0, 5), (7, 10, 0, 5), (6, 12, 4, 8), (9, 12, 4, 8), (5, 12, 2, 1)]
    return on(*((*steps, 0.5) for steps in whole + others), (95, 100, 10, 20, 1e-3))


@formulas(0, 4, 2, 1, 1.0)
def _rates(step, total, warm, cool, peak):
    rising, w, right = step < warm, max(warm, 1), plateau_rate(step, total, warm, cool, peak)
    s, start = step, total - cool
    part = (s - start) / cool  # of the cosine

    def first(rise: float) -> float:
        """The right plateau and cosine after this."""
        return peak * rise if rising else right

    def then(fall: float) -> float:
        """The right warm-up and plateau before this."""
        return peak * fall if s >= start and not rising else right

    def half(angle: float) -> float:
        return (1 + math.cos(angle)) / 2

    def after(begin: float, length: float) -> float:
        """A cosine of this length that begins there, before it the plateau."""
        return right if rising else peak * half(math.pi * max(0.0, s - begin) / max(length, 1))

    return {
        "the cosine begins where the warm-up ends; the rate should stay at its peak until the last `cooldown_steps`": (
            after(warm, total - warm)
        ),
        "the cosine lasts `cooldown_steps`, but begins where the warm-up ends; it belongs at the end of the run": (
            right if rising else peak * half(math.pi * min(1, (s - warm) / cool))
        ),
        "the cosine is measured from step 0; it starts at `total_steps - cooldown_steps`": then(
            half(math.pi * s / total)
        ),
        "the cosine is divided by `total_steps`; it lasts `cooldown_steps`": then(half(math.pi * (s - start) / total)),
        "the ½ is missing: 1 + cos starts at 2": then(2 * half(math.pi * part)),
        "1 + … and the ½ are missing: the cosine alone falls to -1": then(math.cos(math.pi * part)),
        "this is a quarter of a turn; half a cosine, (1 + cos) / 2 from 0 to π, starts and ends level": then(
            math.cos(math.pi * part / 2)
        ),
        "the warm-up starts at 0, so the first step does not move; use step + 1": first(s / w),
        "the warm-up starts at 0, so the first step does not move: (step + 1) / warmup_steps": first(s / max(w - 1, 1)),
        "the angle is in degrees; `math.cos` takes radians, π for half a turn": then(half(180 * part)),
        "the π is missing inside the cosine": then(half(part)),
        "the rate is at its peak from the first step on; before `warmup_steps` it should rise": first(1),
        "the rate stays at its peak to the end; in the last `cooldown_steps` it should fall": then(1),
        "the rate falls along a straight line; it should follow half a cosine": then(1 - part),
        "1 - cos rises from 0; 1 + cos falls to 0": then(1 - half(math.pi * part)),
        "the cosine is one step ahead: it starts at the peak, at `step = total_steps - cooldown_steps`": then(
            half(math.pi * (s + 1 - start) / cool)
        ),
        "the cosine reaches 0 one step early; it would be there at `step = total_steps`": then(
            half(math.pi * (s - start) / max(cool - 1, 1))
        ),
        "the warm-up is divided by `warmup_steps + 1`, so its last step misses the peak": first((s + 1) / (w + 1)),
        "the warm-up is divided by `total_steps`; it lasts `warmup_steps`": first((s + 1) / total),
        "the cosine goes through a whole turn and comes back up; half a turn, π, is enough": then(
            half(2 * math.pi * part)
        ),
        "the cosine is not multiplied by the peak": half(math.pi * part) if s >= start and not rising else right,
        "the warm-up is not multiplied by the peak": (s + 1) / w if rising else right,
        "nothing is multiplied by the peak": right / peak,
    }


def _warm_up_too_long(step: int, total_steps: int, warmup_steps: int, cooldown_steps: int, peak: float) -> float:
    if step <= warmup_steps and warmup_steps:
        return peak * (step + 1) / warmup_steps
    return plateau_rate(step, total_steps, warmup_steps, cooldown_steps, peak)


exercise(
    "9.1",
    plateau_rate,
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
    """Multiply-adds in the encoder blocks for one step on one image: forward once, and backward, which counts twice."""
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
        "this is the forward pass alone; the backward pass costs twice as much again": right // 3,
        "this is two passes; each product has two in the backward pass, one for each factor, so there are three": (
            2 * right // 3
        ),
        "this is four passes; one forward and the backward pass, which counts as two, are three": 4 * right // 3,
        "the backward pass is counted for the linear layers alone; the products of attention have one too": (
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


def _train(
    build,
    images,
    labels,
    steps,
    batch,
    lr,
    *,
    softmax=False,
    first_labels=False,
    clear="before",
    step=True,
    momentum=0.0,
) -> Tensor:
    """Plain SGD over the images in order, right unless told otherwise; the scores of all images, (n, K)."""
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)
    for number in range(steps):
        chosen = torch.arange(number * batch, (number + 1) * batch) % len(images)
        scores = model(images[chosen])
        target = labels[:batch] if first_labels else labels[chosen]
        loss = F.cross_entropy(scores.softmax(dim=1) if softmax else scores, target)
        if clear == "before":
            optimizer.zero_grad()
        loss.backward()
        if clear == "between":
            optimizer.zero_grad()
        optimizer.step()
    with torch.no_grad():
        return model(images)


def mended_training(build, images: Tensor, labels: Tensor, steps: int, batch: int, lr: float) -> Tensor:
    """(n, C, H, W), (n,) -> (n, K): the scores of `build()`, trained by SGD on one batch after the other."""
    return _train(build, images, labels, steps, batch, lr)


class _Network:
    """Builds the same small network, untrained, at every call."""

    def __init__(self, numbers: int, classes: int) -> None:
        self.numbers, self.classes = numbers, classes

    def __call__(self) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.numbers)
            return nn.Sequential(nn.Flatten(), nn.Linear(self.numbers, 8), nn.Tanh(), nn.Linear(8, self.classes))


def _training_case(count: int, channels: int, side: int, classes: int, steps: int, batch: int, lr: float) -> Case:
    generator = torch.Generator().manual_seed(count)
    images = torch.randn(count, channels, side, side, generator=generator)
    labels = torch.randint(classes, (count,), generator=generator)
    network = _Network(channels * side * side, classes)
    label = f"a small network, images {tuple(images.shape)}, {steps} steps with batches of {batch}, lr = {lr}"
    return Case((network, images, labels, steps, batch, lr), label=label)


def _training_cases() -> list[Case]:
    return [
        _training_case(12, 1, 3, 4, 5, 4, 0.5),
        _training_case(10, 2, 2, 3, 7, 4, 0.2),  # the batches go over the end
        _training_case(6, 1, 2, 3, 1, 3, 0.5),  # a single step
        _training_case(6, 1, 2, 3, 4, 6, 0.5),  # a single batch
    ]


SOFTMAX = "the scores go through a softmax before `F.cross_entropy`, which applies its own"
LABELS = "every batch of images gets the labels of the first batch: both have to be those of `chosen`"
CLEAR = "the gradients of earlier steps are still in the sum: `optimizer.zero_grad()` is missing in the loop"


def _but(**flaws):
    return lambda *args: _train(*args, **flaws)


def _probabilities(*args) -> Tensor:
    return mended_training(*args).softmax(dim=1)


exercise(
    "9.5",
    mended_training,
    _training_cases,
    mistakes={
        SOFTMAX: _but(softmax=True),
        LABELS: _but(first_labels=True),
        CLEAR: _but(clear="never"),
        f"two of the bugs are left: {SOFTMAX}; and {LABELS}": _but(softmax=True, first_labels=True),
        f"two of the bugs are left: {SOFTMAX}; and {CLEAR}": _but(softmax=True, clear="never"),
        f"two of the bugs are left: {LABELS}; and {CLEAR}": _but(first_labels=True, clear="never"),
        "all three bugs are still there": _but(softmax=True, first_labels=True, clear="never"),
        "the model is as it was built: no `optimizer.step()`, or `zero_grad` stands between `backward` and it": (
            _but(clear="between")
        ),
        "the optimiser has momentum here; the task leaves it plain": _but(momentum=0.9),
        "these are probabilities; return the scores, before the softmax": _probabilities,
        "this is the best class of each image; return the scores, (n, K)": lambda *args: mended_training(*args).argmax(
            1
        ),
    },
)
