"""The settings of the printed book: those of the site (_config.yml), but for what only a browser can use.

Both formats share one set of settings and the pages that were read with it, so that the second needs a few seconds.
"""

import re
from pathlib import Path

import yaml
from jupyter_book.config import get_final_config

from book.tools.site.address import site_address

ROOT = Path(__file__).resolve().parents[3]
OUTPUT = ROOT / "_build" / "print"
PDF, EPUB = "vision-transformers.pdf", "vision-transformers.epub"

# Extensions of the site that a page on paper needs as well; `place` draws the path.
SHARED = ("tables", "captions", "cells", "colab", "glossary_links", "citations", "formulas", "boxes", "markup", "place")
OWN = ("folds", "code", "pieces", "predictions", "figures", "drawings", "hangul", "whole", "mathml", "reader")
EXTENSIONS = [
    "myst_nb",
    "sphinx_external_toc",
    "sphinx_design",
    "sphinxcontrib.bibtex",
    *(f"book.tools.site.{name}" for name in SHARED),
    *(f"book.tools.print.{name}" for name in OWN),
]
KEPT = {
    "myst_enable_extensions", "myst_heading_anchors", "myst_heading_slug_func", "bibtex_bibfiles", "author",
    "copyright", "bibtex_reference_style", "bibtex_default_style", "include_patterns", "language", "numfig",
    "nb_execution_mode", "nb_execution_show_tb", "nb_output_stderr", "nb_merge_streams", "external_toc_path",
    "external_toc_exclude_missing",
}  # fmt: skip
# Folders that Sphinx would walk through to find out that they hold no page.
UNREAD = (".*", "build", "runs", "tests", "vitedu", "book/experiments", "book/results", "book/tools", "book/_static")


def parts() -> dict[str, str]:
    """First page of each part -> the part's name, from _toc.yml."""
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    return {part["chapters"][0]["file"]: part["caption"] for part in contents["parts"]}


def version() -> str:
    return re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)[1]


def printed() -> dict:
    """All settings, for either builder. Sphinx gets them instead of a file conf.py."""
    site, _ = get_final_config(
        user_yaml=ROOT / "_config.yml", sourcedir=ROOT, cli_config={"latex_individualpages": False}
    )
    title, repository = site["html_title"], site["html_theme_options"]["repository_url"]
    address = site_address(repository)
    return {name: value for name, value in site.items() if name in KEPT} | {
        "extensions": EXTENSIONS,
        "project": title,
        "root_doc": "book/intro",
        "exclude_patterns": [*site["exclude_patterns"], *UNREAD],
        "version": version(),
        "release": version(),
        "templates_path": ["book/_templates"],
        "html_title": title,
        "print_address": address,
        "suppress_warnings": ["design.fa-build"],
        **for_pdf(title, site["author"], address, repository),
        **for_epub(title, site["author"], site["copyright"], address),
    }


def for_pdf(title: str, author: str, address: str, repository: str) -> dict:
    """The settings of the LaTeX builder."""
    return {
        "latex_engine": "xelatex",
        "latex_documents": [("book/intro", "book.tex", title, author, "manual")],
        "latex_additional_files": [f"book/tools/print/tex/{name}.tex" for name in ("fonts", "look", "title")],
        "latex_show_urls": "no",
        "latex_use_xindy": False,
        "latex_domain_indices": False,
        "latex_elements": {
            "papersize": "a4paper",
            "pointsize": "11pt",
            "extraclassoptions": "oneside,openany",
            "fncychap": "",
            "figure_align": "H",
            "fontpkg": r"\input{fonts.tex}",
            "preamble": f"\\newcommand{{\\bookaddress}}{{{address}}}\n\\newcommand{{\\repository}}{{{repository}}}\n"
            r"\input{look.tex}",
            "maketitle": r"\input{title.tex}",
            "sphinxsetup": "hmargin=25mm,vmargin={25mm,25mm},verbatimforcewraps=true,verbatimwithframe=false",
            "tableofcontents": r"{\hypersetup{linkcolor=bookink}\sphinxtableofcontents}",
            "printindex": "",
        },
    }


def for_epub(title: str, author: str, years: str, address: str) -> dict:
    """The settings of the ePub builder."""
    return {
        "epub_basename": EPUB.removesuffix(".epub"),
        "epub_title": title,
        "epub_author": author,
        "epub_publisher": author,
        "epub_contributor": author,
        "epub_copyright": f"{years}, {author}. Text and figures CC BY 4.0, code MIT.",
        "epub_description": "An interactive book that builds the Vision Transformer piece by piece, in PyTorch.",
        "epub_identifier": address,
        "epub_scheme": "URL",
        "epub_uid": "book-id",
        "epub_theme": "epub",
        "epub_show_urls": "no",
        "epub_use_index": False,
        "epub_tocdepth": 3,
        "epub_tocdup": False,
        "epub_tocscope": "includehidden",
        "epub_cover": ("_static/cover.png", "epub-cover.html"),
        "epub_css_files": [],
        "epub_exclude_files": ["index.html"],
        "html_static_path": [],
        "html_math_renderer": "mathml",
        "html_copy_source": False,
    }
