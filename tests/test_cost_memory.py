"""`vitedu.cost`: what is kept is what the backward pass needs, and nothing is counted twice."""

import pytest
import torch
from torch import nn

from vitedu.cost import kept_bytes


class Power(nn.Module):
    """x -> exp(w·x) · exp(w·x): one product keeps its input, one exponential its output, which the square keeps too."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        grown = (self.w * x).exp()
        return grown * grown


@pytest.mark.parametrize("count", [1, 7, 100])
def test_a_tensor_that_is_kept_twice_is_counted_once(count):
    """exp's output is kept by exp and by both sides of the square; images and parameters are there anyway."""
    assert kept_bytes(Power(), torch.ones(count)) == 4 * count


def test_a_layer_keeps_its_input_unless_it_is_the_images_themselves():
    first, second = nn.Linear(3, 5), nn.Linear(5, 2)
    images = torch.ones(4, 3)
    assert kept_bytes(first, images) == 0
    assert kept_bytes(nn.Sequential(first, second), images) == 4 * 4 * 5


def test_without_gradients_nothing_is_kept():
    with torch.no_grad():
        assert kept_bytes(Power(), torch.ones(9)) == 0


def test_what_is_kept_grows_with_the_batch_and_not_with_the_parameters(small_model):
    images = torch.randn(6, 1, 8, 12)
    assert kept_bytes(small_model, images) == 3 * kept_bytes(small_model, images[:2].clone())
