"""`vitedu.pretrained.convert`: what it refuses and how it says so, new classifiers, and weights from torch's cache.

That the scores are the published ones is the subject of test_parity_published.py.
"""

import re
from urllib.error import URLError

import pytest
import timm
import torch
import torchvision
from timm.models import VisionTransformer as TimmViT
from torch import nn
from torchvision.models import VisionTransformer, ViT_B_32_Weights
from torchvision.models.vision_transformer import ConvStemConfig

from tests.random_weights import random_images, randomise
from vitedu.pretrained import load_timm, load_torchvision

SIZES = {"embed_dim": 192, "depth": 2, "num_heads": 3, "num_classes": 5, "img_size": 16, "patch_size": 4}


@pytest.fixture
def theirs() -> VisionTransformer:
    return randomise(VisionTransformer(16, 4, 2, 3, 12, 48, num_classes=5, representation_size=8))


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    """The state dict of a timm model."""
    return dict(randomise(TimmViT(**SIZES)).state_dict())


# --- what is refused, and the words ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("vit_small_patch14_reg4_dinov2", "it has register tokens (reg_token)"),
        ("vit_xsmall_patch16_clip_224", "it normalises the tokens before the first block (norm_pre.weight)"),
        (
            "vit_base_patch16_siglip_224",
            "its classifier reads all tokens through one more attention (attn_pool.latent)",
        ),
        ("eva_large_patch14_196", "its classifier reads the mean over the patches (fc_norm.weight)"),
        ("deit3_small_patch16_224", "it scales each branch by learned numbers (blocks.0.ls1.gamma)"),
        ("vit_tiny_r_s16_p8_224", "its patches come from a convolutional network (patch_embed.backbone."),
        ("aimv2_large_patch14_224", "it has a LayerNorm in a place of its own (patch_embed.norm.weight)"),
        ("vit_base_patch16_gap_224", "it has no class token"),
    ],
)
def test_other_timm_models_are_refused_by_name_with_the_reason(name, reason):
    with torch.device("meta"):
        published = timm.create_model(name, depth=1).state_dict()
    with pytest.raises(ValueError, match=re.escape(f"timm's {name} is not a plain Vision Transformer: {reason}")):
        load_timm(published, name=name)
    with pytest.raises(ValueError, match=re.escape(f"this model is not a plain Vision Transformer: {reason}")):
        load_timm(published)


def test_normalised_queries_are_refused():
    with pytest.raises(ValueError, match=re.escape("it normalises queries and keys (blocks.0.attn.q_norm.weight)")):
        load_timm(TimmViT(**SIZES, qk_norm=True).state_dict())


def test_a_timm_name_that_is_not_tested_is_refused_though_its_weights_would_fit(weights):
    with pytest.raises(ValueError, match="timm's vit_base_patch8_224 is not among the models tested to give equal"):
        load_timm(weights, name="vit_base_patch8_224")
    load_timm(weights)
    load_timm(weights, name="vit_tiny_patch16_224.augreg_in21k")  # the part after the dot names the weights


def test_a_model_without_the_bias_of_its_queries_is_refused():
    with torch.device("meta"):
        published = timm.create_model("vit_base_patch16_224_miil", depth=1).state_dict()
    with pytest.raises(ValueError, match=re.escape("blocks.0.attn.qkv.bias is missing")):
        load_timm(published)


def test_every_single_missing_weight_is_named(weights):
    for key in weights:
        less = {other: value for other, value in weights.items() if other != key}
        complaint = "it has no class token" if key == "cls_token" else f"{key} is missing"
        with pytest.raises(ValueError, match=re.escape(complaint)):
            load_timm(less)


def test_every_single_wrong_shape_is_named_with_both_shapes(weights):
    for key, value in weights.items():
        if key in ("patch_embed.proj.weight", "pos_embed", "head.weight", "blocks.0.mlp.fc1.weight"):
            continue  # the sizes are read from these, so that the others seem wrong
        wrong = (*value.shape[:-1], value.shape[-1] + 1)
        message = f"{key} has shape {wrong}, expected {tuple(value.shape)}"
        with pytest.raises(ValueError, match=re.escape(message)):
            load_timm(weights | {key: torch.zeros(wrong)})


@pytest.mark.parametrize(
    ("key", "shape", "message"),
    [
        ("patch_embed.proj.weight", (192, 48), "patch_embed.proj.weight has shape (192, 48), expected 4 axes"),
        ("patch_embed.proj.weight", (384, 3, 4, 4), "has shape .*192.*, expected .*384"),
        ("pos_embed", (1, 10, 192), None),  # a smaller square: 3 × 3 patches, nothing contradicts it
        ("pos_embed", (1, 16, 192), "15 positions beside the class token's fill no square"),
        ("pos_embed", (17, 192), "pos_embed has shape (17, 192), expected 3 axes"),
        ("head.weight", (7, 192), "head.bias has shape (5,), expected (7,)"),
        ("head.weight", (5, 64), "head.weight has shape (5, 64), expected (5, 192)"),
        ("blocks.0.mlp.fc1.weight", (700, 192), "blocks.0.mlp.fc1.bias has shape (768,), expected (700,)"),
    ],
)
def test_a_wrong_shape_of_a_weight_that_tells_the_sizes_is_refused(weights, key, shape, message):
    changed = weights | {key: torch.zeros(shape)}
    if message is None:
        assert load_timm(changed).config.image_size == 12
        return
    pattern = message if ".*" in message else re.escape(message)
    with pytest.raises(ValueError, match=pattern):
        load_timm(changed)


def test_an_unknown_weight_is_named(weights):
    with pytest.raises(ValueError, match=re.escape("blocks.1.attn.bias_table has no place in a plain Vision")):
        load_timm(weights | {"blocks.1.attn.bias_table": torch.zeros(3)})
    with pytest.raises(ValueError, match=re.escape("patch_embed.proj.weight is missing")):
        load_timm({"model": weights["cls_token"]})


def test_heads_that_no_published_width_tells_have_to_be_given():
    published = TimmViT(**SIZES | {"embed_dim": 24}).state_dict()
    with pytest.raises(ValueError, match="the weights do not tell how many heads share the width 24; pass num_heads"):
        load_timm(published)
    assert load_timm(published, num_heads=6).config.num_heads == 6


def test_an_oblong_model_says_that_it_needs_the_size_of_its_images():
    published = TimmViT(**SIZES | {"img_size": (12, 16)}).state_dict()
    with pytest.raises(ValueError, match=r"12 positions beside .* fill no square; pass trained_size"):
        load_timm(published)
    assert load_timm(published, trained_size=(12, 16)).config.grid == (3, 4)


@pytest.mark.parametrize(
    ("source", "options", "error", "message"),
    [
        ("resnet50", {}, ValueError, "'resnet50' is not one of torchvision's vit_b_16, vit_b_32, vit_l_16, vit_l_32"),
        (
            "vit_b_16",
            {"weights": "IMAGENET1K_V2"},
            ValueError,
            "weights 'IMAGENET1K_V2' are not among those of vit_b_16",
        ),
        (
            "vit_b_16",
            {"weights": ViT_B_32_Weights.DEFAULT},
            ValueError,
            "are not among those of vit_b_16: IMAGENET1K_V1,",
        ),
        (nn.Linear(2, 3), {}, TypeError, "a Linear is no torchvision VisionTransformer; pass one, or its name"),
        (nn.Linear(2, 3), {"weights": "DEFAULT"}, ValueError, "weights DEFAULT go with a name, one of vit_b_16,"),
    ],
)
def test_what_is_no_torchvision_vision_transformer_is_refused(source, options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        load_torchvision(source, **options)


def test_a_stem_of_convolutions_is_refused():
    stem = [ConvStemConfig(out_channels=8, kernel_size=3, stride=2)] * 4
    model = VisionTransformer(32, 16, 1, 2, 8, 16, conv_stem_configs=stem)
    with pytest.raises(ValueError, match="its patches come from several convolutions"):
        load_torchvision(model)


# --- new sizes, new classifiers, and whose memory it is --------------------------------------------------------------


def test_a_new_classifier_starts_at_zero_and_the_rest_is_carried(theirs):
    kept, new = load_torchvision(theirs), load_torchvision(theirs, num_classes=3)
    images = random_images(2, 3, 16, 16)
    assert torch.equal(new(images), torch.zeros(2, 3))
    assert torch.equal(new.represent(images), kept.represent(images))
    assert (new.config.num_classes, new.config.representation_size) == (3, 0)  # the whole old head is gone
    assert new.head.weight.requires_grad


def test_the_same_number_of_classes_keeps_the_published_classifier(theirs):
    images = random_images(2, 3, 16, 16)
    assert torch.equal(load_torchvision(theirs, num_classes=5)(images), load_torchvision(theirs)(images))


def test_weights_without_a_classifier_need_a_number_of_classes(weights):
    headless = {key: value for key, value in weights.items() if not key.startswith("head")}
    with pytest.raises(ValueError, match=re.escape("head.weight is missing; pass num_classes for a new classifier")):
        load_timm(headless)
    for K in (1, 4):
        assert torch.equal(load_timm(headless, num_classes=K)(random_images(2, 3, 16, 16)), torch.zeros(2, K))


def test_an_image_size_that_the_patches_do_not_fill_is_refused(theirs):
    with pytest.raises(ValueError, match="image side 18 is not divisible by patch side 4; use 16 or 20"):
        load_torchvision(theirs, image_size=18)


def test_the_copy_is_the_readers_own(theirs, weights):
    """Training it changes neither the module nor the dictionary, nor one projection the other."""
    ours = load_torchvision(theirs)
    before = theirs.encoder.layers[0].self_attention.in_proj_weight.clone()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.zero_()
    assert torch.equal(theirs.encoder.layers[0].self_attention.in_proj_weight, before)
    attention = load_timm(weights).encoder.blocks[0].attention
    storages = {layer.weight.untyped_storage().data_ptr() for layer in (attention.q_proj, attention.k_proj)}
    assert len(storages) == 2
    assert attention.q_proj.weight.untyped_storage().nbytes() == attention.q_proj.weight.numel() * 4


def test_the_model_is_ready_to_use_and_can_be_trained(theirs):
    ours = load_torchvision(theirs)
    assert not ours.training
    assert all(parameter.requires_grad for parameter in ours.parameters())
    assert not any(parameter.is_meta for parameter in ours.parameters())


def test_dropout_and_epsilon_are_taken_over():
    def norm(dim):
        return nn.LayerNorm(dim, eps=1e-3)

    model = VisionTransformer(8, 4, 1, 2, 8, 16, dropout=0.2, attention_dropout=0.1, norm_layer=norm)
    config = load_torchvision(model).config
    assert (config.dropout, config.attention_dropout, config.eps) == (0.2, 0.1, 1e-3)


# --- torchvision's own way to fetch weights --------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """torch's cache in a folder of its own, and no network."""

    def no_network(*args, **options):
        raise URLError("no network in this test")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture
def narrow(monkeypatch):
    """torchvision's models, narrow and shallow, so that nobody waits for the numbers of the full ones."""

    class Narrow(VisionTransformer):
        def __init__(self, **options):
            super().__init__(**options | {"num_layers": 2, "num_heads": 3, "hidden_dim": 24, "mlp_dim": 48})

    monkeypatch.setattr(torchvision.models.vision_transformer, "VisionTransformer", Narrow)


def test_weights_that_cannot_be_fetched_are_named(cache, narrow):
    message = "weights IMAGENET1K_V1 of vit_b_32 are not in torch's cache and cannot be fetched: .*no network"
    with pytest.raises(OSError, match=message):
        load_torchvision("vit_b_32", weights="IMAGENET1K_V1")


@pytest.mark.parametrize(
    "weights",
    ["IMAGENET1K_V1", "DEFAULT", "ViT_B_32_Weights.DEFAULT", ViT_B_32_Weights.IMAGENET1K_V1, ViT_B_32_Weights.DEFAULT],
)
def test_weights_in_the_cache_are_loaded_without_a_network(cache, narrow, weights):
    """A file where torchvision keeps what it has downloaded; its numbers are random."""
    theirs = randomise(torchvision.models.vit_b_32())
    cache.mkdir(parents=True)
    file = torchvision.models.ViT_B_32_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
    torch.save(theirs.state_dict(), cache / file)
    ours, images = load_torchvision("vit_b_32", weights=weights), random_images(1, 3, 224, 224)
    torch.testing.assert_close(ours(images), theirs(images), atol=1e-5, rtol=1e-5)
    alone = load_torchvision(cache / file, num_heads=3)
    assert torch.equal(alone(images), ours(images))
    assert (load_torchvision("vit_b_32")(images) == 0).all()  # without weights it starts with a classifier of zeros


def test_the_names_of_torchvisions_own_files_are_understood(theirs):
    """They are older than its code: `linear_1` and `linear_2` in the MLP, which torchvision renames as it loads."""
    old = {
        key.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): w
        for key, w in theirs.state_dict().items()
    }
    images = random_images(2, 3, 16, 16)
    assert torch.equal(load_torchvision(old, num_heads=3)(images), load_torchvision(theirs)(images))
