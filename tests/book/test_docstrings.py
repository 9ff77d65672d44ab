"""Every module of `vitedu`: examples run, public names are documented and typed, importing changes nothing."""

import ast
import doctest
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import vitedu

MODULES = ["vitedu", *sorted(module.name for module in pkgutil.walk_packages(vitedu.__path__, "vitedu."))]
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def public_functions(tree: ast.Module):
    """(name, node) of the public functions and of the public methods and constructors of public classes."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and (method.name == "__init__" or method.name[0] != "_"):
                    yield f"{node.name}.{method.name}", method


def untyped(function: ast.FunctionDef) -> list[str]:
    """The parameters without a type, and "return" if what comes back has none; `**options` may stay open."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    missing = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
    return missing + (["return"] if function.returns is None and function.name != "__init__" else [])


def parse(name: str) -> ast.Module:
    return ast.parse(Path(inspect.getfile(importlib.import_module(name))).read_text(encoding="utf-8"))


def test_the_modules_are_found():
    assert {"vitedu.attention", "vitedu.vit", "vitedu.data.photograph", "vitedu.exercises.trial"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_every_example_runs_and_prints_what_it_says(name):
    assert doctest.testmod(importlib.import_module(name), optionflags=FLAGS).failed == 0


def test_there_are_examples_to_run():
    finder = doctest.DocTestFinder()
    assert sum(len(test.examples) for name in MODULES for test in finder.find(importlib.import_module(name))) >= 2


@pytest.mark.parametrize("name", MODULES)
def test_everything_public_has_a_docstring(name):
    tree = parse(name)
    classes = [(n.name, n) for n in tree.body if isinstance(n, ast.ClassDef) and not n.name.startswith("_")]
    functions = [(label, node) for label, node in public_functions(tree) if node.name != "__init__"]
    documented = [(name, tree), *classes, *functions]
    assert [label for label, node in documented if not ast.get_docstring(node)] == []


@pytest.mark.parametrize("name", MODULES)
def test_every_public_signature_is_fully_typed(name):
    assert {label: missing for label, node in public_functions(parse(name)) if (missing := untyped(node))} == {}


def imported_by_vitedu() -> list[str]:
    """The modules of other projects that vitedu's files import, also inside functions."""
    names = set()
    for module in MODULES:
        for node in ast.walk(parse(module)):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module)
    return sorted(name for name in names if name.split(".")[0] not in ("vitedu", "__future__"))


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
    arguments = [sys.executable, "-c", IMPORT_AND_COMPARE, ",".join(imported_by_vitedu()), ",".join(MODULES)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
