"""The house that CONTRIBUTING's map draws: which room imports which, what stands where, and how long it may be."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import vitedu

ROOT = Path(__file__).resolve().parents[1]
SPINE = ("initialise", "attention", "patch", "position", "block", "vit")
SHARED = ("capture", "cost", "device", "files", "plot", "recorded")
COMMANDS = ("predict", "share", "export")
# What each file at the top of `vitedu/`, and each room, may import of the others. It may import no more.
MAY_IMPORT: dict[str, set[str]] = {
    "initialise": set(),  # it also has the checks of settings, which the others share
    "attention": {"initialise"},
    "patch": {"initialise"},
    "position": {"initialise"},
    "block": {"initialise", "attention"},
    "vit": {"initialise", "patch", "position", "block"},
    "device": set(),
    "files": set(),
    "recorded": set(),
    "plot": {"patch"},
    "capture": {"attention", "block"},
    "data": {"patch", "files"},
    "models": {*SPINE, "capture"},
    "cost": {"patch", "vit"},
    "inspection": {*SPINE, "capture", "files", "plot", "models"},
    "train": {*SPINE, "capture", "cost", "data", "device", "files", "models", "pretrained"},
    "pretrained": {*SPINE, "data", "files", "models"},
}
MAY_IMPORT["exercises"] = set(MAY_IMPORT)  # and nobody imports the exercises
MAY_IMPORT["use"] = {*SPINE, *SHARED, "data", "models", "inspection", "train", "pretrained"}
MAY_IMPORT |= {command: {"use"} for command in COMMANDS}  # and nobody imports the commands
ROOMS = MAY_IMPORT.keys() - {*SPINE, *SHARED, *COMMANDS}
LONGEST_SPINE, LONGEST_TAUGHT, LONGER = 800, 200, {"cvt.py": 250, "swin.py": 250}  # lines


def modules() -> dict[str, Path]:
    """`vitedu.data.load`-like names of every file of the package; a room goes by the name of its folder."""
    paths = {path: path.relative_to(ROOT).with_suffix("").parts for path in sorted((ROOT / "vitedu").rglob("*.py"))}
    return {".".join(parts).removesuffix(".__init__"): path for path, parts in paths.items()}


MODULES = modules()


def imported(source: str) -> set[str]:
    """Everything that a file imports, at its top and inside its functions: `from vitedu import plot` is vitedu.plot."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "no relative imports: the name says where a thing lies"
            longer = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in MODULES else node.module for name in longer}
    return names


IMPORTS = {name: imported(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}
OWN = {name: found & MODULES.keys() for name, found in IMPORTS.items()}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else "the top of vitedu"


def test_a_room_imports_what_lies_before_it_and_nothing_else():
    wrong = {
        f"{name} imports {other}"
        for name in MODULES.keys() - {"vitedu"}
        for other in OWN[name]
        if room(other) not in {room(name), *MAY_IMPORT[room(name)]}
    }
    assert wrong == set()


def test_there_is_no_circle_of_imports():
    """Neither in the rule nor in the code, where also a module that imports the room it lies in would close one."""
    for graph in (MAY_IMPORT, OWN):
        TopologicalSorter({name: found - {name} for name, found in graph.items()}).prepare()


def test_the_package_knows_nothing_of_the_book_and_nobody_imports_the_tests():
    outside = {path: imported(path.read_text(encoding="utf-8")) for path in (ROOT / "book").rglob("*.py")}
    for path, names in [*outside.items(), *((MODULES[name], found) for name, found in IMPORTS.items())]:
        tops = {name.split(".")[0] for name in names}
        assert not tops & ({"tests"} if path in outside else {"tests", "book"}), path


def test_the_top_of_the_package_is_the_spine_the_shared_files_and_the_rooms():
    found = {path.name.removesuffix(".py") for path in (ROOT / "vitedu").iterdir() if path.name != "__pycache__"}
    assert found == {"__init__", *SPINE, *SHARED, *ROOMS, *COMMANDS}


@pytest.mark.parametrize("map", [vitedu.__doc__, (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")])
def test_both_maps_name_every_file_at_the_top_and_every_room(map):
    drawn = [
        re.search(rf"^ .*\b{name}(\.py|/)?(?= )", map, re.MULTILINE) for name in (*SPINE, *SHARED, *ROOMS, *COMMANDS)
    ]
    assert all(drawn)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_at_the_top_only_starts_what_a_room_holds(name):
    body = ast.parse(MODULES[f"vitedu.{name}"].read_text(encoding="utf-8")).body
    assert [type(part) for part in body] == [ast.Expr, ast.ImportFrom, ast.If]


def test_the_spine_fits_in_one_sitting_and_each_taught_file_on_a_few_screens():
    def lines(path: Path) -> int:
        return len(path.read_text(encoding="utf-8").splitlines())

    spine = [ROOT / "vitedu" / f"{name}.py" for name in SPINE]
    assert sum(map(lines, spine)) <= LONGEST_SPINE
    taught = [*spine, *(ROOT / "vitedu" / "models").glob("*.py")]
    assert not [path.name for path in taught if lines(path) > LONGER.get(path.name, LONGEST_TAUGHT)]


# --- what importing does ---

IMPORT_AND_COMPARE = """
import importlib, os, random, signal, sys, warnings
import matplotlib, numpy, torch

def state():
    return {
        "torch seed": torch.get_rng_state().tolist(),
        "numpy seed": repr(numpy.random.get_state()),
        "python seed": random.getstate(),
        "rcParams": dict(matplotlib.rcParams),
        "warning filters": list(warnings.filters),
        "default device": torch.get_default_device(),
        "default dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "gradients": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "float32 precision": torch.get_float32_matmul_precision(),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "path": list(sys.path),
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
    }

others, modules = (argument.split(",") for argument in sys.argv[1:])
for name in others:
    importlib.import_module(name)
before = state()
for name in modules:
    importlib.import_module(name)
after = state()
print(*[key for key in before if before[key] != after[key]], sep=", ")
"""


def test_importing_every_module_sets_no_seed_style_filter_or_default_and_prints_nothing():
    """The other projects' modules are imported first, so that what changes is vitedu's doing."""
    others = {name for found in IMPORTS.values() for name in found if not name.startswith(("vitedu", "__future__"))}
    own = [name for name in MODULES if not name.endswith("__main__")]  # which runs the command
    arguments = [sys.executable, "-c", IMPORT_AND_COMPARE, ",".join(sorted(others)), ",".join(own)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
