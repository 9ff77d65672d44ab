"""`vitedu.pretrained.source`: what is wrapped around weights is taken off and said, and files run no code."""

import argparse
import os
import pickle
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from timm.models import VisionTransformer as TimmViT
from torch import nn
from torchvision.models import VisionTransformer

from tests.random_weights import random_images, randomise
from vitedu.files import CheckpointError
from vitedu.pretrained import load_timm, load_torchvision

MODEL = randomise(TimmViT(embed_dim=24, depth=2, num_heads=4, num_classes=5, img_size=16, patch_size=4), seed=1).eval()
IMAGES = random_images(2, 3, 16, 16)
WEIGHTS = dict(MODEL.state_dict())
OTHERS = {key: value + 1 for key, value in WEIGHTS.items()}


class Net(nn.Module):
    """A model that somebody has put into another one."""

    def __init__(self, inside: nn.Module):
        super().__init__()
        self.backbone, self.classifier = inside, nn.Linear(5, 2)


def under(prefix: str, weights: dict = WEIGHTS) -> dict:
    return {prefix + key: value for key, value in weights.items()}


WRAPPED = {
    "module": under("module."),
    "_orig_mod.module": under("_orig_mod.module."),
    "module.model.backbone": under("module.model.backbone."),
    "encoder": under("encoder."),
    "net.trunk.vit": under("net.trunk.vit."),
    "model, not optimizer": {"model": WEIGHTS, "epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}},
    "state_dict.module": {"state_dict": under("module.")},
    "model_state_dict.encoder": {"best": 0.5, "model_state_dict": under("encoder.")},
    "model.module": {"model": {"module": WEIGHTS}},
    "teacher.backbone, not student, teacher.head": {
        "student": under("module.backbone.", OTHERS),
        "teacher": under("backbone.") | {"head.mlp.0.weight": torch.ones(2, 2)},
    },
    "student": {"student": WEIGHTS},
    "state_dict_ema, not state_dict": {"state_dict": OTHERS, "state_dict_ema": WEIGHTS},
    "_orig_mod": torch.compile(MODEL),
    "module.backbone, not module.classifier": nn.DataParallel(Net(MODEL)),
    "model": {"model": MODEL},
}


@pytest.mark.parametrize("said", WRAPPED)
def test_what_is_wrapped_around_the_weights_is_taken_off_and_said(said, capsys):
    heads = None if isinstance(WRAPPED[said], nn.Module) else 4  # which a module tells
    torch.testing.assert_close(load_timm(WRAPPED[said], num_heads=heads)(IMAGES), MODEL(IMAGES), atol=1e-5, rtol=1e-5)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert re.split(r"; |$", lines[0])[0] == f"load_timm: taken from {said}"


@pytest.mark.parametrize("prefix", ["module.", "encoder.", "model.backbone."])
def test_wrappers_of_torchvisions_weights_are_taken_off_too(prefix):
    theirs = randomise(VisionTransformer(16, 4, 2, 3, 12, 48, num_classes=5)).eval()
    ours = load_torchvision({"state_dict": under(prefix, theirs.state_dict())}, num_heads=3)
    torch.testing.assert_close(ours(IMAGES), theirs(IMAGES), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ({"a": WEIGHTS, "b": OTHERS}, ValueError, "2 models lie side by side (a, b); pass the weights of one"),
        (under("module.", {"norm.weight": torch.ones(24)}), ValueError, "patch_embed.proj.weight is missing"),
        ({}, ValueError, "patch_embed.proj.weight is missing"),
        ([WEIGHTS], TypeError, "weights come as a model, as its state dict or as a path, not as list"),
        (nn.Linear(2, 3), TypeError, "a Linear is no VisionTransformer of timm's"),
        (
            VisionTransformer(8, 4, 1, 2, 8, 8),
            ValueError,
            "conv_proj.weight is a name of torchvision's; use load_torc",
        ),
    ],
)
def test_what_holds_no_model_or_several_is_refused_with_the_true_reason(source, error, message):
    with pytest.raises(error, match=re.escape(message)):
        load_timm(source)


# --- files ---


class Code:
    """What a pickle must not do."""

    def __reduce__(self):
        return os.system, ("touch code-was-run",)


def write_safetensors(content: dict, path: Path) -> None:
    save_file(content, path)


def write_old(content: object, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("name", ["vit.pth", "vit.pt", "pytorch_model.bin", "vit.pth.tar", "model.safetensors"])
@pytest.mark.parametrize("write", [torch.save, write_old, write_safetensors])
def test_a_file_is_read_by_what_it_holds(name, write, tmp_path):
    write(WEIGHTS, tmp_path / name)
    for path in (tmp_path / name, str(tmp_path / name)):
        torch.testing.assert_close(load_timm(path, num_heads=4)(IMAGES), MODEL(IMAGES), atol=1e-5, rtol=1e-5)


def test_a_run_with_its_options_is_read(tmp_path):
    """As DINO and DeiT write it: `argparse.Namespace` is data, not code."""
    torch.save({"model": WEIGHTS, "args": argparse.Namespace(lr=1e-3), "epoch": 3}, tmp_path / "run.pth")
    torch.testing.assert_close(
        load_timm(tmp_path / "run.pth", num_heads=4)(IMAGES), MODEL(IMAGES), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("write", [torch.save, write_old, None])
def test_a_file_that_wants_to_run_code_is_refused_by_name_and_runs_none(protocol, write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if write:
        write({"model": WEIGHTS, "hook": Code()}, tmp_path / "vit.pth")
    else:
        (tmp_path / "vit.pth").write_bytes(pickle.dumps({"hook": Code()}, protocol))
    with pytest.raises(CheckpointError, match=r"vit\.pth was not loaded: it would run (posix|nt)\.system; have its"):
        load_timm(tmp_path / "vit.pth")
    assert os.listdir(tmp_path) == ["vit.pth"]


def test_a_whole_pickled_model_is_refused_by_the_name_of_its_class(tmp_path):
    torch.save(MODEL, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match=r"would run timm\.models\.vision_transformer\.VisionTransformer; have"):
        load_timm(tmp_path / "model.pth")


@pytest.mark.parametrize("write", [torch.save, write_old, write_safetensors])
def test_a_damaged_file_is_named_in_one_sentence(write, tmp_path):
    path = tmp_path / "vit.pth"
    write(WEIGHTS, path)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:20], b"", b"<html>404</html>", b"\xff" * 8 + whole[8:]):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"^\S+vit\.pth is damaged, or was not written by safetensors or"):
            load_timm(path)


@pytest.mark.parametrize("path", ["missing.pth", "https://example.org/vit.pth", "vit_tiny_patch16_224", "."])
def test_a_path_without_a_file_is_named(path):
    with pytest.raises(CheckpointError, match=r"cannot be read \(.*\); pass the path of a file that was downloaded"):
        load_timm(path)
