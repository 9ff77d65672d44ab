"""`vitedu.inspection.probe`: probes that find a linear rule and no more, and lengths of tokens."""

import pytest
import torch

from vitedu.inspection import linear_probe, nearest_neighbours, outlier_share, token_norms


def labelled(count, dim=6, K=3, seed=0):
    """Vectors and the class whose direction they point to most: a linear rule."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(count, dim, generator=generator)
    return vectors, vectors[:, :K].argmax(dim=1)


def test_a_linear_rule_is_found():
    (x, y), (x_test, y_test) = labelled(2_000), labelled(500, seed=1)
    assert linear_probe(x, y, x_test, y_test) > 0.9
    # scale and shift of a number do not matter
    stretch, shift = torch.tensor([1e-3, 1, 100, 1, 1, 1]), torch.tensor([5.0, 0, 0, 0, 0, -7])
    assert linear_probe(x * stretch + shift, y, x_test * stretch + shift, y_test) > 0.9


def test_labels_that_have_nothing_to_do_with_the_vectors_are_named_by_chance():
    (x, y), (x_test, y_test) = labelled(2_000), labelled(2_000, seed=1)
    shuffled = y_test[torch.randperm(2_000, generator=torch.Generator().manual_seed(0))]
    assert linear_probe(x, y, x_test, shuffled) == pytest.approx(1 / 3, abs=0.06)


def test_a_rule_that_is_not_linear_is_not_found():
    x = torch.randn(2_000, 2, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] * x[:, 1] > 0).long()
    assert linear_probe(x[:1_000], y[:1_000], x[1_000:], y[1_000:]) < 0.65


def test_norms_are_split_into_those_of_cls_and_of_patches():
    tokens = [torch.randn(2, 5, 3) for _ in range(4)]
    cls, patches = token_norms(tokens)
    assert (cls.shape, patches.shape) == ((4, 2), (4, 2, 4))
    assert cls[1, 0].item() == pytest.approx(tokens[1][0, 0].square().sum().sqrt().item())
    assert patches[3, 1, 2].item() == pytest.approx(tokens[3][1, 3].square().sum().sqrt().item())
    cls, patches = token_norms(tokens, num_prefix=0)
    assert (cls.shape, patches.shape) == ((4, 0), (4, 2, 5))


def test_outliers_are_counted_layer_by_layer():
    norms = torch.ones(3, 2, 50)
    norms[1, 0, 7] = norms[1, 1, 9] = 10
    norms[2] *= 10  # all long: none stands out
    torch.testing.assert_close(outlier_share(norms), torch.tensor([0, 0.02, 0]))
    torch.testing.assert_close(outlier_share(norms, factor=20), torch.zeros(3))


def test_neighbours_vote_by_their_cosines_written_out():
    train, test = torch.randn(30, 5), torch.randn(12, 5)
    labels, wanted = torch.arange(30) % 3, torch.arange(12) % 3
    right = 0
    for vector, label in zip(test, wanted.tolist(), strict=True):
        cosines = torch.stack([vector @ other / vector.norm() / other.norm() for other in train])
        votes = [0.0, 0.0, 0.0]
        for n in cosines.argsort(descending=True)[:7].tolist():
            votes[labels[n]] += (cosines[n] / 0.07).exp().item()
        right += votes.index(max(votes)) == label
    assert nearest_neighbours(train, labels, test, wanted, k=7) == pytest.approx(right / 12)
    assert nearest_neighbours(train, labels, 3 * train, labels, k=1) == 1.0
    with pytest.raises(ValueError, match="k is 31, and there are 30 training vectors"):
        nearest_neighbours(train, labels, test, wanted, k=31)
