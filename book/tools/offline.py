"""Run the chapters that can use a downloadable set as on a machine that has none, and no network (`make offline`).

Home and cache are empty, and whoever asks for a published file meets a proxy that nobody runs.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat

from book.tools.run_notebooks import RERUN
from book.tools.site.chapters import ROOT, notebooks
from vitedu.data.published import PUBLISHED

NAMED = re.compile(rf"""["']({"|".join(PUBLISHED)})["']""")
NOWHERE = "http://127.0.0.1:9"  # the port of the service that discards what it is sent, which is closed
LEFT_OUT = re.compile("VITEDU_|XDG_|TORCH_HOME|HF_|.*_proxy", re.IGNORECASE)


def can_download(path: Path) -> bool:
    """Whether a code cell of the notebook names a published set."""
    cells = nbformat.read(path, as_version=4).cells
    return any(cell.cell_type == "code" and NAMED.search(cell.source) for cell in cells)


def cut_off(home: Path) -> dict[str, str]:
    """The variables of this process with an empty home, and with no data set and no network to be found."""
    kept = {name: value for name, value in os.environ.items() if not LEFT_OUT.match(name)}
    return kept | {"HOME": str(home), "http_proxy": NOWHERE, "https_proxy": NOWHERE}


def main() -> int:
    chapters = filter(can_download, notebooks())
    with tempfile.TemporaryDirectory() as home:
        environment = cut_off(Path(home))
        # Where this takes long matplotlib says so, and that would be in the output of the first cell.
        subprocess.run([sys.executable, "-c", "import matplotlib.font_manager"], env=environment, check=True)
        return subprocess.run([*RERUN, *chapters], cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
