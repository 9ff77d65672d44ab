"""Sphinx extension: the drawings in print. Their colours are variables with a dark variant, which few programs read.

On paper each is a PDF that rsvg-convert makes; on a reading device it stays an SVG, on its light ground.
"""

import re
import subprocess
import tempfile
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.transforms.post_transforms.images import ImageConverter

VARIABLE = re.compile(r"(--[a-z]+):\s*([^;]+);")
LIGHT = re.compile(r"^svg \{.*?\}\n", re.MULTILINE | re.DOTALL)
DARK = re.compile(r"@media \(prefers-color-scheme: dark\) \{ svg \{.*?\} \}\n", re.DOTALL)


def light(svg: str) -> str:
    """The drawing with its light colours written out."""
    svg = DARK.sub("", svg)
    for rule in LIGHT.findall(svg):
        for name, colour in VARIABLE.findall(rule):
            svg = svg.replace(f"var({name})", colour)
    return LIGHT.sub("", svg)


class DrawingConverter(ImageConverter):
    conversion_rules = (("image/svg+xml", "application/pdf"),)

    def is_available(self) -> bool:
        return True  # book/tools/print/pdf.py has looked, and says what to install

    def convert(self, _from: str, _to: str) -> bool:
        with tempfile.NamedTemporaryFile("w", suffix=".svg", encoding="utf-8") as file:
            file.write(light(Path(_from).read_text(encoding="utf-8")))
            file.flush()
            subprocess.run(["rsvg-convert", "--format=pdf", f"--output={_to}", file.name], check=True)
        return True


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_post_transform(DrawingConverter)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
