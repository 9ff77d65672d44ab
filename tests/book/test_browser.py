"""The built site in a browser without a network: every page from disk, and what readers do to it under `make serve`."""

import base64
import io
import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import yaml
from bs4 import BeautifulSoup
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from tests.book.browsing import (
    PHONE,
    Look,
    do_without,
    listen,
    look_at,
    new_context,
    read_formulas,
    seconds_busy,
)

ROOT = Path(__file__).resolve().parents[2]
CONTENTS = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
LISTED = [CONTENTS["root"], *(chapter["file"] for part in CONTENTS["parts"] for chapter in part["chapters"])]
CHAPTER = "chapters/05_patch_partitioning"  # the page on which readers' actions are tried
SECONDS = 1.0  # until a page reacts

every_page = pytest.mark.parametrize("name", [*LISTED, "search", "genindex"])


@pytest.fixture(scope="module")
def seen(browser, site) -> Callable[[str], Look]:
    """Name of a page -> what the browser met there; each page is opened once."""
    return cache(lambda name: look_at(browser, site / f"{name}.html"))


def open_chapter(browser: Browser, served: str) -> Iterator[Page]:
    context = new_context(browser)
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=served)
    page = context.new_page()
    page.goto(f"{served}/{CHAPTER}.html")
    yield page
    context.close()


@pytest.fixture
def page(browser, served) -> Iterator[Page]:
    """The chapter on which readers' actions are tried, served, with nothing kept from earlier visits."""
    yield from open_chapter(browser, served)


@pytest.fixture(scope="module")
def untouched_page(browser, served) -> Iterator[Page]:
    """The same, for tests that leave the page as it is."""
    yield from open_chapter(browser, served)


@pytest.mark.parametrize("on_test_machine", [False, True])
def test_missing_browser_is_named_with_its_remedy_and_fails_on_a_test_machine(on_test_machine):
    with pytest.raises((pytest.skip.Exception, pytest.fail.Exception), match="apt install chromium") as raised:
        do_without(on_test_machine)
    assert isinstance(raised.value, pytest.fail.Exception) == on_test_machine


def notebook_cells(kind: str) -> list[dict]:
    cells = json.loads((ROOT / f"{CHAPTER}.ipynb").read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == kind]


# --- every page, from disk ---


@every_page
def test_page_opens_from_disk_without_a_network_and_without_an_error(seen, name):
    look = seen(name)
    assert look.elsewhere == []
    assert look.failed == []
    assert look.complaints == []


@every_page
def test_every_formula_is_set(seen, site, name):
    """As many as the page holds; MathJax puts a text in red where it does not understand one."""
    markup = BeautifulSoup((site / f"{name}.html").read_text(encoding="utf-8"), "html.parser")
    look = seen(name)
    assert look.formulas == len(markup.select(".math"))
    assert look.broken_formulas == []


@every_page
@pytest.mark.parametrize("way", ["light", "dark", "phone"])
def test_page_has_no_serious_barrier(seen, name, way):
    """By axe-core: contrast, names of controls, alternative texts, roles, and boxes that the keyboard cannot scroll."""
    assert seen(name).barriers[way] == []


@every_page
def test_all_parts_of_a_page_lie_in_landmarks_and_its_tables_have_headers(seen, name):
    """Two moderate rules of axe-core: whoever walks from landmark to landmark, or by headers, misses nothing."""
    assert seen(name).layout == []


@every_page
def test_page_does_not_scroll_sideways_on_a_phone(seen, name):
    """What is wider than 390 pixels scrolls in its own box, and nothing is cut off."""
    assert seen(name).sticking_out == []


@every_page
def test_page_reacts_within_a_second(browser, seen, site, name):
    """The best of three where the first is slow: what else the machine does may cost time, and never saves any."""
    busy = seen(name).busy
    for _ in range(2):
        if busy >= SECONDS:
            context = new_context(browser)
            busy = min(busy, seconds_busy(context, context.new_page(), (site / f"{name}.html").as_uri()))
            context.close()
    assert busy < SECONDS


def test_picture_of_the_mark_is_the_drawing(browser):
    """Cards of shared links need a picture with pixels; it is the drawing's, which the pages show."""
    picture = Image.open(ROOT / "book" / "_static" / "logo.png")
    page = browser.new_page(viewport={"width": picture.width, "height": picture.height})
    drawing = base64.b64encode((ROOT / "book" / "_static" / "logo.svg").read_bytes()).decode()
    page.set_content(f'<body style="margin: 0"><img width="100%" src="data:image/svg+xml;base64,{drawing}">')
    drawn = Image.open(io.BytesIO(page.screenshot(omit_background=True)))
    page.close()
    difference = np.asarray(picture.convert("RGBA"), float) - np.asarray(drawn.convert("RGBA"), float)
    assert abs(difference).mean() < 1  # of 255: the edges alone


# --- what readers do, under `make serve` ---


def test_search_finds_a_term_and_its_result_opens(page):
    page.keyboard.press("Control+k")
    page.keyboard.type("unpatchify")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=unpatchify")
    page.locator("#search-results li a").filter(has_text="Patch partitioning").first.click()
    page.wait_for_url(f"**/{CHAPTER}.html*")
    expect(page.locator("article .highlighted").first).to_have_text("unpatchify", ignore_case=True)


def test_colour_mode_changes_and_survives_a_reload(page):
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.locator(".bd-header-article .theme-switch-button").click()
    assert page.locator("html").get_attribute("data-theme") == "dark"
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    assert page.evaluate(ground) == dark


@pytest.mark.parametrize("title", ["Hint 1", "Solution"])
def test_fold_opens_by_mouse_and_by_keyboard(page, title):
    fold = page.locator("details:not(.hide)").filter(has=page.locator("summary", has_text=title)).first
    inside, summary = fold.locator("p").first, fold.locator("summary")
    expect(inside).to_be_hidden()
    summary.click()
    expect(inside).to_be_visible()
    summary.press("Enter")
    expect(inside).to_be_hidden()
    summary.press("Space")
    expect(inside).to_be_visible()


def test_setup_cell_is_folded_and_opens(page):
    cell = page.locator("div.cell.tag_setup")
    expect(cell.locator("pre").first).to_be_hidden()
    cell.locator("summary").first.click()
    expect(cell.locator("pre").first).to_contain_text("import torch")


def test_copy_button_puts_the_text_of_the_cell_on_the_clipboard(page):
    written = next(cell for cell in notebook_cells("code") if not cell["metadata"].get("tags"))
    shown = page.locator("div.cell:not([class*=tag_]) div.cell_input").first
    shown.hover()
    shown.locator("button.copybtn").click()
    expect(shown.locator("button.copybtn.success")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()").strip() == "".join(written["source"]).strip()


def appearance(control: Locator) -> str:
    """All that can show that a control has the focus."""
    return control.evaluate(
        """part => { const {outline, boxShadow, backgroundColor, textDecoration, opacity} = getComputedStyle(part);
            return [outline, boxShadow, backgroundColor, textDecoration, opacity].join() }"""
    )


@pytest.mark.parametrize(
    "control",
    [
        ".bd-sidebar-primary .search-button__button", ".bd-links a.reference >> nth=0", "button.primary-toggle",
        ".dropdown-launch-buttons > button", ".dropdown-source-buttons > button", ".dropdown-download-buttons > button",
        ".btn-fullscreen-button", ".bd-header-article .theme-switch-button", "a.right-next",
        "details.hide > summary >> nth=0", "details:not(.hide) > summary >> nth=0", "button.copybtn >> nth=3",
        ".bd-toc-nav a >> nth=0", "article p a.reference >> nth=0",
    ],
)  # fmt: skip
def test_control_is_reached_by_keyboard_and_shows_it(untouched_page, control):
    """It takes the focus, is not taken out of the tab order, looks different with it, and is not see-through."""
    part = untouched_page.locator(control)
    untouched_page.keyboard.press("Tab")  # from here on the browser shows the focus as to those who use keys
    untouched_page.evaluate("document.activeElement.blur()")
    before = appearance(part)
    part.focus()
    assert part.evaluate("part => part === document.activeElement && part.tabIndex >= 0")
    assert appearance(part) != before
    assert part.evaluate("part => getComputedStyle(part).opacity") == "1"


def test_first_tab_stop_leads_past_the_navigation(page):
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.url.endswith("#main-content")


def test_side_bar_opens_and_closes_on_a_phone_by_keyboard(page):
    page.set_viewport_size(PHONE)
    entry = page.locator(".bd-sidebar-primary .bd-links a").first
    expect(entry).not_to_be_in_viewport()
    page.locator("button.primary-toggle").press("Enter")
    expect(entry).to_be_in_viewport()
    page.keyboard.press("Escape")
    expect(entry).not_to_be_in_viewport()


def test_served_page_meets_no_error(browser, served):
    """As from disk, and besides with the search page at work."""
    look, context = Look(), new_context(browser)
    page = context.new_page()
    listen(page, look)
    page.goto(f"{served}/search.html?q=attention")
    page.wait_for_load_state("networkidle")  # each result fetches its page, to show where it was found
    page.locator("#search-results li a").first.click()
    page.wait_for_load_state()
    read_formulas(page)
    context.close()
    assert (look.elsewhere, look.failed, look.complaints) == ([], [], [])
