"""The exercises of chapter 10, looking inside a Vision Transformer."""

import torch
import torch.nn.functional as F
from torch import Tensor

from vitedu import inspection as library
from vitedu.exercises.exercise import Case, batch_traits, exercise, formulas, on


def _maps(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Attention maps (..., N, N) with rows that sum to one, the same ones at every call."""
    scores = torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)
    return (2 * scores).softmax(dim=-1).to(dtype)


def _to_one(weights: Tensor, dim: int = -1) -> Tensor:
    """Scaled so that they sum to one."""
    return weights / weights.sum(dim=dim, keepdim=True)


# 10.1 ----------------------------------------------------------------------------------------------------------------


def class_picture(attention: Tensor, rows: int, columns: int) -> Tensor:
    """(B, h, 1 + N, 1 + N) -> (B, h, rows, columns): the row of CLS over the patches, scaled to sum to one."""
    return _to_one(attention[:, :, 0, 1:]).unflatten(-1, (rows, columns))


def _picture_cases() -> list[Case]:
    sizes = [(2, 3, 2, 4), (1, 2, 3, 3), (2, 2, 4, 2), (3, 4, 1, 5), (1, 4, 2, 2)]  # in the last h is N
    cases = [Case((_maps(B, h, 1 + r * c, 1 + r * c), r, c), traits=batch_traits(B)) for B, h, r, c in sizes]
    return [*cases, Case((_maps(1, 2, 7, 7, dtype=torch.float64), 2, 3), traits=batch_traits(1))]


@formulas(*_picture_cases()[0].args)
def _pictures(a, rows, columns):
    w, right = a[:, :, 0, 1:], class_picture(a, rows, columns)
    low, high = w.amin(dim=-1, keepdim=True), w.amax(dim=-1, keepdim=True)

    def unscaled(weights: Tensor) -> Tensor:
        return weights.unflatten(-1, (rows, columns))

    def picture(weights: Tensor) -> Tensor:
        return unscaled(_to_one(weights))

    return {
        "this is column 0, what every patch gives to CLS; what CLS gives to the patches is row 0": picture(
            a[:, :, 1:, 0]
        ),
        "the weights no longer sum to one: CLS kept a part for itself, so divide by the sum of the rest": unscaled(w),
        "CLS is token 0; here the last token is taken for it": picture(a[:, :, -1, :-1]),
        "the last column is dropped instead of that of CLS, so every patch is one place too far to the right": (
            picture(a[:, :, 0, :-1])
        ),
        "the grid is filled column by column; patches are in raster order": (
            right.flatten(2).unflatten(-1, (columns, rows)).mT
        ),
        "rows and columns are swapped: a picture is (rows, columns)": right.flatten(2).unflatten(-1, (columns, rows)),
        "this is what the mean patch gives; CLS alone was asked for, row 0": picture(a[:, :, 1:, 1:].mean(dim=2)),
        "the heads are averaged; keep one picture for each": right.mean(dim=1),
        "the heads are averaged, and then scaled; keep one picture for each": picture(w.mean(dim=1)),
        "this is head 0 alone; keep one picture for each": right[:, 0],
        "this is the first image alone; every image of the batch has its own": right[0],
        "the softmax is taken a second time, which flattens the weights; divide by their sum": unscaled(w.softmax(-1)),
        "each picture is divided by its largest weight; divide by the sum": unscaled(w / high),
        "each picture is stretched from 0 to 1; divide by the sum": unscaled((w - low) / (high - low)),
        "all pictures together sum to one; each has to": unscaled(w / w.sum()),
        "what all heads give to a patch sums to one; what a head gives to all patches has to": unscaled(
            _to_one(w, dim=1)
        ),
    }


mistakes = _pictures | {
    "the sums (B, h) line up with the wrong axes of (B, h, N): `sum(dim=-1, keepdim=True)`": (
        lambda a, *grid: (a[:, :, 0, 1:] / a[:, :, 0, 1:].sum(dim=-1)).unflatten(-1, grid)
    ),
}
exercise("10.1", class_picture, _picture_cases, mistakes)


# 10.2 ----------------------------------------------------------------------------------------------------------------


def similar_places(table: Tensor, columns: int, row: int, column: int) -> Tensor:
    """(1 + N, D) -> (N / columns, columns): cosine similarity of the place (row, column) with every place."""
    return _looked_up(lambda row, column, rows, columns: row * columns + column)(table, columns, row, column)


def _place_cases() -> list[Case]:
    generator, cases = torch.Generator().manual_seed(0), []
    for rows, columns, dim, row, column in [(2, 4, 6, 1, 2), (3, 3, 5, 0, 0), (4, 2, 8, 3, 1), (2, 3, 4, 0, 2)]:
        table = torch.randn(1 + rows * columns, dim, generator=generator) * (1 + torch.arange(dim))
        cases.append(Case((table, columns, row, column)))
    table, *rest = cases[0].args
    return [*cases, Case((table.double(), *rest))]


def _looked_up(number):
    """The similarities with the place of this `number(row, column, rows, columns)`."""

    def answer(table: Tensor, columns: int, row: int, column: int) -> Tensor:
        unit = F.normalize(table[1:])
        return (unit @ unit[number(row, column, len(unit) // columns, columns)]).unflatten(0, (-1, columns))

    return answer


@formulas(*_place_cases()[0].args)
def _likenesses(table, columns, row, column):
    places, n = table[1:], row * columns + column
    unit, with_class, scaled = F.normalize(places), F.normalize(table), F.normalize(places, dim=0)

    def picture(similarities: Tensor) -> Tensor:
        return similarities.unflatten(0, (-1, columns))

    return {
        "these are dot products; divide each vector by its length for the cosine": picture(places @ places[n]),
        "the query is one place too early: row 0 of the table belongs to CLS": picture(unit @ with_class[n]),
        "CLS is taken for the first place, and the last place is left out; drop row 0 of the table": (
            picture(with_class[:-1] @ with_class[n])
        ),
        "the numbers of a column of the table are scaled, not those of a place; normalise along dim 1": (
            picture(scaled @ scaled[n])
        ),
        "the picture is transposed: it has N / columns rows": picture(unit @ unit[n]).T,
        "a row of the picture has `columns` places, and there are N / columns rows": (
            (unit @ unit[n]).unflatten(0, (columns, -1))
        ),
        "only the other places are divided by their length; the query has one too": picture(unit @ places[n]),
        "only the query is divided by its length; the other places have one too": picture(places @ unit[n]),
        "this is the Euclidean distance, which is zero for equal vectors; the cosine is one": (
            picture((places - places[n]).norm(dim=1))
        ),
    }


mistakes = _likenesses | {
    "the place is looked up column by column; in raster order it is row · columns + column": (
        _looked_up(lambda row, column, rows, columns: column * rows + row)
    ),
    "the place is looked up at row · rows + column; a row has `columns` places": (
        _looked_up(lambda row, column, rows, columns: row * rows + column)
    ),
    "row and column are swapped: the place is row · columns + column": (
        _looked_up(lambda row, column, rows, columns: column * columns + row)
    ),
}
exercise("10.2", similar_places, _place_cases, mistakes)


# 10.3 ----------------------------------------------------------------------------------------------------------------


def variance_shares(weight: Tensor) -> Tensor:
    """(D, F) -> (min(D, F),): each principal component's share of the variance of D filters, largest first."""
    return _shares()(weight)


def _filter_cases() -> list[Case]:
    generator, cases = torch.Generator().manual_seed(0), []
    for count, length in [(12, 5), (5, 12), (20, 6), (7, 7)]:
        weight = torch.randn(count, length, generator=generator) * (1 + torch.arange(length)) + 2
        cases.append(Case((weight,)))
    return [*cases, Case((cases[0].args[0].double() + 1,))]


def _centred(weight: Tensor) -> Tensor:
    return weight - weight.mean(dim=0)


def _shares(centre=_centred, power: int = 2, finish=lambda variances: variances / variances.sum()):
    """The shares with one step changed."""
    return lambda weight: finish(torch.linalg.svdvals(centre(weight)) ** power)


mistakes = {
    "the mean filter is still in: subtract it from every filter first, `weight.mean(dim=0)`": _shares(lambda w: w),
    "every filter has lost its own mean over the pixels; the mean over the filters has to go, dim 0": _shares(
        lambda weight: weight - weight.mean(dim=1, keepdim=True)
    ),
    "one mean for the whole matrix is subtracted; every pixel has its own, over the filters": _shares(
        lambda weight: weight - weight.mean()
    ),
    "a variance is the square of a singular value": _shares(power=1),
    "these are the sums so far; give each component's own share": lambda w: variance_shares(w).cumsum(dim=0),
    "the smallest come first; turn the order round": lambda weight: variance_shares(weight).flip(0),
    "these are relative to the largest; divide by the sum": _shares(finish=lambda variances: variances / variances[0]),
    "these are the variances themselves; divide by their sum": _shares(finish=lambda variances: variances),
    "the pixels are divided by their spread as well, so these are shares of the correlations' variance": _shares(
        lambda weight: _centred(weight) / weight.std(dim=0)
    ),
}
exercise("10.3", variance_shares, _filter_cases, mistakes)


# 10.4 ----------------------------------------------------------------------------------------------------------------


def mean_distance(attention: Tensor, rows: int, columns: int, patch: int) -> Tensor:
    """(B, h, 1 + N, 1 + N) -> (h,): mean distance in pixels from a patch to what it attends to, CLS left out."""
    return library.attention_distance(attention, (rows, columns), patch).to(attention.dtype)


def _distance_cases() -> list[Case]:
    sizes = [(2, 3, 2, 4, 4), (1, 2, 3, 3, 2), (3, 1, 4, 2, 16), (2, 4, 1, 5, 3)]
    return on(*((_maps(B, h, 1 + r * c, 1 + r * c), r, c, patch) for B, h, r, c, patch in sizes))


def _places(rows: int, columns: int) -> Tensor:
    return torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).float()  # (N, 2)


@formulas(*_distance_cases()[0].args)
def _distances(attention, rows, columns, patch):
    right, N = mean_distance(attention, rows, columns, patch), rows * columns
    among, places, n = attention[:, :, 1:, 1:], _places(rows, columns), torch.arange(N).float()[:, None]
    w, with_class = _to_one(among), torch.cat([places[:1], places])

    def far(places: Tensor, p: float = 2) -> Tensor:
        return torch.cdist(places, places, p) * patch

    pixels = far(places)

    def mean(weights: Tensor, distances: Tensor = pixels) -> Tensor:
        return (weights * distances).sum(dim=-1).mean(dim=(0, 2))

    return {
        "this counts patches; a patch is P pixels wide": right / patch,
        "the rows no longer sum to one once CLS is gone; scale each of them first": mean(among),
        "the columns are scaled to sum to one; a query's weights are a row, the last axis": mean(
            _to_one(among, dim=-2)
        ),
        "the distance is squared; take the root of the sum of the squares": mean(w, pixels**2 / patch),
        "the distance in pixels is squared; take the root of the sum of the squares": mean(w, pixels**2),
        "rows and columns are added up, as in a city of blocks; the distance is the straight line": mean(
            w, far(places, 1)
        ),
        "this is the difference of the token numbers n; two patches above each other are far apart in n, and near": (
            mean(w, far(n))
        ),
        "the places are counted as if the grid had as many rows as it has columns; n = row · columns + column": (
            mean(w, far(_places(columns, rows)))
        ),
        "CLS is counted as if it lay in the first patch; it has no place: leave out its row and its column": (
            mean(attention, far(with_class))
        ),
        "the last patch is left out and CLS kept; CLS is token 0": mean(_to_one(attention[:, :, :-1, :-1])),
        "this is the distance of the class token's attention; average over the patches as queries": (
            mean(_to_one(attention[:, :, :1, 1:]), pixels[:1])
        ),
        "queries that give less to CLS count for more here; scale each row to sum to one, then average the queries": (
            mean(among) / among.sum(dim=-1).mean(dim=(0, 2))
        ),
        "the heads are averaged too; keep one number for each": right.mean(),
        "the weights of a query are summed over, not averaged over queries: divide by N as well": right * N,
        "the distances are added up over images and queries; take their mean": right * N * len(attention),
        "the weighted distances are averaged over the keys; the weights sum to one already, so add them up": right / N,
        "every image has its own numbers here; average over the images, too": (w * pixels).sum(-1).mean(-1),
    }


exercise("10.4", mean_distance, _distance_cases, _distances)


# 10.5 ----------------------------------------------------------------------------------------------------------------


def rollout_of_largest(maps: Tensor) -> Tensor:
    """(L, B, h, N, N) -> (B, N, N): rollout with the largest weight over the heads, every row summing to one."""
    return library.rollout(list(maps), "max").to(maps.dtype)


def _rolled(
    fuse=lambda attention: attention.amax(dim=1),
    mix=lambda fused, identity: (fused + identity) / 2,
    scale=_to_one,
    join=lambda step, result: step @ result,
):
    """Rollout with one step changed."""

    def answer(maps: Tensor) -> Tensor:
        identity = torch.eye(maps.shape[-1])
        result = identity
        for attention in maps:
            result = join(scale(mix(fuse(attention), identity)), result)
        return result

    return answer


mistakes = {
    "the layers are multiplied in the wrong order: the newest stands on the left, step @ result": _rolled(
        join=lambda step, result: result @ step
    ),
    "there is no residual: half of every token goes on unchanged, (A + I) / 2": _rolled(mix=lambda fused, _: fused),
    "the rows do not sum to one: those of the largest weights sum to more, so scale them in every layer": _rolled(
        scale=lambda mixed: mixed
    ),
    "columns are divided by the sums of the rows: `sum(dim=-1)` without `keepdim=True` lines them up wrongly": (
        _rolled(scale=lambda mixed: mixed / mixed.sum(dim=-1))
    ),
    "the columns are scaled to sum to one; a token's mixture is a row, the last axis": _rolled(
        scale=lambda mixed: _to_one(mixed, dim=-2)
    ),
    "the heads are averaged; take their largest weight": _rolled(lambda attention: attention.mean(dim=1)),
    "the heads are added up; take their largest weight": _rolled(lambda attention: attention.sum(dim=1)),
    "this is the smallest weight of the heads; take the largest": _rolled(lambda attention: attention.amin(dim=1)),
    "the rows are scaled once, at the end; scale them in every layer": (
        lambda maps: _to_one(_rolled(scale=lambda mixed: mixed)(maps))
    ),
    "the largest weights are scaled to sum to one before I is added; mix first, then scale": _rolled(
        lambda attention: _to_one(attention.amax(dim=1))
    ),
    "the maps are multiplied number by number; following a path from layer to layer is a matrix product": _rolled(
        join=lambda step, result: step * result if result.ndim == 3 else step  # begins with the first layer
    ),
    "the maps are multiplied number by number, and with I nothing but the diagonal is left; `@` is the matrix "
    "product": _rolled(join=lambda step, result: step * result),
    "only the last layer is left; multiply by what came before": _rolled(join=lambda step, result: step),
    "the layers are averaged; multiply them": (
        lambda maps: torch.stack([rollout_of_largest(layer[None]) for layer in maps]).mean(dim=0)
    ),
}
exercise(
    "10.5",
    rollout_of_largest,
    lambda: on(*((_maps(*size),) for size in [(3, 2, 2, 4, 4), (2, 1, 3, 5, 5), (4, 3, 1, 3, 3), (1, 2, 2, 6, 6)])),
    mistakes=mistakes,
)


# 10.6 ----------------------------------------------------------------------------------------------------------------


def overlap_score(pictures: Tensor, masks: Tensor) -> Tensor:
    """Two of (B, rows, columns) -> (B,): IoU of the mask with as many of the highest patches as the mask has."""
    inside = masks.flatten(1)
    return _iou(_highest(pictures.flatten(1), inside.sum(dim=1, keepdim=True)), inside)


def _iou(region: Tensor, inside: Tensor) -> Tensor:
    return (region & inside).sum(dim=1) / (region | inside).sum(dim=1)


def _highest(values: Tensor, count: Tensor | int) -> Tensor:
    """Which values (B, N) are among the `count` highest of their picture, one number or (B, 1)."""
    return values.argsort(dim=1, descending=True).argsort(dim=1) < count


def _overlap_cases() -> list[Case]:
    generator, cases = torch.Generator().manual_seed(3), []
    for B, rows, columns in [(4, 4, 5), (1, 3, 3), (3, 6, 2), (5, 8, 8)]:
        order = torch.stack([torch.randperm(rows * columns, generator=generator) for _ in range(B)])
        pictures = (1 + order.float()).unflatten(1, (rows, columns)) / 10
        share = torch.linspace(0.25, 0.6, B).view(-1, 1, 1)
        masks = pictures / pictures.amax() + torch.rand(pictures.shape, generator=generator) > 1.2 - share
        masks[:, 0, 0] = True  # every picture has an object
        cases.append(Case((pictures**2, masks), traits=batch_traits(B)))  # squared: their mean is not their median
    return cases


@formulas(*_overlap_cases()[0].args)
def _scores(pictures, masks):
    values, inside, right = pictures.flatten(1), masks.flatten(1), overlap_score(pictures, masks)
    area, mean, half = inside.sum(dim=1), values.mean(dim=1, keepdim=True), values.amax(dim=1, keepdim=True) / 2
    overlap = (_highest(values, area[:, None]) & inside).sum(dim=1)

    def iou(region: Tensor) -> Tensor:
        return _iou(region, inside)

    return {
        "the overlap is divided by one area, or by the mean of both; divide by the union, with the overlap once": (
            overlap / area
        ),
        "the overlap is counted twice in the union: subtract it once": overlap / (2 * area),
        "the region is made of the lowest patches; take the highest: `descending=True`, or `topk` as it stands": (
            iou(_highest(-values, area[:, None]))
        ),
        "the region is what lies above the picture's mean; take as many patches as the mask has": iou(values > mean),
        "the region is what lies above half of the largest value; take as many patches as the mask has": (
            iou(values > half)
        ),
        "the region is half of the picture; take as many patches as the mask has": (
            iou(_highest(values, values.shape[1] // 2))
        ),
        "the first mask's area is used for every picture; each has its own": iou(_highest(values, area[0])),
        "the highest patches of the whole batch are taken; each picture has as many as its own mask": (
            iou(values >= values.flatten().topk(int(area.sum())).values[-1])
        ),
        "one patch too few is taken: the lowest of the highest belongs to them, `>=`": (
            iou(_highest(values, area[:, None] - 1))
        ),
        "one patch too many is taken; take as many as the mask has": iou(_highest(values, area[:, None] + 1)),
        "only the highest patch is taken; take as many as the mask has": iou(_highest(values, 1)),
        "`argsort` gives the patches in order, not each patch's place in that order; look up the mask along it": (
            iou(values.argsort(dim=1, descending=True) < area[:, None])
        ),
        "the pictures are averaged; give one score for each": right.mean(),
        "this is the share of patches on which map and mask agree; most lie outside of both and count as right": (
            (_highest(values, area[:, None]) == inside).float().mean(dim=1)
        ),
        "this is the share of the map's sum that lies in the mask; compare regions of the same size": (
            (values * inside).sum(dim=1) / values.sum(dim=1)
        ),
    }


exercise("10.6", overlap_score, _overlap_cases, _scores)
