"""The repository as a whole: one address, one version, exact pins, set-up errors of one line, a known layout."""

import os
import re
import shutil
import stat
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import publish
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import vitedu

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))
TOP_LEVEL = {
    ".ci", ".gitignore", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md",
    "_config.yml", "_toc.yml", "book", "chapters", "pyproject.toml", "requirements.txt", "tests", "vitedu",
}  # fmt: skip
LARGEST_FILE, LARGEST_REPOSITORY = 4_000_000, 40_000_000  # bytes
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pins() -> dict[str, str]:
    """Package -> exact version, from requirements.txt."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    written = [line.partition("#")[0].strip() for line in lines]
    found = [re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.]+)", line) for line in written if line]
    assert all(found), "every line of requirements.txt pins one package exactly"
    return {canonicalize_name(match[1]): match[2] for match in found}


@pytest.fixture(scope="module")
def committed() -> list[Path]:
    """What git keeps, or would keep: committed files and new ones that are not ignored."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: what is committed cannot be told")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


# --- one address ---


@pytest.fixture
def copy(tmp_path, committed) -> Path:
    """A copy of everything that is committed."""
    for path in committed:
        (tmp_path / path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, tmp_path / path.relative_to(ROOT))
    return tmp_path


def test_address_is_the_same_everywhere():
    assert publish.disagreeing() == [], "make publish REPO=… puts it right"


def test_every_file_that_needs_the_address_has_it():
    have = {str(place.path.relative_to(ROOT)) for place in publish.places()}
    need = {"pyproject.toml", "_config.yml", "CITATION.cff", "README.md", "CONTRIBUTING.md", "book/how_to_use.md"}
    assert need | {f"chapters/{path.name}" for path in CHAPTERS} <= have


def test_publishing_elsewhere_leaves_the_old_address_nowhere(copy):
    """Not in one committed file, whichever way it is written; and a second time changes nothing."""
    old, before = publish.current(), len(list(publish.places(copy)))
    forms = (f"github.com/{old}", f"github/{old}", old.replace("/", ".github.io/"))
    assert publish.change("Someone-Else/another.book", copy)
    texts = {path: path.read_bytes().lower() for path in copy.rglob("*") if path.is_file()}
    assert not [
        str(path.relative_to(copy))
        for path, text in texts.items()
        if any(form.lower().encode() in text for form in forms)
    ]
    assert publish.disagreeing(copy) == []
    assert len(list(publish.places(copy))) == before
    assert publish.change("Someone-Else/another.book", copy) == []


def test_publishing_back_restores_every_byte(copy):
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    publish.change("someone/else", copy)
    assert {path: path.read_bytes() for path in before} != before
    publish.change(publish.current(ROOT), copy)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("name", ["_config.yml", "CITATION.cff", "README.md", CHAPTERS[0].relative_to(ROOT)])
def test_a_place_that_disagrees_is_named_and_put_right(copy, name):
    text = (copy / name).read_text(encoding="utf-8")
    (copy / name).write_text(text.replace(publish.current(), "left/behind"), encoding="utf-8")
    assert f"{name} has left/behind, not {publish.current()}" in publish.disagreeing(copy)
    publish.change(publish.current(), copy)
    assert publish.disagreeing(copy) == []
    assert (copy / name).read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a sentence about https://github.com/{slug}.", "a sentence about https://github.com/B/C.d."),
        ("[errata](https://github.com/{slug}/issues)", "[errata](https://github.com/B/C.d/issues)"),
        ("pip install git+https://github.com/{slug}.git", "pip install git+https://github.com/B/C.d.git"),
        ("https://github.com/{slug}-extras is another", "https://github.com/{slug}-extras is another"),
        ("https://github.com/{slug}.extras is another", "https://github.com/{slug}.extras is another"),
        ("https://github.com/pytorch/pytorch", "https://github.com/pytorch/pytorch"),
    ],
)
def test_the_address_in_every_form_follows_and_the_links_of_others_stay(tmp_path, before, after):
    (tmp_path / "pyproject.toml").write_text('[project.urls]\nRepository = "https://github.com/A/own"\n')
    (tmp_path / "page.md").write_text(before.format(slug="A/own"))
    publish.change("B/C.d", tmp_path)
    assert (tmp_path / "page.md").read_text() == after.format(slug="A/own")
    assert publish.current(tmp_path) == "B/C.d"


@pytest.mark.parametrize("given", ["https://github.com/a/b", "https://github.com/a/b/", "https://github.com/a/b.git"])
def test_address_may_end_as_people_copy_it(given):
    assert publish.parse(given) == "a/b"


@pytest.mark.parametrize("given", ["a/b", "https://example.org/a/b", "https://github.com/a", "git@github.com:a/b", ""])
def test_address_elsewhere_is_refused(given):
    with pytest.raises(ValueError, match=re.escape(f"{given!r} is not of the form https://github.com/OWNER/NAME")):
        publish.parse(given)


# --- one version, exact pins ---


def test_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert vitedu.__version__ == PROJECT["version"] == citation["version"]
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_pins_lie_within_the_loose_bounds():
    for requirement in map(Requirement, PROJECT["dependencies"]):
        assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)]), requirement


def test_bounds_of_the_package_are_loose():
    """A hosted notebook keeps what it has: lower bounds alone."""
    operators = {spec.operator for line in PROJECT["dependencies"] for spec in Requirement(line).specifier}
    assert operators == {">="}


def test_environment_is_the_pinned_one():
    installed = {name: metadata.version(name).partition("+")[0] for name in pins()}
    assert installed == pins(), "the tests speak for the pinned versions alone; run `make test`"


def test_pins_are_complete():
    """Whatever a pinned package needs on this machine is pinned too, but for what torch alone brings."""
    missing = set()
    for name in pins():
        for requirement in map(Requirement, metadata.requires(name) or []):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                missing.add(canonicalize_name(requirement.name))
    missing -= set(pins())
    assert not {name for name in missing if not name.startswith(("nvidia-", "cuda-")) and name != "triton"}


def test_book_builder_stays_on_the_line_that_reads_our_settings():
    assert pins()["jupyter-book"].startswith("1.")


# --- set-up errors of one line ---


def set_up(tmp_path: Path, python: str) -> subprocess.CompletedProcess:
    command = ["sh", str(ROOT / "book" / "tools" / "setup_venv.sh"), str(tmp_path / "venv")]
    environment = {**os.environ, "PYTHON": python}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


def stand_in(tmp_path: Path, script: str) -> str:
    """An executable that behaves like a Python of some kind."""
    path = tmp_path / "python-stand-in"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


NO_PYTHON = "no-such-python"
OLD_PYTHON = 'case "$*" in *version_info*) exit 1;; -V) echo Python 3.9.2;; esac'
NO_ENSUREPIP = 'case "$*" in *ensurepip*) echo "ModuleNotFoundError: ensurepip" >&2; exit 1;; esac'
NO_SPACE = 'case "$*" in *"-m venv"*) mkdir -p "$3/bin"; echo "Error: no space left" >&2; exit 1;; esac'


@pytest.mark.parametrize(
    ("script", "remedy"),
    [
        (None, "no-such-python is missing; install it: apt install python3 python3-venv"),
        (OLD_PYTHON, "Python 3.9.2 is too old or does not run; install Python 3.11 or later"),
        (NO_ENSUREPIP, "install the missing part: apt install python3-venv"),
        (NO_SPACE, "no space left"),
    ],
)
def test_what_is_missing_is_said_in_one_line(tmp_path, script, remedy):
    """And no half-made environment stays behind."""
    result = set_up(tmp_path, NO_PYTHON if script is None else stand_in(tmp_path, script))
    assert result.returncode == 1
    assert remedy in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "venv").exists()


# --- the layout ---


def test_top_level_holds_what_the_layout_names_and_nothing_else(committed):
    assert {path.relative_to(ROOT).parts[0] for path in committed} <= TOP_LEVEL


def test_repository_stays_small(committed):
    sizes = {path: path.stat().st_size for path in committed}
    assert not [path for path, size in sizes.items() if size > LARGEST_FILE]
    assert sum(sizes.values()) < LARGEST_REPOSITORY


def test_command_of_the_test_machine_runs_the_test_target():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & stat.S_IXUSR
    assert script.read_text(encoding="utf-8").splitlines()[-1] == "make test"


def test_help_names_every_target():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()
    shown = re.findall(r'@echo "make (\w+)', makefile)
    assert set(shown) == set(targets) - {"help"}


def test_readme_links_every_chapter_and_names_the_planned_ones():
    """Sixteen rows; a chapter that exists has its notebook and its Colab link, in order."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \|(.*)$", readme, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 17))
    existing = {int(path.name[:2]): path.name for path in CHAPTERS}
    for number, row in rows:
        name = existing.get(int(number))
        assert ("planned" in row) == (name is None), row
        if name:
            assert f"](chapters/{name})" in row
            assert f"/blob/main/chapters/{name})" in row


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_local_links_and_pictures_exist(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    missing = [link for link in links if not any((folder / link).exists() for folder in (ROOT, ROOT / "book"))]
    assert links
    assert not missing


def test_readme_has_no_gap_left_to_fill():
    """A figure that is still to be measured stands between double at signs."""
    assert not re.findall(r"@@\w+@@", (ROOT / "README.md").read_text(encoding="utf-8"))


def test_every_script_that_a_target_calls_exists():
    scripts = re.findall(r"book/tools/\w+\.(?:py|sh)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert not [script for script in scripts if not (ROOT / script).is_file()]


def test_year_of_a_reference_is_that_of_its_first_version():
    """A key is author and year; an arXiv id begins with the two digits of that year."""
    entries = re.findall(r"@misc\{(\w+),(.*?)\n\}", (ROOT / "book" / "references.bib").read_text("utf-8"), re.DOTALL)
    keys = [key for key, _ in entries]
    assert len(set(keys)) == len(keys) > 20
    for key, entry in entries:
        year = re.search(r"year = \{(\d{4})\}", entry)[1]
        assert re.fullmatch(rf"[a-z]+{year}[b-z]?", key)
        ids = re.findall(r"(?:arXiv:|arxiv\.org/abs/)(\d{4}\.\d{5})", entry)
        assert len(set(ids)) <= 1
        assert all(number.startswith(year[2:]) for number in ids), key
