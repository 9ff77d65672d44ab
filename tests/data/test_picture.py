"""One picture: what is transparent is laid on a ground on which the rest can be seen."""

import io

import numpy as np
import pytest
from PIL import Image

from vitedu.data.picture import GROUNDS, choose_ground, contrasts, decode_picture

BLACK, WHITE, YELLOW, GREY, PALE = (0, 0, 0), (255, 255, 255), (255, 255, 0), (128, 128, 128), (238, 238, 238)


def icon(colour: tuple[int, int, int], mode: str = "RGBA", kind: str = "png") -> bytes:
    """A square of one colour, 8 × 8 in 16 × 16; around it nothing is opaque, and there is noise under it."""
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 4), dtype=np.uint8)
    pixels[..., 3] = 0
    pixels[4:12, 4:12] = (*colour, 255)
    file, options = io.BytesIO(), {}
    if mode in ("RGBA", "LA"):
        image = Image.fromarray(pixels).convert(mode)
    else:  # one colour stands for what is transparent: in a palette, or among the colours themselves
        opaque, other = pixels[..., 3:] == 255, (1, 2, 3) if mode != "L" else (9, 9, 9)
        image = Image.fromarray(np.where(opaque, pixels[..., :3], np.uint8(other)))
        image = image.quantize(2) if mode == "P" else image.convert(mode)
        clear = image.getpixel((0, 0))
        options = {"transparency": clear}
    image.save(file, kind, **options)
    return file.getvalue()


MODES = pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L"])


@MODES
@pytest.mark.parametrize("colour", [BLACK, WHITE, GREY, YELLOW])
@pytest.mark.parametrize("ground", GROUNDS.values())
@pytest.mark.parametrize("channels", [1, 3])
def test_an_icon_keeps_its_colour_and_lies_on_the_ground(mode, colour, ground, channels):
    pixels, contrast = decode_picture(icon(colour, mode), None, channels, ground)
    expected = (
        Image.new("RGB", (1, 1), colour).convert("L" if mode[0] == "L" or channels == 1 else "RGB").getpixel((0, 0))
    )
    inside = np.zeros((16, 16), dtype=bool)
    inside[4:12, 4:12] = True
    assert (pixels[:, ~inside] == ground).all()
    assert (pixels[:, inside] == np.reshape(expected, (-1, 1))).all()
    assert contrast == np.abs(np.array(expected) - ground).max()


@pytest.mark.parametrize(("kind", "mode"), [("gif", "P"), ("webp", "RGBA"), ("tiff", "RGBA"), ("tiff", "LA")])
def test_other_kinds_of_files_are_no_exception(kind, mode):
    image = Image.open(io.BytesIO(icon(BLACK, mode)))
    file = io.BytesIO()
    image.save(file, kind, **({"lossless": True} if kind == "webp" else {}))
    assert (
        decode_picture(file.getvalue(), None, 3)[0].tolist() == decode_picture(icon(BLACK, mode), None, 3)[0].tolist()
    )


def test_a_half_transparent_edge_is_blended_before_and_after_resizing():
    pixels = np.zeros((4, 4, 4), dtype=np.uint8)
    pixels[:, :2, 3], pixels[:, 2:, 3] = 255, 51
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    assert decode_picture(file.getvalue(), None, 1)[0][0, 0].tolist() == [0, 0, 204, 204]
    left, right = decode_picture(file.getvalue(), (2, 2), 1)[0][0, 0].tolist()
    assert 0 < left < 102 < right < 204 == left + right  # the filter reaches over the edge


def test_a_picture_whose_alpha_hides_nothing_is_what_it_was():
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 4), dtype=np.uint8)
    pixels[..., 3] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    decoded, contrast = decode_picture(file.getvalue(), None, 3)
    assert (decoded == pixels[..., :3].transpose(2, 0, 1)).all()
    assert contrast is contrasts(file.getvalue(), 3) is None


def test_a_picture_of_nothing_is_its_ground_and_is_not_seen():
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 4), dtype=np.uint8)
    pixels[..., 3] = 0
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    decoded, contrast = decode_picture(file.getvalue(), None, 3, 0)
    assert (decoded == 0).all()
    assert contrast == 0


@MODES
@pytest.mark.parametrize(
    ("colours", "ground"),
    [
        ([BLACK], "white"),
        ([WHITE], "black"),
        ([PALE], "black"),
        ([BLACK, GREY], "white"),
        ([WHITE, GREY], "black"),
        ([BLACK, WHITE], "grey"),
        ([BLACK] * 9 + [WHITE], "grey"),
        ([BLACK, GREY] * 9 + [PALE], "white"),
        ([], "white"),
    ],
)
def test_the_ground_is_the_first_on_which_the_fewest_are_lost(mode, colours, ground):
    assert choose_ground(contrasts(icon(colour, mode), 3) for colour in colours) == ground


def test_what_can_be_seen_in_colour_may_be_lost_in_grey():
    assert choose_ground([contrasts(icon(YELLOW), 3)]) == "white"
    assert choose_ground([contrasts(icon(YELLOW), 1)]) == "black"


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "CMYK", "YCbCr", "LAB", "RGBX"])
def test_opaque_pictures_of_all_kinds_are_converted_as_pillow_does_it(mode):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8))
    image = image.convert(mode) if mode != "LAB" else Image.merge("LAB", image.split())
    file = io.BytesIO()
    image.save(file, "tiff")
    again = Image.open(io.BytesIO(file.getvalue()))
    for channels, target in ((1, "L"), (3, "RGB")):
        try:
            expected = np.asarray(again.convert(target))
        except ValueError:  # Pillow makes no grey of LAB
            continue
        assert (
            decode_picture(file.getvalue(), None, channels)[0] == expected.reshape(6, 5, -1).transpose(2, 0, 1)
        ).all()
