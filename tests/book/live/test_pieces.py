"""The live pieces in a browser: from disk and from a server without a network, by keyboard, on a phone, in the dark."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from book.tools.site.page import FOLDER
from tests.book.browsing import AXE, GRAVE, PHONE, STICKING_OUT, Look, listen, new_context
from tests.book.live.conftest import PIECES

LIVE = "[...document.querySelectorAll('[data-vitedu]')].every(root => 'live' in root.dataset)"
SHOW_ALL = "document.querySelectorAll('[data-vitedu]').forEach(root => root.scrollIntoView())"
RUN_AXE = """() => axe.run('.vp', {resultTypes: ['violations'], preload: false}).then(({violations}) => violations
    .flatMap(rule => rule.nodes.map(node => [rule.impact, rule.id, node.target.flat().join(' '), node.html])))"""
MOST = 1_500_000  # bytes of all pieces together, weights and all


def opened(browser, address: str, look: Look | None = None, **settings) -> Page:
    """The page of all pieces, each one built."""
    context = new_context(browser, **settings)
    page = context.new_page()
    if look:
        listen(page, look)
    page.goto(address)
    page.evaluate(SHOW_ALL)
    page.wait_for_function(LIVE)
    return page


@pytest.fixture(scope="module")
def page(browser, pages_folder) -> Iterator[Page]:
    """The page from disk, for tests each of which touches one piece."""
    page = opened(browser, (pages_folder / "light.html").as_uri(), offline=True)
    yield page
    page.context.close()


def piece(page: Page, name: str):
    return page.locator(f".vp-{name}")


def says(page: Page, name: str):
    return piece(page, name).locator(".vp-says")


# --- how they come ---


@pytest.mark.parametrize("way", ["disk", "server"])
def test_pieces_come_from_their_own_place_and_weights_at_the_first_touch(browser, pages_folder, served, way):
    look, asked = Look(), []
    address = f"{served}/light.html" if way == "server" else (pages_folder / "light.html").as_uri()
    context = new_context(browser)
    page = context.new_page()
    listen(page, look)
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.mouse.move(2, 2)
    page.evaluate(SHOW_ALL)
    page.wait_for_function(LIVE)
    assert not [url for url in asked if "/weights/" in url]
    for name, weights in {"work": "shapes-vit", "digit": "digits-vit"}.items():
        piece(page, name).locator("[tabindex]").first.focus()
        page.wait_for_selector(f".vp-{name}[data-ready]")
        assert [url for url in asked if url.endswith(f"/weights/{weights}.js")]
    assert not [url for url in asked if url.endswith("shapes-outline.js")]  # nobody has asked for it
    assert (look.elsewhere, look.failed, look.complaints) == ([], [], [])
    context.close()


def test_a_page_asks_for_nothing_until_the_reader_comes_near(browser, pages_folder):
    asked, context = [], new_context(browser)
    page = context.new_page()
    page.goto((pages_folder / "empty.html").as_uri())
    page.evaluate(
        """() => { document.querySelector('section').insertAdjacentHTML('beforeend',
        '<div style="height: 9000px"></div><div data-vitedu="walk">On the page.</div>') }"""
    )
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate("vitedu.script('vitedu.js')")  # as if it came with the page: it looks for pieces once
    page.wait_for_timeout(300)
    assert not [url for url in asked if "walk" in url]
    page.evaluate(SHOW_ALL)
    page.wait_for_function(LIVE)
    assert [url for url in asked if url.endswith("walk.js")]
    context.close()


def test_a_picture_stays_until_the_reader_asks_for_the_piece(browser, pages_folder):
    """As on the landing page: nothing is fetched but the first script, and one press makes it live, by keyboard too."""
    asked, context = [], new_context(browser)
    page = context.new_page()
    page.on("request", lambda request: asked.append(request.url.rsplit("/", 1)[1]))
    page.goto((pages_folder / "picture.html").as_uri())
    page.wait_for_timeout(200)
    expect(page.get_by_alt_text("A still")).to_be_visible()
    assert [name for name in asked if name.endswith(".js")] == ["vitedu.js"]
    page.get_by_role("button", name="Try it").press("Enter")
    page.wait_for_selector(".vp-work[data-ready]")
    expect(page.get_by_alt_text("A still")).to_have_count(0)
    assert page.evaluate("document.activeElement.closest('.vp-work') !== null")
    expect(page.locator(".vp-map")).to_have_count(6)  # in short: the last layer's heads, their mean, and rollout
    context.close()


def test_a_finger_asks_a_patch(browser, pages_folder):
    page = opened(browser, (pages_folder / "light.html").as_uri(), has_touch=True)
    picture = piece(page, "work").get_by_role("application")
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] * 0.05, box["y"] + box["height"] * 0.95)
    expect(piece(page, "work").locator(".vp-title")).to_contain_text("row 7, column 0")
    page.context.close()


def test_without_scripts_the_words_for_readers_elsewhere_stand(browser, pages_folder):
    context = new_context(browser, java_script_enabled=False)
    page = context.new_page()
    page.goto((pages_folder / "light.html").as_uri())
    assert page.get_by_text("On the page of the book.").count() == len(PIECES)
    context.close()


def test_all_pieces_together_are_light(pages_folder):
    files = [path for path in (pages_folder / FOLDER).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MOST


# --- what every piece keeps to ---


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pieces_have_no_serious_barrier(browser, pages_folder, theme):
    page = opened(browser, (pages_folder / f"{theme}.html").as_uri(), offline=True)
    page.evaluate(AXE)
    found = page.evaluate(RUN_AXE)
    assert [f"{rule}: {place}: {html[:200]}" for impact, rule, place, html in found if impact in GRAVE] == []
    page.context.close()


def test_pieces_fit_a_phone(browser, pages_folder):
    page = opened(browser, (pages_folder / "light.html").as_uri(), offline=True)
    page.set_viewport_size(PHONE)
    assert page.evaluate(STICKING_OUT) == []
    page.context.close()


def test_every_control_has_a_name_and_takes_the_focus(page):
    nameless = """() => [...document.querySelectorAll('.vp :is(button, input, [tabindex])')].filter(part => {
        part.focus();
        const name = part.getAttribute('aria-label') || part.closest('label')?.innerText || part.innerText;
        return part !== document.activeElement || !name.trim();
    }).map(part => part.outerHTML.slice(0, 100))"""
    assert page.evaluate(nameless) == []


# --- the model at work ---


def test_figure_at_rest_is_what_the_model_says(page):
    """The stored answers and maps with which a piece waits are of today; else put what the page gives into the file."""
    page.evaluate("(async () => { await vitedu.fetchModel('shapes-vit'); await vitedu.fetchModel('digits-vit') })()")
    assert page.evaluate("vitedu.rest.work") == page.evaluate("vitedu.packRest('shapes-vit')")
    stored, now = page.evaluate("[vitedu.restDigit, vitedu.packDigit()]")
    assert stored["probabilities"] == pytest.approx(
        now["probabilities"], abs=0.02
    )  # a line is drawn a little otherwise


def test_model_names_the_texture_and_its_rival_the_outline(page):
    """The lesson of the piece, by keyboard: a star with the square's texture."""
    work = piece(page, "work")
    work.get_by_role("application").focus()
    expect(says(page, "work")).to_contain_text("It says square")
    expect(says(page, "work")).to_contain_text("It has named the texture.")
    chosen = work.get_by_role(
        "radio", name="a model that learned from pictures in which each shape has its own texture"
    )
    chosen.focus()
    page.keyboard.press("ArrowRight")
    expect(says(page, "work")).to_contain_text("It says star")
    expect(says(page, "work")).to_contain_text("It has named the outline.")
    page.keyboard.press("ArrowRight")
    expect(says(page, "work")).to_contain_text("Untrained weights")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(says(page, "work")).to_contain_text("It says square")


def test_arrow_keys_choose_the_patch_that_asks_and_shift_moves_the_object(page):
    work, picture = piece(page, "work"), piece(page, "work").get_by_role("application")
    picture.focus()
    page.keyboard.press("ArrowDown")
    expect(work.locator(".vp-title")).to_contain_text("row 5, column 3")
    page.keyboard.press("ArrowLeft")
    expect(work.locator(".vp-title")).to_contain_text("row 5, column 2")
    before = picture.locator("canvas").evaluate("canvas => canvas.toDataURL()")
    page.keyboard.press("Shift+ArrowRight")
    page.wait_for_function(
        "before => document.querySelector('.vp-work .vp-picture canvas').toDataURL() !== before", arg=before
    )
    work.get_by_role("button", name="ask the class token").press("Enter")
    expect(work.locator(".vp-title")).to_have_text("Where the class token looks")


def test_pointing_asks_and_a_map_lies_over_the_picture_when_pressed(page):
    work, picture = piece(page, "work"), piece(page, "work").get_by_role("application")
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.95, box["y"] + box["height"] * 0.05)
    expect(work.locator(".vp-title")).to_contain_text("row 0, column 7")
    rollout = work.get_by_role("button", name="rollout, on the picture")
    plain = picture.locator("canvas").evaluate("canvas => canvas.toDataURL()")
    rollout.press("Enter")
    expect(rollout).to_have_attribute("aria-pressed", "true")
    assert picture.locator("canvas").evaluate("canvas => canvas.toDataURL()") != plain
    rollout.press("Enter")
    assert picture.locator("canvas").evaluate("canvas => canvas.toDataURL()") == plain


def test_without_positions_a_shuffle_changes_no_answer(page):
    work = piece(page, "work")
    work.get_by_role("application").focus()
    page.wait_for_selector(".vp-work[data-ready]")

    def shares_after(label: str, on: bool) -> list[str]:
        answered = work.get_attribute("data-ready")
        work.get_by_label(label).set_checked(on)
        page.wait_for_function("n => document.querySelector('.vp-work').dataset.ready !== n", arg=answered)
        return [cell.get_attribute("style") for cell in work.locator(".vp-answer .vp-cell i").all()]

    without = shares_after("leave the positions out", True)
    assert shares_after("shuffle the patches", True) == without
    shuffled = shares_after("leave the positions out", False)
    assert shuffled != without
    assert shares_after("shuffle the patches", False) != shuffled


def test_reader_draws_by_key_and_by_hand(page):
    work = piece(page, "work")
    work.get_by_label("draw it yourself").check()
    expect(says(page, "work")).to_contain_text("You draw")
    picture = work.get_by_role("application")
    picture.focus()
    empty = picture.locator("canvas").evaluate("canvas => canvas.toDataURL()")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    changed = "before => document.querySelector('.vp-work .vp-picture canvas').toDataURL() !== before"
    page.wait_for_function(changed, arg=empty)
    box = picture.bounding_box()
    by_key = picture.locator("canvas").evaluate("canvas => canvas.toDataURL()")
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 120, box["y"] + 90)
    page.mouse.up()
    page.wait_for_function(changed, arg=by_key)
    work.get_by_role("radio", name="ring", exact=True).check()
    expect(says(page, "work")).to_contain_text("outline is a ring")


# --- the others ---


def test_digit_is_read_while_it_is_drawn(page):
    digit = piece(page, "digit")
    paper = digit.get_by_role("application")
    paper.scroll_into_view_if_needed()
    digit.get_by_role("button", name="begin anew").press("Enter")
    box = paper.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.15)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.85, steps=6)
    page.mouse.up()
    expect(says(page, "digit")).to_contain_text("It says 1")
    paper.focus()
    page.keyboard.press("Backspace")
    for key in ["ArrowUp"] * 5 + ["Shift+ArrowDown"] * 10:
        page.keyboard.press(key)
    expect(says(page, "digit")).to_contain_text("It says 1")


def test_dial_counts_and_repeats_the_modules_error(page):
    dial = piece(page, "patches").get_by_role("slider")
    expect(piece(page, "patches").locator("tbody tr").first).to_contain_text("196")
    dial.focus()
    page.keyboard.press("ArrowLeft")
    expect(says(page, "patches")).to_contain_text("image side 224 is not divisible by patch side 15")
    page.keyboard.press("ArrowLeft")
    expect(piece(page, "patches").locator("tbody tr").first).to_contain_text("256")


def test_walk_goes_on_by_arrow_keys_and_counts_another_model(page):
    walk = piece(page, "walk")
    walk.locator(".vp-pad").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(says(page, "walk")).to_contain_text("3. tokens.")
    walk.get_by_label("K, classes").fill("10")
    expect(walk.locator("tfoot")).to_contain_text("85,806,346")
    walk.get_by_label("P, patch").fill("15")
    expect(says(page, "walk")).to_contain_text("not divisible by patch side 15")


def test_places_answer_to_keys_and_to_another_kind_of_table(page):
    places = piece(page, "positions")
    places.get_by_role("application").focus()
    page.keyboard.press("ArrowDown")
    expect(says(page, "positions")).to_contain_text("Row 4, column 3")
    before = says(page, "positions").inner_text()
    places.get_by_role("radio", name="the table that shapes-vit has learned").check()
    expect(says(page, "positions")).not_to_have_text(before)


@pytest.mark.parametrize(
    ("name", "key", "expected"),
    [
        ("lookup", "End", "17 whatever"),
        ("alpha", "End", "copies one neighbour"),
        ("schedule", "Home", "mean over the run is 0.50"),
    ],
)
def test_sliders_change_what_is_said(page, name, key, expected):
    slider = piece(page, name).get_by_role("slider").first
    before = says(page, name).inner_text()
    slider.focus()
    page.keyboard.press(key)
    expect(says(page, name)).not_to_have_text(before)
    expect(says(page, name)).to_contain_text(expected)


def test_table_is_sorted_and_searched_by_keyboard(page):
    table = piece(page, "ablations")
    heading = table.get_by_role("button", name="accuracy (%)")
    heading.press("Enter")
    expect(table.locator("th[aria-sort=descending]")).to_contain_text("accuracy")
    values = [float(text.split(" ")[0]) for text in table.locator("tbody td:nth-child(2)").all_inner_texts()]
    assert values == sorted(values, reverse=True)
    table.get_by_role("searchbox").fill("weight decay")
    expect(table.locator("tbody tr").first).to_contain_text("weight decay")
    assert all("weight decay" in name for name in table.locator("tbody th").all_inner_texts())
