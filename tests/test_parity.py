"""Equality with the implementations that others published, under the same weights, all of them random."""

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

from tests.random_weights import randomise
from vitedu.attention import MultiHeadAttention, scaled_dot_product_attention
from vitedu.block import Encoder, EncoderBlock
from vitedu.cost import count_parameters
from vitedu.position import interpolate_positions
from vitedu.vit import ViT, ViTConfig, preset


def random_tensor(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def split_in_proj(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The projections of torch's attention, which stacks those of queries, keys and values, under vitedu's names."""
    carried = {}
    for kind in ("weight", "bias"):
        if f"{prefix}in_proj_{kind}" in weights:
            for part, value in zip("qkv", weights[f"{prefix}in_proj_{kind}"].chunk(3), strict=True):
                carried[f"{part}_proj.{kind}"] = value
            carried[f"out_proj.{kind}"] = weights[f"{prefix}out_proj.{kind}"]
    return carried


def carry_block(weights: dict[str, Tensor], attention: str, parts: dict[str, str]) -> dict[str, Tensor]:
    """One encoder block: `parts` maps vitedu's names of the other layers to the published ones."""
    carried = {f"attention.{name}": value for name, value in split_in_proj(weights, attention).items()}
    for ours, theirs in parts.items():
        carried |= {f"{ours}.{kind}": weights[f"{theirs}.{kind}"] for kind in ("weight", "bias")}
    return carried


def carry_torch_layer(weights: dict[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """`nn.TransformerEncoderLayer` -> `EncoderBlock`."""
    parts = {"norm1": "norm1", "norm2": "norm2", "mlp.fc1": "linear1", "mlp.fc2": "linear2"}
    return carry_block(weights, f"{prefix}self_attn.", {ours: prefix + theirs for ours, theirs in parts.items()})


def carry_vision_transformer(weights: dict[str, Tensor], depth: int) -> dict[str, Tensor]:
    """`torchvision.models.VisionTransformer` -> `ViT`."""
    carried = {
        "patch_embed.proj.weight": weights["conv_proj.weight"].flatten(1),
        "patch_embed.proj.bias": weights["conv_proj.bias"],
        "cls_token": weights["class_token"],
        "positions.table": weights["encoder.pos_embedding"][0],
        "encoder.norm.weight": weights["encoder.ln.weight"],
        "encoder.norm.bias": weights["encoder.ln.bias"],
        "head.weight": weights["heads.head.weight"],
        "head.bias": weights["heads.head.bias"],
    }
    for index in range(depth):
        prefix = f"encoder.layers.encoder_layer_{index}."
        parts = {"norm1": "ln_1", "norm2": "ln_2", "mlp.fc1": "mlp.0", "mlp.fc2": "mlp.3"}
        parts = {ours: prefix + theirs for ours, theirs in parts.items()}
        block = carry_block(weights, f"{prefix}self_attention.", parts)
        carried |= {f"encoder.blocks.{index}.{name}": value for name, value in block.items()}
    return carried


# --- torch.nn.MultiheadAttention ---------------------------------------------------------------------------------


def attention_pair(dim: int, num_heads: int, bias: bool = True) -> tuple[MultiHeadAttention, nn.MultiheadAttention]:
    theirs = randomise(nn.MultiheadAttention(dim, num_heads, bias=bias, batch_first=True))
    ours = MultiHeadAttention(dim, num_heads, bias=bias)
    ours.load_state_dict(split_in_proj(theirs.state_dict(), ""))
    return ours, theirs


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("B", "N", "M", "dim", "num_heads"), [(2, 5, 5, 12, 3), (1, 4, 9, 8, 1), (3, 1, 6, 8, 8)])
@pytest.mark.parametrize("masked", [False, True])
def test_multi_head_attention_equals_torchs(B, N, M, dim, num_heads, bias, training, masked):
    ours, theirs = (module.train(training) for module in attention_pair(dim, num_heads, bias))
    x, context = random_tensor(B, N, dim), random_tensor(B, M, dim, seed=2)
    mask = random_tensor(N, M, seed=3) < 0.5 if masked else None
    forbidden = None if mask is None else ~mask  # torch's mask says where a query may *not* look
    expected, _ = theirs(x, context, context, attn_mask=forbidden, need_weights=False)
    torch.testing.assert_close(ours(x, context, mask), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_self_attention_equals_torchs(training):
    ours, theirs = (module.train(training) for module in attention_pair(12, 4))
    x = random_tensor(2, 6, 12)
    torch.testing.assert_close(ours(x), theirs(x, x, x, need_weights=False)[0], atol=1e-5, rtol=1e-5)


def test_a_padding_mask_equals_torchs_key_padding_mask():
    ours, theirs = attention_pair(12, 3)
    x, padding = random_tensor(2, 5, 12), torch.tensor([[False] * 5, [False, False, False, True, True]])
    expected, _ = theirs(x, x, x, key_padding_mask=padding, need_weights=False)
    torch.testing.assert_close(ours(x, mask=~padding[:, None, None, :]), expected, atol=1e-5, rtol=1e-5)


def test_the_written_out_weights_equal_those_torch_reports_head_by_head():
    ours, theirs = attention_pair(12, 3)
    x, mask = random_tensor(2, 5, 12), torch.ones(5, 5, dtype=torch.bool).tril()
    _, expected = theirs(x, x, x, attn_mask=~mask, average_attn_weights=False)
    q, k, v = (ours.split_heads(layer(x)) for layer in (ours.q_proj, ours.k_proj, ours.v_proj))
    torch.testing.assert_close(scaled_dot_product_attention(q, k, v, mask)[1], expected, atol=1e-6, rtol=1e-5)


def test_gradients_equal_those_of_torchs_attention():
    ours, theirs = attention_pair(12, 3)
    x = random_tensor(2, 5, 12)
    ours(x).square().sum().backward()
    theirs(x, x, x, need_weights=False)[0].square().sum().backward()
    expected = split_in_proj({name: parameter.grad for name, parameter in theirs.named_parameters()}, "")
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], atol=1e-4, rtol=1e-4)


# --- torch.nn.TransformerEncoderLayer ----------------------------------------------------------------------------

OPTIONS = {"activation": "gelu", "batch_first": True, "dropout": 0.0, "layer_norm_eps": 1e-6}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_block_equals_torchs_encoder_layer(norm, masked, training):
    theirs = randomise(nn.TransformerEncoderLayer(12, 3, 48, norm_first=norm == "pre", **OPTIONS)).train(training)
    ours = EncoderBlock(12, 3, norm=norm).train(training)
    ours.load_state_dict(carry_torch_layer(theirs.state_dict()))
    x, mask = random_tensor(2, 5, 12), torch.ones(5, 5, dtype=torch.bool).tril() if masked else None
    expected = theirs(x, src_mask=~mask if masked else None)
    torch.testing.assert_close(ours(x, mask), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_stack_equals_torchs_encoder(norm):
    layer = nn.TransformerEncoderLayer(12, 3, 24, norm_first=norm == "pre", **OPTIONS)
    last = nn.LayerNorm(12, eps=1e-6) if norm == "pre" else None
    theirs = randomise(nn.TransformerEncoder(layer, 3, norm=last, enable_nested_tensor=False))
    ours, weights = Encoder(3, 12, 3, mlp_ratio=2.0, norm=norm), theirs.state_dict()
    for index, block in enumerate(ours.blocks):
        block.load_state_dict(carry_torch_layer(weights, f"layers.{index}."))
    if norm == "pre":
        ours.norm.load_state_dict(theirs.norm.state_dict())
    x = random_tensor(2, 5, 12)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)


# --- torchvision.models.VisionTransformer ------------------------------------------------------------------------

SIZES = [  # image side, patch side, width, depth, heads, hidden width of the MLP, classes
    (8, 4, 12, 1, 3, 48, 5),
    (12, 4, 16, 3, 4, 32, 10),
    (32, 8, 24, 2, 1, 96, 7),
    (15, 5, 8, 2, 8, 20, 1),
]


def vit_pair(image: int, patch: int, dim: int, depth: int, heads: int, hidden: int, classes: int):
    theirs = randomise(VisionTransformer(image, patch, depth, heads, dim, hidden, num_classes=classes))
    fields = {"image_size": image, "patch_size": patch, "num_classes": classes, "mlp_ratio": hidden / dim}
    ours = ViT(ViTConfig(dim=dim, depth=depth, num_heads=heads, **fields))
    ours.load_state_dict(carry_vision_transformer(theirs.state_dict(), depth))
    return ours, theirs


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_the_vit_equals_torchvisions(size, training):
    ours, theirs = (model.train(training) for model in vit_pair(*size))
    for B in (1, 3):
        images = random_tensor(B, 3, size[0], size[0])
        torch.testing.assert_close(ours(images), theirs(images), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("options", [{"dropout": 0.3}, {"attention_dropout": 0.3}])
def test_dropout_strikes_where_torchvisions_does(options):
    """The same seed drops the same numbers if every dropout stands in the same place (and lays out one image alike)."""
    theirs = randomise(VisionTransformer(8, 4, 2, 3, 12, 48, num_classes=5, **options))
    ours = ViT(ViTConfig(image_size=8, patch_size=4, num_classes=5, dim=12, depth=2, num_heads=3, **options))
    ours.load_state_dict(carry_vision_transformer(theirs.state_dict(), 2))
    images, scores = random_tensor(1, 3, 8, 8), []
    for model in (ours, theirs):
        torch.manual_seed(0)
        scores.append(model(images))
    torch.testing.assert_close(scores[0], scores[1], atol=1e-5, rtol=1e-5)
    assert (scores[0] - ours.eval()(images)).abs().max() > 1e-2


@pytest.mark.parametrize("size", SIZES[:2])
def test_its_gradients_equal_torchvisions(size):
    ours, theirs = vit_pair(*size)
    images, labels = random_tensor(3, 3, size[0], size[0]), torch.arange(3)
    for model in (ours, theirs):
        nn.functional.cross_entropy(model(images), labels).backward()
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    expected = carry_vision_transformer(gradients, size[3])
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("old", "new"), [(16, 24), (32, 16), (16, 16)])
def test_a_vit_carried_to_another_resolution_equals_torchvisions(old, new):
    ours, theirs = vit_pair(old, 4, 12, 2, 3, 48, 5)
    weights = interpolate_embeddings(new, 4, theirs.state_dict())
    carried = carry_vision_transformer(weights, 2)
    table = interpolate_positions(ours.positions.table, (old // 4, old // 4), (new // 4, new // 4))
    torch.testing.assert_close(table.data, carried["positions.table"], atol=1e-6, rtol=1e-6)
    larger = VisionTransformer(new, 4, 2, 3, 12, 48, num_classes=5)
    larger.load_state_dict(weights)
    fields = {"dim": 12, "depth": 2, "num_heads": 3, "num_classes": 5}
    model = ViT(ViTConfig(image_size=new, patch_size=4, **fields))
    model.load_state_dict(ours.state_dict() | {"positions.table": table.data})
    images = random_tensor(2, 3, new, new)
    torch.testing.assert_close(model(images), larger(images), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "published"),
    [("B/16", "vit_b_16"), ("B/32", "vit_b_32"), ("L/16", "vit_l_16"), ("L/32", "vit_l_32"), ("H/14", "vit_h_14")],
)
def test_presets_have_the_parameters_of_torchvisions_models_name_by_name(name, published):
    with torch.device("meta"):
        ours, theirs = ViT(preset(name)), getattr(torchvision.models, published)()
    assert count_parameters(ours) == count_parameters(theirs)
    carried = carry_vision_transformer(theirs.state_dict(), preset(name).depth)
    found = {key: value.shape for key, value in ours.state_dict().items()}
    assert found == {key: value.shape for key, value in carried.items()}


def test_vit_b_16_at_full_size_equals_torchvisions():
    with torch.device("meta"):
        ours, theirs = ViT(preset("B/16")).eval(), torchvision.models.vit_b_16().eval()
    randomise(theirs.to_empty(device="cpu"))
    ours.load_state_dict(carry_vision_transformer(theirs.state_dict(), 12), assign=True)
    images = random_tensor(1, 3, 224, 224)
    with torch.inference_mode():
        torch.testing.assert_close(ours(images), theirs(images), atol=1e-5, rtol=1e-5)
