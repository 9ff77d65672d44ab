"""The hybrid: a plain ViT on the feature map of a plain ResNet, and nothing else."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from vitedu.cost import count_parameters
from vitedu.models.cnn import CNNConfig, ResNet
from vitedu.models.hybrid import DIGIT_STEM, SMALL_STEM, HybridViT, small_stem
from vitedu.vit import ViTConfig

CONFIG = ViTConfig(image_size=(28, 40), patch_size=4, dim=16, depth=1, num_heads=2, num_classes=5)


def test_a_token_is_one_position_of_the_feature_map_times_e():
    model = HybridViT(CONFIG, SMALL_STEM).eval()
    images = torch.randn(2, 3, 28, 40)
    features = model.cnn.features(images)  # (B, C', 4, 5)
    embed = model.vit.patch_embed
    by_hand = F.linear(features.permute(0, 2, 3, 1), embed.proj.weight, embed.proj.bias).flatten(1, 2)
    torch.testing.assert_close(embed(features), by_hand)
    torch.testing.assert_close(model(images), model.vit(features), rtol=0, atol=0)


@pytest.mark.parametrize(("size", "grid"), [(28, (4, 4)), ((28, 40), (4, 5)), (64, (8, 8)), (33, (5, 5))])
def test_the_stride_of_the_cnn_decides_the_number_of_tokens(size, grid):
    model = HybridViT(ViTConfig(image_size=size, patch_size=1, dim=8, depth=1, num_heads=1), SMALL_STEM)
    assert model.grid == grid
    assert model.vit.positions.table.shape[0] == 1 + grid[0] * grid[1]


@pytest.mark.parametrize("size", [8, 28, 32, (28, 40), 64])
def test_the_small_stem_leaves_at_least_four_by_four_positions(size):
    cnn = small_stem(size, in_channels=1)
    assert min(cnn.feature_size(size)) >= 4
    assert cnn.in_channels == 1


@pytest.mark.parametrize(("size", "small"), [(32, SMALL_STEM), (8, DIGIT_STEM)])
def test_a_wider_transformer_gets_a_stem_as_much_wider_and_a_narrow_one_the_small_one(size, small):
    for dim, times in [(16, 1), (64, 1), (128, 2), (192, 3), (96, 1.5)]:
        stem = small_stem(size, 3, dim)
        assert stem == replace(small, widths=tuple(int(times * width) for width in small.widths))
        assert dim < 64 or stem.widths[-1] == dim


def test_every_parameter_learns_so_none_is_left_over():
    torch.manual_seed(0)
    model = HybridViT(CONFIG, SMALL_STEM)
    model(torch.randn(4, 3, 28, 40)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_its_parameters_are_those_of_its_two_parts_without_the_classifier_of_the_cnn():
    model, cnn = HybridViT(CONFIG, SMALL_STEM), ResNet(SMALL_STEM)
    assert count_parameters(model) == count_parameters(model.vit) + count_parameters(cnn) - count_parameters(cnn.head)


def test_channels_that_do_not_fit_are_an_error_with_both_numbers():
    with pytest.raises(ValueError, match="for 3 channels, the CNN for 1"):
        HybridViT(CONFIG, CNNConfig(in_channels=1))
