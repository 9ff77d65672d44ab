"""`vitedu.train.mix`: shares of labels are the shares of the pictures."""

import pytest
import torch

from vitedu.train.mix import mixer

K = 7


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Every pixel of image i is i + 1, and its label is i."""
    count = torch.arange(K)
    return (count + 1.0).view(K, 1, 1, 1).expand(K, 2, 12, 20).contiguous(), count


def of_partner(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The mean of each image that its targets foretell."""
    return targets @ torch.arange(1.0, K + 1)


def test_without_either_nothing_changes(batch):
    images, labels = mixer(0.0, 0.0, K)(*batch)
    assert images is batch[0]
    assert labels is batch[1]


@pytest.mark.parametrize("alphas", [(1.0, 0.0), (0.0, 1.0), (0.8, 1.0)], ids=["mixup", "cutmix", "either"])
def test_targets_hold_the_shares_of_the_pictures(batch, alphas):
    mix = mixer(*alphas, K)
    for seed in range(20):
        torch.manual_seed(seed)
        images, targets = mix(*batch)
        torch.testing.assert_close(targets.sum(1), torch.ones(K))
        torch.testing.assert_close(images.mean((1, 2, 3)), of_partner(images, targets))


def test_mixup_blends_everywhere_and_cutmix_pastes_a_rectangle(batch):
    torch.manual_seed(0)
    blended, pasted = mixer(1.0, 0.0, K)(*batch)[0], mixer(0.0, 1.0, K)(*batch)[0]
    assert all(image.unique().numel() == 1 for image in blended)
    assert 1 not in {image.unique().numel() for image in pasted}
    inside = pasted[1, 0] != batch[0][1, 0]  # (H, W): where the partner shows
    rows, columns = inside.any(1), inside.any(0)
    assert torch.equal(inside, rows[:, None] & columns[None])


def test_the_same_seed_mixes_alike_and_another_differently(batch):
    mix, mixed = mixer(0.8, 1.0, K), []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        mixed.append(mix(*batch)[0])
    assert torch.equal(mixed[0], mixed[1])
    assert not torch.equal(mixed[0], mixed[2])
