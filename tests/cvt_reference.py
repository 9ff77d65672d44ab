"""CvT once more, as a function of published weights: for tests of equality, and sharing nothing with vitedu.

Written after what the two published code bases compute, github.com/microsoft/CvT (lib/models/cls_cvt.py) and
transformers' CvtForImageClassification; equal to both within 5e-6 when it was written (commit f851e68, version 5.24.0).
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

# Where each code base keeps the parts of stage i, block j and projection x.
MICROSOFT = {
    "embed": "stage{i}.patch_embed.proj",
    "embed_norm": "stage{i}.patch_embed.norm",
    "cls": "stage2.cls_token",
    "norm1": "stage{i}.blocks.{j}.norm1",
    "conv": "stage{i}.blocks.{j}.attn.conv_proj_{x}.conv",
    "bn": "stage{i}.blocks.{j}.attn.conv_proj_{x}.bn",
    "linear": "stage{i}.blocks.{j}.attn.proj_{x}",
    "out": "stage{i}.blocks.{j}.attn.proj",
    "norm2": "stage{i}.blocks.{j}.norm2",
    "fc1": "stage{i}.blocks.{j}.mlp.fc1",
    "fc2": "stage{i}.blocks.{j}.mlp.fc2",
    "norm": "norm",
    "head": "head",
    "qkv": "qkv",
}
STAGE, LAYER = "cvt.encoder.stages.{i}", "cvt.encoder.stages.{i}.layers.{j}"
CONV = LAYER + ".attention.attention.convolution_projection_{x}.convolution_projection"
HUGGING_FACE = {
    "embed": STAGE + ".embedding.convolution_embeddings.projection",
    "embed_norm": STAGE + ".embedding.convolution_embeddings.normalization",
    "cls": "cvt.encoder.stages.2.cls_token",
    "norm1": LAYER + ".layernorm_before",
    "conv": CONV + ".convolution",
    "bn": CONV + ".normalization",
    "linear": LAYER + ".attention.attention.projection_{x}",
    "out": LAYER + ".attention.output.dense",
    "norm2": LAYER + ".layernorm_after",
    "fc1": LAYER + ".intermediate.dense",
    "fc2": LAYER + ".output.dense",
    "norm": "layernorm",
    "head": "classifier",
    "qkv": ("query", "key", "value"),
}
KERNELS, STRIDES, PADDINGS = (7, 3, 3), (4, 2, 2), (2, 1, 1)


def random_weights(names: dict, dims: tuple, depths: tuple, classes: int, loud: bool) -> dict[str, Tensor]:
    """As a model starts, or `loud`: every number random, batch norm's means and variances too."""
    generator, weights = torch.Generator().manual_seed(0), {}

    def normal(*shape: int) -> Tensor:
        fan_in = math.prod(shape[1:]) if len(shape) > 1 else 4
        return torch.randn(shape, generator=generator) * (fan_in**-0.5 if loud else 0.02)

    def add(part: str, *shape: int, bias: bool = True, **where) -> None:
        weights[names[part].format(**where) + ".weight"] = normal(*shape)
        if bias:
            weights[names[part].format(**where) + ".bias"] = normal(shape[0]) * loud

    def add_norm(part: str, dim: int, **where) -> str:
        name = names[part].format(**where)
        weights[f"{name}.weight"] = normal(dim) + 0.5 if loud else torch.ones(dim)
        weights[f"{name}.bias"] = normal(dim) * loud
        return name

    channels = (3, *dims)
    for i, (dim, depth) in enumerate(zip(dims, depths, strict=True)):
        add("embed", dim, channels[i], KERNELS[i], KERNELS[i], i=i)
        add_norm("embed_norm", dim, i=i)
        for j in range(depth):
            at = {"i": i, "j": j}
            for x in names["qkv"]:
                add("conv", dim, 1, 3, 3, bias=False, x=x, **at)
                bn = add_norm("bn", dim, x=x, **at)
                weights[f"{bn}.running_mean"] = normal(dim) * loud
                weights[f"{bn}.running_var"] = torch.rand(dim, generator=generator) + 0.5 if loud else torch.ones(dim)
                weights[f"{bn}.num_batches_tracked"] = torch.tensor(3)
                add("linear", dim, dim, x=x, **at)
            for part in ("norm1", "norm2"):
                add_norm(part, dim, **at)
            for part, shape in {"out": (dim, dim), "fc1": (4 * dim, dim), "fc2": (dim, 4 * dim)}.items():
                add(part, *shape, **at)
    weights[names["cls"]] = normal(1, 1, dims[-1])
    add_norm("norm", dims[-1])
    add("head", classes, dims[-1])
    return weights


def cvt(weights: dict, names: dict, heads: tuple, gelu: Callable, images: Tensor, training: bool = False) -> Tensor:
    """Images (B, 3, H, W) -> scores (B, K). In training, batch norm's running statistics in `weights` move."""

    def get(part: str, kind: str, **where) -> Tensor:
        return weights[names[part].format(**where) + "." + kind]

    def linear(part: str, tokens: Tensor, **where) -> Tensor:
        return torch.einsum("bnc,dc->bnd", tokens, get(part, "weight", **where)) + get(part, "bias", **where)

    def layer_norm(part: str, x: Tensor, **where) -> Tensor:
        x = x - x.mean(-1, keepdim=True)
        x = x / torch.sqrt(x.square().mean(-1, keepdim=True) + 1e-5)
        return x * get(part, "weight", **where) + get(part, "bias", **where)

    def project(grid: Tensor, cls: Tensor, stride: int, **where) -> Tensor:
        """(B, D, gh, gw) and (B, 0 or 1, D) -> (B, N', D)."""
        grid = F.conv2d(grid, get("conv", "weight", **where), None, stride, 1, groups=grid.shape[1])
        mean, var, w, b = (get("bn", kind, **where) for kind in ("running_mean", "running_var", "weight", "bias"))
        grid = F.batch_norm(grid, mean, var, w, b, training, 0.1, 1e-5)
        return linear("linear", torch.cat([cls, grid.flatten(2).transpose(1, 2)], 1), **where)

    x, cls = images, images.new_zeros(len(images), 0, 0)
    stages = 1 + max(i for i in range(9) if names["embed"].format(i=i) + ".bias" in weights)
    for i in range(stages):
        x = F.conv2d(x, get("embed", "weight", i=i), get("embed", "bias", i=i), STRIDES[i], PADDINGS[i])
        size, dim = x.shape[2:], x.shape[1]
        x = layer_norm("embed_norm", x.permute(0, 2, 3, 1).flatten(1, 2), i=i)
        cls = weights[names["cls"]].expand(len(x), 1, dim) if i == stages - 1 else x[:, :0]
        j = 0
        while names["norm1"].format(i=i, j=j) + ".bias" in weights:
            at = {"i": i, "j": j}
            both = layer_norm("norm1", torch.cat([cls, x], 1), **at)
            grid, first = both[:, cls.shape[1] :].transpose(1, 2).unflatten(2, size), both[:, : cls.shape[1]]
            q, k, v = (project(grid, first, s, x=n, **at) for n, s in zip(names["qkv"], (1, 2, 2), strict=True))
            q, k, v = (t.reshape(len(t), t.shape[1], heads[i], -1) for t in (q, k, v))
            attention = (torch.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(dim)).softmax(-1)
            both = torch.cat([cls, x], 1) + linear(
                "out", torch.einsum("bhqk,bkhd->bqhd", attention, v).flatten(2), **at
            )
            hidden = gelu(linear("fc1", layer_norm("norm2", both, **at), **at))
            both = both + linear("fc2", hidden, **at)
            cls, x, j = both[:, : cls.shape[1]], both[:, cls.shape[1] :], j + 1
        x = x.transpose(1, 2).unflatten(2, size)
    return linear("head", layer_norm("norm", cls))[:, 0]
