"""The prose pages against the chapters: glossary, notation, misconceptions, self-test, exercises, times, picture."""

import contextlib
import doctest
import io
import json
import re
from collections import Counter

import nbformat
import pytest
import torch
import torch.nn.functional as F
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from book.tools.run_notebooks import process
from book.tools.run_times import Run, fingerprint, read_runs, write_run
from book.tools.site.chapters import ROOT, Chapter, all_chapters, read_sections
from book.tools.site.glossary import Entry, read_glossary
from book.tools.site.path import GROUNDS, INTRO, squares, stops, strip
from book.tools.site.tables import korean_lines, run_time_lines

CHAPTERS = {chapter.path.stem: chapter for chapter in all_chapters()}
ENTRIES = read_glossary()

# Abbreviations that are no terms: units, file formats, hardware, names.
NO_TERMS = {
    "GPU", "CPU", "KB", "MB", "GB", "MiB", "GiB", "JSON", "JPEG", "PNG", "JAX", "BLEU", "CIFAR", "HTML", "ID", "OK",
}  # fmt: skip
GREEK = (
    "alpha beta gamma delta Delta epsilon varepsilon eta kappa lambda mu omega varphi Phi pi Pi rho sigma tau theta "
    "odot"
)
VERDICTS = {"wrong", "half", "depends"}

every_entry = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.slug)
every_chapter = pytest.mark.parametrize("chapter", CHAPTERS.values(), ids=lambda chapter: chapter.path.stem)


def page(name: str) -> str:
    return (ROOT / "book" / f"{name}.md").read_text(encoding="utf-8")


def prose(markdown: str) -> str:
    """Without code, formulas, the targets of links and marks of emphasis."""
    text = re.sub(r"```.*?```|\$\$.*?\$\$", " ", markdown, flags=re.DOTALL)
    text = re.sub(r"`[^`]*`|\$[^$]+\$", " ", text)
    return re.sub(r"\]\([^)]*\)|[*\[]", "", text)


def whole(chapter: Chapter) -> str:
    return "\n".join(section.text for section in chapter.sections)


# --- the glossary ---


@every_entry
def test_entry_has_a_korean_term_and_one_or_two_sentences(entry):
    assert re.search("[가-힣]", entry.korean)
    assert len(re.findall(r"[.!?](?= |$)", prose(entry.meaning))) in (1, 2), entry.meaning


@every_entry
def test_entry_leads_to_a_place_that_uses_the_term(entry):
    """Its chapter does, and the section itself where the word has an everyday meaning too."""
    chapter = CHAPTERS[entry.chapter]
    sections = chapter.within(entry.anchor)
    where = sections if entry.everyday else chapter.sections
    assert any(re.search(entry.pattern, prose(section.text)) for section in where)


def test_entries_are_in_order_and_each_stands_under_its_letter():
    terms = [entry.term for entry in ENTRIES]
    assert terms == sorted(terms, key=str.lower)
    assert len({entry.slug for entry in ENTRIES}) == len(ENTRIES) > 100
    letter = ""
    for heading in re.findall(r"^#{2,3} .+$", page("glossary").partition("## By the Korean")[0], re.MULTILINE):
        if heading.startswith("## "):
            letter = heading[3:]
        else:
            assert heading[4].upper() == letter, heading


def test_link_of_an_entry_names_the_chapter_it_leads_to():
    links = re.findall(r"\[Chapter (\d+)\]\(\.\./chapters/(\d\d)_", page("glossary"))
    assert len(links) == len(ENTRIES)
    assert all(int(name) == int(file) for name, file in links)


def test_every_abbreviation_of_the_chapters_is_in_the_glossary():
    used = Counter()
    for chapter in CHAPTERS.values():
        used.update(
            re.findall(
                r"(?<![\w-])(?:[A-Z]{2,6}|[A-Z][a-z]{1,2}[A-Z]{1,2}[a-rt-z]?)(?=s?(?![\w]))", prose(whole(chapter))
            )
        )
    explained = " ".join(f"{' '.join(entry.forms)} {entry.meaning}" for entry in ENTRIES)
    missing = {word for word, count in used.items() if count > 1 and not re.search(rf"\b{word}s?\b", explained)}
    assert {"RNN", "ViT", "CLS"} <= set(used)
    assert not missing - NO_TERMS, "explain them in book/glossary.md, or add them to NO_TERMS if they are no terms"


def entry(term: str, *also: str) -> Entry:
    forms = (re.sub(r" \(.*", "", term), *also)
    return Entry(term, "낱말", forms, "A word.", "05_patch_partitioning", "order-twice")


@pytest.mark.parametrize(
    ("term", "text", "found"),
    [
        ("token", "Two Tokens meet", "Tokens"),
        ("token", "a tokeniser", None),
        ("query", "all queries", "queries"),
        ("entropy", "its Entropy", "Entropy"),
        ("attention", "self-attention", None),
        ("MAC", "the MACs of a layer", "MACs"),
        ("SE", "see below", None),
        ("raster order", "in raster\norder, then", "raster\norder"),
        ("head (of attention)", "each head looks", "head"),
    ],
)
def test_term_is_recognised_as_a_whole_word(term, text, found):
    match = re.search(entry(term).pattern, text)
    assert (match and match[0]) == found


def test_malformed_entry_is_named():
    text = "### patch\n\nno Korean: a square. [Chapter 5](../chapters/05_a.ipynb#b)\n"
    with pytest.raises(ValueError, match="entry 'patch' lacks"):
        read_glossary(text)


def test_korean_index_lists_every_entry_in_the_order_of_hangul():
    rows = list(korean_lines(ENTRIES))[2:]
    korean = [row.split("|")[1].strip() for row in rows]
    assert korean == sorted(korean)
    assert len(rows) == len(ENTRIES)


# --- the notation ---


def symbols(formula: str) -> set[str]:
    """Single letters and Greek ones; words set upright are names of functions, and the others are products."""
    formula = re.sub(r"\\(?:mathrm|text|operatorname|mathbb|begin|end)\{[^}]*\}", " ", formula)
    formula = re.sub(r"_\{(?:class|pos|max|min)\}", " ", formula)
    greek = {name for name in re.findall(r"\\([a-zA-Z]+)", formula) if name in GREEK.split()}
    return greek | set("".join(re.findall("[A-Za-z]", re.sub(r"\\[a-zA-Z]+", " ", formula))))


@every_chapter
def test_every_symbol_of_the_formulas_is_on_the_notation_page(chapter):
    text = re.sub(r"```.*?```|`[^`]*`", " ", whole(chapter), flags=re.DOTALL)
    formulas = [display or inline for display, inline in re.findall(r"\$\$(.+?)\$\$|\$([^$]+)\$", text, re.DOTALL)]
    known = set().union(*(symbols(formula) for formula in re.findall(r"\$([^$]+)\$", page("notation"))))
    used = set().union(*(symbols(formula) for formula in formulas))
    constants = {"e"}  # Euler's number
    assert len(used) > 5
    assert not used - known - constants, f"explain these on book/notation.md: {sorted(used - known)}"


# --- the misconceptions ---


def misconceptions() -> list[list[str]]:
    tested = page("misconceptions").partition("## Still to be tested")[0]
    rows = [line.strip("| ").split(" | ") for line in tested.splitlines() if line.startswith("| ")]
    return [row for row in rows if row[0] not in ("often said", "---")]


def test_every_misconception_has_a_verdict_and_a_section_whose_cells_test_it():
    rows = misconceptions()
    assert len(rows) > 30
    for claim, verdict, _, tested in rows:
        file, anchor = re.search(r"\(\.\./chapters/(\w+)\.ipynb#([^)\s]+)\)", tested).groups()
        cells = sum(len(section.code) for section in CHAPTERS[file].within(anchor))
        assert verdict in VERDICTS, claim
        assert cells or "from the paper" in tested, f"no cell tests: {claim}"
        assert f"chapter\xa0{CHAPTERS[file].number}]" in tested, claim


def test_no_misconception_waits_for_a_chapter_that_is_written():
    planned = re.findall(r"\| chapter (\d+) \|$", page("misconceptions"), re.MULTILINE)
    written = {chapter.number for chapter in CHAPTERS.values()}
    assert not {int(number) for number in planned} & written, "its chapter exists: link the cell that tests it"


# --- the self-test ---


def questions() -> list[tuple[str, str]]:
    """(title, text) of each question."""
    parts = re.split(r"^### (\d+ · .+)$", page("prerequisites").partition("## What your score")[0], flags=re.MULTILINE)
    return list(zip(parts[1::2], parts[2::2], strict=True))


def test_self_test_has_ten_questions():
    assert [title.partition(" ")[0] for title, _ in questions()] == [str(number) for number in range(1, 11)]


@pytest.mark.parametrize(("title", "text"), questions(), ids=lambda value: value if "·" in value else "")
def test_answer_of_the_self_test_is_what_the_code_gives(title, text):
    """The question's code is run, then the answer's examples; behind them stand two sentences."""
    asked, folded = text.split("<details>")
    names = {"torch": torch, "F": F}
    exec(compile(re.search(r"```python\n(.*?)```", asked, re.DOTALL)[1], title, "exec"), names)
    session = re.search(r"```python\n(.*?)```", folded, re.DOTALL)[1]
    examples = doctest.DocTestParser().get_doctest(session, names, title, None, 0)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        outcome = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS).run(examples)
    assert outcome.attempted
    assert not outcome.failed, said.getvalue()
    explained = folded.rpartition("```")[2].partition("</details>")[0]
    assert len(re.findall(r"[.?](?=\s)", prose(explained))) == 2


# --- headings ---


def test_a_comment_in_code_is_no_heading():
    cells = [
        {"cell_type": "markdown", "source": ["# 1 · A\n", "text\n", "```python\n", "# a comment\n", "```\n", "## B\n"]},
        {"cell_type": "code", "source": ["# another\n"]},
        {"cell_type": "markdown", "source": ["### B\n", "more"]},
    ]
    sections = list(read_sections(cells))
    assert [(s.level, s.title, s.anchor, len(s.code)) for s in sections] == [
        (1, "1 · A", "1--a", 0),
        (2, "B", "b", 1),
        (3, "B", "b-1", 0),
    ]


# --- run times ---


def run(**changes) -> Run:
    used = {"seconds": 61.4, "processor_seconds": 90.2, "mib": 700, "date": "2026-01-02"}
    machine = {"processor": "a processor", "cores": 2, "threads": "2", "device": "cpu"}
    return Run(**{**used, **machine, "versions": {"python": "3.11.7"}, "code": "0", **changes})


def test_fingerprint_follows_the_code_and_nothing_else():
    """Comments are for the reader, and the title of a fold is one."""

    def made(code: str, text: str, output: str) -> str:
        cell = new_code_cell(code, outputs=[nbformat.v4.new_output("stream", text=output)])
        return fingerprint(new_notebook(cells=[new_markdown_cell(text), cell]))

    assert made("a = 1", "text", "1") == made("a = 1", "other text", "2")
    assert made("a = 1  # one\n", "text", "1") == made("# @title Code\na = 1", "text", "1")
    assert made("a = '# 1'", "text", "1") != made("a = '# 2'", "text", "1")
    assert made("a = 1", "text", "1") != made("a = 2", "text", "1")


def test_fingerprint_reads_both_forms_of_a_notebook(tmp_path):
    """nbformat joins the lines of a cell, the file on the disk lists them."""
    notebook = new_notebook(cells=[new_code_cell("a = 1\nb = 2")])
    nbformat.write(notebook, tmp_path / "a.ipynb")
    assert fingerprint(json.loads((tmp_path / "a.ipynb").read_text())) == fingerprint(notebook)


def test_writing_one_run_keeps_the_others(tmp_path):
    file = tmp_path / "runs.json"
    write_run("02_b", run(seconds=2.0), file)
    write_run("01_a", run(seconds=1.0), file)
    write_run("02_b", run(seconds=3.0), file)
    assert {name: kept.seconds for name, kept in read_runs(file).items()} == {"01_a": 1.0, "02_b": 3.0}
    assert list(tmp_path.iterdir()) == [file]


def test_running_a_notebook_records_its_time_and_its_peak(tmp_path):
    """The sleep of half a second and the block of 200 MiB, which is given back, are both in the record."""
    path, file = tmp_path / "01_a.ipynb", tmp_path / "runs.json"
    cells = [new_code_cell("block = bytearray(200 * 2**20); import time; time.sleep(0.5)"), new_code_cell("del block")]
    nbformat.write(new_notebook(cells=cells), path)
    assert process(path, run=True, record=file)
    recorded = read_runs(file)["01_a"]
    assert 0.5 <= recorded.seconds < 100
    assert 0 < recorded.processor_seconds < recorded.seconds
    assert recorded.mib > 200
    assert recorded.code == fingerprint(nbformat.read(path, as_version=4))
    assert recorded.versions["torch"] == torch.__version__.partition("+")[0]


def test_table_shows_a_run_only_while_the_code_is_the_one_that_was_run():
    chapter = next(iter(CHAPTERS.values()))
    fresh = run(code=fingerprint(chapter.notebook))

    def shown(runs: dict[str, Run]) -> str:
        return "\n".join(run_time_lines([chapter], runs))

    assert "| 61 | 90 |" in shown({chapter.path.stem: fresh})
    assert "a processor, 2 cores; cpu; python 3.11.7." in shown({chapter.path.stem: fresh})
    assert "not timed yet" in shown({})
    stale = shown({chapter.path.stem: run()})
    assert "changed since 2026-01-02" in stale
    assert "61" not in stale


@every_chapter
def test_recorded_run_is_that_of_the_stored_chapter(chapter):
    recorded = read_runs().get(chapter.path.stem)
    remedy = f"make notebooks CHAPTER={chapter.number:02}"
    if recorded is None:
        pytest.skip(f"no run of this chapter has been recorded yet: {remedy}")
    assert recorded.code == fingerprint(chapter.notebook), f"the code has changed since: {remedy}"


def test_no_run_is_kept_of_a_chapter_that_is_gone():
    assert set(read_runs()) <= set(CHAPTERS)


# --- the introduction and its picture ---


def test_introduction_shows_sixteen_chapters_in_five_parts_and_its_picture_a_patch_for_each():
    intro = INTRO.read_text(encoding="utf-8")
    path = list(stops(intro))
    assert [stop.number for stop in path] == list(range(1, 17))
    assert [stop.part for stop in path if stop.opens] == list(range(5))
    for drawn in (squares(path, str), strip(path, str, "chapters/05_patch_partitioning")):
        assert drawn.count("<li") == 16
        assert drawn.count("<a ") == len(CHAPTERS)
        assert all(f'href="chapters/{name}"' in drawn for name in CHAPTERS)


@pytest.mark.parametrize("ground", GROUNDS)
def test_white_on_the_pictures_colours_is_legible(ground):
    """Contrast as WCAG defines it; 4.5 is what it asks of text."""
    linear = []
    for start in (1, 3, 5):
        value = int(ground[start : start + 2], 16) / 255
        linear.append(value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4)
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    assert 1.05 / (luminance + 0.05) >= 4.5
