"""The training loop: it learns, it is reproducible, and a resumed run equals one that was never interrupted."""

import copy
import itertools
import math
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from vitedu.block import Encoder, EncoderBlock
from vitedu.data import normalise
from vitedu.train import TrainConfig, TrainingLoop, evaluate, fit
from vitedu.train.augment import Augment
from vitedu.train.loop import seeded
from vitedu.train.optim import adamw, learning_rate
from vitedu.vit import ViT

CPU = torch.device("cpu")
RECIPE = TrainConfig(epochs=4, batch_size=20, lr=3e-3, augment=Augment(crop=1, flip=True, erase=0.3))


def weights(model: ViT) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def train(config, data, recipe=RECIPE, **options):
    torch.manual_seed(1)
    model = ViT(config)
    return model, fit(model, data, recipe, device=CPU, shown=False, **options)


def test_it_learns_what_can_be_learned(bright_or_dark, small_config):
    model, history = train(small_config, bright_or_dark, replace(RECIPE, epochs=8))
    assert history[-1]["accuracy"] == 1.0
    assert evaluate(model, bright_or_dark.test, bright_or_dark).accuracy == 1.0
    assert history[-1]["train_loss"] < history[0]["train_loss"]


def test_shuffled_labels_are_not_learned(bright_or_dark, small_config):
    """The control of the test above: with random labels validation accuracy is one half on average over the draws."""
    accuracies = []
    for draw in range(8):  # a single draw may happen to agree with the brightness, or to disagree
        labels = torch.randint(2, (48,), generator=torch.Generator().manual_seed(draw))
        shuffled = type(bright_or_dark.train)(bright_or_dark.train.images, labels)
        accuracies.append(train(small_config, bright_or_dark, train=shuffled)[1][-1]["accuracy"])
    assert sum(accuracies) / 8 < 0.85, accuracies


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(bright_or_dark, small_config):
    first, _ = train(small_config, bright_or_dark)
    second, _ = train(small_config, bright_or_dark)
    third, _ = train(small_config, bright_or_dark, replace(RECIPE, seed=1))
    assert torch.equal(weights(first), weights(second))
    assert not torch.equal(weights(first), weights(third))


def test_the_callers_random_numbers_are_left_alone(bright_or_dark, small_model):
    before = torch.get_rng_state()
    fit(small_model, bright_or_dark, replace(RECIPE, epochs=1), device=CPU, shown=False)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("stop", [1, 3])
def test_a_resumed_run_equals_an_uninterrupted_one_to_the_bit(
    bright_or_dark, small_config, tmp_path, monkeypatch, stop
):
    whole, history = train(small_config, bright_or_dark)
    real = TrainingLoop.epoch

    def interrupted(self, split, number, progress):
        if number > stop:
            raise KeyboardInterrupt
        return real(self, split, number, progress)

    monkeypatch.setattr(TrainingLoop, "epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(small_config, bright_or_dark, out=tmp_path)
    monkeypatch.undo()
    torch.manual_seed(99)  # whatever a new process starts from must not matter
    resumed = ViT(small_config)
    resumed_history = fit(resumed, bright_or_dark, RECIPE, out=tmp_path, resume=True, device=CPU, shown=False)
    assert torch.equal(weights(resumed), weights(whole))
    for a, b in zip(history, resumed_history, strict=True):
        assert without_times(a) == without_times(b)


def without_times(record: dict) -> dict:
    return {key: value for key, value in record.items() if key not in ("waiting", "seconds")}


def test_one_step_is_autograd_clipping_and_adamw(bright_or_dark, small_config):
    """The loop's step against the same thing written out with torch's own parts."""
    torch.manual_seed(0)
    model = ViT(replace(small_config, dropout=0.0, drop_path=0.0))
    twin = copy.deepcopy(model)
    recipe = TrainConfig(label_smoothing=0.2, clip_norm=0.1, lr=0.01, weight_decay=0.3)
    loop = TrainingLoop(model, bright_or_dark, recipe, 48, CPU)
    images, labels = bright_or_dark.train.images[:20], bright_or_dark.train.labels[:20]
    loss = loop.step(images, labels)

    optimizer = adamw(twin, 0.01, 0.3)
    inputs = normalise(images, bright_or_dark.mean, bright_or_dark.std)
    expected = F.cross_entropy(twin(inputs), labels, label_smoothing=0.2)
    expected.backward()
    norm = torch.cat([p.grad.flatten() for p in twin.parameters()]).norm()
    assert norm > 0.1  # otherwise clipping would not be seen
    for parameter in twin.parameters():
        parameter.grad *= 0.1 / norm
    optimizer.step()
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(weights(model), weights(twin), rtol=1e-4, atol=1e-6)


def test_the_rate_follows_the_schedule(bright_or_dark, small_model, monkeypatch):
    seen = []
    real = TrainingLoop.step

    def spy(self, images, labels):
        seen.append({group["lr"] for group in self.optimizers[0].param_groups})
        return real(self, images, labels)

    monkeypatch.setattr(TrainingLoop, "step", spy)
    fit(small_model, bright_or_dark, replace(RECIPE, warmup=0.25), device=CPU, shown=False)
    assert seen == [{learning_rate(step, 12, 3, RECIPE.lr)} for step in range(12)]  # 4 epochs of ⌈48 / 20⌉ = 3 steps


def test_each_epoch_shows_every_image_once_in_a_new_order(bright_or_dark, small_model, monkeypatch):
    orders = []
    bright_or_dark.train.images[:, 0, 0, 0] = torch.arange(48, dtype=torch.uint8)  # a serial number in the first pixel
    monkeypatch.setattr(
        TrainingLoop, "step", lambda _, images, labels: orders.append(images[:, 0, 0, 0]) or torch.zeros(())
    )
    fit(small_model, bright_or_dark, replace(RECIPE, epochs=2), device=CPU, shown=False)
    first, second = torch.cat(orders[:3]), torch.cat(orders[3:])
    assert first.sort().values.tolist() == second.sort().values.tolist() == list(range(48))
    assert first.tolist() != second.tolist()


def test_evaluate_counts_every_image_without_augmentation_and_restores_the_mode(bright_or_dark, small_model):
    small_model.train()
    result = evaluate(small_model, bright_or_dark.test, bright_or_dark, batch_size=5)  # 16 is no multiple of 5
    assert small_model.training
    small_model.eval()
    with torch.no_grad():
        logits = small_model(normalise(bright_or_dark.test.images, bright_or_dark.mean, bright_or_dark.std))
    labels = bright_or_dark.test.labels
    torch.testing.assert_close(result.logits, logits)
    assert result.loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert result.accuracy == pytest.approx((logits.argmax(1) == labels).float().mean().item())


def test_bfloat16_autocast_trains_and_keeps_float32_weights(bright_or_dark, small_config, monkeypatch):
    monkeypatch.setattr("vitedu.train.loop.amp_dtype", lambda device, width: torch.bfloat16)
    model, history = train(small_config, bright_or_dark, replace(RECIPE, epochs=8))
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    assert history[-1]["accuracy"] == 1.0


def test_a_line_per_epoch_and_silence_on_request(bright_or_dark, small_model, capsys):
    fit(small_model, bright_or_dark, replace(RECIPE, epochs=2), device=CPU)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    fit(small_model, bright_or_dark, replace(RECIPE, epochs=1), device=CPU, shown=False)
    assert capsys.readouterr() == ("", "")


def test_seeded_draws_depend_on_seed_and_epoch_alone():
    draws = []
    for seed, epoch in ((0, 1), (0, 1), (0, 2), (1, 1)):
        torch.rand(7)
        with seeded(seed, epoch, CPU):
            draws.append(torch.rand(3))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], draws[3])


NUMBERS = [name for name, kind in TrainConfig.__annotations__.items() if kind in (int, float)]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [-1, math.nan, math.inf])
def test_a_number_without_sense_is_refused_in_every_field(name, value):
    """`clip_norm=-1` used to train uphill."""
    with pytest.raises(ValueError, match=f"^{name} "):
        TrainConfig(**{name: value})


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("epochs", 0, "epochs is 0; it has to be at least 1"),
        ("accumulate", 1.5, "accumulate is 1.5; it has to be at least 1, a whole number"),
        ("warmup", 1.5, r"warmup 1.5 is outside \[0, 1\]"),
        ("lr", 0.0, "lr is 0.0; it has to be above 0"),
        ("ema", 1.0, r"ema 1.0 is outside \[0, 1\)"),
        ("momentum", 1.0, r"momentum 1.0 is outside \[0, 1\)"),
        ("optimizer", "adam", "optimizer 'adam' is not one of adamw, sgd"),
        ("schedule", "linear", "schedule 'linear' is not one of cosine, steps, constant"),
    ],
)
def test_a_recipe_without_sense_is_refused(field, value, says):
    with pytest.raises(ValueError, match=says):
        TrainConfig(**{field: value})


def test_a_recipe_is_written_by_name():
    with pytest.raises(TypeError):
        TrainConfig(10, 128)


def test_resuming_needs_a_folder(bright_or_dark, small_model):
    with pytest.raises(ValueError, match="resume needs out"):
        fit(small_model, bright_or_dark, RECIPE, resume=True)


def test_a_resumed_average_equals_an_uninterrupted_one_to_the_bit(bright_or_dark, small_config, tmp_path, monkeypatch):
    recipe = replace(RECIPE, ema=0.9, mixup=0.5, cutmix=0.5)
    whole, _ = train(small_config, bright_or_dark, recipe)
    real = TrainingLoop.epoch

    def interrupted(self, split, number, progress):
        if number > 2:
            raise KeyboardInterrupt
        return real(self, split, number, progress)

    monkeypatch.setattr(TrainingLoop, "epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(small_config, bright_or_dark, recipe, out=tmp_path)
    monkeypatch.undo()
    resumed = ViT(small_config)
    fit(resumed, bright_or_dark, recipe, out=tmp_path, resume=True, device=CPU, shown=False)
    assert torch.equal(weights(resumed), weights(whole))


def test_what_is_kept_and_measured_is_the_average(bright_or_dark, small_config):
    """Against the average written out: each step moves it by 1 - min(decay, (1 + n) / (10 + n)), the first to 1."""
    seen = []
    real = TrainingLoop.step

    def spy(self, images, labels):
        loss = real(self, images, labels)
        seen.append(weights(self.model))
        return loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingLoop, "step", spy)
        model, history = train(small_config, bright_or_dark, replace(RECIPE, ema=0.6))
    average = seen[0]
    for n, current in enumerate(seen[1:], start=1):
        average = average.lerp(current, 1 - min(0.6, (1 + n) / (10 + n)))
    torch.testing.assert_close(weights(model), average, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(weights(model), seen[-1], atol=1e-4)  # the last step's weights are others
    assert history[-1]["loss"] == pytest.approx(evaluate(model, bright_or_dark.val, bright_or_dark).loss, rel=1e-4)


# --- a batch in parts, and blocks that are computed twice ---


def one_step(config, data, recipe, count=20):
    """Loss and weights after a single step; the steps of a test draw the same random numbers."""
    torch.manual_seed(0)
    model = ViT(config)
    loop = TrainingLoop(model, data, recipe, 48, CPU)
    torch.manual_seed(5)
    loss = loop.step(data.train.images[:count], data.train.labels[:count])
    return loss, weights(model)


@pytest.mark.parametrize("parts", [2, 3, 19, 20, 50])
@pytest.mark.parametrize("changes", [{}, {"clip_norm": 0.1}, {"mixup": 0.5, "cutmix": 0.5, "label_smoothing": 0.2}])
def test_a_batch_in_parts_takes_the_step_of_the_whole(bright_or_dark, small_config, parts, changes):
    """Twenty images in three parts are 7 + 7 + 6: a mean of the three means would be another step."""
    still = replace(small_config, dropout=0.0, drop_path=0.0)
    recipe = TrainConfig(optimizer="sgd", lr=0.1, **changes)
    loss, whole = one_step(still, bright_or_dark, recipe)
    same_loss, same = one_step(still, bright_or_dark, replace(recipe, accumulate=parts))
    torch.testing.assert_close(same_loss, loss)
    torch.testing.assert_close(same, whole, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(one_step(still, bright_or_dark, recipe, count=14)[1], whole, rtol=1e-4, atol=1e-6)


def test_parts_pass_through_the_loss_scaler(bright_or_dark, small_config, monkeypatch):
    monkeypatch.setattr("vitedu.train.loop.amp_dtype", lambda device, width: torch.float16)
    still = replace(small_config, dropout=0.0, drop_path=0.0)
    recipe = TrainConfig(optimizer="sgd", lr=0.1)
    loss, whole = one_step(still, bright_or_dark, recipe)
    same_loss, same = one_step(still, bright_or_dark, replace(recipe, accumulate=3))
    torch.testing.assert_close(same_loss, loss, rtol=1e-2, atol=0)
    torch.testing.assert_close(same, whole, rtol=1e-2, atol=1e-3)  # float16 has eleven bits


def test_recomputing_changes_no_bit_of_a_run_with_dropout(bright_or_dark, small_config):
    plain, history = train(small_config, bright_or_dark, replace(RECIPE, accumulate=2))
    again, same = train(small_config, bright_or_dark, replace(RECIPE, accumulate=2, recompute=True))
    assert (plain.encoder.recompute, again.encoder.recompute) == (False, False)  # it does not leak into a later run
    assert torch.equal(weights(plain), weights(again))
    assert [record["loss"] for record in history] == [record["loss"] for record in same]


def test_a_model_without_blocks_cannot_recompute_them(bright_or_dark):
    with pytest.raises(ValueError, match="Linear does not tell its `stages`"):
        TrainingLoop(torch.nn.Linear(2, 2), bright_or_dark, TrainConfig(recompute=True), 48, CPU)


class TwoStages(torch.nn.Module):
    """A model that is no ViT: two stacks of different width, and between them a layer that merges tokens."""

    def __init__(self):
        super().__init__()
        self.embed, self.merge = torch.nn.Linear(16, 8), torch.nn.Linear(16, 12)
        self.stages = torch.nn.ModuleList([Encoder(2, 8, 2, dropout=0.2), Encoder(3, 12, 3, dropout=0.2)])
        self.head = torch.nn.Linear(12, 2)

    def forward(self, images):
        x = self.stages[0](self.embed(images.unfold(2, 4, 4).unfold(3, 4, 4).flatten(1, 3).flatten(2)))  # (B, 6, 8)
        return self.head(self.stages[1](self.merge(x.unflatten(1, (3, 2)).flatten(2))).mean(1))  # (B, 2)


def test_a_model_of_several_stages_recomputes_all_of_them(bright_or_dark, monkeypatch):
    calls, real = [], EncoderBlock.forward
    monkeypatch.setattr(EncoderBlock, "forward", lambda block, *args: calls.append(block) or real(block, *args))
    found = []
    for recompute in (False, True):
        torch.manual_seed(0)
        model = TwoStages()
        loop = TrainingLoop(model, bright_or_dark, TrainConfig(recompute=recompute), 48, CPU)
        torch.manual_seed(5)
        found.append((loop.step(bright_or_dark.train.images[:20], bright_or_dark.train.labels[:20]), weights(model)))
    assert len(calls) == 5 + 2 * 5
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_another_loss_trains_another_task(bright_or_dark, small_config):
    """Brightness as a number instead of a class: the loop asks nothing but a scalar."""

    def squared_error(model, images, targets):
        return (model(images)[:, 0] - targets).square().mean()

    def error(model, split, data):
        found = model.eval()(normalise(split.images, data.mean, data.std))[:, 0]
        return {"error": (found - split.labels).square().mean().item()}

    torch.manual_seed(1)
    history = fit(ViT(small_config), bright_or_dark, RECIPE, device=CPU, shown=False, loss=squared_error, measure=error)
    assert history[-1]["error"] < 0.5 * history[0]["error"]
    assert history[-1].keys() == {"epoch", "train_loss", "error", "lr", "waiting", "seconds"}


def test_the_loss_that_is_left_out_is_cross_entropy_to_the_bit(bright_or_dark, small_config):
    def cross_entropy(model, images, targets):
        return F.cross_entropy(model(images), targets, label_smoothing=RECIPE.label_smoothing)

    usual, history = train(small_config, bright_or_dark)
    given, same = train(small_config, bright_or_dark, loss=cross_entropy)
    assert torch.equal(weights(usual), weights(given))
    assert [record["train_loss"] for record in history] == [record["train_loss"] for record in same]


def test_after_each_step_a_function_sees_the_stepped_model_and_how_far_training_is(
    bright_or_dark, small_config, tmp_path
):
    seen, moved = [], []

    def after(model: ViT, progress: float) -> None:
        seen.append(progress)
        moved.append(weights(model))

    model, _ = train(small_config, bright_or_dark, after_step=after)
    assert seen == pytest.approx([step / 12 for step in range(1, 13)])  # 4 epochs of ⌈48 / 20⌉ = 3 steps
    assert not any(torch.equal(a, b) for a, b in itertools.pairwise(moved))
    assert torch.equal(moved[-1], weights(model))
    plain, _ = train(small_config, bright_or_dark)
    assert torch.equal(weights(plain), weights(model))  # looking changes nothing
    seen.clear()
    half = replace(RECIPE, epochs=2)
    train(small_config, bright_or_dark, half, out=tmp_path)
    resumed = {"out": tmp_path, "resume": True, "device": CPU, "shown": False, "after_step": after}
    with pytest.warns(UserWarning, match="another recipe: epochs 2 -> 4"):
        fit(ViT(small_config), bright_or_dark, RECIPE, **resumed)
    assert seen == pytest.approx([step / 12 for step in range(7, 13)])  # a resumed run goes on counting


def test_importing_it_leaves_slow_packages_alone():
    """torchvision and the compiler take seconds to import; every start of a chapter and of a process would pay them."""
    code = (
        "import sys, vitedu.train; print(*{name.split('.')[0] for name in sys.modules}, 'torch._dynamo' in sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "torch" in loaded
    assert not {"torchvision", "matplotlib", "sklearn", "scipy"} & set(loaded)
    assert loaded[-1] == "False"
