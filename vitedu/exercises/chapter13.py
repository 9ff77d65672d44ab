"""The exercises of chapter 13, Swin, dense prediction and detection."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from vitedu.exercises import compare
from vitedu.exercises.exercise import Answer, Case, batch_traits, distinct, exercise, formulas, on
from vitedu.models.window_attention import partition, reverse, shift_mask


# 13.1 ----------------------------------------------------------------------------------------------------------------
def in_windows(x: Tensor, attend: Answer, M: int) -> Tensor:
    """Pad a map (B, H, W, C) on the right and below, let `attend` have its windows, and undo both: the same shape."""
    return _in_windows()(x, attend, M)


def _pad(x: Tensor, M: int) -> Tensor:
    return F.pad(x, (0, 0, 0, -x.shape[2] % M, 0, -x.shape[1] % M))


def _pad_always(x: Tensor, M: int) -> Tensor:
    return F.pad(x, (0, 0, 0, M - x.shape[2] % M, 0, M - x.shape[1] % M))


def _pad_before(x: Tensor, M: int) -> Tensor:
    return F.pad(x, (0, 0, -x.shape[2] % M, 0, -x.shape[1] % M, 0))


def _pad_by_repeating(x: Tensor, M: int) -> Tensor:
    rows, columns = (torch.arange(side + -side % M).clamp(max=side - 1) for side in x.shape[1:3])
    return x[:, rows][:, :, columns]


def _floor(x: Tensor, M: int) -> Tensor:
    return x[:, : x.shape[1] // M * M, : x.shape[2] // M * M]


def _first(x: Tensor, H: int, W: int) -> Tensor:
    return x[:, :H, :W]


def _in_windows(
    map: str = "b (gh m) (gw n) c",
    windows: str = "b (gh gw) (m n) c",
    back: str = "",
    pad: Callable[[Tensor, int], Tensor] = _pad,
    crop: Callable[[Tensor, int, int], Tensor] = _first,
) -> Answer:
    """Pad, cut by these orders of axes, attend, put together by `back` (or the same orders), and crop."""

    def answer(x: Tensor, attend: Answer, M: int) -> Tensor:
        padded = pad(x, M)
        sides = {"gh": padded.shape[1] // M, "gw": padded.shape[2] // M, "m": M, "n": M, "b": len(x)}
        done = attend(rearrange(padded, f"{map} -> {windows}", **sides))
        return crop(rearrange(done, f"{back or windows} -> {map}", **sides), x.shape[1], x.shape[2])

    return answer


def _by_reshape(x: Tensor, attend: Answer, M: int) -> Tensor:
    padded = _pad(x, M)
    windows = attend(padded.reshape(len(x), -1, M * M, x.shape[3]))
    return windows.reshape(padded.shape)[:, : x.shape[1], : x.shape[2]]


def _stir(windows: Tensor) -> Tensor:
    """A stand-in for attention, by which every window and every place in it can be told: (B, windows, M·M, C)."""
    place = torch.linspace(0, 1, windows.shape[-2], dtype=windows.dtype)[:, None]  # (M·M, 1)
    number = torch.arange(windows.shape[1], dtype=windows.dtype)
    number = number.view(-1, 1, 1) if windows.ndim == 4 else number[:, None]
    return windows.cumsum(dim=-2) * (1 + place) + 10 * number


def _map_case(B: int, H: int, W: int, C: int, M: int, dtype=torch.float32, **options) -> Case:
    label = f"x {(B, H, W, C)}, M = {M}" + (", float64" if dtype == torch.float64 else "")
    return Case((distinct(B, H, W, C, dtype=dtype), _stir, M), label=label, traits=batch_traits(B), **options)


exercise(
    "13.1",
    reference=in_windows,
    cases=lambda: [
        _map_case(2, 4, 6, 3, 2, gradient=True),
        *(_map_case(*size) for size in [(1, 4, 4, 2, 2), (2, 5, 7, 3, 3), (1, 6, 4, 2, 3), (2, 3, 8, 1, 4)]),
        *(_map_case(*size) for size in [(2, 2, 3, 2, 4), (2, 7, 4, 2, 2), (1, 5, 3, 2, 2, torch.float64)]),
    ],
    mistakes={
        "`reshape` alone keeps the order of the numbers; rows of neighbouring windows have to be taken apart": (
            _by_reshape
        ),
        "the windows come column by column; they follow one another as in reading, left to right, then down": (
            _in_windows(windows="b (gw gh) (m n) c")
        ),
        "inside a window the tokens come column by column; row by row is asked for": (
            _in_windows(windows="b (gh gw) (n m) c")
        ),
        "the tokens of a window lie a whole window apart; a window holds neighbours": _in_windows("b (m gh) (n gw) c"),
        "the windows have joined the batch; `attend` asks for (B, windows, M·M, C)": (
            _in_windows(windows="(b gh gw) (m n) c")
        ),
        "the windows are put back column by column": _in_windows(back="b (gw gh) (m n) c"),
        "the windows are put back with rows and columns swapped inside": _in_windows(back="b (gh gw) (n m) c"),
        "the padding is still there; cut the map back to H rows and W columns": _in_windows(crop=lambda x, H, W: x),
        "only the rows are cut back; the columns were padded, too": _in_windows(crop=lambda x, H, W: x[:, :H]),
        "only the columns are cut back; the rows were padded, too": _in_windows(crop=lambda x, H, W: x[:, :, :W]),
        "the first rows and columns are cut off; the padding is on the right and below": (
            _in_windows(crop=lambda x, H, W: x[:, x.shape[1] - H :, x.shape[2] - W :])
        ),
        "the zeros stand on the left and above; they belong on the right and below": (
            _in_windows(pad=_pad_before, crop=lambda x, H, W: x[:, x.shape[1] - H :, x.shape[2] - W :])
        ),
        "the rest that makes no whole window is cut off; it has to be padded": _in_windows(pad=_floor),
        "a side that M divides is padded, too, and not cut back; `-side % M` is 0 there": (
            _in_windows(pad=_pad_always, crop=lambda x, H, W: x)
        ),
        "the border is repeated into the padding; zeros are asked for": _in_windows(pad=_pad_by_repeating),
        "`attend` is not called": lambda x, attend, M: x,
        "`attend` gets the whole map as one window": (
            lambda x, attend, M: attend(x.flatten(1, 2)[:, None])[:, 0].view(x.shape)
        ),
        "`attend` is called twice": lambda x, attend, M: in_windows(x, lambda w: attend(attend(w)), M),
    },
)


# 13.2 ----------------------------------------------------------------------------------------------------------------
def relative_index(rows: int, columns: int) -> Tensor:
    """For each query and key of a window of rows × columns, (N, N): which difference of their places it is."""
    return _index(rows, columns)


def _index(
    rows: int, columns: int, step: int | None = None, sign: int = 1, down: int | None = None, across: int | None = None
) -> Tensor:
    """sign · (query - key), each made positive by `down` and `across`, rows times `step`."""
    row, column = _places(rows, columns)
    by_rows, by_columns = (sign * (place[:, None] - place) for place in (row, column))
    down, across = (rows - 1 if down is None else down), (columns - 1 if across is None else across)
    return (by_rows + down) * (2 * columns - 1 if step is None else step) + by_columns + across


def _places(rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Row and column of every place in raster order, (N,) each."""
    return torch.arange(rows).repeat_interleave(columns), torch.arange(columns).repeat(rows)


@formulas(2, 2)
def _indices(rows: int, columns: int) -> dict[str, Tensor]:
    right, (row, column) = relative_index(rows, columns), _places(rows, columns)
    by_rows, by_columns = row[:, None] - row, column[:, None] - column
    by_places = right.unflatten(0, (rows, columns)).unflatten(2, (rows, columns))
    return {
        "this is key minus query; query minus key is asked for": _index(rows, columns, sign=-1),
        "a row of differences has 2·columns - 1 numbers, not 2·rows - 1": _index(rows, columns, 2 * rows - 1),
        "a row of differences has 2·columns - 1 numbers, not 2·columns": _index(rows, columns, 2 * columns),
        "a row of differences has 2·columns - 1 numbers, not the `columns` of the window": (
            _index(rows, columns, columns)
        ),
        "the differences are not made positive; add rows - 1 and columns - 1": _index(rows, columns, down=0, across=0),
        "only the differences of rows are made positive": _index(rows, columns, across=0),
        "only the differences of columns are made positive": _index(rows, columns, down=0),
        "the differences are made positive by `rows` and `columns`; the smallest is 1 - rows": (
            _index(rows, columns, down=rows, across=columns)
        ),
        "rows and columns of the window are swapped": _index(columns, rows),
        "the columns count first; a difference of one row is a step of 2·columns - 1": (
            (by_columns + columns - 1) * (2 * rows - 1) + by_rows + rows - 1
        ),
        "the places are numbered column by column; raster order goes row by row": (
            by_places.permute(1, 0, 3, 2).flatten(2).flatten(0, 1)
        ),
        "the size of a difference is not enough: left and right are two different numbers, so leave out `abs`": (
            by_rows.abs() * (2 * columns - 1) + by_columns.abs()
        ),
        "row and column differences are added without a step, so that different ones get the same number": (
            by_rows + rows - 1 + by_columns + columns - 1
        ),
        "the numbers start at 1; the first row of a table is row 0": right + 1,
        "the result is flat; (N, N), a row for each query": right.flatten(),
        "these are floats; an index needs whole numbers": right.float(),
    }


exercise(
    "13.2",
    reference=relative_index,
    cases=lambda: on((2, 2), (2, 3), (3, 2), (1, 4), (4, 1), (3, 3), (7, 7), (4, 5)),
    mistakes=_indices,
)


# 13.3 ----------------------------------------------------------------------------------------------------------------
def shifted(x: Tensor, attend: Answer, M: int, s: int) -> Tensor:
    """Attention in windows that are shifted by s to the right and down: (B, H, W, C) -> (B, H, W, C)."""
    return _shifted()(x, attend, M, s)


def _shifted(
    there: int = -1, back: int = 1, axes: tuple[int, int] = (1, 2), mask: Answer = shift_mask, width: int = 2
) -> Answer:
    """Roll, cut, attend, put together and roll back; any part may be replaced."""

    def answer(x: Tensor, attend: Answer, M: int, s: int) -> Tensor:
        rolled = x.roll((there * s, there * s), axes)
        windows = attend(partition(rolled, M), mask(x.shape[1:3], M, (s, s)))
        return reverse(windows, M, x.shape[width]).roll((back * s, back * s), axes)

    return answer


def _late(x: Tensor, attend: Answer, M: int, s: int) -> Tensor:
    """Cut first, and roll the windows."""
    windows = partition(x, M).roll((-s, -s), (1, 2))
    return reverse(attend(windows, shift_mask(x.shape[1:3], M, (s, s))), M, x.shape[2]).roll((s, s), (1, 2))


def _attend(windows: Tensor, mask: Tensor) -> Tensor:
    """A stand-in for attention: each token gets the mean of what it may see, weighted by the place in the window."""
    place = torch.linspace(0, 1, windows.shape[2], dtype=windows.dtype)
    return (mask.to(windows.dtype) + place).softmax(dim=-1) @ windows


def _shift_case(B: int, H: int, W: int, C: int, M: int, s: int, dtype=torch.float32, **options) -> Case:
    x = distinct(B, H, W, C, dtype=dtype)
    label = f"x {(B, H, W, C)}, M = {M}, s = {s}" + (", float64" if dtype == torch.float64 else "")
    return Case((x, _attend, M, s), label=label, traits=batch_traits(B), **options)


exercise(
    "13.3",
    reference=shifted,
    cases=lambda: [
        _shift_case(2, 4, 6, 3, 2, 1, gradient=True),
        *(_shift_case(*size) for size in [(1, 4, 4, 2, 2, 1), (2, 8, 4, 2, 4, 1), (2, 6, 9, 1, 3, 2)]),
        _shift_case(1, 8, 12, 2, 4, 2, torch.float64),
    ],
    mistakes={
        "the map is rolled the wrong way, and back the wrong way; rows and columns have to move up and to the left "
        "first": _shifted(1, -1),
        "the first roll goes the wrong way: up and to the left is by -s": _shifted(1, 1),
        "the last roll goes the wrong way: back is by +s": _shifted(-1, -1),
        "nothing is rolled back": _shifted(back=0),
        "nothing is rolled, and the mask is for a rolled map": _shifted(0, 0),
        "the rows alone are rolled; rows and columns are the axes 1 and 2": _shifted(axes=(0, 1)),
        "the columns alone are rolled; rows and columns are the axes 1 and 2": _shifted(axes=(2, 3)),
        "`reverse` gets the height; it asks for the width": _shifted(width=1),
        "the mask is all zeros, so that opposite edges of the map meet": (
            _shifted(mask=lambda size, M, shift: 0 * shift_mask(size, M, shift))
        ),
        "the mask is made for the size of a window's side swapped, (W, H)": (
            _shifted(mask=lambda size, M, shift: shift_mask((size[1], size[0]), M, shift))
        ),
        "the mask is made for a shift of M - s": (
            _shifted(mask=lambda size, M, shift: shift_mask(size, M, (M - shift[0], M - shift[1])))
        ),
        "the windows are rolled after the cut; roll the map, then cut it": _late,
    },
)


# 13.4 ----------------------------------------------------------------------------------------------------------------
def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Boxes (N, 4) and (M, 4) as centre x, centre y, width, height -> intersection over union, (N, M)."""
    return _iou(*_corners(a), *_corners(b))


def _corners(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Lower and upper ones, (N, 2) each."""
    return boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2


def _sides(low_a: Tensor, high_a: Tensor, low_b: Tensor, high_b: Tensor) -> Tensor:
    """Those of the intersections, (N, M, 2), negative for boxes apart."""
    return torch.minimum(high_a[:, None], high_b) - torch.maximum(low_a[:, None], low_b)


def _iou(low_a: Tensor, high_a: Tensor, low_b: Tensor, high_b: Tensor) -> Tensor:
    both = _sides(low_a, high_a, low_b, high_b).clamp(min=0).prod(-1)  # (N, M)
    return both / ((high_a - low_a).prod(-1)[:, None] + (high_b - low_b).prod(-1) - both)


def _box_cases() -> list[Case]:
    a = torch.tensor([[0.3, 0.3, 0.4, 0.2], [0.7, 0.6, 0.2, 0.4], [0.5, 0.5, 0.6, 0.6]])
    b = torch.tensor([[0.35, 0.3, 0.4, 0.3], [0.8, 0.8, 0.3, 0.2]])
    return [
        Case((a, b), gradient=True),
        *on((a[:1], a), (a, a)),
        Case((b[:1], torch.tensor([[0.85, 0.9, 0.1, 0.1]])), label="a (1, 4), b (1, 4), two boxes far apart"),
        Case((b.double(), a.double())),
    ]


@formulas(torch.ones(1, 4), torch.ones(1, 4))
def _ratios(a: Tensor, b: Tensor) -> dict[str, Tensor]:
    (low_a, high_a), (low_b, high_b) = _corners(a), _corners(b)
    sides = _sides(low_a, high_a, low_b, high_b)
    both, product = sides.clamp(min=0).prod(-1), sides.prod(-1)  # (N, M)
    one, other = a[:, None, 2:].prod(-1), b[:, 2:].prod(-1)  # (N, 1), (M,)
    total, line = one + other, sides[..., 0].clamp(min=0)
    hull = (torch.maximum(high_a[:, None], high_b) - torch.minimum(low_a[:, None], low_b)).prod(-1)
    reach = ((a[:, None, 2:] + b[:, 2:]) / 2 - (a[:, None, :2] - b[:, :2]).abs()).clamp(min=0).prod(-1)
    least = torch.minimum(a[:, None, 2:], b[:, 2:]).prod(-1)
    iou = both / (total - both)
    return {
        "the four numbers are taken for two corners; they are centre x, centre y, width, height": (
            _iou(a[:, :2], a[:, 2:], b[:, :2], b[:, 2:])
        ),
        "the first two numbers are taken for the upper left corner; they are the centre": (
            _iou(a[:, :2], a[:, :2] + a[:, 2:], b[:, :2], b[:, :2] + b[:, 2:])
        ),
        "the corners are a whole side from the centre; they are half a side from it": (
            _iou(a[:, :2] - a[:, 2:], a[:, :2] + a[:, 2:], b[:, :2] - b[:, 2:], b[:, :2] + b[:, 2:])
        ),
        "width and height are swapped": box_iou(a[:, [0, 1, 3, 2]], b[:, [0, 1, 3, 2]]),
        "boxes apart in both directions have two negative sides, whose product is positive; clamp the sides at 0": (
            product / (total - product)
        ),
        "the union counts the intersection twice; subtract it once": both / total,
        "twice the intersection over the sum of both areas is the Dice score; divide by the union": 2 * both / total,
        "this is the intersection alone; divide it by the union": both,
        "the intersection is divided by the smaller box; the union holds both": both / torch.minimum(one, other),
        "the intersection is divided by the larger box; the union holds both": both / torch.maximum(one, other),
        "the intersection is divided by the box of a; the union holds both": both / one,
        "the intersection is divided by the box of b; the union holds both": both / other,
        "the intersection is divided by the root of both areas; divide by the union": both / (one * other).sqrt(),
        "only the widths are compared; the boxes have heights, too": line / (a[:, None, 2] + b[:, 2] - line),
        "the intersection is divided by the box around both, which is larger than the union": both / hull,
        "the intersection is taken as large as can be; where the boxes lie is left out": least / (total - least),
        "the overlap along an axis is no longer than either side; half of both minus the distance may be": (
            reach / (total - reach)
        ),
        "max and min are swapped, which gives the box around both": hull / (total - hull),
        "rows and columns are swapped: the result is (N, M), a row for each box of a": iou.T,
        "the area is clamped at 0, but two negative sides make a positive one; clamp the sides": (
            product.clamp(min=0) / (total - product.clamp(min=0))
        ),
        "the sides are made positive by `abs`; boxes that lie apart share nothing, so clamp the sides at 0": (
            product.abs() / (total - product.abs())
        ),
        "this is the generalised IoU, which falls below 0 for boxes apart; here it stays at 0": (
            iou - (hull - total + both) / hull
        ),
        "this is 1 minus the overlap, a distance; equal boxes have an overlap of 1": 1 - iou,
        "this is in per cent; the overlap goes from 0 to 1": 100 * iou,
        "only equal places are compared; every box of a meets every box of b": iou.diagonal(),
    }


exercise(
    "13.4",
    reference=box_iou,
    cases=_box_cases,
    mistakes=_ratios
    | {
        "place n meets place n here; `a[:, None]` and `b[None]` meet in all pairs": (
            lambda a, b: box_iou(*torch.broadcast_tensors(a, b)).diagonal()
        ),
    },
)


# 13.5 ----------------------------------------------------------------------------------------------------------------
def mask_iou(scores: Tensor, masks: Tensor) -> float:
    """Scores (B, H, W), above 0 for the object, and masks -> intersection over union of all pixels together."""
    said = scores > 0
    return ((said & masks).sum() / (said | masks).sum()).item()


def _mask_case(B: int, H: int, W: int, seed: int, dtype=torch.float32) -> Case:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(B, H, W, generator=generator).round(decimals=1).to(dtype)
    size = torch.linspace(0.2, 0.7, B)[:, None, None]  # so that a mean of quotients is another number
    masks = torch.rand(B, H, W, generator=generator) < size
    return Case((scores + 0.4 * masks, masks), traits=batch_traits(B))


@formulas(torch.tensor([[[1.0, -1.0], [0.3, 0.7]]]), torch.tensor([[[True, False], [True, False]]]))
def _mask_scores(scores: Tensor, masks: Tensor) -> dict[str, float]:
    said = scores > 0
    both, either = said & masks, said | masks
    each = both.sum(dim=(1, 2)) / either.sum(dim=(1, 2))
    half, sure = scores > 0.5, scores.sigmoid() > 0
    found = {
        "each picture gets a quotient, and these are averaged; add up the pixels of all pictures first": each.mean(),
        "0.5 is the middle of probabilities; scores before the sigmoid have theirs at 0": (
            (half & masks).sum() / (half | masks).sum()
        ),
        "a sigmoid is always above 0, so that every pixel counts as object": (sure & masks).sum()
        / (sure | masks).sum(),
        "this is the share of right pixels; ground that is called ground does not count in IoU": (
            (said == masks).float().mean()
        ),
        "the intersection is divided by the true mask alone (recall)": both.sum() / masks.sum(),
        "the intersection is divided by the predicted mask alone (precision)": both.sum() / said.sum(),
        "the union counts the intersection twice": both.sum() / (said.sum() + masks.sum()),
        "this is the Dice score; divide by the union": 2 * both.sum() / (said.sum() + masks.sum()),
        "this is 1 minus IoU": 1 - both.sum() / either.sum(),
        "this is in per cent; IoU goes from 0 to 1": 100 * both.sum() / either.sum(),
        "the signs are swapped: above 0 is the object": (~said & masks).sum() / (~said | masks).sum(),
        "this is the intersection in pixels; divide it by the union": both.sum().float(),
        "scores below 0 are taken for the ground's IoU, and both are averaged; the object's is asked for": (
            (both.sum() / either.sum() + (~either).sum() / (~both).sum()) / 2
        ),
    }
    return {hint: value.item() for hint, value in found.items()}


exercise(
    "13.5",
    reference=mask_iou,
    cases=lambda: [
        _mask_case(*size) for size in [(3, 4, 6, 0), (1, 5, 5, 1), (4, 3, 7, 2), (2, 6, 4, 3, torch.float64)]
    ],
    difference=compare.floats,
    mistakes=_mask_scores,
)


# 13.6 ----------------------------------------------------------------------------------------------------------------
def may_see(H: int, W: int, M: int, s: int) -> Tensor:
    """For each window of a map that was rolled by -s, -s: who may see whom, bool (windows, M·M, M·M)."""
    return _by_pieces(_piece(H, s), _piece(W, s), M)


def _piece(side: int, s: int) -> Tensor:
    """0 for what lay together, 1 for the last s, which the roll brought from the other end: (side,)."""
    return (torch.arange(side) >= side - s).long()


def _by_pieces(rows: Tensor, columns: Tensor, M: int, join: Answer = lambda row, column: 2 * row + column) -> Tensor:
    number = join(rows[:, None], columns[None]).expand(len(rows), len(columns))
    pieces = partition(number[None, :, :, None], M)[0, :, :, 0]  # (windows, M·M)
    return pieces[:, :, None] == pieces[:, None]


def _whole(rows: Tensor, columns: Tensor) -> Tensor:
    number = (2 * rows[:, None] + columns).flatten()
    return number[:, None] == number


@formulas(4, 4, 2, 1)
def _masks(H: int, W: int, M: int, s: int) -> dict[str, Tensor]:
    rows, columns, right = _piece(H, s), _piece(W, s), may_see(H, W, M, s)
    first = [(torch.arange(side) < s).long() for side in (H, W)]
    other = [_piece(side, M - s) for side in (H, W)]
    windows, side = (H // M, W // M), (M, M)
    by_columns = right.unflatten(0, windows).transpose(0, 1).flatten(0, 1)
    turned = right.unflatten(2, side).unflatten(1, side).permute(0, 2, 1, 4, 3).flatten(3).flatten(1, 2)
    same_row, same_column = _by_pieces(rows, 0 * columns, M), _by_pieces(0 * rows, columns, M)
    last = torch.zeros_like(right)
    last[-1] = True
    return {
        "True and False are swapped: True where a token may look": ~right,
        "the cut is s after the start; the roll has moved the first rows and columns to the end": (
            _by_pieces(*first, M)
        ),
        "the cut is M - s before the end; the roll brings s rows and columns to the end": _by_pieces(*other, M),
        "only the rows are looked at; the columns were rolled, too": same_row,
        "only the columns are looked at; the rows were rolled, too": same_column,
        "one axis is enough here; both have to agree, so `&`": same_row | same_column,
        "row and column numbers are added without a step, so that two different pieces get the same number": (
            _by_pieces(rows, columns, M, lambda row, column: row + column)
        ),
        "nobody is kept apart": torch.ones_like(right),
        "a token sees itself alone; it sees its whole piece": torch.eye(M * M, dtype=torch.bool).expand_as(right),
        "only the last window has a mask; those along the right and the lower edge have strangers, too": (
            torch.where(last, right, True)
        ),
        "the windows stand column by column; they follow one another as in reading": by_columns,
        "inside a window rows and columns are swapped": turned,
        "these are numbers to add to the logits; True and False are asked for": torch.where(right, 0.0, -100.0),
        "the axis of the windows is missing: (windows, M·M, M·M)": right[-1],
        "this is one mask for all tokens of the map, (N, N); cut it into windows": _whole(rows, columns),
    }


exercise(
    "13.6",
    reference=may_see,
    cases=lambda: on(
        (4, 4, 2, 1), (4, 6, 2, 1), (6, 3, 3, 1), (9, 6, 3, 2), (8, 12, 4, 2), (8, 4, 4, 3), (4, 4, 2, 0), (4, 4, 4, 1)
    ),
    mistakes=_masks,
)
