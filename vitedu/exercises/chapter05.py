"""The exercises of chapter 5, patch partitioning."""

import math
from itertools import starmap

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from vitedu.exercises import compare
from vitedu.exercises.exercise import Answer, Case, distinct, exercise, formulas, image_case, image_traits, on, refusing
from vitedu.patch import patch_grid, unpatchify

RASTER = "raster order goes left to right, then down"
ORDER = "is channel, row, column"


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
        "`HW // P * P` divides and multiplies again; put P·P in brackets": lambda H, W, P: H * W // P * P,
        "the height stands for both sides; an image need not be square": lambda H, W, P: (H // P) ** 2,
        "the width stands for both sides; an image need not be square": lambda H, W, P: (W // P) ** 2,
        "the longer side stands for both; an image need not be square": lambda H, W, P: (max(H, W) // P) ** 2,
        "this is P², the number of pixels in one patch, not the number of patches": lambda H, W, P: P * P,
        "these are the numbers in one token, C·P·P, not the number of tokens": lambda H, W, P: 3 * P * P,
        "patches down and patches across are added; a grid has rows times columns": lambda H, W, P: H // P + W // P,
        "these are the two sides of the grid; N is their product": lambda H, W, P: (H // P, W // P),
        "these windows start at every pixel; patches do not overlap": lambda H, W, P: (H - P + 1) * (W - P + 1),
        "the channels are counted too; one patch holds all of them": lambda H, W, P: 3 * _floored(H, W, P),
        "one too many; N counts patches only": lambda H, W, P: _floored(H, W, P) + 1,
        "one too few; every patch is counted": lambda H, W, P: _floored(H, W, P) - 1,
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
        "a ValueError is raised where both sides divide; it is due where they do not": (
            refusing(lambda H, W, P: not (H % P or W % P), _floored)
        ),
        "`%` is the wrong way round: what is left over is `height % patch`": (
            refusing(lambda H, W, P: P % H or P % W, _floored)
        ),
        "not being square is no reason to raise; a remainder is": refusing(lambda H, W, P: H != W, _floored),
        "`assert` raises an AssertionError; write `raise ValueError(...)`": (
            refusing(lambda H, W, P: H % P or W % P, _floored, AssertionError)
        ),
    },
)


# 5.2 -----------------------------------------------------------------------------------------------------------------
def _token_case(batch: int, channels: int, height: int, width: int, patch: int, dtype=torch.float32, **options) -> Case:
    tokens = distinct(batch, _floored(height, width, patch), channels * patch * patch, dtype=dtype)
    return Case((tokens, patch, height, width), traits=image_traits(batch, channels, height, width), **options)


def _by(tokens: str = "b (gh gw) (c ph pw)", image: str = "b c (gh ph) (gw pw)") -> Answer:
    return lambda x, P, H, W: rearrange(x, f"{tokens} -> {image}", gh=H // P, gw=W // P, ph=P, pw=P)


def _reshaped(axes: str) -> Answer:
    """With the axes in this order before the last `reshape`."""
    return lambda x, P, H, W: _by(image=f"b c ({axes})")(x, P, H, W).unflatten(2, (H, W))


def _square_grid(tokens: Tensor, P: int, H: int, W: int) -> Tensor:
    side = math.isqrt(tokens.shape[1])
    grid = tokens.reshape(len(tokens), side, side, -1, P, P)  # (B, H/P, W/P, C, P, P)
    return grid.permute(0, 3, 1, 4, 2, 5).reshape(len(tokens), -1, H, W)


exercise(
    "5.2",
    reference=lambda tokens, patch, height, width: unpatchify(tokens, patch, (height, width)),
    cases=lambda: [
        _token_case(2, 3, 4, 6, 2, gradient=True),
        *starmap(_token_case, [(1, 3, 8, 12, 4), (2, 3, 8, 8, 4), (2, 1, 8, 6, 2), (3, 5, 6, 6, 3), (1, 4, 3, 12, 3)]),
        _token_case(2, 2, 6, 4, 2, torch.float64),
    ],
    mistakes={
        "`reshape` alone keeps the order of the numbers, but the rows of neighbouring patches have to interleave; "
        "split the axes, permute, then reshape": lambda x, P, H, W: x.reshape(len(x), -1, H, W),
        "`transpose` alone does not interleave the patches": lambda x, P, H, W: x.mT.reshape(len(x), -1, H, W),
        f"the tokens fill the image column by column; {RASTER}": _by("b (gw gh) (c ph pw)"),
        f"the channel axis is taken last inside a token; the order there {ORDER}": _by("b (gh gw) (ph pw c)"),
        f"rows and columns are swapped inside each patch; the order in a token {ORDER}": _by("b (gh gw) (c pw ph)"),
        "the grid of patches is taken for square; it has H/P rows and W/P columns": _square_grid,
        "the image comes out transposed, (B, C, W, H)": _by(image="b c (gw pw) (gh ph)"),
        "the grid is transposed in the image, and the patches are not": _by(image="b c (gw ph) (gh pw)"),
        "the channels are in place, but the patches follow one another; before the last reshape the axes are "
        "channel, grid row, row, grid column, column": _reshaped("gh gw ph pw"),
        "the grid is transposed, and the patches follow one another": _reshaped("gw gh ph pw"),
        "grid row and grid column have changed places": _reshaped("gw ph gh pw"),
        "grid column and row in the patch have changed places": _reshaped("gh ph pw gw"),
        "all pixels of a channel are one axis; `reshape` the result to (B, C, H, W)": _by(image="b c (gh ph gw pw)"),
        "the place inside the patch runs slower than the grid place; the row in the image is grid row · P + row "
        "in the patch": _by(image="b c (ph gh) (pw gw)"),
        "the axes are in the right order, but not joined; `reshape` the result to (B, C, H, W)": (
            _by(image="b c gh ph gw pw")
        ),
        "the channel axis of the image is last; PyTorch wants (B, C, H, W)": _by(image="b (gh ph) (gw pw) c"),
    },
)


# 5.3 -----------------------------------------------------------------------------------------------------------------
def _box(row: int, column: int, P: int) -> tuple[int, ...]:
    return row * P, column * P, (row + 1) * P, (column + 1) * P


@formulas(5, 12, 4)
def _wrong_boxes(n: int, W: int, P: int) -> dict[str, tuple]:
    (r, c), (t, l, b, right) = divmod(n, W // P), _box(*divmod(n, W // P), P)
    return {
        "the index is divided by P; a row of the grid holds W/P patches": _box(*divmod(n, P), P),
        "the index is divided by P, and row and column are swapped": _box(n % P, n // P, P),
        "the index is divided by W, as if a row held a token for every pixel; it holds W/P patches": (
            _box(*divmod(n, W), P)
        ),
        "the column is what is left by W/P, not by W": _box(r, n % W, P),
        "the column is what is left by W/P, not by P": _box(r, n % P, P),
        "all tokens are put into one row; it holds W/P of them": _box(0, n, P),
        "x comes before y, or row and column are swapped: the order is top, left, bottom, right, and the row is "
        "index // (W/P)": (l, t, right, b),
        "the order is top, left, bottom, right, not top, bottom, left, right": (t, b, l, right),
        "this is x, y, width, height; the order is top, left, bottom, right": (l, t, P, P),
        "these are two pairs; return the four numbers": ((t, l), (b, right)),
        "bottom and right are missing: top + P and left + P": (t, l),
        "the index is counted from 1; the first token has index 0": _box(*divmod(n - 1, W // P), P),
        "rows and columns of the grid count from 0": _box(r + 1, c + 1, P),
        "bottom and right name the last pixel inside; exclusive ends are one further, as in `image[top:bottom]`": (
            (t, l, b - 1, right - 1)
        ),
        "the box is counted in patches; multiply by P to get pixels": (r, c, r + 1, c + 1),
        "row and column are not multiplied by P": (r, c, r + P, c + P),
        "`row + 1 * P` is row + P: brackets are missing": (t, l, r + P, c + P),
        "`column + 1 * P` is column + P: brackets are missing": (t, l, b, c + P),
        "top is the row of the grid; multiply it by P to get pixels": (r, l, b, right),
        "top is the row of the grid, and bottom is counted from it; multiply the row by P to get pixels": (
            (r, l, r + P, right)
        ),
        "the last two numbers are height and width; bottom = top + P, right = left + P": (t, l, P, P),
        "`/` always gives a float in Python; `//` and `%` keep whole numbers": _box(float(r), float(c), P),
        "`index / (W/P)` keeps the fraction; `//` drops it": _box(n / (W // P), c, P),
    }


exercise(
    "5.3",
    reference=lambda index, width, patch: _box(*divmod(index, width // patch), patch),
    cases=lambda: on((5, 12, 4), (0, 12, 4), (2, 12, 4), (3, 12, 4), (7, 20, 2), (17, 56, 7), (4, 3, 3)),
    difference=compare.integer_tuples,
    mistakes=_wrong_boxes,
)


# 5.4 -----------------------------------------------------------------------------------------------------------------
@formulas(torch.zeros(1, 1, 1, 1), 1)
def _wrong_pads(x: Tensor, P: int) -> dict[str, Tensor]:
    H, W = x.shape[-2:]
    h, w = -H % P, -W % P  # what is missing
    return {
        "one patch too many when the side divides already; the padding should be 0 then": (
            F.pad(x, (0, P - W % P, 0, P - H % P))
        ),
        "a side that divides gets a patch too many where the other does not divide": (
            F.pad(x, (0, P - W % P, 0, P - H % P) if h or w else (0, 0))
        ),
        "the width alone decides whether to pad": F.pad(x, (0, w, 0, h) if w else (0, 0)),
        "the height alone decides whether to pad": F.pad(x, (0, w, 0, h) if h else (0, 0)),
        "the height is padded only where the width divides": F.pad(x, (0, w) if w else (0, 0, 0, h)),
        "nothing is padded unless both sides need it: `or`, not `and`": F.pad(x, (0, w, 0, h) if h and w else (0, 0)),
        "H % P is what is left over; what is missing is the rest up to P": F.pad(x, (0, W % P, 0, H % P)),
        "a whole patch is added; what is missing is less": F.pad(x, (0, w and P, 0, h and P)),
        "a whole patch is added, even where nothing is missing": F.pad(x, (0, P, 0, P)),
        "these amounts are the new sides; give what is missing": F.pad(x, (0, W + w, 0, H + h)),
        "the amounts for height and width are swapped; `F.pad` starts with the last axis, the width": (
            F.pad(x, (0, h, 0, w))
        ),
        "what the height lacks stands for both sides": F.pad(x, (0, h, 0, h)),
        "what the width lacks stands for both sides": F.pad(x, (0, w, 0, w)),
        "`F.pad` takes left, right, top, bottom, not left, top, right, bottom": F.pad(x, (0, 0, w, h)),
        "`F.pad` takes left, right, top, bottom, not top, left, bottom, right": F.pad(x, (0, 0, h, w)),
        "both amounts pad the width; `F.pad` takes left, right, top, bottom": F.pad(x, (h, w)),
        "both amounts are left and right of the width; `F.pad` takes left, right, top, bottom": F.pad(x, (w, h)),
        "the zeros are at the left and at the top; `F.pad` takes left, right, top, bottom": F.pad(x, (w, 0, h, 0)),
        "each side gets the whole amount twice, left and right, top and bottom": F.pad(x, (w, w, h, h)),
        "the zeros are shared between both ends; here they all go to the right and to the bottom": (
            F.pad(x, (w // 2, w - w // 2, h // 2, h - h // 2))
        ),
        "the sides are the last two axes, `shape[-2:]`": F.pad(x, (0, -H % P, 0, -x.shape[1] % P)),
        "the image is cropped to a multiple of P, which throws pixels away; pad it instead": (
            F.pad(x, (0, -(W % P), 0, -(H % P)))
        ),
        "the image is stretched; its pixels stay, and zeros are added": F.interpolate(x, size=(H + h, W + w)),
        "the last row and column are repeated; the new pixels should be zero": F.pad(x, (0, w, 0, h), mode="replicate"),
        "the pixels are mirrored; the new ones should be zero": F.pad(x, (0, w, 0, h), mode="reflect"),
        "only the width is padded; the height has to divide too": F.pad(x, (0, w)),
        "only the height is padded; the width has to divide too": F.pad(x, (0, 0, 0, h)),
        "the image is padded to a square; each side gets only what it lacks itself": (
            F.pad(x, (0, max(H + h, W + w) - W, 0, max(H + h, W + w) - H))
        ),
    }


exercise(
    "5.4",
    reference=lambda images, patch: F.pad(images, (0, -images.shape[3] % patch, 0, -images.shape[2] % patch)),
    cases=lambda: [
        image_case(2, 3, 5, 6, 4, gradient=True),
        *starmap(image_case, [(1, 3, 7, 10, 4), (2, 3, 6, 6, 5), (2, 1, 8, 12, 4), (3, 5, 8, 6, 4), (2, 3, 4, 4, 2)]),
        image_case(1, 2, 4, 6, 3, dtype=torch.float64),  # here the height alone lacks something
    ],
    mistakes=_wrong_pads,
)


# 5.5 -----------------------------------------------------------------------------------------------------------------
def _overlapping(images: Tensor, patch: int, stride: int) -> Tensor:
    return F.unfold(images, patch, stride=stride).transpose(1, 2)


def _cut(pattern: str) -> Answer:
    return lambda x, P, S: rearrange(x.unfold(2, P, S).unfold(3, P, S), f"b c gh gw ph pw -> {pattern}")


def _loop(starts) -> Answer:
    """In two loops over `starts(side, P, S)`, the tops and the lefts."""

    def answer(images: Tensor, P: int, S: int) -> Tensor:
        tops, lefts = (starts(side, P, S) for side in images.shape[-2:])
        tokens = [images[:, :, top : top + P, left : left + P].flatten(1) for top in tops for left in lefts]
        return torch.stack(tokens, dim=1)  # (B, N, C·P·P)

    return answer


exercise(
    "5.5",
    reference=_overlapping,
    cases=lambda: [
        image_case(2, 3, 6, 8, 4, 2, gradient=True),
        *starmap(image_case, [(1, 3, 7, 5, 3, 2), (2, 3, 6, 6, 2, 1), (2, 1, 4, 7, 3, 1), (3, 5, 8, 8, 4, 4)]),
        image_case(1, 2, 9, 8, 2, 3),
        image_case(2, 2, 5, 6, 2, 2, dtype=torch.float64),
    ],
    mistakes={
        "tokens are columns; the shape is (B, N, C·P·P)": lambda x, P, S: F.unfold(x, P, stride=S),
        "the grid is still there, behind the channels; flatten it and move it in front": _cut("b (c ph pw) gh gw"),
        "the grid is still there; flatten its two axes into N": _cut("b gh gw (c ph pw)"),
        "the windows are not flattened; a token is one axis, C·P·P": _cut("b (gh gw) c ph pw"),
        "each channel makes tokens of its own; one token holds all channels": _cut("b c (gh gw) (ph pw)"),
        "the batch is joined with the tokens; it stays in front": _cut("(b gh gw) (c ph pw)"),
        "one channel alone is cut; a token holds all of them": lambda x, P, S: _overlapping(x[:, :1], P, S),
        "the tokens are stacked before the batch; `torch.stack(tokens, dim=1)`": _cut("(gh gw) b (c ph pw)"),
        "the tokens are joined end to end; stack them: `torch.stack(tokens, dim=1)`": _cut("b (gh gw c ph pw)"),
        "the tokens are a list of tensors; stack them: `torch.stack(tokens, dim=1)`": (
            lambda *args: list(_overlapping(*args).unbind(dim=1))
        ),
        "`reshape` does not swap axes, it mixes the numbers of different patches; use `transpose`": (
            lambda x, P, S: F.unfold(x, P, stride=S).reshape(_overlapping(x, P, S).shape)
        ),
        "the stride is ignored: these patches do not overlap": lambda x, P, S: _overlapping(x, P, P),
        "the stride is ignored: these windows start at every pixel": lambda x, P, S: _overlapping(x, P, 1),
        "window and stride are swapped": lambda x, P, S: _overlapping(x, S, P),
        f"the channel axis is last inside a token; the order there {ORDER}": _cut("b (gh gw) (ph pw c)"),
        f"the tokens run down the columns; {RASTER}": _cut("b (gw gh) (c ph pw)"),
        f"rows and columns are swapped inside each patch; the order in a token {ORDER}": _cut("b (gh gw) (c pw ph)"),
        "`Tensor.unfold` leaves the channel axis before the grid; move it behind the grid before you flatten": (
            lambda x, P, S: x.unfold(2, P, S).unfold(3, P, S).reshape(len(x), -1, x.shape[1] * P**2)
        ),
        "the last row and column of patches are missing where the stride reaches the edge: the last start is "
        "H - P, and `range` stops before its end": _loop(lambda H, P, S: range(0, H - P, S)),
        "the + 1 is missing: (H - P) // S + 1 windows fit": _loop(lambda H, P, S: range(0, (H - P) // S * S, S)),
        "patches start where there is no room for a whole one; the last start is at most H - P": (
            _loop(lambda H, P, S: range(0, H, S))
        ),
        "not all of H // S windows fit; the last start is H - P": _loop(lambda H, P, S: range(0, H // S * S, S)),
        "the height stands for both sides; the last left start is W - P, not H - P": (
            lambda x, P, S: _loop(lambda *_: range(0, x.shape[2] - P + 1, S))(x, P, S)
        ),
        "there is an extra row or column of patches that hang over the edge; N counts those that fit": (
            lambda x, P, S: _overlapping(F.pad(x, (0, -(x.shape[3] - P) % S, 0, -(x.shape[2] - P) % S)), P, S)
        ),
    },
)


# 5.6 -----------------------------------------------------------------------------------------------------------------
def _by_pattern(tokens: str, image: str = "b c (gh ph) (gw pw)") -> Answer:
    return lambda images, P: rearrange(images, f"{image} -> {tokens}", ph=P, pw=P)


def _sides_swapped(images: Tensor, P: int) -> Tensor:
    """Right for square pictures; for the others the width is split as if it were the height."""
    B, C, H, W = images.shape
    split = images.reshape(B, C, W // P, P, H // P, P)
    return split.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def _right_cut(images: Tensor, P: int) -> Tensor:
    return _by_pattern("b (gh gw) (c ph pw)")(images, P)


CUTS = {
    "a right cut, with einops": _right_cut,
    "a right cut, with unfold": lambda x, P: F.unfold(x.float(), P, stride=P).mT.to(x.dtype),
    "a cut that only reshapes": lambda x, P: x.reshape(_right_cut(x, P).shape),
    "a cut whose patches run down the columns": _by_pattern("b (gw gh) (c ph pw)"),
    "a cut with the channel last in each token": _by_pattern("b (gh gw) (ph pw c)"),
    "a cut with rows and columns swapped in each token": _by_pattern("b (gh gw) (c pw ph)"),
    "a cut that takes the width for the height": _sides_swapped,
    "a cut that repeats the first picture of the batch": lambda x, P: _right_cut(x[:1].expand_as(x), P),
    "a cut that repeats the first channel": lambda x, P: _right_cut(x[:, :1].expand_as(x), P),
    "a cut that takes the mean out of each token": lambda x, P: (
        _right_cut(x, P) - _right_cut(x.float(), P).mean(dim=-1, keepdim=True).to(x.dtype)
    ),
    "a cut that gives columns, (B, C·P·P, N)": lambda x, P: _right_cut(x, P).mT,
    "a cut that is right for P = 2 alone": lambda x, P: _right_cut(x, P) if P == 2 else _right_cut(x, P).flip(1),
}
OBLONG = ((2, 3, 4, 6, 2), (1, 1, 9, 6, 3))  # B, C, H, W, P


def _tested(*shapes: tuple[int, ...], look=torch.equal, fill=distinct) -> Answer:
    """Compares a cut with the right one on pictures of these shapes."""

    def answer(cut: Answer) -> bool:
        for *shape, P in shapes:
            images = fill(*shape)
            tokens, right = cut(images, P), _right_cut(images, P)
            if tokens.shape != right.shape or not look(tokens, right):
                return False
        return True

    return answer


def _bools(got: object, expected: bool) -> str | None:
    if not isinstance(got, bool):
        return f"returned a value of type {compare.kind(got)}, expected True or False"
    return None if got == expected else f"{got} instead of {expected}"


def _first(n: int) -> Answer:
    return lambda tokens, right: torch.equal(tokens[:, :n], right[:, :n])


exercise(
    "5.6",
    reference=_tested(*OBLONG),
    cases=lambda: [Case((cut,), name) for name, cut in CUTS.items()],
    difference=_bools,
    mistakes={
        "only the shapes are compared, and a wrong `reshape` has the right one": _tested(*OBLONG, look=lambda *_: True),
        "the pictures are square: swapped sides do not show": _tested((2, 3, 4, 4, 2), (1, 1, 9, 9, 3)),
        "the batch holds one picture: mixed pictures do not show": _tested((1, 3, 4, 6, 2), (1, 1, 9, 6, 3)),
        "the pictures have one channel: mixed channels do not show": _tested((2, 1, 4, 6, 2), (1, 1, 9, 6, 3)),
        "one picture with one channel that is not square shows neither mixed pictures nor mixed channels": (
            _tested((1, 1, 4, 6, 2), (1, 1, 9, 6, 3))
        ),
        "one square picture of three channels: neither mixed pictures nor swapped sides show": (
            _tested((1, 3, 4, 4, 2), (1, 3, 9, 9, 3))
        ),
        "all numbers of the picture are alike, so no place is told from another": (
            _tested(*OBLONG, fill=lambda *shape: torch.ones(shape))
        ),
        "only the first patch is compared, or the picture is one row of patches: their order does not show": _tested(
            *OBLONG, look=_first(1)
        ),
        "the numbers are compared without their places, sorted or added up": (
            _tested(*OBLONG, look=lambda a, b: torch.equal(a.flatten().sort().values, b.flatten().sort().values))
        ),
        "the sums of the tokens are compared, not their numbers": (
            _tested(*OBLONG, look=lambda a, b: torch.equal(a.sum(dim=-1), b.sum(dim=-1)))
        ),
        "the picture is one single patch: the order of patches does not show": _tested(
            (2, 3, 2, 2, 2), (1, 1, 3, 3, 3)
        ),
        "P = 1 alone is tried: the order inside a patch does not show": _tested((2, 3, 4, 6, 1)),
        "one P alone is tried, and a cut may be right for it alone": _tested((2, 3, 4, 6, 2)),
        "the verdict is upside down: True is for right cuts": lambda cut: not _tested(*OBLONG)(cut),
        "the verdict is always True": lambda cut: True,
        "the verdict is always False": lambda cut: False,
    },
)
