"""`vitedu.train.optim`: the schedule's closed form, and which parameters decay."""

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from vitedu.data import Dataset, Split
from vitedu.models.table import MODELS
from vitedu.train import TrainConfig, TrainingLoop
from vitedu.train.optim import Average, adamw, learning_rate, levels, sgd, split_parameters
from vitedu.vit import ViT, ViTConfig

CASES = [(100, 10, 1e-3), (50, 1, 0.3), (20, 0, 1.0), (7, 3, 2.0)]


def schedule(total: int, warmup: int, peak: float) -> list[float]:
    return [learning_rate(step, total, warmup, peak) for step in range(total)]


@pytest.mark.parametrize(("total", "warmup", "peak"), CASES)
def test_the_rate_rises_on_a_straight_line_through_zero_one_step_before_the_first(total, warmup, peak):
    rates = schedule(total, warmup, peak)
    assert rates[:warmup] == pytest.approx([peak * (step + 1) / warmup for step in range(warmup)])


@pytest.mark.parametrize(("total", "warmup", "peak"), CASES)
def test_after_the_warm_up_the_rate_is_that_of_torchs_cosine_scheduler(total, warmup, peak):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=peak)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=total - warmup)
    for step in range(warmup, total):
        assert learning_rate(step, total, warmup, peak) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        cosine.step()


@pytest.mark.parametrize(("total", "warmup", "peak"), CASES)
def test_the_peak_is_where_warm_up_and_cosine_meet_and_zero_comes_after_the_last_step(total, warmup, peak):
    rates = schedule(total, warmup, peak)
    assert max(rates) == rates[warmup] == peak
    assert rates[max(0, warmup - 1)] == peak
    assert all(rate > 0 for rate in rates)
    assert learning_rate(total, total, warmup, peak) == pytest.approx(0, abs=1e-12)
    assert all(later < earlier for earlier, later in pairwise(rates[warmup:]))


def test_half_way_down_the_cosine_the_rate_is_half_the_peak():
    assert learning_rate(60, 110, 10, 4.0) == pytest.approx(2.0)


def test_neighbouring_steps_have_neighbouring_rates():
    rates = schedule(1000, 100, 1.0)
    assert max(abs(b - a) for a, b in pairwise(rates)) <= 1 / 100 + 1e-12


def test_a_run_that_is_all_warm_up_never_passes_the_peak():
    assert schedule(4, 4, 2.0) == pytest.approx([0.5, 1.0, 1.5, 2.0])


@pytest.fixture
def model():
    torch.manual_seed(0)
    return ViT(ViTConfig(image_size=8, patch_size=4, num_classes=5, dim=16, depth=2, num_heads=4))


def names(model: nn.Module, parameters: list[nn.Parameter]) -> set[str]:
    wanted = {id(parameter) for parameter in parameters}
    return {name for name, parameter in model.named_parameters() if id(parameter) in wanted}


def test_the_two_lists_share_nothing_and_miss_nothing(model):
    decay, no_decay = split_parameters(model)
    assert len(decay) + len(no_decay) == len(list(model.parameters()))
    assert names(model, decay) | names(model, no_decay) == {name for name, _ in model.named_parameters()}
    assert names(model, decay) & names(model, no_decay) == set()


def test_matrices_decay_and_biases_norms_positions_and_cls_do_not(model):
    decay, no_decay = (names(model, parameters) for parameters in split_parameters(model))
    expected = {"patch_embed.proj.weight", "head.weight"}
    for block in range(2):
        parts = [*(f"attention.{part}_proj" for part in ("q", "k", "v", "out")), "mlp.fc1", "mlp.fc2"]
        expected |= {f"encoder.blocks.{block}.{part}.weight" for part in parts}
    assert decay == expected
    assert {"cls_token", "positions.table", "encoder.norm.weight", "encoder.norm.bias", "head.bias"} <= no_decay


def test_convolutions_decay_and_batch_norm_does_not():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    assert names(model, split_parameters(model)[0]) == {"0.weight", "3.weight"}


def test_a_frozen_parameter_is_in_neither_list_nor_in_the_optimiser(model):
    model.head.weight.requires_grad_(False)
    model.cls_token.requires_grad_(False)
    decay, no_decay = split_parameters(model)
    frozen = {"head.weight", "cls_token"}
    assert not frozen & (names(model, decay) | names(model, no_decay))
    groups = adamw(model, 0.1, 0.1).param_groups
    assert not frozen & names(model, [parameter for group in groups for parameter in group["params"]])


def test_a_matrix_used_twice_is_listed_once():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    decay, _ = split_parameters(model)
    assert [id(parameter) for parameter in decay] == [id(model[0].weight)]


def test_without_gradients_a_step_shrinks_the_matrices_and_nothing_else(model):
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    decaying = names(model, split_parameters(model)[0])
    optimizer = adamw(model, lr=0.1, weight_decay=0.5)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        factor = 1 - 0.1 * 0.5 if name in decaying else 1.0
        torch.testing.assert_close(parameter.detach(), before[name] * factor)


def test_a_step_is_that_of_torchs_adamw(model):
    reference = ViT(model.config)
    reference.load_state_dict(model.state_dict())
    ours = adamw(model, lr=0.01, weight_decay=0.1)
    decay, no_decay = split_parameters(reference)
    theirs = torch.optim.AdamW(
        [{"params": decay}, {"params": no_decay, "weight_decay": 0}], lr=0.01, weight_decay=0.1, foreach=False
    )
    images = torch.randn(3, 3, 8, 8)
    for _ in range(3):
        for network, optimizer in ((model, ours), (reference, theirs)):
            optimizer.zero_grad()
            network(images).square().sum().backward()
            optimizer.step()
    for (name, ours), theirs in zip(model.named_parameters(), reference.parameters(), strict=True):
        if not name.endswith("k_proj.bias"):  # its gradient is rounding noise, and Adam makes steps of lr out of it
            assert torch.allclose(ours, theirs, atol=1e-4, rtol=1e-3), name


def test_the_other_schedules_are_torchs_multi_step_and_none():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.3)
    drops = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[100, 150])
    for step in range(180):
        expected = optimizer.param_groups[0]["lr"]
        assert learning_rate(step, 180, 0, 0.3, "steps") == pytest.approx(expected)
        assert learning_rate(step, 180, 0, 0.3, "constant") == 0.3
        optimizer.step()
        drops.step()
    assert learning_rate(1, 180, 4, 0.3, "steps") == learning_rate(1, 180, 4, 0.3) == pytest.approx(0.15)


def test_sgd_is_the_gradient_with_momentum_and_decay_on_matrices_alone():
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    optimizer, inputs = sgd(layer, lr=0.1, weight_decay=0.5, momentum=0.9), torch.randn(4, 3)
    velocity_w, velocity_b = torch.zeros_like(weight), torch.zeros_like(bias)
    for _ in range(3):
        optimizer.zero_grad()
        layer(inputs).square().sum().backward()
        velocity_w = 0.9 * velocity_w + layer.weight.grad + 0.5 * weight
        velocity_b = 0.9 * velocity_b + layer.bias.grad
        weight, bias = weight - 0.1 * velocity_w, bias - 0.1 * velocity_b
        optimizer.step()
        torch.testing.assert_close(layer.weight.detach(), weight)
        torch.testing.assert_close(layer.bias.detach(), bias)


def test_the_average_forgets_its_start_and_follows_its_decay():
    model = nn.Linear(1, 1, bias=False)
    average, decay = Average(model, 0.99), 0.99
    values = [3.0, -1.0, 2.0, 5.0, 5.0]
    expected = values[0]  # the first update copies
    for n, value in enumerate(values):
        nn.init.constant_(model.weight, value)
        average.update_parameters(model)
        share = 1 - min(decay, (1 + n) / (10 + n))
        expected = expected + (share if n else 0) * (value - expected)
        assert average.module.weight.item() == pytest.approx(expected, rel=1e-5)


class Reads(TorchDispatchMode):
    """Counts the numbers that Python asks a tensor for: a GPU has to stop for each."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **kwargs or {})


def test_the_average_does_not_stop_a_gpu_for_each_parameter():
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(20)))
    average = Average(model, 0.9)
    average.update_parameters(model)
    with Reads() as reads:
        average.update_parameters(model)
    assert reads.count < 4  # of the counter of updates, which stays on the CPU


# --- rates by layer --------------------------------------------------------------------------------------------------


def vit_of(depth: int) -> ViT:
    return ViT(ViTConfig(image_size=8, patch_size=4, dim=8, depth=depth, num_heads=2, num_classes=3))


def test_levels_count_from_before_the_blocks_to_the_head():
    model = vit_of(12)
    found = {name: levels(model)[id(p)] for name, p in model.named_parameters()}
    assert {found[name] for name in found if name.startswith(("patch_embed", "positions", "cls_token"))} == {0}
    for n in range(12):
        assert {level for name, level in found.items() if name.startswith(f"encoder.blocks.{n}.")} == {n + 1}
    assert {level for name, level in found.items() if name.startswith(("encoder.norm", "head"))} == {13}


@pytest.mark.parametrize("name", ["hybrid", "cvt", "swin", "deit"])
def test_levels_of_every_kind_rise_and_reach_all_parameters(name):
    config = ViTConfig(image_size=32, patch_size=4, dim=32, depth=4, num_heads=2, num_classes=3)
    model = MODELS[name].classifier(config)
    found = levels(model)
    assert len(found) == len(list(model.parameters()))
    blocks = sum(len(stage.blocks) for stage in model.stages)
    assert set(found.values()) == set(range(blocks + 2))
    head = next(p for key, p in model.named_parameters() if "head" in key)
    assert found[id(head)] == blocks + 1


def test_a_rate_falls_by_the_decay_from_level_to_level():
    model = vit_of(2)
    optimizer = adamw(model, 1e-3, 0.05, layer_decay=0.5)
    scale = {id(p): group["scale"] for group in optimizer.param_groups for p in group["params"]}
    assert len(scale) == len(list(model.parameters()))
    expectations = {"patch_embed": 1 / 8, "encoder.blocks.0": 1 / 4, "encoder.blocks.1": 1 / 2, "head": 1}
    for part, expected in expectations.items():
        assert {scale[id(p)] for name, p in model.named_parameters() if name.startswith(part)} == {expected}
    plain = adamw(model, 1e-3, 0.05)
    decays = {id(p): group["weight_decay"] for group in plain.param_groups for p in group["params"]}
    assert decays == {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}


def test_the_loop_gives_each_level_its_share_of_the_schedule():
    model, split = vit_of(1), Split(torch.zeros(8, 3, 8, 8, dtype=torch.uint8), torch.arange(8) % 3)
    data = Dataset("blank", "made up", ("a", "b", "c"), split, split, split, flip=False)
    config = TrainConfig(epochs=1, batch_size=4, lr=1e-2, layer_decay=0.1)
    loop = TrainingLoop(model, data, config, len(split), torch.device("cpu"))
    loop.set_learning_rate(0)
    rates = sorted({round(group["lr"] / loop.lr, 9) for group in loop.optimizers[0].param_groups})
    assert rates == [0.01, 0.1, 1.0]


def test_layer_decay_is_refused_where_it_means_nothing():
    with pytest.raises(ValueError, match=r"layer_decay 0\.5 with sgd"):
        TrainConfig(layer_decay=0.5, optimizer="sgd")
    with pytest.raises(ValueError, match=r"layer_decay 1\.5"):
        TrainConfig(layer_decay=1.5)
    with pytest.raises(ValueError, match="has no blocks"):
        adamw(nn.Linear(2, 2), 1e-3, 0.0, layer_decay=0.5)
