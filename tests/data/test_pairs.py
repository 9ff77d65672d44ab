"""Two things: where they lie, what the label says of them, and what changes with the cue and what does not."""

import pytest
import torch

from vitedu.data.pairs import COLOURS, CUES, KINDS, draw_cued, draw_pairs, load_pairs


def shown(pictures: torch.Tensor, colour: torch.Tensor) -> torch.Tensor:
    """Where pictures (N, 3, H, W) have a colour: (N, H, W)."""
    return (pictures / 255 - colour[:, None, None]).abs().amax(1) < 0.02


def test_the_cue_lies_out_of_reach_of_a_window_of_nineteen_pixels():
    patch, silent = (draw_cued(60, 0, cue) for cue in ("patch", "none"))
    changed = (patch.images != silent.images).any(1)  # the two draws differ in the colour of the patch alone
    assert changed.flatten(1).sum(1).tolist() == [25] * 60
    things = (shown(patch.images, COLOURS[0]) | shown(patch.images, COLOURS[1])) & ~changed
    for mine, others in zip(changed, things, strict=True):
        gaps = (mine.nonzero()[:, None] - others.nonzero()).abs().amax(2)  # (25, M): in rows or columns
        assert gaps.min() >= 16  # so a window holds at most 3 pixels of both together


def test_the_label_is_the_kind_of_the_thing_in_the_cues_colour():
    split = draw_cued(300, 0, "patch")
    cue = (split.images != draw_cued(300, 0, "none").images).any(1)
    filled = {kind: set() for kind in KINDS}  # whether the middle of what has the cue's colour is
    for picture, patch, label in zip(split.images, cue, split.labels.tolist(), strict=True):
        colour = picture[:, patch].float().mean(1) / 255
        thing = shown(picture[None], colour)[0] & ~patch
        rows, columns = thing.nonzero().T
        centre = round(rows.float().mean().item()), round(columns.float().mean().item())
        filled[KINDS[label]].add(bool(thing[centre]))
    assert filled == {"triangle": {True}, "cross": {True}, "ring": {False}}


def test_a_cue_changes_neither_things_nor_labels():
    draws = [draw_cued(40, 3, cue) for cue in CUES]
    assert all(split.labels.equal(draws[0].labels) for split in draws)
    assert draws[0].labels.unique().tolist() == [0, 1, 2]


def test_a_cue_in_green_says_nothing():
    green = shown(draw_cued(40, 3, "none").images, COLOURS[2]).flatten(1).sum(1)
    assert green.tolist() == [25] * 40


@pytest.mark.parametrize("far", [True, False])
def test_two_things_of_one_colour_make_a_pair_near_or_far(far):
    split = draw_pairs(80, 1, far)
    seen = torch.stack([shown(split.images, colour).flatten(1).sum(1) > 5 for colour in COLOURS])  # (3, N)
    assert (seen.sum(0) == torch.where(split.labels == 1, 1, 2)).all()
    assert split.labels.float().mean() == 0.5


def test_splits_and_seeds_share_no_picture():
    sets = [load_pairs("pair", lambda count, seed: draw_pairs(count, seed, True), (6, 4, 4), seed) for seed in (0, 1)]
    pictures = torch.cat([split.images for data in sets for split in (data.train, data.val, data.test)])
    assert len(pictures.flatten(1).unique(dim=0)) == 28
    assert sets[0].class_names == ("different", "same")


def test_an_unknown_cue_is_refused():
    with pytest.raises(ValueError, match="cue 'frame' is not one of ground, patch, none"):
        draw_cued(4, 0, "frame")
