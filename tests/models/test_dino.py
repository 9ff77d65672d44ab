"""DINO: the head, the pairs that count, centring and sharpening, who learns from what, and what collapse looks like."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from tests.random_weights import random_images, randomise
from vitedu.capture import capture_attention
from vitedu.data import load, normalise
from vitedu.models.dino import DINO, DINOConfig, DINOHead, cross_view_loss, entropies, represent
from vitedu.train import TrainConfig, fit
from vitedu.train.pretext import measured, multi_crop, self_distillation
from vitedu.vit import ViT, ViTConfig

CPU = torch.device("cpu")
BACKBONE = ViTConfig(image_size=8, patch_size=2, in_channels=1, dim=16, depth=1, num_heads=2, num_classes=10)
CONFIG = DINOConfig(outputs=32, hidden=24, bottleneck=8)
VIEWS = random_images(2 * 5, 1, 8, 8).unflatten(0, (2, 5))
SMALL = random_images(3 * 5, 1, 4, 4).unflatten(0, (3, 5))


def dino(**changes) -> DINO:
    return DINO(randomise(ViT(BACKBONE)), replace(CONFIG, **changes))


# --- the head --------------------------------------------------------------------------------------------------------


def test_the_last_layer_is_torchs_weight_normalised_one_with_lengths_of_one():
    head, x = DINOHead(16, CONFIG), torch.randn(4, 16)
    layer = weight_norm(nn.Linear(8, 32, bias=False))
    layer.parametrizations.weight.original0.data.fill_(1.0)
    layer.parametrizations.weight.original1.data.copy_(head.directions)
    expected = layer(nn.functional.normalize(head.mlp(x), dim=1))
    torch.testing.assert_close(head(x), expected)
    assert head(x).abs().max() <= 1 + 1e-6
    ours = torch.autograd.grad(head(x).square().sum(), head.directions)[0]
    theirs = torch.autograd.grad(expected.square().sum(), layer.parametrizations.weight.original1)[0]
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


# --- the loss --------------------------------------------------------------------------------------------------------


def test_the_loss_is_the_cross_entropy_over_pairs_of_different_views_written_out():
    scores, answers = torch.randn(5, 3, 7), torch.randn(2, 3, 7).softmax(dim=2)
    total, pairs = 0.0, 0
    for t in range(2):
        for v in range(5):
            if v == t:
                continue
            pairs += 1
            for b in range(3):
                q = (scores[v, b] / 0.1).softmax(0)
                total -= sum(p * math.log(s) for p, s in zip(answers[t, b].tolist(), q.tolist(), strict=True)) / 3
    assert pairs == 8
    assert cross_view_loss(scores, answers, 0.1).item() == pytest.approx(total / pairs, rel=1e-4)


def test_a_view_is_not_compared_with_itself():
    """Only the first two views meet a teacher, each the other's; a student of one view has no pair."""
    scores, answers = torch.randn(2, 3, 7, requires_grad=True), torch.randn(2, 3, 7).softmax(dim=2)
    cross_view_loss(scores, answers)[None].backward()
    lone = torch.randn(2, 3, 7, requires_grad=True)
    changed = torch.stack([answers[0].flip(1), answers[1]])
    a, b = (torch.autograd.grad(cross_view_loss(lone, each), lone)[0] for each in (answers, changed))
    torch.testing.assert_close(a[0], b[0])  # the first view does not feel what its own teacher says
    assert not torch.equal(a[1], b[1])
    with pytest.raises(ValueError, match="1 view of each image, expected at least 2"):
        cross_view_loss(scores[:1], answers[:1])


# --- student and teacher ---------------------------------------------------------------------------------------------


def test_the_teacher_starts_as_the_student_and_gets_no_gradient():
    model = dino().train()
    scores, answers = model(VIEWS, SMALL)
    assert scores.shape == (5, 5, 32)
    assert answers.shape == (2, 5, 32)
    torch.testing.assert_close(answers, (model.student(VIEWS.flatten(0, 1)) / 0.04).softmax(1).unflatten(0, (2, 5)))
    cross_view_loss(scores, answers).backward()
    assert not answers.requires_grad
    assert all(p.grad is None and not p.requires_grad for p in model.teacher.parameters())
    unused = {"backbone.head.weight", "backbone.head.bias"}  # no class scores here
    assert {name for name, p in model.student.named_parameters() if p.grad is None} == unused
    assert not model.teacher.training
    assert model.student.training


@pytest.mark.parametrize(("progress", "momentum"), [(0.0, 0.9), (0.5, 0.95), (1.0, 1.0)])
def test_a_step_moves_the_teacher_by_a_share_that_fades(progress, momentum):
    model = dino(momentum=0.9)
    randomise(model.student, seed=3)
    before = [p.clone() for p in model.teacher.parameters()]
    model.update(progress)
    for old, new, student in zip(before, model.teacher.parameters(), model.student.parameters(), strict=True):
        torch.testing.assert_close(new, momentum * old + (1 - momentum) * student)


def test_the_centre_is_a_running_mean_of_the_teachers_scores_and_moves_in_training_alone():
    model = dino(centre_momentum=0.8).train()
    scores = model.teacher(VIEWS.flatten(0, 1))
    first = model.answers(VIEWS)
    torch.testing.assert_close(model.centre, 0.2 * scores.mean(0))
    torch.testing.assert_close(first.flatten(0, 1), (scores / 0.04).softmax(1))  # the centre is that from before
    second = model.answers(VIEWS)
    torch.testing.assert_close(second.flatten(0, 1), ((scores - 0.2 * scores.mean(0)) / 0.04).softmax(1))
    before = model.centre.clone()
    model.eval().answers(VIEWS)
    assert torch.equal(model.centre, before)


def test_centring_and_sharpening_can_be_switched_off():
    on, no_centre, blunt = dino(), dino(centring=False), dino(sharpening=False)
    for model in (on, no_centre, blunt):
        model.load_state_dict(on.state_dict())
        model.centre.copy_(torch.linspace(-1, 1, 32))
    scores = on.teacher(VIEWS.flatten(0, 1))
    expected = {on: (scores - on.centre) / 0.04, no_centre: scores / 0.04, blunt: (scores - on.centre) / 0.1}
    for model, wanted in expected.items():
        torch.testing.assert_close(model.eval().answers(VIEWS).flatten(0, 1), wanted.softmax(1))


def test_entropies_tell_the_two_collapses_from_a_teacher_that_tells_images_apart():
    one, uniform, apart = torch.zeros(8, 8), torch.full((8, 8), 1 / 8), torch.eye(8)
    one[:, 3] = 1
    assert entropies(one) == (0.0, 0.0)
    assert entropies(uniform) == pytest.approx((math.log(8), math.log(8)))
    assert entropies(apart[None]) == pytest.approx((0.0, math.log(8)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outputs": 0}, "outputs is 0"),
        ({"teacher_temperature": 0.0}, "has to be above 0"),
        ({"momentum": 1.0}, "outside"),
    ],
)
def test_a_config_without_sense_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **changes)


# --- views -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"pool": "mean"}, {"positions": "none"}, {"positions": "sincos2d"}])
def test_images_of_the_models_size_are_represented_as_always_and_others_on_interpolated_positions(options):
    config = replace(BACKBONE, **options)
    model, images = randomise(ViT(config)), random_images(2, 1, 8, 8)
    torch.testing.assert_close(represent(model, images), model.represent(images))
    other = randomise(ViT(replace(config, image_size=(4, 12))))
    other.load_state_dict({k: v for k, v in model.state_dict().items() if k != "positions.table"}, strict=False)
    if config.positions != "none":
        from vitedu.position import interpolate_positions

        carried = interpolate_positions(model.positions.vectors(), (4, 4), (2, 6), config.num_prefix, "timm")
        other.positions.table.data.copy_(carried)
    narrow = random_images(2, 1, 4, 12)
    torch.testing.assert_close(represent(model, narrow), other.represent(narrow))


def test_views_show_the_shares_of_the_paper_at_two_sizes():
    ramp = torch.linspace(0, 1, 32).expand(400, 1, 32, 32)
    torch.manual_seed(0)
    large, small = multi_crop(ramp, 3, (16, 16))
    assert large.shape == (2, 400, 1, 32, 32)
    assert small.shape == (3, 400, 1, 16, 16)

    def width(views: Tensor) -> Tensor:  # of the window, from the slope between two inner columns
        side = views.shape[-1]
        return (views[..., 0, side - 4] - views[..., 0, 3]) * 31 / 32 * side / (side - 7)

    assert width(large).square().min() > 0.34  # of the area, at ratios of 9:10 to 10:9
    assert width(small).square().min() > 0.04
    assert width(small).square().max() < 0.45
    assert multi_crop(ramp, 0, 16)[1] is None
    torch.manual_seed(0)
    assert torch.equal(multi_crop(ramp, 3, (16, 16))[0], large)


def test_each_view_has_tones_of_its_own():
    images = random_images(40, 3, 16, 16)
    torch.manual_seed(0)
    large, small = multi_crop(images, 2, (8, 8), shares=((0.999, 1.0), (0.999, 1.0)), tones=(2.0, 0.0))
    shift = large.mean(dim=(2, 3, 4)) - images.mean(dim=(1, 2, 3))  # (2, B)
    assert 1.5 < shift.abs().max() < 2.1
    assert (shift[0] - shift[1]).abs().median() > 0.5  # the views of one picture differ
    assert small.mean(dim=(2, 3, 4)).std() > 0.5


# --- in the shared loop ----------------------------------------------------------------------------------------------


def trained(epochs: int = 3, **changes) -> tuple[DINO, list[dict], list[tuple[float, float]]]:
    data = load("digits", quiet=True)
    torch.manual_seed(0)
    backbone = ViT(replace(BACKBONE, position_std=0.02, drop_path=0.1))
    model, loss, seen = DINO(backbone, replace(CONFIG, momentum=0.95, **changes)), self_distillation(num_small=2), []
    images = normalise(data.val.images, data.mean, data.std)

    def after(model: DINO, progress: float) -> None:
        model.update(progress)
        seen.append(entropies(model.eval().answers(images[None])))
        model.train()

    recipe = TrainConfig(epochs=epochs, batch_size=128, lr=2e-3)
    history = fit(model, data, recipe, device=CPU, shown=False, loss=loss, measure=measured(loss), after_step=after)
    return model, history, seen


def test_it_trains_in_the_shared_loop_with_the_teacher_behind_the_student():
    model, history, seen = trained()
    assert len(seen) == 3 * 10  # steps
    assert all(math.isfinite(record["loss"]) for record in history)
    pairs = zip(model.student.parameters(), model.teacher.parameters(), strict=True)
    assert not any(torch.equal(student, teacher) for student, teacher in pairs if student.grad is not None)
    again, repeated, _ = trained()
    assert [r["loss"] for r in repeated] == [r["loss"] for r in history]
    assert torch.equal(again.centre, model.centre)
    images = random_images(2, 1, 8, 8)
    with capture_attention(model.teacher) as maps:
        represent(model.teacher.backbone, images)
    assert maps[0].shape == (2, 2, 17, 17)


def test_without_centring_one_answer_is_given_to_all_and_without_sharpening_every_answer_is_uniform():
    """The two ways to collapse, after thirty steps: no entropy at all, and all that there can be."""
    both, no_centre, blunt = (trained(**off)[2][-1] for off in ({}, {"centring": False}, {"sharpening": False}))
    assert max(no_centre) < 0.05
    assert min(blunt) > 0.95 * math.log(32)
    assert 0.05 < both[1] < 0.95 * math.log(32)


def test_on_views_that_share_something_answers_do_not_collapse():
    """Sure of each image, and another answer for others, as at the start: half a nat or more is told of an image."""
    data = load("shapes", counts=(1_200, 120, 120), clutter=0.0, quiet=True)
    torch.manual_seed(0)
    sizes = {"image_size": 32, "patch_size": 8, "dim": 32, "depth": 2, "num_heads": 2}
    backbone = ViT(ViTConfig(**sizes, position_std=0.02))
    model = DINO(backbone, DINOConfig(outputs=64, hidden=64, bottleneck=32, momentum=0.98))
    loss = self_distillation(num_small=2, shares=((0.5, 1.0), (0.2, 0.5)))
    images = normalise(data.val.images, data.mean, data.std)
    options = {"device": CPU, "shown": False, "loss": loss, "measure": measured(loss), "after_step": DINO.update}
    fit(model, data, TrainConfig(epochs=5, batch_size=128, lr=2e-3), **options)
    each, mean = entropies(model.eval().answers(images[None]))
    assert mean - each > 0.5
