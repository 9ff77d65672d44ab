"""The exercises of chapter 6, linear embedding."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from vitedu.exercises import compare
from vitedu.exercises.exercise import Answer, Case, distinct, exercise, formulas, image_traits, on

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
def _embed_case(B: int, C: int, P: int, D: int, h: int, w: int, dtype=torch.float32, **options) -> Case:
    generator = torch.Generator().manual_seed(B + C + P + D + h + w)
    shapes = (B, C, h * P, w * P), (D, C, P, P), (D,), (1, 1, D), (1 + h * w, D)
    args = [torch.randn(shape, generator=generator).round(decimals=1).to(dtype) for shape in shapes]
    return Case(tuple(args), traits=image_traits(B, C, h * P, w * P), **options)


def _tokens(images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.conv2d(images, weight, bias, stride=weight.shape[-1]).flatten(2)  # (B, D, N)


def _joined(tokens: Tensor, cls: Tensor) -> Tensor:
    return torch.cat([cls.expand(len(tokens), -1, -1), tokens], dim=1)


def _embedded(finish: Callable[[Tensor, Tensor, Tensor], Tensor], bias: bool = True) -> Answer:
    """Tokens (B, N, D), class token and positions go to `finish`."""
    return lambda x, w, b, cls, p: finish(_tokens(x, w, b if bias else None).mT, cls, p)


def _mixed(finish: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Answer:
    """The same, with the tokens reshaped and not transposed."""
    return lambda x, w, b, cls, p: finish(_tokens(x, w, b).reshape(len(x), -1, len(b)), cls, p)


def _rolled(z: Tensor, c: Tensor, p: Tensor) -> Tensor:
    return _joined(z, c) + p.roll(1, 0)


exercise(
    "6.3",
    reference=_embedded(lambda z, c, p: _joined(z, c) + p),
    cases=lambda: [
        _embed_case(2, 3, 2, 4, 2, 3, gradient=True),
        _embed_case(1, 1, 3, 5, 3, 2),
        _embed_case(3, 2, 2, 4, 2, 2),  # N = D: a forgotten transpose keeps the shape
        _embed_case(2, 3, 1, 2, 3, 3, torch.float64),
    ],
    mistakes={
        "this is the given cell as it stands, with both bugs": _mixed(_rolled),
        "one bug is left: `reshape` does not swap N and D, so a token is no longer a patch; take `transpose`": _mixed(
            lambda z, c, p: _joined(z, c) + p
        ),
        "one bug is left: the rows of the table; row 0 is the class token's, and patch n has row n + 1": (
            _embedded(_rolled)
        ),
        "the patches get rows 0 to N - 1, and the class token none; row 0 belongs to the class token": _embedded(
            lambda z, c, p: _joined(z + p[:-1], c)
        ),
        "the patches have their own rows again, but the class token has the last one; row 0 is its own": _embedded(
            lambda z, c, p: _joined(z + p[1:], c + p[-1])
        ),
        "the class token has its row again, but the patches have rows 0 to N - 1; theirs are 1 to N": _embedded(
            lambda z, c, p: _joined(z + p[:-1], c + p[0])
        ),
        "the class token gets no position; row 0 of the table is its own": _embedded(
            lambda z, c, p: _joined(z + p[1:], c)
        ),
        "the class token stands last; it is token 0, before the patches": _embedded(
            lambda z, c, p: _joined(z, c).roll(-1, 1) + p
        ),
        "the class token stands last, with its position; both belong in front": _embedded(
            lambda z, c, p: (_joined(z, c) + p).roll(-1, 1)
        ),
        "the positions are missing": _embedded(lambda z, c, p: _joined(z, c)),
        "the class token is missing: N tokens instead of 1 + N": _embedded(lambda z, c, p: z + p[1:]),
        "the bias is missing; published weights have one": _embedded(lambda z, c, p: _joined(z, c) + p, bias=False),
        "the grid is laid out column by column; raster order goes left to right, then down": lambda x, w, b, c, p: (
            _joined(F.conv2d(x, w, b, stride=w.shape[-1]).mT.flatten(2).mT, c) + p
        ),
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
def _table_case(grid: Grid, dim: int, dtype=torch.float32, **options) -> Case:
    generator = torch.Generator().manual_seed(grid[0] + 7 * dim)
    table = torch.randn(1 + grid[0] * grid[1], dim, generator=generator).round(decimals=1) + 1
    return Case((table.to(dtype), grid), **options)


def _fitted(fit: Callable[[Tensor], Tensor]) -> Answer:
    """`fit` the places, (h, w, D), behind the row of the class token."""

    def answer(table: Tensor, grid: Grid) -> Tensor:
        places = table[1:].unflatten(0, grid)
        return torch.cat([table[:1], fit(places).expand_as(places).flatten(0, 1)])

    return answer


def _means(places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of the rows (h, 1, D), of the columns (1, w, D), and of all (1, 1, D)."""
    return places.mean(1, keepdim=True), places.mean(0, keepdim=True), places.mean((0, 1), keepdim=True)


def _both(places: Tensor) -> Tensor:
    rows, columns, all_places = _means(places)
    return rows + columns - all_places


exercise(
    "6.5",
    reference=_fitted(_both),
    cases=lambda: [
        _table_case((3, 4), 2, gradient=True),
        _table_case((4, 4), 3),
        _table_case((1, 5), 4),
        _table_case((5, 2), 1),
        _table_case((2, 6), 3, torch.float64),
    ],
    mistakes={
        "the mean of all places is counted twice, once with the rows and once with the columns; take it away once": (
            _fitted(lambda x: _means(x)[0] + _means(x)[1])
        ),
        "the mean of all places is taken away twice; once is enough": _fitted(
            lambda x: _means(x)[0] + _means(x)[1] - 2 * _means(x)[2]
        ),
        "half of the row's mean and half of the column's is not the nearest; add both, and take the mean of all away": (
            _fitted(lambda x: (_means(x)[0] + _means(x)[1]) / 2)
        ),
        "these are the rows alone": _fitted(lambda x: _means(x)[0]),
        "these are the columns alone": _fitted(lambda x: _means(x)[1]),
        "every place has the mean of all; rows and columns may differ": _fitted(lambda x: _means(x)[2]),
        "this is what a sum of rows and columns *cannot* say; return the sum": _fitted(lambda x: x - _both(x)),
        "the row of the class token is missing: 1 + N rows": lambda table, grid: _fitted(_both)(table, grid)[1:],
        "the row of the class token is taken for a place; it comes first, and stays": lambda table, grid: torch.cat(
            [_both(table[:-1].unflatten(0, grid)).flatten(0, 1), table[-1:]]
        ),
        "the row of the class token is last; it belongs in front": lambda table, grid: _fitted(_both)(table, grid).roll(
            -1, 0
        ),
        "rows and columns of the grid are swapped; it is (h, w), in raster order": lambda table, grid: _fitted(_both)(
            table, grid[::-1]
        ),
        "all numbers of a vector get one mean; take it over places, for each of the D numbers": _fitted(
            lambda x: x.mean((1, 2), keepdim=True) + x.mean((0, 2), keepdim=True) - x.mean()
        ),
        "the grid is still there, (h, w, D), and the class token is missing": lambda table, grid: _both(
            table[1:].unflatten(0, grid)
        ),
        "this is the table as it was": lambda table, grid: table.clone(),
    },
)
