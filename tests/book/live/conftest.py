"""A small page with the live pieces, in the theme's own styles, and a browser without a network to open it in."""

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from book.tools.site.page import FOLDER, ROOT, STATIC, made_scripts
from tests.book.browsing import new_context

PIECES = ("work", "digit", "patches", "walk", "positions", "lookup", "alpha", "schedule", "ablations")
STYLES = {
    "pydata_sphinx_theme": ("theme", "bootstrap", "pydata-sphinx-theme"),
    "sphinx_book_theme": ("sphinx-book-theme",),
}
PAGE = """<!doctype html><html lang="en" data-theme="{theme}"><head><meta charset="utf-8"><title>Pieces</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">{styles}</head>
<body><main class="bd-main"><div class="bd-content"><div class="bd-article-container"><article class="bd-article">
<section><h1>Pieces</h1><p id="before">Before.</p>{pieces}</section></article></div></div></main>
<script src="_static/page/vitedu.js"></script></body></html>"""


def write_page(folder: Path, name: str, pieces: tuple[str, ...], theme: str = "light") -> None:
    """A page that holds these pieces, each with words for readers elsewhere."""
    sheets = [f"styles/{sheet}.css" for sheets in STYLES.values() for sheet in sheets] + ["custom.css", "page/page.css"]
    styles = "".join(f'<link rel="stylesheet" href="_static/{sheet}">' for sheet in sheets)
    divs = "".join(f'<div data-vitedu="{piece}"><p>On the page of the book.</p></div>' for piece in pieces)
    (folder / name).write_text(PAGE.format(theme=theme, styles=styles, pieces=divs), encoding="utf-8")


@pytest.fixture(scope="package")
def pages_folder(tmp_path_factory) -> Path:
    """The pieces as the built site has them, with a page of all in both colours and one of each."""
    folder = tmp_path_factory.mktemp("live")
    shutil.copytree(STATIC, folder / FOLDER)
    shutil.copy(ROOT / "book/_static/custom.css", folder / "_static")
    (folder / "_static/styles").mkdir()
    (folder / "_static/basic.css").touch()  # Sphinx makes it, and the theme asks for it
    for package, sheets in STYLES.items():
        home = Path(importlib.util.find_spec(package).origin).parent / "theme" / package / "static/styles"
        for sheet in sheets:
            shutil.copy(home / f"{sheet}.css", folder / "_static/styles")
    for name, content in made_scripts():
        path = folder / FOLDER / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8")
    write_page(folder, "empty.html", ())
    write_page(folder, "picture.html", ("work",))
    still = (folder / "picture.html").read_text(encoding="utf-8").replace('"work">', '"work" data-short>')
    still = still.replace("<p>On the page of the book.</p>", '<img alt="A still" src="_static/page/portrait.jpg">')
    (folder / "picture.html").write_text(still, encoding="utf-8")
    for theme in ("light", "dark"):
        write_page(folder, f"{theme}.html", PIECES, theme)
    return folder


@pytest.fixture(scope="module")
def engine(browser, pages_folder) -> Iterator[Page]:
    """A page from disk with every script of the pieces loaded, to call what they compute."""
    context = new_context(browser, offline=True)
    page = context.new_page()
    page.goto((pages_folder / "empty.html").as_uri())
    load = "async files => { for (const file of files) await vitedu.script(file); }"
    needed = [file for files in page.evaluate("vitedu.needs") for file in files]
    page.evaluate(load, [*needed, *(name for name, _ in made_scripts())])
    yield page
    context.close()


@pytest.fixture(scope="module")
def served(pages_folder) -> Iterator[str]:
    """The address at which a server of this machine serves the pages."""
    command = [sys.executable, "-u", "-m", "http.server", "--directory", str(pages_folder), "--bind", "127.0.0.1", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        yield re.search(r"http://[\d.:]+", server.stdout.readline())[0]
        server.terminate()
