"""Run chapters as a reader in Colab does: the notebook file alone, in an empty folder, where vitedu is not installed.

A fresh virtual environment gets what such a machine has already (torch, torchvision, numpy, matplotlib, a notebook
kernel) and nothing else. The setup cell then installs vitedu from the last commit here, through a file:// address.
Fails if a cell fails, or if installing vitedu changed a package that was there before.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ALREADY_THERE = ("torch", "torchvision", "numpy", "matplotlib", "ipykernel", "nbclient")


def pins(names: tuple[str, ...]) -> list[str]:
    """The lines of requirements.txt for these packages."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return [line for line in lines if line.split("==")[0] in names]


def installed(python: Path) -> dict[str, str]:
    """Versions of all packages in the environment of `python`."""
    freeze = subprocess.run([python, "-m", "pip", "freeze"], capture_output=True, text=True, check=True).stdout
    return dict(line.split("==") for line in freeze.splitlines() if "==" in line)


def run_alone(python: Path, chapter: Path, folder: Path) -> None:
    """Copy one chapter into an empty folder and run it there from top to bottom."""
    folder.mkdir()
    shutil.copy(chapter, folder)
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment["VITEDU_SOURCE"] = f"git+file://{ROOT}"
    started = time.perf_counter()
    command = [python, "-m", "jupyter", "execute", "--timeout=600", chapter.name]
    subprocess.run(command, cwd=folder, env=environment, check=True)
    print(f"{chapter.name}: ran alone in {time.perf_counter() - started:.0f} s", flush=True)


def main(names: list[str]) -> int:
    """Run the chapters whose file names start with one of `names`, or all."""
    chapters = [c for c in sorted((ROOT / "chapters").glob("*.ipynb")) if c.name.startswith(tuple(names) or "")]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        print("Making an environment with", ", ".join(pins(ALREADY_THERE)), flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        python = folder / "venv" / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", *pins(ALREADY_THERE)], check=True)
        before = installed(python)
        for chapter in chapters:
            run_alone(python, chapter, folder / chapter.stem)
        after = installed(python)
    changed = {name: (version, after.get(name)) for name, version in before.items() if after.get(name) != version}
    print("packages changed:", changed or "none", "; added:", ", ".join(sorted(after.keys() - before.keys())))
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
