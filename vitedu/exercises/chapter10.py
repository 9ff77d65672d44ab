"""The exercises of chapter 10, looking inside a Vision Transformer."""

import torch
from torch import Tensor

from vitedu import inspection as library
from vitedu.exercises import compare
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


def fused_maps(x: Tensor, weight: Tensor, bias: Tensor, heads: int) -> Tensor:
    """x (B, N, D), one matrix (3D, D) and bias (3D,) for queries, keys and values -> maps (B, h, N, N)."""
    return _mapped()(x, weight, bias, heads)


def _one_after_another(qkv: Tensor, heads: int) -> tuple[Tensor, ...]:
    return qkv.chunk(3, dim=-1)


def _every_third(qkv: Tensor, heads: int) -> tuple[Tensor, ...]:
    """What the code of the task does."""
    return qkv.unflatten(-1, (-1, 3)).unbind(dim=-1)


def _slices(part: Tensor, heads: int) -> Tensor:
    return part.unflatten(-1, (heads, -1)).transpose(1, 2)


def _mapped(
    part=_one_after_another,
    split=_slices,
    width=lambda D, heads: (D // heads) ** 0.5,
    dim: int | None = -1,
    add: float = 1.0,
    pick=lambda q, k, v: (q, k),
    finish=lambda maps: maps,
):
    """The maps with one step changed."""

    def answer(x: Tensor, weight: Tensor, bias: Tensor, heads: int) -> Tensor:
        q, k = pick(*part(x @ weight.T + add * bias, heads))
        q, k = split(q, heads), split(k, heads)  # (B, h, N, d)
        scores = q @ k.mT / width(x.shape[-1], heads)
        return finish(scores if dim is None else scores.softmax(dim=dim))

    return answer


def _fused_cases() -> list[Case]:
    generator, cases = torch.Generator().manual_seed(4), []
    for B, N, D, heads in [(2, 5, 6, 2), (1, 4, 8, 4), (3, 3, 6, 3), (2, 4, 4, 1), (1, 3, 9, 3)]:
        x, weight = (torch.randn(*s, generator=generator, dtype=torch.float64) for s in [(B, N, D), (3 * D, D)])
        bias = torch.randn(3 * D, generator=generator, dtype=torch.float64)
        cases.append(Case((x.float(), 1.5 * weight.float() / D**0.5, bias.float(), heads), traits=batch_traits(B)))
    return [*cases, Case((x, weight, bias, 3), traits=batch_traits(1))]


def _by_width(D: int, heads: int) -> float:
    return D**0.5


mistakes = {
    "as the code stands, with all three bugs": _mapped(_every_third, width=_by_width, dim=-2),
    "a head is d wide, and its scores are divided by √d, not by √D (the other two bugs are gone)": _mapped(
        width=_by_width
    ),
    "the softmax runs over the queries; a row sums to one, dim=-1 (the other two bugs are gone)": _mapped(dim=-2),
    "the first D numbers are the query, the next D the key; here every third is (the other two bugs are gone)": (
        _mapped(_every_third)
    ),
    "one bug is found, the softmax; left are the cut into queries, keys and values, and √D": _mapped(
        _every_third, width=_by_width
    ),
    "one bug is found, √d; left are the cut into queries, keys and values, and the axis of the softmax": _mapped(
        _every_third, dim=-2
    ),
    "one bug is found, the cut; left are √D and the axis of the softmax": _mapped(width=_by_width, dim=-2),
    "the cut is h heads of 3d numbers here; it is D queries, then D keys, then D values": _mapped(
        lambda qkv, heads: qkv.unflatten(-1, (heads, 3, -1)).movedim(-2, 0).flatten(-2)
    ),
    "the heads are strided: head i is slice i of width d, `unflatten(-1, (heads, -1))`": _mapped(
        split=lambda part, heads: part.unflatten(-1, (-1, heads)).movedim(-1, 1)
    ),
    "queries and keys are swapped: the first third asks": _mapped(pick=lambda q, k, v: (k, q)),
    "these are queries with values; the second third has the keys": _mapped(pick=lambda q, k, v: (q, v)),
    "the scores are not divided by anything": _mapped(width=lambda D, heads: 1.0),
    "the scores are divided by d; by its root": _mapped(width=lambda D, heads: D // heads),
    "the scores are divided by the root of the number of heads; by that of their width d": _mapped(
        width=lambda D, heads: heads**0.5
    ),
    "the bias is left out": _mapped(add=0.0),
    "these are the scores; the softmax is missing": _mapped(dim=None),
    "the heads are averaged; keep a map for each": _mapped(finish=lambda maps: maps.mean(dim=1)),
}
exercise("10.2", fused_maps, _fused_cases, mistakes)


# 10.3 ----------------------------------------------------------------------------------------------------------------


def own_share(tokens: int, layers: int, residual: float) -> float:
    """What a token keeps of itself in a rollout of so many layers of attention that is everywhere alike."""
    stays = residual**layers
    return stays + (1 - stays) / tokens


@formulas(5, 3, 0.6)
def _own_shares(tokens, layers, residual):
    N, L, a, mean = tokens, layers, residual, 1 - residual
    return {
        "this is the one path that stays on the residual throughout; what has left comes back, too, in equal parts": a
        ** L,
        "this is the path on which the token stays at home in each layer; it may leave and come back": (a + mean / N)
        ** L,
        "this is what has left, in equal parts; a^L of the token never left": (1 - a**L) / N,
        "residual and attention have changed places: (1 - a)^L stays": mean**L + (1 - mean**L) / N,
        "what has left is spread over all N tokens, the token itself among them, not over the N - 1 others": (
            a**L + (1 - a**L) / max(N - 1, 1)
        ),
        "what has left is 1 - a^L, for leaving once is enough; (1 - a)^L leaves in every layer": a**L + mean**L / N,
        "one layer is left out": a ** (L - 1) + (1 - a ** (L - 1)) / N,
        "one layer too many": a ** (L + 1) + (1 - a ** (L + 1)) / N,
        "only one layer is counted": a + mean / N,
        "the layers are added; a path multiplies its steps": a * L + (1 - a * L) / N,
        "this is the share of the other tokens together": 1 - a**L - (1 - a**L) / N,
        "this is attention alone, without the residual": 1 / N,
        "the residual counts for one half here; it is an argument": 0.5**L + (1 - 0.5**L) / N,
    }


SHARES = [(5, 3, 0.6), (65, 4, 0.5), (10, 12, 0.9), (2, 2, 0.25), (1, 3, 0.5), (17, 1, 0.7)]
exercise("10.3", own_share, lambda: on(*SHARES), _own_shares, difference=compare.floats)


# 10.4 ----------------------------------------------------------------------------------------------------------------


def erased(images: Tensor, pictures: Tensor, share: float) -> Tensor:
    """images (B, C, H, W), pictures (B, gh, gw) -> images with that share of the patches, the highest, set to 0."""
    return _erased()(images, pictures, share)


def _highest_first(values: Tensor) -> Tensor:
    """(B, N) -> the place of each in the order of its picture, 0 for the highest."""
    return values.argsort(dim=1, descending=True).argsort(dim=1)


def _enlarged(keep: Tensor, images: Tensor) -> Tensor:
    (H, W), (gh, gw) = images.shape[-2:], keep.shape[-2:]
    return keep.repeat_interleave(H // gh, dim=1).repeat_interleave(W // gw, dim=2)


def _erased(
    place=_highest_first,
    count=lambda share, N: int(share * N),
    enlarge=_enlarged,
    lay=lambda images, keep: images * keep[:, None],
    order=lambda keep: keep,
):
    """The images with one step changed; `keep` is true where a patch stays."""

    def answer(images: Tensor, pictures: Tensor, share: float) -> Tensor:
        values = pictures.flatten(1)
        keep = (place(values) >= count(share, values.shape[1])).unflatten(1, pictures.shape[1:])
        return lay(images, enlarge(order(keep), images).to(images.dtype))

    return answer


def _erasing_cases() -> list[Case]:
    generator, cases = torch.Generator().manual_seed(6), []
    for B, C, rows, columns, patch, share in [
        (2, 3, 2, 4, 3, 0.4), (1, 1, 3, 3, 2, 0.5), (3, 2, 3, 2, 4, 0.25), (2, 3, 4, 4, 2, 0.1), (2, 1, 2, 3, 2, 0.0),
    ]:  # fmt: skip
        images = torch.randn(B, C, rows * patch, columns * patch, generator=generator) + 3
        order = torch.stack([torch.randperm(rows * columns, generator=generator) for _ in range(B)])
        pictures = (order.float() / 10).unflatten(1, (rows, columns))
        cases.append(Case((images, pictures, share), traits=batch_traits(B)))
    images, pictures, share = cases[0].args
    return [*cases, Case((images.double(), pictures.double(), share))]


mistakes = {
    "the lowest patches are erased; the map's highest were asked for": _erased(lambda v: _highest_first(-v)),
    "the highest patches are kept and all others erased; the other way round": _erased(
        lay=lambda images, keep: images * (1 - keep[:, None])
    ),
    "the first image's patches are erased from every image; each has its own map": _erased(
        order=lambda keep: keep[:1].expand_as(keep)
    ),
    "the share is taken of the batch's patches together; each image loses as many": (
        lambda images, pictures, share: _erased(
            lambda v: _highest_first(v.reshape(1, -1)).view_as(v), lambda share, N: int(share * pictures.numel())
        )(images, pictures, share)
    ),
    "the number of patches is rounded up; int() rounds down": _erased(count=lambda share, N: -int(-share * N // 1)),
    "one patch too many is erased": _erased(count=lambda share, N: int(share * N) + 1),
    "that share of the patches is left; it is the share that goes": _erased(count=lambda share, N: N - int(share * N)),
    "the map is tiled over the image instead of enlarged: a patch is P × P neighbouring pixels": _erased(
        enlarge=lambda keep, images: keep.tile(images.shape[2] // keep.shape[1], images.shape[3] // keep.shape[2])
    ),
    "`argsort` gives the patches in order, not each patch's place in that order; take the argsort twice, or `topk`": (
        _erased(lambda v: v.argsort(dim=1, descending=True))
    ),
    "the erased patches are set to 1; 0 is the mean colour of a normalised image": _erased(
        lay=lambda images, keep: images * keep[:, None] + 1 - keep[:, None]
    ),
    "the patches are made fainter by half; set them to 0": _erased(
        lay=lambda images, keep: images * (0.5 + 0.5 * keep[:, None])
    ),
    "only the first channel is erased": _erased(
        lay=lambda images, keep: torch.cat([images[:, :1] * keep[:, None], images[:, 1:]], dim=1)
    ),
    "nothing is erased": _erased(lay=lambda images, keep: images.clone()),
}
exercise("10.4", erased, _erasing_cases, mistakes)


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
    "as the code stands, with both slips": _rolled(
        scale=lambda mixed: mixed / mixed.sum(dim=-1), join=lambda step, result: result @ step
    ),
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
