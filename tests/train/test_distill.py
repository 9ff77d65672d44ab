"""Training with a teacher: what the student learns from, in the loop that trains everything else."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.random_weights import random_images, randomise
from vitedu.data import load, normalise
from vitedu.models.deit import DistilledViT, hard_distillation, soft_distillation
from vitedu.train import TrainConfig, fit
from vitedu.train.distill import distillation, labels_twice
from vitedu.vit import ViT, ViTConfig

CPU = torch.device("cpu")
CONFIG = ViTConfig(
    image_size=8, patch_size=2, in_channels=1, dim=16, depth=1, num_heads=2, num_classes=10, position_std=0.02
)
IMAGES, LABELS = random_images(6, 1, 8, 8), torch.arange(6)


class Shifted(nn.Module):
    """A teacher that answers with the class after the right one, which it looks up: so one sees what came from it."""

    def __init__(self, images: Tensor, labels: Tensor):
        super().__init__()
        self.images, self.labels = images.flatten(1), labels

    def forward(self, images: Tensor) -> Tensor:
        nearest = torch.cdist(images.flatten(1), self.images).argmin(dim=1)
        return 20.0 * F.one_hot((self.labels[nearest] + 1) % 10, 10)


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_the_loss_is_the_function_of_both_heads_and_the_teachers_scores(kind):
    student, teacher = randomise(DistilledViT(CONFIG)), randomise(ViT(CONFIG), seed=1)
    found = distillation(teacher, kind, weight=0.3, label_smoothing=0.1)(student, IMAGES, LABELS)
    function = {"hard": hard_distillation, "soft": soft_distillation}[kind]
    expected = function(*student.both(IMAGES), LABELS, teacher(IMAGES), weight=0.3, label_smoothing=0.1)
    torch.testing.assert_close(found, expected)


def test_a_model_with_one_head_learns_both_with_it():
    student, teacher = randomise(ViT(CONFIG)), randomise(ViT(CONFIG), seed=1)
    scores = student(IMAGES)
    expected = hard_distillation(scores, scores, LABELS, teacher(IMAGES))
    torch.testing.assert_close(distillation(teacher)(student, IMAGES, LABELS), expected)


def test_without_a_teacher_the_second_head_learns_the_labels():
    student = randomise(DistilledViT(CONFIG))
    cls, dist = student.both(IMAGES)
    expected = (F.cross_entropy(cls, LABELS) + F.cross_entropy(dist, LABELS)) / 2
    torch.testing.assert_close(distillation(None)(student, IMAGES, LABELS), expected)
    torch.testing.assert_close(labels_twice(cls, dist, LABELS, weight=1.0), F.cross_entropy(dist, LABELS))


def test_the_teacher_keeps_its_weights_and_its_mode_and_gets_no_gradient():
    teacher = ViT(replace(CONFIG, dropout=0.5)).train()
    loss, before = distillation(teacher), [parameter.clone() for parameter in teacher.parameters()]
    student = DistilledViT(CONFIG).train()
    with torch.random.fork_rng():
        values = {loss(student, IMAGES, LABELS).item() for _ in range(3)}
    assert len(values) == 1  # no dropout in the teacher
    loss(student, IMAGES, LABELS).backward()
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in teacher.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, teacher.parameters(), strict=True))
    assert not teacher.training
    assert student.training
    assert all(parameter.grad is not None for parameter in student.parameters())


def test_a_student_learns_the_teachers_answers_with_one_head_and_the_labels_with_the_other():
    data = load("digits")
    images, labels = normalise(data.train.images, data.mean, data.std), data.train.labels
    torch.manual_seed(0)
    student, loss = DistilledViT(CONFIG), distillation(Shifted(images, labels))
    fit(student, data, TrainConfig(epochs=12, batch_size=64, lr=5e-3), device=CPU, shown=False, loss=loss)
    cls, dist = (scores.argmax(dim=1) for scores in student.both(images))
    assert (cls == labels).float().mean() > 0.8
    assert (dist == (labels + 1) % 10).float().mean() > 0.8


def test_a_compiled_student_gives_the_same_loss_from_a_compiled_method(monkeypatch):
    student, teacher = randomise(DistilledViT(CONFIG)), randomise(ViT(CONFIG), seed=1)
    compile_it, asked = torch.compile, []

    def eagerly(function, **options):
        asked.append(function)
        return compile_it(function, backend="eager", **options)

    monkeypatch.setattr(torch, "compile", eagerly)
    loss, compiled = distillation(teacher), compile_it(student, backend="eager")
    expected = loss(student, IMAGES, LABELS)
    for _ in range(2):
        torch.testing.assert_close(loss(compiled, IMAGES, LABELS), expected)
    assert asked == [student.both]  # once


class Wrapped(nn.Module):
    """Stands for a model in one of two processes."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> Tensor:
        return self.module(images)


def test_several_processes_are_refused_for_a_student_with_two_heads(monkeypatch):
    monkeypatch.setattr("vitedu.train.distill.DistributedDataParallel", Wrapped)
    with pytest.raises(ValueError, match="a DistilledViT learns from a teacher in one process; start it without"):
        distillation(None)(Wrapped(DistilledViT(CONFIG)), IMAGES, LABELS)
    distillation(None)(Wrapped(ViT(CONFIG)), IMAGES, LABELS)  # goes through `forward`


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="kind 'medium' is not one of hard, soft"):
        distillation(None, "medium")
