"""Sphinx extension: links each term of the glossary from the place in the chapters where a reader first meets it.

A term is linked at its first use in the book and once more in the section that its entry names, if that is another
one. A term with a qualifier, such as `head (of attention)`, has an everyday meaning too, and is linked in its own
section alone. Headings, code, formulas, captions and other links are left as they are. Nothing is written into the
notebooks: the entry in book/glossary.md is all that there is to keep.
"""

import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from book.tools.site.glossary import Entry, read_glossary
from book.tools.site.popups import inline_html, say

PAGE = "book/glossary"
CLASS = "glossary-term"
LEFT_ALONE = (nodes.title, nodes.reference, nodes.literal, nodes.literal_block, nodes.math, nodes.math_block)
LEFT_ALONE += (nodes.figure, nodes.raw, nodes.target, nodes.footnote)

Plan = dict[str, list[tuple[str, str]]]  # page -> (slug of a term, anchor of the section to link it in, or "")


def is_prose(text: nodes.Text) -> bool:
    """Running text: in no heading, formula, code, caption or link, and in nothing that a cell has printed."""
    node = text.parent
    while node is not None:
        if isinstance(node, LEFT_ALONE) or "cell" in node.get("classes", ()):
            return False
        node = node.parent
    return True


def section_of(doctree: nodes.document, anchor: str) -> nodes.Element:
    """The section that a link to `anchor` leads to; the whole page for an empty one."""
    found = [section for section in doctree.findall(nodes.section) if anchor and section.get("slug") == anchor]
    return found[0] if found else doctree


def join_texts(doctree: nodes.document) -> nodes.document:
    """The parser starts a new text at the end of each line; joined, a term that runs across it is found as well."""
    for parent in list(doctree.findall(nodes.TextElement)):
        children: list[nodes.Node] = []
        for child in parent.children:
            if children and isinstance(child, nodes.Text) and isinstance(children[-1], nodes.Text):
                children[-1] = nodes.Text(children[-1].astext() + child.astext())
            else:
                children.append(child)
        parent.children = []
        parent.extend(children)
    return doctree


def prose_of(doctree: nodes.document) -> list[nodes.Text]:
    """All running text of a page, in order."""
    return [text for text in join_texts(doctree).findall(nodes.Text) if is_prose(text)]


def is_within(node: nodes.Node, scope: nodes.Element) -> bool:
    while node is not None and node is not scope:
        node = node.parent
    return node is scope


def is_linked(scope: nodes.Element, entry: Entry) -> bool:
    return any(reference.get("term") == entry.slug for reference in scope.findall(nodes.reference))


def link_first(prose: list[nodes.Text], scope: nodes.Element, entry: Entry, address: str) -> bool:
    """Turn the first use of the term within `scope` into a link. False if it is not used there."""
    for index, text in enumerate(prose):
        match = entry.pattern.search(text)
        if match and is_within(text, scope):
            prose[index : index + 1] = split(text, match, entry, address)
            return True
    return False


def split(text: nodes.Text, match: re.Match, entry: Entry, address: str) -> list[nodes.Text]:
    """Replace a text by what comes before the match, the match as a link, and what comes after it; return the rest."""
    link = nodes.reference(
        "", "", nodes.Text(match[0]), internal=True, refuri=f"{address}#{entry.html_id}", term=entry.slug
    )
    link["classes"].append(CLASS)
    before, after = nodes.Text(text[: match.start()]), nodes.Text(text[match.end() :])
    text.parent.replace(text, [piece for piece in (before, link, after) if piece.astext()])
    return [piece for piece in (before, after) if piece]


def longest_first(entries: list[Entry]) -> list[Entry]:
    """So that `additive attention` is not linked as `attention`."""
    return sorted(entries, key=lambda entry: -max(len(form) for form in entry.forms))


def make_plan(env: BuildEnvironment, entries: list[Entry]) -> Plan:
    """Walk through the chapters in reading order and note what is to be linked where."""
    plan: Plan = {}
    met: set[str] = set()
    for page in chapters_of(env):
        doctree, plan[page] = env.get_doctree(page), []
        prose = prose_of(doctree)
        for entry in longest_first(entries):
            if not entry.everyday and entry.slug not in met and link_first(prose, doctree, entry, PAGE):
                plan[page].append((entry.slug, ""))
                met.add(entry.slug)
            if page == f"chapters/{entry.chapter}":
                section = section_of(doctree, entry.anchor)
                if not is_linked(section, entry) and link_first(prose, section, entry, PAGE):
                    plan[page].append((entry.slug, entry.anchor))
    return plan


def chapters_of(env: BuildEnvironment) -> Iterator[str]:
    """In reading order, which is that of the names."""
    return (page for page in sorted(env.found_docs) if page.startswith("chapters/"))


def update_plan(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Make the plan when all pages have been read; the pages whose links change are to be written again."""
    del app
    entries = read_glossary()
    signature = [(entry.slug, entry.korean, entry.meaning) for entry in entries]
    old, old_signature = getattr(env, "glossary_plan", {}), getattr(env, "glossary_signature", [])
    env.glossary_plan, env.glossary_signature = make_plan(env, entries), signature
    return [page for page, links in env.glossary_plan.items() if links != old.get(page) or signature != old_signature]


def add_links(app: Sphinx, doctree: nodes.document, page: str) -> None:
    links = app.env.glossary_plan.get(page, [])
    entries = {entry.slug: entry for entry in read_glossary()} if links else {}
    prose = prose_of(doctree) if links else []
    for slug, anchor in links:
        link_first(prose, section_of(doctree, anchor), entries[slug], app.builder.get_relative_uri(page, PAGE))


def say_meanings(app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    """Give the page what its pop-ups say: the meaning first, the Korean term apart from it (see popups.py)."""
    del template, doctree
    entries = {entry.slug: entry for entry in read_glossary()}
    for slug, _ in app.env.glossary_plan.get(page, []):
        entry = entries[slug]
        say(
            context,
            "terms",
            entry.html_id,
            {"title": entry.term, "html": inline_html(entry.meaning), "korean": entry.korean},
        )


def mark_korean(app: Sphinx, doctree: nodes.document) -> None:
    """Tell the browser which words are Korean, so that they are read aloud as such (a convention of docutils)."""
    if app.env.docname == PAGE:
        for text in doctree.findall(nodes.Text):
            if re.search("[가-힣]", text.astext()):
                text.parent["classes"].append("language-ko")


def fold_contents(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """The list beside the glossary shows letters; each opens when the reader gets to it."""
    del app, template, doctree
    if page == PAGE:
        context["theme_show_toc_level"] = 1


def setup(app: Sphinx) -> dict:
    app.connect("env-updated", update_plan)
    app.connect("doctree-resolved", add_links)
    app.connect("doctree-read", mark_korean)
    app.connect("html-page-context", fold_contents)
    app.connect("html-page-context", say_meanings, priority=400)  # before popups.py writes them down
    app.add_css_file("pages.css")
    revision = zlib.crc32(Path(__file__).read_bytes())  # a change of this file makes Sphinx read all pages anew
    return {"version": "1", "env_version": revision, "parallel_read_safe": True, "parallel_write_safe": True}
