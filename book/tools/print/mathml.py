"""Sphinx extension: formulas as MathML, which reading devices set without a script. math-core makes it of the LaTeX."""

import re
import xml.etree.ElementTree as ET
from functools import cache
from html import escape

from docutils import nodes
from math_core import LatexError, LatexToMathML
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

LOG = logging.getLogger(__name__)
ROW_SPACE = re.compile(r"\\\\\[[\d.]+(?:ex|em|pt)\]")  # a wider gap between two rows, which MathML leaves to the device
SPACE = "http://www.w3.org/1998/Math/MathML"
STYLED = {"displaystyle", "scriptlevel"}
NAMED = {"&ApplyFunction;": "\u2061", "&InvisibleTimes;": "\u2062"}  # entities that XML does not know


@cache
def converter() -> LatexToMathML:
    return LatexToMathML(xml_namespace=True, macros={"dots": "\u2026", "ldots": "\u2026"}, fancy_error=False)


@cache
def mathml(latex: str, display: bool) -> str:
    """One formula. math_core.LatexError if it is not understood."""
    made = converter().convert_with_local_state(ROW_SPACE.sub(r"\\\\", latex), displaystyle=display)
    for name, sign in NAMED.items():
        made = made.replace(name, sign)
    formula = ET.fromstring(made)
    formula.set("alttext", " ".join(latex.split()))  # for readers whose device knows no MathML
    set_styles_apart(formula)
    ET.register_namespace("", SPACE)
    return ET.tostring(formula, encoding="unicode")


def set_styles_apart(formula: ET.Element) -> None:
    """MathML Core has a size on any element, MathML 3, which ePub asks for, on an <mstyle> around it alone."""
    for parent in list(formula.iter()):
        for place, child in enumerate(list(parent)):
            styles = {name: child.attrib[name] for name in STYLED & child.attrib.keys()}
            if styles and child.tag != f"{{{SPACE}}}mstyle":
                for name in styles:
                    del child.attrib[name]
                style = ET.Element(f"{{{SPACE}}}mstyle", styles)
                parent.remove(child)
                style.append(child)
                parent.insert(place, style)


def write(writer: HTML5Translator, node: nodes.math | nodes.math_block, display: bool) -> None:
    try:
        made = mathml(node.astext(), display)
    except LatexError as error:
        LOG.warning("no MathML for %r: %s", node.astext(), error, location=node)
        made = f"<code>{escape(node.astext())}</code>"
    writer.body.append(f'<div class="formula">{made}</div>\n' if display else made)
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer(
        "mathml",
        (lambda writer, node: write(writer, node, display=False), None),
        (lambda writer, node: write(writer, node, display=True), None),
    )
    return {"parallel_read_safe": True, "parallel_write_safe": True}
