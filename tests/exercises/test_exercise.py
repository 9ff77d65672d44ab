"""`vitedu.exercises.exercise`: inputs, and what of them is demanded."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.exercises.conftest import COUNT, PAD
from vitedu.exercises.exercise import Case, Exercise, all_exercises

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


@pytest.mark.parametrize("exercise", [one for one in all_exercises().values() if one.demands])
def test_what_is_demanded_stands_in_the_task(exercise):
    """In the chapter, under the exercise's heading."""
    (path,) = (Path(__file__).parents[2] / "chapters").glob(f"{int(exercise.id.split('.')[0]):02}_*.ipynb")
    cells = ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"]]
    (task,) = [cell for cell in cells if cell.startswith(f"### Exercise {exercise.id} ")]
    for demand in exercise.demands:
        assert re.search({"double": "double precision|float64", "gradient": "gradient"}[demand], task)
