"""`vitedu.exercises.exercise`: inputs, and what of them is demanded."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.exercises.conftest import COUNT, PAD, pad
from vitedu.exercises.exercise import Case, Exercise, image_case, refusing

SINGLE, DOUBLE = torch.float32, torch.float64


def dtypes(exercise):
    return [[case.args[0].dtype for case in cases] for cases in exercise.labelled_cases()]


def test_double_precision_is_due_where_it_is_demanded_and_elsewhere_tried_and_due_in_single_precision():
    assert dtypes(PAD) == [[SINGLE] * 4 + [DOUBLE], []]
    modest = replace(PAD, demands=())
    assert dtypes(modest) == [[SINGLE] * 5, [DOUBLE]]
    due, tried = modest.labelled_cases()
    assert torch.equal(due[4].args[0].double(), tried[0].args[0])
    assert due[4].label == "images (1, 2, 4, 7), patch = 3"
    assert tried[0].label == "images (1, 2, 4, 7) float64, patch = 3"


def test_an_exercise_in_double_precision_alone_is_due_as_it_is():
    assert dtypes(replace(PAD, demands=(), cases=lambda: PAD.cases()[4:])) == [[DOUBLE], []]
    assert [len(cases) for cases in COUNT.labelled_cases()] == [4, 0]  # no tensors


def test_a_model_in_double_precision_counts_and_stays_as_it_is():
    layers = nn.Linear(2, 2), nn.Linear(2, 2).double()
    due, tried = Exercise("0.1", lambda layer: layer, lambda: [Case((layer,)) for layer in layers], ()).labelled_cases()
    assert [case.args[0].weight.dtype for case in (*due, *tried)] == [SINGLE, SINGLE, DOUBLE]


def test_images_are_distinct_numbers_and_know_their_traits():
    case = image_case(1, 3, 4, 4, 2)
    assert case.traits == ("square", "B = 1", "C = 3")
    assert sorted(case.args[0].flatten().tolist()) == list(range(1, 49))
    assert image_case(2, 1, 4, 5).traits == ()


def test_refusing_raises_where_it_is_told_to():
    answer = refusing(lambda images, patch: patch == 3, pad)
    assert answer(torch.zeros(1, 1, 2, 2), 2).shape == (1, 1, 2, 2)
    with pytest.raises(ValueError, match="refused"):
        answer(torch.zeros(1, 1, 2, 2), 3)
