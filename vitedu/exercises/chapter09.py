"""The exercises of chapter 9, training."""

import math
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vitedu.exercises.contest  # noqa: F401 - exercise 9.6
from vitedu.cost import block_macs
from vitedu.exercises import compare
from vitedu.exercises.exercise import Case, Exercise, Mistake
from vitedu.train.optim import learning_rate as schedule
from vitedu.train.optim import split_parameters

# 9.1 -----------------------------------------------------------------------------------------------------------------


def learning_rate(step: int, total_steps: int, warmup_steps: int, peak: float) -> float:
    """The rate for one step: linear warm-up to `peak`, then half a cosine to zero."""
    return schedule(step, total_steps, warmup_steps, peak)


def _rate_cases() -> list[Case]:
    peak = 0.5
    steps = [(0, 20, 4), (3, 20, 4), (4, 20, 4), (8, 20, 4), (15, 20, 4), (20, 20, 4), (0, 10, 0), (7, 10, 0)]
    return [Case((*step, peak)) for step in steps] + [Case((30, 100, 10, 1e-3))]


def _after_warmup(decay, warmup=learning_rate):
    """The right warm-up, then `decay(step, total, warm)` in units of the peak."""

    def answer(step: int, total_steps: int, warmup_steps: int, peak: float) -> float:
        if step < warmup_steps:
            return warmup(step, total_steps, warmup_steps, peak)
        return peak * decay(step, total_steps, warmup_steps)

    return answer


def _during_warmup(rise):
    """`rise(step, total, warm)` in units of the peak, then the right cosine."""
    return _after_warmup(
        lambda step, total, warm: learning_rate(step, total, warm, 1.0),
        lambda step, total, warm, peak: peak * rise(step, total, warm),
    )


def _warm_up_too_long(step: int, total_steps: int, warmup_steps: int, peak: float) -> float:
    if step <= warmup_steps:
        return peak * (step + 1) / warmup_steps
    return learning_rate(step, total_steps, warmup_steps, peak)


LEARNING_RATE = Exercise(
    id="9.1",
    title="Warm up, then cool down",
    reference=learning_rate,
    cases=_rate_cases,
    difference=compare.floats,
    mistakes=(
        Mistake(
            "the cosine is measured from step 0; it starts where the warm-up ends",
            _after_warmup(lambda s, total, warm: 0.5 * (1 + math.cos(math.pi * s / total))),
        ),
        Mistake(
            "the ½ is missing: 1 + cos starts at 2",
            _after_warmup(lambda s, total, warm: 1 + math.cos(math.pi * (s - warm) / (total - warm))),
        ),
        Mistake(
            "the warm-up starts at 0, so the first step does not move; use step + 1",
            _during_warmup(lambda s, total, warm: s / warm),
        ),
        Mistake(
            "the angle is in degrees; `math.cos` takes radians, π for half a turn",
            _after_warmup(lambda s, total, warm: 0.5 * (1 + math.cos(180 * (s - warm) / (total - warm)))),
        ),
        Mistake(
            "the π is missing inside the cosine",
            _after_warmup(lambda s, total, warm: 0.5 * (1 + math.cos((s - warm) / (total - warm)))),
        ),
        Mistake(
            "there is no warm-up: the cosine begins at once",
            lambda s, total, warm, peak: peak * 0.5 * (1 + math.cos(math.pi * s / total)),
        ),
        Mistake(
            "the rate is at its peak from the first step on; before `warmup_steps` it should rise",
            _during_warmup(lambda s, total, warm: 1.0),
        ),
        Mistake(
            "the rate stays at its peak after the warm-up; it should fall along half a cosine",
            _after_warmup(lambda s, total, warm: 1.0),
        ),
        Mistake(
            "the rate falls along a straight line; it should follow half a cosine",
            _after_warmup(lambda s, total, warm: (total - s) / (total - warm)),
        ),
        Mistake(
            "1 - cos rises from 0; 1 + cos falls to 0",
            _after_warmup(lambda s, total, warm: 0.5 * (1 - math.cos(math.pi * (s - warm) / (total - warm)))),
        ),
        Mistake(
            "the cosine is divided by `total_steps`; it lasts `total_steps - warmup_steps`, or it does not reach 0",
            _after_warmup(lambda s, total, warm: 0.5 * (1 + math.cos(math.pi * (s - warm) / total))),
        ),
        Mistake("the warm-up lasts one step too long; use `<`, not `<=`", _warm_up_too_long),
        Mistake(
            "the warm-up is divided by `warmup_steps + 1`, so its last step misses the peak",
            _during_warmup(lambda s, total, warm: (s + 1) / (warm + 1)),
        ),
        Mistake(
            "the warm-up is divided by `total_steps`; it lasts `warmup_steps`",
            _during_warmup(lambda s, total, warm: (s + 1) / total),
        ),
        Mistake(
            "the cosine goes through a whole turn and comes back up; half a turn, π, is enough",
            _after_warmup(lambda s, total, warm: 0.5 * (1 + math.cos(2 * math.pi * (s - warm) / (total - warm)))),
        ),
    ),
)


# 9.2 -----------------------------------------------------------------------------------------------------------------


def smoothed_cross_entropy(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Logits (B, K), labels (B,) -> the mean over the batch of -Σ_k target_k log softmax(logits)_k."""
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)


def _loss_case(batch: int, classes: int, smoothing: float, scale: float = 2.0, dtype=torch.float32) -> Case:
    generator = torch.Generator().manual_seed(batch * classes)
    logits = torch.randn(batch, classes, generator=generator, dtype=dtype).mul(scale).round(decimals=1)
    labels = torch.randint(classes, (batch,), generator=generator)
    return Case((logits, labels, smoothing), traits=("B = 1",) if batch == 1 else (), gradient=True)


def _huge_case() -> Case:
    logits = torch.tensor([[1000.0, -1000.0, 0.0], [0.0, 1000.0, 500.0]])
    args = logits, torch.tensor([0, 2]), 0.1
    return Case(args, label="logits up to ±1000, labels (2,), smoothing = 0.1", gradient=True)


def _loss_cases() -> list[Case]:
    return [
        _loss_case(4, 3, 0.1),
        _loss_case(1, 5, 0.2),
        _loss_case(6, 10, 0.0),
        _loss_case(3, 3, 0.5),
        _loss_case(5, 2, 0.1, dtype=torch.float64),
        _huge_case(),
    ]


def _loss_against(target, reduce=torch.mean, log_probability=lambda logits: logits.log_softmax(dim=1)):
    """The loss with one part replaced; `target(hot, smoothing)` makes the targets from one-hot labels (B, K)."""

    def answer(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
        hot = F.one_hot(labels, logits.shape[1]).to(logits)  # (B, K)
        return reduce(-(target(hot, smoothing) * log_probability(logits)).sum(dim=1))

    return answer


def _smooth(hot: Tensor, smoothing: float) -> Tensor:
    return (1 - smoothing) * hot + smoothing / hot.shape[1]


def _log_of_exponentials(logits: Tensor) -> Tensor:
    return (logits.exp() / logits.exp().sum(dim=1, keepdim=True)).log()


SMOOTHED_CROSS_ENTROPY = Exercise(
    id="9.2",
    title="Label smoothing",
    reference=smoothed_cross_entropy,
    cases=_loss_cases,
    mistakes=(
        Mistake(
            "ε is shared among the other K - 1 classes; here every class gets ε/K, the true one included",
            _loss_against(lambda hot, eps: (1 - eps) * hot + eps / (hot.shape[1] - 1) * (1 - hot)),
        ),
        Mistake("the losses of the batch are added up; take their mean", _loss_against(_smooth, reduce=torch.sum)),
        Mistake(
            "one loss per image is returned; take the mean over the batch",
            _loss_against(_smooth, reduce=lambda losses: losses),
        ),
        Mistake(
            "a probability rounds to 0, and its log is -inf; `log_softmax` never leaves the logarithms",
            _loss_against(_smooth, log_probability=lambda logits: logits.softmax(dim=1).log()),
        ),
        Mistake(
            "exp(1000) overflows to inf; `log_softmax` subtracts the largest logit first",
            _loss_against(_smooth, log_probability=_log_of_exponentials),
        ),
        Mistake(
            "softmax is applied twice: `F.cross_entropy` and `log_softmax` expect logits",
            _loss_against(_smooth, log_probability=lambda logits: logits.softmax(dim=1).log_softmax(dim=1)),
        ),
        Mistake(
            "the smoothing is the wrong way round: the true class gets ε instead of 1 - ε",
            _loss_against(lambda hot, eps: eps * hot + (1 - eps) / hot.shape[1]),
        ),
        Mistake(
            "the true class gets 1 - ε alone; its own ε/K is missing, so the targets sum to less than 1",
            _loss_against(lambda hot, eps: (1 - eps) * hot + eps / hot.shape[1] * (1 - hot)),
        ),
        Mistake("the smoothing is ignored: the targets are one-hot", _loss_against(lambda hot, eps: hot)),
        Mistake(
            "ε is added to every class, not ε/K, so the targets sum to more than 1",
            _loss_against(lambda hot, eps: (1 - eps) * hot + eps),
        ),
        Mistake(
            "the one-hot part is not scaled by 1 - ε, so the targets sum to more than 1",
            _loss_against(lambda hot, eps: hot + eps / hot.shape[1]),
        ),
        Mistake(
            "the mean runs over the classes too; sum over the classes, then take the mean over the batch",
            lambda logits, labels, eps: smoothed_cross_entropy(logits, labels, eps) / logits.shape[1],
        ),
        Mistake(
            "the sign is wrong: log-probabilities are negative, a loss is not",
            lambda logits, labels, eps: -smoothed_cross_entropy(logits, labels, eps),
        ),
        Mistake(
            "softmax runs over the batch (dim=0); it belongs over the classes (dim=1)",
            _loss_against(_smooth, log_probability=lambda logits: logits.log_softmax(dim=0)),
        ),
    ),
)


# 9.3 -----------------------------------------------------------------------------------------------------------------

LISTS = ("decay", "no_decay")
Parameters = list[nn.Parameter]


def _model_cases() -> list[Case]:
    from vitedu.vit import ViT, ViTConfig  # here, so that the other exercises do not need it

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
            return f"{title} is a value of type {part}, expected a list" + _read_once(part)
        for item in part:
            if item.startswith("<"):
                return f"{title} holds a value of type {item[1:-1]} that is not a parameter of the model"
            if part.count(item) > 1:
                return f"`{item}` is in {title} {part.count(item)} times, expected once"
    return _misplaced(got, expected)


def _read_once(kind: str) -> str:
    return ": it can be read only once, and then it is empty" if kind in ("generator", "filter", "map") else ""


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

    def answer(model: nn.Module) -> tuple[Parameters, Parameters]:
        named = list(model.named_parameters())
        return [p for n, p in named if rule(n, p)], [p for n, p in named if not rule(n, p)]

    return answer


def _is_table(name: str) -> bool:
    return "cls_token" in name or "positions" in name


def _layers_only(model: nn.Module) -> tuple[Parameters, Parameters]:
    """Walks through the layers, and so misses parameters that belong to no layer."""
    layers = list(model.modules())
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    norms = [layer for layer in layers if isinstance(layer, nn.LayerNorm)]
    rest = [layer.bias for layer in linear] + [p for norm in norms for p in norm.parameters()]
    return [layer.weight for layer in linear], rest


def _generators(model: nn.Module) -> tuple:
    decay, no_decay = split_parameters(model)
    return (p for p in decay), (p for p in no_decay)


SPLIT_PARAMETERS = Exercise(
    id="9.3",
    title="What decays?",
    reference=split_parameters,
    cases=_model_cases,
    difference=_wrong_lists,
    simplify=_names,
    mistakes=(
        Mistake(
            "the rule is `ndim >= 2`; a position table and a CLS token have two axes or more, but are not the weights "
            "of linear layers",
            _split_by(lambda name, p: p.ndim >= 2),
        ),
        Mistake(
            "the biases of the linear layers decay too; only their weights should",
            _split_by(lambda name, p: "norm" not in name and not _is_table(name)),
        ),
        Mistake(
            "the gains of LayerNorm are called `weight` as well; they should not decay",
            _split_by(lambda name, p: name.endswith("weight")),
        ),
        Mistake(
            "only biases are exempt; LayerNorm's gains, positions and the CLS token should not decay either",
            _split_by(lambda name, p: not name.endswith("bias")),
        ),
        Mistake(
            "only the parameters of LayerNorm are exempt; biases, positions and the CLS token should not decay either",
            _split_by(lambda name, p: "norm" not in name),
        ),
        Mistake("everything decays; only the weights of linear layers should", _split_by(lambda name, p: True)),
        Mistake("nothing decays; the weights of linear layers should", _split_by(lambda name, p: False)),
        Mistake(
            "a walk through the linear and LayerNorm layers misses the parameters that belong to no layer: the CLS "
            "token and the positions",
            _layers_only,
        ),
        Mistake("the two lists are swapped; decay comes first", lambda model: split_parameters(model)[::-1]),
        Mistake("round brackets around `p for p in …` make a generator; square brackets make a list", _generators),
    ),
)


# 9.4 -----------------------------------------------------------------------------------------------------------------


def training_macs(image_side: int, patch_side: int, dim: int, depth: int) -> int:
    """Multiply-adds in the encoder blocks for one step on one image: one forward, and two for the way back."""
    return 3 * depth * block_macs((image_side // patch_side) ** 2, dim)


def _cost_cases() -> list[Case]:
    sizes = [(28, 7, 64, 4), (56, 7, 64, 4), (112, 7, 64, 4), (224, 16, 768, 12), (32, 4, 24, 3), (8, 8, 16, 1)]
    return [Case(size) for size in sizes]


def _cost(block, passes: int = 3, tokens=lambda side, patch: (side // patch) ** 2):
    """The count with one part replaced; `block(N, D)` prices one block, forward."""

    def answer(image_side: int, patch_side: int, dim: int, depth: int) -> int:
        return passes * depth * block(tokens(image_side, patch_side), dim)

    return answer


TRAINING_MACS = Exercise(
    id="9.4",
    title="The price of a larger image",
    reference=training_macs,
    cases=_cost_cases,
    difference=compare.integers,
    mistakes=(
        Mistake(
            "attention is missing, 2N²D for the scores and the weighted sum: it is what grows faster than N",
            _cost(lambda N, D: 12 * N * D * D),
        ),
        Mistake(
            "attention compares every token with every other: 2N²D, not 2ND",
            _cost(lambda N, D: 12 * N * D * D + 2 * N * D),
        ),
        Mistake(
            "attention has two products of N²D, the scores and the weighted sum of the values; one is missing",
            _cost(lambda N, D: 12 * N * D * D + N * N * D),
        ),
        Mistake(
            "attention's N² is not multiplied by the width: scores and weighted sum are matrix products, 2N²D",
            _cost(lambda N, D: 12 * N * D * D + 2 * N * N),
        ),
        Mistake(
            "attention has D² in place of D: each of its two products is N²D",
            _cost(lambda N, D: 12 * N * D * D + 2 * N * N * D * D),
        ),
        Mistake(
            "attention is counted twice over: its two products are N²D each, 2N²D together",
            _cost(lambda N, D: 12 * N * D * D + 4 * N * N * D),
        ),
        Mistake(
            "the linear layers are counted for one token; all N go through them",
            _cost(lambda N, D: 12 * D * D + 2 * N * N * D),
        ),
        Mistake(
            "this is the forward pass of one block; multiply by the depth, and by three for the step",
            lambda image_side, patch_side, dim, depth: training_macs(image_side, patch_side, dim, 1) // 3,
        ),
        Mistake("this is the forward pass alone; the way back costs about two more", _cost(block_macs, passes=1)),
        Mistake(
            "this is two passes; each product has two on the way back, one for each of its factors, so there are three",
            _cost(block_macs, passes=2),
        ),
        Mistake("this is four passes; one forward and two for the way back are three", _cost(block_macs, passes=4)),
        Mistake(
            "the way back is counted for the linear layers alone; the products of attention have one too",
            _cost(lambda N, D: 36 * N * D * D + 2 * N * N * D, passes=1),
        ),
        Mistake(
            "N is S/P here; patches fill the image down and across, so it is (S/P)²",
            _cost(block_macs, tokens=lambda side, patch: side // patch),
        ),
        Mistake(
            "N is S²/P here; a patch is P pixels high and P wide, so divide by P²",
            _cost(block_macs, tokens=lambda side, patch: side * side // patch),
        ),
        Mistake(
            "every pixel is counted as a token; a token is a patch, so divide by P²",
            _cost(block_macs, tokens=lambda side, patch: side * side),
        ),
        Mistake(
            "CLS is counted as a token; here the tokens are the patches alone",
            _cost(block_macs, tokens=lambda side, patch: (side // patch) ** 2 + 1),
        ),
        Mistake(
            "the MLP is missing: 8D² for every token, beside the 4D² of the projections",
            _cost(lambda N, D: 4 * N * D * D + 2 * N * N * D),
        ),
        Mistake(
            "8D² are counted for every token; the four projections have 4D² and the MLP's two layers 8D², 12D² in all",
            _cost(lambda N, D: 8 * N * D * D + 2 * N * N * D),
        ),
        Mistake(
            "there are four projections, queries, keys, values and output; three are counted",
            _cost(lambda N, D: 11 * N * D * D + 2 * N * N * D),
        ),
        Mistake("the MLP's hidden layer is 4D wide, not D", _cost(lambda N, D: 6 * N * D * D + 2 * N * N * D)),
        Mistake(
            "these are FLOPs; a multiply–add is one MAC and two FLOPs",
            _cost(lambda N, D: 2 * block_macs(N, D)),
        ),
        Mistake(
            "this is one block; multiply by the depth",
            lambda image_side, patch_side, dim, depth: training_macs(image_side, patch_side, dim, 1),
        ),
        Mistake(
            "`/` always gives a float; count with `//`",
            lambda *sizes: float(training_macs(*sizes)),
        ),
    ),
)


# 9.5 -----------------------------------------------------------------------------------------------------------------


def mean_scores(model: nn.Module, images: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, K): the head reads the mean of the patch tokens after the last LayerNorm."""
    return model.head(model.encode(images)[:, 1:].mean(dim=1))


def _pool_case(batch: int, channels: int, size: tuple[int, int], dim: int, classes: int) -> Case:
    from vitedu.vit import ViT, ViTConfig  # here, so that the other exercises do not need it

    config = ViTConfig(
        image_size=size, patch_size=4, in_channels=channels, num_classes=classes, dim=dim, depth=1, num_heads=2
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(batch)
        model = ViT(config)
        for parameter in model.parameters():  # nothing may be 0 or 1, as CLS, biases and gains are at the start
            parameter.data += 0.3 * torch.randn(parameter.shape)
        images = torch.randn(batch, channels, *size)
    label = f"a ViT with a CLS token and {classes} classes, images {tuple(images.shape)}"
    return Case((model, images), label=label, traits=("B = 1",) if batch == 1 else ())


def _pool_cases() -> list[Case]:
    return [
        _pool_case(3, 1, (8, 8), 12, 5),
        _pool_case(1, 2, (8, 12), 8, 3),
        _pool_case(2, 1, (16, 16), 16, 10),  # as many patches as the width
    ]


def _read(pick):
    """`pick` what the head reads from the tokens after the last LayerNorm, (B, 1 + N, D)."""
    return lambda model, images: model.head(pick(model.encode(images)))


def _blocks(model: nn.Module, images: Tensor) -> Tensor:
    """The tokens (B, 1 + N, D) before the last LayerNorm."""
    cls = model.cls_token.expand(len(images), -1, -1)
    tokens = model.positions(torch.cat([cls, model.patch_embed(images)], dim=1))
    for block in model.encoder.blocks:
        tokens = block(tokens)
    return tokens


def _without_cls(model: nn.Module, images: Tensor) -> Tensor:
    tokens = model.patch_embed(images) + model.positions.table[1:]
    return model.head(model.encoder(tokens).mean(dim=1))


def _new_model(model: nn.Module, images: Tensor) -> Tensor:
    return type(model)(replace(model.config, pool="mean"))(images)


MEAN_SCORES = Exercise(
    id="9.5",
    title="The mean instead of the CLS token",
    reference=mean_scores,
    cases=_pool_cases,
    mistakes=(
        Mistake("CLS is in the mean; the patches begin at token 1", _read(lambda z: z.mean(dim=1))),
        Mistake(
            "the mean is taken before the last LayerNorm; normalise each token, then average",
            lambda model, images: model.head(model.encoder.norm(_blocks(model, images)[:, 1:].mean(dim=1))),
        ),
        Mistake(
            "the last LayerNorm is missing: `model.encode` has it, the blocks alone do not",
            lambda model, images: model.head(_blocks(model, images)[:, 1:].mean(dim=1)),
        ),
        Mistake(
            "there is a LayerNorm too many: the tokens of `model.encode` have been through the last one already",
            lambda model, images: model.head(model.encoder.norm(model.encode(images)[:, 1:]).mean(dim=1)),
        ),
        Mistake(
            "there is a LayerNorm too many, after the mean: `model.encode` ends with the last one",
            lambda model, images: model.head(model.encoder.norm(model.encode(images)[:, 1:].mean(dim=1))),
        ),
        Mistake(
            "the mean runs over the D numbers of each token; it belongs over the tokens, dim=1",
            _read(lambda z: z[:, 1:].mean(dim=2)),
        ),
        Mistake(
            "the mean runs over the images of the batch; it belongs over the tokens, dim=1",
            _read(lambda z: z[:, 1:].mean(dim=0)),
        ),
        Mistake("this is the largest number over the tokens; take their mean", _read(lambda z: z[:, 1:].amax(dim=1))),
        Mistake("this is the sum over the tokens; divide it by N", _read(lambda z: z[:, 1:].sum(dim=1))),
        Mistake(
            "the sum over the N patches is divided by N + 1, which counts CLS",
            _read(lambda z: z[:, 1:].sum(dim=1) / z.shape[1]),
        ),
        Mistake("this reads CLS, as the model does by itself; read the patches", _read(lambda z: z[:, 0])),
        Mistake(
            "CLS is token 0, and here the last patch is left out in its place", _read(lambda z: z[:, :-1].mean(dim=1))
        ),
        Mistake("this reads the first patch alone; take the mean of all patches", _read(lambda z: z[:, 1])),
        Mistake(
            "`[1:]` leaves out the first image; the tokens are the second axis, `[:, 1:]`",
            _read(lambda z: z[1:].mean(dim=1)),
        ),
        Mistake("this is a new model, untrained; read the one that is given", _new_model),
        Mistake("two tokens are left out; CLS is one token", _read(lambda z: z[:, 2:].mean(dim=1))),
        Mistake("every token has scores of its own here; average over the tokens", _read(lambda z: z[:, 1:])),
        Mistake(
            "the axis of the tokens is still there; `mean(dim=1)` drops it",
            _read(lambda z: z[:, 1:].mean(dim=1, keepdim=True)),
        ),
        Mistake(
            "CLS was never in the encoder: the patches attend to it there, so let it go through and leave it out after",
            _without_cls,
        ),
        Mistake(
            "the head is missing: this is the mean token, (B, D)",
            lambda model, images: model.encode(images)[:, 1:].mean(dim=1),
        ),
        Mistake(
            "these are probabilities; return the scores, before the softmax",
            lambda model, images: mean_scores(model, images).softmax(dim=1),
        ),
        Mistake(
            "these are log-probabilities; return the scores, as the head gives them",
            lambda model, images: mean_scores(model, images).log_softmax(dim=1),
        ),
        Mistake(
            "these are the probabilities' means over the patches; average the tokens, or their scores",
            lambda model, images: model.head(model.encode(images)[:, 1:]).softmax(dim=2).mean(dim=1),
        ),
        Mistake(
            "this is the best class; return the scores of all, (B, K)",
            lambda model, images: mean_scores(model, images).argmax(dim=1),
        ),
    ),
)

EXERCISES = {
    exercise.id: exercise
    for exercise in (LEARNING_RATE, SMOOTHED_CROSS_ENTROPY, SPLIT_PARAMETERS, TRAINING_MACS, MEAN_SCORES)
}
