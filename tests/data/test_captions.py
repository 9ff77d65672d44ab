"""Captions of `shapes`: they say what is drawn, and what is kept back is new as a triple alone."""

import pytest
import torch

from vitedu.data import draw_shapes, load
from vitedu.data.captions import CAPTIONS, WORDS, captions_of, is_kept_back, tokenise, with_captions
from vitedu.data.dataset import Split
from vitedu.data.shapes import COLOURS, SHAPES


def test_every_combination_has_one_caption_and_each_picture_its_own():
    assert len(set(CAPTIONS)) == 216
    split = draw_shapes(120, seed=3)
    for n, number in enumerate(captions_of(split).tolist()):
        _, colour, _, shape = CAPTIONS[number].split()
        assert (colour, shape) == (COLOURS[split.cues["colour"][n]], SHAPES[split.labels[n]])
    stripes = draw_shapes(120, seed=3, texture="agree")
    squares = captions_of(stripes)[stripes.labels == 1]
    assert all("striped square" in CAPTIONS[number] for number in squares)


def test_a_set_with_captions_is_the_same_pictures_under_other_labels():
    plain = load("shapes", counts=(120, 60, 60), quiet=True)
    data = with_captions(plain)
    assert data.class_names == CAPTIONS
    assert torch.equal(data.val.images, plain.val.images)
    assert torch.equal(data.val.labels // 36, plain.val.labels)
    with pytest.raises(ValueError, match="the split has the cues none, expected colour and texture"):
        captions_of(Split(plain.val.images, plain.val.labels))


def test_words_are_told_apart_and_texts_end_with_the_highest_number():
    tokens = tokenise(CAPTIONS)
    assert tokens.shape == (216, 5)
    assert len({tuple(row) for row in tokens.tolist()}) == 216
    assert (tokens.argmax(dim=1) == 4).all()
    assert (tokens.max(dim=1).values == len(WORDS) - 1).all()
    assert [WORDS[number] for number in tokens[0]] == [*CAPTIONS[0].split(), "<end>"]
    with pytest.raises(ValueError, match="'purple' in 'a purple star' is not one of a, red"):
        tokenise(["a purple star"])
    with pytest.raises(ValueError, match="has 5 words, expected at most 4"):
        tokenise(["a red red plain star"])


def test_each_pair_is_seen_five_times_where_each_triple_kept_back_is_new():
    numbers = torch.arange(216)
    kept = is_kept_back(numbers)
    assert kept.sum() == 36
    shape, colour, texture = numbers // 36, numbers // 6 % 6, numbers % 6
    for a, b in ((shape, colour), (shape, texture), (colour, texture)):
        assert torch.bincount((6 * a + b)[kept], minlength=36).eq(1).all()
        assert torch.bincount((6 * a + b)[~kept], minlength=36).eq(5).all()
