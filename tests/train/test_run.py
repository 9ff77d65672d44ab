"""Nothing silent, nothing lost: what a run remembers, what it refuses, and what it leaves alone."""

import errno
import io
import json
import os
import shutil
import sys
from dataclasses import replace

import pytest
import torch

from vitedu.data import Dataset, Split
from vitedu.exercises import check, progress
from vitedu.files import CheckpointError, say
from vitedu.pretrained import describe
from vitedu.pretrained import load as load_weights
from vitedu.train import TrainConfig, TrainingDiverged, evaluate, fit
from vitedu.train.checkpoint import load_checkpoint, read_state, save_checkpoint
from vitedu.train.cli import main
from vitedu.train.distributed import processes
from vitedu.train.optim import adamw, sgd
from vitedu.train.run import build_model, final_weights, read_run
from vitedu.vit import ViT

CPU = torch.device("cpu")
RECIPE = TrainConfig(epochs=1, batch_size=16)
SMALL = [
    "--data",
    "digits",
    "--dim",
    "16",
    "--depth",
    "1",
    "--num-heads",
    "1",
    "--patch-size",
    "4",
    "--batch-size",
    "256",
    "--epochs",
    "1",
]


def train(model, data, recipe=RECIPE, **options):
    return fit(model, data, recipe, device=CPU, shown=False, **options)


def head_only(model: ViT) -> ViT:
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("head"))
    return model


# --- optimisers by name ---


@pytest.mark.parametrize("first", [head_only, lambda model: model], ids=["head first", "whole first"])
def test_moments_of_other_parameters_are_refused_by_name(bright_or_dark, small_config, tmp_path, first):
    """Restored by position they used to reach the wrong parameters, or to kill Python."""
    second = (lambda model: model) if first is head_only else head_only
    train(first(ViT(small_config)), bright_or_dark, out=tmp_path)
    resumed = second(ViT(small_config))
    before = {name: tensor.clone() for name, tensor in resumed.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"AdamW's moments of \d+ parameters, this run trains \d+: \S+ differs"):
        train(resumed, bright_or_dark, replace(RECIPE, epochs=2), out=tmp_path, resume=True)
    assert all(torch.equal(resumed.state_dict()[name], tensor) for name, tensor in before.items())  # nothing half done


def test_moments_of_another_kind_of_optimiser_are_refused(bright_or_dark, small_config, tmp_path):
    train(ViT(small_config), bright_or_dark, out=tmp_path)
    with pytest.raises(CheckpointError, match="has the moments of AdamW, this run uses SGD"):
        train(ViT(small_config), bright_or_dark, replace(RECIPE, optimizer="sgd"), out=tmp_path, resume=True)


def test_parameters_in_another_order_get_their_own_moments(tmp_path, small_model):
    optimizer = adamw(small_model, lr=1e-3, weight_decay=0.1)
    small_model(torch.randn(4, 1, 8, 12)).square().sum().backward()
    optimizer.step()
    save_checkpoint(tmp_path, small_model, optimizer, {"epoch": 1})
    names = {parameter: name for name, parameter in small_model.named_parameters()}
    turned = torch.optim.AdamW(list(small_model.parameters())[::-1])
    load_checkpoint(tmp_path, small_model, turned)
    for parameter in small_model.parameters():
        assert torch.equal(turned.state[parameter]["exp_avg"], optimizer.state[parameter]["exp_avg"]), names[parameter]


def test_several_optimisers_are_kept_apart(tmp_path, small_model):
    def two() -> list[torch.optim.Optimizer]:
        body = [p for name, p in small_model.named_parameters() if not name.startswith("head")]
        return [torch.optim.AdamW(body), sgd(small_model.head, 0.1, 0.0, 0.9)]

    def known(names):
        return torch.optim.SGD([dict(small_model.named_parameters())[n] for n in names], lr=0.1, momentum=0.9)

    pair = two()[0], known(["head.weight", "head.bias"])
    small_model(torch.randn(4, 1, 8, 12)).square().sum().backward()
    for optimizer in pair:
        optimizer.step()
    save_checkpoint(tmp_path, small_model, pair, {"epoch": 1})
    again = two()[0], known(["head.weight", "head.bias"])
    load_checkpoint(tmp_path, small_model, again)
    assert (
        again[1]
        .state[small_model.head.bias]["momentum_buffer"]
        .equal(pair[1].state[small_model.head.bias]["momentum_buffer"])
    )
    with pytest.raises(CheckpointError, match="has 2 optimizers, this run 1"):
        load_checkpoint(tmp_path, small_model, again[0])


# --- files ---


def test_only_the_file_of_the_checkpoint_before_is_deleted(bright_or_dark, small_config, tmp_path):
    train(ViT(small_config), bright_or_dark, out=tmp_path)
    mine = ["checkpoint-best.safetensors", "checkpoint-0099.safetensors", "checkpoint-copy.part", "notes.txt"]
    for name in mine:
        shutil.copy(tmp_path / "checkpoint-0001.safetensors", tmp_path / name)
    with pytest.warns(UserWarning, match="epochs 1 -> 3"):
        train(ViT(small_config), bright_or_dark, replace(RECIPE, epochs=3), out=tmp_path, resume=True)
    expected = [*mine, "checkpoint-0003.safetensors", "checkpoint.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(expected)


def test_a_folder_with_a_run_is_not_begun_anew(bright_or_dark, small_config, tmp_path):
    train(ViT(small_config), bright_or_dark, out=tmp_path)
    before = (tmp_path / "checkpoint.json").read_bytes()
    with pytest.raises(ValueError, match="holds a run already; continue it with resume=True"):
        train(ViT(small_config), bright_or_dark, out=tmp_path)
    assert (tmp_path / "checkpoint.json").read_bytes() == before


@pytest.mark.parametrize("key", ["epoch", "tensors", "sha256", "optimizers"])
@pytest.mark.parametrize("value", [None, "../else", 1.5, {}])
def test_a_state_of_another_version_is_named(bright_or_dark, small_config, tmp_path, key, value):
    train(ViT(small_config), bright_or_dark, out=tmp_path)
    path = tmp_path / "checkpoint.json"
    state = json.loads(path.read_text()) | {key: value}
    path.write_text(json.dumps({name: item for name, item in state.items() if item is not None}))
    with pytest.raises(CheckpointError):
        train(ViT(small_config), bright_or_dark, out=tmp_path, resume=True)


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"dim": 16, "shape": 3}},
        {"train": {}},
        {"train": {"augment": [], "epochs": 1}},
        {"kind": "swim"},
        {"data": None},
        {"data": {}},
        {"model": {"dim": "wide"}},
        {"train_on_val": None},
    ],
)
def test_settings_of_another_version_are_one_line(tmp_path, capsys, change):
    assert main([*SMALL, "--out", str(tmp_path)]) == 0
    path = tmp_path / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    capsys.readouterr()
    assert main(["--resume", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "does not describe a run of this version" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("what", ["file", "long", "disk full"])
def test_what_the_disk_refuses_is_one_line_with_the_file(tmp_path, capsys, monkeypatch, what):
    out = tmp_path / ("x" * 300 if what == "long" else "run")
    if what == "file":
        out.touch()
    if what == "disk full":

        def full(_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(out))

        monkeypatch.setattr(os, "fsync", full)
    assert main([*SMALL, "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert str(out) in error
    assert error.count("\n") == 1


def test_a_disk_that_fills_up_leaves_the_checkpoint_before(bright_or_dark, small_config, tmp_path, monkeypatch):
    train(ViT(small_config), bright_or_dark, out=tmp_path)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "no space")))
    with pytest.raises(OSError, match="no space"), pytest.warns(UserWarning, match="epochs"):
        train(ViT(small_config), bright_or_dark, replace(RECIPE, epochs=2), out=tmp_path, resume=True)
    monkeypatch.undo()
    assert load_checkpoint(tmp_path, ViT(small_config))["epoch"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-0001.safetensors", "checkpoint.json"]


# --- what a run was trained on ---


def changed(data: Dataset, what: str) -> Dataset:
    if what == "renamed":
        return replace(data, class_names=("dark", "light"))
    if what == "more classes":
        return replace(data, class_names=("dark", "bright", "blue"))
    if what == "fewer pictures":
        return replace(data, train=data.train.subset(torch.arange(40)))
    images = data.train.images.clone()
    images[7] = 255 - images[7]
    return replace(data, train=Split(images, data.train.labels))


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("renamed", "class 1 was 'bright', here it is 'light'"),
        ("more classes", "it was trained on 2 classes, here are 3 (blue differ"),
        ("fewer pictures", "it was trained with 48 training images, here are 40"),
        ("other pictures", "the pictures or their labels are not those it was trained on"),
    ],
)
def test_a_run_does_not_go_on_with_other_data(bright_or_dark, small_config, tmp_path, what, says):
    train(ViT(small_config), bright_or_dark, out=tmp_path)
    with pytest.raises(CheckpointError) as error:
        train(ViT(small_config), changed(bright_or_dark, what), RECIPE, out=tmp_path, resume=True)
    assert says in str(error.value)


def test_a_run_does_not_go_on_in_another_number_of_processes(bright_or_dark, small_config, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("vitedu.train.identity.world_size", lambda: 2)
        train(ViT(small_config), bright_or_dark, out=tmp_path)
    with pytest.raises(CheckpointError, match="trained with 2 processes, here are 1; start it with torchrun"):
        train(ViT(small_config), bright_or_dark, out=tmp_path, resume=True)


@pytest.mark.parametrize(
    "option", [["--epochs", "3"], ["--lr", "0.1"], ["--out", "x"], ["--preset", "small"], ["--flip"]]
)
def test_resuming_takes_no_other_option(tmp_path, capsys, option):
    with pytest.raises(SystemExit) as ended:
        main(["--resume", str(tmp_path), *option])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert f"{option[0]} cannot be given" in error
    assert "--start-from" in error


# --- beginning with the weights of another run ---


def images_folder(folder, names, side=8):
    from PIL import Image

    for split in ("train", "test"):
        for index, name in enumerate(names):
            (folder / split / name).mkdir(parents=True)
            for n in range(6):
                Image.new("L", (side, side), 60 * index + n).save(folder / split / name / f"{n}.png")
    return ["--data", str(folder), "--batch-size", "8", "--epochs", "1"]


def test_a_new_run_begins_with_the_weights_of_another(tmp_path, capsys):
    parent, child = tmp_path / "parent", tmp_path / "child"
    shape = ["--dim", "16", "--depth", "1", "--num-heads", "1", "--patch-size", "4", "--out", str(parent)]
    assert main([*images_folder(tmp_path / "a", ["cat", "dog"]), *shape]) == 0
    assert main(["--start-from", str(parent), "--lr", "1e-12", "--weight-decay", "0", "--out", str(child)]) == 0
    assert f"begins with the weights of {parent}\n" in capsys.readouterr().out
    for name, tensor in final_weights(parent).items():
        torch.testing.assert_close(final_weights(child)[name], tensor)
    other = images_folder(tmp_path / "b", ["cat", "dog", "owl"], side=16)
    still = ["--lr", "1e-12", "--weight-decay", "0", "--drop-path", "0.1", "--out", str(tmp_path / "other")]
    assert main([*other, "--start-from", str(parent), *still]) == 0
    said = capsys.readouterr().out
    assert "a new classifier, at zero, positions interpolated from (2, 2) to (4, 4)" in said
    weights = final_weights(tmp_path / "other")
    assert weights["head.weight"].shape == (3, 16)
    assert weights["head.weight"].abs().max() < 1e-9  # at zero, but for one step at a rate of nearly nothing
    torch.testing.assert_close(weights["patch_embed.proj.weight"], final_weights(parent)["patch_embed.proj.weight"])
    assert read_run(tmp_path / "other")["model"]["drop_path"] == 0.1


@pytest.mark.parametrize(("name", "heads"), [("deit", ["head", "head_dist"]), ("cvt", ["head"])])
def test_other_models_begin_with_weights_for_other_images_and_classes_too(tmp_path, capsys, name, heads):
    parent, child = tmp_path / "parent", tmp_path / "child"
    small = ["--dim", "16", "--depth", "1", "--num-heads", "1", "--patch-size", "4"]
    shape = ["--model", name, *small, "--out", str(parent)]
    assert main([*images_folder(tmp_path / "a", ["cat", "dog"]), *shape]) == 0
    other = images_folder(tmp_path / "b", ["cat", "dog", "owl"], side=16)
    assert main([*other, "--start-from", str(parent), "--lr", "1e-12", "--out", str(child)]) == 0
    said, weights, before = capsys.readouterr().out, final_weights(child), final_weights(parent)
    assert ("positions interpolated from (2, 2) to (4, 4)" in said) == (name == "deit")
    assert {key for key, tensor in weights.items() if tensor.shape != before[key].shape} - {"positions.table"} == {
        f"{head}.{part}" for head in heads for part in ("weight", "bias")
    }
    if name == "deit":  # the positions of both tokens before the patches stay
        torch.testing.assert_close(weights["positions.table"][:2], before["positions.table"][:2])
    torch.testing.assert_close(weights["cls_token"], before["cls_token"])


@pytest.mark.parametrize("name", ["imagenette-small", "cifar10-small"])
def test_weights_that_ship_can_be_started_from_by_name(tmp_path, capsys, name):
    from PIL import Image

    side, card = {"imagenette-small": 96, "cifar10-small": 32}[name], describe(name)
    for index, kind in enumerate(("cat", "dog")):
        for split in ("train", "test"):
            (tmp_path / "p" / split / kind).mkdir(parents=True)
            for n in range(6):
                size = (side + 10 * n, side + 20)  # of all sizes: they are read at that of the weights
                Image.new("RGB", size, (90 * index + n, 40, 60)).save(tmp_path / "p" / split / kind / f"{n}.png")
    still = ["--epochs", "1", "--batch-size", "4", "--lr", "1e-12", "--weight-decay", "0", "--layer-decay", "0.5"]
    out = tmp_path / "out"
    assert main(["--data", str(tmp_path / "p"), "--start-from", name, *still, "--out", str(out)]) == 0
    assert f"begins with the weights of {name}; a new classifier, at zero" in capsys.readouterr().out
    weights, before = final_weights(out), load_weights(name).state_dict()
    own = [key for key in weights if "head" not in key and "running" not in key and "num_batches" not in key]
    for key in own:
        torch.testing.assert_close(weights[key], before[key])
    run = read_run(out)
    assert run["data"]["about"]["mean"] == card["mean"]  # as the weights were trained, not as the new pictures are
    assert run["model"]["image_size"] == [side, side]
    assert build_model(run).load_state_dict(weights)
    assert main(["--resume", str(out)]) == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--start-from", "imagenette-small"], "ships without its pictures; say with --data"),
        (["--start-from", "shapes-detr", "--data", "digits"], "is a DETR, which this command does not train"),
        (["--start-from", "imagenette-medium", "--data", "digits"], "no run.json in imagenette-medium"),
    ],
)
def test_what_cannot_be_started_from(arguments, text, capsys):
    assert main(arguments) == 2
    assert text in capsys.readouterr().err


def test_the_model_is_that_of_the_run_one_starts_from(tmp_path, capsys):
    assert main([*SMALL, "--out", str(tmp_path)]) == 0
    capsys.readouterr()
    assert main(["--start-from", str(tmp_path), "--dim", "32"]) == 2
    assert "--dim belongs to the model, which --start-from brings" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--start-from", str(tmp_path), "--model", "hybrid"])
    assert "--model belongs to the model" in capsys.readouterr().err


# --- the best epoch ---


def test_the_best_epoch_is_kept_through_a_resume(bright_or_dark, small_config, tmp_path):
    accuracies = iter([0.5, 0.9, 0.9, 0.2])
    seen = []

    def measure(model, split, data):
        seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return {"accuracy": next(accuracies), "loss": 1.0 + len(seen)}

    train(ViT(small_config), bright_or_dark, replace(RECIPE, keep="best", epochs=2), out=tmp_path, measure=measure)
    model = ViT(small_config)
    with pytest.warns(UserWarning, match="epochs 2 -> 4"):
        train(model, bright_or_dark, replace(RECIPE, keep="best", epochs=4), out=tmp_path, resume=True, measure=measure)
    best = seen[1]  # of two equal ones that with the lower loss
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in best.items())
    assert all(torch.equal(final_weights(tmp_path)[name], tensor) for name, tensor in best.items())


def test_the_best_epoch_is_said_to_be_chosen(tmp_path, capsys):
    assert main([*SMALL, "--keep", "best"]) == 0
    assert "kept: epoch 1, the best on the validation images, which therefore flatter it" in capsys.readouterr().out
    assert main([*SMALL, "--keep", "best", "--train-on-val"]) == 2


# --- a loss that is no number ---


@pytest.mark.parametrize("recipe", [{"lr": 1e30, "clip_norm": 0.0}, {"lr": 1e38}])
def test_a_run_that_diverges_stops_and_keeps_what_was_good(bright_or_dark, small_config, tmp_path, recipe):
    train(ViT(small_config), bright_or_dark, out=tmp_path)
    with (
        pytest.warns(UserWarning, match="another recipe"),
        pytest.raises(TrainingDiverged, match=r"epoch \d+, .*is (nan|inf); .*learning rate .*warm-up .*clip_norm"),
    ):
        train(ViT(small_config), bright_or_dark, replace(RECIPE, epochs=5, **recipe), out=tmp_path, resume=True)
    assert all(tensor.isfinite().all() for tensor in final_weights(tmp_path).values())
    assert 1 <= read_state(tmp_path)["epoch"] < 5


def test_the_command_line_ends_a_diverging_run_with_another_status(tmp_path, capsys):
    assert main([*SMALL, "--lr", "1e38", "--clip-norm", "0", "--epochs", "4", "--out", str(tmp_path)]) == 1
    assert "Usual causes" in capsys.readouterr().err
    for path in tmp_path.glob("*.json"):
        json.loads(path.read_text(), parse_constant=pytest.fail)  # NaN is no JSON


# --- processes ---


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"WORLD_SIZE": "1"}, None),
        ({"WORLD_SIZE": "1", "RANK": "0"}, None),
        ({"WORLD_SIZE": "4"}, "WORLD_SIZE is 4, but RANK, MASTER_ADDR, MASTER_PORT not set"),
        ({"WORLD_SIZE": "4", "RANK": "1"}, "MASTER_ADDR, MASTER_PORT not set"),
        ({"WORLD_SIZE": "many"}, "WORLD_SIZE is 'many', expected a whole number"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE is '0'"),
    ],
)
def test_what_a_cluster_sets_is_understood_or_refused(monkeypatch, environment, says):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if says is None:
        with processes() as device:
            assert device.type in ("cpu", "cuda", "mps")
    else:
        with pytest.raises(ValueError, match=says), processes():
            pass


def test_few_images_and_none_at_all(bright_or_dark, small_config, monkeypatch):
    nothing = bright_or_dark.val.subset(torch.arange(0))
    with pytest.raises(ValueError, match="0 images to evaluate on"):
        train(ViT(small_config), bright_or_dark, validate=nothing)
    monkeypatch.setattr("vitedu.train.loop.world_size", lambda: 3)
    with pytest.raises(ValueError, match="2 training images for 3 processes"):
        train(ViT(small_config), bright_or_dark, train=bright_or_dark.train.subset(torch.arange(2)))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_shares_of_a_split_are_added_up_by_their_images(bright_or_dark, small_model, monkeypatch, count):
    """Three processes, one after the other: some see fewer images than others, or none."""
    module, split, sums = sys.modules["vitedu.train.fit"], bright_or_dark.val.subset(torch.arange(count)), []
    monkeypatch.setattr(module, "world_size", lambda: 3)
    monkeypatch.setattr(module, "all_reduce", lambda values: sums.append(values.clone()) or values.fill_(1))
    for number in range(3):
        monkeypatch.setattr(module, "local_shard", lambda items, number=number: items[number::3])
        module.evaluate_shared(small_model, split, bright_or_dark)
    loss, right, images = sum(sums).tolist()
    whole = evaluate(small_model, split, bright_or_dark)
    assert images == count
    assert (loss / images, right / images) == pytest.approx((whole.loss, whole.accuracy), rel=1e-5)


# --- the output's encoding ---


@pytest.mark.parametrize("encoding", ["cp1251", "cp1252", "cp874", "ascii"])
def test_every_output_can_hold_what_is_said(encoding, monkeypatch):
    output = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", output)
    assert main(SMALL) == 0
    check("5.1", len)
    progress()
    output.flush()
    said = output.buffer.getvalue().decode(encoding)
    assert "test accuracy" in said
    assert "Exercise 5.1" in said


def test_a_line_keeps_its_characters_where_the_output_has_them(capsys):
    say("3×3 ± 1 ✓")
    assert capsys.readouterr().out == "3×3 ± 1 ✓\n"


def test_a_checkpoint_names_its_optimisers(bright_or_dark, small_config, tmp_path):
    train(ViT(small_config), bright_or_dark, out=tmp_path)
    (saved,) = read_state(tmp_path)["optimizers"]
    assert saved["kind"] == "AdamW"
    assert saved["parameters"]["head.weight"] == {"step": [], "exp_avg": [2, 16], "exp_avg_sq": [2, 16]}
