"""`load_dinov2`, `load_clip`: scores are timm's under every naming; a mistake changes them; what does not fit is said.

timm translates the names of the authors' code by itself, which makes it a reference for those as well.
"""

import re
from functools import partial

import pytest
import timm
import torch
from safetensors.torch import load_file
from timm.models import VisionTransformer as TimmViT
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import Tensor, nn

from tests.random_weights import random_images, randomise
from vitedu.capture import capture_attention, capture_tokens
from vitedu.cost import count_parameters
from vitedu.inspection import relevance, rollout
from vitedu.inspection.layout import layout_of
from vitedu.models import clip, dinov2
from vitedu.models.activation import ACTIVATIONS
from vitedu.models.clip import ImageTower
from vitedu.models.dinov2 import DINOv2
from vitedu.pretrained import load_clip, load_dinov2, load_timm
from vitedu.pretrained.carry import published_name
from vitedu.pretrained.tower_names import HF_CLIP, HF_DINOV2, TIMM
from vitedu.vit import ViT

SIZES = {"img_size": (8, 12), "patch_size": 4, "embed_dim": 24, "depth": 3, "num_heads": 3, "num_classes": 0}
VARIANTS = {
    "DINOv2": {"init_values": 1.0},
    "registers": {"init_values": 1.0, "reg_tokens": 4, "no_embed_class": True},
    "CLIP": {
        **{"pre_norm": True, "act_layer": "quick_gelu", "norm_layer": partial(nn.LayerNorm, eps=1e-5)},
        "num_classes": 10,
    },
}
LOAD = {"DINOv2": load_dinov2, "registers": load_dinov2, "CLIP": load_clip}
EVERY = pytest.mark.parametrize("variant", VARIANTS)


def timms(variant: str, loud: bool = True, **changes) -> TimmViT:
    """timm's model as it starts, or with every number random."""
    torch.manual_seed(0)
    model = TimmViT(**SIZES | VARIANTS[variant] | changes).eval()
    if loud:
        randomise(model)
        for name, parameter in model.named_parameters():
            if name.endswith("gamma"):
                parameter.data += 0.5
    elif isinstance(model.head, nn.Linear):  # timm starts it at zero
        nn.init.normal_(model.head.weight, std=0.02)
    if isinstance(model.head, nn.Linear):
        nn.init.zeros_(model.head.bias)
    return model


def output(model: nn.Module, images: Tensor) -> Tensor:
    """What a tower gives for each image: the projection of CLS, or CLS itself."""
    return model.represent(images) if isinstance(model, DINOv2) else model(images)


@EVERY
@pytest.mark.parametrize("loud", [False, True])
@pytest.mark.parametrize("size", [(1, 3, 8, 12), (3, 3, 8, 12)])
def test_a_tower_gives_what_timms_gives(variant, loud, size):
    theirs, images = timms(variant, loud), random_images(*size)
    ours = LOAD[variant](theirs)
    torch.testing.assert_close(output(ours, images), theirs(images), atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.encode(images), theirs.forward_features(images), atol=1e-5, rtol=0)


@EVERY
def test_at_another_size_positions_are_interpolated_as_timm_does(variant):
    theirs = timms(variant, dynamic_img_size=True)
    for size in ((16, 8), (4, 12)):
        images = random_images(2, 3, *size)
        ours = LOAD[variant](theirs, image_size=size)
        torch.testing.assert_close(output(ours, images), theirs(images), atol=1e-5, rtol=0)


# --- mutants: each has to show in one of the two draws ---------------------------------------------------------------


def other_activation(model: ViT) -> None:
    now = type(model.encoder.blocks[0].mlp.activation)
    clip.use_activation(model.encoder, "gelu" if now is ACTIVATIONS["quick_gelu"] else "quick_gelu")


def other_eps(model: ViT) -> None:
    for norm in (module for module in model.modules() if isinstance(module, nn.LayerNorm)):
        norm.eps = 1e-5 if norm.eps == 1e-6 else 1e-6


def no_layer_scale(model: DINOv2) -> None:
    for block in model.encoder.blocks:
        nn.init.ones_(block.scale1)
        nn.init.ones_(block.scale2)


def scales_exchanged(model: DINOv2) -> None:
    for block in model.encoder.blocks:
        block.scale1, block.scale2 = block.scale2, block.scale1


def no_registers(model: DINOv2) -> None:
    model.registers = nn.Parameter(model.registers[:, :0])


def registers_with_positions(model: DINOv2) -> None:
    model.registers = nn.Parameter(model.registers + model.positions.table[1:5])


def a_position_for_cls(model: DINOv2) -> None:
    model.positions.table.data[0] += 1.0


def no_norm_before(model: ImageTower) -> None:
    model.norm_pre = nn.Identity()


def norm_before_positions(model: ImageTower) -> None:
    positions, norm = model.positions, model.norm_pre
    model.positions, model.norm_pre = nn.Sequential(norm, positions), nn.Identity()


def patches_cut_across(model: ViT) -> None:
    """Rows and columns of each patch exchanged in its filter."""
    weight = model.patch_embed.proj.weight
    weight.data = weight.data.view(-1, 3, 4, 4).transpose(2, 3).flatten(1)


def channels_last_in_a_patch(model: ViT) -> None:
    weight = model.patch_embed.proj.weight
    weight.data = weight.data.view(-1, 3, 16).transpose(1, 2).flatten(1)


def keys_for_queries(model: ViT) -> None:
    attention = model.encoder.blocks[0].attention
    attention.k_proj, attention.v_proj = attention.v_proj, attention.k_proj


ALL = [other_activation, other_eps, patches_cut_across, channels_last_in_a_patch, keys_for_queries]
MUTANTS = {
    "DINOv2": [*ALL, no_layer_scale, scales_exchanged],
    "registers": [*ALL, no_layer_scale, no_registers, registers_with_positions, a_position_for_cls],
    "CLIP": [*ALL, no_norm_before, norm_before_positions],
}


@pytest.mark.parametrize(("variant", "mutate"), [(v, m) for v, mutants in MUTANTS.items() for m in mutants])
@torch.no_grad()
def test_a_mistake_shows(variant, mutate):
    images, found = random_images(2, 3, 8, 12), []
    for loud in (False, True):
        theirs = timms(variant, loud)
        ours = LOAD[variant](theirs)
        mutate(ours)
        found.append((output(ours, images) - theirs(images)).abs().max().item())
    assert max(found) > 3e-5, found


def test_registers_behind_the_patches_would_give_the_same_vector_and_other_tokens():
    """Attention does not know the order of its tokens: so where they stand is seen in `encode`, and compared there."""
    theirs, images = timms("registers"), random_images(1, 3, 8, 12)
    tokens = load_dinov2(theirs).encode(images)
    moved = torch.cat([tokens[:, :1], tokens[:, 5:], tokens[:, 1:5]], dim=1)
    assert (moved - theirs.forward_features(images)).abs().max() > 1e-2


# --- names -----------------------------------------------------------------------------------------------------------

SQUARE = {"img_size": 8}


def as_meta_names_them(theirs: TimmViT, registers: bool) -> dict[str, Tensor]:
    """Weights under the names of github.com/facebookresearch/dinov2, and timm's model with what timm makes of them."""
    weights = {key: w.clone() for key, w in theirs.state_dict().items()}
    if registers:
        position = torch.randn(1, 1, 24)
        weights["register_tokens"] = weights.pop("reg_token")
        weights["pos_embed"] = torch.cat([position, weights["pos_embed"]], dim=1)
    weights["mask_token"] = torch.randn(1, 24)
    theirs.load_state_dict(checkpoint_filter_fn(dict(weights), theirs))
    return weights


@pytest.mark.parametrize("variant", ["DINOv2", "registers"])
def test_the_authors_names_of_dinov2_are_read(variant, capsys):
    theirs, images = timms(variant, **SQUARE), random_images(2, 3, 8, 8)
    weights = as_meta_names_them(theirs, variant == "registers")
    ours = load_dinov2({"teacher": {f"backbone.{key}": w for key, w in weights.items()}}, num_heads=3)
    torch.testing.assert_close(ours.represent(images), theirs(images), atol=1e-5, rtol=0)
    assert capsys.readouterr().out == "load_dinov2: taken from teacher.backbone; left out mask_token\n"


OPENAI = {  # written out beside what `tower_names` derives
    "cls_token": "class_embedding",
    "pos_embed": "positional_embedding",
    "patch_embed.proj.weight": "conv1.weight",
    "norm_pre": "ln_pre",
    "blocks": "transformer.resblocks",
    "norm1": "ln_1",
    "norm2": "ln_2",
    "attn.qkv.": "attn.in_proj_",
    "attn.proj": "attn.out_proj",
    "fc1": "c_fc",
    "fc2": "c_proj",
}


def as_openai_names_them(theirs: TimmViT) -> dict[str, Tensor]:
    weights = {}
    for key, value in theirs.state_dict().items():
        for old, new in OPENAI.items():
            key = key.replace(old, new)
        weights["ln_post" + key[4:] if key.startswith("norm.") else key] = value
    weights["proj"] = weights.pop("head.weight").T.contiguous()
    del weights["head.bias"]
    for name in ("class_embedding", "positional_embedding"):
        weights[name] = weights[name].flatten(0, 1).squeeze(0) if name[0] == "c" else weights[name][0]
    return {f"visual.{key}": value for key, value in weights.items()}


def test_the_authors_names_of_clip_are_read_beside_a_text_tower(tmp_path, capsys):
    theirs, images = timms("CLIP", **SQUARE), random_images(2, 3, 8, 8)
    weights = as_openai_names_them(theirs)
    again = timms("CLIP", **SQUARE)
    again.load_state_dict(checkpoint_filter_fn(dict(weights), again))  # timm reads them so, too
    torch.testing.assert_close(again(images), theirs(images))
    text = {"positional_embedding": torch.zeros(77, 24), "transformer.resblocks.0.ln_1.bias": torch.zeros(24)}
    torch.save(weights | text | {"logit_scale": torch.tensor(4.6)}, tmp_path / "clip.pt")
    ours = load_clip(tmp_path / "clip.pt", num_heads=3)
    torch.testing.assert_close(ours(images), theirs(images), atol=1e-5, rtol=0)
    said = "load_clip: taken from visual, not positional_embedding, transformer, logit_scale\n"
    assert capsys.readouterr().out == said


@pytest.mark.parametrize(
    ("name", "build", "load"),
    [
        ("vit_base_patch14_dinov2", partial(dinov2.preset, "B/14"), TIMM),
        ("vit_base_patch14_reg4_dinov2", partial(dinov2.preset, "B/14", num_registers=4), TIMM),
        ("vit_base_patch16_clip_quickgelu_224", partial(clip.preset, "B/16"), TIMM),
        ("vit_large_patch14_clip_quickgelu_224", partial(clip.preset, "L/14"), TIMM),
    ],
)
def test_the_names_are_a_bijection_onto_timms_at_full_size(name, build, load):
    config = build()
    kind = DINOv2 if isinstance(config, dinov2.DINOv2Config) else ImageTower
    with torch.device("meta"):
        theirs, ours = timm.create_model(name), kind(config)
    known = {key: value.numel() for key, value in theirs.state_dict().items() if not key.startswith("head.b")}
    mine: dict[str, int] = {}
    for key, value in ours.state_dict().items():
        if not (kind is DINOv2 and key.startswith("head")) and value.numel():
            published = published_name(key, load)
            mine[published] = mine.get(published, 0) + value.numel()
    for key in known:
        extra = config.dim if key == "pos_embed" and getattr(config, "num_registers", 0) else 0
        assert mine.pop(key) == known[key] + extra, key
    assert mine == {}


@pytest.mark.parametrize(
    ("changes", "parameters"), [({}, 86_579_712), ({"num_registers": 4}, 86_582_016 + 768)]
)  # timm's register model has no position for CLS
def test_dinov2_has_the_published_number_of_parameters(changes, parameters):
    with torch.device("meta"):
        model = DINOv2(dinov2.preset("B/14", num_classes=1, **changes))
    assert count_parameters(model) - (768 + 1) == parameters


# --- what does not fit -----------------------------------------------------------------------------------------------


@EVERY
def test_weights_that_do_not_fit_are_refused_with_their_key_and_shapes(variant):
    weights, load = dict(timms(variant).state_dict()), partial(LOAD[variant], num_heads=3, trained_size=(8, 12))
    with pytest.raises(ValueError, match="extra has no place in this"):
        load(weights | {"extra": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"blocks.1.attn.qkv.bias is missing"):
        load({key: w for key, w in weights.items() if key != "blocks.1.attn.qkv.bias"})
    with pytest.raises(ValueError, match=r"blocks.1.attn.qkv.weight has shape \(48, 24\), expected \(72, 24\)"):
        load(weights | {"blocks.1.attn.qkv.weight": torch.zeros(48, 24)})
    with pytest.raises(ValueError, match=r"pos_embed has shape \(1, 9, 24\), expected \(7, 24\)"):
        load(weights | {"pos_embed": torch.zeros(1, 9, 24)})
    with pytest.raises(ValueError, match="do not tell how many heads share the width 24; pass num_heads"):
        LOAD[variant](weights, trained_size=(8, 12))
    with pytest.raises(ValueError, match="num_heads is 2, and the model has 3; leave it out"):
        LOAD[variant](timms(variant), num_heads=2)
    with pytest.raises(ValueError, match="the weights hold none of"):
        LOAD[variant](nn.Linear(2, 2))


def test_other_models_are_refused_by_what_they_lack_or_have_too_much():
    plain = TimmViT(**SIZES).state_dict()
    with pytest.raises(ValueError, match=r"blocks.0.ls1.gamma is missing"):
        load_dinov2(plain, num_heads=3, trained_size=(8, 12))
    with pytest.raises(ValueError, match=r"norm_pre.bias has no place in this DINOv2"):
        load_dinov2(timms("CLIP", num_classes=0), num_heads=3)
    with pytest.raises(ValueError, match=re.escape("head.weight is missing; pass the tower with its projection")):
        load_clip(timms("CLIP", num_classes=0))
    with_bias = timms("CLIP")
    nn.init.ones_(with_bias.head.bias)
    with pytest.raises(ValueError, match=r"head.bias has no place in this ImageTower"):
        load_clip(with_bias)


def test_the_activation_is_the_modules_or_the_one_asked_for():
    gelu, images = timms("CLIP", act_layer=nn.GELU), random_images(1, 3, 8, 12)
    torch.testing.assert_close(load_clip(gelu)(images), gelu(images), atol=1e-5, rtol=0)
    asked = load_clip(gelu.state_dict(), num_heads=3, trained_size=(8, 12), activation="gelu")
    torch.testing.assert_close(asked(images), gelu(images), atol=1e-5, rtol=0)
    assert load_clip(gelu.state_dict(), num_heads=3, trained_size=(8, 12)).config.activation == "quick_gelu"


def test_a_new_classifier_starts_at_zero_and_the_model_has_memory_of_its_own():
    theirs = timms("registers")
    ours = load_dinov2(theirs, num_classes=7)
    assert torch.equal(ours(random_images(2, 3, 8, 12)), torch.zeros(2, 7))
    with torch.no_grad():
        ours.registers.zero_()
    assert theirs.reg_token.abs().min() > 0
    assert all(parameter.requires_grad for parameter in ours.parameters())


# --- looking inside --------------------------------------------------------------------------------------------------


@EVERY
@torch.no_grad()
def test_maps_and_rollout_are_those_of_timms(variant):
    theirs, images = timms(variant), random_images(2, 3, 8, 12)
    ours, prefix = LOAD[variant](theirs), 5 if variant == "registers" else 1
    with capture_attention(ours) as maps, capture_tokens(ours) as tokens:
        ours(images)
    with capture_attention(theirs) as expected:
        theirs(images)
    assert [layer.shape for layer in maps] == [(2, 3, prefix + 6, prefix + 6)] * 3
    for mine, other in zip(maps, expected, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5)
    assert layout_of(ours, images, maps) == ((2, 3), prefix, True, "cls")
    picture = relevance(rollout(maps), (2, 3), "cls", prefix)
    torch.testing.assert_close(picture, relevance(rollout(expected), (2, 3), "cls", prefix), atol=1e-5, rtol=1e-5)
    assert len(tokens) == 4


# --- plain towers: DINO of 2021 and MAE's encoder are read by `load_timm` ---------------------------------------------


@pytest.mark.parametrize("name", ["vit_small_patch16_224.dino", "vit_base_patch16_224.mae"])
@pytest.mark.parametrize("loud", [False, True])
def test_the_plain_towers_of_dino_and_mae_are_vits(name, loud, tmp_path):
    """At depth 2 and 32 pixels; the widths, heads and what the classifier reads are those of the published models."""
    torch.manual_seed(0)
    theirs = timm.create_model(name, pretrained=False, num_classes=0, depth=2, img_size=32).eval()
    theirs, images = randomise(theirs) if loud else theirs, random_images(2, 3, 32, 32)
    file = {"teacher": {f"backbone.{key}": w for key, w in theirs.state_dict().items()}, "student": {}}
    torch.save(file, tmp_path / "dino.pth")
    for source in (theirs, tmp_path / "dino.pth"):
        ours = load_timm(source, num_classes=4)
        torch.testing.assert_close(ours.represent(images), theirs(images), atol=1e-5, rtol=0)
        assert not ours(images).any()


# --- transformers, where it is installed ------------------------------------------------------------------------------


def loud_hf(model: nn.Module) -> nn.Module:
    randomise(model)
    for name, parameter in model.named_parameters():
        if "lambda1" in name:
            parameter.data += 0.5
    return model.eval()


@pytest.mark.parametrize("registers", [False, True])
@torch.no_grad()
def test_dinov2_is_that_of_transformers(registers, tmp_path):
    transformers = pytest.importorskip("transformers")
    kind = "Dinov2WithRegisters" if registers else "Dinov2"
    sizes = {"image_size": 8, "patch_size": 4, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3}
    config = getattr(transformers, f"{kind}Config")(**sizes)
    theirs, images = loud_hf(getattr(transformers, f"{kind}Model")(config)), random_images(2, 3, 8, 8)
    theirs.save_pretrained(tmp_path)  # under the names that published files have
    for source in (theirs, tmp_path / "model.safetensors"):
        ours = load_dinov2(source, num_heads=3)
        torch.testing.assert_close(ours.represent(images), theirs(images).pooler_output, atol=1e-5, rtol=0)
    keys = {key for key in load_file(tmp_path / "model.safetensors") if "mask_token" not in key}
    mine = {published_name(key, HF_DINOV2) for key, w in ours.state_dict().items() if w.numel()} - {
        "head.weight",
        "head.bias",
    }
    assert mine == keys


@pytest.mark.parametrize("whole", [False, True])
@torch.no_grad()
def test_clip_is_that_of_transformers(whole):
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 24, "intermediate_size": 96, "num_hidden_layers": 2, "projection_dim": 10}
    vision = {"image_size": 8, "patch_size": 4, "num_attention_heads": 3} | sizes
    text = {"vocab_size": 99, "num_attention_heads": 2} | sizes
    images = random_images(2, 3, 8, 8)
    if whole:
        config = transformers.CLIPConfig(vision_config=vision, text_config=text, projection_dim=10)
        theirs = loud_hf(transformers.CLIPModel(config))
        expected = theirs.visual_projection(theirs.vision_model(images).pooler_output)
    else:
        theirs = loud_hf(transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(**vision)))
        expected = theirs(images).image_embeds
    ours = load_clip(theirs)
    assert ours.config.activation == "quick_gelu"
    torch.testing.assert_close(ours(images), expected, atol=1e-5, rtol=0)
    keys = {k for k in theirs.state_dict() if not re.match("text|logit", k) and not k.endswith("position_ids")}
    assert {published_name(key, HF_CLIP) for key in ours.state_dict()} == keys
