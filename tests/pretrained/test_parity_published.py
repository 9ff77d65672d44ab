"""Published Vision Transformers and what vitedu makes of their weights give the same scores and attention.

Every parameter is drawn at random: a fresh model of torchvision has a classifier of zeros, with which any scores agree.
"""

import pytest
import timm
import torch
import torchvision
from timm.models import VisionTransformer as TimmViT
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import Tensor, nn
from torchvision.models import VisionTransformer
from torchvision.models.vision_transformer import interpolate_embeddings

from tests.random_weights import random_images, randomise
from vitedu.attention import scaled_dot_product_attention
from vitedu.cost import count_parameters
from vitedu.pretrained.convert import TIMM_MODELS, TORCHVISION_MODELS, load_timm, load_torchvision
from vitedu.vit import ViT, preset

CLOSE = {"atol": 1e-5, "rtol": 1e-5}
FULL_SIZE = ("vit_tiny_patch16_224", "vit_small_patch16_224", "deit_tiny_patch16_224", "vit_base_patch16_224")


def without_numbers(build) -> nn.Module:
    """The module in memory that nobody has filled: its usual start would be thrown away."""
    with torch.device("meta"):
        return build().to_empty(device="cpu")


def slice_of(name: str, **changes) -> VisionTransformer:
    """A torchvision model with the patch side, heads and MLP ratio of `name`, but narrow, shallow and small."""
    with torch.device("meta"):
        full = getattr(torchvision.models, name)()
    heads, P = full.encoder.layers[0].num_heads, full.patch_size
    sizes = {"image_size": 2 * P, "patch_size": P, "num_layers": 2, "num_classes": 7}
    widths = {"num_heads": heads, "hidden_dim": 4 * heads, "mlp_dim": 16 * heads}
    return randomise(VisionTransformer(**sizes | widths | changes))


def timm_model(name: str, depth: int | None = None, **changes) -> TimmViT:
    """timm's model of that name, at reduced depth where the full one is large."""
    options = {"depth": depth} if depth else {}
    return randomise(without_numbers(lambda: timm.create_model(name, num_classes=10, **options, **changes)))


def worst(ours: Tensor, theirs: Tensor) -> float:
    assert theirs.std() > 0.05  # scores that hardly differ would agree with anything
    return (ours - theirs).abs().max().item()


# --- scores --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("B", [1, 3])
@pytest.mark.parametrize("name", TORCHVISION_MODELS)
def test_a_slice_of_each_torchvision_model_gives_its_scores(name, B):
    theirs = slice_of(name)
    images = random_images(B, 3, theirs.image_size, theirs.image_size)
    assert worst(load_torchvision(theirs)(images), theirs(images)) < 1e-5


def test_a_torchvision_model_with_a_pre_training_head_gives_its_scores():
    theirs = slice_of("vit_b_16", representation_size=20)
    ours = load_torchvision(theirs)
    assert ours.config.representation_size == 20
    images = random_images(2, 3, 32, 32)
    assert worst(ours(images), theirs(images)) < 1e-5


@pytest.mark.parametrize("name", TORCHVISION_MODELS)
def test_torchvision_names_lead_to_the_presets_parameter_by_parameter(name, monkeypatch):
    """Without their numbers: the shapes of the full models."""
    with torch.device("meta"):
        model = getattr(torchvision.models, name)()
    monkeypatch.setattr(torchvision.models, "get_model", lambda *args, **options: model)
    loaded = load_torchvision(name)
    assert loaded.config == preset(name[4:].upper().replace("_", "/"))
    assert count_parameters(loaded) == count_parameters(model)


def test_vit_b_16_of_torchvision_at_full_size_gives_its_scores():
    theirs = randomise(without_numbers(torchvision.models.vit_b_16))
    ours, images = load_torchvision(theirs), random_images(1, 3, 224, 224)
    assert count_parameters(ours) == 86_567_656
    with torch.inference_mode():
        assert worst(ours(images), theirs(images)) < 1e-5


@pytest.mark.parametrize("name", TIMM_MODELS)
def test_each_timm_model_gives_its_scores(name):
    """Those of FULL_SIZE whole, the others with two of their blocks."""
    theirs = timm_model(name, depth=None if name in FULL_SIZE else 2)
    ours, images = load_timm(theirs.state_dict(), name=name), random_images(1, 3, 224, 224)
    assert ours.config.depth == len(theirs.blocks)
    with torch.inference_mode():
        assert worst(ours(images), theirs(images)) < 1e-5


@pytest.mark.parametrize("name", TIMM_MODELS)
def test_timm_names_have_the_parameters_of_the_presets(name):
    sizes = {"tiny": "Ti", "small": "S", "base": "B", "large": "L", "huge": "H"}
    _, size, patch, _ = name.replace("distilled_", "").split("_")
    with torch.device("meta"):
        published = timm.create_model(name, num_classes=1000).state_dict()
    loaded = load_timm(published)
    assert loaded.config == preset(f"{sizes[size]}/{patch.removeprefix('patch')}")
    assert count_parameters(loaded) == sum(value.numel() for value in published.values())


@pytest.mark.parametrize(("size", "patch"), [((32, 48), 8), ((40, 8), (8, 4)), (16, 4)])
def test_timm_models_for_images_of_other_shapes_give_their_scores(size, patch):
    theirs = randomise(TimmViT(img_size=size, patch_size=patch, embed_dim=24, depth=2, num_heads=3, num_classes=5))
    ours = load_timm(theirs.state_dict(), num_heads=3, trained_size=size)
    images = random_images(2, 3, *(size if isinstance(size, tuple) else (size, size)))
    assert worst(ours(images), theirs(images)) < 1e-5


@pytest.mark.parametrize("options", [{"in_chans": 1}, {"mlp_ratio": 2.5}, {"depth": 1}, {"num_heads": 1}])
def test_what_the_weights_tell_is_read_from_them(options):
    sizes = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": 5} | options
    theirs = randomise(TimmViT(**sizes))
    images = random_images(2, sizes.get("in_chans", 3), 16, 16)
    assert worst(load_timm(theirs.state_dict(), num_heads=sizes["num_heads"])(images), theirs(images)) < 1e-5


def test_gradients_are_torchvisions_too():
    theirs = slice_of("vit_b_32")
    ours, images = load_torchvision(theirs), random_images(2, 3, 64, 64)
    for model in (ours, theirs):
        model.train()(images).square().sum().backward()
    stacked = theirs.encoder.layers[1].self_attention.in_proj_weight.grad
    attention = ours.encoder.blocks[1].attention
    for layer, expected in zip((attention.q_proj, attention.k_proj, attention.v_proj), stacked.chunk(3), strict=True):
        torch.testing.assert_close(layer.weight.grad, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours.cls_token.grad, theirs.class_token.grad, atol=1e-4, rtol=1e-4)


# --- attention maps ------------------------------------------------------------------------------------------------


def inputs_of(modules: list[nn.Module], model: nn.Module, images: Tensor) -> list[Tensor]:
    """What each of the modules was given when the model looked at the images."""
    seen = []
    hooks = [module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])) for module in modules]
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()
    return seen


def maps_of(model: ViT, images: Tensor) -> list[Tensor]:
    """The attention weights of every block of a `ViT`, each (B, h, 1 + N, 1 + N)."""
    attentions = [block.attention for block in model.encoder.blocks]
    maps = []
    for layer, x in zip(attentions, inputs_of(attentions, model, images), strict=True):
        q, k, v = (layer.split_heads(project(x)) for project in (layer.q_proj, layer.k_proj, layer.v_proj))
        maps.append(scaled_dot_product_attention(q, k, v)[1])
    return maps


def assert_equal_maps(ours: list[Tensor], theirs: list[Tensor]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        assert b.max() > 2 / b.shape[-1]  # not the uniform map, with which any other blurred one would agree
        torch.testing.assert_close(a, b, **CLOSE)


@pytest.mark.parametrize("name", TORCHVISION_MODELS)
def test_attention_maps_are_torchvisions(name):
    theirs = slice_of(name)
    images = random_images(2, 3, theirs.image_size, theirs.image_size)
    attentions = [block.self_attention for block in theirs.encoder.layers]
    inputs = inputs_of(attentions, theirs, images)
    expected = [layer(x, x, x, average_attn_weights=False)[1] for layer, x in zip(attentions, inputs, strict=True)]
    assert_equal_maps(maps_of(load_torchvision(theirs), images), expected)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit_small_patch16_224", "vit_huge_patch14_224"])
def test_attention_maps_are_timms(name):
    theirs = timm_model(name, depth=2)
    for block in theirs.blocks:
        block.attn.fused_attn = False  # timm then computes the weights, and drops some in training
    images = random_images(1, 3, 224, 224)
    expected = inputs_of([block.attn.attn_drop for block in theirs.blocks], theirs, images)
    assert_equal_maps(maps_of(load_timm(theirs.state_dict()), images), expected)


# --- other sizes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("new", [64, 32, 160, 96])
def test_another_size_is_what_torchvision_makes_of_it(new):
    sizes = {"num_layers": 2, "num_heads": 3, "hidden_dim": 24, "mlp_dim": 48, "num_classes": 5}
    old = randomise(VisionTransformer(96, 16, **sizes))
    theirs = VisionTransformer(new, 16, **sizes).eval()
    theirs.load_state_dict(interpolate_embeddings(new, 16, old.state_dict()))
    images = random_images(2, 3, new, new)
    assert worst(load_torchvision(old, image_size=new)(images), theirs(images)) < 1e-5


def test_an_oblong_size_is_what_torchvisions_parts_make_of_it():
    """torchvision's model itself takes square images only, so its parts are called one by one."""
    theirs, images = slice_of("vit_b_16", image_size=64), random_images(2, 3, 48, 80)
    ours = load_torchvision(theirs, image_size=(48, 80))
    grid = theirs.encoder.pos_embedding[0, 1:].T.unflatten(1, (4, 4))[None]
    resized = nn.functional.interpolate(grid, size=(3, 5), mode="bicubic", align_corners=True)[0].flatten(1).T
    theirs.encoder.pos_embedding.data = torch.cat([theirs.encoder.pos_embedding[0, :1], resized])[None]
    patches = theirs.conv_proj(images).flatten(2).transpose(1, 2)  # (B, N, D)
    tokens = torch.cat([theirs.class_token.expand(2, -1, -1), patches], dim=1)
    assert worst(ours(images), theirs.heads(theirs.encoder(tokens)[:, 0])) < 1e-5


@pytest.mark.parametrize("new", [(64, 64), (32, 32), (160, 160), (48, 80), (112, 32)])
def test_another_size_is_what_timm_makes_of_it(new):
    sizes = {"patch_size": 16, "embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": 5}
    old = randomise(TimmViT(img_size=96, **sizes))
    theirs = TimmViT(img_size=new, **sizes).eval()
    theirs.load_state_dict(checkpoint_filter_fn(old.state_dict(), theirs))
    images = random_images(2, 3, *new)
    assert worst(load_timm(old.state_dict(), image_size=new, num_heads=3)(images), theirs(images)) < 1e-5


def test_the_two_practices_of_interpolation_differ():
    """So that neither of the tests above would pass with the other's."""
    theirs = randomise(TimmViT(img_size=96, patch_size=16, embed_dim=24, depth=2, num_heads=3, num_classes=5))
    timms = load_timm(theirs.state_dict(), image_size=64, num_heads=3).positions.table
    same = randomise(VisionTransformer(96, 16, 2, 3, 24, 96, num_classes=5))
    same.encoder.pos_embedding.data = theirs.pos_embed.data.clone()
    assert (load_torchvision(same, image_size=64).positions.table - timms).abs().max() > 0.01
