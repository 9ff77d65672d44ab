"""The exercises of chapter 5, patch partitioning."""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from vitedu.exercises import compare
from vitedu.exercises.exercise import Answer, Case, distinct, exercise, image_case, image_traits, on, refusing
from vitedu.patch import patch_grid, unpatchify


# 5.1 -----------------------------------------------------------------------------------------------------------------
def _floored(H: int, W: int, P: int) -> int:
    return (H // P) * (W // P)


exercise(
    "5.1",
    reference=lambda height, width, patch: math.prod(patch_grid((height, width), patch)),
    # 30·32 and 32·30 are divisible by 4², 30·30 is not: a test of the area lets the first two pass
    # 4·9 is divisible by 6² and neither side by 6: the area lets it pass, a test with `and` does not
    cases=lambda: (
        on((32, 48, 8), (28, 28, 7), (224, 224, 16), (60, 40, 20), (12, 60, 4), (16, 16, 16))
        + on((30, 32, 4), (32, 30, 4), (30, 30, 4), (4, 9, 6), raises=ValueError)
    ),
    difference=compare.integers,
    mistakes={
        "HW is divided by P once; a patch covers P·P pixels": lambda H, W, P: H * W // P,
        "the height stands for both sides; an image need not be square": lambda H, W, P: (H // P) ** 2,
        "the width stands for both sides; an image need not be square": lambda H, W, P: (W // P) ** 2,
        "this is P², the number of pixels in one patch, not the number of patches": lambda H, W, P: P * P,
        "patches down and patches across are added; a grid has rows times columns": lambda H, W, P: H // P + W // P,
        "one too many; N counts patches only": lambda H, W, P: _floored(H, W, P) + 1,
        "`/` always gives a float in Python; `//` divides whole numbers": lambda H, W, P: (H / P) * (W / P),
        "no error is raised where a side does not divide: test both sides first, and raise the error, do not return it "
        "(nor None, nor a number: `//` drops the remainder, and rounding up counts a part of a patch as one)": _floored,
        "a ValueError is due if *either* side is not divisible: `or`, not `and`": (
            refusing(lambda H, W, P: H % P and W % P, _floored)
        ),
        "the area is tested; it can divide by P² when a side does not divide by P": (
            refusing(lambda H, W, P: H * W % P**2, lambda H, W, P: H * W // P**2)
        ),
        "only the height is tested; the width has to divide too": refusing(lambda H, W, P: H % P, _floored),
        "only the width is tested; the height has to divide too": refusing(lambda H, W, P: W % P, _floored),
    },
)


# 5.2 -----------------------------------------------------------------------------------------------------------------
def _token_case(batch: int, channels: int, height: int, width: int, patch: int, dtype=torch.float32, **options) -> Case:
    tokens = distinct(batch, _floored(height, width, patch), channels * patch * patch, dtype=dtype)
    return Case((tokens, patch, height, width), traits=image_traits(batch, channels, height, width), **options)


def _rearranged(pattern: str) -> Answer:
    return lambda tokens, P, H, W: rearrange(tokens, pattern, gh=H // P, gw=W // P, ph=P, pw=P)


def _square_grid(tokens: Tensor, P: int, H: int, W: int) -> Tensor:
    side = math.isqrt(tokens.shape[1])
    grid = tokens.reshape(len(tokens), side, side, -1, P, P)  # (B, H/P, W/P, C, P, P)
    return grid.permute(0, 3, 1, 4, 2, 5).reshape(len(tokens), -1, side * P, side * P)


def _patches_one_after_another(tokens: Tensor, P: int, H: int, W: int) -> Tensor:
    grid = tokens.reshape(len(tokens), H // P, W // P, -1, P, P)
    return grid.permute(0, 3, 1, 2, 4, 5).reshape(len(tokens), -1, H, W)


exercise(
    "5.2",
    reference=lambda tokens, patch, height, width: unpatchify(tokens, patch, (height, width)),
    cases=lambda: [
        _token_case(2, 3, 4, 6, 2, gradient=True),
        _token_case(1, 3, 8, 12, 4),
        _token_case(2, 3, 8, 8, 4),
        _token_case(2, 1, 8, 6, 2),
        _token_case(3, 5, 6, 6, 3),
        _token_case(1, 4, 3, 12, 3),
        _token_case(2, 2, 6, 4, 2, torch.float64),
    ],
    mistakes={
        "`reshape` alone keeps the order of the numbers, but the rows of neighbouring patches have to interleave; "
        "split the axes, permute, then reshape": lambda tokens, P, H, W: tokens.reshape(len(tokens), -1, H, W),
        "the tokens fill the image column by column; raster order goes left to right, then down": (
            _rearranged("b (gw gh) (c ph pw) -> b c (gh ph) (gw pw)")
        ),
        "the channel axis is taken last inside a token; the order there is channel, row, column": (
            _rearranged("b (gh gw) (ph pw c) -> b c (gh ph) (gw pw)")
        ),
        "the grid of patches is taken for square; it has H/P rows and W/P columns": _square_grid,
        "rows and columns are swapped inside each patch; the order in a token is channel, row, column": (
            _rearranged("b (gh gw) (c pw ph) -> b c (gh ph) (gw pw)")
        ),
        "the image comes out transposed, (B, C, W, H)": _rearranged("b (gh gw) (c ph pw) -> b c (gw pw) (gh ph)"),
        "the channels are in place, but the patches follow one another; before the last reshape the axes are "
        "channel, grid row, row, grid column, column": _patches_one_after_another,
        "the place inside the patch runs slower than the grid place; the row in the image is grid row · P + row "
        "in the patch": _rearranged("b (gh gw) (c ph pw) -> b c (ph gh) (pw gw)"),
        "the axes are in the right order, but not joined; `reshape` the result to (B, C, H, W)": (
            _rearranged("b (gh gw) (c ph pw) -> b c gh ph gw pw")
        ),
        "the channel axis of the image is last; PyTorch wants (B, C, H, W)": (
            _rearranged("b (gh gw) (c ph pw) -> b (gh ph) (gw pw) c")
        ),
    },
)


# 5.3 -----------------------------------------------------------------------------------------------------------------
def _box(row: int, column: int, P: int) -> tuple[int, ...]:
    return row * P, column * P, (row + 1) * P, (column + 1) * P


def _found(divide) -> Answer:
    """The box of the row and column that `divide(n, W, P)` finds."""
    return lambda n, W, P: _box(*divide(n, W, P), P)


def _written(arrange) -> Answer:
    """The right box as `arrange(top, left, bottom, right, P)` writes it."""
    return lambda n, W, P: arrange(*_box(*divmod(n, W // P), P), P)


exercise(
    "5.3",
    reference=lambda index, width, patch: _box(*divmod(index, width // patch), patch),
    cases=lambda: on((5, 12, 4), (0, 12, 4), (2, 12, 4), (3, 12, 4), (7, 20, 2), (17, 56, 7), (4, 3, 3)),
    difference=compare.integer_tuples,
    mistakes={
        "the index is divided by P; a row of the grid holds W/P patches": _found(lambda n, W, P: divmod(n, P)),
        "the index is divided by W, as if a row held a token for every pixel; it holds W/P patches": (
            _found(lambda n, W, P: divmod(n, W))
        ),
        "x comes before y, or row and column are swapped: the order is top, left, bottom, right, and the row is "
        "index // (W/P)": _written(lambda top, left, bottom, right, P: (left, top, right, bottom)),
        "the order is top, left, bottom, right, not top, bottom, left, right": (
            _written(lambda top, left, bottom, right, P: (top, bottom, left, right))
        ),
        "the index is counted from 1; the first token has index 0": _found(lambda n, W, P: divmod(n - 1, W // P)),
        "bottom and right name the last pixel inside; exclusive ends are one further, as in `image[top:bottom]`": (
            _written(lambda top, left, bottom, right, P: (top, left, bottom - 1, right - 1))
        ),
        "the box is counted in patches; multiply by P to get pixels": (
            _written(lambda top, left, bottom, right, P: (top // P, left // P, bottom // P, right // P))
        ),
        "top is the row of the grid; multiply it by P to get pixels": (
            _written(lambda top, left, bottom, right, P: (top // P, left, bottom, right))
        ),
        "top is the row of the grid, and bottom is counted from it; multiply the row by P to get pixels": (
            _written(lambda top, left, bottom, right, P: (top // P, left, top // P + P, right))
        ),
        "the last two numbers are height and width; bottom = top + P, right = left + P": (
            _written(lambda top, left, bottom, right, P: (top, left, P, P))
        ),
        "`/` always gives a float in Python; `//` and `%` keep whole numbers": (
            _written(lambda *sides_and_patch: tuple(float(side) for side in sides_and_patch[:4]))
        ),
    },
)


# 5.4 -----------------------------------------------------------------------------------------------------------------
def _padded(amounts, mode: str = "constant") -> Answer:
    """Pad by `amounts(missing_height, missing_width, H, W, P)`, in F.pad's order: left, right, top, bottom."""

    def answer(images: Tensor, P: int) -> Tensor:
        H, W = images.shape[-2:]
        return F.pad(images, amounts(-H % P, -W % P, H, W, P), mode=mode)

    return answer


def _to_a_square(h: int, w: int, H: int, W: int, P: int) -> tuple[int, int, int, int]:
    side = max(H + h, W + w)
    return 0, side - W, 0, side - H


exercise(
    "5.4",
    reference=lambda images, patch: F.pad(images, (0, -images.shape[3] % patch, 0, -images.shape[2] % patch)),
    cases=lambda: [
        image_case(2, 3, 5, 6, 4, gradient=True),
        image_case(1, 3, 7, 10, 4),
        image_case(2, 3, 6, 6, 5),
        image_case(2, 1, 8, 12, 4),
        image_case(3, 5, 8, 6, 4),
        image_case(2, 3, 4, 4, 2),
        image_case(1, 2, 4, 7, 3, dtype=torch.float64),
    ],
    mistakes={
        "one patch too many when the side divides already; the padding should be 0 then": (
            _padded(lambda h, w, H, W, P: (0, P - W % P, 0, P - H % P))
        ),
        "H % P is what is left over; what is missing is the rest up to P": (
            _padded(lambda h, w, H, W, P: (0, W % P, 0, H % P))
        ),
        "the amounts for height and width are swapped; `F.pad` starts with the last axis, the width": (
            _padded(lambda h, w, *_: (0, h, 0, w))
        ),
        "the zeros are at the left and at the top; `F.pad` takes left, right, top, bottom": (
            _padded(lambda h, w, *_: (w, 0, h, 0))
        ),
        "each side gets the whole amount twice, left and right, top and bottom": (
            _padded(lambda h, w, *_: (w, w, h, h))
        ),
        "the zeros are shared between both ends; here they all go to the right and to the bottom": (
            _padded(lambda h, w, *_: (w // 2, w - w // 2, h // 2, h - h // 2))
        ),
        "the image is cropped to a multiple of P, which throws pixels away; pad it instead": (
            _padded(lambda h, w, H, W, P: (0, -(W % P), 0, -(H % P)))
        ),
        "the last row and column are repeated; the new pixels should be zero": (
            _padded(lambda h, w, *_: (0, w, 0, h), mode="replicate")
        ),
        "only the width is padded; the height has to divide too": _padded(lambda h, w, *_: (0, w)),
        "only the height is padded; the width has to divide too": _padded(lambda h, w, *_: (0, 0, 0, h)),
        "the image is padded to a square; each side gets only what it lacks itself": _padded(_to_a_square),
    },
)


# 5.5 -----------------------------------------------------------------------------------------------------------------
def _overlapping(images: Tensor, patch: int, stride: int) -> Tensor:
    return F.unfold(images, patch, stride=stride).transpose(1, 2)


def _windows_as(pattern: str) -> Answer:
    return lambda images, P, S: rearrange(images.unfold(2, P, S).unfold(3, P, S), pattern)


def _looped(starts) -> Answer:
    """In two loops over `starts(H, W, P, S)`, the tops and the lefts."""

    def answer(images: Tensor, P: int, S: int) -> Tensor:
        tops, lefts = starts(*images.shape[-2:], P, S)
        tokens = [images[:, :, top : top + P, left : left + P].flatten(1) for top in tops for left in lefts]
        return torch.stack(tokens, dim=1)  # (B, N, C·P·P)

    return answer


def _padded_first(images: Tensor, P: int, S: int) -> Tensor:
    missing = [-(side - P) % S for side in images.shape[-2:]]
    return _overlapping(F.pad(images, (0, missing[1], 0, missing[0])), P, S)


def _reshaped_unfold(images: Tensor, P: int, S: int) -> Tensor:
    columns = F.unfold(images, P, stride=S)  # (B, C·P·P, N)
    return columns.reshape(len(images), columns.shape[2], columns.shape[1])


exercise(
    "5.5",
    reference=_overlapping,
    cases=lambda: [
        image_case(2, 3, 6, 8, 4, 2, gradient=True),
        image_case(1, 3, 7, 5, 3, 2),
        image_case(2, 3, 6, 6, 2, 1),
        image_case(2, 1, 4, 7, 3, 1),
        image_case(3, 5, 8, 8, 4, 4),
        image_case(1, 2, 9, 8, 2, 3),
        image_case(2, 2, 5, 6, 2, 2, dtype=torch.float64),
    ],
    mistakes={
        "tokens are columns; the shape is (B, N, C·P·P)": lambda images, P, S: F.unfold(images, P, stride=S),
        "`reshape` does not swap axes, it mixes the numbers of different patches; use `transpose`": _reshaped_unfold,
        "the stride is ignored: these patches do not overlap": lambda images, P, S: _overlapping(images, P, P),
        "the channel axis is last inside a token; the order there is channel, row, column": (
            _windows_as("b c gh gw ph pw -> b (gh gw) (ph pw c)")
        ),
        "the tokens run down the columns; raster order goes left to right, then down": (
            _windows_as("b c gh gw ph pw -> b (gw gh) (c ph pw)")
        ),
        "rows and columns are swapped inside each patch; the order in a token is channel, row, column": (
            _windows_as("b c gh gw ph pw -> b (gh gw) (c pw ph)")
        ),
        "`Tensor.unfold` leaves the channel axis before the grid; move it behind the grid before you flatten": (
            lambda images, P, S: images.unfold(2, P, S).unfold(3, P, S).reshape(len(images), -1, images.shape[1] * P**2)
        ),
        "the last row and column of patches are missing where the stride reaches the edge: the last start is "
        "H - P, and `range` stops before its end": _looped(lambda H, W, P, S: (range(0, H - P, S), range(0, W - P, S))),
        "patches start where there is no room for a whole one; the last start is at most H - P": (
            _looped(lambda H, W, P, S: (range(0, H, S), range(0, W, S)))
        ),
        "the height stands for both sides; the last left start is W - P, not H - P": (
            _looped(lambda H, W, P, S: [range(0, H - P + 1, S)] * 2)
        ),
        "the tokens are a list of tensors; stack them: `torch.stack(tokens, dim=1)`": (
            lambda *args: list(_overlapping(*args).unbind(dim=1))
        ),
        "there is an extra row or column of patches that hang over the edge; N counts those that fit": _padded_first,
    },
)
