"""Captions for the pictures of `shapes`, "a red striped star", as numbers of words; and some kept for a last test.

Each picture has a colour, a texture and a shape of six each, so there are 216 captions.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from vitedu.data.dataset import Dataset, Split
from vitedu.data.shapes import COLOURS, SHAPES, TEXTURES

ADJECTIVES = ("plain", "striped", "checked", "dotted", "meshed", "speckled")  # of the textures, in their order
CAPTIONS = tuple(f"a {colour} {texture} {shape}" for shape in SHAPES for colour in COLOURS for texture in ADJECTIVES)
WORDS = ("", "a", *COLOURS, *ADJECTIVES, *SHAPES, "<end>")  # "" fills up behind the end, which has the highest number
LENGTH = 5  # words of a caption, with its end


def tokenise(texts: Sequence[str], length: int = LENGTH) -> Tensor:
    """Texts -> numbers of words (K, T), the number of the end behind the last word and zeros behind that.

    ValueError for a word that is not in `WORDS`, or more than T - 1 of them.

    >>> tokenise(["a red plain star", "a star"])
    tensor([[ 1,  2,  8, 19, 20],
            [ 1, 19, 20,  0,  0]])
    """
    rows = torch.zeros(len(texts), length, dtype=torch.long)  # (K, T)
    for row, text in zip(rows, texts, strict=True):
        words = [*text.split(), WORDS[-1]]
        if unknown := [word for word in words if word not in WORDS]:
            raise ValueError(f"{unknown[0]!r} in {text!r} is not one of {', '.join(WORDS[1:-1])}")
        if len(words) > length:
            raise ValueError(
                f"{text!r} has {len(words) - 1} words, expected at most {length - 1}; pass a greater length"
            )
        row[: len(words)] = torch.tensor([WORDS.index(word) for word in words])
    return rows


def captions_of(split: Split) -> Tensor:
    """The number in `CAPTIONS` of each picture of `shapes`: (N,). ValueError if the split has no cues."""
    if not {"colour", "texture"} <= split.cues.keys():
        raise ValueError(f"the split has the cues {', '.join(split.cues) or 'none'}, expected colour and texture")
    return (split.labels * len(COLOURS) + split.cues["colour"]) * len(TEXTURES) + split.cues["texture"]


def with_captions(data: Dataset) -> Dataset:
    """`shapes` with the number of its caption as the label of each picture, and the captions as names of classes.

    >>> from vitedu.data import load
    >>> data = with_captions(load("shapes", counts=(120, 60, 60), quiet=True))
    >>> len(data.class_names), data.class_names[0]
    (216, 'a red plain circle')
    """
    splits = {name: getattr(data, name) for name in ("train", "val", "test")}
    labelled = {name: replace(split, labels=captions_of(split)) for name, split in splits.items()}
    return replace(data, class_names=CAPTIONS, **labelled)


def is_kept_back(captions: Tensor) -> Tensor:
    """Whether a caption of these numbers (N,) is one of the 36 that a model may be kept from until it is tested, (N,).

    Each colour with each texture, each colour with each shape and each texture with each shape is kept back once and
    left five times: what is new in a caption that was kept back is the triple alone.
    """
    shape, colour, texture = captions // 36, captions // 6 % 6, captions % 6
    return (shape + colour + texture) % 6 == 0
