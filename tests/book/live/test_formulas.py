"""What the pieces draw and count, against the module: pictures, costs, positions, schedules, recorded gains."""

import json
import re

import pytest
import torch

from book.tools.site.page import RESULTS
from vitedu.cost import block_macs, block_parameters, vit_macs, vit_parameters
from vitedu.data import shapes
from vitedu.inspection import patch_positions, position_similarity
from vitedu.patch import patch_grid
from vitedu.position import sincos_1d, sincos_2d
from vitedu.pretrained import load
from vitedu.train.optim import learning_rate
from vitedu.vit import ViTConfig, preset

DRAW = """([seed, given]) => { const scene = vitedu.drawing.scene(seed, given);
    return {scene, pixels: Array.from(vitedu.drawing.picture(scene).pixels)} }"""


def paint(scene: dict) -> torch.Tensor:
    """The same scene by the functions of `vitedu.data.shapes`, bytes (3, 32, 32)."""

    def one(name: str) -> torch.Tensor:
        return torch.tensor([scene[name]])

    label = torch.tensor([shapes.SHAPES.index(scene["shape"])])
    texture = torch.tensor([shapes.TEXTURES.index(scene["texture"])])
    colour = torch.tensor([shapes.COLOURS.index(scene["colour"])])
    across, down, radius = shapes._object_coordinates((32, 32), one("place"))
    coverage = shapes._coverage(across, down, radius * 32, label)
    noise = one("noise").unflatten(1, (32, 32))
    tone = shapes._tone(across, down, texture, one("phase"), noise)
    background = shapes._background((32, 32), one("ground"))
    background = shapes._draw_bars(background, torch.tensor([scene["bars"]]), len(scene["bars"]))
    picture = background + coverage[:, None] * (tone[:, None] * shapes._colour(colour, one("tint")) - background)
    return (picture.clamp(0, 1) * 255).round()[0]


@pytest.mark.parametrize("index", range(6))
def test_drawn_pictures_are_the_modules(engine, index):
    """Every shape and every texture, on cluttered grounds, to one level of 256."""
    for turn in range(3):
        given = {"shape": shapes.SHAPES[index], "texture": shapes.TEXTURES[(index + 2 * turn) % 6]}
        drawn = engine.evaluate(DRAW, [10 * index + turn, given])
        difference = torch.tensor(drawn["pixels"]).mul(255).view(3, 32, 32) - paint(drawn["scene"])
        assert difference.abs().max() < 1.01


# --- costs ---

NAMES = ["Ti/16", "S/16", "B/16", "B/32", "L/16", "H/14"]


def as_page(config: ViTConfig) -> dict:
    """A configuration as the page has it."""
    return {
        "height": 224,
        "width": 224,
        "channels": config.in_channels,
        "patch": config.patch_size,
        "dim": config.dim,
        "heads": config.num_heads,
        "depth": config.depth,
        "classes": config.num_classes,
        "ratio": config.mlp_ratio,
    }


@pytest.mark.parametrize("name", NAMES)
def test_costs_and_the_walks_sums_are_the_modules(engine, name):
    config = preset(name)
    c = as_page(config)
    count = """c => { const {cost} = vitedu, T = cost.tokens(c), sum = key =>
            vitedu.walk(c).reduce((total, step) => total + step[key] * (step.times || 1), 0);
        return [cost.parameters(c), cost.macs(c), cost.blockParameters(c), cost.blockMacs(T, c),
            sum('parameters'), sum('macs')] }"""
    parameters, macs, in_block, block, walked, walked_macs = engine.evaluate(count, c)
    assert parameters == walked == vit_parameters(config)
    assert macs == walked_macs == vit_macs(config)
    assert in_block == block_parameters(config.dim)
    assert block == block_macs(config.num_tokens, config.dim)


def test_walk_on_a_picture_that_is_not_square(engine):
    config = ViTConfig(image_size=(48, 80), patch_size=8, in_channels=1, num_classes=7, dim=30, depth=3, num_heads=5)
    c = as_page(config) | {"height": 48, "width": 80}
    steps = engine.evaluate("c => vitedu.walk(c)", c)
    assert sum(step["parameters"] * (step["times"] or 1) for step in steps) == vit_parameters(config)
    shape = {step["name"]: step["shape"] for step in steps}
    assert shape["patches"] == [60, 64]
    assert shape["queries, keys, values"] == [3, 5, 61, 6]
    assert shape["weights"] == [5, 61, 61]
    assert shape["class scores"] == [7]


@pytest.mark.parametrize(("side", "patch"), [(224, 15), (224, 223), (60, 224)])
def test_page_says_the_modules_words_where_a_patch_does_not_fit(engine, side, patch):
    with pytest.raises(ValueError, match="not divisible") as raised:
        patch_grid(side, patch)
    say = (
        "([side, patch]) => { try { vitedu.cost.patchGrid([side, side], patch) } catch (slip) { return slip.message } }"
    )
    assert engine.evaluate(say, [side, patch]) == str(raised.value)


def test_page_says_the_modules_words_where_heads_do_not_divide_the_width(engine):
    with pytest.raises(ValueError, match="num_heads") as raised:
        ViTConfig(dim=100, num_heads=3)
    say = "() => { try { vitedu.cost.checkHeads({dim: 100, heads: 3}) } catch (problem) { return problem.message } }"
    assert engine.evaluate(say) == str(raised.value)


# --- positions, look-up, positional head, schedule ---


def test_tables_of_positions_and_their_similarities_are_the_modules(engine):
    tables = {
        "sincos1d": sincos_1d(torch.arange(64), 64),
        "sincos2d": sincos_2d((8, 8), 64),
        "shapes-vit": patch_positions(load("shapes-vit").positions),
    }
    for kind, expected in tables.items():
        table = engine.evaluate("kind => vitedu.positionTable(kind)", kind)
        torch.testing.assert_close(torch.tensor(table), expected, atol=1e-5, rtol=1e-5)
        alike = engine.evaluate("table => vitedu.similarity(table)", table)
        wanted = position_similarity(expected, (8, 8)).flatten(2).flatten(0, 1)
        torch.testing.assert_close(torch.tensor(alike), wanted, atol=1e-5, rtol=1e-5)


def code_of(chapter: str, *starts: str) -> list[str]:
    """The code cells of a chapter that hold one of these texts."""
    (path,) = (RESULTS.parents[1] / "chapters").glob(f"{chapter}_*.ipynb")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return [source for source in sources if any(start in source for start in starts)]


@pytest.mark.parametrize(("query", "sharpness"), [(5.0, 1.0), (2.3, 0.0), (7.9, 100.0), (0.0, 0.1)])
def test_soft_lookup_is_chapter_twos(engine, query, sharpness):
    names = {"torch": torch}
    stored, function = code_of("02", "keys = torch.tensor([1.0", "def soft_lookup(")[:2]
    exec(re.sub(r"print.*", "", stored), names)  # the chapter's own lines
    exec(function, names)
    weights, found = names["soft_lookup"](query, sharpness)
    page = engine.evaluate("([q, k]) => vitedu.softLookup(q, k)", [query, sharpness])
    torch.testing.assert_close(torch.tensor(page["weights"]), weights, atol=1e-5, rtol=1e-5)
    assert page["found"] == pytest.approx(found.item(), abs=1e-4)


@pytest.mark.parametrize("alpha", [0.0, 0.2, 20.0])
def test_positional_head_is_that_of_figure_4_10(engine, alpha):
    rows, columns = torch.meshgrid(torch.arange(11.0), torch.arange(11.0), indexing="ij")
    delta = torch.stack([rows - 5, columns - 5], dim=-1)
    weights = (-alpha * (delta - torch.tensor([-1.0, 1.0])).square().sum(dim=-1)).flatten().softmax(dim=0)
    page = engine.evaluate("alpha => vitedu.positionHead(alpha, [-1, 1])", alpha)
    torch.testing.assert_close(torch.tensor(page), weights, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("schedule", ["cosine", "steps", "constant"])
def test_schedule_is_the_modules(engine, schedule):
    steps = [0, 5, 99, 100, 101, 555, 556, 833, 834, 999]
    page = engine.evaluate(
        "([steps, schedule]) => steps.map(s => vitedu.learningRate(s, 1000, 100, 1, schedule))", [steps, schedule]
    )
    assert page == pytest.approx([learning_rate(s, 1000, 100, 1.0, schedule) for s in steps], abs=1e-9)


def test_gains_of_the_ablations_are_chapter_nines(engine):
    rows = {row["name"]: row for row in json.loads((RESULTS / "ablations.json").read_text(encoding="utf-8"))["rows"]}
    (source,) = (cell for cell in code_of("09", "def gain("))
    names = {"torch": torch, "runs": rows}
    exec(source[source.index("def gain(") :].split("\n\n")[0], names)
    found = engine.evaluate(
        """() => { const base = vitedu.ablations.find(row => row.name === '+ mirror images');
        return vitedu.ablations.map(row => [row.name, ...vitedu.gain(row, base)]) }"""
    )
    assert len(found) == len(rows)
    for name, mean, std in found:
        assert (mean, std) == pytest.approx(names["gain"](name, "+ mirror images"), abs=2e-3)
