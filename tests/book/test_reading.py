"""What a reader does on a page: predicts, looks words up, searches, keeps a place, reads on a phone and on paper."""

import gzip
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.book.browsing import OPEN_FOLDS, PHONE, new_context

ROOT = Path(__file__).resolve().parents[2]
CHAPTER = "chapters/05_patch_partitioning"
NUMBER = "div.predict[data-kind='number']"
COVERED = "[...document.querySelectorAll('[hidden=until-found]')].length"
FIRST_VISIT = 600_000  # bytes, compressed, without formulas

Open = Callable[..., Page]


@contextmanager
def opened(browser: Browser, address: str, **settings) -> Iterator[Page]:
    context = new_context(browser, **settings)
    page = context.new_page()
    page.route("**/mathjax/**", lambda route: route.abort())  # none of these tests looks at a formula
    page.goto(address)
    yield page
    context.close()


@pytest.fixture
def page(browser, served) -> Iterator[Page]:
    with opened(browser, f"{served}/{CHAPTER}.html") as page:
        yield page


@pytest.fixture(scope="module")
def untouched(browser, served) -> Iterator[Page]:
    """For tests that leave nothing behind."""
    with opened(browser, f"{served}/{CHAPTER}.html") as page:
        yield page


# --- predict, then run ---


def answer_of(page: Page, box: str = NUMBER):
    cell = page.locator(box).first.get_attribute("data-cells").split()[0]
    return page.locator(f"#{cell} > .cell_output")


def is_shown(output) -> bool:
    return output.evaluate("part => part.checkVisibility({contentVisibilityAuto: true}) && !part.hidden")


def predict(page: Page, guess: str, box: str = NUMBER) -> None:
    page.locator(f"{box} input").first.fill(guess)
    page.keyboard.press("Enter")


def test_answer_is_covered_until_the_reader_commits_and_then_stands_beside_the_guess(page):
    before = page.evaluate(COVERED)
    assert not is_shown(answer_of(page))
    predict(page, "8")
    assert is_shown(answer_of(page))
    assert page.evaluate(COVERED) < before
    assert "8" in page.locator(f"{NUMBER} .predict-mine").first.inner_text()
    said = answer_of(page).locator("xpath=preceding-sibling::p[contains(@class, 'predict-beside')]")
    assert "You said 8" in said.inner_text().replace("“", "").replace("”", "").replace('"', "")
    page.reload()
    assert is_shown(answer_of(page)), "what was committed to stays"
    page.locator(NUMBER).first.get_by_role("button", name="Predict anew").click()
    assert not is_shown(answer_of(page))


def test_choice_is_made_by_keyboard(page):
    box = "div.predict[data-kind='choice']"
    assert not is_shown(answer_of(page, box))
    page.locator(f"{box} input").first.focus()
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    assert is_shown(answer_of(page, box))
    assert page.evaluate("document.activeElement.className") == "predict-mine"


def test_nothing_is_shown_for_an_empty_guess(page):
    page.locator("div.predict[data-kind='text'] textarea").first.fill("  ")
    page.locator("div.predict[data-kind='text'] button[type=submit]").first.click()
    assert not is_shown(answer_of(page, "div.predict[data-kind='text']"))


def test_one_switch_turns_all_predictions_off_and_on_again(page):
    page.get_by_role("button", name="Stop asking").first.click()
    assert page.evaluate(COVERED) == 0
    page.reload()
    assert page.evaluate(COVERED) == 0
    page.get_by_role("button", name="ask me again").first.click()
    assert page.evaluate(COVERED) > 0


def test_paper_hides_nothing_and_the_page_is_covered_again_behind_it(page):
    before = page.evaluate(COVERED)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(COVERED) == 0
    assert page.locator("article details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(COVERED) == before
    assert page.locator("article details:not([open])").count() > 0


def test_without_scripts_every_answer_is_open_and_no_box_asks(browser, served):
    with opened(browser, f"{served}/{CHAPTER}.html", java_script_enabled=False) as page:
        assert page.locator("[hidden='until-found']").count() == 0
        assert not page.locator("div.predict").first.is_visible()
        assert page.locator(".cell_output").first.is_visible()


def test_from_disk_a_guess_is_kept(browser, site):
    with opened(browser, (site / f"{CHAPTER}.html").as_uri(), offline=True) as page:
        predict(page, "6")
        page.reload()
        assert is_shown(answer_of(page))


def test_a_browser_that_keeps_nothing_covers_and_shows_all_the_same(browser, served):
    with opened(browser, "about:blank") as page:
        page.add_init_script("Storage.prototype.setItem = () => { throw new Error('refused') }")
        page.goto(f"{served}/{CHAPTER}.html")
        predict(page, "6")
        assert is_shown(answer_of(page))


@pytest.mark.parametrize(
    ("typed", "number"),
    [
        ("6", 6),
        ("1/64", 1 / 64),
        ("3,000", 3000),
        ("12 %", 12),
        ("about 8", 8),
        ("−2", -2),
        ("10^6", 1e6),
        ("3×10^6", 3e6),
        ("2 million", 2e6),
    ],
)
def test_numbers_are_read_as_people_write_them(untouched, typed, number):
    assert untouched.evaluate("text => vitedu.predictions.readNumber(text)", typed) == pytest.approx(number)


@pytest.mark.parametrize(
    ("data", "guess", "verdict", "words"),
    [
        ({"answer": "6", "exact": "True"}, "6", "right", "Exactly"),
        ({"answer": "6", "exact": "True"}, "8", "far", "Off by 2"),
        ({"answer": "8.6"}, "8.1", "right", "Within a tenth"),
        ({"answer": "8.6"}, "5", "near", "Too small by a factor of 1.7"),
        ({"answer": "8.6"}, "64", "far", "Too large by a factor of 7.4"),
        ({"answer": "[3, 8]"}, "4", "right", "That is it"),
        ({"answer": "[35, 55]", "unit": "%"}, "58", "near", "3 points off"),
        ({"answer": "0", "exact": "True"}, "26", "far", "Off by 26"),
        ({"answer": "6"}, "many", "", ""),
    ],
)
def test_page_says_how_close_a_number_was(untouched, data, guess, verdict, words):
    box = {"dataset": {"kind": "number", **data}}
    found, said = untouched.evaluate("([box, guess]) => vitedu.predictions.closeness(box, guess)", [box, guess])
    assert found == verdict
    assert words in said


# --- words and papers ---


def test_term_says_its_meaning_at_a_pointer_and_its_korean_only_on_request(page):
    page.locator("article a.glossary-term").first.hover()
    popup = page.get_by_role("dialog")
    expect(popup).to_be_visible()
    korean = popup.locator("[lang=ko]")
    assert len(popup.locator("p").nth(1).inner_text()) > 20
    assert not korean.is_visible()
    popup.locator("summary").click()
    assert korean.is_visible()


@pytest.mark.parametrize("kind", ["glossary-term", "citation"])
def test_popup_opens_and_closes_by_keyboard_and_hands_the_focus_back(page, kind):
    link = page.locator(f"article a.{kind}").first
    link.focus()
    page.keyboard.press("Enter")
    popup = page.get_by_role("dialog")
    expect(popup).to_be_focused()
    assert page.url.endswith(f"{CHAPTER}.html")
    page.keyboard.press("Tab")
    assert popup.evaluate("box => box.contains(document.activeElement)")
    page.keyboard.press("Escape")
    expect(popup).to_be_hidden()
    expect(link).to_be_focused()


def test_popup_opens_at_a_tap_and_fits_a_phone(browser, served):
    with opened(browser, f"{served}/{CHAPTER}.html", has_touch=True) as page:
        page.set_viewport_size(PHONE)
        page.locator("article a.glossary-term").last.tap()
        box = page.get_by_role("dialog").bounding_box()
        assert page.url.endswith(f"{CHAPTER}.html")
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= PHONE["width"]
        page.locator("article h2").first.tap()
        expect(page.get_by_role("dialog")).to_be_hidden()


def test_paper_says_title_and_authors_and_leads_to_its_entry_and_the_entry_back(page):
    page.locator("article a.citation[href$='2010.11929']").first.focus()
    page.keyboard.press("Enter")
    popup = page.get_by_role("dialog")
    assert "An Image is Worth 16x16 Words" in popup.inner_text()
    assert "Alexey Dosovitskiy" in popup.inner_text()
    popup.get_by_role("link", name="In the bibliography").click()
    entry = page.locator("div.citation:target")
    assert "Dosovitskiy et al., 2020" in entry.inner_text()
    entry.get_by_role("link", name="chapter 5").click()
    assert page.locator(":target").get_attribute("href").endswith("2010.11929")


# --- search ---

QUERIES = {
    "hidden dimension": "width",
    "class token": "class token",
    "patch size": "patch",
    "unpatchify": "cut",
    "why divide by": "Why divide by",
    "raster order": "raster order",
    "어텐션": "attention",
}


@pytest.fixture(scope="module", params=["served", "disk"])
def searching(request, browser, served, site) -> Iterator[Page]:
    start = f"{served}/" if request.param == "served" else (site / "x").as_uri()[:-1]
    with opened(browser, f"{start}search.html?q=token", offline=request.param == "disk") as page:
        expect(page.locator("#search-results li").first).to_be_visible()
        yield page


@pytest.mark.parametrize(("query", "title"), QUERIES.items())
def test_search_leads_to_the_section_about_it(searching, query, title):
    first = searching.evaluate("query => vitedu.search(query)[0].section", query)
    assert title.lower() in first["heading"].lower()
    assert first["anchor"].startswith("#")


def test_search_shows_the_sentence_and_its_links_resolve(searching):
    rows = searching.locator("#search-results li")
    assert rows.count() > 10
    assert rows.locator("mark").count() > 10
    assert not any("Contents" in text for text in rows.locator("p").all_inner_texts())
    ids = searching.evaluate("""async () => {
        const found = vitedu.search('attention').map(({section}) => section);
        return found.map(({address, anchor}) => [address, anchor]);
    }""")
    assert all(address.endswith(".html") for address, _ in ids)


# --- where one is, and what one has done ---


def test_reader_sees_the_place_on_the_path_and_walks_on_by_it(page):
    strip = page.get_by_role("navigation", name="The path through the book")
    assert strip.locator("li").count() == 16
    assert strip.locator("[aria-current]").inner_text().startswith("5")
    strip.get_by_role("link", name="Chapter 6").click()
    page.wait_for_url("**/06_linear_embedding.html")


def test_ticks_and_predictions_are_counted_per_chapter_and_can_be_forgotten(page, served):
    predict(page, "6")
    page.get_by_label("I have solved 5.1").check()
    assert "So far 1 of" in page.locator("nav.where p").inner_text()
    page.goto(f"{served}/book/intro.html")
    square = page.locator("ol.path li").nth(4)
    assert "2 of" in square.inner_text()
    page.goto(f"{served}/book/how_to_use.html")
    assert "Chapter 5: 1 of" in page.locator(".reader-settings").inner_text()
    page.get_by_role("button", name="Forget all").click()
    page.goto(f"{served}/{CHAPTER}.html")
    assert not page.get_by_label("I have solved 5.1").is_checked()
    assert not is_shown(answer_of(page))


def test_arrow_keys_turn_the_page_but_not_while_one_types(page):
    page.locator(f"{NUMBER} input").first.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(200)
    assert page.url.endswith(f"{CHAPTER}.html")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**/06_linear_embedding.html")
    page.keyboard.press("ArrowLeft")
    page.wait_for_url(f"**/{CHAPTER}.html")


# --- the first page ---


@pytest.mark.parametrize("size", [{"width": 1366, "height": 768}, PHONE], ids=["laptop", "phone"])
def test_first_screen_says_where_to_begin_and_shows_a_result(browser, served, size):
    with opened(browser, f"{served}/book/intro.html") as page:
        page.set_viewport_size(size)
        for name in ("Start reading", "Open in Colab"):
            expect(page.get_by_role("link", name=name)).to_be_in_viewport(ratio=1)
        expect(page.locator("[data-vitedu] img")).to_be_in_viewport(ratio=0.3 if size is not PHONE else 0)
        assert not page.locator(".logo__title").is_visible(), "the title stands once"
        assert page.locator(".bd-links").get_by_text("Vision Transformers from the ground up").count() == 0
        out = """part => { const inner = part.getBoundingClientRect(),
            outer = part.closest('li').getBoundingClientRect();
            return inner.right > outer.right || inner.bottom > outer.bottom }"""
        assert not page.evaluate(f"[...document.querySelectorAll('ol.path li > *')].some({out})"), "words are cut"
        assert page.locator("ol.path a").count() >= 11


# --- a phone, and paper ---


def test_phone_shows_where_a_box_goes_on_and_names_stay_whole(browser, served):
    with opened(browser, f"{served}/book/notation.html") as page:
        page.set_viewport_size(PHONE)
        box = page.locator(".more-to-the-right").first.element_handle()
        assert "linear-gradient" in box.evaluate("part => getComputedStyle(part).maskImage")
        box.evaluate("part => { part.scrollLeft = part.scrollWidth }")
        page.wait_for_function("part => !part.classList.contains('more-to-the-right')", arg=box)
        broken = """[...document.querySelectorAll('td code')].filter(part => part.getClientRects().length > 1).length"""
        assert page.evaluate(broken) == 0


def test_misconceptions_are_cards_on_a_phone_and_a_table_for_those_who_listen(browser, served):
    with opened(browser, f"{served}/book/misconceptions.html") as page:
        page.set_viewport_size(PHONE)
        row = page.locator("table.often-said tbody tr").first
        tops = [cell.bounding_box() for cell in row.locator("td").all()]
        assert all(below["y"] >= above["y"] + above["height"] - 1 for above, below in pairwise(tops))
        assert all(cell["x"] + cell["width"] <= PHONE["width"] for cell in tops)
        assert page.get_by_role("row").count() > 30
        assert page.get_by_role("columnheader").count() > 0


def test_captions_have_the_weight_of_text_and_begin_where_it_begins(untouched):
    caption = untouched.locator("figcaption .caption-text").first
    assert caption.evaluate("part => getComputedStyle(part).fontWeight") == "400"
    text = untouched.locator("article section > p").first.bounding_box()
    assert abs(untouched.locator("figcaption").first.bounding_box()["x"] - text["x"]) < 2


def test_drawing_has_the_ground_of_the_page_whatever_the_system_prefers(browser, served):
    with opened(browser, f"{served}/chapters/02_attention.html") as page:
        drawing = page.locator("figure img[src$='.svg']").first
        drawing.scroll_into_view_if_needed()
        page.wait_for_function("drawing => drawing.complete && drawing.naturalWidth", arg=drawing.element_handle())

        def ground() -> int:
            with Image.open(io.BytesIO(drawing.screenshot())) as picture:
                return sum(picture.convert("RGB").getpixel((12, 60)))

        light = ground()
        page.locator(".bd-header-article .theme-switch-button").click()
        assert light > 700
        assert ground() < 200


def test_formula_has_the_size_of_the_text_beside_it(browser, served):
    context = new_context(browser)
    page = context.new_page()
    page.goto(f"{served}/{CHAPTER}.html")
    page.wait_for_function("window.MathJax?.startup?.promise?.then(() => true)")
    ratio = page.locator("article p mjx-container").first.evaluate(
        """part => parseFloat(getComputedStyle(part).fontSize)
               / parseFloat(getComputedStyle(part.parentElement).fontSize)"""
    )
    context.close()
    assert 1 <= ratio < 1.15


# --- weight, and addresses that lead nowhere ---


def test_first_visit_is_light(browser, served):
    """As a server sends it, compressed; what is compressed already stays as it is. Pictures further down come later."""
    with opened(browser, "about:blank") as page:
        bodies: dict[str, bytes] = {}
        page.on("response", lambda response: bodies.update({response.url: response}))
        page.goto(f"{served}/{CHAPTER}.html")
        page.wait_for_load_state("networkidle")
        sizes = {url: len(gzip.compress(response.body())) for url, response in [*bodies.items()] if response.ok}
    assert sum(sizes.values()) < FIRST_VISIT, json.dumps(sizes, indent=1)


def test_lost_page_leads_back_and_guesses_what_was_looked_for(browser, site):
    with opened(browser, (site / "404.html").as_uri() + "#x", offline=True) as page:
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.reload()
        assert len(requests) == 1, "it stands alone: the address at which it is shown may have any depth"
        assert page.get_by_role("link", name="the first page").get_attribute("href").endswith("/book/intro.html")
        assert page.evaluate(OPEN_FOLDS) is None
