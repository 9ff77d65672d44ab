"""Sphinx extension: the site's own address, for its map, its pages' canonical links and the cards of shared links.

It follows the repository's, so that one place names it: GitHub serves the pages of OWNER/NAME at
https://OWNER.github.io/NAME/, and those of OWNER/OWNER.github.io at the root of that host.
"""

import re

from sphinx.application import Sphinx
from sphinx.config import Config


def site_address(repository: str) -> str:
    """`https://github.com/OWNER/NAME` -> `https://owner.github.io/NAME/`. ValueError if it is no such address."""
    parts = re.fullmatch(r"https://github\.com/([A-Za-z0-9-]+)/([A-Za-z0-9._-]+)", repository)
    if parts is None:
        raise ValueError(f"{repository!r} is not of the form https://github.com/OWNER/NAME, which Colab needs")
    owner, name = parts.groups()
    host = f"{owner.lower()}.github.io"
    return f"https://{host}/" if name.lower() == host else f"https://{host}/{name}/"


def colab_address(repository: str, name: str) -> str:
    """Where Colab opens the notebook of chapter `name`, such as 05_patch_partitioning."""
    return f"{repository.replace('github.com', 'colab.research.google.com/github')}/blob/main/chapters/{name}.ipynb"


def set_address(app: Sphinx, config: Config) -> None:
    config.html_baseurl = config.ogp_site_url = site_address(config.html_theme_options["repository_url"])


def name_it(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """For the page that stands at every address that leads nowhere (book/_templates/404.html)."""
    del page, template, doctree
    context["site_address"] = app.config.html_baseurl


def list_every_page(app: Sphinx, problem: Exception | None) -> None:
    """sphinx-sitemap lists what was written this time; a page that did not change belongs on the map too."""
    links = app.sitemap_links
    while not links.empty():
        links.get()
    for page in sorted(app.env.found_docs):
        links.put((app.builder.get_target_uri(page), None))  # None: no date, which a shallow clone would get wrong


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", set_address)
    app.connect("html-page-context", name_it)
    app.connect("build-finished", list_every_page, priority=400)  # before sphinx-sitemap, which has 500
    return {"parallel_read_safe": True, "parallel_write_safe": True}
