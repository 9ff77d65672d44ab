"""Windows of a map: cutting and putting back, which distance has which bias, and what a shifted map may see."""

import pytest
import torch

from vitedu.capture import capture_attention
from vitedu.models.window_attention import MASKED, WindowAttention, partition, relative_index, reverse, shift_mask


@pytest.mark.parametrize("size", [(8, 8), (4, 12), (16, 4)])
def test_windows_are_put_back_where_they_were(size):
    x = torch.randn(2, *size, 3)
    windows = partition(x, 4)
    assert windows.shape == (2, size[0] * size[1] // 16, 16, 3)
    torch.testing.assert_close(reverse(windows, 4, size[1]), x, rtol=0, atol=0)


def test_windows_and_their_positions_come_in_raster_order():
    place = torch.arange(4 * 6).view(1, 4, 6, 1)
    assert partition(place, 2)[0, :, :, 0].tolist() == [
        [0, 1, 6, 7],
        [2, 3, 8, 9],
        [4, 5, 10, 11],
        [12, 13, 18, 19],
        [14, 15, 20, 21],
        [16, 17, 22, 23],
    ]


def test_the_index_is_that_of_the_paper_for_a_window_of_two():
    # differences of rows and columns from -1 to 1: (row + 1) · 3 + column + 1
    assert relative_index(2).tolist() == [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]


@pytest.mark.parametrize("window", [1, 3, 7])
def test_pairs_share_an_index_exactly_if_they_share_a_distance(window):
    index, side = relative_index(window), 2 * window - 1
    places = [(row, column) for row in range(window) for column in range(window)]
    for i, query in enumerate(places):
        for j, key in enumerate(places):
            down, across = divmod(index[i, j].item(), side)
            assert (down - window + 1, across - window + 1) == (query[0] - key[0], query[1] - key[1])


@pytest.mark.parametrize(("size", "shift"), [((8, 8), (2, 2)), ((4, 8), (0, 2)), ((12, 4), (1, 0))])
def test_the_mask_parts_what_was_not_together_before_the_roll(size, shift):
    """A pair in a window may look at each other if both crossed the edge of the picture in the roll, or neither did."""
    rows, columns = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    crossed = torch.stack([rows < shift[0], columns < shift[1]], dim=-1)  # of the unrolled map: what goes to the end
    moved = partition(crossed.roll((-shift[0], -shift[1]), (0, 1))[None], 4)[0]  # (windows, 16, 2)
    together = (moved[:, :, None] == moved[:, None]).all(dim=-1)
    mask = shift_mask(size, 4, shift)
    assert torch.equal(mask == 0, together)
    assert mask[~together].eq(MASKED).all()


def by_hand(layer: WindowAttention, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Equation 4, one window and one head at a time."""
    out = torch.zeros_like(x)
    d = x.shape[-1] // layer.num_heads
    for b in range(x.shape[0]):
        for w in range(x.shape[1]):
            q, k, v = (project(x[b, w]) for project in (layer.q_proj, layer.k_proj, layer.v_proj))
            for h in range(layer.num_heads):
                part = slice(h * d, (h + 1) * d)
                logits = q[:, part] @ k[:, part].T / d**0.5
                if layer.bias_table is not None:
                    logits = logits + layer.bias_table[:, h][layer.index]
                if mask is not None:
                    logits = logits + mask[w]
                out[b, w, :, part] = logits.softmax(dim=-1) @ v[:, part]
    return layer.out_proj(out)


@pytest.mark.parametrize("relative_bias", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_all_windows_and_heads_at_once_are_each_by_itself(relative_bias, masked):
    torch.manual_seed(0)
    layer, x = WindowAttention(8, 2, 3, relative_bias), torch.randn(2, 4, 9, 8)
    if relative_bias:
        torch.nn.init.normal_(layer.bias_table)
    mask = shift_mask((6, 6), 3, (1, 1)) if masked else None
    torch.testing.assert_close(layer(x, mask), by_hand(layer, x, mask))


def test_its_weights_are_those_that_it_uses():
    torch.manual_seed(0)
    layer, x, mask = WindowAttention(8, 2, 3), torch.randn(2, 4, 9, 8), shift_mask((6, 6), 3, (1, 1))
    with capture_attention(layer) as maps:
        output = layer(x, mask)
    (weights,) = maps
    assert weights.shape == (2 * 4, 2, 9, 9)
    values = layer.v_proj(x).unflatten(-1, (2, 4)).transpose(2, 3).flatten(0, 1)  # (B·windows, h, 9, d)
    again = layer.out_proj((weights @ values).transpose(1, 2).flatten(2)).unflatten(0, (2, 4))
    torch.testing.assert_close(again, output)
    others = [2, 5, 6, 7, 8]  # in the last window, what stands beside the first position came from other edges
    assert weights.unflatten(0, (2, 4))[:, -1, :, 0, others].max() < 1e-30
