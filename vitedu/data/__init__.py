"""Image data sets, whole, as `uint8` tensors: `load(name)` gives training, validation and test splits."""

import difflib
import os
from pathlib import Path

from vitedu.data.dataset import Dataset, Split, normalise
from vitedu.data.digits import load_digits
from vitedu.data.download import DatasetUnavailable
from vitedu.data.folder import load_folder
from vitedu.data.paths import data_root
from vitedu.data.published import PUBLISHED, load_named
from vitedu.data.shapes import draw_shapes, load_shapes
from vitedu.files import say
from vitedu.patch import Size

__all__ = ["NAMES", "Dataset", "DatasetUnavailable", "Split", "draw_shapes", "load", "normalise"]

NAMES = ("digits", "shapes", *PUBLISHED)


def load(
    name: str | Path, /, root: str | Path | None = None, image_size: Size | None = None, quiet: bool = False, **options
) -> Dataset:
    """Load a data set and say in one line what was loaded.

    Args:
        name: one of `NAMES`, or a folder, .zip or .tgz laid out `train/<class>/*.jpg`, `test|val/<class>/*.jpg`, or
            `<class>/*.jpg`, which is then divided 80/10/10.
        root: the folder that holds the published sets; `$VITEDU_DATA` by default, else `~/.cache/vitedu`.
        image_size: side, or (height, width), for `shapes`, `imagenette` and folders; the others have one fixed size.
        quiet: print nothing.
        options: what `load_shapes` (for `shapes`) or `load_folder` (for a path) takes besides, as its `name`.

    Raises:
        DatasetUnavailable: a published set is not on this disk and cannot be downloaded.
        ValueError: the name is unknown, or a folder is not laid out as `load_folder` says.
    """
    dataset = _load(name, Path(root).expanduser() if root else data_root(), image_size, quiet, options)
    if not quiet:
        say(dataset.describe())
    return dataset


def _load(name: str | Path, root: Path, image_size: Size | None, quiet: bool, options: dict) -> Dataset:
    if name == "shapes":
        return load_shapes(image_size, **options)
    if name == "digits":
        if image_size not in (None, 8, (8, 8)):
            raise ValueError(f"digits has images of (8, 8), not {image_size}; leave image_size out, and resize later")
        return load_digits(**options)
    if name in PUBLISHED:
        return load_named(name, root, image_size, quiet, **options)
    path = os.path.expanduser(name)
    if os.path.exists(path):
        return load_folder(Path(path), image_size, quiet=quiet, **options)
    near = difflib.get_close_matches(str(name).lower(), NAMES, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "or is the path misspelt?"
    raise ValueError(f"{str(name)!r} is neither a data set ({', '.join(NAMES)}) nor a folder or file here; {hint}")
