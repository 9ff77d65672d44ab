"""Sphinx extension: the tables that are made while the site is built, so that they cannot go stale.

```{exercise-index}```   every exercise with its number, title, difficulty and minutes
```{run-times}```        what each chapter used when `make notebooks` last ran it, beside its budget
```{korean-index}```     the glossary's terms, sorted by their Korean equivalents
"""

import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from book.tools.run_times import FILE, Run, fingerprint, read_runs
from book.tools.site.chapters import ROOT, Chapter, all_chapters
from book.tools.site.glossary import PAGE, Entry, read_glossary


def exercise_lines(chapters: Iterable[Chapter]) -> Iterator[str]:
    """A Markdown table; the row of a chapter adds the minutes of its exercises up."""
    yield "| no. | exercise | difficulty | minutes |"
    yield "| --- | --- | :---: | ---: |"
    for chapter in chapters:
        if not chapter.exercises:
            continue
        minutes = sum(exercise.minutes for exercise in chapter.exercises)
        yield f"| **{chapter.number}** | **[{chapter.title}]({chapter.link})** | | **{minutes}** |"
        for exercise in chapter.exercises:
            link = f"[{exercise.title}]({chapter.link}#{exercise.anchor})"
            yield f"| {exercise.number} | {link} | {exercise.stars} | {exercise.minutes} |"


def run_time_lines(chapters: Iterable[Chapter], runs: dict[str, Run]) -> Iterator[str]:
    """A Markdown table, and under it on which machines and with which versions the runs were made."""
    yield "| chapter | wall-clock (s) | processor time (s) | budget (s) | peak memory (MiB) | budget (MiB) | run on |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | --- |"
    machines: dict[str, list[int]] = {}
    for chapter in chapters:
        budget = chapter.notebook["metadata"]["vitedu"]["budget"]
        run = runs.get(chapter.path.stem)
        if run is None:
            used = ("–", "–", "–", "not timed yet")
        elif run.code != fingerprint(chapter.notebook):
            used = ("–", "–", "–", f"its code has changed since {run.date}")
        else:
            used = (f"{run.seconds:.0f}", f"{run.processor_seconds:.0f}", f"{run.mib:.0f}", run.date)
            machines.setdefault(machine(run), []).append(chapter.number)
        link = f"[{chapter.number} · {chapter.title}]({chapter.link})"
        wall, processor, memory, on = used
        yield f"| {link} | {wall} | {processor} | {budget['seconds']} | {memory} | {budget['memory_mib']} | {on} |"
    yield ""
    for description, numbers in machines.items():
        which = "Chapter" if len(numbers) == 1 else "Chapters"
        yield f"- {which} {', '.join(map(str, numbers))}: {description}"


def machine(run: Run) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    return f"{run.processor}, {run.cores} cores; {run.device}; {versions}."


def korean_lines(entries: Iterable[Entry]) -> Iterator[str]:
    """A Markdown table in Hangul's own order, which is that of its code points."""
    yield "| 한국어 | English |"
    yield "| --- | --- |"
    for entry in sorted(entries, key=lambda entry: (entry.korean, entry.term)):
        yield f"| {entry.korean} | [{entry.term}](#{entry.slug}) |"


class Generated(SphinxDirective):
    """A directive that puts Markdown lines in its own place, and is read anew when one of its files changes."""

    def lines(self) -> Iterable[str]:
        raise NotImplementedError

    def files(self) -> Iterable[str]:
        return [str(chapter.path.relative_to(ROOT)) for chapter in all_chapters()]

    def run(self) -> list[nodes.Node]:
        for file in self.files():
            self.env.note_dependency(file)
        node = nodes.Element()
        self.state.nested_parse(StringList(list(self.lines())), self.content_offset, node)
        for table in node.findall(nodes.table):
            table["classes"].append(self.name)  # for the style sheet
        return node.children


class ExerciseIndex(Generated):
    def lines(self) -> Iterable[str]:
        return exercise_lines(all_chapters())


class RunTimes(Generated):
    def lines(self) -> Iterable[str]:
        return run_time_lines(all_chapters(), read_runs())

    def files(self) -> Iterable[str]:
        return [*super().files(), str(FILE.relative_to(ROOT))]


class KoreanIndex(Generated):
    def lines(self) -> Iterable[str]:
        return korean_lines(read_glossary())

    def files(self) -> Iterable[str]:
        return [str(PAGE.relative_to(ROOT))]


def read_page_anew(app: Sphinx, env: object, added: set, changed: set, removed: set) -> list[str]:
    """A new chapter is in no page's list of files yet, so the pages with tables are read anew for one."""
    del app, changed
    pages = {"book/exercises", "book/how_tested"}
    return sorted(pages & env.found_docs) if (added | removed) else []


def setup(app: Sphinx) -> dict:
    app.add_directive("exercise-index", ExerciseIndex)
    app.add_directive("run-times", RunTimes)
    app.add_directive("korean-index", KoreanIndex)
    app.connect("env-get-outdated", read_page_anew)
    # A change of one of these files makes Sphinx read all pages anew.
    revision = zlib.crc32(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))))
    return {"version": "1", "env_version": revision, "parallel_read_safe": True, "parallel_write_safe": True}
