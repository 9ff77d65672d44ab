"""Where training starts: the first values of a Vision Transformer's weights.

Xavier: Glorot and Bengio 2010. Normal at 0.02, cut at two standard deviations: BERT's habit (Devlin et al. 2018,
arXiv:1810.04805), which most ViT code has taken over.
The ViT paper itself fixes one thing only, a head of zeros for fine-tuning (section 3.2, arXiv:2010.11929).
"""

from torch import nn

SCHEMES = ("xavier", "normal", "torch")


def initialise(model: nn.Module, scheme: str) -> None:
    """Set the weights of every linear layer, and the CLS token, in place. Biases start at zero, except under "torch".

    Args:
        model: any module; LayerNorms (ones and zeros) and position tables keep what they were built with.
        scheme: "xavier" (uniform, variance 2 / (fan_in + fan_out)), "normal" (std 0.02, cut at ±0.04,
            which leaves 0.0176) or "torch" (what `nn.Linear` does by itself: uniform, variance 1 / (3 fan_in)).

    Raises:
        ValueError: the scheme is unknown.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"init {scheme!r} is not one of {', '.join(SCHEMES)}")
    for module in model.modules():
        if isinstance(module, nn.Linear) and scheme != "torch":
            fill = nn.init.xavier_uniform_ if scheme == "xavier" else _normal
            fill(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    if getattr(model, "cls_token", None) is not None:
        _normal(model.cls_token)


def _normal(tensor) -> None:
    nn.init.trunc_normal_(tensor, std=0.02, a=-0.04, b=0.04)
