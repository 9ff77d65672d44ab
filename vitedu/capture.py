"""Seeing what happens inside a model while it runs: its attention maps, and its tokens after every block.

Both are context managers that hang hooks on the layers and take them away again. Outside of them a model is as it was.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from vitedu.attention import Attention
from vitedu.block import Stack

# (layer, args, kwargs) or, after the layer has run, (layer, args, kwargs, output) -> what is kept, None for nothing
Look = Callable[..., Tensor | None]
# How others call the parts of an attention layer that make queries and keys; timm's has `qkv`.
PROJECTIONS = ({"qkv"}, {"to_qkv"}, {"qk"}, {"q", "kv"}, {"q", "k"}, {"q_proj", "k_proj"}, {"to_q", "to_kv"})


@contextmanager
def capture_attention(model: nn.Module) -> Iterator[list[Tensor]]:
    """Record the attention maps of every forward pass inside the `with`; the list holds those of the last one.

    The model computes what it always computes, with its fused kernel; a hook on each attention layer works the weights
    out a second time, by the explicit softmax: before attention dropout, without gradients. A compiled model runs
    uncompiled inside the `with`, because code that was compiled before the hooks came would pass them by.

    Args:
        model: anything made of the book's attention layers or of `nn.MultiheadAttention`: the book's `ViT`, `DETR` or
            BoTNet, torchvision's, or one of their blocks; or of layers like timm's, in which a projection `qkv` is
            followed by a softmax or by the fused kernel. Compiled or not, in training or in evaluation mode.

    Yields:
        One map (B, h, N, S) for each call of an attention layer, in the order in which they ran; N and S count the
        class token and all others before the patches. A layer that runs several times in a pass has several; what is
        computed again in the backward pass has none.

    Raises:
        ValueError: the model has no attention layer of these kinds, or one that takes no softmax.

    >>> from vitedu.vit import ViT, ViTConfig
    >>> model = ViT(ViTConfig(image_size=8, patch_size=4, dim=8, depth=2, num_heads=2))
    >>> with capture_attention(model) as maps:
    ...     scores = model(torch.zeros(1, 3, 8, 8))
    >>> len(maps), maps[0].shape
    (2, torch.Size([1, 2, 5, 5]))
    """
    own = [module for module in model.modules() if isinstance(module, (Attention, nn.MultiheadAttention))]
    others = [module for module in model.modules() if module not in own and _projects(module)]
    if not own + others:
        raise ValueError(
            f"{type(model).__name__} has 0 attention layers of the kinds that are known: those of vitedu, which have a "
            "method `weights`, torch's MultiheadAttention, and layers with a projection `qkv`, as timm's"
        )
    watch = _Watch()
    before = [(layer, _weights) for layer in own] + [(layer, watch.start) for layer in others]
    after = [(layer, watch.stop) for layer in others]
    with watch if others else nullcontext(), _recorded(model, before, after) as maps:
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
        remedy = "load_timm or load_torchvision makes a ViT of it"
        raise ValueError(f"{type(model).__name__} has 0 stacks of vitedu's blocks, expected at least 1; {remedy}")
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
                found = look(layer, *call)
            if found is not None:
                seen.append(found.detach())

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


def _projects(module: nn.Module) -> bool:
    """Whether the parts of a module have the names of those that make queries and keys."""
    names = {name for name, _ in module.named_children()}
    return any(projection <= names for projection in PROJECTIONS)


class _Watch(TorchFunctionMode):
    """Sees every call of a torch function, and keeps what a softmax gives from `start` to `stop` of a layer."""

    watching, found = False, ()

    def __torch_function__(self, func: Callable, types: tuple, args: tuple = (), kwargs: dict | None = None) -> object:
        kwargs = kwargs or {}
        output, name = func(*args, **kwargs), getattr(func, "__name__", "")
        if self.watching and name == "softmax" and kwargs.get("dim", args[1:2]) in (-1, (-1,)):
            self.found.append(output.detach().clone())  # dropout may follow, in place
        elif self.watching and name == "scaled_dot_product_attention":
            self.found.append(_of_fused(*args, **kwargs))
        return output

    def start(self, *_: object) -> None:
        """Before the layer runs."""
        self.watching, self.found = True, []

    def stop(self, layer: nn.Module, *_: object) -> Tensor:
        """After it: its weights (B, h, N, S)."""
        self.watching = False
        if len(self.found) != 1:
            kind, count = type(layer).__name__, len(self.found)
            raise ValueError(f"{kind} has projections as an attention layer, but {count} softmaxes over keys, not 1")
        return self.found.pop()


@torch.no_grad()
def _of_fused(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *rest: object, **options: object) -> Tensor:
    """The weights in a call of the fused kernel, with its masks and its scale: what it makes of one-hot values."""
    one_hot = torch.eye(k.shape[-2], dtype=v.dtype, device=v.device).expand(*v.shape[:-1], -1)  # (B, h, S, S)
    mask, causal = options.pop("attn_mask", mask), options.pop("is_causal", *rest[1:2] or (False,))
    options.pop("dropout_p", None)
    with sdpa_kernel(SDPBackend.MATH):  # the explicit softmax, whatever the width of the values
        return F.scaled_dot_product_attention(q, k, one_hot, mask, 0.0, causal, **options)  # (B, h, N, S)
