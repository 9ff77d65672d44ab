"""Sphinx extension: folded parts, `<details>`, in print: hints where they stand, solutions at the end of the chapter.

A hint or an aside keeps its place, under its label. A solution, a model answer and an answer move into a last section
of the page, each under a heading of its own, and exercise and solution lead to each other, on paper with the page.
"""

import re

from docutils import nodes
from sphinx.application import Sphinx

from book.tools.site.captions import EARLY

TOKEN = re.compile(r"<details[^>]*>|</details>|<summary>(?P<label>.*?)</summary>", re.DOTALL)
ANSWERS = re.compile(r"(?:a )?model answer|solution|answer", re.IGNORECASE)
NUMBER = re.compile(r"^(?:Exercise|Question) (?P<number>[\d.]+\d|\d+)\.? ?·? ?")
EFFORT = re.compile(r"\s*[●○]{3}\s*\(\d+ min\)$")


Fold = nodes.container  # with a "label"


def label_of(html: str) -> str:
    return re.sub(r"<[^>]+>", "", html).strip()


def nest(children: list[nodes.Node]) -> list[nodes.Node]:
    """The children with every run between `<details>` and `</details>` in a fold of its own."""
    stack: list[list] = [[]]
    labels: list[str] = []
    for child in children:
        tokens = list(TOKEN.finditer(child.astext())) if isinstance(child, nodes.raw) else []
        if not tokens:
            stack[-1].append(child)
        for token in tokens:
            if token[0].startswith("<details"):
                stack.append([])
                labels.append("")
            elif token["label"] is not None:
                labels[-1] = label_of(token["label"])
            else:
                stack[-2].append(Fold("", *stack.pop(), label=labels.pop(), classes=["fold"]))
    if len(stack) != 1:
        raise ValueError(f"a fold {labels[-1]!r} is not closed in the cell that opens it")
    return stack[0]


def make_folds(doctree: nodes.document) -> list[Fold]:
    for parent in {id(raw.parent): raw.parent for raw in doctree.findall(nodes.raw)}.values():
        if any(TOKEN.search(child.astext()) for child in parent.children if isinstance(child, nodes.raw)):
            children, parent.children = parent.children, []
            parent.extend(nest(children))
    return [node for node in doctree.findall(Fold) if "label" in node]


def labelled(fold: Fold) -> None:
    """The label opens the first paragraph, or stands before what is none."""
    label = nodes.strong("", f"{fold['label'].rstrip('.?')}{'?' if fold['label'].endswith('?') else '.'}")
    if len(fold) and isinstance(fold[0], nodes.paragraph):
        fold[0].insert(0, nodes.Text(" "))
        fold[0].insert(0, label)
    else:
        fold.insert(0, nodes.paragraph("", "", label))


def section_above(node: nodes.Node) -> nodes.section:
    while not isinstance(node, nodes.section):
        node = node.parent
    return node


def page_of(anchor: str, docname: str) -> nodes.raw:
    """On paper, the page on which an anchor stands."""
    return nodes.raw("", rf", page~\pageref{{\detokenize{{{docname}:{anchor}}}}}", format="latex")


def heading(title: nodes.title) -> tuple[str, str]:
    """(number, name) of an exercise or a question; the number is empty where it has none."""
    text = EFFORT.sub("", title.astext())
    match = NUMBER.match(text)
    return (match["number"], text[match.end() :]) if match else ("", text)


def solution(fold: Fold, exercise: nodes.section, docname: str, taken: set[str]) -> nodes.section:
    """The fold as a section of its own; in its place stays a line that leads there."""
    number, name = heading(exercise[0])
    kind = "Answer" if fold["label"] == "Answer" else "Solution" if fold["label"] == "Solution" else "Model answer"
    called = f"{kind} {number}".strip()
    anchor = nodes.make_id(f"{called}-{name}" if not number else called)
    while anchor in taken:
        anchor += "-more"
    taken.add(anchor)
    there = nodes.reference("", called, internal=True, refid=anchor)
    line = nodes.paragraph("", "", nodes.Text("→ "), there, page_of(anchor, docname), classes=["to-solution"])
    fold.parent.replace(fold, line)
    back = nodes.reference("", "the exercise" if number.count(".") else "the question", internal=True)
    back["refid"] = exercise["ids"][0]
    title = nodes.title("", f"{called} · {name}" if name else called)
    found = nodes.section("", title, *fold.children, ids=[anchor], names=[], classes=["solution"])
    found += nodes.paragraph(
        "", "", nodes.Text("← "), back, page_of(exercise["ids"][0], docname), classes=["to-exercise"]
    )
    return found


def gather(doctree: nodes.document, docname: str) -> None:
    moved, taken = [], set(doctree.ids)
    for fold in make_folds(doctree):
        if ANSWERS.fullmatch(fold["label"]):
            moved.append(solution(fold, section_above(fold), docname, taken))
        else:
            labelled(fold)
            fold["classes"].append("hint" if fold["label"].startswith("Hint") else "aside")
    if moved:
        title = "Answers" if docname.startswith("book/") else "Solutions"
        top = next(doctree.findall(nodes.section))
        top += nodes.section("", nodes.title("", title), *moved, ids=[title.lower() + "-all"], names=[])


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-read", lambda app, doctree: gather(doctree, app.env.docname), priority=EARLY - 10)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
