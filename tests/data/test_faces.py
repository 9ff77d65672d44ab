"""Faces and their scrambled twins: the same parts in the same places, and no simpler cue."""

import pytest
import torch

from vitedu.data.faces import ARRANGEMENTS, FACE, draw_faces, load_faces
from vitedu.patch import patchify


def cells(images: torch.Tensor, side: int) -> list:
    """The patches of each image as a sorted list: which there are, not where."""
    return [sorted(patch.tolist() for patch in image) for image in patchify(images, side)]


@pytest.mark.parametrize("patch", [8, 4, 2])
def test_twins_are_made_of_the_same_patches_when_parts_fill_whole_cells(patch):
    found = cells(draw_faces(30, seed=1).images, patch)
    assert found[::2] == found[1::2]


def test_twins_are_made_of_other_patches_when_parts_lie_anywhere():
    found = cells(draw_faces(30, seed=1, aligned=False).images, 8)
    assert not any(face == other for face, other in zip(found[::2], found[1::2], strict=True))


@pytest.mark.parametrize("aligned", [True, False])
def test_twins_differ_and_have_the_same_amount_of_paint(aligned):
    images = draw_faces(40, seed=2, aligned=aligned).images.float()
    face, other = images[::2], images[1::2]
    assert (face != other).flatten(1).any(1).all()
    torch.testing.assert_close(face.mean((2, 3)), other.mean((2, 3)), rtol=0.02, atol=0.5)


def test_labels_alternate_and_every_wrong_arrangement_occurs():
    faces = draw_faces(400, seed=3)
    assert faces.labels.tolist() == [1, 0] * 400
    assert len(ARRANGEMENTS) == 12
    assert ARRANGEMENTS[0] == FACE
    parts = {tuple(image.flatten().tolist()) for image in (faces.images[1::2, 0] > 100)}
    assert len(parts) > 11


def test_the_same_seed_draws_the_same_and_another_does_not():
    first, again, other = (draw_faces(5, seed=seed).images for seed in (4, 4, 5))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_nothing_is_cut_off_and_no_pixel_overflows():
    """A part's paint is as much wherever its face stands: an edge that left the picture would take some away."""
    images = draw_faces(200, seed=6, aligned=False).images
    rim = torch.cat([images[..., 0, :], images[..., -1, :], images[..., 0], images[..., -1]], dim=-1).float()
    assert (rim == rim[..., :1]).float().mean() > 0.999


def test_splits_are_different_draws():
    data = load_faces((20, 10, 10), seed=1)
    assert [len(data.train), len(data.val), len(data.test)] == [40, 20, 20]
    assert not torch.equal(data.val.images, data.test.images)
    assert data.class_names == ("scrambled", "face")


@pytest.mark.parametrize("side", [12, 30])
def test_a_side_that_does_not_fit_is_refused(side):
    with pytest.raises(ValueError, match=f"side {side} .* use 32"):
        draw_faces(1, seed=0, side=side)
