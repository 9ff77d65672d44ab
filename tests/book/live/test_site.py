"""The pieces in the built book: their scripts stand on the pages that have one and nowhere else; all are made whole."""

import json
import re

import pytest

from book.tools.site.page import FOLDER, MODELS, ROOT, made_scripts
from tests.book.live.conftest import PIECES

SCRIPT, SHEET = "page/vitedu.js", "page/page.css"


def has_piece(soup) -> bool:
    return soup.select_one("[data-vitedu]") is not None


def test_pages_with_a_piece_load_its_scripts_and_others_load_none(pages):
    for path, soup in pages.items():
        scripts = [tag["src"] for tag in soup.select("script[src]") if SCRIPT in tag["src"]]
        sheets = [tag["href"] for tag in soup.select("link[rel=stylesheet]") if SHEET in tag["href"]]
        expected = 1 if has_piece(soup) else 0
        assert (len(scripts), len(sheets)) == (expected, expected), path.name


def test_every_piece_stands_on_some_page_with_words_for_readers_elsewhere(pages):
    roots = [root for soup in pages.values() for root in soup.select("[data-vitedu]")]
    assert {root["data-vitedu"] for root in roots} == set(PIECES)
    for root in roots:
        assert len(root.get_text(strip=True)) > 20 or root.select("img[alt]")


def test_what_pieces_read_is_written_into_the_site(site):
    for name, content in made_scripts():
        assert (site / FOLDER / name).read_text(encoding="utf-8") == content
    assert (site / FOLDER / "vitedu.js").exists()


@pytest.mark.parametrize("name", MODELS)
def test_scripts_are_made_without_torch(name):
    """The site is built on machines that have none."""
    source = (ROOT / "book/tools/site/page.py").read_text(encoding="utf-8")
    assert not re.search(r"^(import|from) (torch|vitedu|numpy|matplotlib)", source, re.MULTILINE)
    card = json.loads((ROOT / f"vitedu/pretrained/weights/{name}.json").read_text(encoding="utf-8"))
    assert card["model"] in ("ViT", "HybridViT")
