"""The rendered site, built once: no warning, nothing from another host, and every link and figure holds."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import address
import pytest
import yaml
from bs4 import BeautifulSoup, Tag

ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))
LARGEST_PAGE = 1_500_000  # bytes, with its own images: a phone on a slow line still opens it
MEASURED = ("book", "chapters", "_config.yml", "_toc.yml")  # what the build reads

# A <link> of one of these kinds points somewhere and loads nothing.
POINTING = {"canonical", "next", "prev", "index", "search", "author", "license", "help"}
OTHER_HOST = re.compile(r"""(?:https?:)?//(?=[\w-]+\.)[^\s"'`)]+""")
CSS_URL = re.compile(r"""(?:url\(|@import)\s*["']?\s*((?:https?:)?//[^)"']+)""")

every_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def state_of_sources() -> dict[Path, tuple[int, int]]:
    """Size and time of change of every file that the build reads, Python's own caches aside."""
    found = {}
    for name in MEASURED:
        top = ROOT / name
        for path in [top] if top.is_file() else top.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                found[path] = (path.stat().st_size, path.stat().st_mtime_ns)
    return found


@pytest.fixture(scope="session")
def build(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess, bool]:
    """(site, what the builder said, whether the sources stayed as they were); built in a temporary folder."""
    output = tmp_path_factory.mktemp("book")
    before = state_of_sources()
    command = [str(Path(sys.executable).parent / "jupyter-book"), "build", str(ROOT), "--path-output", str(output)]
    command += ["-W", "-n", "--keep-going", "-q"]
    result = subprocess.run(command, cwd=output, capture_output=True, text=True, timeout=300, check=False)
    return output / "_build" / "html", result, state_of_sources() == before


@pytest.fixture(scope="session")
def site(build) -> Path:
    site, result, _ = build
    if result.returncode:
        pytest.fail(f"the book does not build:\n{result.stdout[-2000:]}{result.stderr[-4000:]}", pytrace=False)
    return site


@pytest.fixture(scope="session")
def pages(site) -> dict[Path, BeautifulSoup]:
    """Every page by its file; what lies in _static are the theme's templates, not pages."""
    files = [path for path in sorted(site.rglob("*.html")) if path.relative_to(site).parts[0] != "_static"]
    return {path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in files}


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


def test_every_page_of_the_contents_is_built(site):
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    files = [contents["root"], *(chapter["file"] for part in contents["parts"] for chapter in part["chapters"])]
    missing = [name for name in files if not (site / f"{name}.html").is_file()]
    assert not missing
    assert (site / "index.html").is_file()


def test_every_chapter_is_in_the_contents():
    contents = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    listed = re.findall(r"file: chapters/(\S+)", contents)
    assert listed == [path.stem for path in CHAPTERS]  # in reading order, which is that of the names


def test_no_page_loads_anything_from_another_host(pages):
    """Scripts, styles, fonts, images, frames: all come from the site, also when it is opened from disk."""
    found = {(path.name, link) for path, page in pages.items() for link in loaded_by(page) if not is_local(link)}
    assert not {(name, link) for name, link in found if urlsplit(link).scheme != "data"}


def test_no_inline_script_or_style_names_another_host(pages):
    found = set()
    for path, page in pages.items():
        found |= {f"{path.name}: {match}" for tag in page.find_all("script") for match in OTHER_HOST.findall(tag.text)}
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


@every_chapter
def test_chapter_opens_in_colab(site, pages, path):
    page = chapter_page(site, pages, path)
    links = {tag["href"] for tag in page.find_all("a", href=True) if "colab.research.google.com" in tag["href"]}
    expected = f"https://colab.research.google.com/github/{address.current()}/blob/main/chapters/{path.name}"
    assert links == {expected}


@every_chapter
def test_chapter_can_be_downloaded_and_leads_to_its_source(site, pages, path):
    page = chapter_page(site, pages, path)
    links = [tag["href"] for tag in page.find_all("a", href=True)]
    downloads = [link for link in links if link.endswith(f"_sources/chapters/{path.name}")]
    assert downloads
    assert target(site / "chapters" / "page.html", downloads[0]).read_bytes() == path.read_bytes()
    source = f"https://github.com/{address.current()}/blob/main/chapters/{path.name}"
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
def test_figures_carry_their_caption(site, pages, path):
    """Each cell of the notebook with a caption became a figure with that caption."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    captions = [cell["metadata"].get("mystnb", {}).get("figure", {}).get("caption") for cell in cells]
    figures = chapter_page(site, pages, path).select("div.cell_output figure")
    assert len([figure for figure in figures if figure.figcaption]) >= len([c for c in captions if c])
