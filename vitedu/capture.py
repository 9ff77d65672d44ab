"""Seeing what happens inside a model while it runs: its attention maps, and its tokens after every block.

Both are context managers that hang hooks on the layers and take them away again. Outside of them a model is as it was.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vitedu.attention import Attention
from vitedu.block import Stack

Look = Callable[..., Tensor]  # (layer, args, kwargs) or, after the layer has run, (layer, args, kwargs, output)


@contextmanager
def capture_attention(model: nn.Module) -> Iterator[list[Tensor]]:
    """Record the attention maps of every forward pass inside the `with`; the list holds those of the last one.

    The model computes what it always computes, with its fused kernel; a hook on each attention layer works the weights
    out a second time, by the explicit softmax: before attention dropout, without gradients. A compiled model runs
    uncompiled inside the `with`, because code that was compiled before the hooks came would pass them by.

    Args:
        model: anything made of the book's attention layers or of `nn.MultiheadAttention`: the book's `ViT`, `DETR` or
            BoTNet, torchvision's, or one of their blocks; compiled or not, in training or in evaluation mode.

    Yields:
        One map (B, h, N, S) for each call of an attention layer, in the order in which they ran; N and S count the
        class token. A layer that runs several times in a pass has several; what is computed again in the backward pass
        has none.

    Raises:
        ValueError: the model has no attention layer of these kinds.

    >>> from vitedu.vit import ViT, ViTConfig
    >>> model = ViT(ViTConfig(image_size=8, patch_size=4, dim=8, depth=2, num_heads=2))
    >>> with capture_attention(model) as maps:
    ...     scores = model(torch.zeros(1, 3, 8, 8))
    >>> len(maps), maps[0].shape
    (2, torch.Size([1, 2, 5, 5]))
    """
    layers = [module for module in model.modules() if isinstance(module, (Attention, nn.MultiheadAttention))]
    if not layers:
        raise ValueError(
            f"{type(model).__name__} has 0 attention layers of the kinds that are known: those of vitedu, which have a "
            "method `weights`, and torch's MultiheadAttention"
        )
    with _recorded(model, before=[(layer, _weights) for layer in layers]) as maps:
        yield maps


@contextmanager
def capture_tokens(model: nn.Module) -> Iterator[list[Tensor]]:
    """Record the tokens between the blocks, as `capture_attention` does the maps.

    Yields:
        z_0, … z_L, each (B, N, D) with CLS counted: what enters the first block, and what leaves every block. With
        pre-norm the last is the residual stream before the encoder's LayerNorm. Of a model of several stages, z_0, …
        z_L of each, one stage after the other.

    Raises:
        ValueError: the model has no stack of the book's blocks.
    """
    stacks = [module for module in model.modules() if isinstance(module, Stack)]
    if not stacks:
        raise ValueError(f"{type(model).__name__} has 0 stacks of vitedu's blocks, expected at least 1")
    first = [(stack.blocks[0], lambda block, args, kwargs: args[0]) for stack in stacks]
    each = [(block, lambda block, args, kwargs, output: output) for stack in stacks for block in stack.blocks]
    with _recorded(model, before=first, after=each) as tokens:
        yield tokens


@contextmanager
def _recorded(
    model: nn.Module, before: list[tuple[nn.Module, Look]], after: list[tuple[nn.Module, Look]] = ()
) -> Iterator[list[Tensor]]:
    """A list of what each `Look` finds when its layer runs, in order; it starts anew with the next forward pass.

    A pass is a call from outside of the model or of a part of it (`model.encode` calls parts). The next one has begun
    when a layer runs that has run before, in another call from outside.
    """
    seen: list[Tensor] = []
    ran: dict[tuple, int] = {}  # which call from outside a layer has last run in
    depth = calls = 0

    def enter(*_: object) -> None:
        nonlocal depth, calls
        if not _in_backward():
            calls += depth == 0
            depth += 1

    def leave(*_: object) -> None:
        nonlocal depth
        if not _in_backward():
            depth -= 1

    def store(look: Look, key: tuple) -> Callable:
        def hook(layer: nn.Module, *call: object) -> None:
            if _in_backward():
                return
            if ran.setdefault(key, calls) != calls:
                seen.clear()
                ran.clear()
                ran[key] = calls
            with torch.no_grad():
                seen.append(look(layer, *call).detach())

        return hook

    watched = {layer for layer, _ in [*before, *after]}
    callers = [module for module in model.modules() if watched & set(module.modules())]  # through which layers are run
    handles = [module.register_forward_pre_hook(enter) for module in callers]
    for place, (layer, look) in enumerate(before):
        handles.append(layer.register_forward_pre_hook(store(look, ("before", place)), with_kwargs=True))
    for place, (layer, look) in enumerate(after):
        handles.append(layer.register_forward_hook(store(look, ("after", place)), with_kwargs=True))
    handles += [module.register_forward_hook(leave, always_call=True) for module in callers]
    try:
        with torch.compiler.set_stance("force_eager"):
            yield seen
    finally:
        for handle in handles:
            handle.remove()


def _in_backward() -> bool:
    """Whether autograd is at work: then a layer runs only because its insides are computed again."""
    return torch._C._current_graph_task_id() != -1


def _weights(layer: nn.Module, args: tuple, kwargs: dict) -> Tensor:
    """The weights (B, h, N, S) for the arguments of one call; of torch's layer by asking it for them."""
    if isinstance(layer, Attention):
        return layer.weights(*args, **kwargs)
    dropout, layer.dropout = layer.dropout, 0.0  # its weights are those after dropout
    try:
        given = inspect.signature(layer.forward).bind(*args, **kwargs).arguments
        return layer.forward(**given | {"need_weights": True, "average_attn_weights": False})[1]  # (B, h, N, S)
    finally:
        layer.dropout = dropout
