"""A checkpoint is whole or absent, restores every number, and says what is wrong with it."""

import os

import pytest
import torch

from vitedu.files import CheckpointError
from vitedu.train.checkpoint import load_checkpoint, read_state, save_checkpoint
from vitedu.train.optim import adamw
from vitedu.vit import ViT


def trained_a_step(model: ViT) -> torch.optim.Optimizer:
    optimizer = adamw(model, lr=1e-3, weight_decay=0.1)
    model(torch.randn(4, 1, 8, 12)).square().sum().backward()
    optimizer.step()
    return optimizer


def test_model_and_optimiser_come_back_to_the_bit(tmp_path, small_config, small_model):
    optimizer = trained_a_step(small_model)
    save_checkpoint(tmp_path, small_model, optimizer, {"epoch": 1, "note": "å"})
    other = ViT(small_config)
    other_optimizer = adamw(other, lr=1e-3, weight_decay=0.1)
    state = load_checkpoint(tmp_path, other, other_optimizer)
    assert (state["epoch"], state["note"]) == (1, "å")
    for name, tensor in small_model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name
    before, after = optimizer.state_dict()["state"], other_optimizer.state_dict()["state"]
    assert before.keys() == after.keys()
    for index, moments in before.items():
        for key, value in moments.items():
            assert torch.equal(after[index][key], value), (index, key)


def test_the_step_after_loading_equals_the_step_without(tmp_path, small_config, small_model):
    """Moments, step count and groups are all there: otherwise AdamW would take another step."""
    optimizer = trained_a_step(small_model)
    save_checkpoint(tmp_path, small_model, optimizer, {"epoch": 1})
    other = ViT(small_config)
    other_optimizer = adamw(other, lr=1e-3, weight_decay=0.1)
    load_checkpoint(tmp_path, other, other_optimizer)
    images = torch.randn(4, 1, 8, 12)
    for model, chosen in ((small_model.eval(), optimizer), (other.eval(), other_optimizer)):
        chosen.zero_grad()
        model(images).square().sum().backward()
        chosen.step()
    assert all(torch.equal(a, b) for a, b in zip(small_model.parameters(), other.parameters(), strict=True))


def test_only_the_newest_checkpoint_is_kept(tmp_path, small_model):
    optimizer = trained_a_step(small_model)
    for epoch in (1, 2, 3):
        save_checkpoint(tmp_path, small_model, optimizer, {"epoch": epoch})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-0003.safetensors", "checkpoint.json"]


@pytest.mark.parametrize("dies_at", [1, 2])
def test_a_save_that_dies_leaves_the_checkpoint_before(tmp_path, small_model, monkeypatch, dies_at):
    """Stop before the first rename (tensors), or between the first and the second (JSON): epoch 1 still loads."""
    optimizer = trained_a_step(small_model)
    save_checkpoint(tmp_path, small_model, optimizer, {"epoch": 1})
    old = {name: tensor.clone() for name, tensor in small_model.state_dict().items()}
    renames = iter(range(1, 3))
    real = os.replace

    def dying(source, target):
        if next(renames) == dies_at:
            raise OSError("power cut")
        real(source, target)

    monkeypatch.setattr(os, "replace", dying)
    with torch.no_grad():
        for parameter in small_model.parameters():
            parameter.add_(1)
    with pytest.raises(OSError, match="power cut"):
        save_checkpoint(tmp_path, small_model, optimizer, {"epoch": 2})
    monkeypatch.undo()
    assert load_checkpoint(tmp_path, small_model)["epoch"] == 1
    assert all(torch.equal(small_model.state_dict()[name], tensor) for name, tensor in old.items())
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("damage", ["cut", "flip", "remove"])
def test_damaged_tensors_are_named_and_not_loaded(tmp_path, small_model, damage):
    save_checkpoint(tmp_path, small_model, trained_a_step(small_model), {"epoch": 7})
    path = tmp_path / "checkpoint-0007.safetensors"
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[-5] ^= 1
        path.write_bytes(content)
    else:
        path.unlink()
    with pytest.raises(CheckpointError, match=r"checkpoint-0007.safetensors is missing or damaged"):
        load_checkpoint(tmp_path, small_model)


def test_a_checkpoint_of_another_model_is_refused(tmp_path, small_config, small_model):
    from dataclasses import replace

    save_checkpoint(tmp_path, small_model, trained_a_step(small_model), {"epoch": 1})
    with pytest.raises(CheckpointError, match="another model"):
        load_checkpoint(tmp_path, ViT(replace(small_config, dim=32)))


def test_a_missing_or_garbled_state_says_what_to_do(tmp_path):
    with pytest.raises(CheckpointError, match="start a run there"):
        read_state(tmp_path)
    (tmp_path / "checkpoint.json").write_text('{"tensors": ')
    with pytest.raises(CheckpointError, match="not valid JSON"):
        read_state(tmp_path)
