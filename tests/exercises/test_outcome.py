"""`vitedu.exercises.outcome`: what an answer did, and whether another did the same."""

import einops
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.exercises.conftest import PAD
from vitedu.exercises.exercise import Case, refusing
from vitedu.exercises.outcome import call, gradients

X = torch.ones(2, 3)


def own(images, patch):
    raise ValueError


def own_assert(images, patch):
    assert patch == 0, "no"


OWN = [own, own_assert, lambda x, p: own(x, p), torch.no_grad()(own), refusing(lambda *args: True, own)]
LIBRARYS = [
    lambda x, p: 1 / 0,
    lambda x, p: x @ x,
    lambda x, p: F.cross_entropy(x, None),
    lambda x, p: nn.Linear(3, 3)(x.double()),
    lambda x, p: einops.rearrange(x, "a -> b"),
]


@pytest.mark.parametrize(("answer", "deliberate"), [(one, many is OWN) for many in (OWN, LIBRARYS) for one in many])
def test_an_error_is_the_readers_own_or_a_librarys(answer, deliberate):
    outcome = call(PAD, answer, Case((X, 3)))
    assert isinstance(outcome.error, Exception)
    assert outcome.deliberate is deliberate


def test_gradients_of_a_weighted_sum_and_none_where_they_are_cut():
    """The weights go from 1 to 2, so that a result in another order has another gradient."""
    assert gradients(lambda x, n: 3 * x, Case((torch.ones(3), 2)))[0].tolist() == [3, 4.5, 6]
    cut = gradients(lambda x, y: x * y.detach(), Case((torch.ones(2), torch.ones(2))))
    assert (cut[0].tolist(), cut[1]) == ([1, 2], None)
    assert gradients(lambda x: x.detach(), Case((X,))) == [None]
