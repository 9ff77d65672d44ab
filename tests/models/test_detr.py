"""`detr`: shapes, gradients, what each part may depend on, and attention weights that are the model's own."""

import re

import pytest
import torch

from vitedu.models.detr import DETR, DETRConfig, cross_attention

SMALL = {"image_size": (32, 48), "dim": 16, "num_heads": 2, "widths": (4, 8, 8), "num_queries": 5, "num_classes": 3}


@pytest.fixture
def model() -> DETR:
    torch.manual_seed(0)
    return DETR(DETRConfig(**SMALL)).eval()


def images(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, 32, 48, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("count", [1, 3])
def test_each_query_gives_a_class_or_none_and_a_box_in_the_image(model, count):
    predictions = model(images(count))
    assert predictions.logits.shape == (count, 5, 4)
    assert predictions.boxes.shape == (count, 5, 4)
    assert 0 < predictions.boxes.min() < predictions.boxes.max() < 1


def test_found_is_whatever_is_not_the_last_class(model):
    predictions = model(images())
    assert torch.equal(predictions.labels, predictions.logits.argmax(-1))
    logits = torch.eye(4)[None]  # four queries, each sure of another class; the last of "no object"
    assert predictions._replace(logits=logits).found.tolist() == [[True, True, True, False]]


def test_the_grid_is_that_of_the_feature_map(model):
    assert model.config.grid == (4, 6)
    assert model.backbone.features(images()).shape == (2, 8, 4, 6)
    assert model.encode(images()).shape == (2, 24, 16)


def test_every_parameter_learns():
    model = DETR(DETRConfig(**SMALL)).train()
    predictions = model.by_layer(images())
    sum(p.logits.square().sum() + p.boxes.square().sum() for p in predictions).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or p.grad.abs().sum() == 0]
    assert without == []


def test_the_last_layer_of_many_is_the_answer(model):
    layers = model.by_layer(images())
    assert len(layers) == model.config.decoder_depth
    torch.testing.assert_close(layers[-1], model(images()))
    assert (layers[0].boxes - layers[-1].boxes).abs().max() > 1e-4


def test_an_image_is_read_alone(model):
    together, alone = model(images()), model(images()[1:])
    torch.testing.assert_close(together.boxes[1:], alone.boxes)


def test_permuting_the_queries_permutes_the_answers(model):
    """The queries are a set: nothing but their learned vectors tells them apart."""
    before, order = model(images()), torch.tensor([3, 0, 4, 1, 2])
    model.queries.data = model.queries.data[order]
    after = model(images())
    torch.testing.assert_close(after.logits, before.logits[:, order])
    torch.testing.assert_close(after.boxes, before.boxes[:, order])


def test_without_different_queries_every_query_says_the_same(model):
    model.queries.data = model.queries.data[:1].expand(5, -1).clone()
    boxes = model(images()).boxes
    torch.testing.assert_close(boxes, boxes[:, :1].expand_as(boxes))


def test_without_positions_the_order_of_the_tokens_is_lost(model):
    """Queries see a set of tokens. Only the positions say where each came from."""
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    tokens = torch.randn(2, 24, 16)

    def boxes(tokens):
        return model.read(model.decoder(model.start(2), model.encoder(model.positions(tokens)))).boxes

    assert (boxes(tokens) - boxes(tokens[:, order])).abs().max() > 1e-3
    model.positions.table.zero_()
    torch.testing.assert_close(boxes(tokens), boxes(tokens[:, order]))


def test_the_weights_shown_are_the_weights_used(model):
    """The values, mixed by these weights and mapped, are what each cross-attention returned."""
    layers, calls = [block.cross_attention for block in model.decoder.blocks], []
    hooks = [layer.register_forward_hook(lambda _, inputs, output: calls.append((*inputs, output))) for layer in layers]
    model(images())
    for hook in hooks:
        hook.remove()
    weights = cross_attention(model, images())
    assert weights.shape == (2, 2, 2, 5, 24)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, 2, 5))
    for index, (layer, (_, memory, output)) in enumerate(zip(layers, calls, strict=True)):
        heads = weights[:, index] @ layer.split_heads(layer.v_proj(memory))  # (B, h, Q, d)
        torch.testing.assert_close(layer.out_proj(heads.transpose(1, 2).flatten(2)), output)


def test_asking_for_weights_leaves_no_trace(model):
    before = model(images())
    cross_attention(model, images())
    torch.testing.assert_close(model(images()), before, atol=0, rtol=0)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_images_of_another_size_are_refused(model):
    with pytest.raises(ValueError, match=re.escape("images are (2, 3, 48, 32), expected (B, 3, 32, 48); resize them")):
        model(torch.zeros(2, 3, 48, 32))


@pytest.mark.parametrize(("wrong", "message"), [
    ({"num_queries": 0}, "num_queries is 0; it has to be at least 1"),
    ({"dim": 18}, "dim 18 is not divisible by num_heads 2 and by 4"),
    ({"num_heads": 3}, "dim 16 is not divisible by num_heads 3 and by 4"),
    ({"widths": (4, 0)}, "has to be at least 1"),
])  # fmt: skip
def test_numbers_that_do_not_fit_are_refused(wrong, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        DETRConfig(**SMALL | wrong)
