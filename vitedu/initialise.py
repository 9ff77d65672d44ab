"""Where a model starts: the checks of the numbers it is built from, and the first values of its weights.

Xavier: Glorot and Bengio 2010. Normal at 0.02, cut at two standard deviations: BERT's habit (Devlin et al. 2018,
arXiv:1810.04805), which most ViT code has taken over.
The ViT paper itself fixes one thing only, a head of zeros for fine-tuning (section 3.2, arXiv:2010.11929).
"""

import math
from collections.abc import Iterable
from numbers import Integral

from torch import Tensor, nn

SCHEMES = ("xavier", "normal", "torch")


def one_of(name: str, value: object, known: Iterable) -> None:
    """ValueError, naming those that are known, if the setting `name` has another value."""
    if value not in (known := list(known)) or isinstance(value, bool):  # True equals 1
        raise ValueError(f"{name} {value!r} is not one of {', '.join(map(str, known))}")


def at_least(name: str, value: float, least: float, *, above: bool = False) -> None:
    """ValueError if the setting is not finite, or below `least`; with `above`, also if it equals it."""
    if not math.isfinite(value) or value < least or (above and value == least):
        raise ValueError(f"{name} is {value}; it has to be {'above' if above else 'at least'} {least}, and finite")


def count(name: str, value: int, least: int = 1) -> None:
    """ValueError if the setting is not a whole number, or below `least`."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} is {value!r}; it has to be at least {least}, a whole number")


def probability(name: str, value: float, *, below_one: bool = True) -> None:
    """ValueError if the setting lies outside [0, 1); without `below_one`, outside [0, 1]."""
    if not (0 <= value < 1 or (value == 1 and not below_one)):
        raise ValueError(f"{name} {value} is outside [0, 1{')' if below_one else ']'}; it is a probability, 0 for none")


def initialise(model: nn.Module, scheme: str) -> None:
    """Set the weights of every linear layer, and the CLS token, in place. Biases start at zero, except under "torch".

    Args:
        model: any module; LayerNorms (ones and zeros) and position tables keep what they were built with.
        scheme: "xavier" (uniform, variance 2 / (fan_in + fan_out)), "normal" (std 0.02, cut at ±0.04,
            which leaves 0.0176) or "torch" (what `nn.Linear` does by itself: uniform, variance 1 / (3 fan_in)).

    Raises:
        ValueError: the scheme is unknown.
    """
    one_of("init", scheme, SCHEMES)
    for module in model.modules():
        if isinstance(module, nn.Linear) and scheme != "torch":
            fill = nn.init.xavier_uniform_ if scheme == "xavier" else _normal
            fill(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    if getattr(model, "cls_token", None) is not None:
        _normal(model.cls_token)


def _normal(tensor: Tensor) -> None:
    nn.init.trunc_normal_(tensor, std=0.02, a=-0.04, b=0.04)
