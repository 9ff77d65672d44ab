"""What feeds the loop: the right batches, the time that is waited for them, and a set that stays on the disk."""

import time

import pytest
import torch

from vitedu.data import Split
from vitedu.data.mapped import map_bytes
from vitedu.train import TrainConfig, TrainingLoop, feed, fit
from vitedu.train.feed import Feed, feed_of, near
from vitedu.train.progress import Progress
from vitedu.vit import ViT

CPU = torch.device("cpu")
ORDER = torch.arange(12).split(3)


def slow(seconds):
    def read(indices):
        time.sleep(seconds)
        return indices[:, None], indices

    return read


def waited(reading, computing, ahead):
    source = Feed(slow(reading), CPU, ahead)
    for _ in source.batches(ORDER):
        time.sleep(computing)
    return source.waited


def test_without_reading_ahead_all_of_the_reading_is_waited_for():
    assert 0.2 <= waited(reading=0.05, computing=0.05, ahead=0) < 2


def test_what_is_read_while_the_model_computes_is_not_waited_for():
    """Four batches; only the first has to be waited for: 0.1 s, where reading takes 0.4 s in all."""
    assert 0.1 <= waited(reading=0.1, computing=0.3, ahead=2) < 0.35


def test_a_source_slower_than_the_model_is_waited_for_all_the_same():
    assert 0.25 <= waited(reading=0.1, computing=0.02, ahead=2) < 2


@pytest.mark.parametrize("ahead", [0, 1, 2, 9])
def test_batches_come_whole_and_in_order(ahead):
    found = [labels.tolist() for _, labels in Feed(slow(0.001), CPU, ahead).batches(ORDER)]
    assert found == [part.tolist() for part in ORDER]


@pytest.mark.parametrize("ahead", [0, 2])
def test_a_picture_that_cannot_be_read_stops_the_loop(ahead):
    def broken(indices):
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(Feed(broken, CPU, ahead).batches(ORDER))


def on_disk(split: Split, folder) -> Split:
    """The same images, in a file."""
    path = folder / "pictures"
    path.write_bytes(split.images.numpy().tobytes())
    return Split(map_bytes(path, tuple(split.images.shape)), split.labels)


def test_a_set_in_a_file_is_read_ahead_and_teaches_the_same_to_the_bit(bright_or_dark, small_config, tmp_path):
    held = on_disk(bright_or_dark.train, tmp_path)
    assert feed_of(held, CPU).ahead
    assert not feed_of(bright_or_dark.train, CPU).ahead
    weights = []
    for train in (bright_or_dark.train, held):
        torch.manual_seed(0)
        model = ViT(small_config)
        fit(model, bright_or_dark, TrainConfig(epochs=2, batch_size=16), train=train, device=CPU, shown=False)
        weights.append(model.state_dict())
    torch.testing.assert_close(*weights, rtol=0, atol=0)


def test_only_what_is_in_a_file_and_too_large_stays_away_from_a_gpu(bright_or_dark, tmp_path, monkeypatch):
    meta, held = torch.device("meta"), on_disk(bright_or_dark.train, tmp_path)
    for space, place in ((10**9, "meta"), (1, "cpu")):
        monkeypatch.setattr(feed, "room", lambda device, space=space: space)
        assert near(held, meta).images.device.type == place
        assert near(bright_or_dark.train, meta).images.device.type == "meta"
    assert near(held, CPU) is held


def test_the_loop_says_which_share_of_an_epoch_it_waited(bright_or_dark, small_config, monkeypatch, capsys):
    loop = TrainingLoop(ViT(small_config), bright_or_dark, TrainConfig(epochs=2, batch_size=16), 48, CPU)
    loop.epoch(bright_or_dark.train, 1, Progress(2, False))
    quick = loop.waiting

    def from_a_tape(split, device):
        source = feed_of(split, device)
        read = source.read
        source.read = lambda indices: (time.sleep(0.2), read(indices))[1]
        return source

    monkeypatch.setattr("vitedu.train.loop.feed_of", from_a_tape)
    loop.epoch(bright_or_dark.train, 2, Progress(2, False))
    assert 0 < quick < loop.waiting < 1
    assert loop.waiting > 0.3  # 0.6 s of reading beside three small steps
    history = fit(ViT(small_config), bright_or_dark, TrainConfig(epochs=1, batch_size=16), device=CPU)
    assert 0.3 < history[0]["waiting"] < 1
    assert f"waiting for data {100 * history[0]['waiting']:.0f} %" in capsys.readouterr().out
