"""The exercises of chapter 10, looking inside a Vision Transformer."""

import torch
import torch.nn.functional as F
from torch import Tensor

from vitedu import inspection as library
from vitedu.exercises.exercise import Case, Exercise, Mistake


def _maps(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Attention maps (..., N, N) with rows that sum to one, the same ones at every call."""
    scores = torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)
    return (2 * scores).softmax(dim=-1).to(dtype)


# 10.1 ----------------------------------------------------------------------------------------------------------------


def class_picture(attention: Tensor, rows: int, columns: int) -> Tensor:
    """(B, h, 1 + N, 1 + N) -> (B, h, rows, columns): the row of CLS over the patches, scaled to sum to one."""
    row = attention[:, :, 0, 1:]
    return (row / row.sum(dim=-1, keepdim=True)).unflatten(-1, (rows, columns))


def _picture_cases() -> list[Case]:
    sizes = [(2, 3, 2, 4), (1, 2, 3, 3), (2, 1, 4, 2), (3, 4, 1, 5)]
    cases = [Case((_maps(B, h, 1 + r * c, 1 + r * c), r, c)) for B, h, r, c in sizes]
    return [*cases, Case((_maps(1, 2, 7, 7, dtype=torch.float64), 2, 3))]


def _to_picture(weights: Tensor, rows: int, columns: int) -> Tensor:
    return (weights / weights.sum(dim=-1, keepdim=True)).reshape(*weights.shape[:2], rows, columns)


CLASS_PICTURE = Exercise(
    id="10.1",
    title="What the class token looks at",
    reference=class_picture,
    cases=_picture_cases,
    mistakes=(
        Mistake(
            "this is column 0, what every patch gives to CLS; what CLS gives to the patches is row 0",
            lambda attention, rows, columns: _to_picture(attention[:, :, 1:, 0], rows, columns),
        ),
        Mistake(
            "the weights no longer sum to one: CLS kept a part for itself, so divide by the sum of the rest",
            lambda attention, rows, columns: attention[:, :, 0, 1:].reshape(*attention.shape[:2], rows, columns),
        ),
        Mistake(
            "CLS is token 0; here the last token is taken for it",
            lambda attention, rows, columns: _to_picture(attention[:, :, -1, :-1], rows, columns),
        ),
        Mistake(
            "the last column is dropped instead of that of CLS, so every patch is one place too far to the right",
            lambda attention, rows, columns: _to_picture(attention[:, :, 0, :-1], rows, columns),
        ),
        Mistake(
            "the grid is filled column by column; patches are in raster order",
            lambda attention, rows, columns: (
                _to_picture(attention[:, :, 0, 1:], columns, rows).transpose(-1, -2).contiguous()
            ),
        ),
        Mistake(
            "this is what the mean patch gives; CLS alone was asked for, row 0",
            lambda attention, rows, columns: _to_picture(attention[:, :, 1:, 1:].mean(dim=2), rows, columns),
        ),
        Mistake(
            "the heads are averaged; keep one picture for each",
            lambda attention, rows, columns: class_picture(attention, rows, columns).mean(dim=1),
        ),
        Mistake(
            "the softmax is taken a second time, which flattens the weights; divide by their sum",
            lambda attention, rows, columns: attention[:, :, 0, 1:].softmax(-1).unflatten(-1, (rows, columns)),
        ),
        Mistake(
            "each picture is divided by its largest weight; divide by the sum",
            lambda attention, rows, columns: (
                attention[:, :, 0, 1:] / attention[:, :, 0, 1:].amax(dim=-1, keepdim=True)
            ).unflatten(-1, (rows, columns)),
        ),
    ),
)


# 10.2 ----------------------------------------------------------------------------------------------------------------


def similar_places(table: Tensor, columns: int, row: int, column: int) -> Tensor:
    """(1 + N, D) -> (N / columns, columns): cosine similarity of the place (row, column) with every place."""
    unit = F.normalize(table[1:], dim=1)
    return (unit @ unit[row * columns + column]).unflatten(0, (-1, columns))


def _place_cases() -> list[Case]:
    generator, cases = torch.Generator().manual_seed(0), []
    for rows, columns, dim, row, column in [(2, 4, 6, 1, 2), (3, 3, 5, 0, 0), (4, 2, 8, 3, 1), (2, 3, 4, 0, 2)]:
        table = torch.randn(1 + rows * columns, dim, generator=generator) * (1 + torch.arange(dim))
        cases.append(Case((table, columns, row, column)))
    table, *rest = cases[0].args
    return [*cases, Case((table.double(), *rest))]


def _shifted(table: Tensor, columns: int, row: int, column: int) -> Tensor:
    """The query is looked up in the table that still has CLS."""
    query = F.normalize(table, dim=1)[row * columns + column]
    return (F.normalize(table[1:], dim=1) @ query).unflatten(0, (-1, columns))


def _without_first_place(table: Tensor, columns: int, row: int, column: int) -> Tensor:
    unit = F.normalize(table, dim=1)
    return (unit[:-1] @ unit[row * columns + column]).unflatten(0, (-1, columns))


def _column_major(table: Tensor, columns: int, row: int, column: int) -> Tensor:
    unit = F.normalize(table[1:], dim=1)
    rows = len(unit) // columns
    return (unit @ unit[column * rows + row]).unflatten(0, (-1, columns))


SIMILAR_PLACES = Exercise(
    id="10.2",
    title="Places that are alike",
    reference=similar_places,
    cases=_place_cases,
    mistakes=(
        Mistake(
            "these are dot products; divide each vector by its length for the cosine",
            lambda table, columns, row, column: (table[1:] @ table[1:][row * columns + column]).unflatten(
                0, (-1, columns)
            ),
        ),
        Mistake("the query is one place too early: row 0 of the table belongs to CLS", _shifted),
        Mistake(
            "CLS is taken for the first place, and the last place is left out; drop row 0 of the table",
            _without_first_place,
        ),
        Mistake("the place is looked up column by column; in raster order it is row · columns + column", _column_major),
        Mistake(
            "the numbers of a column of the table are scaled, not those of a place; normalise along dim 1",
            lambda table, columns, row, column: (
                F.normalize(table[1:], dim=0) @ F.normalize(table[1:], dim=0)[row * columns + column]
            ).unflatten(0, (-1, columns)),
        ),
        Mistake(
            "the picture is transposed: it has N / columns rows",
            lambda table, columns, row, column: similar_places(table, columns, row, column).T.contiguous(),
        ),
        Mistake(
            "only the other places are divided by their length; the query has one too",
            lambda table, columns, row, column: (
                F.normalize(table[1:], dim=1) @ table[1:][row * columns + column]
            ).unflatten(0, (-1, columns)),
        ),
        Mistake(
            "only the query is divided by its length; the other places have one too",
            lambda table, columns, row, column: (
                table[1:] @ F.normalize(table[1:], dim=1)[row * columns + column]
            ).unflatten(0, (-1, columns)),
        ),
        Mistake(
            "this is the Euclidean distance, which is zero for equal vectors; the cosine is one",
            lambda table, columns, row, column: (
                (table[1:] - table[1:][row * columns + column]).norm(dim=1).unflatten(0, (-1, columns))
            ),
        ),
    ),
)


# 10.3 ----------------------------------------------------------------------------------------------------------------


def variance_shares(weight: Tensor) -> Tensor:
    """(D, F) -> (min(D, F),): each principal component's share of the variance of D filters, largest first."""
    strengths = torch.linalg.svdvals(weight - weight.mean(dim=0))
    return strengths**2 / (strengths**2).sum()


def _filter_cases() -> list[Case]:
    generator, cases = torch.Generator().manual_seed(0), []
    for count, length in [(12, 5), (5, 12), (20, 6), (7, 7)]:
        weight = torch.randn(count, length, generator=generator) * (1 + torch.arange(length)) + 2
        cases.append(Case((weight,)))
    return [*cases, Case((cases[0].args[0].double() + 1,))]


def _shares(centre, power: int = 2, finish=lambda shares: shares):
    def answer(weight: Tensor) -> Tensor:
        strengths = torch.linalg.svdvals(centre(weight)) ** power
        return finish(strengths / strengths.sum())

    return answer


def _centred(weight: Tensor) -> Tensor:
    return weight - weight.mean(dim=0)


VARIANCE_SHARES = Exercise(
    id="10.3",
    title="How many filters are enough?",
    reference=variance_shares,
    cases=_filter_cases,
    mistakes=(
        Mistake(
            "the mean filter is still in: subtract it from every filter first, `weight.mean(dim=0)`",
            _shares(lambda weight: weight),
        ),
        Mistake(
            "every filter has lost its own mean over the pixels; the mean over the filters has to go, dim 0",
            _shares(lambda weight: weight - weight.mean(dim=1, keepdim=True)),
        ),
        Mistake(
            "one mean for the whole matrix is subtracted; every pixel has its own, over the filters",
            _shares(lambda weight: weight - weight.mean()),
        ),
        Mistake("a variance is the square of a singular value", _shares(_centred, power=1)),
        Mistake(
            "these are the sums so far; give each component's own share",
            _shares(_centred, finish=lambda shares: shares.cumsum(dim=0)),
        ),
        Mistake(
            "the smallest come first; turn the order round",
            _shares(_centred, finish=lambda shares: shares.flip(0)),
        ),
        Mistake(
            "these are relative to the largest; divide by the sum",
            _shares(_centred, finish=lambda shares: shares / shares[0]),
        ),
        Mistake(
            "these are the variances themselves; divide by their sum",
            lambda weight: torch.linalg.svdvals(_centred(weight)) ** 2,
        ),
        Mistake(
            "the pixels are divided by their spread as well, so these are shares of the correlations' variance",
            _shares(lambda weight: _centred(weight) / weight.std(dim=0)),
        ),
    ),
)


# 10.4 ----------------------------------------------------------------------------------------------------------------


def mean_distance(attention: Tensor, rows: int, columns: int, patch: int) -> Tensor:
    """(B, h, 1 + N, 1 + N) -> (h,): mean distance in pixels from a patch to what it attends to, CLS left out."""
    return library.attention_distance(attention, (rows, columns), patch).to(attention.dtype)


def _distance_cases() -> list[Case]:
    sizes = [(2, 3, 2, 4, 4), (1, 2, 3, 3, 2), (3, 1, 4, 2, 16), (2, 4, 1, 5, 3)]
    return [Case((_maps(B, h, 1 + r * c, 1 + r * c), r, c, patch)) for B, h, r, c, patch in sizes]


def _places(rows: int, columns: int) -> Tensor:
    return torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).float()  # (N, 2)


def _measured(distance=torch.cdist, rows_first: bool = True, scale: bool = True, renormalise: int | None = -1):
    """The distance with one step changed."""

    def answer(attention: Tensor, rows: int, columns: int, patch: int) -> Tensor:
        places = _places(rows, columns) if rows_first else _places(columns, rows)
        among = attention[:, :, 1:, 1:]
        if renormalise is not None:
            among = among / among.sum(dim=renormalise, keepdim=True)
        lengths = distance(places, places) * (patch if scale else 1)
        return (among * lengths).sum(dim=-1).mean(dim=(0, 2))

    return answer


def _weighted_by_what_is_left(attention: Tensor, rows: int, columns: int, patch: int) -> Tensor:
    among = attention[:, :, 1:, 1:]
    lengths = torch.cdist(_places(rows, columns), _places(rows, columns)) * patch
    return (among * lengths).sum(dim=(0, 2, 3)) / among.sum(dim=(0, 2, 3))


def _class_keeps_its_share(attention: Tensor, rows: int, columns: int, patch: int) -> Tensor:
    """CLS as one more place, at the first patch."""
    places = torch.cat([_places(rows, columns)[:1], _places(rows, columns)])
    return (attention * torch.cdist(places, places) * patch).sum(dim=-1).mean(dim=(0, 2))


MEAN_DISTANCE = Exercise(
    id="10.4",
    title="How far attention reaches",
    reference=mean_distance,
    cases=_distance_cases,
    mistakes=(
        Mistake("this counts patches; a patch is P pixels wide", _measured(scale=False)),
        Mistake(
            "the rows no longer sum to one once CLS is gone; scale each of them first",
            _measured(renormalise=None),
        ),
        Mistake(
            "the columns are scaled to sum to one; a query's weights are a row, the last axis",
            _measured(renormalise=-2),
        ),
        Mistake(
            "the distance is squared; take the root of the sum of the squares",
            _measured(lambda a, b: torch.cdist(a, b) ** 2),
        ),
        Mistake(
            "rows and columns are added up, as in a city of blocks; the distance is the straight line",
            _measured(lambda a, b: torch.cdist(a, b, p=1)),
        ),
        Mistake(
            "this is the difference of the token numbers n; two patches above each other are far apart in n, and near",
            _measured(lambda a, b: (torch.arange(len(a))[:, None] - torch.arange(len(a))).abs().float()),
        ),
        Mistake(
            "the places are counted as if the grid had as many rows as it has columns; n = row · columns + column",
            _measured(rows_first=False),
        ),
        Mistake(
            "CLS is counted as if it lay in the first patch; it has no place: leave out its row and its column",
            _class_keeps_its_share,
        ),
        Mistake(
            "the last patch is left out and CLS kept; CLS is token 0",
            lambda attention, rows, columns, patch: mean_distance(
                attention.roll((1, 1), dims=(-2, -1)), rows, columns, patch
            ),
        ),
        Mistake(
            "this is the distance of the class token's attention; average over the patches as queries",
            lambda attention, rows, columns, patch: (
                (
                    (attention[:, :, 0, 1:] / attention[:, :, 0, 1:].sum(-1, keepdim=True))
                    * torch.cdist(_places(rows, columns), _places(rows, columns))[0]
                    * patch
                )
                .sum(dim=-1)
                .mean(dim=0)
            ),
        ),
        Mistake(
            "queries that give less to CLS count for more here; scale each row to sum to one, then average the queries",
            _weighted_by_what_is_left,
        ),
        Mistake(
            "the heads are averaged too; keep one number for each",
            lambda attention, rows, columns, patch: mean_distance(attention, rows, columns, patch).mean(),
        ),
        Mistake(
            "the weights of a query are summed over, not averaged over queries: divide by N as well",
            lambda attention, rows, columns, patch: mean_distance(attention, rows, columns, patch) * rows * columns,
        ),
    ),
)


# 10.5 ----------------------------------------------------------------------------------------------------------------


def rollout_of_largest(maps: Tensor) -> Tensor:
    """(L, B, h, N, N) -> (B, N, N): rollout with the largest weight over the heads, every row summing to one."""
    return library.rollout(list(maps), "max").to(maps.dtype)


def _rollout_cases() -> list[Case]:
    sizes = [(3, 2, 2, 4, 4), (2, 1, 3, 5, 5), (4, 3, 1, 3, 3), (1, 2, 2, 6, 6)]
    return [Case((_maps(*size),)) for size in sizes]


def _rolled(
    fuse=lambda attention: attention.amax(dim=1),
    mix=lambda fused, identity: (fused + identity) / 2,
    scale=lambda mixed: mixed / mixed.sum(dim=-1, keepdim=True),
    join=lambda step, result: step @ result,
):
    """Rollout with one step changed."""

    def answer(maps: Tensor) -> Tensor:
        identity = torch.eye(maps.shape[-1])
        result = identity.expand(maps.shape[1], -1, -1)
        for attention in maps:
            result = join(scale(mix(fuse(attention), identity)), result)
        return result

    return answer


def _scaled_once(maps: Tensor) -> Tensor:
    unscaled = _rolled(scale=lambda mixed: mixed)(maps)
    return unscaled / unscaled.sum(dim=-1, keepdim=True)


ROLLOUT = Exercise(
    id="10.5",
    title="Rollout, with the largest weight of the heads",
    reference=rollout_of_largest,
    cases=_rollout_cases,
    mistakes=(
        Mistake(
            "the layers are multiplied in the wrong order: the newest stands on the left, step @ result",
            _rolled(join=lambda step, result: result @ step),
        ),
        Mistake(
            "there is no residual: half of every token goes on unchanged, (A + I) / 2",
            _rolled(mix=lambda fused, identity: fused),
        ),
        Mistake(
            "the rows do not sum to one: those of the largest weights sum to more, so scale them in every layer",
            _rolled(scale=lambda mixed: mixed),
        ),
        Mistake(
            "columns are divided by the sums of the rows: `sum(dim=-1)` without `keepdim=True` lines them up wrongly",
            _rolled(scale=lambda mixed: mixed / mixed.sum(dim=-1)[:, None, :]),
        ),
        Mistake(
            "the columns are scaled to sum to one; a token's mixture is a row, the last axis",
            _rolled(scale=lambda mixed: mixed / mixed.sum(dim=-2, keepdim=True)),
        ),
        Mistake("the heads are averaged; take their largest weight", _rolled(fuse=lambda attention: attention.mean(1))),
        Mistake("this is the smallest weight of the heads; take the largest", _rolled(fuse=lambda maps: maps.amin(1))),
        Mistake("the rows are scaled once, at the end; scale them in every layer", _scaled_once),
        Mistake(
            "the largest weights are scaled to sum to one before I is added; mix first, then scale",
            _rolled(fuse=lambda a: a.amax(dim=1) / a.amax(dim=1).sum(dim=-1, keepdim=True)),
        ),
        Mistake(
            "the maps are multiplied number by number; following a path from layer to layer is a matrix product",
            _rolled(join=lambda step, result: step * result if result.stride(0) else step),
        ),
        Mistake(
            "only the last layer is left; multiply by what came before",
            _rolled(join=lambda step, result: step),
        ),
        Mistake(
            "the layers are averaged; multiply them",
            lambda maps: torch.stack([rollout_of_largest(layer[None]) for layer in maps]).mean(dim=0),
        ),
    ),
)


# 10.6 ----------------------------------------------------------------------------------------------------------------


def overlap_score(pictures: Tensor, masks: Tensor) -> Tensor:
    """Two of (B, rows, columns) -> (B,): IoU of the mask with as many of the highest patches as the mask has."""
    ranked = masks.flatten(1).gather(1, pictures.flatten(1).argsort(dim=1, descending=True))
    area = masks.flatten(1).sum(dim=1)
    taken = torch.arange(ranked.shape[1]) < area[:, None]
    overlap = (ranked & taken).sum(dim=1)
    return overlap / (2 * area - overlap)


def _overlap_cases() -> list[Case]:
    generator, cases = torch.Generator().manual_seed(3), []
    for B, rows, columns in [(4, 4, 5), (1, 3, 3), (3, 6, 2), (5, 8, 8)]:
        order = torch.stack([torch.randperm(rows * columns, generator=generator) for _ in range(B)])
        pictures = (1 + order.float()).unflatten(1, (rows, columns)) / 10
        share = torch.linspace(0.25, 0.6, B).view(-1, 1, 1)
        masks = pictures / pictures.amax() + torch.rand(pictures.shape, generator=generator) > 1.2 - share
        masks[:, 0, 0] = True  # every picture has an object
        cases.append(Case((pictures, masks)))
    return cases


def _region(choose):
    """The IoU of the region that `choose(values, masks)` picks, both (B, N)."""

    def answer(pictures: Tensor, masks: Tensor) -> Tensor:
        inside = masks.flatten(1)
        region = choose(pictures.flatten(1), inside)
        return (region & inside).sum(dim=1) / (region | inside).sum(dim=1)

    return answer


def _highest(values: Tensor, count: Tensor) -> Tensor:
    """Which values (B, N) are among the `count` (B, 1) highest of their picture."""
    return values.argsort(dim=1, descending=True).argsort(dim=1) < count


def _counts(pictures: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    inside = masks.flatten(1)
    area = inside.sum(dim=1)
    return (_highest(pictures.flatten(1), area[:, None]) & inside).sum(dim=1), area


OVERLAP = Exercise(
    id="10.6",
    title="Score a map",
    reference=overlap_score,
    cases=_overlap_cases,
    mistakes=(
        Mistake(
            "the overlap is divided by one area, or by the mean of both; divide by the union, with the overlap once",
            lambda pictures, masks: (lambda overlap, area: overlap / area)(*_counts(pictures, masks)),
        ),
        Mistake(
            "the overlap is counted twice in the union: subtract it once",
            lambda pictures, masks: (lambda overlap, area: overlap / (2 * area))(*_counts(pictures, masks)),
        ),
        Mistake(
            "the region is made of the lowest patches; take the highest: `descending=True`, or `topk` as it stands",
            _region(lambda values, inside: _highest(-values, inside.sum(dim=1, keepdim=True))),
        ),
        Mistake(
            "the region is what lies above the picture's mean; take as many patches as the mask has",
            _region(lambda values, inside: values > values.mean(dim=1, keepdim=True)),
        ),
        Mistake(
            "the region is what lies above half of the largest value; take as many patches as the mask has",
            _region(lambda values, inside: values > values.amax(dim=1, keepdim=True) / 2),
        ),
        Mistake(
            "the first mask's area is used for every picture; each has its own",
            _region(lambda values, inside: _highest(values, inside[0].sum())),
        ),
        Mistake(
            "`argsort` gives the patches in order, not each patch's place in that order; look up the mask along it",
            _region(lambda values, inside: values.argsort(1, descending=True) < inside.sum(dim=1, keepdim=True)),
        ),
        Mistake(
            "the pictures are averaged; give one score for each",
            lambda pictures, masks: overlap_score(pictures, masks).mean(),
        ),
        Mistake(
            "this is the share of patches on which map and mask agree; most lie outside of both and count as right",
            lambda pictures, masks: (
                (_highest(pictures.flatten(1), masks.flatten(1).sum(dim=1, keepdim=True)) == masks.flatten(1))
                .float()
                .mean(dim=1)
            ),
        ),
    ),
)

EXERCISES = {
    exercise.id: exercise
    for exercise in (CLASS_PICTURE, SIMILAR_PLACES, VARIANCE_SHARES, MEAN_DISTANCE, ROLLOUT, OVERLAP)
}
