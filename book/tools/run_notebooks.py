"""Run the chapters from top to bottom, in place, and normalise what is stored (behind `make notebooks`).

    python -m book.tools.run_notebooks                    every chapter
    python -m book.tools.run_notebooks 05                 the chapters whose file name starts with 05
    python -m book.tools.run_notebooks --normalise-only   leave the outputs, only put the metadata in order

A notebook that fails is left as it was. Normalising twice changes nothing, so that a re-run without a change shows no
difference but in outputs that depend on the machine. What each run took goes to book/run_times.json (run_times.py).
"""

import argparse
import base64
import io
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbval.plugin import coalesce_streams
from PIL import Image

from book.tools.form import put_in_form
from book.tools.run_times import FILE, describe_run, write_run
from book.tools.site.chapters import notebooks
from book.tools.usage import Meter
from vitedu.device import describe_device, pick_device
from vitedu.files import write_whole

CELL_TIMEOUT = 900  # seconds; a chapter's own budget is far below
# What runs notebooks again and compares them, as `make test` does, in the folder above `chapters`.
RERUN = [sys.executable, "-m", "pytest", "-p", "tests.notebook_budget", "--nbval", "--nbval-current-env"]
RERUN += ["--nbval-cell-timeout=600"]

KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
LANGUAGE_INFO = {"name": "python", "pygments_lexer": "ipython3"}
KEPT_NOTEBOOK_METADATA = ("accelerator", "vitedu")  # accelerator: "GPU" makes Colab start a machine that has one
KEPT_CELL_METADATA = ("mystnb", "tags", "vitedu")
WIDGET_TYPES = ("application/vnd.jupyter.widget-view+json", "application/vnd.jupyter.widget-state+json")


def normalise(notebook: NotebookNode, name: str = "") -> NotebookNode:
    """Put a notebook in the book's form, in place, and return it. `name` is that of a chapter's file, without `.ipynb`.

    Gone: execution timestamps, widgets and their state, what editors leave behind. Set: the kernel `python3`, the
    minimal language entry, nbformat 4.5 (whose reader has given an id to each cell; the ids stay). The frames of a
    progress bar are reduced to the last one, the one a reader sees. What is tagged is folded, and the links under the
    title follow the book's address (form.py).
    """
    kept = {key: notebook.metadata[key] for key in KEPT_NOTEBOOK_METADATA if key in notebook.metadata}
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNELSPEC, "language_info": LANGUAGE_INFO, **kept})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for cell in notebook.cells:
        kept = {key: cell.metadata[key] for key in KEPT_CELL_METADATA if key in cell.metadata}
        cell.metadata = nbformat.from_dict(kept)
        if cell.cell_type == "code":
            cell.outputs = normalise_outputs(cell.outputs)
    put_in_form(notebook, name)
    return notebook


def normalise_outputs(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """One stream per name with its progress frames reduced to the last; no widgets; no metadata but an image's size."""
    result = []
    for output in coalesce_streams(outputs):  # the same reduction that the tests apply before they compare
        if "data" in output:
            if any(kind in output.data for kind in WIDGET_TYPES):
                continue  # its text form is of no use to a reader either
            output.metadata = nbformat.from_dict({k: v for k, v in output.metadata.items() if k.startswith("image/")})
            if "image/png" in output.data:
                output.data["image/png"] = with_palette(output.data["image/png"])
        result.append(output)
    return result


def with_palette(png: str) -> str:
    """A base64 PNG with its colours reduced to the 256 that fit it best, which makes figures about three times smaller.

    What has a palette already comes back as it is, so that normalising twice changes nothing.
    """
    image = Image.open(io.BytesIO(base64.b64decode(png)))
    if image.mode == "P":
        return png
    small = io.BytesIO()
    image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return base64.b64encode(small.getvalue()).decode()


def execute(notebook: NotebookNode, folder: Path) -> Meter:
    """Run all cells in a fresh kernel of this interpreter, in `folder`: what it used. nbclient's errors pass."""
    meters = []
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        extra_arguments=["--IPKernelApp.log_level=40"],  # errors only
        on_notebook_start=lambda **_: meters.append(Meter(client.km.provisioner.pid)),
        on_cell_executed=lambda **_: meters[0].read(),
    )
    client.execute()
    return meters[0]


def process(path: Path, run: bool, record: Path | None = None) -> bool:
    """Run (if `run`) and normalise one notebook, note in `record` what it used, print one line. False if it failed."""
    notebook = nbformat.read(path, as_version=4)
    start, wall, used, took = time.perf_counter(), 0.0, None, ""
    try:
        if run:
            used = execute(notebook, path.parent)
            wall = time.perf_counter() - start
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        print(f"{path.name}: FAILED, left as it was\n{error}", file=sys.stderr, flush=True)
        return False
    write_whole(path, (nbformat.writes(normalise(notebook, path.stem)) + "\n").encode())
    if used:
        budget = notebook.metadata.get("vitedu", {}).get("budget", {}).get("seconds")
        limit = f" of {budget}" if budget else ""
        took = f"{used.seconds:.0f}{limit} s of the processor in {wall:.0f} s, peak {used.mib:.0f} MiB, "
        if record:
            write_run(path.stem, describe_run(notebook, wall, used, describe_device(pick_device())), record)
    print(f"{path.name}: {took}normalised", flush=True)
    return True


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Run the chapters in place and normalise what is stored.")
    parser.add_argument("chapter", nargs="*", help="how a file name starts, for example 05; default: every chapter")
    parser.add_argument("--normalise-only", action="store_true", help="do not run, only put the metadata in order")
    options = parser.parse_args(arguments)
    run = not options.normalise_only
    results = [process(path, run, record=FILE) for path in notebooks(options.chapter)]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
