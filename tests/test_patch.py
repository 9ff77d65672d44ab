"""`vitedu.patch`: cutting is `unfold`, gluing undoes it, and embedding is a convolution with stride P."""

import re

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from vitedu.data import normalise
from vitedu.models.cnn import CNNConfig, ResNet
from vitedu.models.hybrid import HybridViT
from vitedu.patch import PatchEmbed, pair, patch_grid, patchify, unpatchify
from vitedu.vit import ViT, ViTConfig

CASES = [  # B, C, (H, W), patch size
    (2, 3, (8, 8), 4),
    (1, 1, (28, 28), 7),
    (3, 5, (12, 8), 4),
    (2, 2, (6, 20), (3, 5)),
    (1, 3, (4, 6), (4, 1)),
    (2, 3, (5, 7), 1),
    (1, 2, (6, 9), (6, 9)),
]


def random_images(B: int, C: int, size: tuple[int, int]) -> torch.Tensor:
    return torch.randn(B, C, *size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("B", "C", "size", "patch_size"), CASES)
def test_patchify_equals_unfold(B, C, size, patch_size):
    images, sides = random_images(B, C, size), pair(patch_size)
    unfolded = F.unfold(images, sides, stride=sides).transpose(1, 2)  # (B, N, C·P·P)
    assert torch.equal(patchify(images, patch_size), unfolded)


@pytest.mark.parametrize(("B", "C", "size", "patch_size"), CASES)
def test_token_n_is_the_nth_window_in_raster_order(B, C, size, patch_size):
    images, (ph, pw) = random_images(B, C, size), pair(patch_size)
    tokens, (rows, columns) = patchify(images, patch_size), patch_grid(size, patch_size)
    assert tokens.shape[1] == rows * columns
    for n in range(rows * columns):
        top, left = n // columns * ph, n % columns * pw
        assert torch.equal(tokens[:, n], images[:, :, top : top + ph, left : left + pw].flatten(1))


@pytest.mark.parametrize(("B", "C", "size", "patch_size"), CASES)
def test_patchify_and_unpatchify_are_inverses(B, C, size, patch_size):
    images = random_images(B, C, size)
    tokens = patchify(images, patch_size)
    assert torch.equal(unpatchify(tokens, patch_size, size), images)
    other = torch.randn_like(tokens)
    assert torch.equal(patchify(unpatchify(other, patch_size, size), patch_size), other)


def test_the_same_tokens_make_different_images_on_different_grids():
    tokens = torch.arange(16.0).view(1, 16, 1)
    assert unpatchify(tokens, 1, (2, 8)).tolist() == torch.arange(16.0).view(1, 1, 2, 8).tolist()
    assert unpatchify(tokens, 1, (4, 4)).tolist() == torch.arange(16.0).view(1, 1, 4, 4).tolist()


def test_bytes_stay_bytes_and_the_image_is_left_alone():
    images = torch.randint(256, (2, 3, 8, 8), dtype=torch.uint8)
    before = images.clone()
    tokens = patchify(images, 4)
    assert tokens.dtype == unpatchify(tokens, 4, 8).dtype == torch.uint8
    assert torch.equal(images, before)


def test_every_pixel_gets_the_gradient_of_its_own_place():
    images = random_images(2, 3, (8, 12)).requires_grad_()
    weight = torch.randn(2, 6, 48)
    (patchify(images, 4) * weight).sum().backward()
    assert torch.equal(images.grad, unpatchify(weight, 4, (8, 12)))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("B", "C", "size", "patch_size"), CASES)
def test_patch_embed_equals_a_convolution_with_stride_p(B, C, size, patch_size, bias):
    torch.manual_seed(0)
    embed, sides = PatchEmbed(patch_size, C, dim=10, bias=bias), pair(patch_size)
    images = random_images(B, C, size)
    convolved = F.conv2d(images, embed.proj.weight.view(10, C, *sides), embed.proj.bias, stride=sides)
    torch.testing.assert_close(embed(images), convolved.flatten(2).transpose(1, 2), atol=1e-6, rtol=1e-5)


def test_without_a_bias_the_embedding_is_linear_and_with_one_affine():
    torch.manual_seed(0)
    black = torch.zeros(1, 3, 8, 8)
    assert (PatchEmbed(4, 3, 10, bias=False)(black) == 0).all()
    affine = PatchEmbed(4, 3, 10)
    assert torch.equal(affine(black), affine.proj.bias.expand(1, 4, 10))


@pytest.mark.parametrize(("size", "sides"), [(16, (16, 16)), ((16, 8), (16, 8)), ([4, 2], (4, 2)), (1, (1, 1))])
def test_pair_makes_one_side_two_and_keeps_two(size, sides):
    assert pair(size) == sides


@pytest.mark.parametrize("size", [0, -4, (8, 0), (8, 4.0), (2.5, 2), ("8", "8"), 16.0, (1, 2, 3), True])
def test_pair_refuses_what_is_not_a_positive_whole_number(size):
    with pytest.raises(ValueError, match=re.escape(f"size {size!r} is not a positive whole number or a pair of them")):
        pair(size)


@pytest.mark.parametrize(
    ("image_size", "patch_size", "grid"), [(224, 16, (14, 14)), ((12, 8), 4, (3, 2)), (12, (3, 6), (4, 2))]
)
def test_the_grid_is_the_image_over_the_patch_side_by_side(image_size, patch_size, grid):
    assert patch_grid(image_size, patch_size) == grid


@pytest.mark.parametrize(
    ("image_size", "patch_size", "message"),
    [
        (30, 4, "image side 30 is not divisible by patch side 4; use 28 or 32, or pad the image"),
        ((32, 30), 4, "image side 30 is not divisible by patch side 4; use 28 or 32, or pad the image"),
        ((30, 32), (4, 5), "image side 30 is not divisible by patch side 4; use 28 or 32, or pad the image"),
        (8, (4, 3), "image side 8 is not divisible by patch side 3; use 6 or 9, or pad the image"),
        (8, 12, "image side 8 is not divisible by patch side 12; use 12, or pad the image"),
    ],
)
def test_a_side_that_does_not_divide_is_named_with_the_two_that_do(image_size, patch_size, message):
    height, width = pair(image_size)
    calls = [
        lambda: patch_grid(image_size, patch_size),
        lambda: patchify(torch.zeros(1, 3, height, width), patch_size),
        lambda: unpatchify(torch.zeros(1, 4, 3), patch_size, image_size),
        lambda: PatchEmbed(patch_size, 3, 8)(torch.zeros(1, 3, height, width)),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            call()


PIXELS = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("channels", "wrong", "remedy", "mend"),
    [
        (3, PIXELS[0], "images have shape (3, 8, 8), expected (B, 3, H, W); pass images[None]", lambda x: x[None]),
        (1, PIXELS[:, 0], "shape (2, 8, 8), expected (B, 1, H, W); pass images[:, None]", lambda x: x[:, None]),
        (3, PIXELS.movedim(1, 3), "(2, 8, 8, 3), expected (B, 3, H, W); pass images.movedim(-1, -3)",
         lambda x: x.movedim(-1, -3)),
        (3, PIXELS[0].movedim(0, 2), "pass images.movedim(-1, -3)[None]", lambda x: x.movedim(-1, -3)[None]),
        (3, PIXELS.double(), "hold torch.float64, the model computes in torch.float32; pass images.to(torch.float32)",
         lambda x: x.to(torch.float32)),
        (3, PIXELS.bfloat16(), "pass images.to(torch.float32)", lambda x: x.to(torch.float32)),
        (3, PIXELS.byte(), "torch.uint8, the model computes in torch.float32; pass vitedu.data.normalise(images, mean",
         lambda x: normalise(x, torch.zeros(3), torch.ones(3))),
        (3, PIXELS.long(), "pass vitedu.data.normalise(images, mean, std)", None),
        (3, PIXELS.numpy(), "images are a ndarray, expected a tensor (B, C, H, W); torch.as_tensor", torch.as_tensor),
        (3, Image.new("RGB", (8, 8)), "images are a Image, expected a tensor (B, C, H, W); ", None),
        (3, PIXELS[None], "(1, 2, 3, 8, 8), expected (B, 3, H, W); pass four axes", None),
        (3, PIXELS[0, 0], "(8, 8), expected (B, 3, H, W); pass four axes", None),
        (1, PIXELS, "(2, 3, 8, 8), expected (B, 1, H, W); pass what has that many, or set in_channels", None),
    ],
)  # fmt: skip
def test_what_is_no_batch_of_floats_is_refused_in_one_sentence_whose_remedy_works(channels, wrong, remedy, mend):
    """At the door of every model, here and of those that begin with a CNN; `mend` does what the sentence says."""
    sizes = {"image_size": 8, "patch_size": 4, "in_channels": channels, "dim": 8, "depth": 1, "num_heads": 2}
    stem = CNNConfig(in_channels=channels, widths=(4, 8), depths=(1, 1))
    vit = ViT(ViTConfig(**sizes))
    for model in (vit, vit.patch_embed, HybridViT(ViTConfig(**sizes), stem), ResNet(stem)):
        with pytest.raises((TypeError, ValueError), match=re.escape(remedy)) as caught:
            model(wrong)
        assert "\n" not in str(caught.value)
        assert mend is None or len(model(mend(wrong)))


@pytest.mark.parametrize(("wrong", "error"), [(PIXELS[0], ValueError), (PIXELS.numpy(), TypeError)])
def test_patches_are_cut_from_tensors_of_four_axes(wrong, error):
    with pytest.raises(error, match=re.escape("expected")):
        patchify(wrong, 4)


def test_a_model_whose_door_is_checked_can_be_exported_compiled_traced_and_run_under_autocast():
    model = ViT(ViTConfig(image_size=8, patch_size=4, dim=8, depth=1, num_heads=2, num_classes=3)).eval()
    exported = torch.export.export(model, (PIXELS,), dynamic_shapes=({0: torch.export.Dim("B", min=1, max=64)},))
    traced = torch.jit.trace(model, PIXELS)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    for images in (PIXELS, PIXELS[:1], torch.cat([PIXELS] * 3)):
        for other in (exported.module(), traced, compiled):
            torch.testing.assert_close(other(images), model(images))
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(model(PIXELS.bfloat16()).float(), model(PIXELS).float(), atol=0.05, rtol=0.05)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 5, 48), "tokens have shape (1, 5, 48), expected (B, 6, C·16); one per patch"),
        ((6, 48), "tokens have shape (6, 48), expected (B, 6, C·16); one per patch"),
        ((1, 6, 47), "token width 47 is not divisible by 4·4 = 16; check the patch side"),
    ],
)
def test_tokens_that_do_not_fit_the_image_are_refused(shape, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        unpatchify(torch.zeros(shape), 4, (8, 12))
