"""Comparing what an answer returned with what it should have returned, and saying the difference in words."""

import math
import numbers
from typing import Any

import torch
from torch import Tensor

RELATIVE, ABSOLUTE = 1e-4, 1e-6  # float32 sums in another order differ by less, a wrong formula by far more


def tensors(got: Any, expected: Tensor) -> str | None:
    """Type, shape, dtype, device, then values, the first place that differs included."""
    if not isinstance(got, Tensor):
        return f"returned a value of type {kind(got)}, expected a tensor of shape {tuple(expected.shape)}"
    for name in ("shape", "dtype", "device"):
        mine, theirs = getattr(got, name), getattr(expected, name)
        if mine != theirs:
            return f"{name} {_plain(mine)} instead of {_plain(theirs)}"
    wrong = ~torch.isclose(got, expected, RELATIVE, ABSOLUTE, equal_nan=True)
    if not wrong.any():
        return None
    where = wrong.nonzero()[0].tolist()
    values = _instead(got[tuple(where)].item(), expected[tuple(where)].item())
    return f"{int(wrong.sum())} of {wrong.numel()} values differ, the first at {where}: {values}" if where else values


def integers(got: Any, expected: int) -> str | None:
    """A whole number of a whole-number type."""
    if not is_integer(got):
        return f"returned {shown(got)}, expected the int {expected}"
    return None if got == expected else f"{short(got)} instead of {expected}"


def floats(got: Any, expected: float) -> str | None:
    """A real number, to six digits."""
    if isinstance(got, Tensor):
        return "returned a tensor, expected a float; use `math` instead of `torch`, or `.item()`"
    if not is_number(got):
        return f"returned {shown(got)}, expected a float"
    return None if math.isclose(got, expected, rel_tol=1e-6, abs_tol=1e-9) else _instead(got, expected)


def integer_tuples(got: Any, expected: tuple[int, ...]) -> str | None:
    """A tuple, or a list, of so many whole numbers."""
    if not isinstance(got, tuple | list):
        return f"returned a value of type {kind(got)}, expected a tuple of {len(expected)} ints"
    if len(got) != len(expected):
        return f"returned a {kind(got)} of {len(got)}, expected {len(expected)} ints"
    for place, item in enumerate(got):
        if not is_integer(item):
            return f"item {place} of the {kind(got)} is {shown(item)}, expected an int"
    return None if tuple(got) == expected else f"{short(got)} instead of {expected}"


def agree(a: Any, b: Any, strict: bool = True) -> bool:
    """Whether two returned values are the same; not `strict` lets 6 equal 6.0, a list a tuple, float32 float64."""
    if strict and type(a) is not type(b):
        return False
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        if a.shape != b.shape or (strict and a.dtype != b.dtype):
            return False
        return torch.allclose(a.double(), b.double(), RELATIVE, ABSOLUTE, equal_nan=True)
    if is_number(a) and is_number(b):
        return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, tuple | list) and isinstance(b, tuple | list):
        return len(a) == len(b) and all(agree(x, y, strict) for x, y in zip(a, b, strict=True))
    return isinstance(a, str | bool) and type(a) is type(b) and a == b


def is_number(value: Any) -> bool:
    """An int or a float of Python or NumPy; True and False are not numbers here."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def is_integer(value: Any) -> bool:
    """An int of Python or NumPy."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def kind(value: Any) -> str:
    """The name of a value's type, with its module unless that is Python's own or torch."""
    cls = type(value)
    module = cls.__module__.split(".")[0]
    return cls.__qualname__ if module in ("builtins", "torch", "__main__") else f"{module}.{cls.__qualname__}"


def short(value: Any, limit: int = 60) -> str:
    """`str(value)` in one line of at most `limit` characters."""
    text = " ".join(str(value).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def shown(value: Any) -> str:
    """`the float 6.0`; anything but a number only by its type: it may be huge, or print an address."""
    return f"the {kind(value)} {short(value)}" if is_number(value) else f"a value of type {kind(value)}"


def _plain(value: Any) -> str:
    return str(tuple(value)) if isinstance(value, torch.Size) else str(value)


def _instead(got: float, expected: float) -> str:
    for digits in (4, 8):
        left, right = f"{got:.{digits}g}", f"{expected:.{digits}g}"
        if left != right:
            break
    return f"{left} instead of {right}"
