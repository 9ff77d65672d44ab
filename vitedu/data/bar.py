"""The progress bar of what takes long: downloading and decoding."""

import sys

from tqdm import tqdm


def progress_bar(**options) -> tqdm:
    """A bar in a terminal or a notebook that disappears at the end, and none in a log file."""
    in_notebook = "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None
    return tqdm(**options, leave=False, disable=not (in_notebook or sys.stderr.isatty()))
