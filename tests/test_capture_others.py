"""`vitedu.capture` on the attention layers of others: maps are the weights they use, and they compute what they did."""

import math

import pytest
import timm
import torch
import vit_pytorch
from timm.models import VisionTransformer as TimmViT
from torch import nn

from tests.random_weights import random_images, randomise
from tests.test_capture import EXACT, IMAGES, captured, hooks
from vitedu.inspection import capture_attention

VARIANTS = {
    "plain": {},
    "registers": {"reg_tokens": 4},
    "registers without positions": {"reg_tokens": 4, "no_embed_class": True, "init_values": 0.1},
    "no class token": {"class_token": False, "global_pool": "avg"},
    "queries and keys normalised": {"qk_norm": True, "scale_attn_norm": True},
    "dropout": {"attn_drop_rate": 0.5, "proj_drop_rate": 0.5},
}


def timm_vit(**options) -> TimmViT:
    sizes = {"img_size": 8, "patch_size": 4, "embed_dim": 12, "depth": 3, "num_heads": 3, "num_classes": 5}
    return randomise(TimmViT(**sizes | options))


def explicit_maps_of_timm(model: TimmViT, images: torch.Tensor) -> list[torch.Tensor]:
    """Written out from what each attention layer was given, its mask included."""
    maps = []

    def write_out(layer, args, kwargs):
        q, k, _ = layer.qkv.forward(args[0]).unflatten(-1, (3, 3, -1)).permute(2, 0, 3, 1, 4)
        scores = layer.q_norm(q) @ layer.k_norm(k).mT / math.sqrt(q.shape[-1])
        if kwargs.get("attn_mask") is not None:
            scores = scores.masked_fill(~kwargs["attn_mask"], -math.inf)
        maps.append(scores.softmax(dim=-1).detach())

    hooks = [block.attn.register_forward_pre_hook(write_out, with_kwargs=True) for block in model.blocks]
    model(images)
    for hook in hooks:
        hook.remove()
    return maps


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_maps_of_timms_models_are_the_explicit_softmax_and_change_nothing(variant, fused, training):
    model = timm_vit(**VARIANTS[variant]).train(training)
    for block in model.blocks:
        block.attn.fused_attn = fused
    torch.manual_seed(0)
    expected, before = explicit_maps_of_timm(model, IMAGES), torch.rand(1)
    torch.manual_seed(0)
    plain = model(IMAGES)
    torch.manual_seed(0)
    with capture_attention(model) as maps:
        scores = model(IMAGES)
    assert torch.equal(scores, plain)
    assert torch.equal(torch.rand(1), before)
    assert [m.shape[1] for m in maps] == [3, 3, 3]
    assert not any(m.requires_grad for m in maps)
    assert hooks(model) == 0
    for mine, theirs in zip(maps, expected, strict=True):
        torch.testing.assert_close(mine, theirs, **EXACT)


@pytest.mark.parametrize("options", [{"attn_mask": torch.ones(4, 4, dtype=torch.bool).tril()}, {"is_causal": True}])
@pytest.mark.parametrize("fused", [True, False])
def test_masks_of_timms_layers_reach_the_maps(options, fused):
    layer, x = timm_vit().blocks[0].attn, torch.randn(2, 4, 12)
    layer.fused_attn = fused
    with capture_attention(layer) as maps:
        layer(x, **options)
    assert not maps[0].triu(1).any()
    torch.testing.assert_close(maps[0].sum(dim=-1), torch.ones(2, 3, 4))


def test_timms_models_are_captured_compiled_and_recomputed_in_the_backward_pass():
    model = timm_vit().eval()
    expected = captured(model)
    compiled = torch.compile(model, backend="eager")
    compiled(IMAGES)
    model.set_grad_checkpointing()
    for run in (compiled, model.train()):
        with capture_attention(run) as maps:
            run(IMAGES).sum().backward()
        for mine, theirs in zip(maps, expected, strict=True):
            torch.testing.assert_close(mine, theirs, **EXACT)


@pytest.mark.parametrize(
    ("build", "attention", "values", "output"),
    [
        (lambda: timm.create_model("vit_relpos_small_patch16_224", img_size=32, depth=1), "attn", "qkv", "proj"),
        (lambda: timm.create_model("vit_small_patch16_rope_224", img_size=32, depth=1), "attn", "qkv", "proj"),
        (lambda: vit_pytorch.ViT(image_size=32, patch_size=16, num_classes=3, dim=8, depth=1, heads=2, mlp_dim=8),
         "layers.0.0", "to_qkv", "to_out"),
    ],
)  # fmt: skip
def test_the_weights_times_the_values_are_what_a_layer_makes_of_them(build, attention, values, output):
    """Whatever its scores are made of: relative positions, rotated queries, a softmax that is a module."""
    model = build().eval()
    layer = next(m for name, m in model.named_modules() if name.endswith(attention))
    seen = []
    layer.get_submodule(values).register_forward_hook(lambda _, args, out: seen.append(out))
    layer.get_submodule(output).register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad(), capture_attention(model) as maps:
        model(random_images(2, 3, 32, 32))
    v, mixed = seen
    v = v[..., -mixed.shape[-1] :].unflatten(-1, (maps[0].shape[1], -1)).transpose(1, 2)  # (B, h, N, d)
    torch.testing.assert_close((maps[0] @ v).transpose(1, 2).flatten(2), mixed, atol=1e-5, rtol=1e-5)


def test_a_layer_without_one_softmax_over_keys_is_refused_rather_than_misread():
    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv = nn.Linear(4, 12)

        def forward(self, x):
            return self.qkv(x)[..., :4].softmax(dim=1)

    message = "Linear has projections as an attention layer, but 0 softmaxes over keys, not 1"
    with pytest.raises(ValueError, match=message), capture_attention(layer := Linear()):
        layer(torch.zeros(1, 3, 4))
    assert hooks(layer) == 0
