"""The exercises of chapter 5, patch partitioning."""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from vitedu import patch as library
from vitedu.exercises import compare
from vitedu.exercises.exercise import Case, Exercise, Mistake, distinct, image_traits

Box = tuple[int, int, int, int]


# 5.1 -----------------------------------------------------------------------------------------------------------------


def count_tokens(height: int, width: int, patch: int) -> int:
    """N = (H / P)(W / P)."""
    down, across = library.patch_grid((height, width), patch)
    return down * across


def _count_cases() -> list[Case]:
    sizes = [(32, 48, 8), (28, 28, 7), (224, 224, 16), (60, 40, 20), (12, 60, 4), (16, 16, 16)]
    # 30·32 and 32·30 are divisible by 4², 30·30 is not: a test of the area lets the first two pass
    # 4·9 is divisible by 6² and neither side by 6: the area lets it pass, a test with `and` does not
    uneven = [(30, 32, 4), (32, 30, 4), (30, 30, 4), (4, 9, 6)]
    return [Case(size) for size in sizes] + [Case(size, raises=ValueError) for size in uneven]


def _check_area(height: int, width: int, patch: int) -> int:
    if height * width % patch**2:
        raise ValueError
    return height * width // patch**2


def _check_one_side(side: int, height: int, width: int, patch: int) -> int:
    if (height, width)[side] % patch:
        raise ValueError
    return (height // patch) * (width // patch)


def _check_with_and(height: int, width: int, patch: int) -> int:
    if height % patch and width % patch:
        raise ValueError
    return (height // patch) * (width // patch)


COUNT_TOKENS = Exercise(
    id="5.1",
    title="Count the tokens",
    reference=count_tokens,
    cases=_count_cases,
    difference=compare.integers,
    mistakes=(
        Mistake(
            "HW is divided by P once; a patch covers P·P pixels",
            lambda height, width, patch: height * width // patch,
        ),
        Mistake(
            "the height stands for both sides; an image need not be square",
            lambda height, width, patch: (height // patch) ** 2,
        ),
        Mistake(
            "the width stands for both sides; an image need not be square",
            lambda height, width, patch: (width // patch) ** 2,
        ),
        Mistake(
            "this is P², the number of pixels in one patch, not the number of patches",
            lambda height, width, patch: patch * patch,
        ),
        Mistake(
            "patches down and patches across are added; a grid has rows times columns",
            lambda height, width, patch: height // patch + width // patch,
        ),
        Mistake(
            "one too many; N counts patches only",
            lambda height, width, patch: (height // patch) * (width // patch) + 1,
        ),
        Mistake(
            "`/` always gives a float in Python; `//` divides whole numbers",
            lambda height, width, patch: (height / patch) * (width / patch),
        ),
        Mistake(
            "`//` drops the remainder without a word, and rounding up counts a part of a patch as one; test both sides "
            "first, and raise the error, do not return it: `raise ValueError(...)`",
            lambda height, width, patch: (height // patch) * (width // patch),
        ),
        Mistake("a ValueError is due if *either* side is not divisible: `or`, not `and`", _check_with_and),
        Mistake("the area is tested; it can divide by P² when a side does not divide by P", _check_area),
        Mistake("only the height is tested; the width has to divide too", lambda *size: _check_one_side(0, *size)),
        Mistake("only the width is tested; the height has to divide too", lambda *size: _check_one_side(1, *size)),
    ),
)


# 5.2 -----------------------------------------------------------------------------------------------------------------


def unpatchify(tokens: Tensor, patch: int, height: int, width: int) -> Tensor:
    """(B, N, C·P·P) -> (B, C, H, W)."""
    return library.unpatchify(tokens, patch, (height, width))


def _token_case(batch: int, channels: int, height: int, width: int, patch: int, dtype=torch.float32, **options) -> Case:
    count = (height // patch) * (width // patch)
    tokens = distinct(batch, count, channels * patch * patch, dtype=dtype)
    return Case((tokens, patch, height, width), traits=image_traits(batch, channels, height, width), **options)


def _token_cases() -> list[Case]:
    return [
        _token_case(2, 3, 4, 6, 2, gradient=True),
        _token_case(1, 3, 8, 12, 4),
        _token_case(2, 3, 8, 8, 4),
        _token_case(2, 1, 8, 6, 2),
        _token_case(3, 5, 6, 6, 3),
        _token_case(1, 4, 3, 12, 3),
        _token_case(2, 2, 6, 4, 2, torch.float64),
    ]


def _rearranged(pattern: str):
    def answer(tokens: Tensor, patch: int, height: int, width: int) -> Tensor:
        return rearrange(tokens, pattern, gh=height // patch, gw=width // patch, ph=patch, pw=patch)

    return answer


def _reshaped(tokens: Tensor, patch: int, height: int, width: int) -> Tensor:
    return tokens.reshape(len(tokens), -1, height, width)


def _square_grid(tokens: Tensor, patch: int, height: int, width: int) -> Tensor:
    side = math.isqrt(tokens.shape[1])
    grid = tokens.reshape(len(tokens), side, side, -1, patch, patch)  # (B, H/P, W/P, C, P, P)
    return grid.permute(0, 3, 1, 4, 2, 5).reshape(len(tokens), -1, side * patch, side * patch)


def _patches_one_after_another(tokens: Tensor, patch: int, height: int, width: int) -> Tensor:
    grid = tokens.reshape(len(tokens), height // patch, width // patch, -1, patch, patch)
    return grid.permute(0, 3, 1, 2, 4, 5).reshape(len(tokens), -1, height, width)


UNPATCHIFY = Exercise(
    id="5.2",
    title="Undo the patches",
    reference=unpatchify,
    cases=_token_cases,
    mistakes=(
        Mistake(
            "`reshape` alone keeps the order of the numbers, but the rows of neighbouring patches have to interleave; "
            "split the axes, permute, then reshape",
            _reshaped,
        ),
        Mistake(
            "the tokens fill the image column by column; raster order goes left to right, then down",
            _rearranged("b (gw gh) (c ph pw) -> b c (gh ph) (gw pw)"),
        ),
        Mistake(
            "the channel axis is taken last inside a token; the order there is channel, row, column",
            _rearranged("b (gh gw) (ph pw c) -> b c (gh ph) (gw pw)"),
        ),
        Mistake("the grid of patches is taken for square; it has H/P rows and W/P columns", _square_grid),
        Mistake(
            "rows and columns are swapped inside each patch; the order in a token is channel, row, column",
            _rearranged("b (gh gw) (c pw ph) -> b c (gh ph) (gw pw)"),
        ),
        Mistake(
            "the image comes out transposed, (B, C, W, H)",
            _rearranged("b (gh gw) (c ph pw) -> b c (gw pw) (gh ph)"),
        ),
        Mistake(
            "the channels are in place, but the patches follow one another; before the last reshape the axes are "
            "channel, grid row, row, grid column, column",
            _patches_one_after_another,
        ),
        Mistake(
            "the place inside the patch runs slower than the grid place; the row in the image is grid row · P + row "
            "in the patch",
            _rearranged("b (gh gw) (c ph pw) -> b c (ph gh) (pw gw)"),
        ),
        Mistake(
            "the axes are in the right order, but not joined; `reshape` the result to (B, C, H, W)",
            _rearranged("b (gh gw) (c ph pw) -> b c gh ph gw pw"),
        ),
        Mistake(
            "the channel axis of the image is last; PyTorch wants (B, C, H, W)",
            _rearranged("b (gh gw) (c ph pw) -> b (gh ph) (gw pw) c"),
        ),
    ),
)


# 5.3 -----------------------------------------------------------------------------------------------------------------


def patch_box(index: int, width: int, patch: int) -> Box:
    """(top, left, bottom, right) in pixels; bottom and right are exclusive."""
    row, column = divmod(index, width // patch)
    return row * patch, column * patch, (row + 1) * patch, (column + 1) * patch


def _box_cases() -> list[Case]:
    return [Case(args) for args in [(5, 12, 4), (0, 12, 4), (2, 12, 4), (3, 12, 4), (7, 20, 2), (17, 56, 7), (4, 3, 3)]]


def _box_from(divide, index_shift: int = 0):
    """A box from a wrong way to find row and column."""

    def answer(index: int, width: int, patch: int) -> Box:
        row, column = divide(index + index_shift, width, patch)
        return row * patch, column * patch, (row + 1) * patch, (column + 1) * patch

    return answer


def _box_as(arrange):
    """The right box, written in a wrong way."""
    return lambda index, width, patch: arrange(*patch_box(index, width, patch))


def _box_with_grid_top(index: int, width: int, patch: int) -> Box:
    top, column = divmod(index, width // patch)
    return top, column * patch, top + patch, (column + 1) * patch


PATCH_BOX = Exercise(
    id="5.3",
    title="Where is token n?",
    reference=patch_box,
    cases=_box_cases,
    difference=compare.integer_tuples,
    mistakes=(
        Mistake(
            "the index is divided by P; a row of the grid holds W/P patches",
            _box_from(lambda index, width, patch: divmod(index, patch)),
        ),
        Mistake(
            "the index is divided by W, as if a row held a token for every pixel; it holds W/P patches",
            _box_from(lambda index, width, patch: divmod(index, width)),
        ),
        Mistake(
            "x comes before y, or row and column are swapped: the order is top, left, bottom, right, and the row is "
            "index // (W/P)",
            _box_as(lambda top, left, bottom, right: (left, top, right, bottom)),
        ),
        Mistake(
            "the order is top, left, bottom, right, not top, bottom, left, right",
            _box_as(lambda top, left, bottom, right: (top, bottom, left, right)),
        ),
        Mistake(
            "the index is counted from 1; the first token has index 0",
            _box_from(lambda index, width, patch: divmod(index, width // patch), index_shift=-1),
        ),
        Mistake(
            "bottom and right name the last pixel inside; exclusive ends are one further, as in `image[top:bottom]`",
            _box_as(lambda top, left, bottom, right: (top, left, bottom - 1, right - 1)),
        ),
        Mistake(
            "the box is counted in patches; multiply by P to get pixels",
            lambda index, width, patch: tuple(side // patch for side in patch_box(index, width, patch)),
        ),
        Mistake(
            "top is the row of the grid; multiply it by P to get pixels",
            _box_as(lambda top, left, bottom, right: (top // (bottom - top), left, bottom, right)),
        ),
        Mistake(
            "top is the row of the grid, and bottom is counted from it; multiply the row by P to get pixels",
            _box_with_grid_top,
        ),
        Mistake(
            "the last two numbers are height and width; bottom = top + P, right = left + P",
            _box_as(lambda top, left, bottom, right: (top, left, bottom - top, right - left)),
        ),
        Mistake(
            "`/` always gives a float in Python; `//` and `%` keep whole numbers",
            _box_as(lambda *sides: tuple(float(side) for side in sides)),
        ),
    ),
)


# 5.4 -----------------------------------------------------------------------------------------------------------------


def pad_to_multiple(images: Tensor, patch: int) -> Tensor:
    """(B, C, H, W) -> zeros at the right and at the bottom until both sides divide by P."""
    height, width = images.shape[-2:]
    return F.pad(images, (0, -width % patch, 0, -height % patch))


def _image_case(batch: int, channels: int, height: int, width: int, *args: int, dtype=torch.float32, **options) -> Case:
    images = distinct(batch, channels, height, width, dtype=dtype)
    return Case((images, *args), traits=image_traits(batch, channels, height, width), **options)


def _pad_cases() -> list[Case]:
    return [
        _image_case(2, 3, 5, 6, 4, gradient=True),
        _image_case(1, 3, 7, 10, 4),
        _image_case(2, 3, 6, 6, 5),
        _image_case(2, 1, 8, 12, 4),
        _image_case(3, 5, 8, 6, 4),
        _image_case(2, 3, 4, 4, 2),
        _image_case(1, 2, 4, 7, 3, dtype=torch.float64),
    ]


def _padded(amounts, mode: str = "constant"):
    """Pad by `amounts(missing_height, missing_width, H, W, P)`, in F.pad's order: left, right, top, bottom."""

    def answer(images: Tensor, patch: int) -> Tensor:
        height, width = images.shape[-2:]
        return F.pad(images, amounts(-height % patch, -width % patch, height, width, patch), mode=mode)

    return answer


def _to_a_square(missing_h: int, missing_w: int, height: int, width: int, patch: int) -> tuple[int, int, int, int]:
    side = max(height + missing_h, width + missing_w)
    return 0, side - width, 0, side - height


PAD_TO_MULTIPLE = Exercise(
    id="5.4",
    title="Pad to a multiple of P",
    reference=pad_to_multiple,
    cases=_pad_cases,
    mistakes=(
        Mistake(
            "one patch too many when the side divides already; the padding should be 0 then",
            _padded(lambda missing_h, missing_w, h, w, patch: (0, patch - w % patch, 0, patch - h % patch)),
        ),
        Mistake(
            "H % P is what is left over; what is missing is the rest up to P",
            _padded(lambda missing_h, missing_w, h, w, patch: (0, w % patch, 0, h % patch)),
        ),
        Mistake(
            "the amounts for height and width are swapped; `F.pad` starts with the last axis, the width",
            _padded(lambda missing_h, missing_w, *_: (0, missing_h, 0, missing_w)),
        ),
        Mistake(
            "the zeros are at the left and at the top; `F.pad` takes left, right, top, bottom",
            _padded(lambda missing_h, missing_w, *_: (missing_w, 0, missing_h, 0)),
        ),
        Mistake(
            "each side gets the whole amount twice, left and right, top and bottom",
            _padded(lambda missing_h, missing_w, *_: (missing_w, missing_w, missing_h, missing_h)),
        ),
        Mistake(
            "the zeros are shared between both ends; here they all go to the right and to the bottom",
            _padded(lambda m_h, m_w, *_: (m_w // 2, m_w - m_w // 2, m_h // 2, m_h - m_h // 2)),
        ),
        Mistake(
            "the image is cropped to a multiple of P, which throws pixels away; pad it instead",
            _padded(lambda missing_h, missing_w, h, w, patch: (0, -(w % patch), 0, -(h % patch))),
        ),
        Mistake(
            "the last row and column are repeated; the new pixels should be zero",
            _padded(lambda missing_h, missing_w, *_: (0, missing_w, 0, missing_h), mode="replicate"),
        ),
        Mistake(
            "only the width is padded; the height has to divide too",
            _padded(lambda missing_h, missing_w, *_: (0, missing_w)),
        ),
        Mistake(
            "only the height is padded; the width has to divide too",
            _padded(lambda missing_h, missing_w, *_: (0, 0, 0, missing_h)),
        ),
        Mistake("the image is padded to a square; each side gets only what it lacks itself", _padded(_to_a_square)),
    ),
)


# 5.5 -----------------------------------------------------------------------------------------------------------------


def overlapping_patches(images: Tensor, patch: int, stride: int) -> Tensor:
    """(B, C, H, W) -> (B, N, C·P·P) with N = ((H - P) // S + 1)((W - P) // S + 1)."""
    return F.unfold(images, patch, stride=stride).transpose(1, 2)


def _overlap_cases() -> list[Case]:
    return [
        _image_case(2, 3, 6, 8, 4, 2, gradient=True),
        _image_case(1, 3, 7, 5, 3, 2),
        _image_case(2, 3, 6, 6, 2, 1),
        _image_case(2, 1, 4, 7, 3, 1),
        _image_case(3, 5, 8, 8, 4, 4),
        _image_case(1, 2, 9, 8, 2, 3),
        _image_case(2, 2, 5, 6, 2, 2, dtype=torch.float64),
    ]


def _windows(images: Tensor, patch: int, stride: int) -> Tensor:
    """(B, C, gh, gw, P, P)."""
    return images.unfold(2, patch, stride).unfold(3, patch, stride)


def _windows_as(pattern: str):
    return lambda images, patch, stride: rearrange(_windows(images, patch, stride), pattern)


def _windows_flattened(images: Tensor, patch: int, stride: int) -> Tensor:
    return _windows(images, patch, stride).reshape(len(images), -1, images.shape[1] * patch**2)


def _looped(images: Tensor, patch: int, tops: range, lefts: range) -> Tensor:
    tokens = [images[:, :, top : top + patch, left : left + patch].flatten(1) for top in tops for left in lefts]
    return torch.stack(tokens, dim=1)  # (B, N, C·P·P)


def _last_start_missing(images: Tensor, patch: int, stride: int) -> Tensor:
    height, width = images.shape[-2:]
    return _looped(images, patch, range(0, height - patch, stride), range(0, width - patch, stride))


def _starts_up_to_the_end(images: Tensor, patch: int, stride: int) -> Tensor:
    height, width = images.shape[-2:]
    return _looped(images, patch, range(0, height, stride), range(0, width, stride))


def _height_for_both(images: Tensor, patch: int, stride: int) -> Tensor:
    starts = range(0, images.shape[2] - patch + 1, stride)
    return _looped(images, patch, starts, starts)


def _padded_first(images: Tensor, patch: int, stride: int) -> Tensor:
    height, width = images.shape[-2:]
    missing = [-(side - patch) % stride for side in (height, width)]
    return overlapping_patches(F.pad(images, (0, missing[1], 0, missing[0])), patch, stride)


def _reshaped_unfold(images: Tensor, patch: int, stride: int) -> Tensor:
    columns = F.unfold(images, patch, stride=stride)  # (B, C·P·P, N)
    return columns.reshape(len(images), columns.shape[2], columns.shape[1])


OVERLAPPING_PATCHES = Exercise(
    id="5.5",
    title="Overlapping patches",
    reference=overlapping_patches,
    cases=_overlap_cases,
    mistakes=(
        Mistake(
            "tokens are columns; the shape is (B, N, C·P·P)",
            lambda images, patch, stride: F.unfold(images, patch, stride=stride),
        ),
        Mistake(
            "`reshape` does not swap axes, it mixes the numbers of different patches; use `transpose`",
            _reshaped_unfold,
        ),
        Mistake(
            "the stride is ignored: these patches do not overlap",
            lambda images, patch, stride: F.unfold(images, patch, stride=patch).transpose(1, 2),
        ),
        Mistake(
            "the channel axis is last inside a token; the order there is channel, row, column",
            _windows_as("b c gh gw ph pw -> b (gh gw) (ph pw c)"),
        ),
        Mistake(
            "the tokens run down the columns; raster order goes left to right, then down",
            _windows_as("b c gh gw ph pw -> b (gw gh) (c ph pw)"),
        ),
        Mistake(
            "rows and columns are swapped inside each patch; the order in a token is channel, row, column",
            _windows_as("b c gh gw ph pw -> b (gh gw) (c pw ph)"),
        ),
        Mistake(
            "`Tensor.unfold` leaves the channel axis before the grid; move it behind the grid before you flatten",
            _windows_flattened,
        ),
        Mistake(
            "the last row and column of patches are missing where the stride reaches the edge: the last start is "
            "H - P, and `range` stops before its end",
            _last_start_missing,
        ),
        Mistake(
            "patches start where there is no room for a whole one; the last start is at most H - P",
            _starts_up_to_the_end,
        ),
        Mistake("the height stands for both sides; the last left start is W - P, not H - P", _height_for_both),
        Mistake(
            "the tokens are a list of tensors; stack them: `torch.stack(tokens, dim=1)`",
            lambda *args: list(overlapping_patches(*args).unbind(dim=1)),
        ),
        Mistake(
            "there is an extra row or column of patches that hang over the edge; N counts those that fit",
            _padded_first,
        ),
    ),
)

EXERCISES = {
    exercise.id: exercise for exercise in (COUNT_TOKENS, UNPATCHIFY, PATCH_BOX, PAD_TO_MULTIPLE, OVERLAPPING_PATCHES)
}
