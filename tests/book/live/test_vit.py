"""The forward pass in the page against PyTorch's: scores, probabilities, maps, rollout, and what the options do."""

import base64
import hashlib
import json
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from book.tools.site.page import MODELS, WEIGHTS, weights_script
from vitedu.capture import capture_attention, capture_tokens
from vitedu.data import draw_shapes, load_digits, normalise
from vitedu.inspection import rollout
from vitedu.patch import pair
from vitedu.pretrained import describe, load

CLOSE = {"atol": 1e-5, "rtol": 1e-5}
# not on a page, but of the same kinds
OTHERS = ("imagenette-small", "imagenette-hybrid", "fashion-mnist-small", "cifar10-small")

RUN = """([name, pictures, options]) => {
    const model = vitedu.model(name), text = numbers => {
        const bytes = new Uint8Array(new Float32Array(numbers).buffer);
        let out = '';
        for (let i = 0; i < bytes.length; i += 4096) out += String.fromCharCode(...bytes.subarray(i, i + 4096));
        return btoa(out);
    };
    return pictures.map(pixels => {
        const {scores, probabilities, maps, rollout, after} = model.run(pixels, options);
        return {scores, probabilities, after, rollout: text(rollout), maps: maps.map(text)};
    });
}"""


def numbers(text: str) -> Tensor:
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), dtype=np.float32).copy())


def pictures_of(name: str, count: int) -> Tensor:
    """Pictures from 0 to 1, (B, C, H, W): of the model's own kind, or noise."""
    if name.startswith("shapes"):
        return draw_shapes(count, seed=5, texture="random").images / 255
    if name.startswith("digits"):
        return load_digits().test.images[:count] / 255
    config = describe(name)["config"]
    shape = count, config["in_channels"], *pair(config["image_size"])
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def run(engine, name: str, images: Tensor, **options) -> list[dict]:
    if name not in MODELS:
        engine.evaluate(weights_script(name))
    return engine.evaluate(RUN, [name, [image.flatten().tolist() for image in images], options])


def normalised(name: str, images: Tensor) -> Tensor:
    about = describe(name)
    return normalise((images * 255).round().to(torch.uint8), torch.tensor(about["mean"]), torch.tensor(about["std"]))


def torch_answers(model, x: Tensor):
    with torch.no_grad(), capture_attention(model) as maps, capture_tokens(model) as tokens:
        scores = model(x)
    return scores, [layer.clone() for layer in maps], [z.clone() for z in tokens]


def on_steps(images: Tensor) -> Tensor:
    """On the 256 levels that a picture has."""
    return (images * 255).round() / 255


@pytest.mark.parametrize("name", [*MODELS, *OTHERS])
def test_page_computes_what_pytorch_computes(engine, name):
    """Scores, probabilities, every map and the rollout, of 24 pictures for what is shipped on pages."""
    images = on_steps(pictures_of(name, 24 if name in MODELS else 2))
    scores, maps, _ = torch_answers(load(name).eval(), normalised(name, images))
    expected = rollout(maps)
    for i, found in enumerate(run(engine, name, images)):
        torch.testing.assert_close(torch.tensor(found["scores"]), scores[i], **CLOSE)
        torch.testing.assert_close(torch.tensor(found["probabilities"]), scores[i].softmax(dim=0), **CLOSE)
        torch.testing.assert_close(numbers(found["rollout"]), expected[i].flatten(), **CLOSE)
        for layer, weights in enumerate(found["maps"]):
            torch.testing.assert_close(numbers(weights), maps[layer][i].flatten(), **CLOSE)


def test_slips_would_be_seen(engine, monkeypatch):
    """The other GELU, or another eps, moves the scores by more than the test above allows."""
    name = "shapes-vit"
    x = normalised(name, on_steps(pictures_of(name, 2)))
    model = load(name).eval()
    scores, _, _ = torch_answers(model, x)
    for block in model.encoder.blocks:
        monkeypatch.setattr(block.mlp.activation, "approximate", "tanh")
    assert (torch_answers(model, x)[0] - scores).abs().max() > 1e-4
    monkeypatch.undo()
    model.encoder.norm.eps = 1e-3
    assert (torch_answers(model, x)[0] - scores).abs().max() > 1e-4


def test_answers_after_each_block_are_the_heads(engine):
    images = on_steps(pictures_of("shapes-vit", 2))
    model = load("shapes-vit").eval()
    _, _, tokens = torch_answers(model, normalised("shapes-vit", images))
    with torch.no_grad():
        after = torch.stack([model.head(model.encoder.norm(z)[:, 0]) for z in tokens], dim=1)  # (B, 1 + L, K)
    found = torch.tensor([answer["after"] for answer in run(engine, "shapes-vit", images)])
    torch.testing.assert_close(found, after, **CLOSE)


def test_patches_in_another_order_are_those_of_a_cut_up_picture(engine):
    """And without positions the order makes no difference to the answer, with them it does."""
    images, order = (
        on_steps(pictures_of("shapes-vit", 1)),
        torch.randperm(64, generator=torch.Generator().manual_seed(1)),
    )
    columns = F.unfold(images, 4, stride=4)  # (1, 48, 64)
    cut_up = F.fold(columns[:, :, order], 32, 4, stride=4)
    (as_option,) = run(engine, "shapes-vit", images, order=order.tolist())
    (as_picture,) = run(engine, "shapes-vit", cut_up)
    assert as_option == as_picture
    scores = torch.tensor(as_option["scores"])
    assert (scores - torch.tensor(run(engine, "shapes-vit", images)[0]["scores"])).abs().max() > 0.01
    without = [
        torch.tensor(run(engine, "shapes-vit", pictures, positions=False)[0]["scores"]) for pictures in (images, cut_up)
    ]
    torch.testing.assert_close(*without, **CLOSE)


def test_left_out_positions_are_a_table_of_zeros(engine):
    images, model = on_steps(pictures_of("shapes-vit", 2)), load("shapes-vit").eval()
    with torch.no_grad():
        model.positions.table.zero_()
    scores, _, _ = torch_answers(model, normalised("shapes-vit", images))
    found = torch.tensor([answer["scores"] for answer in run(engine, "shapes-vit", images, positions=False)])
    torch.testing.assert_close(found, scores, **CLOSE)


def test_untrained_model_is_always_the_same_and_starts_as_the_modules_do(engine):
    found = engine.evaluate(
        """() => { const {tensors} = vitedu.model('shapes-vit:untrained');
        return Object.fromEntries(Object.entries(tensors).map(([key, {data}]) => [key, Array.from(data)])) }"""
    )
    again = engine.evaluate("Array.from(vitedu.model('shapes-vit:untrained').tensors['head.weight'].data)")
    assert found["head.weight"] == again
    for key, trained in load("shapes-vit").state_dict().items():
        values = torch.tensor(found[key])
        assert len(values) == trained.numel()
        if key.endswith("bias"):
            assert not values.any()
        elif "norm" in key:
            assert (values == 1).all()
        elif "table" in key or "cls" in key:
            assert 0.01 < values.std() < 0.03
        else:
            limit = (6 / sum(trained.shape)) ** 0.5  # Xavier, uniform
            assert 0.9 * limit < values.abs().max() <= limit


@pytest.mark.parametrize("name", MODELS)
def test_embedded_weights_are_those_that_ship(name):
    script = weights_script(name)
    card, text = re.fullmatch(r'vitedu\.register\("[\w-]+", (\{.*\}), "([\w+/=]+)"\);\n', script).groups()
    assert json.loads(card) == json.loads((WEIGHTS / f"{name}.json").read_text(encoding="utf-8"))
    assert hashlib.sha256(base64.b64decode(text)).hexdigest() == describe(name)["sha256"]
