"""`python -m vitedu.train`: runs, resumes and refuses. Killing it is the business of book/experiments/kills.py."""

import json
import os
import subprocess
import sys

import pytest

from vitedu.data import load
from vitedu.models.table import CLASSIFIERS, MODELS
from vitedu.train.checkpoint import STATE_FILE, load_checkpoint
from vitedu.train.cli import main, new_run
from vitedu.train.options import parse
from vitedu.train.recipes import RECIPES
from vitedu.train.run import RESULT_FILE, build_model, configs, read_run

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
]


def test_a_run_leaves_its_settings_its_checkpoint_and_its_result(tmp_path, capsys):
    assert main([*SMALL, "--epochs", "2", "--out", str(tmp_path / "a")]) == 0
    said = capsys.readouterr().out
    assert "digits" in said
    assert "epoch 2/2" in said
    result = json.loads((tmp_path / "a" / RESULT_FILE).read_text())
    assert f"test accuracy {100 * result['test_accuracy']:.2f} % after 2 epochs" in said
    assert len(result["history"]) == 2
    assert read_run(tmp_path / "a")["model"]["dim"] == 16


def test_every_option_reaches_its_config():
    given = ["--drop-path", "0.2", "--pool", "mean", "--lr", "0.5", "--erase", "0.25", "--flip", "--seed", "3"]
    run = new_run(parse([*SMALL, *given]), load("digits", quiet=True), {})
    model, train = configs(json.loads(json.dumps(run)))
    assert (model.drop_path, model.pool, model.patch_size) == (0.2, "mean", 4)
    assert (train.lr, train.seed, train.augment.erase, train.augment.flip) == (0.5, 3, 0.25, True)


def test_what_is_left_out_comes_from_the_recipe():
    model, train = configs(new_run(parse(["--data", "digits"]), load("digits", quiet=True), {}))
    for part, config in (("model", model), ("train", train), ("augment", train.augment)):
        for name, value in RECIPES["digits"].get(part, {}).items():
            assert getattr(config, name) == value, name
    assert (model.image_size, model.in_channels, model.num_classes) == ((8, 8), 1, 10)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--data", "no-such-set"], "no-such-set"),
        (["--resume", "no-such-run"], "start a run there"),
        (["--data", "digits", "--patch-size", "3"], "image side 8 is not divisible by patch side 3"),
        (["--data", "digits", "--lr", "0"], "lr is 0.0"),
        (["--data", "digits", "--model", "resnet", "--dim", "16"], "--dim is for a Transformer, which resnet is not"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_status_2(arguments, says, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert says in error
    assert len(error.splitlines()) == 1


def test_training_on_the_validation_images_says_so(capsys, monkeypatch):
    seen = []
    monkeypatch.setattr("vitedu.train.cli.fit", lambda *_, train, **__: seen.append(len(train)) or [])
    assert main([*SMALL, "--train-on-val"]) == main(SMALL) == 0
    assert seen == [1257 + 180, 1257]
    assert capsys.readouterr().out.count("no forecast") == 1


def test_a_second_run_does_not_overwrite_the_first(tmp_path, capsys):
    assert main([*SMALL, "--epochs", "1", "--out", str(tmp_path)]) == 0
    before = (tmp_path / STATE_FILE).read_bytes()
    assert main([*SMALL, "--epochs", "1", "--out", str(tmp_path)]) == 2
    assert f"continue it with --resume {tmp_path}" in capsys.readouterr().err
    assert (tmp_path / STATE_FILE).read_bytes() == before


def test_the_module_runs_from_the_shell(tmp_path):
    command = [sys.executable, "-m", "vitedu.train", *SMALL, "--epochs", "1"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    assert "test accuracy" in done.stdout
    assert not list(tmp_path.iterdir())  # without --out nothing is written


def test_the_option_of_old_names_the_new_one(capsys):
    with pytest.raises(SystemExit) as ended:
        main([*SMALL, "--hybrid"])
    assert ended.value.code == 2
    assert "--hybrid is now --model hybrid" in capsys.readouterr().err


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_model_of_the_table_trains_and_comes_back_from_its_settings(tmp_path, name):
    options = SMALL if MODELS[name].transformer else ["--data", "digits", "--batch-size", "256"]
    assert main([*options, "--epochs", "1", "--model", name, "--out", str(tmp_path)]) == 0
    model = build_model(read_run(tmp_path))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    load_checkpoint(tmp_path, model)  # raises if a name or a shape differs
    still = [name for name, tensor in model.state_dict().items() if tensor.equal(before[name])]
    assert len(still) < 0.2 * len(before), still


def test_a_run_from_before_the_table_is_read(tmp_path):
    assert main([*SMALL, "--epochs", "1", "--model", "hybrid", "--out", str(tmp_path)]) == 0
    run = read_run(tmp_path)
    old = {key: value for key, value in run.items() if key != "kind"} | {"hybrid": True}
    (tmp_path / "run.json").write_text(json.dumps(old))
    assert read_run(tmp_path) == run
