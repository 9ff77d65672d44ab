"""What times training, in `make bench` and for the record of chapter 15: the plumbing, at a size that takes no time."""

import re

import pytest
import scaling  # an experiment
import torch

from book.tools.bench import equal_time, promises, throughput
from book.tools.bench.equal_time import Contender, compete
from book.tools.bench.throughput import Setting, measure, row, trainer
from tests.clocks import Ticks
from vitedu.cost import training_flops
from vitedu.train import TrainConfig, cli
from vitedu.vit import ViT, preset

CPU = torch.device("cpu")
TINY = preset("tiny", image_size=16, patch_size=4, num_classes=5)
SETTING = Setting(TINY, batch=3, device=CPU, steps=2, square=64, compiled=False)


def test_a_trainer_takes_so_many_steps_and_learns_its_images():
    torch.manual_seed(0)
    model = ViT(TINY)
    before = model.head.weight.detach().clone()
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    trainer(model, SETTING)()
    assert len(calls) == 2
    assert not torch.equal(model.head.weight, before)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


def test_both_models_and_the_product_are_timed_in_every_round():
    times = measure(SETTING, 2)
    assert {name: len(values) for name, values in times.items()} == {"vitedu": 2, "timm": 2, "product": 2}
    assert all(value > 0 for values in times.values() for value in values)


@pytest.mark.parametrize(
    ("slower", "product", "verdict"), [(1.2, 0.5, "reached"), (0.9, 0.5, "NOT"), (1.2, 0.1, "NOT")]
)
def test_a_row_says_speed_ratio_and_share_and_whether_the_aims_are_reached(slower, product, verdict):
    """Six images in a second; a product that takes as long as it must for the wanted share of its rate."""
    rate = 6 * training_flops(TINY) / product
    times = {"vitedu": [1.0, 1.0], "timm": [slower, slower], "product": [2 * 64**3 / rate] * 2}
    said = row("Ti", SETTING, times)
    assert re.search(rf"6 images/s   {slower:.2f} .* times timm   +{100 * product:.0f} % of .*: {verdict}", said)


def test_without_a_gpu_the_rows_say_so(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["throughput.py"])
    throughput.main()
    assert capsys.readouterr().out.count("not measured: no GPU here") == 2


def test_every_contender_gets_the_same_time_and_is_measured_at_its_end(bright_or_dark, small_config):
    """Under a clock that adds a second whenever it is asked: a step of each costs one second, whatever it does."""
    entrants = {
        name: Contender(lambda: ViT(small_config), TrainConfig(lr=lr, batch_size=8))
        for name, lr in {"learns": 3e-3, "stands still": 1e-12}.items()
    }
    found = compete(entrants, bright_or_dark, 60, CPU, clock=Ticks())
    assert {name: (outcome.steps, outcome.seconds) for name, outcome in found.items()} == {
        "learns": (60, 60.0),
        "stands still": (60, 60.0),
    }
    assert found["learns"].accuracy == 1.0 > found["stands still"].accuracy


def test_the_recipe_and_at_least_one_of_ours_compete(bright_or_dark):
    names = set(equal_time.contenders(bright_or_dark))
    assert "d2l.ai" in names
    assert any(name.startswith("ours") for name in names)


@pytest.mark.parametrize(("name", "options"), [promise[:2] for promise in promises.PROMISES])
def test_the_command_line_knows_the_options_of_a_promise(name, options):
    cli.parse(["--data", name, *options])


def test_a_run_that_fails_says_why():
    with pytest.raises(SystemExit, match=r"--data digits --epochs many --seed 0 failed: .*invalid int value: 'many'"):
        promises.run("digits", ["--epochs", "many"], 0)


def test_a_row_of_the_record_adds_up(monkeypatch):
    monkeypatch.setattr(scaling.shutil, "which", lambda name: None)  # no compiler: nothing is compiled
    found = scaling.measure(scaling.Task(TINY, 2, "cpu", 64), 3)
    assert set(found["ratio"]) == {"bfloat16", "recomputed"}
    assert sum(part["mean"] for part in found["share"].values()) == pytest.approx(1)
    assert found["kept_bytes"]["recomputed"] < found["kept_bytes"]["whole"]
    plain = zip(found["seconds"]["float32"]["values"], found["peak"]["float32"]["values"], strict=True)
    assert found["utilisation"]["float32"]["values"] == pytest.approx([found["flops"] / (s * p) for s, p in plain])
