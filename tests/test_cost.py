"""`vitedu.cost`: the formulas against what torch counts and keeps, published figures, and a simulation."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vitedu.cost import (
    Cluster,
    activation_bytes,
    all_reduce_seconds,
    count_parameters,
    kept_bytes,
    state_bytes,
    step_of,
    steps_of,
    training_flops,
    utilisation,
)
from vitedu.train.optim import adamw
from vitedu.vit import ViT, preset

SMALL = preset("tiny", image_size=16, patch_size=4, num_classes=5)
EIGHT = Cluster(gpus=8, peak=1e15, inside=400e9, between=50e9)


def test_the_state_is_what_a_step_of_adamw_leaves_in_memory():
    model = ViT(SMALL)
    optimizer = adamw(model, 1e-3, 0.05)
    model(torch.randn(2, 3, 16, 16)).sum().backward()
    optimizer.step()
    moments = [state[name] for state in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]
    held = [*model.parameters(), *(p.grad for p in model.parameters()), *moments]
    assert state_bytes(count_parameters(model)) == sum(tensor.nbytes for tensor in held)


def test_a_split_state_rounds_up():
    assert [state_bytes(10, processes) for processes in (1, 2, 3, 10, 11)] == [160, 80, 64, 16, 16]


@pytest.mark.parametrize("recompute", [False, True])
def test_activations_are_what_autograd_keeps(recompute):
    """To a few per cent: the means and spreads of LayerNorm and what lies outside the blocks are not in the formula."""
    config = preset("small", image_size=64, patch_size=4)
    model = ViT(config)
    model.encoder.recompute = recompute
    outside = 4 * 2 * 256 * (48 + 4 * config.dim)  # patches and embedding, a good part of what is kept without blocks
    kept = kept_bytes(model, torch.randn(2, 3, 64, 64))
    formula = activation_bytes(config, 2, recompute)
    assert formula <= kept <= 1.05 * formula + outside


@pytest.mark.parametrize("recompute", [False, True])
def test_flops_of_a_step_are_those_that_torch_counts(recompute):
    """Except for the images: nobody asks for their gradient, so the embedding has one product less on the way back."""
    model, images = ViT(SMALL), torch.randn(3, 3, 16, 16)
    model.encoder.recompute = recompute
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(images).sum().backward()
    embedding = 2 * 16 * 48 * SMALL.dim
    assert counter.get_total_flops() == 3 * (training_flops(SMALL, recompute) - embedding)


@pytest.mark.parametrize(
    ("name", "epochs", "published"), [("B/32", 7, 55), ("B/16", 7, 224), ("L/16", 7, 783), ("H/14", 14, 4262)]
)
def test_the_papers_bills_come_out(name, epochs, published):
    """ViT, table 6: exaFLOPs of pre-training on the 303 million images of JFT, to three per cent."""
    bill = epochs * 303e6 * training_flops(preset(name, num_classes=18_291)) / 1e18
    assert bill == pytest.approx(published, rel=0.03)


def test_utilisation_is_one_at_the_peak_and_does_not_reward_computing_twice():
    flops = training_flops(SMALL)
    assert utilisation(SMALL, 100, 100 * flops) == 1
    assert utilisation(SMALL, 100, 400 * flops) == 0.25
    assert 1.2 * flops < training_flops(SMALL, recompute=True) < 4 / 3 * flops


@pytest.mark.parametrize("gpus", [2, 3, 8])
def test_time_of_the_all_reduce_is_that_of_a_ring_played_through(gpus):
    """2·(n - 1) rounds, in each of which everyone sends a chunk of 1/n to the next."""
    cluster = Cluster(gpus, 1.0, inside=10.0, between=1.0)
    rounds = 2 * (gpus - 1) * (1200 / gpus / 10.0)
    assert all_reduce_seconds(1200, cluster) == pytest.approx(rounds)


def test_alone_nothing_is_sent_and_beyond_a_node_the_slow_link_counts():
    assert all_reduce_seconds(10**9, Cluster(1, 1e15, 400e9, 50e9)) == 0
    two_nodes = Cluster(16, 1e15, 400e9, 50e9)
    assert all_reduce_seconds(10**9, two_nodes) == pytest.approx(
        15 / 16 / (7 / 8) * 8 * all_reduce_seconds(10**9, EIGHT)
    )


def test_a_step_takes_half_as_long_on_twice_the_gpus_or_at_twice_the_share():
    step = step_of(SMALL, 64, EIGHT, 0.2)
    assert step_of(SMALL, 64, EIGHT, 0.4).compute == pytest.approx(step.compute / 2)
    assert step_of(SMALL, 64, Cluster(16, 1e15, 400e9, 50e9), 0.2).compute == pytest.approx(step.compute / 2)
    assert step_of(SMALL, 128, EIGHT, 0.2).network == step.network
    assert step.best == max(step.compute, step.network) < step.worst == step.compute + step.network


def test_a_gpu_without_an_image_is_refused():
    with pytest.raises(ValueError, match="a batch of 7 leaves some of 8 GPUs without an image"):
        step_of(SMALL, 7, EIGHT, 0.4)


def test_steps_count_the_last_of_every_epoch():
    assert steps_of(images=10, epochs=3, batch=4) == 9
    assert steps_of(images=8, epochs=3, batch=4) == 6
