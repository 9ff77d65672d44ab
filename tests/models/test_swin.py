"""Swin: equal to torchvision's with the same weights, and the mistakes that one makes are seen."""

from unittest import mock

import pytest
import torch
import torchvision

from vitedu.capture import capture_attention, capture_tokens
from vitedu.cost import count_parameters
from vitedu.models import swin, window_attention
from vitedu.models.swin import PatchMerging, Swin, SwinBlock, SwinConfig, swin_preset
from vitedu.models.table import small_swin
from vitedu.pretrained.convert_swin import load_swin
from vitedu.vit import preset

SMALL = {"dim": 8, "depths": (2, 2), "num_heads": (1, 2), "window": 4, "num_classes": 5, "image_size": 32}


def loud(model: torch.nn.Module) -> torch.nn.Module:
    """Every parameter drawn at a size at which it matters."""
    for parameter in model.parameters():
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
        torch.nn.init.normal_(parameter, std=1.0 if parameter.ndim == 1 else fan_in**-0.5)
    for name, parameter in model.named_parameters():
        if "bias_table" in name:
            torch.nn.init.normal_(parameter)
    return model


@pytest.fixture(scope="module", params=["as it starts", "loud"])
def pair(request):
    """torchvision's Swin with two stages, and ours with its weights."""
    torch.manual_seed(0)
    theirs = torchvision.models.SwinTransformer([4, 4], 24, [2, 3], [3, 6], [7, 7], num_classes=7).eval()
    theirs = loud(theirs) if request.param == "loud" else theirs
    return theirs, load_swin(theirs)


@pytest.mark.parametrize("size", [(224, 224), (256, 256), (96, 160), (36, 100)])
@torch.no_grad()
def test_scores_are_torchvisions(pair, size):
    theirs, ours = pair
    images = torch.randn(2, 3, *size)
    expected = theirs(images)
    torch.testing.assert_close(ours(images), expected, rtol=1e-5, atol=1e-5 * max(1, expected.abs().max().item()))


MUTANTS = {
    "columns first in merging": (
        PatchMerging,
        "forward",
        lambda self, x: self.reduction(
            self.norm(torch.cat([x[:, row::2, column::2] for row in (0, 1) for column in (0, 1)], dim=-1))
        ),
    ),
    "index transposed": (swin.WindowAttention, "offsets", None),
    "shift to the other side": (SwinBlock, "attend", None),
    "rolled before it is padded": (SwinBlock, "attend", None),
    "no mask": (swin, "shift_mask", lambda *arguments: 0 * window_attention.shift_mask(*arguments)),
}


def rolled_first(self, x):
    """`attend` as timm does it."""
    (H, W), M, s = x.shape[1:3], self.window, self.shift
    x = torch.nn.functional.pad(x.roll((-s, -s), (1, 2)), (0, 0, 0, -W % M, 0, -H % M))
    mask = window_attention.shift_mask(x.shape[1:3], M, (s, s)) if s else None
    x = swin.reverse(self.attention(swin.partition(x, M), mask), M, x.shape[2])[:, :H, :W]
    return x.roll((s, s), (1, 2))


def other_side(attend):
    def mutant(self, x):
        roll = torch.Tensor.roll
        with mock.patch.object(torch.Tensor, "roll", lambda t, s, d: roll(t, tuple(-one for one in s), d)):
            return attend(self, x)

    return mutant


def transposed(offsets):
    return lambda self, windows, mask: offsets(self, windows, mask.mT if mask is not None else None).mT


@pytest.mark.parametrize("name", MUTANTS)
@torch.no_grad()
def test_a_usual_mistake_is_seen(pair, name):
    theirs, ours = pair
    place, attribute, mutant = MUTANTS[name]
    mutant = (
        mutant
        or {
            "index transposed": transposed(swin.WindowAttention.offsets),
            "shift to the other side": other_side(SwinBlock.attend),
            "rolled before it is padded": rolled_first,
        }[name]
    )
    images = torch.randn(1, 3, 256, 256)
    expected = theirs(images)
    with mock.patch.object(place, attribute, mutant):
        wrong = ours(images)
    assert (wrong - expected).abs().max() > 1e-4 * expected.abs().max()


@pytest.mark.parametrize(("name", "count"), [("Swin-T", 28_288_354), ("Swin-S", 49_606_258), ("Swin-B", 87_768_224)])
def test_presets_have_the_published_number_of_parameters(name, count):
    with torch.device("meta"):
        assert count_parameters(Swin(swin_preset(name))) == count


@pytest.mark.parametrize(("name", "theirs"), [("Swin-T", "swin_t"), ("Swin-S", "swin_s"), ("Swin-B", "swin_b")])
def test_presets_drop_their_blocks_as_torchvision_does(name, theirs):
    with torch.device("meta"):
        model, peer = Swin(swin_preset(name)), torchvision.models.get_model(theirs)
    rates = [module.p for module in peer.modules() if type(module).__name__ == "StochasticDepth"]
    assert [block.drop_path.rate for stage in model.stages for block in stage.blocks] == pytest.approx(rates)


def test_it_trains_every_parameter():
    torch.manual_seed(0)
    model = Swin(SwinConfig(**SMALL | {"drop_path": 0.0}))
    model(torch.randn(4, 3, 32, 32)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_without_the_shift_a_window_hears_nothing_of_the_next():
    torch.manual_seed(0)
    images = torch.randn(1, 3, 32, 32, requires_grad=True)
    for shifted in (False, True):
        model = Swin(SwinConfig(**SMALL | {"depths": (2,), "num_heads": (1,), "shifted": shifted})).eval()
        model.pyramid(images)[0][0, 3, 3].sum().backward()
        reach = images.grad[0].abs().sum(dim=0).nonzero().max(dim=0).values + 1
        assert reach.tolist() == ([32, 32] if shifted else [16, 16])
        images.grad = None


def test_it_tells_its_stages_and_can_be_looked_into():
    model = Swin(SwinConfig(**SMALL)).eval()
    images = torch.randn(2, 3, 32, 32)
    with capture_tokens(model) as tokens, capture_attention(model) as maps:
        model(images)
    assert [tuple(x.shape) for x in tokens] == [(2, 8, 8, 8)] * 3 + [(2, 4, 4, 16)] * 3
    assert [tuple(x.shape) for x in maps] == [(8, 1, 16, 16)] * 2 + [(2, 2, 16, 16)] * 2
    assert (model.width, model.grid, len(model.stages)) == (16, (4, 4), 2)


@pytest.mark.parametrize(("size", "window"), [(28, 7), (32, 4), (96, 4), (48, 4)])
def test_a_small_one_fits_its_windows_to_the_map(size, window):
    config = small_swin(preset("tiny", image_size=size, num_classes=10))
    assert (config.window, config.dim, sum(config.depths)) == (window, 32, 4)
    assert Swin(config)(torch.zeros(1, 3, size, size)).shape == (1, 10)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"depths": (2,)}, "1 depths but 2 num_heads"),
        ({"num_heads": (3, 6)}, "width 8 is not divisible by 3 heads"),
        ({"norm": "post"}, "normalises before its branches"),
        ({"window": 0}, "window is 0"),
        ({"image_size": 30}, "image side 30 is not divisible by patch side 4"),
    ],
)
def test_numbers_that_do_not_fit_are_an_error(changes, told):
    with pytest.raises(ValueError, match=told):
        SwinConfig(**SMALL | changes)
