"""The exercises of chapter 6, linear embedding."""

import torch
import torch.nn.functional as F
from torch import Tensor

from vitedu.exercises import compare
from vitedu.exercises.exercise import Answer, Case, batch_traits, distinct, exercise, formulas, on
from vitedu.position import interpolate_positions

Grid = tuple[int, int]
RASTER = "raster order goes left to right, then down"


# 6.1 -----------------------------------------------------------------------------------------------------------------
def _learned(height: int, width: int, channels: int, patch: int, dim: int) -> int:
    """E, its bias, the class token, and a learned position for each of the 1 + N tokens."""
    tokens = (height // patch) * (width // patch)
    return channels * patch**2 * dim + dim + dim + (1 + tokens) * dim


@formulas(60, 60, 3, 20, 768)
def _wrong_counts(H: int, W: int, C: int, P: int, D: int) -> dict[str, float]:
    N, E, right = (H // P) * (W // P), C * P * P * D, _learned(H, W, C, P, D)
    return {
        "D numbers are missing: count E, its bias, the class token, and a position for the class token as well": (
            right - D
        ),
        "2·D numbers are missing: of the bias, the class token and its position you have only one": right - 2 * D,
        "3·D numbers are missing: the bias, the class token, and its position": right - 3 * D,
        "this is E alone; its bias, the class token and the positions are learned as well": E,
        "this is E with its bias; the class token and the positions are learned as well": E + D,
        "these are the positions alone; E, its bias and the class token are learned as well": (1 + N) * D,
        "each token has a position of its own: 1 + N vectors, not one": right - N * D,
        "D numbers are too many: there is one bias, one class token, and one position for each of 1 + N tokens": (
            right + D
        ),
        "there is one class token, not one for each place": right + N * D,
        "a patch is one token, whatever its channels": right + (C - 1) * N * D,
        "the bias or the class token is counted as one number; each of them has D": right + 1 - D,
        "bias and class token are counted as one number each; they have D": right + 2 - 2 * D,
        "three channels are taken for granted; an image may have another number": right - E + 3 * P * P * D,
        "E is counted for each patch, or with a row for each number of the picture; there is one E, with a row for "
        "each number of a patch": right - E + N * E,
        "HW is divided by P once; a patch takes P rows and P columns, P·P pixels": E + 2 * D + (1 + H * W // P) * D,
        "these are positions for pixels; the tokens are patches": E + 2 * D + (1 + H * W) * D,
        "patches down and across are added; multiply": E + 2 * D + (1 + H // P + W // P) * D,
        "there is one E for all patches, not one for each; do not multiply it by N": right + (N - 1) * (E + D),
        "the channels are left out of E: a patch has C·P·P numbers": right - E + P * P * D,
        "E has a row for each number of a patch, not for each token": right - E + C * N * D,
        "a patch has P·P pixels, not P; E has C·P·P rows": right - E + C * P * D,
        "the positions have length C·P·P here; they are added after the projection, so they have length D": (
            E + 2 * D + (1 + N) * C * P * P
        ),
        "a position is D numbers, not one number": E + 2 * D + 1 + N,
        "a bias for each number that enters; it is added to each number that leaves, so it has length D": (
            right - D + C * P * P
        ),
        "the height stands for both sides; an image need not be square": _learned(H, H, C, P, D),
        "the width stands for both sides; an image need not be square": _learned(W, W, C, P, D),
        "`/` always gives a float in Python; `//` divides whole numbers": float(right),
    }


exercise(
    "6.1",
    reference=_learned,
    cases=lambda: on(
        (60, 60, 3, 20, 768), (224, 224, 3, 16, 768), (32, 48, 1, 8, 16), (12, 8, 5, 4, 10), (16, 16, 3, 16, 6)
    ),
    difference=compare.integers,
    mistakes=_wrong_counts,
)


# 6.2 -----------------------------------------------------------------------------------------------------------------
exercise(
    "6.2",
    reference=lambda weight: weight.flatten(1).T,
    cases=lambda: [
        Case((distinct(5, 3, 4, 4),), gradient=True),
        Case((distinct(7, 1, 2, 2),)),
        Case((distinct(12, 3, 2, 2),)),  # D = C·P·P: a forgotten transpose keeps the shape
        Case((distinct(4, 2, 3, 3, dtype=torch.float64),)),
        Case((distinct(1, 5, 2, 2),)),
    ],
    mistakes={
        "this is the weight of an `nn.Linear`, (D, C·P·P); E is its transpose": lambda w: w.flatten(1),
        "the shape is right, but `reshape` and `view` do not transpose: they mix the numbers of different kernels": (
            lambda w: w.reshape(-1, len(w))
        ),
        "the channel is last inside a patch; the order there is channel, row, column": (
            lambda w: w.permute(2, 3, 1, 0).flatten(0, 2)
        ),
        "rows and columns of each kernel are swapped": lambda w: w.permute(1, 3, 2, 0).flatten(0, 2),
        "row, column and channel come in reversed order, column first: `.T` on four axes reverses them all": (
            lambda w: w.permute(3, 2, 1, 0).flatten(0, 2)
        ),
        "`.T` on four axes reverses them all; flatten each kernel first": lambda w: w.permute(3, 2, 1, 0),
        "the kernels are flipped; PyTorch's convolution does not flip, it multiplies number by number": (
            lambda w: w.flip(2, 3).flatten(1).T
        ),
        "D and C are swapped before the flattening, which mixes kernels; lay each kernel out first, then transpose": (
            lambda w: w.transpose(0, 1).reshape(-1, len(w))
        ),
        "only D and C are swapped; C belongs to the rows of E, with row and column": (
            lambda w: w.transpose(0, 1).flatten(1)
        ),
        "only the pixels are flattened; the channels belong to the same sum": lambda w: w.flatten(2),
        "the channels are an axis of their own; they belong to the same sum": lambda w: w.flatten(2).mT,
        "D is flattened with the rest; it is the other axis of E": lambda w: w.flatten(0, 2),
        "the axes of the kernel are still there, (C, P, P, D); flatten the first three into one": (
            lambda w: w.permute(1, 2, 3, 0)
        ),
        "D is flattened with the pixels; flatten C, row and column": lambda w: w.permute(1, 2, 3, 0).flatten(1),
        "the channels are added up; each has weights of its own, so E has C·P·P rows": (
            lambda w: w.sum(dim=1).flatten(1).T
        ),
        "the channels are averaged; each has weights of its own": lambda w: w.mean(dim=1).flatten(1).T,
        "this is the first kernel alone; E has a column for each": lambda w: w[0].flatten(),
    },
)


# 6.3 -----------------------------------------------------------------------------------------------------------------
def _sequence_case(batch: int, count: int, dim: int, dtype=torch.float32, **options) -> Case:
    parts = distinct(batch * count + 1 + count + 1, dim, dtype=dtype)
    tokens, cls, positions = parts.split([batch * count, 1, 1 + count])
    return Case((tokens.view(batch, count, dim), cls[None], positions), traits=batch_traits(batch), **options)


def _joined(tokens: Tensor, cls: Tensor) -> Tensor:
    return torch.cat([cls.expand(len(tokens), -1, -1), tokens], dim=1)


exercise(
    "6.3",
    reference=lambda tokens, cls_token, positions: _joined(tokens, cls_token) + positions,
    cases=lambda: [
        _sequence_case(2, 3, 4, gradient=True),
        _sequence_case(1, 6, 5),
        _sequence_case(4, 4, 4),
        _sequence_case(3, 1, 2),
        _sequence_case(2, 5, 3, torch.float64),
    ],
    mistakes={
        "the class token stands last; it is token 0, before the patches": lambda z, c, p: _joined(z, c).roll(-1, 1) + p,
        "the class token is last, with the position of the class token: both belong in front": (
            lambda z, c, p: (_joined(z, c) + p).roll(-1, 1)
        ),
        "the class token gets no position; row 0 of the table is its own": lambda z, c, p: _joined(z + p[1:], c),
        "the patches get rows 0 to N - 1 and the class token none; row 0 belongs to the class token": (
            lambda z, c, p: _joined(z + p[:-1], c)
        ),
        "the positions are missing": lambda z, c, p: _joined(z, c),
        "only the class token gets its position; every token has a row of the table": (
            lambda z, c, p: _joined(z, c + p[0])
        ),
        "all tokens get the position of the class token": lambda z, c, p: _joined(z, c) + p[0],
        "row 0 holds its position alone; the numbers of the class token are missing from it": (
            lambda z, c, p: _joined(z, 0 * c) + p
        ),
        "the class token is added to every patch; it is a token of its own, joined with `torch.cat`": (
            lambda z, c, p: z + c + p[1:]
        ),
        "the class token is missing: N tokens instead of 1 + N": lambda z, c, p: z + p[1:],
        "the positions are appended to the tokens; they are added, and the width stays D": (
            lambda z, c, p: torch.cat([_joined(z, c), p.expand(len(z), -1, -1)], dim=2)
        ),
        "the positions are multiplied in; they are added": lambda z, c, p: _joined(z, c) * p,
        "the position is added to the tokens twice": lambda z, c, p: _joined(z + p[1:], c) + p,
    },
)


# 6.4 -----------------------------------------------------------------------------------------------------------------
def _axis_case(down: int, across: int, half: int, dtype=torch.float32, **options) -> Case:
    both = distinct(down + across, half, dtype=dtype)
    return Case((both[:down], both[down:]), **options)


def _spread(r: Tensor, c: Tensor) -> list[Tensor]:
    """Both halves over the grid, (gh, gw, D/2) each."""
    return [r[:, None].expand(-1, len(c), -1), c[None].expand(len(r), -1, -1)]


def _grid(r: Tensor, c: Tensor) -> Tensor:
    return torch.cat(_spread(r, c), dim=2)  # (gh, gw, D)


def _stay(table: Tensor, times: int) -> Tensor:
    return table.repeat_interleave(times, dim=0)


exercise(
    "6.4",
    reference=lambda rows, columns: _grid(rows, columns).flatten(0, 1),
    cases=lambda: [
        _axis_case(2, 3, 4, gradient=True),
        _axis_case(4, 4, 2),
        _axis_case(1, 5, 3),
        _axis_case(5, 1, 3),
        _axis_case(3, 2, 1, torch.float64),
    ],
    mistakes={
        "the halves are added; laid end to end they make width D, and neither disturbs the other": (
            lambda r, c: sum(_spread(r, c)).flatten(0, 1)
        ),
        "the halves are multiplied; lay them end to end": lambda r, c: (r[:, None] * c).flatten(0, 1),
        "these are scalar products; lay the two vectors end to end": lambda r, c: r @ c.T,
        "the column's half comes first; the row's half is the left one": (
            lambda r, c: torch.cat(_spread(r, c)[::-1], dim=2).flatten(0, 1)
        ),
        "the numbers of row and column alternate; lay the halves end to end": (
            lambda r, c: torch.stack(_spread(r, c), dim=3).flatten(0, 1).flatten(1)
        ),
        "the halves have an axis of their own; join them": lambda r, c: torch.stack(_spread(r, c), 2).flatten(0, 1),
        "the halves lie below each other, not end to end": lambda r, c: torch.cat(_spread(r, c), 0).flatten(0, 1),
        "the halves are joined along the grid's columns": lambda r, c: torch.cat(_spread(r, c), 1).flatten(0, 1),
        f"the tokens run down the columns; {RASTER}": lambda r, c: _grid(r, c).transpose(0, 1).flatten(0, 1),
        "both tables are repeated as a whole; in raster order the row's vector stays while the columns run": (
            lambda r, c: torch.cat([r.repeat(len(c), 1), c.repeat(len(r), 1)], dim=1)
        ),
        "both vectors stay for several places; in raster order the columns run while the row's vector stays": (
            lambda r, c: torch.cat([_stay(r, len(c)), _stay(c, len(r))], dim=1)
        ),
        "each table is repeated by its own length; a row's vector is needed for each column, and the reverse": (
            lambda r, c: torch.cat([_stay(r, len(r)), c.repeat(len(c), 1)], dim=1)
        ),
        "n is divided by the number of rows; a row holds as many places as there are columns": (
            lambda r, c: torch.stack([torch.cat([r[n // len(r)], c[n % len(c)]]) for n in range(len(r) * len(c))])
        ),
        "the grid is still there, (gh, gw, D); flatten its two axes into N": _grid,
        "the places are a list of tensors; stack them": lambda r, c: [torch.cat([i, j]) for i in r for j in c],
        "the two tables are stacked, gh + gw vectors; every *pair* of a row and a column needs one": (
            lambda r, c: torch.cat([r, c])
        ),
        "row n goes with column n only; every *pair* of a row and a column needs a vector": (
            lambda r, c: torch.stack([torch.cat([i, j]) for i, j in zip(r, c, strict=False)])
        ),
        "the two tables are joined as they are; every *pair* needs a vector": lambda r, c: torch.cat([r, c], dim=1),
    },
)


# 6.5 -----------------------------------------------------------------------------------------------------------------
def _table_case(old: Grid, new: Grid, dim: int, dtype=torch.float32, **options) -> Case:
    return Case((distinct(1 + old[0] * old[1], dim, dtype=dtype), old, new), **options)


def _resized(patches: Tensor, old: Grid, new: Grid, mode: str = "bicubic", aligned=True, **options) -> Tensor:
    """Without a class token: (N, D) -> (N', D)."""
    picture = patches.T.unflatten(1, old)[None]  # (1, D, gh, gw)
    return F.interpolate(picture, size=new, mode=mode, align_corners=aligned, **options)[0].flatten(1).T


def _keeping_cls(resize) -> Answer:
    """`resize(patches, old, new)` behind the row of the class token."""
    return lambda table, old, new: torch.cat([table[:1], resize(table[1:], old, new)])


def _with(**options) -> Answer:
    return _keeping_cls(lambda *args: _resized(*args, **options))


def _reshaped(patches: Tensor, old: Grid, new: Grid) -> Tensor:
    picture = patches.reshape(1, -1, *old)  # the shape of (1, D, gh, gw), not its content
    return F.interpolate(picture, size=new, mode="bicubic", align_corners=True)[0]


def _as_a_line(patches: Tensor, count: int) -> Tensor:
    return F.interpolate(patches.T[None], size=count, mode="linear", align_corners=True)[0].T


exercise(
    "6.5",
    reference=lambda table, old_grid, new_grid: interpolate_positions(table, old_grid, new_grid),
    cases=lambda: [
        _table_case((3, 4), (5, 7), 2, gradient=True),
        _table_case((4, 4), (6, 6), 3),
        _table_case((4, 5), (3, 4), 4),
        _table_case((2, 6), (6, 2), 3),
        _table_case((3, 3), (3, 3), 5),
        _table_case((2, 11), (3, 15), 1),  # 15 / 11 · 11 is less than 15 in floating point
        _table_case((4, 3), (8, 6), 2, torch.float64),
    ],
    mistakes={
        "the corners of the two grids are not aligned: `align_corners=True`": _with(aligned=False),
        "this is timm's convention, with `antialias=True`; here the corners are aligned: `align_corners=True`": (
            _with(aligned=False, antialias=True)
        ),
        "`antialias=True` was not asked for: it blurs where the grid shrinks": _with(antialias=True),
        "this is bilinear; bicubic was asked for": _with(mode="bilinear"),
        "this is bilinear, and the corners are not aligned": _with(mode="bilinear", aligned=False),
        "this copies the nearest old vector; bicubic was asked for": _with(mode="nearest", aligned=None),
        "`scale_factor` rounds the new sides down; give `size=new_grid`": (
            _keeping_cls(lambda p, o, n: _resized(p, o, [int(b / a * a) for a, b in zip(o, n, strict=True)]))
        ),
        "`reshape` alone does not bring D to the front: transpose the table before you make a picture of it": (
            _keeping_cls(lambda *args: _reshaped(*args).reshape(-1, args[0].shape[1]))
        ),
        "`reshape` alone does not bring D to the front; it did not undo the last transposition either": (
            _keeping_cls(lambda *args: _reshaped(*args).flatten(1).T)
        ),
        "the way back is a `reshape` alone; D has to move to the end again before the grid is flattened": (
            _keeping_cls(lambda *args: _resized(*args).T.reshape(-1, args[0].shape[1]))
        ),
        "the sequence is stretched as a line; its rows are a grid, and have to be resized as a picture": (
            _keeping_cls(lambda p, o, n: _as_a_line(p, n[0] * n[1]))
        ),
        "the class token is stretched with the rest; its row is no place and stays": (
            lambda table, old, new: _as_a_line(table, 1 + new[0] * new[1])
        ),
        "the old rows are cut off or repeated in raster order; then a vector means another place than before": (
            _keeping_cls(lambda p, o, n: p[torch.arange(n[0] * n[1]) % len(p)])
        ),
        "the row of the class token is missing: 1 + N' rows": lambda table, old, new: _resized(table[1:], old, new),
        "the row of the class token is last; it belongs in front": (
            lambda table, old, new: torch.cat([_resized(table[1:], old, new), table[:1]])
        ),
        "the last row is taken for the class token; its row is the first, before and after": (
            lambda table, old, new: torch.cat([_resized(table[:-1], old, new), table[-1:]])
        ),
        "the table is resized as one picture of N × D, or as a line; each of its D columns is a picture of its own": (
            _keeping_cls(lambda p, o, n: _resized(p, (1, len(p)), (1, n[0] * n[1])))
        ),
        f"the new tokens run down the columns; {RASTER}": (
            _keeping_cls(lambda p, o, n: _resized(p, o, n).unflatten(0, n).transpose(0, 1).flatten(0, 1))
        ),
        "both sides of the new grid are its number of rows; a grid need not be square": (
            _keeping_cls(lambda p, o, n: _resized(p, o, (n[0], n[0])))
        ),
        "down and across are swapped in the new grid; `size` is (height, width)": (
            _keeping_cls(lambda p, o, n: _resized(p, o, n[::-1]))
        ),
        "down and across are swapped in the old grid; raster order is (rows, columns)": (
            _keeping_cls(lambda p, o, n: _resized(p, o[::-1], n))
        ),
        "down and across are swapped in both grids; a grid is (rows, columns)": (
            _keeping_cls(lambda p, o, n: _resized(p, o[::-1], n[::-1]))
        ),
    },
)
