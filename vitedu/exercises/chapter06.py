"""The exercises of chapter 6, linear embedding."""

import torch
import torch.nn.functional as F
from torch import Tensor

from vitedu import patch as library
from vitedu import position
from vitedu.exercises import compare
from vitedu.exercises.exercise import Case, Exercise, Mistake, distinct

Grid = tuple[int, int]


# 6.1 -----------------------------------------------------------------------------------------------------------------


def embedding_parameters(height: int, width: int, channels: int, patch: int, dim: int) -> int:
    """E, its bias, the class token, and a learned position for each of the 1 + N tokens."""
    down, across = library.patch_grid((height, width), patch)
    return channels * patch**2 * dim + dim + dim + (1 + down * across) * dim


def _parameter_cases() -> list[Case]:
    sizes = [(60, 60, 3, 20, 768), (224, 224, 3, 16, 768), (32, 48, 1, 8, 16), (12, 8, 5, 4, 10), (16, 16, 3, 16, 6)]
    return [Case(size) for size in sizes]


def _counted(terms):
    """A sum of `terms(N, C, P, D)`."""

    def answer(height: int, width: int, channels: int, patch: int, dim: int) -> int:
        return sum(terms((height // patch) * (width // patch), channels, patch, dim))

    return answer


def _parts_of_rows(height: int, width: int, channels: int, patch: int, dim: int) -> int:
    return channels * patch**2 * dim + 2 * dim + (1 + height * width // patch) * dim


def _one_side(height: int, width: int, channels: int, patch: int, dim: int) -> int:
    return embedding_parameters(height, height, channels, patch, dim)


EMBEDDING_PARAMETERS = Exercise(
    id="6.1",
    title="Count what the embedding learns",
    reference=embedding_parameters,
    cases=_parameter_cases,
    difference=compare.integers,
    mistakes=(
        Mistake(
            "D numbers are missing: count E, its bias, the class token, and a position for the class token as well",
            _counted(lambda N, C, P, D: (C * P * P * D, D, (1 + N) * D)),
        ),
        Mistake(
            "2·D numbers are missing: of the bias, the class token and its position you have only one",
            _counted(lambda N, C, P, D: (C * P * P * D, (1 + N) * D)),
        ),
        Mistake(
            "3·D numbers are missing: the bias, the class token, and its position",
            _counted(lambda N, C, P, D: (C * P * P * D, N * D)),
        ),
        Mistake(
            "this is E alone; its bias, the class token and the positions are learned as well",
            _counted(lambda N, C, P, D: (C * P * P * D,)),
        ),
        Mistake(
            "this is E with its bias; the class token and the positions are learned as well",
            _counted(lambda N, C, P, D: (C * P * P * D, D)),
        ),
        Mistake(
            "these are the positions alone; E, its bias and the class token are learned as well",
            _counted(lambda N, C, P, D: ((1 + N) * D,)),
        ),
        Mistake(
            "D numbers are too many: there is one bias, one class token, and one position for each of 1 + N tokens",
            _counted(lambda N, C, P, D: (C * P * P * D, D, D, (2 + N) * D)),
        ),
        Mistake(
            "the bias or the class token is counted as one number; each of them has D",
            _counted(lambda N, C, P, D: (C * P * P * D, D, 1, (1 + N) * D)),
        ),
        Mistake(
            "three channels are taken for granted; an image may have another number",
            _counted(lambda N, C, P, D: (3 * P * P * D, D, D, (1 + N) * D)),
        ),
        Mistake(
            "E is counted with a row for each number of the picture; it has one for each number of a patch",
            _counted(lambda N, C, P, D: (C * N * P * P * D, D, D, (1 + N) * D)),
        ),
        Mistake("HW is divided by P once; a patch takes P rows and P columns, P·P pixels", _parts_of_rows),
        Mistake(
            "there is one E for all patches, not one for each; do not multiply it by N",
            _counted(lambda N, C, P, D: (N * (C * P * P * D + D), D, (1 + N) * D)),
        ),
        Mistake(
            "the channels are left out of E: a patch has C·P·P numbers",
            _counted(lambda N, C, P, D: (P * P * D, D, D, (1 + N) * D)),
        ),
        Mistake(
            "a patch has P·P pixels, not P; E has C·P·P rows",
            _counted(lambda N, C, P, D: (C * P * D, D, D, (1 + N) * D)),
        ),
        Mistake(
            "the positions have length C·P·P here; they are added after the projection, so they have length D",
            _counted(lambda N, C, P, D: (C * P * P * D, D, D, (1 + N) * C * P * P)),
        ),
        Mistake(
            "a position is D numbers, not one number",
            _counted(lambda N, C, P, D: (C * P * P * D, D, D, 1 + N)),
        ),
        Mistake(
            "a bias for each number that enters; it is added to each number that leaves, so it has length D",
            _counted(lambda N, C, P, D: (C * P * P * D, C * P * P, D, (1 + N) * D)),
        ),
        Mistake("the height stands for both sides; an image need not be square", _one_side),
    ),
)


# 6.2 -----------------------------------------------------------------------------------------------------------------


def conv_to_matrix(weight: Tensor) -> Tensor:
    """(D, C, P, P) -> E (C·P·P, D), so that `patchify(images, P) @ E` is the convolution."""
    return weight.flatten(1).T


def _kernel_cases() -> list[Case]:
    return [
        Case((distinct(5, 3, 4, 4),), gradient=True),
        Case((distinct(7, 1, 2, 2),)),
        Case((distinct(12, 3, 2, 2),)),  # D = C·P·P: a forgotten transpose keeps the shape
        Case((distinct(4, 2, 3, 3, dtype=torch.float64),)),
        Case((distinct(1, 5, 2, 2),)),
    ]


CONV_TO_MATRIX = Exercise(
    id="6.2",
    title="From the kernels to E",
    reference=conv_to_matrix,
    cases=_kernel_cases,
    mistakes=(
        Mistake(
            "this is the weight of an `nn.Linear`, (D, C·P·P); E is its transpose",
            lambda weight: weight.flatten(1),
        ),
        Mistake(
            "the shape is right, but `reshape` and `view` do not transpose: they mix the numbers of different kernels",
            lambda weight: weight.reshape(-1, len(weight)),
        ),
        Mistake(
            "the channel is last inside a patch; the order there is channel, row, column",
            lambda weight: weight.permute(2, 3, 1, 0).flatten(0, 2),
        ),
        Mistake(
            "rows and columns of each kernel are swapped: `.T` on four axes reverses them all",
            lambda weight: weight.permute(1, 3, 2, 0).flatten(0, 2),
        ),
        Mistake(
            "row, column and channel come in reversed order, column first",
            lambda weight: weight.permute(3, 2, 1, 0).flatten(0, 2),
        ),
        Mistake(
            "the kernels are flipped; PyTorch's convolution does not flip, it multiplies number by number",
            lambda weight: weight.flip(2, 3).flatten(1).T,
        ),
        Mistake(
            "D and C are swapped before the flattening, which mixes kernels; lay each kernel out first, then transpose",
            lambda weight: weight.transpose(0, 1).reshape(-1, len(weight)),
        ),
        Mistake(
            "only the pixels are flattened; the channels belong to the same sum",
            lambda weight: weight.flatten(2),
        ),
        Mistake(
            "the axes of the kernel are still there, (C, P, P, D); flatten the first three into one",
            lambda weight: weight.permute(1, 2, 3, 0),
        ),
        Mistake(
            "the channels are added up; each has weights of its own, so E has C·P·P rows",
            lambda weight: weight.sum(dim=1).flatten(1).T,
        ),
    ),
)


# 6.3 -----------------------------------------------------------------------------------------------------------------


def start_sequence(tokens: Tensor, cls_token: Tensor, positions: Tensor) -> Tensor:
    """(B, N, D), (1, 1, D), (1 + N, D) -> z_0 (B, 1 + N, D)."""
    cls = cls_token.expand(len(tokens), -1, -1)  #          (B, 1, D)
    return torch.cat([cls, tokens], dim=1) + positions  # (B, 1 + N, D)


def _sequence_case(batch: int, count: int, dim: int, dtype=torch.float32, **options) -> Case:
    parts = distinct(batch * count + 1 + count + 1, dim, dtype=dtype)
    tokens, cls, positions = parts.split([batch * count, 1, 1 + count])
    traits = ("B = 1",) if batch == 1 else ()
    return Case((tokens.view(batch, count, dim), cls[None], positions), traits=traits, **options)


def _sequence_cases() -> list[Case]:
    return [
        _sequence_case(2, 3, 4, gradient=True),
        _sequence_case(1, 6, 5),
        _sequence_case(4, 4, 4),
        _sequence_case(3, 1, 2),
        _sequence_case(2, 5, 3, torch.float64),
    ]


def _with_cls(tokens: Tensor, cls_token: Tensor) -> Tensor:
    return torch.cat([cls_token.expand(len(tokens), -1, -1), tokens], dim=1)


def _cls_last(tokens: Tensor, cls_token: Tensor, positions: Tensor) -> Tensor:
    return torch.cat([tokens, cls_token.expand(len(tokens), -1, -1)], dim=1) + positions


def _positions_on_patches_only(tokens: Tensor, cls_token: Tensor, positions: Tensor) -> Tensor:
    return _with_cls(tokens + positions[1:], cls_token)


def _positions_shifted(tokens: Tensor, cls_token: Tensor, positions: Tensor) -> Tensor:
    return _with_cls(tokens + positions[:-1], cls_token)


START_SEQUENCE = Exercise(
    id="6.3",
    title="Build z₀",
    reference=start_sequence,
    cases=_sequence_cases,
    mistakes=(
        Mistake("the class token stands last; it is token 0, before the patches", _cls_last),
        Mistake(
            "the class token is last, with the position of the class token: both belong in front",
            lambda tokens, cls_token, positions: torch.cat(
                [tokens + positions[1:], (cls_token + positions[0]).expand(len(tokens), -1, -1)], dim=1
            ),
        ),
        Mistake("the class token gets no position; row 0 of the table is its own", _positions_on_patches_only),
        Mistake(
            "the patches get rows 0 to N - 1 and the class token none; row 0 belongs to the class token",
            _positions_shifted,
        ),
        Mistake("the positions are missing", lambda tokens, cls_token, positions: _with_cls(tokens, cls_token)),
        Mistake(
            "only the class token gets its position; every token has a row of the table",
            lambda tokens, cls_token, positions: _with_cls(tokens, cls_token + positions[0]),
        ),
        Mistake(
            "row 0 holds its position alone; the numbers of the class token are missing from it",
            lambda tokens, cls_token, positions: _with_cls(tokens, torch.zeros_like(cls_token)) + positions,
        ),
        Mistake(
            "the class token is added to every patch; it is a token of its own, joined with `torch.cat`",
            lambda tokens, cls_token, positions: tokens + cls_token + positions[1:],
        ),
        Mistake(
            "the class token is missing: N tokens instead of 1 + N",
            lambda tokens, cls_token, positions: tokens + positions[1:],
        ),
        Mistake(
            "the positions are appended to the tokens; they are added, and the width stays D",
            lambda tokens, cls_token, positions: torch.cat(
                [_with_cls(tokens, cls_token), positions.expand(len(tokens), -1, -1)], dim=2
            ),
        ),
        Mistake(
            "the positions are multiplied in; they are added",
            lambda tokens, cls_token, positions: _with_cls(tokens, cls_token) * positions,
        ),
        Mistake(
            "the position is added to the tokens twice",
            lambda tokens, cls_token, positions: _with_cls(tokens + positions[1:], cls_token) + positions,
        ),
    ),
)


# 6.4 -----------------------------------------------------------------------------------------------------------------


def axis_positions(rows: Tensor, columns: Tensor) -> Tensor:
    """(gh, D/2), (gw, D/2) -> (gh·gw, D) in raster order, the row's half first."""
    left = rows.repeat_interleave(len(columns), dim=0)  # (N, D/2)
    right = columns.repeat(len(rows), 1)  #               (N, D/2)
    return torch.cat([left, right], dim=1)  #             (N, D)


def _axis_case(down: int, across: int, half: int, dtype=torch.float32, **options) -> Case:
    both = distinct(down + across, half, dtype=dtype)
    return Case((both[:down], both[down:]), **options)


def _axis_cases() -> list[Case]:
    return [
        _axis_case(2, 3, 4, gradient=True),
        _axis_case(4, 4, 2),
        _axis_case(1, 5, 3),
        _axis_case(5, 1, 3),
        _axis_case(3, 2, 1, torch.float64),
    ]


def _spread(rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Both halves over the grid, (gh, gw, D/2) twice."""
    shape = len(rows), len(columns), rows.shape[1]
    return rows[:, None].expand(shape), columns[None].expand(shape)


def _halves(join):
    """`join(left, right)` of the two halves, (N, D/2) each, in raster order."""
    return lambda rows, columns: join(*(half.flatten(0, 1) for half in _spread(rows, columns)))


def _down_the_columns(rows: Tensor, columns: Tensor) -> Tensor:
    return torch.cat(_spread(rows, columns), dim=2).transpose(0, 1).flatten(0, 1)


def _both_repeated(rows: Tensor, columns: Tensor) -> Tensor:
    return torch.cat([rows.repeat(len(columns), 1), columns.repeat(len(rows), 1)], dim=1)


AXIS_POSITIONS = Exercise(
    id="6.4",
    title="One vector for a row, one for a column",
    reference=axis_positions,
    cases=_axis_cases,
    mistakes=(
        Mistake(
            "the halves are added; laid end to end they make width D, and neither disturbs the other",
            _halves(lambda left, right: left + right),
        ),
        Mistake(
            "the column's half comes first; the row's half is the left one",
            _halves(lambda left, right: torch.cat([right, left], dim=1)),
        ),
        Mistake(
            "the numbers of row and column alternate; lay the halves end to end",
            _halves(lambda left, right: torch.stack([left, right], dim=2).flatten(1)),
        ),
        Mistake(
            "the tokens run down the columns; raster order goes left to right, then down",
            _down_the_columns,
        ),
        Mistake(
            "both tables are repeated as a whole; in raster order the row's vector stays while the columns run",
            _both_repeated,
        ),
        Mistake(
            "both vectors stay for several places; in raster order the columns run while the row's vector stays",
            lambda rows, columns: torch.cat(
                [rows.repeat_interleave(len(columns), dim=0), columns.repeat_interleave(len(rows), dim=0)], dim=1
            ),
        ),
        Mistake(
            "the grid is still there, (gh, gw, D); flatten its two axes into N",
            lambda rows, columns: torch.cat(_spread(rows, columns), dim=2),
        ),
        Mistake(
            "the two tables are stacked, gh + gw vectors; every *pair* of a row and a column needs one",
            lambda rows, columns: torch.cat([rows, columns]),
        ),
    ),
)


# 6.5 -----------------------------------------------------------------------------------------------------------------


def resize_positions(table: Tensor, old_grid: Grid, new_grid: Grid) -> Tensor:
    """(1 + N, D) -> (1 + N', D), bicubic with aligned corners; the row of the class token stays."""
    return position.interpolate_positions(table, old_grid, new_grid)


def _table_case(old: Grid, new: Grid, dim: int, dtype=torch.float32, **options) -> Case:
    return Case((distinct(1 + old[0] * old[1], dim, dtype=dtype), old, new), **options)


def _table_cases() -> list[Case]:
    return [
        _table_case((3, 4), (5, 7), 2, gradient=True),
        _table_case((4, 4), (6, 6), 3),
        _table_case((4, 5), (3, 4), 4),
        _table_case((2, 6), (6, 2), 3),
        _table_case((3, 3), (3, 3), 5),
        _table_case((4, 3), (8, 6), 2, torch.float64),
    ]


def _resized(table: Tensor, old: Grid, new: Grid, mode: str = "bicubic", aligned: bool = True) -> Tensor:
    """Without a class token: (N, D) -> (N', D)."""
    picture = table.T.unflatten(1, old)[None]  # (1, D, gh, gw)
    return F.interpolate(picture, size=new, mode=mode, align_corners=aligned)[0].flatten(1).T


def _keeping_cls(resize):
    """`resize(patches, old, new)` behind the row of the class token."""
    return lambda table, old, new: torch.cat([table[:1], resize(table[1:], old, new)])


def _nearest(table: Tensor, old: Grid, new: Grid) -> Tensor:
    return F.interpolate(table.T.unflatten(1, old)[None], size=new, mode="nearest")[0].flatten(1).T


def _not_moved(patches: Tensor, old: Grid, new: Grid) -> Tensor:
    picture = patches.reshape(1, -1, *old)  # the shape of (1, D, gh, gw), not its content
    resized = F.interpolate(picture, size=new, mode="bicubic", align_corners=True)
    return resized.reshape(new[0] * new[1], -1)


def _not_moved_back(patches: Tensor, old: Grid, new: Grid) -> Tensor:
    return _resized(patches, old, new).T.reshape(new[0] * new[1], -1)


def _as_a_line(patches: Tensor, old: Grid, new: Grid) -> Tensor:
    line = F.interpolate(patches.T[None], size=new[0] * new[1], mode="linear", align_corners=True)
    return line[0].T


def _cut_or_repeated(table: Tensor, old: Grid, new: Grid) -> Tensor:
    rows = torch.arange(new[0] * new[1]) % (old[0] * old[1])
    return table[rows]


def _antialiased(patches: Tensor, old: Grid, new: Grid) -> Tensor:
    picture = patches.T.unflatten(1, old)[None]
    return F.interpolate(picture, size=new, mode="bicubic", antialias=True)[0].flatten(1).T


def _as_one_picture(patches: Tensor, old: Grid, new: Grid) -> Tensor:
    """The table itself taken for a picture of N × D pixels."""
    size = new[0] * new[1], patches.shape[1]
    return F.interpolate(patches[None, None], size=size, mode="bicubic", align_corners=True)[0, 0]


def _down_the_new_columns(patches: Tensor, old: Grid, new: Grid) -> Tensor:
    return _resized(patches, old, new).unflatten(0, new).transpose(0, 1).flatten(0, 1)


def _whole_table_as_a_line(table: Tensor, old: Grid, new: Grid) -> Tensor:
    return _as_a_line(table, old, (1, 1 + new[0] * new[1]))


RESIZE_POSITIONS = Exercise(
    id="6.5",
    title="Positions for another grid",
    reference=resize_positions,
    cases=_table_cases,
    mistakes=(
        Mistake(
            "the corners of the two grids are not aligned: `align_corners=True`",
            _keeping_cls(lambda *args: _resized(*args, aligned=False)),
        ),
        Mistake(
            "this is timm's convention, with `antialias=True`; here the corners are aligned: `align_corners=True`",
            _keeping_cls(_antialiased),
        ),
        Mistake(
            "this is bilinear; bicubic was asked for",
            _keeping_cls(lambda *args: _resized(*args, mode="bilinear")),
        ),
        Mistake("this copies the nearest old vector; bicubic was asked for", _keeping_cls(_nearest)),
        Mistake(
            "`reshape` alone does not bring D to the front: transpose the table before you make a picture of it",
            _keeping_cls(_not_moved),
        ),
        Mistake(
            "the way back is a `reshape` alone; D has to move to the end again before the grid is flattened",
            _keeping_cls(_not_moved_back),
        ),
        Mistake(
            "the sequence is stretched as a line; its rows are a grid, and have to be resized as a picture",
            _keeping_cls(_as_a_line),
        ),
        Mistake("the class token is stretched with the rest; its row is no place and stays", _whole_table_as_a_line),
        Mistake(
            "the old rows are cut off or repeated in raster order; then a vector means another place than before",
            _keeping_cls(_cut_or_repeated),
        ),
        Mistake(
            "the row of the class token is missing: 1 + N' rows",
            lambda table, old, new: _resized(table[1:], old, new),
        ),
        Mistake(
            "the row of the class token is last; it belongs in front",
            lambda table, old, new: torch.cat([_resized(table[1:], old, new), table[:1]]),
        ),
        Mistake(
            "the last row is taken for the class token; its row is the first, before and after",
            lambda table, old, new: torch.cat([_resized(table[:-1], old, new), table[-1:]]),
        ),
        Mistake(
            "the table is resized as one picture of N × D; each of its D columns is a picture of its own",
            _keeping_cls(_as_one_picture),
        ),
        Mistake(
            "the new tokens run down the columns; raster order goes left to right, then down",
            _keeping_cls(_down_the_new_columns),
        ),
        Mistake(
            "both sides of the new grid are its number of rows; a grid need not be square",
            _keeping_cls(lambda patches, old, new: _resized(patches, old, (new[0], new[0]))),
        ),
        Mistake(
            "down and across are swapped in the new grid; `size` is (height, width)",
            _keeping_cls(lambda patches, old, new: _resized(patches, old, new[::-1])),
        ),
        Mistake(
            "down and across are swapped in the old grid; raster order is (rows, columns)",
            _keeping_cls(lambda patches, old, new: _resized(patches, old[::-1], new)),
        ),
    ),
)

EXERCISES = {
    exercise.id: exercise
    for exercise in (EMBEDDING_PARAMETERS, CONV_TO_MATRIX, START_SEQUENCE, AXIS_POSITIONS, RESIZE_POSITIONS)
}
