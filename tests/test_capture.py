"""`vitedu.capture`: maps are the explicit softmax, the model computes what it always did, nothing stays."""

import math

import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer

from tests.random_weights import random_images, randomise
from vitedu import attention as attention_module
from vitedu.attention import MultiHeadAttention
from vitedu.block import EncoderBlock
from vitedu.inspection import capture_attention, capture_tokens
from vitedu.models.additive import AdditiveAttention
from vitedu.models.botnet import SelfAttention2d
from vitedu.models.detr import DETR, DETRConfig
from vitedu.pretrained.convert import load_torchvision
from vitedu.vit import ViT, ViTConfig

FIELDS = {"image_size": 8, "patch_size": 4, "num_classes": 5, "dim": 12, "depth": 3, "num_heads": 3}
IMAGES = random_images(2, 3, 8, 8)
EXACT = {"atol": 1e-6, "rtol": 0}


def book_vit(**changes) -> ViT:
    return randomise(ViT(ViTConfig(**FIELDS | changes)))


def torchvision_vit(**options) -> VisionTransformer:
    return randomise(VisionTransformer(8, 4, 3, 3, 12, 48, num_classes=5, **options))


MODELS = {"vitedu": book_vit, "torchvision": torchvision_vit}
both = pytest.mark.parametrize("name", MODELS)


def hooks(model: nn.Module) -> int:
    """How many hooks of any kind hang on the model and its parts."""
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def explicit_maps(model: ViT, images: torch.Tensor) -> list[torch.Tensor]:
    """The weights written out with einsum, block by block, without a hook and without the library's softmax."""
    maps = []
    tokens = model.patch_embed(images)
    if model.cls_token is not None:
        tokens = torch.cat([model.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
    tokens = model.positions(tokens)
    for block in model.encoder.blocks:
        x, layer = block.norm1(tokens), block.attention
        q, k = (p(x).reshape(*x.shape[:2], layer.num_heads, -1) for p in (layer.q_proj, layer.k_proj))
        scores = torch.einsum("bnhd,bmhd->bhnm", q, k) / math.sqrt(q.shape[-1])
        weights = scores.exp() / scores.exp().sum(dim=-1, keepdim=True)
        maps.append(weights)
        tokens = block(tokens)
    return maps


def captured(model: nn.Module, images: torch.Tensor = IMAGES) -> list[torch.Tensor]:
    with capture_attention(model) as maps:
        model(images)
    return maps


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_maps_are_the_explicit_softmax(pool, training):
    model = book_vit(pool=pool).train(training)
    maps, expected = captured(model), explicit_maps(model, IMAGES)
    tokens = 5 if pool == "cls" else 4
    assert [m.shape for m in maps] == [(2, 3, tokens, tokens)] * 3
    for mine, theirs in zip(maps, expected, strict=True):
        torch.testing.assert_close(mine, theirs, **EXACT)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("gradients", [True, False])
def test_maps_of_torchvisions_model_are_those_of_the_same_weights_here(training, gradients):
    """Without gradients in evaluation mode PyTorch's layer takes its fast path."""
    theirs = torchvision_vit()
    ours = load_torchvision(theirs)
    with torch.set_grad_enabled(gradients):
        maps = captured(theirs.train(training))
    for mine, expected in zip(maps, explicit_maps(ours, IMAGES), strict=True):
        torch.testing.assert_close(mine, expected, **EXACT)


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_torchs_own_encoder_does_not_slip_past_on_its_fast_path(training, norm_first):
    layer = nn.TransformerEncoderLayer(12, 2, 24, 0.0, "gelu", batch_first=True, norm_first=norm_first)
    model = randomise(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)).train(training)
    x = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        maps = captured(model, x)
        first = model.layers[0]
        y = first.norm1(x) if norm_first else x
        _, expected = first.self_attn.train()(y, y, y, average_attn_weights=False)
    assert len(maps) == 2
    torch.testing.assert_close(maps[0], expected, **EXACT)


@both
@pytest.mark.parametrize("training", [True, False])
def test_the_model_computes_the_same_bits_and_draws_the_same_random_numbers(name, training):
    rates = {"dropout": 0.3, "attention_dropout": 0.3}
    model = MODELS[name](**rates).train(training)
    torch.manual_seed(0)
    plain = model(IMAGES)
    torch.manual_seed(0)
    with capture_attention(model):
        watched = model(IMAGES)
    assert torch.equal(plain, watched)
    assert plain.requires_grad
    assert watched.requires_grad


@both
def test_maps_are_those_before_dropout(name):
    model = MODELS[name](attention_dropout=0.5).train()
    maps = captured(model)
    assert all((m > 0).all() for m in maps)
    torch.testing.assert_close(maps[0], captured(model.eval())[0], **EXACT)
    assert {m.dropout for m in model.modules() if isinstance(m, MultiHeadAttention | nn.MultiheadAttention)} == {0.5}


@both
def test_under_autocast_rows_still_sum_to_one(name):
    model = MODELS[name]().eval()
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        maps = captured(model)
    for mine, exact in zip(maps, captured(model), strict=True):
        torch.testing.assert_close(mine.float().sum(dim=-1), torch.ones(mine.shape[:3]), atol=0.02, rtol=0)
        torch.testing.assert_close(mine.float(), exact, atol=0.1, rtol=0)


@both
def test_nothing_stays_behind_when_the_with_ends(name):
    model = MODELS[name]()
    with capture_attention(model) as maps:
        assert hooks(model) > 0
        model(IMAGES)
    assert hooks(model) == 0
    first = maps[0]
    model(IMAGES + 1)
    assert len(maps) == 3
    assert maps[0] is first


@both
def test_nothing_stays_behind_when_an_exception_passes_through(name):
    model = MODELS[name](attention_dropout=0.5)
    with pytest.raises(KeyError, match="nothing"), capture_attention(model):
        {"maps": model(IMAGES)}["nothing"]
    assert hooks(model) == 0
    with pytest.raises((ValueError, AssertionError)), capture_attention(model):
        model(random_images(1, 3, 9, 9))
    assert hooks(model) == 0


def test_an_exception_inside_a_hook_leaves_the_dropout_as_it_was():
    layer = nn.MultiheadAttention(12, 3, dropout=0.4, batch_first=True)
    with pytest.raises(Exception), capture_attention(layer):  # noqa: B017, PT011
        layer(*[torch.zeros(2, 3, 7)] * 3)
    assert layer.dropout == 0.4
    assert hooks(layer) == 0


def test_without_capture_only_the_fused_kernel_runs(monkeypatch):
    def fail(*args):
        raise AssertionError("the explicit softmax ran")

    monkeypatch.setattr(attention_module, "scaled_dot_product_attention", fail)
    model = book_vit()
    model(IMAGES)
    with pytest.raises(AssertionError, match="the explicit softmax ran"):
        captured(model)


def test_a_second_pass_replaces_the_maps_of_the_first():
    model = book_vit()
    with capture_attention(model) as maps:
        model(IMAGES)
        model(IMAGES[:1] * 2)
    assert [len(m) for m in maps] == [1, 1, 1]
    torch.testing.assert_close(maps[1], captured(model, IMAGES[:1] * 2)[1], **EXACT)


def test_maps_hold_no_gradient():
    assert not any(m.requires_grad for m in captured(book_vit().train()))


def test_masks_reach_the_maps():
    block, x = randomise(EncoderBlock(12, 3)), torch.randn(1, 4, 12)
    mask = torch.ones(4, 4, dtype=torch.bool).tril()
    with capture_attention(block) as maps:
        block(x, mask)
    assert (maps[0].masked_select(~mask) == 0).all()
    assert (maps[0].masked_select(mask) > 0).all()


def test_cross_attention_has_one_column_for_each_key():
    layer = randomise(MultiHeadAttention(12, 3))
    with capture_attention(layer) as maps:
        layer(torch.randn(2, 4, 12), context=torch.randn(2, 7, 12))
    assert maps[0].shape == (2, 3, 4, 7)


def test_what_is_computed_again_in_the_backward_pass_is_not_recorded():
    model = book_vit(depth=3)
    expected = captured(model)
    model.encoder.recompute = True
    with capture_attention(model) as maps, capture_tokens(model) as tokens:
        model(IMAGES).sum().backward()
    assert len(tokens) == 4
    for mine, theirs in zip(maps, expected, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("start", [lambda model: model, lambda model: model.represent], ids=["call", "method"])
def test_a_layer_that_runs_several_times_in_a_pass_has_several_maps(start):
    """As where blocks share their weights; the passes after the first replace it all the same."""
    shared = book_vit(depth=3)
    shared.encoder.blocks = torch.nn.ModuleList([shared.encoder.blocks[0]] * 3)
    copies = book_vit(depth=3)
    copies.load_state_dict({**copies.state_dict(), **shared.state_dict()})
    expected = captured(copies)
    with capture_attention(shared) as maps:
        for images in (IMAGES + 1, IMAGES):
            start(shared)(images)
            for mine, theirs in zip(maps, expected if images is IMAGES else maps, strict=True):
                torch.testing.assert_close(mine, theirs)


def test_blocks_called_one_by_one_make_one_pass():
    model = book_vit()
    with torch.no_grad(), capture_attention(model) as maps:
        for _ in range(2):
            x = model.positions(torch.cat([model.cls_token.expand(2, -1, -1), model.patch_embed(IMAGES[:2])], dim=1))
            for block in model.encoder.blocks:
                x = block(x)
            assert len(maps) == len(model.encoder.blocks)


def test_every_kind_of_attention_of_the_book_is_seen_with_the_weights_it_uses():
    """In the output of a layer, its weights times the values are what the weights it reports give."""
    additive, q = AdditiveAttention(4, 4, 8), torch.randn(2, 3, 4)
    with capture_attention(additive) as maps:
        outputs, weights = additive(q, q[:, :2], q[:, :2])
    assert torch.equal(maps[0][:, 0], weights)
    layer, x = SelfAttention2d(8, (3, 5), num_heads=2), torch.randn(2, 8, 3, 5)
    with capture_attention(torch.nn.Sequential(layer)) as maps:
        outputs = layer(x)
    v = layer.split_heads(layer.v_proj(x))
    torch.testing.assert_close((maps[0] @ v).mT.flatten(1, 2).unflatten(2, (3, 5)), outputs)


def test_a_model_of_two_stacks_has_the_tokens_of_both():
    model = DETR(DETRConfig(image_size=32, dim=8, num_heads=2, widths=(4, 8), num_queries=3))
    with capture_tokens(model) as tokens, capture_attention(model) as maps:
        model(torch.zeros(2, 3, 32, 32))
    assert [len(z[0]) for z in tokens] == [64, 64, 64, 3, 3, 3]
    assert [tuple(m.shape[2:]) for m in maps] == [(64, 64)] * 2 + [(3, 3), (3, 64)] * 2


@both
@pytest.mark.parametrize("inside", [False, True])
def test_a_compiled_model_is_captured(name, inside):
    """Hooks put on code that is already compiled never fire: see the next test."""
    model = MODELS[name]().eval()
    compiled = torch.compile(model, backend="eager")
    with torch.no_grad():
        if not inside:
            compiled(IMAGES)
        maps = captured(compiled)
        after = compiled(IMAGES)
        torch.testing.assert_close(after, model(IMAGES))
        for mine, expected in zip(maps, captured(model), strict=True):
            torch.testing.assert_close(mine, expected, **EXACT)
    assert hooks(model) == 0


def test_a_model_compiled_in_place_is_captured():
    model = book_vit().eval()
    model.compile(backend="eager")
    with torch.no_grad():
        model(IMAGES)
        assert len(captured(model)) == 3


def test_compiled_code_is_used_again_after_capturing():
    """Counted by a backend of our own: capturing compiles nothing, and neither does the call after it."""
    graphs = []

    def count(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    model = book_vit().eval()
    compiled = torch.compile(model, backend=count)
    with torch.no_grad():
        compiled(IMAGES)
        before = len(graphs)
        assert len(captured(compiled)) == 3
        compiled(IMAGES)
    assert len(graphs) == before > 0


def test_a_model_without_attention_is_refused():
    with pytest.raises(ValueError, match="Linear has 0 attention layers"), capture_attention(nn.Linear(2, 2)):
        pass


# --- tokens ---


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_tokens_are_those_between_the_blocks(norm):
    model = book_vit(norm=norm).eval()
    with capture_tokens(model) as tokens:
        scores = model(IMAGES)
    assert [t.shape for t in tokens] == [(2, 5, 12)] * 4
    for block, before, after in zip(model.encoder.blocks, tokens, tokens[1:], strict=False):
        torch.testing.assert_close(block(before), after)
    torch.testing.assert_close(model.head(model.encoder.norm(tokens[-1])[:, 0]), scores)
    assert hooks(model) == 0


def test_tokens_of_a_second_pass_replace_those_of_the_first():
    model = book_vit().eval()
    with capture_tokens(model) as tokens:
        model(IMAGES)
        model(IMAGES[:1])
    assert [len(t) for t in tokens] == [1] * 4


def test_tokens_and_maps_can_be_captured_together():
    model = book_vit().eval()
    with capture_tokens(model) as tokens, capture_attention(model) as maps:
        model(IMAGES)
    assert (len(tokens), len(maps)) == (4, 3)


def test_tokens_of_a_model_without_the_books_blocks_are_refused():
    message = r"VisionTransformer has 0 stacks .* load_torchvision makes a ViT of it"
    with pytest.raises(ValueError, match=message), capture_tokens(torchvision_vit()):
        pass
