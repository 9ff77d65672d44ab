"""`python -m vitedu.share`: one file in which the model of a run answers as PyTorch does, opened with no network."""

import base64
import html
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from playwright.sync_api import Page, expect

from tests.book.browsing import (
    AXE,
    DESK,
    GRAVE,
    PHONE,
    STICKING_OUT,
    Look,
    listen,
    new_context,
)
from tests.use.conftest import CLASSES, draw
from vitedu.capture import capture_attention
from vitedu.data import normalise
from vitedu.data.picture import decode_picture
from vitedu.inspection import rollout
from vitedu.use import classifier
from vitedu.use.packing import pack
from vitedu.use.page import BEFORE, FOLDERS, LAST, STYLES, in_script
from vitedu.use.share import main, some_of_each

ROOT = Path(__file__).resolve().parents[2]
KINDS = {
    "vit": (),
    "mean pool, sines": ("--pool", "mean", "--positions", "sincos2d", "--depth", "2"),
    "rows and columns": ("--positions", "learned2d", "--representation-size", "8"),
    "hybrid": ("--model", "hybrid"),
}
RUN_AXE = """() => axe.run(document, {resultTypes: ['violations'], preload: false}).then(({violations}) => violations
    .flatMap(rule => rule.nodes.map(node => [rule.impact, rule.id, node.target.flat().join(' '), node.html])))"""
FITTED = """async ([text, size, channels]) => {
    const bitmap = await createImageBitmap(new Blob([vitedu.bytesOf(text)])), {width, height} = bitmap;
    const context = Object.assign(document.createElement('canvas'), {width, height}).getContext('2d');
    context.drawImage(bitmap, 0, 0);
    const {data} = context.getImageData(0, 0, width, height);
    return Array.from(vitedu.fitted(data, [width, height], size, channels), share => Math.round(255 * share));
}"""
DROP = """text => { const files = new DataTransfer();
    files.items.add(new File([vitedu.bytesOf(text)], 'own.png', {type: 'image/png'}));
    document.body.dispatchEvent(new DragEvent('drop', {dataTransfer: files, bubbles: true, cancelable: true})) }"""
RUN = """pixels => { const {scores, rollout} = vitedu.model('shared').run(pixels);
    return {scores, rollout: Array.from(rollout)} }"""


def written(run: Path, folder: Path, *options: str) -> Path:
    out = folder / "my_vit.html"
    assert main([str(run), "--out", str(out), *options]) == 0
    return out


@pytest.fixture(scope="module")
def tab(browser) -> Iterator[Page]:
    """A tab without a network, which the tests use one after the other."""
    context = new_context(browser, offline=True)
    yield context.new_page()
    context.close()


def opened(tab: Page, file: Path, ready: str = ".vp[data-difference]") -> Page:
    """The page from disk, once it has compared itself with PyTorch."""
    tab.goto(file.as_uri())
    tab.wait_for_selector(ready)
    return tab


@pytest.fixture(scope="module")
def file(run, tmp_path_factory) -> Path:
    return written(run, tmp_path_factory.mktemp("page"))


@pytest.fixture
def page(tab, file) -> Page:
    return tab if tab.url == file.as_uri() else opened(tab, file)


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_page_answers_as_pytorch_does_and_asks_for_nothing(tab, trained, tmp_path, kind, int8):
    """Scores and rollout of other pictures than those that came with it, computed here with the weights as packed."""
    run, asked, look = trained(*KINDS[kind]), [], Look()
    listen(tab, look)
    tab.on("request", lambda request: asked.append(request.url))
    file = written(run, tmp_path, *["--int8"] * int8)
    page = opened(tab, file)
    assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()]
    assert (look.elsewhere, look.failed, look.complaints) == ([], [], [])
    assert 0 < float(page.locator(".vp").get_attribute("data-difference")) < 1e-4
    clf = classifier(run)
    model = pack(clf.model, int8).model
    images = torch.randint(256, (3, *clf.shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), capture_attention(model) as maps:
        scores = model(normalise(images, clf.mean, clf.std))
    expected = rollout([layer.clone() for layer in maps])
    for i, image in enumerate(images):
        found = page.evaluate(RUN, (image.double() / 255).flatten().tolist())
        torch.testing.assert_close(torch.tensor(found["scores"]), scores[i], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(torch.tensor(found["rollout"]), expected[i].flatten(), atol=1e-4, rtol=1e-4)


def test_a_page_that_disagrees_says_so(tab, run, tmp_path):
    """The same page with one weight changed by hand."""
    file = written(run, tmp_path)
    text = file.read_text(encoding="utf-8")
    slip = text.replace(
        "vitedu.start(document", 'vitedu.model("shared").tensors["head.bias"].data[0] += 1;\nvitedu.start(document'
    )
    assert slip != text
    file.write_text(slip, encoding="utf-8")
    page = opened(tab, file)
    assert float(page.locator(".vp").get_attribute("data-difference")) > 1e-3
    expect(page.get_by_text("do not trust it here")).to_be_visible()


@pytest.mark.parametrize(
    ("size", "target"),
    [
        ((40, 30), (16, 16)),
        ((9, 7), (16, 16)),
        ((33, 90), (16, 24)),
        ((16, 16), (16, 16)),
        ((16, 50), (16, 16)),
        ((12, 40), (16, 16)),
        ((20, 24), (16, 16)),
        ((501, 333), (28, 20)),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_is_resized_and_cropped_to_the_byte_as_for_training(page, tmp_path, size, target, channels):
    draw((120, 200, 30), 5, size).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    expected, _ = decode_picture(data, target[::-1], channels)
    found = page.evaluate(FITTED, [base64.b64encode(data).decode(), list(target), channels])
    np.testing.assert_array_equal(np.array(found).reshape(expected.shape), expected)


def test_a_picture_of_ones_own_is_classified_as_predict_does(page, run, tmp_path):
    """Chosen, and dropped; and what is no picture."""
    chooser, says = page.get_by_label("A picture of your own"), page.locator(".vp-says")
    for name, colour in CLASSES.items():
        file = tmp_path / f"{name}.png"
        draw(colour, 77, (50, 31)).save(file)
        chooser.set_input_files(file)
        (((best, share),),) = classifier(run)(file, top=1)
        assert best == name
        expect(says).to_have_text(f"It says {name} ({page.evaluate('vitedu.percent', share)}).")
    (tmp_path / "own.txt").write_text("no picture")
    chooser.set_input_files(tmp_path / "own.txt")
    expect(says).to_contain_text("own.txt cannot be read as a picture")
    page.evaluate(DROP, base64.b64encode((tmp_path / "blue sky.png").read_bytes()).decode())
    expect(says).to_contain_text("It says blue sky")


def test_patches_heads_and_rollout_answer_to_keys_and_pointer(page):
    picture, title = page.get_by_role("application"), page.locator(".vp-main .vp-title")
    expect(title).to_have_text("Where the class token looks")
    picture.focus()
    for key, place in {
        "ArrowDown": "row 0, column 0",
        "ArrowRight": "row 0, column 1",
        "ArrowUp": "row 0, column 1",
    }.items():
        page.keyboard.press(key)
        expect(title).to_have_text(f"Where the patch in {place} looks")
    box = picture.bounding_box()
    page.mouse.click(box["x"] + 0.9 * box["width"], box["y"] + 0.6 * box["height"])
    expect(title).to_have_text("Where the patch in row 2, column 3 looks")
    pressed = page.locator(".vp-maps [aria-pressed=true]")
    expect(pressed).to_have_attribute("aria-label", "rollout, on the picture")
    page.get_by_role("button", name="block 0, head 1, on the picture").click()
    expect(pressed).to_have_attribute("aria-label", "block 0, head 1, on the picture")
    page.get_by_role("button", name="ask the whole model").click()
    expect(title).to_have_text("Where the class token looks")
    page.get_by_role("button", name="validation picture 2: red brick").click()
    expect(page.locator(".vp-says")).to_contain_text("It is indeed red brick.")


def test_nothing_shuts_readers_out(tab, file):
    """Light, dark, and on a phone."""
    page = opened(tab, file)
    page.evaluate(AXE)
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        assert [found for found in page.evaluate(RUN_AXE) if found[0] in GRAVE] == []
    page.set_viewport_size(PHONE)
    assert page.evaluate(STICKING_OUT.replace(".bd-main *", "body *")) == []
    page.set_viewport_size(DESK)


def test_shipped_weights_make_a_page_without_pictures(tab, tmp_path):
    assert main(["shapes-vit", "--out", str(tmp_path / "a.html")]) == 0
    page = opened(tab, tmp_path / "a.html", ".vp[data-live]")
    expect(page.locator(".vp-album")).to_have_count(0)


def test_whatever_a_class_is_called_it_is_text(tab, tmp_path, trained):
    """A name that would end the script, were it written as it is."""
    settings = json.loads((trained() / "run.json").read_text())
    settings["data"]["about"]["class_names"] = odd = ["</script><b>bold", "plain & <i>"]
    shutil.copytree(trained(), tmp_path / "run")
    (tmp_path / "run/run.json").write_text(json.dumps(settings))
    file = written(tmp_path / "run", tmp_path, "--pictures", "0")
    assert html.escape(odd[0]) in file.read_text(encoding="utf-8")
    look = Look()
    listen(tab, look)
    page = opened(tab, file, ".vp[data-live]")
    assert set(page.locator(".vp-bars b").all_inner_texts()) == set(odd)
    assert look.complaints == []


# --- what the command says ---


def test_size_and_cost_of_rounding_are_said(run, tmp_path, capsys):
    sizes = {}
    for option in ("", "--int8"):
        file = written(run, tmp_path, *[option] * bool(option))
        said, sizes[option] = capsys.readouterr().out, file.stat().st_size
        assert f"my_vit.html: {sizes[option] / 1e6:.2f} MB" in said
        kind = "8 bits a weight" if option else "half precision"
        assert re.search(
            rf"In {kind}, \d+\.\d\d % of 6 validation pictures are right, \d+\.\d\d % before; no prob", said
        )
    assert sizes["--int8"] < sizes[""]


@pytest.mark.parametrize(
    ("source", "options", "says"),
    [
        ("digits-vit", ["--int8"], "--int8 measures what it costs on validation pictures, which digits-vit has not"),
        ("{resnet}", [], "a page cannot run a ResNet yet"),
        ("{run}", ["--pictures", "-1"], "--pictures is -1"),
        ("{tmp}", [], "no run.json in"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_status_2(trained, run, tmp_path, capsys, source, options, says):
    resnet = trained("--model", "resnet")
    capsys.readouterr()
    named = source.format(resnet=resnet, run=run, tmp=tmp_path)
    assert main([named, "--out", str(tmp_path / "a.html"), *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert says in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "a.html").exists()


def test_pictures_come_from_each_class_in_turn():
    labels = torch.tensor([2, 2, 2, 0, 1, 0, 1])
    assert labels[some_of_each(labels, 5)].tolist() == [0, 1, 2, 0, 1]
    assert some_of_each(labels, 5).tolist()[:3] == [3, 4, 0]
    assert sorted(some_of_each(labels, 99).tolist()) == list(range(7))


def test_in_script_is_json_without_a_tag():
    assert "<" not in in_script({"a": "</script>"})
    assert json.loads(in_script({"a": "</script>"})) == {"a": "</script>"}


# --- where the scripts come from ---


def test_an_installed_package_brings_the_scripts_of_the_site(tmp_path):
    """A wheel has the very files that lie in book/_static/page, and page.py looks where they are."""
    sources = ["pyproject.toml", "README.md", "LICENSE", "vitedu", "book/results", "book/_static/page"]
    for name in sources:
        target = tmp_path / "source" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
        else:
            shutil.copy(ROOT / name, target)
    build = "import sys; from setuptools.build_meta import build_wheel; print(build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)],
        cwd=tmp_path / "source",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    place = FOLDERS[0].relative_to(FOLDERS[0].parents[1])
    with zipfile.ZipFile(wheel) as files:
        for name in (*BEFORE, LAST, *STYLES):
            assert files.read(f"{place.as_posix()}/{name}") == (ROOT / "book/_static/page" / name).read_bytes()


def test_the_one_source_is_named_once():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert settings["package-dir"]["vitedu.page"] == "book/_static/page"
    assert "vitedu.page" in settings["packages"]
