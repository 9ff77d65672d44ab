"""What training on a GPU rests on: a step never waits for it, compiling and layouts change no lesson, Muon's parts."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils._python_dispatch import TorchDispatchMode

from vitedu.models.cnn import CNNConfig, ResNet
from vitedu.train import TrainConfig, TrainingLoop, fit
from vitedu.train.augment import Augment
from vitedu.train.optim import muon
from vitedu.vit import ViT

CPU = torch.device("cpu")
EVERYTHING = {"mixup": 0.8, "cutmix": 1.0, "ema": 0.99, "augment": Augment(crop=1, flip=True, zoom=0.3, erase=0.5)}


class Waits(TorchDispatchMode):
    """Notes what would make the host wait for a device: a number read from it, and a copy to or from it."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        tensors = [tensor for tensor in (*args, result) if isinstance(tensor, torch.Tensor)]
        read = function is torch.ops.aten._local_scalar_dense.default and not tensors[0].is_cpu
        copied = (
            function in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
            and len({tensor.device.type for tensor in tensors}) == 2
        )
        self.found += [str(function)] if read or copied else []
        return result


def waits(loop: TrainingLoop, data) -> list[str]:
    """Those of the second and third step, on a device without numbers: a GPU has none to give at once, either."""
    train = data.train.to("meta")
    loop.step(train.images[:8], train.labels[:8])  # a first step may set things up
    with Waits() as mode:
        for _ in range(2):
            loop.step(train.images[:8], train.labels[:8])
    return mode.found


@pytest.fixture
def loop_on_meta(small_config, bright_or_dark, monkeypatch):
    """A loop on a device without numbers. The fused AdamW refuses it; what it computes does not matter here."""
    plain = torch.optim.AdamW
    monkeypatch.setattr(torch.optim, "AdamW", lambda groups, lr, fused: plain(groups, lr=lr, foreach=True))
    meta = torch.device("meta")

    def build(loss=None, **settings) -> TrainingLoop:
        config = TrainConfig(**EVERYTHING | settings)
        return TrainingLoop(ViT(small_config).to(meta), bright_or_dark, config, 48, meta, loss)

    return build


@pytest.mark.parametrize("settings", [{}, {"optimizer": "muon"}, {"accumulate": 2}, {"channels_last": True}], ids=str)
def test_no_step_waits_for_its_device(loop_on_meta, bright_or_dark, settings):
    assert waits(loop_on_meta(**settings), bright_or_dark) == []


def test_moments_that_lie_elsewhere_would_be_noticed(loop_on_meta, bright_or_dark):
    loop = loop_on_meta()
    loop.mean, loop.std = bright_or_dark.mean, bright_or_dark.std
    assert len(waits(loop, bright_or_dark)) == 4  # a mean and a standard deviation in each step


def test_torchs_own_average_of_the_weights_would_be_noticed(loop_on_meta, bright_or_dark):
    loop = loop_on_meta()
    loop.average = AveragedModel(loop.model, multi_avg_fn=lambda averages, current, updates: None)
    assert len(waits(loop, bright_or_dark)) == 2  # the number of updates so far, in each step


def test_a_loss_that_is_read_would_be_noticed(loop_on_meta, bright_or_dark):
    def read(model, images, targets):
        loss = model(images).sum()
        return loss if loss.item() > 0 else -loss

    with pytest.raises(RuntimeError, match=r"item\(\)"):
        waits(loop_on_meta(read), bright_or_dark)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_no_step_waits_for_a_real_gpu(small_config, bright_or_dark):
    device = torch.device("cuda")
    loop = TrainingLoop(ViT(small_config).to(device), bright_or_dark, TrainConfig(**EVERYTHING), 48, device)
    train = bright_or_dark.train.to(device)
    chosen = torch.arange(8, device=device)
    for mode in ("default", "error", "error"):  # the first step may set things up
        torch.cuda.set_sync_debug_mode(mode)
        try:
            loop.step(train.images[chosen], train.labels[chosen])
        finally:
            torch.cuda.set_sync_debug_mode("default")


def train(build, data, **settings) -> tuple[nn.Module, list[float]]:
    torch.manual_seed(0)
    model, config = build(), TrainConfig(epochs=1, batch_size=16, **settings)
    return model, [record["train_loss"] for record in fit(model, data, config, device=CPU, shown=False)]


def test_a_compiled_model_is_called_and_trains_as_the_plain_one(small_config, bright_or_dark, monkeypatch):
    calls = []

    def backend(graph, inputs):
        calls.append(graph)
        return graph.forward

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    plain, losses = train(lambda: ViT(small_config), bright_or_dark)
    assert not calls
    compiled, same = train(lambda: ViT(small_config), bright_or_dark, compile=True)
    assert calls
    assert same == pytest.approx(losses)
    assert plain.state_dict().keys() == compiled.state_dict().keys()


def test_channels_last_is_how_the_images_arrive_and_changes_no_result(bright_or_dark):
    arrived = []

    def build() -> nn.Module:
        model = ResNet(CNNConfig(in_channels=1, num_classes=2, widths=(4, 8), depths=(1, 1)))
        model.stages.register_forward_pre_hook(lambda _, args: arrived.append(args[0].stride(1)))
        return model

    _, losses = train(build, bright_or_dark)
    assert 1 not in arrived
    arrived.clear()
    _, same = train(build, bright_or_dark, channels_last=True)
    assert set(arrived[:3]) == {1}  # the three training steps
    assert same == pytest.approx(losses, rel=1e-4)


# --- Muon ---


def test_muon_moves_the_matrices_of_the_blocks_and_adamw_all_else_once(small_model):
    first, rest = muon(small_model, 1e-3, 0.1)
    mine = {id(parameter) for group in first.param_groups for parameter in group["params"]}
    blocks = {id(parameter) for parameter in small_model.encoder.blocks.parameters() if parameter.ndim == 2}
    assert mine == blocks
    others = [id(parameter) for group in rest.param_groups for parameter in group["params"]]
    assert {*mine, *others} == {id(parameter) for parameter in small_model.parameters()}
    assert len(mine) + len(others) == len(list(small_model.parameters()))


def test_muon_learns_and_its_rate_follows_the_schedule(small_config, bright_or_dark, tmp_path):
    torch.manual_seed(0)
    config = TrainConfig(epochs=6, batch_size=16, optimizer="muon", lr=3e-3)
    history = fit(ViT(small_config), bright_or_dark, config, device=CPU, shown=False, out=tmp_path)
    assert history[-1]["accuracy"] == 1.0
    loop = TrainingLoop(ViT(small_config), bright_or_dark, config, 48, CPU)
    loop.set_learning_rate(5)
    assert {group["lr"] for optimizer in loop.optimizers for group in optimizer.param_groups} == {loop.lr}


def test_without_muon_or_without_blocks_adamw_is_named(small_model, monkeypatch):
    with pytest.raises(ValueError, match="Linear has no matrices in its `stages` for Muon; take the optimizer 'adamw'"):
        muon(nn.Linear(2, 2), 1e-3, 0.0)
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(ValueError, match=r"has no Muon; take torch 2.9 or later, or the optimizer 'adamw'"):
        muon(small_model, 1e-3, 0.0)
