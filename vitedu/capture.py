"""Seeing what happens inside a model while it runs: its attention maps, and its tokens after every block.

Both are context managers that hang hooks on the layers and take them away again. Outside of them a model is as it was.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vitedu.attention import MultiHeadAttention, scaled_dot_product_attention
from vitedu.block import Stack

ATTENTION = (MultiHeadAttention, nn.MultiheadAttention)  # the book's, and PyTorch's, of which torchvision's ViT is made


@contextmanager
def capture_attention(model: nn.Module) -> Iterator[list[Tensor]]:
    """Record the attention maps of every forward pass inside the `with`; the list holds those of the last one.

    The model computes what it always computes, with its fused kernel; a hook on each attention layer works the weights
    out a second time, by the explicit softmax: before attention dropout, without gradients. A compiled model runs
    uncompiled inside the `with`, because code that was compiled before the hooks came would pass them by.

    Args:
        model: anything made of the book's `MultiHeadAttention` or of `nn.MultiheadAttention`: the book's `ViT`,
            torchvision's, or one of their blocks; compiled or not, in training or in evaluation mode.

    Yields:
        One map (B, h, N, S) for each attention layer, in the order in which they ran; N and S count the class token.

    Raises:
        ValueError: the model has no attention layer of these kinds.
    """
    layers = [module for module in model.modules() if isinstance(module, ATTENTION)]
    if not layers:
        kinds = " and ".join(f"{kind.__module__.split('.')[0]}'s {kind.__name__}" for kind in ATTENTION)
        raise ValueError(f"{type(model).__name__} has 0 attention layers of the kinds that are known, {kinds}")

    def weights(layer: nn.Module, args: tuple, kwargs: dict) -> Tensor:
        return (_weights if isinstance(layer, MultiHeadAttention) else _weights_of_torchs)(layer, args, kwargs)

    with _record(layers, weights) as maps:
        yield maps


@contextmanager
def capture_tokens(model: nn.Module) -> Iterator[list[Tensor]]:
    """Record the tokens between the blocks, as `capture_attention` does the maps.

    Yields:
        z_0, … z_L, each (B, N, D) with CLS counted: what enters the first block, and what leaves every block. With
        pre-norm the last is the residual stream before the encoder's LayerNorm.

    Raises:
        ValueError: the model has no stack of the book's encoder blocks, or more than one.
    """
    stacks = [module for module in model.modules() if isinstance(module, Stack)]
    if len(stacks) != 1:
        raise ValueError(f"{type(model).__name__} has {len(stacks)} stacks of vitedu's blocks, expected 1")
    blocks = list(stacks[0].blocks)

    def entering(block: nn.Module, args: tuple, kwargs: dict) -> Tensor:
        return args[0]

    def leaving(block: nn.Module, args: tuple, kwargs: dict, output: Tensor) -> Tensor:
        return output

    with _record(blocks[:1], entering, blocks, leaving) as tokens:
        yield tokens


@contextmanager
def _record(
    before: Sequence[nn.Module], look: Callable, after: Sequence[nn.Module] = (), look_after: Callable | None = None
) -> Iterator[list[Tensor]]:
    """A list that `look` and `look_after` fill as the layers run; it starts anew when its first layer runs again."""
    seen: list[Tensor] = []
    ran: set = set()

    def hook(find: Callable) -> Callable:
        def store(layer: nn.Module, *call: object) -> None:
            if (layer, find) in ran:  # the next forward pass has begun
                seen.clear()
                ran.clear()
            with torch.no_grad():
                found = find(layer, *call).detach()
            ran.add((layer, find))
            seen.append(found)

        return store

    handles = [layer.register_forward_pre_hook(hook(look), with_kwargs=True) for layer in before]
    handles += [layer.register_forward_hook(hook(look_after), with_kwargs=True) for layer in after]
    try:
        with torch.compiler.set_stance("force_eager"):
            yield seen
    finally:
        for handle in handles:
            handle.remove()


def _weights(layer: MultiHeadAttention, args: tuple, kwargs: dict) -> Tensor:
    """The weights (B, h, N, S) of the book's attention for the arguments of one call."""
    given = inspect.signature(layer.forward).bind(*args, **kwargs).arguments
    x, context = given["x"], given.get("context")
    q = layer.split_heads(layer.q_proj(x))  #                                  (B, h, N, d)
    k = layer.split_heads(layer.k_proj(x if context is None else context))  #  (B, h, S, d)
    return scaled_dot_product_attention(q, k, k, given.get("mask"))[1]  #      (B, h, N, S)


def _weights_of_torchs(layer: nn.MultiheadAttention, args: tuple, kwargs: dict) -> Tensor:
    """The same for PyTorch's, which reports weights when asked; after dropout, so that is switched off meanwhile."""
    given = inspect.signature(layer.forward).bind(*args, **kwargs).arguments
    dropout, layer.dropout = layer.dropout, 0.0
    try:
        return layer.forward(**given | {"need_weights": True, "average_attn_weights": False})[1]  # (B, h, N, S)
    finally:
        layer.dropout = dropout
