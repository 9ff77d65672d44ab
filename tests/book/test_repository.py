"""The repository as a whole: one address, one version, one list of chapters, exact pins, a known layout."""

import json
import os
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import vitedu
from book.tools.site.address import site_address
from book.tools.site.chapters import all_chapters
from book.tools.site.path import INTRO, stops
from vitedu.exercises.exercise import CHAPTERS as CHECKED
from vitedu.train import cli

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = all_chapters()
TOP_LEVEL = {
    ".ci", ".github", ".gitignore", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "Makefile",
    "README.md", "_config.yml", "_toc.yml", "book", "chapters", "pyproject.toml", "requirements.txt", "tests", "vitedu",
}  # fmt: skip
LARGEST_FILE, LARGEST_REPOSITORY = 4_000_000, 40_000_000  # bytes
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SLUG = PROJECT["urls"]["Repository"].removeprefix("https://github.com/")
OTHER = "Someone-Else/another.book"
# How a place that holds the address begins. A link to anybody else's repository looks like none of these.
PLACES = re.compile(
    r"""(?: ^Repository\ =\ "https://github\.com/ | ^\ \ url:\ https://github\.com/ | ^repository-code:\ "https://github\.com/
          | git\ clone\ https://github\.com/ | git\+https://github\.com/ | \[repository\]\(https://github\.com/
          | https://colab\.research\.google\.com/github/ ) ([\w-]+/[\w.-]*\w)""",
    re.VERBOSE | re.MULTILINE,
)


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def pins(file: str = "requirements.txt") -> dict[str, str]:
    """Package -> exact version."""
    written = [line.partition("#")[0].strip() for line in read(file).splitlines()]
    found = [re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.]+)", line) for line in written if line]
    assert all(found), f"every line of {file} pins one package exactly"
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


def addresses(root: Path) -> dict[str, set[str]]:
    """File -> every OWNER/NAME that stands where the book's own address belongs."""
    found = {}
    for path in [*root.glob("*.*"), *root.glob("book/*.md"), *root.glob("chapters/*.ipynb")]:
        if path.is_file() and (places := PLACES.findall(path.read_text(encoding="utf-8"))):
            found[str(path.relative_to(root))] = {place.removesuffix(".git") for place in places}
    return found


def publish(root: Path, address: str) -> subprocess.CompletedProcess:
    return subprocess.run(["make", "publish", f"REPO={address}"], cwd=root, capture_output=True, text=True, check=False)


def test_address_is_the_same_everywhere():
    found = addresses(ROOT)
    assert {name for name, slugs in found.items() if slugs != {SLUG}} == set(), "make publish REPO=… puts it right"
    need = {"pyproject.toml", "_config.yml", "CITATION.cff", "README.md", "CONTRIBUTING.md", "book/how_to_use.md"}
    assert need | {f"chapters/{chapter.path.name}" for chapter in CHAPTERS} <= found.keys()


def test_publishing_elsewhere_leaves_the_old_address_nowhere_and_back_again_restores_every_byte(tmp_path, committed):
    for path in committed:
        (tmp_path / path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, tmp_path / path.relative_to(ROOT))
    page = "[another](https://github.com/{0}-extras), [source](https://github.com/{1}.git), https://github.com/{1}."
    (tmp_path / "book" / "page.md").write_text(page.format(SLUG, SLUG))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert publish(tmp_path, f"https://github.com/{OTHER}.git").returncode == 0
    pages = [site_address(f"https://github.com/{slug}") for slug in (SLUG, OTHER)]
    first = [(tmp_path / "chapters" / chapter.path.name).read_text(encoding="utf-8") for chapter in CHAPTERS]
    assert [[page in text for page in pages] for text in first] == [[False, True]] * len(CHAPTERS)
    assert set().union(*addresses(tmp_path).values()) == {OTHER}
    assert site_address(f"https://github.com/{OTHER}") in (tmp_path / "README.md").read_text(encoding="utf-8")
    assert (tmp_path / "book" / "page.md").read_text() == page.format(SLUG, OTHER)
    old = re.compile(rf"github(\.com)?/{SLUG}(?!-extras)".encode())
    assert not [path for path in before if old.search(path.read_bytes())]
    assert publish(tmp_path, f"https://github.com/{SLUG}/").returncode == 0
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("given", ["a/b", "https://example.org/a/b", "https://github.com/a", "git@github.com:a/b", ""])
def test_address_elsewhere_is_refused(given):
    done = publish(ROOT, given)
    assert done.returncode
    assert "make publish REPO=https://github.com/OWNER/NAME" in done.stderr


# --- one version, exact pins ---


def test_version_is_the_same_everywhere():
    citation = yaml.safe_load(read("CITATION.cff"))
    assert vitedu.__version__ == PROJECT["version"] == citation["version"]
    assert f"## {PROJECT['version']}" in read("CHANGELOG.md")


def test_every_setup_cell_installs_the_tag_of_the_version():
    """An old notebook keeps running after names have moved; `make publish` writes the tag."""
    tag = f"git+https://github.com/{SLUG}@v{PROJECT['version']}"
    for chapter in CHAPTERS:
        setup = [cell for cell in chapter.notebook["cells"] if "setup" in cell["metadata"].get("tags", [])]
        assert [f'"{tag}"' in "".join(cell["source"]) for cell in setup] == [True], chapter.path.name
    assert f'"{tag}"' in read("CONTRIBUTING.md")


def test_publishing_a_new_version_sets_its_tag_in_the_setup_cells(tmp_path, committed):
    for path in committed:
        (tmp_path / path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, tmp_path / path.relative_to(ROOT))
    project = tmp_path / "pyproject.toml"
    project.write_text(project.read_text().replace(f'version = "{PROJECT["version"]}"', 'version = "9.8.7"'))
    assert publish(tmp_path, f"https://github.com/{SLUG}").returncode == 0
    for chapter in CHAPTERS:
        text = (tmp_path / "chapters" / chapter.path.name).read_text(encoding="utf-8")
        assert text.count(f"git+https://github.com/{SLUG}@v9.8.7") == 1


def test_pins_lie_within_the_loose_bounds():
    """A hosted notebook keeps what it has: lower bounds alone."""
    needs = [Requirement(line) for line in PROJECT["dependencies"]]
    assert {spec.operator for need in needs for spec in need.specifier} == {">="}
    assert not [need for need in needs if not need.specifier.contains(pins()[canonicalize_name(need.name)])]


def test_environment_is_the_pinned_one():
    installed = {name: metadata.version(name).partition("+")[0] for name in pins()}
    assert installed == pins(), "the tests speak for the pinned versions alone; run `make test`"


@pytest.mark.parametrize("file", ["requirements.txt", "book/requirements.txt"])
def test_pins_are_complete(file):
    """Whatever a pinned package needs on this machine is pinned too, but for what torch alone brings."""
    needs = [need for name in pins(file) for need in map(Requirement, metadata.requires(name) or [])]
    wanted = {need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})}
    missing = {canonicalize_name(name) for name in wanted} - set(pins(file))
    assert not {name for name in missing if not name.startswith(("nvidia-", "cuda-")) and name != "triton"}


def test_site_is_built_with_the_pinned_versions_and_without_torch():
    assert pins("book/requirements.txt").items() <= pins().items()
    assert not {"torch", "torchvision", "matplotlib", "numpy"} & pins("book/requirements.txt").keys()
    config = yaml.safe_load(read("_config.yml"))["sphinx"]["config"]["extensions"]
    own = [name for name in config if name.startswith("book.")]
    check = f"import sys, {', '.join(own)}; print({{'torch', 'numpy', 'matplotlib', 'psutil'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_workflow_builds_the_site_by_the_books_own_command():
    workflow = yaml.safe_load(read(".github/workflows/site.yml"))
    build, publish_ = workflow["jobs"]["build"], workflow["jobs"]["publish"]
    assert "make book" in [step.get("run") for step in build["steps"]]
    assert {"path": "_build/html"} in [step.get("with") for step in build["steps"]]
    assert publish_["needs"] == "build"
    assert publish_["permissions"] == {"pages": "write", "id-token": "write"}


# --- set-up errors of one line ---


@pytest.mark.parametrize(
    ("asked", "does", "remedy"),
    [
        ("", "", "no-such-python is missing; install it: apt install python3 python3-venv"),
        ("*version_info*", "exit 1", "Python 3.9.2 is too old or does not run; install Python 3.11 or later"),
        ("*ensurepip*", "echo ModuleNotFoundError >&2; exit 1", "install the missing part: apt install python3-venv"),
        ('*"-m venv"*', 'mkdir -p "$3/bin"; echo no space left >&2; exit 1', "no space left"),
    ],
)
def test_what_is_missing_is_said_in_one_line(tmp_path, asked, does, remedy):
    """By stand-ins for a Python that fails when it is asked for one thing; no half-made environment stays behind."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\ncase "$*" in {asked}) {does};; -V) echo Python 3.9.2;; esac\n')
    python.chmod(0o755)
    command = ["sh", "book/tools/setup_venv.sh", str(tmp_path / "venv")]
    environment = {**os.environ, "PYTHON": str(python) if asked else "no-such-python"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert remedy in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "venv").exists()


# --- the layout ---


def test_top_level_holds_what_the_layout_names_and_nothing_else(committed):
    assert {path.relative_to(ROOT).parts[0] for path in committed} <= TOP_LEVEL


def test_repository_stays_small(committed):
    sizes = {path: path.stat().st_size for path in committed}
    assert not [path for path, size in sizes.items() if size > LARGEST_FILE]
    assert sum(sizes.values()) < LARGEST_REPOSITORY


def test_help_names_every_target():
    makefile = read("Makefile")
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()
    assert set(re.findall(r'@echo "make (\w+)', makefile)) == set(targets) - {"help"}


def test_every_list_of_chapters_follows_the_notebooks():
    """Which there are, in which order, by which titles: the contents, the README, the introduction, the checkers."""
    names = {chapter.number: chapter.path.name for chapter in CHAPTERS}
    listed = re.findall(r"file: (chapters/\S+)", read("_toc.yml"))
    assert listed == [f"chapters/{chapter.path.stem}" for chapter in CHAPTERS]
    stop_of = {stop.number: stop for stop in stops(INTRO.read_text(encoding="utf-8"))}
    assert {number for number, stop in stop_of.items() if stop.written} == names.keys()
    assert all(chapter.title.startswith(stop_of[chapter.number].title) for chapter in CHAPTERS)
    colab = f"[open in Colab](https://colab.research.google.com/github/{SLUG}/blob/main/chapters"
    rows = [
        f"| {number} | [{stop.title}](chapters/{names[number]}) | {colab}/{names[number]}) |"
        if stop.written
        else f"| {number} | {stop.title} | planned |"
        for number, stop in stop_of.items()
    ]
    assert re.findall(r"^\| \d+ \|.*$", read("README.md"), re.MULTILINE) == rows
    assert list(CHECKED) == [chapter.number for chapter in CHAPTERS if chapter.exercises]


# --- what the texts name is there ---

TEXTS = [*ROOT.glob("*.md"), *ROOT.glob("book/*.md"), *(chapter.path for chapter in CHAPTERS), ROOT / "Makefile"]
NAMED_PATH = re.compile(r"(?<![\w/.-])(?:book|chapters|tests|vitedu|\.ci)/[\w./-]*[\w/]")
NAMED_MODULE = re.compile(r"(?<![\w/.-])(?:vitedu|book\.tools)(?:\.[A-Za-z]\w*)+")


def text_of(path: Path) -> str:
    """A notebook's cells without what they print."""
    text = path.read_text(encoding="utf-8")
    cells = json.loads(text)["cells"] if path.suffix == ".ipynb" else [{"source": text}]
    return "\n".join("".join(cell["source"]) for cell in cells)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_every_path_name_and_command_that_a_text_gives_is_there(path):
    """NAME and NN stand for any; book.tools is no package and is looked for on the disk."""
    text = text_of(path)
    paths = {named for named in NAMED_PATH.findall(text) if not re.search("NAME|NN", named)}
    names = set(NAMED_MODULE.findall(text))
    tools = {name.replace(".", "/") for name in names if name.startswith("book.")}
    assert not {named for named in paths if not (ROOT / named).exists()}
    assert not {tool for tool in tools if not ((ROOT / f"{tool}.py").is_file() or (ROOT / tool).is_dir())}
    for name in names:
        if name.startswith("vitedu."):
            pkgutil.resolve_name(name)
    for options in re.findall(r"python -m vitedu\.train (--(?:data|resume|start-from) [^`\n]*)", text):
        cli.parse(shlex.split(options, comments=True))


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_local_links_and_pictures_exist(name):
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", read(name)) if "://" not in link]
    assert links
    assert not [link for link in links if not any((folder / link).exists() for folder in (ROOT, ROOT / "book"))]


def test_year_of_a_reference_is_that_of_its_first_version():
    """A key is author and year; an arXiv id begins with the two digits of that year."""
    entries = re.findall(r"@misc\{(\w+),(.*?)\n\}", read("book/references.bib"), re.DOTALL)
    keys = [key for key, _ in entries]
    assert len(set(keys)) == len(keys) > 20
    for key, entry in entries:
        year = re.search(r"year = \{(\d{4})\}", entry)[1]
        assert re.fullmatch(rf"[a-z]+{year}[b-z]?", key)
        ids = re.findall(r"(?:arXiv:|arxiv\.org/abs/)(\d{4}\.\d{5})", entry)
        assert len(set(ids)) <= 1
        assert all(number.startswith(year[2:]) for number in ids), key
