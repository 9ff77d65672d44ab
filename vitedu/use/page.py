"""One HTML file in which a model runs: the scripts of the book's live pieces, the model, and a few pictures."""

import base64
import html
import json
from pathlib import Path

from torch import Tensor

from vitedu.data.picture import GROUNDS
from vitedu.files import CheckpointError
from vitedu.use.classifier import Classifier
from vitedu.use.packing import Packed

HERE = Path(__file__).resolve().parents[1]
FOLDERS = (HERE / "page", HERE.parent / "book" / "_static" / "page")  # inside an installed package; in a checkout
STYLES = ("page.css", "shared.css")
BEFORE = ("parts.js", "tensors.js", "vit.js", "hybrid.js", "maps.js", "work-maps.js", "resize.js")
LAST = "shared.js"  # the piece, which starts once the model is there

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; \
script-src 'unsafe-inline'; img-src data: blob:">
<title>{title}</title><link rel="icon" href="data:,">
<style>
{styles}
</style></head>
<body><h1>{title}</h1>
<p>{about}</p>
<main><div class="vp vp-work vp-shared" role="region" aria-label="{title}">
<noscript>The model runs in your browser, which has to run scripts for that.</noscript></div></main>
<footer>Everything is computed on this page, which works without a network: no picture leaves your machine. Made with
<a href="{repository}">Vision Transformers from the ground up</a>.</footer>
<script>
{scripts}
</script></body></html>
"""
REPOSITORY = "https://github.com/vitedu/vitedu"


def build_page(
    clf: Classifier, packed: Packed, title: str, about: str, images: Tensor, labels: Tensor, probabilities: Tensor
) -> str:
    """The page as one text.

    Args:
        clf: for the class names, and how pictures are prepared.
        packed: the model as it goes into the page.
        title, about: what stands above.
        images, labels, probabilities: pictures that come with it, uint8 (n, C, H, W), their classes (n,), and what
            PyTorch says of them with the same weights, (n, K), to which the page compares its own answers.
    """
    card = packed.card | {"mean": clf.mean.tolist(), "std": clf.std.tolist()}
    pictures = [
        {"pixels": in_text(image.contiguous().numpy().tobytes()), "label": label, "probabilities": shares}
        for image, label, shares in zip(images, labels.tolist(), probabilities.tolist(), strict=True)
    ]
    data = {
        "size": list(clf.shape[1:]),
        "channels": clf.shape[0],
        "ground": GROUNDS[clf.ground],
        "classes": list(clf.class_names),
        "pictures": pictures,
    }
    start = "vitedu.start(document.querySelector('.vp'), "
    scripts = [
        "var vitedu = { piece: (name, build) => { vitedu.start = build; } };",
        *map(piece_file, BEFORE),
        f'vitedu.register("shared", {in_script(card)}, "{in_text(packed.content)}");',
        piece_file(LAST),
        f"{start}{in_script(data)});",
    ]
    return PAGE.format(
        title=html.escape(title),
        about=html.escape(about),
        repository=REPOSITORY,
        styles="\n".join(map(piece_file, STYLES)),
        scripts="\n".join(scripts),
    )


def piece_file(name: str) -> str:
    """A script or style sheet of the live pieces. CheckpointError if it did not come with the package."""
    path = next((folder / name for folder in FOLDERS if (folder / name).is_file()), None)
    if path is None:
        raise CheckpointError(f"{name} of the live pieces is missing in {FOLDERS[0]}; install vitedu again")
    return path.read_text(encoding="utf-8")


def in_script(content: object) -> str:
    """JSON that may stand inside <script>, whatever a class is called."""
    return json.dumps(content).replace("<", "\\u003c")


def in_text(content: bytes) -> str:
    """Base64."""
    return base64.b64encode(content).decode()
