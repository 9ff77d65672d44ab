"""Sphinx extension: the live pieces, `<div data-vitedu="NAME">…</div>` in a Markdown cell or page.

A page with one gets the pieces' style sheet and first script, which fetches the rest; other pages get nothing. What the
pieces read is written into the built site as scripts, because a page opened from disk may load no other files: the
shipped weights, the portrait, the recorded ablations. No torch is needed.
"""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[3]
WEIGHTS, STATIC, RESULTS = ROOT / "vitedu/pretrained/weights", ROOT / "book/_static/page", ROOT / "book/results"
FOLDER = Path("_static/page")  # in the site
MODELS = ("shapes-vit", "shapes-outline", "digits-vit")
PIECE = re.compile(r"<div[^>]*\sdata-vitedu=")


def weights_script(name: str) -> str:
    """`vitedu.register(name, card, weights)`: the card of a shipped model, and its tensors as they are, in base64."""
    card = (WEIGHTS / f"{name}.json").read_text(encoding="utf-8")
    tensors = base64.b64encode((WEIGHTS / f"{name}.safetensors").read_bytes()).decode()
    return f'vitedu.register({json.dumps(name)}, {json.dumps(json.loads(card), ensure_ascii=False)}, "{tensors}");\n'


def portrait_script() -> str:
    """The photograph of chapter 5 as an address that holds it, whose pixels a page may read."""
    picture = base64.b64encode((STATIC / "portrait.jpg").read_bytes()).decode()
    return f'vitedu.portrait = "data:image/jpeg;base64,{picture}";\n'


def ablations_script() -> str:
    """The rows of the recorded table of chapter 9 without their histories."""
    rows = json.loads((RESULTS / "ablations.json").read_text(encoding="utf-8"))["rows"]
    kept = [
        {
            "name": row["name"],
            "group": row["group"],
            "values": [round(value, 5) for value in row["accuracy"]["values"]],  # of the seeds
            "seconds": round(row["cpu_seconds"]["mean"], 1),
        }
        for row in rows
    ]
    return f"vitedu.ablations = {json.dumps(kept, ensure_ascii=False)};\n"


def made_scripts() -> Iterator[tuple[str, str]]:
    """(path within the folder of the pieces, content) of every script that is made while the site is built."""
    for name in MODELS:
        yield f"weights/{name}.js", weights_script(name)
    yield "portrait.js", portrait_script()
    yield "ablations-rows.js", ablations_script()


def write_scripts(app: Sphinx, problem: Exception | None) -> None:
    if problem is not None or app.builder.format != "html":
        return
    for name, content in made_scripts():
        path = Path(app.outdir) / FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


def add_scripts(app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    """Called for each page, so that what is added here goes to this page alone."""
    del page, template, context
    if doctree is not None and any(PIECE.search(raw.astext()) for raw in doctree.findall(nodes.raw)):
        app.add_css_file("page/page.css")
        app.add_js_file("page/vitedu.js")


def setup(app: Sphinx) -> dict:
    app.connect("html-page-context", add_scripts)
    app.connect("build-finished", write_scripts)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
