"""`vitedu.inspection.relevance`: against autograd through a softmax written out, slips that would show, refusals."""

import pytest
import timm
import torch
import torch.nn.functional as F
from torchvision.models import VisionTransformer

from tests.random_weights import random_images, randomise
from vitedu.inspection import class_relevance
from vitedu.models.dinov2 import DINOv2, DINOv2Config
from vitedu.pretrained import load_torchvision
from vitedu.vit import ViT, ViTConfig

FIELDS = {"image_size": (8, 12), "patch_size": 4, "num_classes": 5, "dim": 12, "depth": 3, "num_heads": 3}
IMAGES, CLASSES = random_images(4, 3, 8, 12), torch.tensor([0, 3, 3, 1])


def small_vit(**changes) -> ViT:
    return randomise(ViT(ViTConfig(**FIELDS | changes))).eval()


def written_out(model: ViT, images: torch.Tensor, classes: torch.Tensor) -> tuple[list, list]:
    """The maps A of all blocks and the gradients of the classes' scores by them, the forward pass by hand."""
    z, maps = model.patch_embed(images), []
    if model.cls_token is not None:
        z = torch.cat([model.cls_token.expand(len(z), -1, -1), z], dim=1)
    z = model.positions(z)
    for block in model.encoder.blocks:
        layer, x = block.attention, block.norm1(z)
        q, k, v = (layer.split_heads(project(x)) for project in (layer.q_proj, layer.k_proj, layer.v_proj))
        maps.append((q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=-1))
        maps[-1].retain_grad()
        z = z + layer.out_proj((maps[-1] @ v).transpose(1, 2).flatten(2))
        z = z + block.mlp(block.norm2(z))
    z = model.encoder.norm(z)
    scores = model.head(z[:, 0] if model.config.pool == "cls" else z.mean(dim=1))
    torch.testing.assert_close(scores, model(images), atol=1e-5, rtol=1e-5)
    scores.gather(1, classes[:, None]).sum().backward()
    return [A.detach() for A in maps], [A.grad for A in maps]


def added_up(maps, gradients, useful=lambda A, g: (A * g).clamp(min=0).mean(dim=1), order=lambda pairs: pairs):
    total = torch.eye(maps[0].shape[-1])
    for A, gradient in order(list(zip(maps, gradients, strict=True))):
        total = total + useful(A, gradient) @ total
    return total


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_it_is_what_autograd_finds_through_the_explicit_softmax(pool):
    model = small_vit(pool=pool)
    total = added_up(*written_out(model, IMAGES, CLASSES))
    row = total[:, 0, 1:] if pool == "cls" else total.mean(dim=1)
    torch.testing.assert_close(class_relevance(model, IMAGES, CLASSES), row.reshape(4, 2, 3), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(
    "slip",
    [
        {"useful": lambda A, g: (A * g).mean(dim=1)},  # what speaks against the class is kept
        {"useful": lambda A, g: g.clamp(min=0).mean(dim=1)},  # the weight itself is forgotten
        {"useful": lambda A, g: A.mean(dim=1)},  # the class is
        {"useful": lambda A, g: (A * g).mean(dim=1).clamp(min=0)},  # heads cancel each other first
        {"order": lambda pairs: pairs[::-1]},
    ],
)
def test_slips_would_be_seen(slip):
    model = small_vit()
    with torch.no_grad():
        model.head.weight *= 30  # the order of the layers shows in products of two
    wrong = added_up(*written_out(model, IMAGES, CLASSES), **slip)[:, 0, 1:].reshape(4, 2, 3)
    right = class_relevance(model, IMAGES, CLASSES)
    assert (right - wrong).norm() > 0.01 * right.norm()


def test_a_class_whose_score_never_moves_has_an_empty_map():
    model = small_vit()
    with torch.no_grad():
        model.head.weight[2] = 0
    assert not class_relevance(model, IMAGES, torch.full((4,), 2)).any()
    assert class_relevance(model, IMAGES, CLASSES).any()


def test_with_one_block_the_map_grows_with_the_score():
    model = small_vit(depth=1)
    before = class_relevance(model, IMAGES, CLASSES)
    with torch.no_grad():
        model.head.weight *= 3
    torch.testing.assert_close(class_relevance(model, IMAGES, CLASSES), 3 * before)


def test_each_image_is_asked_about_its_own_class_and_about_the_winner_if_none_is_named():
    model = small_vit()
    one_by_one = [class_relevance(model, IMAGES[n : n + 1], CLASSES[n : n + 1])[0] for n in range(4)]
    torch.testing.assert_close(class_relevance(model, IMAGES, CLASSES), torch.stack(one_by_one))
    winners = model(IMAGES).argmax(dim=1)
    assert torch.equal(class_relevance(model, IMAGES), class_relevance(model, IMAGES, winners))
    assert not torch.allclose(class_relevance(model, IMAGES, (winners + 1) % 5), class_relevance(model, IMAGES))


def test_the_model_is_left_alone_frozen_or_compiled():
    model = small_vit().requires_grad_(False)
    expected = class_relevance(model, IMAGES, CLASSES)
    compiled = torch.compile(model, backend="eager")
    compiled(IMAGES)
    torch.testing.assert_close(class_relevance(compiled, IMAGES, CLASSES), expected)
    with torch.no_grad():
        torch.testing.assert_close(class_relevance(model, IMAGES, CLASSES), expected)
    assert all(p.grad is None for p in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert not IMAGES.requires_grad


def test_registers_are_left_out():
    config = DINOv2Config(image_size=8, patch_size=4, dim=12, depth=2, num_heads=3, num_classes=5, num_registers=4)
    pictures = class_relevance(randomise(DINOv2(config)).eval(), random_images(2, 3, 8, 8))
    assert pictures.shape == (2, 2, 2)
    assert (pictures >= 0).all()
    assert pictures.isfinite().all()


def test_other_libraries_models_are_refused_with_the_remedy_which_works():
    theirs = randomise(VisionTransformer(8, 4, 2, 3, 12, 48, num_classes=5)).eval()
    square = random_images(2, 3, 8, 8)
    timms = timm.models.VisionTransformer(img_size=8, patch_size=4, embed_dim=12, depth=2, num_heads=3).eval()
    for model in (theirs, timms):
        with pytest.raises(ValueError, match=r"another library, .* load_timm or load_torchvision makes a ViT of it"):
            class_relevance(model, square)
    assert class_relevance(load_torchvision(theirs), square).shape == (2, 2, 2)


def test_classes_are_one_for_each_image():
    for wrong in (torch.tensor(3), torch.tensor([1, 2])):
        with pytest.raises(ValueError, match=r"classes have shape .*, expected \(4,\): one for each image"):
            class_relevance(small_vit(), IMAGES, wrong)


def test_positive_parts_of_the_heads_are_averaged():
    """Two heads that pull in opposite ways do not cancel: half of the useful one is left."""
    A, gradient = torch.full((1, 2, 1, 1), 0.5), torch.tensor([2.0, -2.0]).view(1, 2, 1, 1)
    torch.testing.assert_close(added_up([A], [gradient]), torch.tensor([[[1 + 0.5]]]))
    assert F.relu(A * gradient).sum() == 1
