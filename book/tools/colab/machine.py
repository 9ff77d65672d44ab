"""A stand-in for the machine that Colab lends: Colab's main packages and nothing else, the oldest or the newest.

The oldest are those of oldest.txt, installed once into _build/colab and kept there. The newest are the pinned
ones, borrowed from the environment that runs this.
"""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[3]
LIST = Path(__file__).with_name("oldest.txt")
OLDEST = ROOT / "_build" / "colab" / "oldest"
NOT_PASSED_ON = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "MPLBACKEND", "JUPYTER_PATH")


def main_packages() -> dict[str, str]:
    """Colab's main packages -> their oldest version, from the list."""
    lines = [line.partition("#")[0].strip() for line in LIST.read_text(encoding="utf-8").splitlines()]
    return {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines if line)}


def site_of(environment: Path) -> Path:
    """Where a virtual environment keeps its packages."""
    return Path(sysconfig.get_path("purelib", vars={"base": str(environment)}))


def packages_below(wanted: set[str], site: Path) -> list[importlib.metadata.Distribution]:
    """The wanted packages and everything they need in turn, as installed in the folder `site`."""
    there = {canonicalize_name(d.name): d for d in importlib.metadata.distributions(path=[str(site)])}
    missing = wanted - there.keys()
    if missing:
        raise ValueError(f"{site} has no {', '.join(sorted(missing))}; run `make clean` and the same command again")
    seen, left = set(), {(name, "") for name in wanted}  # a package, and which of its extras is asked for
    while left:
        name, extra = left.pop()
        seen.add((name, extra))
        for need in map(Requirement, there[name].requires or []):
            if canonicalize_name(need.name) in there and (
                need.marker is None or need.marker.evaluate({"extra": extra})
            ):
                left |= {(canonicalize_name(need.name), asked) for asked in ("", *need.extras)} - seen
    return [there[name] for name in sorted({name for name, _ in seen})]


def make_machine(folder: Path, wanted: set[str], site: Path) -> Path:
    """Make a virtual environment that has the wanted packages of `site`, without copying them; returns its Python.

    The packages are links in a folder beside the environment's own, so pip sees them as installed, and a package that
    it adds or replaces goes into the environment: `site` is never written to.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    links = folder / "preinstalled"
    links.mkdir()
    for package in packages_below(wanted | {"pip"}, site):
        tops = {file.parts[0] for file in package.files or [] if file.parts[0] not in ("..", "__pycache__")}
        for top in tops:
            if (site / top).exists() and not (links / top).exists():
                (links / top).symlink_to(site / top)
    (site_of(folder) / "preinstalled.pth").write_text(f"{links}\n")
    return folder / "bin" / "python"


def oldest_packages() -> Path:
    """The folder with the packages of the list; they are installed when it is missing or was made from another list."""
    made_from, made_now = OLDEST / "made_from.txt", f"Python {sys.version}\n{LIST.read_text(encoding='utf-8')}"
    if not made_from.is_file() or made_from.read_text(encoding="utf-8") != made_now:
        print(f"Installing the packages of {LIST.relative_to(ROOT)} (6 GB on disk; some minutes, once)", flush=True)
        shutil.rmtree(OLDEST, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", OLDEST], check=True)
        subprocess.run(
            [OLDEST / "bin" / "python", "-m", "pip", "install", "--quiet", "--requirement", LIST], check=True
        )
        made_from.write_text(made_now, encoding="utf-8")
    return site_of(OLDEST)


def newest_packages() -> Path:
    """The folder with the pinned packages: that of the environment that runs this."""
    return site_of(Path(sys.prefix))


def environment_of_a_machine(**more: str) -> dict[str, str]:
    """The variables of this process, but for those that would let it shine through."""
    quiet = {"PYDEVD_DISABLE_FILE_VALIDATION": "1"}  # or older kernels warn about their debugger
    return {name: value for name, value in os.environ.items() if name not in NOT_PASSED_ON} | quiet | more


def installed(python: Path) -> dict[str, str]:
    """Package -> version, as pip on that machine sees it."""
    command = [python, "-m", "pip", "--disable-pip-version-check", "list", "--format=json"]
    listed = subprocess.run(command, env=environment_of_a_machine(), capture_output=True, text=True, check=True).stdout
    return {canonicalize_name(package["name"]): package["version"] for package in json.loads(listed)}


def changes(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """What happened to the packages that were there before: one phrase for each that is not as it was."""
    return [f"{name} {old} -> {after.get(name, 'gone')}" for name, old in before.items() if after.get(name) != old]
