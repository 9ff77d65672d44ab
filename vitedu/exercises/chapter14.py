"""The exercises of chapter 14, transfer."""

import torch
from torch import Tensor, nn

from vitedu.exercises import compare
from vitedu.exercises.exercise import Answer, Case, exercise, formulas, on


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# 14.1 ----------------------------------------------------------------------------------------------------------------
def restricted_accuracy(scores: Tensor, labels: Tensor, columns: Tensor) -> float:
    """(N, K) scores, (N,) labels among K, (k,) columns that may be answered -> the share right."""
    said = columns[scores[:, columns].argmax(dim=1)]
    return (said == labels).float().mean().item()


def _scores_case(count: int, classes: int, columns: list[int], seed: int) -> Case:
    labels = torch.tensor(columns)[torch.randint(len(columns), (count,), generator=torch.Generator().manual_seed(seed))]
    scores = _random(count, classes, seed=seed)
    scores[torch.arange(count), labels] += 1.0
    return Case(
        (scores, labels, torch.tensor(columns)), label=f"{count} scores of {classes} classes, columns {columns}"
    )


@formulas(*_scores_case(40, 12, [7, 2, 10], 1).args)
def _restricted(scores: Tensor, labels: Tensor, columns: Tensor) -> dict:
    def share(right: Tensor) -> float:
        return right.float().mean().item()

    inside, among = scores[:, columns], scores.argmax(dim=1)
    ordered = columns.sort().values
    softmax = scores.softmax(dim=1)[:, columns]
    hits = (among == labels)[torch.isin(among, columns)]
    return {
        "the place among the chosen columns is compared with the label among all; `columns[place]` is the class": (
            share(inside.argmax(dim=1) == labels)
        ),
        "all scores take part; only those of `columns` may win": share(among == labels),
        "the columns are read in ascending order, and looked up in the given one": (
            share(columns[scores[:, ordered].argmax(dim=1)] == labels)
        ),
        "pictures on which another class would have won are left out; they count, and their answer changes": (
            share(hits) if len(hits) else 0.0
        ),
        "this is a count; divide by the number of pictures": float(
            (columns[inside.argmax(dim=1)] == labels).float().sum()
        ),
        "this is in per cent; a share from 0 to 1 is asked for": 100 * restricted_accuracy(scores, labels, columns),
        "the lowest score is taken; the highest wins": share(columns[inside.argmin(dim=1)] == labels),
        "this is the mean probability of the right class": share(
            softmax[torch.arange(len(labels)), (columns == labels[:, None]).int().argmax(dim=1)]
        ),
    }


exercise(
    "14.1",
    reference=restricted_accuracy,
    cases=lambda: [
        _scores_case(40, 12, [7, 2, 10], 1),
        _scores_case(25, 9, [0, 3, 4, 8], 2),
        _scores_case(30, 20, [19, 5], 3),
        _scores_case(1, 6, [5, 1, 2], 4),
    ],
    mistakes=_restricted,
    difference=compare.floats,
)


# 14.2 ----------------------------------------------------------------------------------------------------------------
def wrongest(scores: Tensor, labels: Tensor, n: int) -> Tensor:
    """(N, K), (N,) -> places of the n wrong pictures whose wrong answer is the surest, surest first; fewer if fewer."""
    probability, said = scores.softmax(dim=1).max(dim=1)
    wrong = (said != labels).nonzero().flatten()
    return wrong[probability[wrong].argsort(descending=True)][:n]


def _wrong_case(count: int, classes: int, n: int, seed: int) -> Case:
    scores = 2 * _random(count, classes, seed=seed) + 5 * _random(count, 1, seed=seed + 50)  # a level of each its own
    labels = torch.randint(classes, (count,), generator=torch.Generator().manual_seed(seed))
    return Case((scores, labels, n), label=f"{count} pictures, {classes} classes, n = {n}")


@formulas(*_wrong_case(30, 4, 5, 1).args)
def _wrongs(scores: Tensor, labels: Tensor, n: int) -> dict:
    shares = scores.softmax(dim=1)
    probability, said = shares.max(dim=1)
    wrong = (said != labels).nonzero().flatten()
    truth = shares[torch.arange(len(labels)), labels]

    def order(values: Tensor, among: Tensor = wrong, descending: bool = True) -> Tensor:
        return among[values[among].argsort(descending=descending)][:n]

    everyone = torch.arange(len(labels))
    return {
        "right answers are among them; look at the wrong ones alone": order(probability, everyone),
        "these are right answers": order(probability, (said == labels).nonzero().flatten()),
        "the least sure come first; the surest are asked for": order(probability, descending=False),
        "these are the wrong ones in their old order; sort them by how sure the answer was": wrong[:n],
        "sorted by the score, not by the probability; scores of two pictures have no common level": (
            order(scores.max(dim=1).values)
        ),
        "sorted by the probability of the true class; how sure the wrong answer was is asked for": (
            order(truth, descending=False)
        ),
        "these are places among the wrong ones; say the places among all pictures": (
            probability[wrong].argsort(descending=True)[:n]
        ),
        "all of them are returned; n are asked for": order(probability)
        if n >= len(wrong)
        else wrong[probability[wrong].argsort(descending=True)],
    }


exercise(
    "14.2",
    reference=wrongest,
    cases=lambda: [
        _wrong_case(30, 4, 5, 1),
        _wrong_case(20, 2, 3, 2),
        _wrong_case(8, 3, 20, 3),
        _wrong_case(50, 10, 1, 4),
    ],
    mistakes=_wrongs,
)


# 14.3 ----------------------------------------------------------------------------------------------------------------
def ridge_scores(x: Tensor, labels: Tensor, queries: Tensor, classes: int, penalty: float) -> Tensor:
    """Features (N, D), labels (N,), queries (M, D) -> scores (M, K) of ridge regression to ±1, with a free bias."""
    targets = _signs(labels, classes).to(x.dtype)
    centre, level = x.mean(dim=0), targets.mean(dim=0)
    x = x - centre
    W = torch.linalg.solve(x.T @ x + penalty * torch.eye(x.shape[1], dtype=x.dtype), x.T @ (targets - level))
    return (queries - centre) @ W + level


def _signs(labels: Tensor, classes: int) -> Tensor:
    return 2.0 * nn.functional.one_hot(labels, classes) - 1


def _ridge_case(count: int, dim: int, classes: int, penalty: float, seed: int, dtype=torch.float32) -> Case:
    labels = torch.arange(count) % classes
    x = (_random(count, dim, seed=seed) + 1.5 * _random(classes, dim, seed=seed + 9)[labels] + 2.0).to(dtype)
    queries = (_random(4, dim, seed=seed + 1) + 2.0).to(dtype)
    label = f"x {(count, dim)}, {classes} classes, penalty {penalty}"
    return Case((x, labels, queries, classes, penalty), label=label)


def _ridge_cases() -> list[Case]:
    return [
        _ridge_case(20, 4, 3, 1.0, 1),
        _ridge_case(7, 5, 4, 10.0, 2),
        _ridge_case(5, 12, 5, 0.5, 3),  # fewer pictures than features
        _ridge_case(11, 3, 2, 2.0, 4, torch.float64),
    ]


@formulas(*_ridge_cases()[1].args)
def _ridges(x: Tensor, labels: Tensor, queries: Tensor, classes: int, penalty: float) -> dict:
    N = len(x)
    right = _signs(labels, classes).to(x.dtype)

    def solved(x=x, targets=right, queries=queries, penalty=penalty, free=True, back=True) -> Tensor:
        centre, level = (x.mean(dim=0), targets.mean(dim=0)) if free else (torch.zeros_like(x[0]), 0 * targets[0])
        shifted = x - centre
        gram = shifted.T @ shifted + penalty * torch.eye(shifted.shape[1], dtype=x.dtype)
        W = torch.linalg.solve(gram, shifted.T @ (targets - level))
        return (queries - centre) @ W + (level if back else 0)

    ones, more = torch.ones(N, 1, dtype=x.dtype), torch.ones(len(queries), 1, dtype=x.dtype)
    return {
        "there is no bias; centre features and targets, and add the mean of the targets at the end": solved(free=False),
        "the mean of the targets is not added again": solved(back=False),
        "the bias is penalised, too; a column of ones must have no penalty": (
            solved(torch.cat([x, ones], dim=1), queries=torch.cat([queries, more], dim=1), free=False)
        ),
        "the targets are 0 and 1; -1 and 1 are asked for": solved(targets=(right + 1) / 2),
        "the targets have their signs swapped; 1 is for the class of the picture": solved(targets=-right),
        "the penalty is multiplied by N; it stands beside a sum over pictures": solved(penalty=N * penalty),
        "the penalty is divided by N; it stands beside a sum over pictures": solved(penalty=penalty / N),
        "the penalty is squared": solved(penalty=penalty**2 if penalty != 1 else 3.0),
        "there is no penalty": solved(penalty=1e-6),
        "the queries are centred with their own mean; take that of the features": solved(
            queries=queries - queries.mean(dim=0) + x.mean(dim=0)
        ),
        "the queries are not centred": solved(queries=queries + x.mean(dim=0)),
    }


exercise("14.3", reference=ridge_scores, cases=_ridge_cases, mistakes=_ridges)


# 14.4 ----------------------------------------------------------------------------------------------------------------
@torch.no_grad()
def honest_accuracy(model: nn.Module, images: Tensor, labels: Tensor, mean: Tensor, std: Tensor) -> float:
    """Bytes (B, C, H, W), with mean and std in [0, 1] units (C,) -> the share right, in evaluation mode."""
    return _accuracy()(model, images, labels, mean, std)


def _accuracy(
    evaluating: bool = True, restoring: bool = True, scale: float = 255.0, shift: bool = True, axis: int = 1
) -> Answer:
    @torch.no_grad()
    def answer(model: nn.Module, images: Tensor, labels: Tensor, mean: Tensor, std: Tensor) -> float:
        was = model.training
        if evaluating:
            model.eval()
        x = images.float() / scale
        if shift:
            x = (x - mean.view(1, -1, 1, 1)) / std.view(1, -1, 1, 1)
        scores = model(x)
        if restoring:
            model.train(was)
        said = scores.argmax(dim=axis)
        right = said[: len(labels)] == labels[: len(said)]
        return right.float().mean().item()

    return answer


def _model_case(count: int, channels: int, training: bool, seed: int) -> Case:
    """A model with BatchNorm, which has seen other pictures than those of the case, and dropout."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = nn.Conv2d(channels, 6, 2), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.LazyLinear(4)
        model = nn.Sequential(*body)
        images = torch.randint(256, (count, channels, 4, 4), dtype=torch.uint8)
        images[: count // 2] //= 3  # a batch whose statistics are not those that the model has kept
        with torch.no_grad():
            for _ in range(20):
                model(2 * torch.randn(16, channels, 4, 4) + 1)
            mean, std = 0.2 + 0.2 * torch.rand(channels), 0.1 + 0.1 * torch.rand(channels)
            model.eval()
            said = model((images / 255 - mean.view(1, -1, 1, 1)) / std.view(1, -1, 1, 1)).argmax(dim=1)
        labels = torch.where(torch.arange(count) % 5 == 4, (said + 1) % 4, said)
    label = f"{count} pictures, a model in {'training' if training else 'evaluation'} mode"
    return Case((model.train(training), images, labels, mean, std), label=label)


exercise(
    "14.4",
    reference=honest_accuracy,
    cases=lambda: [
        _model_case(40, 3, True, 1),
        _model_case(30, 3, False, 2),
        _model_case(60, 1, True, 3),
        _model_case(25, 2, True, 5),
    ],
    mistakes={
        "nothing is mended: pictures are bytes, the model is in training mode": _accuracy(False, False, 1.0),
        "the model is in training mode; dropout draws, and BatchNorm reads the batch and changes itself": (
            _accuracy(False, False)
        ),
        "mean and std are in units from 0 to 1, the pictures from 0 to 255; divide them by 255 first": (
            _accuracy(scale=1.0)
        ),
        "the pictures are not normalised; the model has learned from normalised ones": _accuracy(shift=False),
        "the highest score is looked for among pictures; look among classes": _accuracy(axis=0),
    },
    difference=compare.floats,
)


# 14.5 ----------------------------------------------------------------------------------------------------------------
def standardise(train: Tensor, other: Tensor) -> Tensor:
    """(N, D), (M, D) -> the other features, (M, D), less the mean of the training features, by their deviation."""
    return (other - train.mean(dim=0)) / train.std(dim=0, unbiased=False).clamp(min=1e-6)


def _feature_case(count: int, dim: int, others: int, seed: int, dtype=torch.float32, still: bool = False) -> Case:
    train = (_random(count, dim, seed=seed) * torch.arange(1, dim + 1) + 3.0).to(dtype)
    if still:
        train[:, 0] = 4.0  # a feature that never changes
    other = (2 * _random(others, dim, seed=seed + 1) + 1.0).to(dtype)
    if still:
        other[:, 0] = 4.0
    label = f"train {(count, dim)}, other {(others, dim)}" + (", one feature is constant" if still else "")
    return Case((train, other), label=label)


def _feature_cases() -> list[Case]:
    sizes = [(6, 3, 4, 1), (9, 2, 1, 2), (4, 5, 7, 3, torch.float64)]
    return [*(_feature_case(*size) for size in sizes), _feature_case(8, 3, 5, 4, still=True)]


@formulas(*_feature_cases()[0].args)
def _standardised(train: Tensor, other: Tensor) -> dict:
    mean, std = train.mean(dim=0), train.std(dim=0, unbiased=False).clamp(min=1e-6)
    own = other.std(dim=0, unbiased=False).clamp(min=1e-6)
    return {
        "the other features are standardised by themselves; a model meets them one by one, and knows only training": (
            (other - other.mean(dim=0)) / own
        ),
        "the training features come back; the others are asked for": (train - mean) / std,
        "one mean for all features; each has its own": (other - train.mean()) / std,
        "one deviation for all features; each has its own": (other - mean) / train.std(unbiased=False),
        "the mean is taken over features; take it over pictures, `dim=0`": (
            (other - train.mean(dim=1).mean()) / train.std(dim=1, unbiased=False).mean()
        ),
        "the features are divided by the variance; by its root, the deviation, is asked for": (other - mean) / std**2,
        "the mean is not taken away": other / std,
        "the features are not divided by their deviation": other - mean,
        "this is the deviation of a sample, with N - 1; divide by N": (other - mean) / train.std(dim=0).clamp(min=1e-6),
        "a feature that never changes is divided by 0; divide by 10⁻⁶ at least": (other - mean)
        / train.std(dim=0, unbiased=False),
    }


exercise("14.5", reference=standardise, cases=_feature_cases, mistakes=_standardised)


# 14.6 ----------------------------------------------------------------------------------------------------------------
def layer_rates(names: list[str], depth: int, lr: float, decay: float) -> list[float]:
    """The learning rate of each parameter of a ViT by its name: lr at the top, `decay` times as much a level lower."""
    return [lr * decay ** (depth + 1 - _level(name, depth)) for name in names]


def _level(name: str, depth: int) -> int:
    parts = name.split(".")
    if "blocks" in parts:
        return int(parts[parts.index("blocks") + 1]) + 1
    return depth + 1 if name.startswith(("head", "encoder.norm")) else 0


NAMES = ["patch_embed.proj.weight", "positions.table", "cls_token", "encoder.blocks.0.norm1.weight"]
NAMES += ["encoder.blocks.1.mlp.fc1.bias", "encoder.blocks.10.attention.q_proj.weight", "encoder.blocks.11.norm2.bias"]
NAMES += ["encoder.norm.weight", "head.weight", "head.bias"]


def _rates(names: list[str], depth: int, lr: float, decay: float) -> dict:
    def of(level) -> list[float]:
        return [lr * decay ** level(name) for name in names]

    top = depth + 1

    def first_digit(name: str) -> int:
        parts = name.split(".")
        return int(parts[parts.index("blocks") + 1][0]) + 1 if "blocks" in parts else _level(name, depth)

    def ends(name: str, head: int, stem: int) -> int:
        return {top: head, 0: stem}.get(_level(name, depth), top - _level(name, depth))

    return {
        "the order is upside down: the head has the highest rate, the patches the lowest": of(
            lambda name: _level(name, depth)
        ),
        "block 10 is read as block 1; the number goes on to the next dot": of(lambda name: top - first_digit(name)),
        "the head and the last block share a rate; the head is a level of its own": of(
            lambda name: max(0, depth - _level(name, depth))
        ),
        "the patches and the first block share a rate; what comes before the blocks is a level of its own": of(
            lambda name: min(depth, top - _level(name, depth))
        ),
        "everything is a level too low: the head has `lr` itself": of(lambda name: top + 1 - _level(name, depth)),
        "the last norm has the rate of the patches; it comes after the blocks, as the head does": of(
            lambda name: top if "encoder.norm" in name else top - _level(name, depth)
        ),
        "positions and class token have the rate of the head; they join before the blocks": of(
            lambda name: ends(name, 0, 0 if name in ("positions.table", "cls_token") else top)
        ),
        "only the blocks have a rate of their own; patches and positions lie below them": of(
            lambda name: ends(name, 0, 0)
        ),
        "the rates fall in equal steps; each level has `decay` times the rate of the next": [
            lr * (1 - (1 - decay) * (top - _level(name, depth)) / top) for name in names
        ],
        "all have the same rate": [lr] * len(names),
    }


exercise(
    "14.6",
    reference=layer_rates,
    cases=lambda: on(
        (NAMES, 12, 1e-3, 0.5),
        (NAMES[:5] + NAMES[7:], 2, 0.1, 0.75),
        (["head.weight", "encoder.blocks.2.norm1.bias"], 3, 1.0, 0.9),
    ),
    mistakes=formulas(NAMES, 12, 1e-3, 0.5)(_rates),
    difference=lambda got, expected: _wrong_rates(got, expected),
)


def _wrong_rates(got: object, expected: list[float]) -> str | None:
    """A list of as many floats."""
    if not isinstance(got, list | tuple) or len(got) != len(expected):
        return f"returned {compare.short(got)}, expected a list of {len(expected)} floats"
    for place, (mine, right) in enumerate(zip(got, expected, strict=True)):
        if problem := compare.floats(mine, right):
            return f"number {place}: {problem}"
    return None
