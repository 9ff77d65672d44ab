"""CvT: equal to the two published code bases under the same weights, and mistakes in it are not."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tests import cvt_reference
from tests.cvt_reference import HUGGING_FACE, MICROSOFT
from tests.random_weights import random_images
from vitedu.capture import capture_attention, capture_tokens
from vitedu.cost import count_parameters
from vitedu.inspection.layout import layout_of
from vitedu.models.activation import QuickGELU
from vitedu.models.cvt import CvT, CvTConfig, as_map, preset
from vitedu.models.table import small_cvt
from vitedu.pretrained.carry import carry, published_name
from vitedu.pretrained.convert_cvt import PRACTICES
from vitedu.vit import ViT, ViTConfig

SMALL = {"dims": (8, 12, 24), "depths": (1, 1, 2), "num_heads": (1, 3, 6), "num_classes": 5, "image_size": 32}


def quick(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


BASES = {"Hugging Face": (HUGGING_FACE, F.gelu), "Microsoft": (MICROSOFT, quick)}
BOTH = pytest.mark.parametrize("base", BASES)
DRAWS = pytest.mark.parametrize("loud", [False, True], ids=["as it starts", "loud"])


def pair_of(base: str, loud: bool, **sizes) -> tuple[CvT, dict, dict]:
    """A `CvT` in evaluation mode and the published weights that it has; and the names of those."""
    names, activation = PRACTICES[base]
    config = CvTConfig(**SMALL | sizes, activation=activation)
    weights = cvt_reference.random_weights(BASES[base][0], config.dims, config.depths, config.num_classes, loud)
    return carry(weights, CvT, config, names), weights, names


def expected(base: str, model: CvT, weights: dict, images: Tensor, training: bool = False) -> Tensor:
    names, gelu = BASES[base]
    return cvt_reference.cvt(weights, names, model.config.num_heads, gelu, images, training)


def worst(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape
    assert theirs.std() > 1e-3
    return (ours - theirs).abs().max().item()


# --- equality --------------------------------------------------------------------------------------------------------


@BOTH
@DRAWS
@pytest.mark.parametrize("size", [(2, 32, 32), (1, 32, 32), (2, 33, 47), (1, 70, 18), (1, 7, 9)])
def test_scores_are_the_published_code_bases(base, loud, size):
    model, weights, _ = pair_of(base, loud)
    images = random_images(size[0], 3, *size[1:])
    assert worst(model(images), expected(base, model, weights, images)) < 1e-5


@pytest.mark.parametrize(("base", "side"), [("Hugging Face", 224), ("Microsoft", 96)])
def test_cvt_13_is_the_published_one(base, side):
    config = preset("CvT-13")
    sizes = {name: getattr(config, name) for name in ("dims", "depths", "num_heads", "num_classes", "image_size")}
    images = random_images(2 if side < 100 else 1, 3, side, side)
    for loud in (False, True):
        model, weights, _ = pair_of(base, loud, **sizes)
        with torch.inference_mode():
            assert worst(model(images), expected(base, model, weights, images)) < 1e-5


@BOTH
def test_batch_norm_learns_the_same_running_statistics_in_a_step_of_training(base):
    model, weights, names = pair_of(base, loud=True)
    images = random_images(4, 3, 32, 32)
    before = weights[published_name("stages.1.blocks.0.attention.k_proj.norm.running_mean", names)].clone()
    assert worst(model.train()(images), expected(base, model, weights, images, training=True)) < 1e-5
    for ours, value in model.state_dict().items():
        if "running" in ours:
            torch.testing.assert_close(value, weights[published_name(ours, names)], atol=1e-6, rtol=1e-5)
    assert (before - model.stages[1].blocks[0].attention.k_proj.norm.running_mean).abs().max() > 1e-2


def scaled_by_head(model: CvT) -> None:
    for module in model.modules():
        if hasattr(module, "scale"):
            module.scale = (model.config.dims[0] // model.config.num_heads[0]) ** -0.5


def other_activation(model: CvT) -> None:
    put_activation(model, nn.GELU("tanh"))


def activation_of_the_other_code_base(model: CvT) -> None:
    put_activation(model, QuickGELU())


def put_activation(model: CvT, activation: nn.Module) -> None:
    for stage in model.stages:
        for block in stage.blocks:
            block.mlp.activation = activation


def other_eps(model: CvT) -> None:
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-6


def no_stride(model: CvT) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            module.stride = (1, 1)


def statistics_left_as_they_start(model: CvT) -> None:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()


def statistics_of_the_batch(model: CvT) -> None:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train()


def padding_as_half_the_kernel(model: CvT) -> None:
    model.embeds[0].proj.padding = (3, 3)


def circular_padding(model: CvT) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.padding_mode = "circular"
            module._reversed_padding_repeated_twice = [side for side in reversed(module.padding) for _ in range(2)]


def keys_and_values_exchanged(model: CvT) -> None:
    attention = model.stages[1].blocks[0].attention
    attention.k_proj.conv, attention.v_proj.conv = attention.v_proj.conv, attention.k_proj.conv


def a_norm_after_every_stage(model: CvT) -> None:
    model.stages[0].norm = nn.LayerNorm(model.config.dims[0], eps=1e-5)


def the_mean_for_cls(model: CvT) -> None:
    object.__setattr__(model.config, "pool", "mean")


MUTANTS = {
    scaled_by_head: (True,),
    other_activation: (True,),
    activation_of_the_other_code_base: (False, True),
    other_eps: (False,),  # what both draws are for: it shows in a model as it starts, whose numbers are small, alone
    no_stride: (False, True),
    statistics_left_as_they_start: (True,),
    statistics_of_the_batch: (False, True),
    padding_as_half_the_kernel: (False, True),
    circular_padding: (False, True),
    keys_and_values_exchanged: (True,),
    a_norm_after_every_stage: (True,),
    the_mean_for_cls: (False, True),
}


@pytest.mark.parametrize("mutate", MUTANTS)
def test_a_mistake_changes_the_scores(mutate):
    found = []
    for loud in (False, True):
        model, weights, _ = pair_of("Hugging Face", loud)
        images = random_images(2, 3, 32, 32)
        theirs = expected("Hugging Face", model, weights, images)
        mutate(model)
        found.append((model(images) - theirs).abs().max().item())
    assert all(found[loud] > 1e-4 for loud in MUTANTS[mutate]), found


# --- sizes -----------------------------------------------------------------------------------------------------------

PUBLISHED = {"CvT-13": (19_997_480, 459), "CvT-21": (31_622_696, 731), "CvT-W24": (277_196_392, 833)}


@pytest.mark.parametrize("name", PUBLISHED)
def test_presets_have_the_published_numbers_of_parameters_and_of_entries(name):
    with torch.device("meta"):
        model = CvT(preset(name))
        larger = CvT(preset(name, num_classes=21_841))
    assert (count_parameters(model), len(model.state_dict())) == PUBLISHED[name]
    assert count_parameters(larger) - count_parameters(model) == (21_841 - 1000) * (preset(name).dims[-1] + 1)


def test_the_ablations_have_the_parameters_that_their_parts_have():
    """Without overlap 7² - 4², 3² - 2² numbers less for each pair of channels (19.5 M in table 6); and so on."""

    def parameters(**changes) -> int:
        with torch.device("meta"):
            return count_parameters(CvT(preset("CvT-13", **changes)))

    whole = parameters()
    assert whole - parameters(kernels=(4, 2, 2)) == 33 * 3 * 64 + 5 * (64 * 192 + 192 * 384)
    depthwise = 3 * (9 + 2)  # three projections, each 3×3 numbers a channel and batch norm's two
    assert whole - parameters(projections=("linear",) * 3) == depthwise * (64 + 2 * 192 + 10 * 384)
    assert parameters(positions=("learned", "none", "none")) - whole == 56 * 56 * 64
    assert parameters(pool="mean") == whole - 384
    assert parameters(kv_strides=(1, 1, 1)) == whole


@pytest.mark.parametrize(
    ("side", "grids"),
    [(224, (56, 28, 14)), (384, (96, 48, 24)), (96, (24, 12, 6)), (64, (16, 8, 4)), (32, (8, 4, 2)), (33, (8, 4, 2))],
)
def test_the_grids_are_what_the_convolutions_leave(side, grids):
    model = CvT(CvTConfig(**SMALL | {"image_size": (side, 32)})).eval()
    assert [grid[0] for grid in model.config.grids] == list(grids)
    with capture_tokens(model) as tokens:
        model(random_images(1, 3, side, 32))
    first, last = tokens[0].shape[1], tokens[-1].shape[1]
    assert first == model.config.grids[0][0] * model.config.grids[0][1]
    assert last == 1 + model.grid[0] * model.grid[1]
    assert len(tokens) == 3 + sum(model.config.depths)


@pytest.mark.parametrize("kv_stride", [1, 2, 3])
def test_maps_are_the_softmax_over_the_keys_that_the_stride_leaves(kv_stride):
    model = CvT(CvTConfig(**SMALL | {"image_size": (36, 52)}, kv_strides=(kv_stride,) * 3)).eval()
    with capture_attention(model) as maps, torch.no_grad():
        model(random_images(2, 3, 36, 52))
    assert [m.shape[1] for m in maps] == [1, 3, 6, 6]
    for index, m in zip((0, 1, 2, 2), maps, strict=True):
        gh, gw = model.config.grids[index]
        cls = int(index == 2)
        keys = -(-gh // kv_stride) * -(-gw // kv_stride)
        assert m.shape[2:] == (gh * gw + cls, keys + cls)
        torch.testing.assert_close(m.sum(dim=-1), torch.ones(m.shape[:-1]))


def test_the_captured_weights_times_the_values_are_what_the_layer_gives_on():
    model, _, _ = pair_of("Microsoft", loud=True)
    layer, seen = model.stages[2].blocks[1].attention, []
    layer.v_proj.register_forward_hook(lambda _, args, out: seen.append(out))
    layer.out_proj.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with capture_attention(layer) as maps, torch.no_grad():
        model(random_images(2, 3, 64, 64))
    v, mixed = seen
    torch.testing.assert_close((maps[0] @ layer.split_heads(v)).transpose(1, 2).flatten(2), mixed)
    assert maps[0].max() > 1.5 / maps[0].shape[-1]


def test_maps_of_several_grids_have_no_one_layout():
    model, images = CvT(CvTConfig(**SMALL)).eval(), random_images(1, 3, 32, 32)
    with capture_attention(model) as maps:
        model(images)
    with pytest.raises(ValueError, match="the tokens of a CvT lie on no one grid"):
        layout_of(model, images, maps)


# --- CLS, positions, padding -----------------------------------------------------------------------------------------


def test_cls_meets_no_convolution_and_is_left_out_of_a_map():
    """Other numbers in it change its own row of the queries alone; what a convolution mixed would change neighbours."""
    layer = CvT(CvTConfig(**SMALL)).eval().stages[2].blocks[0].attention
    x, grid = torch.randn(1, 1 + 6, 24), (2, 3)
    other = torch.cat([torch.randn(1, 1, 24), x[:, 1:]], dim=1)
    for project in (layer.q_proj, layer.k_proj, layer.v_proj):
        differs = (project(x, grid) != project(other, grid)).any(dim=-1)[0]
        assert differs.tolist() == [True] + [False] * (len(differs) - 1)
    assert torch.equal(as_map(x, grid), as_map(other, grid))
    assert torch.equal(as_map(x, grid)[0, :, 1, 2], x[0, 6])  # raster order


def canvas(quadrant: int) -> Tensor:
    """An object of 16 pixels in one quarter of a grey canvas of 32."""
    images, thing = torch.zeros(1, 3, 64, 64), torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(3))
    row, column = divmod(quadrant, 2)
    images[0, :, 32 * row : 32 * row + 32, 32 * column : 32 * column + 32] = thing
    return images


ARMS = {  # and whether the model can tell where in the picture something is
    "zero padding": ({}, True),
    "circular padding": ({"padding": "circular"}, False),
    "no convolution that overlaps": ({"kernels": (4, 2, 2), "projections": ("linear",) * 3}, False),
    "circular padding, positions": ({"padding": "circular", "positions": ("learned", "none", "none")}, True),
    "patches, positions": (
        {"kernels": (4, 2, 2), "projections": ("linear",) * 3, "positions": ("none", "none", "learned")},
        True,
    ),
}


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_zero_padding_tells_a_model_without_positions_where_things_are(arm, pool):
    """Rolled by a multiple of all strides, 32 pixels, the picture is the same one to a model without edges."""
    changes, tells = ARMS[arm]
    torch.manual_seed(0)
    config = CvTConfig(**SMALL | {"image_size": 64}, pool=pool, position_std=1.0, init="xavier", **changes)
    model = CvT(config).eval()
    with torch.no_grad():
        scores = torch.cat([model(canvas(quadrant)) for quadrant in range(4)])
    spread = (scores - scores[0]).abs().max().item()
    assert (spread > 1e-3) if tells else (spread < 1e-5), spread


# --- options ---------------------------------------------------------------------------------------------------------


def test_only_the_last_stage_drops_blocks_at_a_rate_that_grows_from_zero():
    model = CvT(CvTConfig(**SMALL | {"depths": (1, 2, 3)}, drop_path=0.2))
    rates = [[block.drop_path.rate for block in stage.blocks] for stage in model.stages]
    assert rates == [[0], [0, 0], [0, 0.1, 0.2]]


def test_recomputing_the_blocks_gives_the_same_gradients():
    model, images = CvT(CvTConfig(**SMALL)).eval(), random_images(2, 3, 32, 32)
    gradients = []
    for recompute in (False, True):
        for stage in model.stages:
            stage.recompute = recompute
        model.zero_grad()
        model(images).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, again)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dims": (8, 12)}, "3 depths but 2 dims"),
        ({"num_heads": (1, 5, 6)}, "width 12 is not divisible by 5 heads"),
        ({"kernels": (7, 1, 3)}, "kernel 1 leaves out pixels at stride 2; use 2 or more"),
        ({"kernels": (4, 2, 2), "image_size": 36}, "image side 9 is not divisible by patch side 2; use 8 or 10"),
        ({"projections": ("conv", "avg", "conv")}, "projections 'avg' is not one of conv, linear"),
        ({"positions": ("every", "none", "none")}, "positions 'every' is not one of learned"),
        ({"padding": "reflect"}, "padding 'reflect' is not one of zeros, circular"),
        ({"activation": "relu"}, "activation 'relu' is not one of gelu, quick_gelu"),
        ({"depths": (1, 0, 2)}, "depths is 0; it has to be at least 1"),
        ({"position_std": -1.0}, "position_std is -1.0"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_numbers(changes, message):
    with pytest.raises(ValueError, match=message):
        CvT(CvTConfig(**SMALL | changes))


@pytest.mark.parametrize("changes", [{"positions": ("learned", "none", "none")}, {"kernels": (4, 2, 2)}])
def test_images_of_another_size_are_refused_where_the_model_depends_on_it(changes):
    with pytest.raises(ValueError, match=r"images are \(32, 40\), built for \(32, 32\); resize"):
        CvT(CvTConfig(**SMALL, **changes))(torch.zeros(1, 3, 32, 40))
    with pytest.raises(ValueError, match=r"expected \(B, 3, H, W\)"):
        CvT(CvTConfig(**SMALL))(torch.zeros(1, 1, 32, 32))


# --- beside a ViT ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "patch", "dim", "depth", "heads", "ratio"),
    [(32, 4, 64, 4, 2, 4.0), (64, 8, 64, 4, 2, 4.0), (32, 4, 192, 6, 3, 2.0), (96, 8, 192, 6, 3, 4.0)],
)
def test_a_small_cvt_costs_about_what_the_vit_does(image, patch, dim, depth, heads, ratio):
    sizes = {"image_size": image, "patch_size": patch, "dim": dim, "depth": depth, "num_heads": heads}
    vit = ViTConfig(**sizes, mlp_ratio=ratio, num_classes=10)
    macs = []
    for model in (ViT(vit), CvT(small_cvt(vit))):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model.eval()(torch.zeros(1, 3, image, image))
        macs.append(counter.get_total_flops() / 2)
    assert 0.9 < macs[1] / macs[0] < 1.1
    assert small_cvt(vit).grids[1] == vit.grid


@pytest.mark.parametrize("heads", [1, 2, 3, 5, 6, 7, 12])
@pytest.mark.parametrize("patch", [1, 2, 4, 7, 8, (4, 8)])
def test_there_is_a_small_cvt_beside_every_vit(heads, patch):
    vit = ViTConfig(image_size=56, patch_size=patch, dim=heads * 4, num_heads=heads, depth=1, num_classes=3)
    vit = replace(vit, pool="mean", drop_path=0.25)
    model = CvT(small_cvt(vit)).eval()
    assert model(torch.zeros(1, 3, 56, 56)).shape == (1, 3)
    assert (model.config.pool, model.config.drop_path) == ("mean", 0.25)
