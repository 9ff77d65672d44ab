"""The rendered site, built once: no warning, nothing from another host, and every link and figure holds."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from bs4 import BeautifulSoup, Tag
from PIL import Image

from book.tools.site.address import list_every_page, site_address
from book.tools.site.cells import PROVENANCE
from book.tools.site.chapters import all_chapters
from book.tools.site.citations import read_papers
from book.tools.site.glossary import read_glossary

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))
LARGEST_SITE = 30_000_000  # bytes
LARGEST_PAGE = 1_500_000  # bytes, with its own images: a phone on a slow line still opens it

# A <link> of one of these kinds points somewhere and loads nothing.
POINTING = {"canonical", "next", "prev", "index", "search", "author", "license", "help"}
OTHER_HOST = re.compile(r"""(?:https?:)?//(?=[\w-]+\.)[^\s"'`)]+""")
CSS_URL = re.compile(r"""(?:url\(|@import)\s*["']?\s*((?:https?:)?//[^)"']+)""")

CONTENTS = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
REPOSITORY = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["repository"]["url"]
COLAB = REPOSITORY.replace("github.com", "colab.research.google.com/github")
LISTED = [CONTENTS["root"], *(chapter["file"] for part in CONTENTS["parts"] for chapter in part["chapters"])]

every_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
every_page = pytest.mark.parametrize("name", LISTED)


def chapter_page(site: Path, pages: dict[Path, BeautifulSoup], notebook: Path) -> BeautifulSoup:
    return pages[site / "chapters" / f"{notebook.stem}.html"]


def markdown_of(notebook: Path) -> str:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def loaded_by(page: BeautifulSoup) -> Iterator[str]:
    """Every address that a browser fetches by itself when it opens the page."""
    for tag in page.find_all(src=True):
        yield tag["src"]
    for tag in page.find_all(srcset=True):
        yield from (candidate.split()[0] for candidate in tag["srcset"].split(","))
    for tag in page.find_all("link", href=True):
        if not POINTING & set(tag.get("rel", [])):
            yield tag["href"]
    for tag in page.find_all("object", data=True):
        yield tag["data"]
    for tag in page.find_all("video", poster=True):
        yield tag["poster"]


def is_local(link: str) -> bool:
    parts = urlsplit(link)
    return not parts.scheme and not parts.netloc


def target(page: Path, link: str) -> Path:
    """The file that a local link of a page points to; the page itself for a bare fragment."""
    path = unquote(urlsplit(link).path)
    return (page.parent / path).resolve() if path else page.resolve()


def test_book_builds_without_a_warning(build):
    _, result, _ = build
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    assert "WARNING" not in result.stderr


def test_building_leaves_the_sources_alone(build):
    assert build[2], "a file in book/ or chapters/ changed while the book was built"


def test_no_page_loads_anything_from_another_host(pages):
    """Scripts, styles, fonts, images, frames: all come from the site, also when it is opened from disk."""
    found = {(path.name, link) for path, page in pages.items() for link in loaded_by(page) if not is_local(link)}
    assert not {(name, link) for name, link in found if urlsplit(link).scheme != "data"}


def test_no_inline_script_or_style_names_another_host(pages):
    found = set()
    for path, page in pages.items():
        scripts = [tag.text for tag in page.find_all("script") if tag.get("type") != "application/json"]  # mere data
        found |= {f"{path.name}: {match}" for script in scripts for match in OTHER_HOST.findall(script)}
        styles = [tag.text for tag in page.find_all("style")] + [tag["style"] for tag in page.find_all(style=True)]
        found |= {f"{path.name}: {match}" for style in styles for match in CSS_URL.findall(style)}
    assert not found


def test_no_stylesheet_loads_anything_from_another_host(site):
    found = {
        f"{path.relative_to(site)}: {match}"
        for path in site.rglob("*.css")
        for match in CSS_URL.findall(path.read_text(encoding="utf-8"))
    }
    assert not found


def test_everything_a_page_loads_is_there(pages):
    missing = {
        f"{path.name}: {link}"
        for path, page in pages.items()
        for link in loaded_by(page)
        if is_local(link) and not target(path, link).is_file()
    }
    assert not missing


def test_every_internal_link_and_fragment_resolves(pages):
    anchors = {path.resolve(): {tag["id"] for tag in page.find_all(id=True)} for path, page in pages.items()}
    broken = set()
    for path, page in pages.items():
        for link in (tag["href"] for tag in page.find_all("a", href=True) if is_local(tag["href"])):
            there, fragment = target(path, link), unquote(urlsplit(link).fragment)
            if not there.is_file() or (fragment and there in anchors and fragment not in anchors[there]):
                broken.add(f"{path.name}: {link}")
    assert not broken


def test_every_image_has_alternative_text(pages):
    """Text, and not the name of a file."""
    without = set()
    for path, page in pages.items():
        for image in page.find_all("img"):
            alt = image.get("alt", "").strip()
            if not alt or re.search(r"\.(png|svg|jpe?g|gif)$|[\\/_]", alt):
                without.add(f"{path.name}: {image.get('src')} has {alt!r}")
    assert not without


def test_every_page_is_light(site, pages):
    """The page and its own images; scripts and styles are shared by all pages and stay in the browser's cache."""
    for path, page in pages.items():
        images = {target(path, image["src"]) for image in page.find_all("img", src=is_local)}
        size = path.stat().st_size + sum(image.stat().st_size for image in images)
        assert size <= LARGEST_PAGE, f"{path.relative_to(site)} has {size:,} bytes"


def test_formulas_are_set_by_the_site_itself(site, pages):
    """Every page with a formula loads the script, which has its fonts beside it."""
    with_math = {path: page for path, page in pages.items() if page.find(class_="math")}
    assert with_math
    for path, page in with_math.items():
        scripts = [target(path, tag["src"]) for tag in page.find_all("script", src=True) if "mathjax" in tag["src"]]
        assert len(scripts) == 1
        fonts = list((scripts[0].parent / "output" / "chtml" / "fonts").rglob("*.woff"))
        assert len(fonts) > 10


@every_page
def test_no_formula_is_parted_from_the_sign_that_belongs_to_it(site, pages, name):
    """What stands right behind a formula, or opens right before it, is in one box with it that does not break."""
    for formula in pages[site / f"{name}.html"].select("article span.math"):
        if not formula.find_parent(class_="nobreak") and not formula.find_parent(["h1", "h2", "h3"]):
            after, before = str(formula.next_sibling or ""), str(formula.previous_sibling or "")
            assert not re.match(r"[.,;:!?)]", after), formula.parent.text
            assert not re.search(r"[(\[]$", before), formula.parent.text


@every_chapter
def test_every_prediction_is_tied_to_a_cell_that_answers_it(site, pages, path):
    """As many answering cells as the notebook has, each with an output, and every prompt before its answer."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    tagged = [cell["id"] for cell in cells if "predict-answer" in cell["metadata"].get("tags", [])]
    page = chapter_page(site, pages, path)
    boxes = page.select("div.predict")
    named = [cell for box in boxes for cell in box["data-cells"].split()]
    assert len(named) == len(tagged) > 0
    for box in boxes:
        for cell in box["data-cells"].split():
            assert page.find(id=cell).select_one(".cell_output"), cell
            assert box in page.find(id=cell).find_all_previous("div", class_="predict")


@every_chapter
def test_lines_worth_keeping_stand_in_a_box(site, pages, path):
    written = re.findall(r"^> \*\*Worth keeping\.\*\*", markdown_of(path), re.MULTILINE)
    boxes = chapter_page(site, pages, path).select(".worth-keeping")
    assert len(boxes) == len(written) > 0
    assert all(len(box.select_one("p:not(.admonition-title)").text) > 40 for box in boxes)


def test_every_paper_of_the_bibliography_that_is_cited_says_where(site, pages):
    entries = pages[site / "book" / "bibliography.html"].select("div.citation")
    assert len(entries) == len(read_papers())
    said = {entry.select_one(".label").text.strip("[]"): entry.select_one(".cited-in") for entry in entries}
    assert len([line for line in said.values() if line]) > 60
    assert "chapter\xa02" in said["Vaswani et al., 2017"].text


def test_nothing_stays_in_the_site_that_no_page_asks_for(site):
    static = site / "_static"
    assert {path.name for path in (static / "mathjax").iterdir()} <= {"tex-chtml.js", "output", "input", "a11y", "sre"}
    assert not [*static.rglob("*.map"), *static.rglob("*.ttf"), *(static / "locales").glob("*")]
    assert sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) < LARGEST_SITE


@every_chapter
def test_chapter_can_be_downloaded_and_leads_to_its_source(site, pages, path):
    page = chapter_page(site, pages, path)
    links = [tag["href"] for tag in page.find_all("a", href=True)]
    downloads = [link for link in links if link.endswith(f"_sources/chapters/{path.name}")]
    assert downloads
    assert target(site / "chapters" / "page.html", downloads[0]).read_bytes() == path.read_bytes()
    source = f"{REPOSITORY}/blob/main/chapters/{path.name}"
    assert any(link.partition("?")[0] == source for link in links)


@every_chapter
def test_hints_and_solutions_stay_folded(site, pages, path):
    """As many as in the notebook, none open, with the code of a solution inside its fold."""
    folds: list[Tag] = chapter_page(site, pages, path).select("details:not(.hide)")  # .hide: code folded by its tag
    titles = re.findall(r"<details>\s*<summary>(.*?)</summary>", markdown_of(path))
    assert len(folds) == len(titles) > 0
    assert not [fold for fold in folds if fold.has_attr("open")]
    written = re.findall(r"<details>\s*<summary>Solution.*?</details>", markdown_of(path), re.DOTALL)
    built = [fold for fold in folds if fold.summary.text.strip().startswith("Solution")]
    assert ["```" in text for text in written] == [fold.find("pre") is not None for fold in built]


@every_chapter
def test_captions_stand_in_their_figures_and_nowhere_else(site, pages, path):
    """Each caption of the notebook is that of a figure with a picture, and in no paragraph of the text."""
    numbers = re.findall(r"^\*\*Figure (\d+\.\d+)\.\*\*", markdown_of(path), re.MULTILINE)
    page = chapter_page(site, pages, path).find("article")
    assert len(numbers) == len(page.select("div.cell_output img, figure img")) > 0
    for number in numbers:
        (figure,) = page.select(f"figure#figure-{number.replace('.', '-')}")
        assert figure.img["alt"]
        assert figure.figcaption.text.strip().startswith(f"Figure {number}. ")
    outside = [tag.text for tag in page.find_all("p") if not tag.find_parent("figcaption")]
    assert not [text for text in outside if re.match(r"Figure \d+\.\d+\.", text)]


@every_chapter
def test_figures_that_the_text_of_a_page_names_are_linked(site, pages, path):
    page = chapter_page(site, pages, path).find("article")
    own = {figure["id"] for figure in page.select("figure[id]")}
    for paragraph in page.select("section > p"):
        for number in re.findall(r"Figure\s(\d+\.\d+)", paragraph.text):
            anchor = f"figure-{number.replace('.', '-')}"
            assert anchor not in own or paragraph.find("a", href=f"#{anchor}"), paragraph.text[:100]


@every_chapter
def test_folded_code_is_named_by_what_it_holds(site, pages, path):
    """One fold for each tag, with the words of the cell's first line, which is not in the code any more."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    folded = ["".join(cell["source"]) for cell in cells if "hide-input" in cell["metadata"].get("tags", [])]
    folds = chapter_page(site, pages, path).select("details.hide")
    named = [source.partition("\n")[0].removeprefix("# @title ") for source in folded]
    assert [fold.select_one("summary p").text for fold in folds] == named
    assert "@title" not in "".join(fold.find("pre").text for fold in folds)


@every_chapter
def test_lines_of_provenance_stand_apart(site, pages, path):
    """Each in a box of its own, small; results beside it keep theirs."""
    page = chapter_page(site, pages, path)
    apart = [tag.text.strip() for tag in page.select("div.cell_output .provenance pre")]
    stored = json.loads(path.read_text(encoding="utf-8"))["cells"]
    printed = "".join("".join(output.get("text", "")) for cell in stored for output in cell.get("outputs", []))
    assert sorted(apart) == sorted(line.strip() for line in printed.splitlines() if PROVENANCE.fullmatch(line))
    assert all("\n" not in line for line in apart)


def test_pictures_keep_their_place_and_wait_for_the_reader(site, pages):
    """Width and height in the page's pixels, half of the file's own in the chapters, and of the same shape."""
    for path, page in pages.items():
        for image in page.select("article img[src*='_images/']"):
            assert image["loading"] == "lazy"
            width, height = int(image["width"]), int(image["height"])
            file = target(path, image["src"])
            if file.suffix == ".png":
                with Image.open(file) as picture:
                    density = 2 if path.parent.name == "chapters" else 1
                    assert abs(picture.width / density - width) <= 1
                    assert abs(picture.height / density - height) <= 1
            assert not image.has_attr("style")


@every_chapter
def test_each_exercise_leads_to_its_cell_in_colab(site, pages, path):
    page = chapter_page(site, pages, path).find("article")
    stored = json.loads(path.read_text(encoding="utf-8"))["cells"]
    stubs = [cell["id"] for cell in stored if "exercise" in cell["metadata"].get("tags", [])]
    start = f"{COLAB}/blob/main/chapters/{path.name}"
    links = [link["href"] for link in page.select("p.colab-exercise a")]
    assert links == [f"{start}#scrollTo={stub}" for stub in stubs]
    (button,) = page.select("p.colab-button a")
    assert button["href"] == start
    assert button.text == "Open this chapter in Colab"
    assert button.parent.find_previous_sibling("p").text.startswith("Budget")


# --- what is made while the site is built ---


def running_text(page: BeautifulSoup) -> str:
    """The text of a page without headings, code, formulas, figures and what cells print; a mark stands at each tag."""
    article = BeautifulSoup(str(page.find("article")), "html.parser")
    for tag in article.select("h1, h2, h3, pre, code, .math, figure, .cell, script, .headerlink"):
        tag.decompose()
    return article.get_text(separator="\0")


def links_to_glossary(page: BeautifulSoup) -> list[Tag]:
    return page.select("a.glossary-term[href]")


def test_every_term_of_the_glossary_is_linked_where_it_is_first_used(site, pages):
    """Where the first chapter that uses it does; a word with an everyday meaning too, in its own chapter."""
    order = [pages[site / "chapters" / f"{path.stem}.html"] for path in CHAPTERS]
    texts = [running_text(page) for page in order]
    linked = [{urlsplit(link["href"]).fragment for link in links_to_glossary(page)} for page in order]
    names = [path.stem for path in CHAPTERS]
    for entry in read_glossary():
        first = next(index for index, text in enumerate(texts) if re.search(entry.pattern, text))
        where = names.index(entry.chapter) if entry.everyday else first
        assert entry.html_id in linked[where], f"{entry.term} is not linked in {names[where]}"


def test_links_to_the_glossary_stand_in_running_text_alone(site, pages):
    for path in CHAPTERS:
        page = chapter_page(site, pages, path)
        links, said = links_to_glossary(page), json.loads(page.find(id="popup-data").string)["terms"]
        assert links
        for link in links:
            assert not link.find_parents(["h1", "h2", "h3", "pre", "code", "a", "figcaption"]), link
            words = said[urlsplit(link["href"]).fragment]
            assert words["html"], "the meaning first"
            assert re.search("[가-힣]", words["korean"]), "the Korean term apart from it"


def test_korean_words_are_marked_as_korean(site, pages):
    """A screen reader reads them in their own language."""
    page = pages[site / "book" / "glossary.html"].find("article")
    marked = [tag.text for tag in page.find_all(lang="ko")]
    assert len([text for text in marked if re.search("[가-힣]", text)]) >= 2 * len(read_glossary())


def test_index_links_every_exercise(site, pages):
    links = pages[site / "book" / "exercises.html"].select("article table a[href]")
    expected = {exercise.title for chapter in all_chapters() for exercise in chapter.exercises}
    shown = {link.text.replace("’", "'") for link in links}
    assert expected <= {title.replace("’", "'") for title in shown}
    assert len(links) == len(CHAPTERS) + sum(len(chapter.exercises) for chapter in all_chapters())


def test_table_of_run_times_has_a_row_for_every_chapter(site, pages):
    rows = pages[site / "book" / "how_tested.html"].select("#time-and-memory-of-the-chapters table tbody tr")
    assert [row.find("a").text.partition(" · ")[0] for row in rows] == [str(int(path.name[:2])) for path in CHAPTERS]
    assert all(len(row.find_all("td")) == 7 for row in rows)


def test_changelog_is_that_of_the_repository(site, pages):
    page = pages[site / "book" / "changelog.html"].find("article").text.replace("’", "'")
    entries = re.findall(r"^- (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert entries
    assert not [entry for entry in entries if entry.replace("`", "") not in re.sub(r"\s+", " ", page)]


# --- ways through the book and back to its source ---


def test_next_and_previous_follow_the_contents(site, pages):
    """From the first page, "next" visits every page once, in order, and "previous" of each is the one before."""
    for before, after in zip([None, *LISTED], [*LISTED, None], strict=True):
        for name, selector, other in ((before, "a.right-next", after), (after, "a.left-prev", before)):
            if name:
                path = site / f"{name}.html"
                found = [target(path, link["href"]) for link in pages[path].select(selector)]
                assert found == ([(site / f"{other}.html").resolve()] if other else [])


@every_page
def test_headings_skip_no_level(site, pages, name):
    """One title, and below each heading those of the next level: an outline that can be walked by keys."""
    headings = pages[site / f"{name}.html"].select("article :is(h1, h2, h3, h4, h5, h6)")
    levels = [int(tag.name[1]) for tag in headings]
    assert levels[0] == 1
    assert 1 not in levels[1:]
    jumps = [tag.text for tag, level, last in zip(headings[1:], levels[1:], levels, strict=False) if level > last + 1]
    assert not jumps


def test_each_chapter_opens_itself_in_colab_and_no_page_opens_anything_else(site, pages):
    own = {site / "chapters" / f"{path.stem}.html": f"{COLAB}/blob/main/chapters/{path.name}" for path in CHAPTERS}
    for path, page in pages.items():
        links = {link["href"].partition("#")[0] for link in page.find_all("a", href=re.compile("^https?://colab"))}
        assert links == {own[path]} if path in own else links <= set(own.values())


@every_page
def test_page_leads_to_the_place_to_edit_it_and_to_report_a_mistake(site, pages, name):
    links = [tag["href"] for tag in pages[site / f"{name}.html"].find_all("a", href=True)]
    edit = [link.removeprefix(f"{REPOSITORY}/edit/main/") for link in links if "/edit/" in link]
    assert len(edit) == 1
    assert (ROOT / edit[0]).is_file()
    assert edit[0].rpartition(".")[0] == name
    assert len([link for link in links if link.startswith(f"{REPOSITORY}/issues/new?") and name in link]) == 1


# --- for machines: search engines, and what shows a shared link ---


def test_address_of_the_site_follows_that_of_the_repository():
    assert site_address("https://github.com/Some-One/a.book") == "https://some-one.github.io/a.book/"
    assert site_address("https://github.com/Some-One/some-one.github.io") == "https://some-one.github.io/"
    with pytest.raises(ValueError, match="which Colab needs"):
        site_address("https://example.org/some/book")


def test_map_of_the_site_names_every_page(site):
    start = site_address(REPOSITORY)
    found = re.findall("<loc>(.*?)</loc>", (site / "sitemap.xml").read_text(encoding="utf-8"))
    assert sorted(found) == sorted(f"{start}{name}.html" for name in LISTED)


def test_map_of_the_site_keeps_the_pages_that_did_not_change():
    """A second build writes what changed alone."""
    links = Queue()
    links.put(("changed.html", None))
    environment = SimpleNamespace(found_docs={"changed", "unchanged"})
    builder = SimpleNamespace(get_target_uri=lambda name: f"{name}.html")
    list_every_page(SimpleNamespace(sitemap_links=links, env=environment, builder=builder), None)
    assert [links.get()[0] for _ in range(links.qsize())] == ["changed.html", "unchanged.html"]


@every_page
def test_page_tells_what_it_is(site, pages, name):
    """A description for search engines; title, words and a picture for whoever gets its link."""
    page = pages[site / f"{name}.html"]
    says = {tag.get("name") or tag.get("property"): tag["content"] for tag in page.find_all("meta", content=True)}
    start = site_address(REPOSITORY)
    assert 40 <= len(says["description"]) <= 210
    assert says["og:title"] == page.select_one("article h1").find(string=True)
    assert says["og:url"] == page.find("link", rel="canonical")["href"] == f"{start}{name}.html"
    assert says["og:image"].startswith(start)
    with Image.open(site / says["og:image"].removeprefix(start)) as card:
        assert card.size == (int(says["og:image:width"]), int(says["og:image:height"]))
