"""Which patches speak for one class: attention, weighted by how much the score of that class gains from it.

Chefer et al., "Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder Transformers",
2021, section 3.1 (a stack of self-attention), arXiv:2103.15679.
"""

import torch
from torch import Tensor, nn

from vitedu.attention import MultiHeadAttention
from vitedu.capture import capture_attention
from vitedu.inspection.layout import layout_of
from vitedu.inspection.rollout import relevance


def class_relevance(model: nn.Module, images: Tensor, classes: Tensor | None = None) -> Tensor:
    """How much each patch speaks for a class: normalised images (B, C, H, W), classes (B,) -> pictures (B, gh, gw).

    Each weight A is multiplied by the gradient of the class's score by it; what speaks against the class, below zero,
    counts as nothing; the heads are averaged. From R = I the layers then add up: R <- R + A' R. The gradient by A is
    G Vᵀ, where G is the gradient by A V, so the fused kernel is left as it is.

    Args:
        model: a `ViT` or another plain one of the book's, in evaluation mode.
        images: as the model takes them.
        classes: whose score is asked about, one for each image; None takes the winning class of each.

    Raises:
        ValueError: the model is none of the book's, its tokens lie on no one grid, or there are not B classes.

    >>> from vitedu.vit import ViT, ViTConfig
    >>> model = ViT(ViTConfig(image_size=8, patch_size=4, dim=8, depth=2, num_heads=2)).eval()
    >>> class_relevance(model, torch.zeros(3, 3, 8, 8), torch.tensor([0, 1, 1])).shape
    torch.Size([3, 2, 2])
    """
    if classes is not None and classes.shape != images.shape[:1]:
        raise ValueError(f"classes have shape {tuple(classes.shape)}, expected ({len(images)},): one for each image")
    layers, values, mixed = [], [], []  # as they run: V before it is split, and A V with its heads joined, (B, N, D)
    hooks = []
    for layer in (module for module in model.modules() if isinstance(module, MultiHeadAttention)):
        hooks.append(layer.register_forward_pre_hook(lambda layer, args: layers.append(layer)))
        hooks.append(layer.v_proj.register_forward_hook(lambda _, args, output: values.append(output)))
        hooks.append(layer.out_proj.register_forward_pre_hook(lambda _, args: mixed.append(args[0])))
    pixels = images.detach().clone().requires_grad_()  # a graph even where all weights are frozen
    try:
        with torch.enable_grad(), capture_attention(model) as maps:
            scores = model(pixels)  # (B, K)
    finally:
        for hook in hooks:
            hook.remove()
    if len(layers) != len(maps):
        kind, remedy = type(model).__name__, "load_timm or load_torchvision makes a ViT of it"
        raise ValueError(f"{kind} has attention layers of another library, whose values are not known here; {remedy}")
    grid, num_prefix, _, pool = layout_of(model, images, maps)
    wanted = scores.argmax(dim=1) if classes is None else classes.to(scores.device)
    with torch.enable_grad():
        gradients = torch.autograd.grad(scores.gather(1, wanted[:, None]).sum(), mixed)  # G of each layer
    total = torch.eye(maps[0].shape[-1], device=images.device).expand(len(images), -1, -1)  # (B, N, N)
    for layer, A, V, G in zip(layers, maps, values, gradients, strict=True):
        by_weight = layer.split_heads(G) @ layer.split_heads(V.detach()).mT  # (B, h, N, N)
        useful = (A * by_weight).clamp(min=0).mean(dim=1)  # (B, N, N)
        total = total + useful @ total
    return relevance(total, grid, pool, num_prefix)
