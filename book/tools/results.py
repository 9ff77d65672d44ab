"""List the scripts behind the recorded results, or run those named (behind `make results`)."""

import argparse
import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENTS = ROOT / "book" / "experiments"


def summary(script: Path) -> str:
    """The first line of a script's docstring."""
    text = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or "(no docstring)"
    return text.splitlines()[0]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="the scripts to run; none lists them")
    known, options = parser.parse_known_args(arguments)  # what is left is for the scripts: --seeds 3, --smoke
    names = known.names
    scripts = {path.stem: path for path in sorted(EXPERIMENTS.glob("[!_]*.py"))}  # _NAME.py is shared by scripts
    if not names:
        print("Scripts behind the recorded results (run one: make results NAME=...):" if scripts else "No scripts yet")
        for name, path in scripts.items():
            print(f"  {name:<24} {summary(path)}")
        return 0
    unknown = [name for name in names if name not in scripts]
    if unknown:
        print(f"no script is called {', '.join(unknown)}; there are: {', '.join(scripts) or 'none'}", file=sys.stderr)
        return 2
    for name in names:
        print(f"Running book/experiments/{name}.py", flush=True)
        code = subprocess.run([sys.executable, str(scripts[name]), *options], cwd=ROOT, check=False).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
