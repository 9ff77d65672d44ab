"""A trained model with all that it takes to classify a picture: class names, size, mean and spread of its pictures."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import UnidentifiedImageError
from torch import Tensor, nn

from vitedu.data import normalise
from vitedu.data.picture import GROUNDS, decode_picture
from vitedu.files import CheckpointError, check_weights
from vitedu.initialise import count
from vitedu.models.table import CLASSIFIERS, MODELS
from vitedu.patch import pair
from vitedu.pretrained import WEIGHTS, available, describe, load
from vitedu.train.checkpoint import STATE_FILE, read_state
from vitedu.train.run import RUN_FILE, build_model, configs, final_weights, read_run

Answer = list[tuple[str, float]]  # classes with their probabilities, the likeliest first
AT_ONCE = 64  # pictures that go through the model together


@dataclass(frozen=True, kw_only=True, eq=False)
class Classifier:
    """A model in evaluation mode, on the CPU, and how its pictures were prepared.

    Args:
        name: where it came from.
        model: (B, C, H, W) -> scores (B, K).
        class_names: K of them.
        shape: of a picture, (C, H, W).
        mean, std: of each channel over its training pictures, in [0, 1] units, (C,).
        ground: on what transparent parts are laid, one of `vitedu.data.picture.GROUNDS`.
        run: the settings of the run that trained it; None for weights without one.
    """

    name: str
    model: nn.Module
    class_names: tuple[str, ...]
    shape: tuple[int, int, int]
    mean: Tensor
    std: Tensor
    ground: str = "white"
    run: dict | None = None

    def __call__(self, pictures: str | Path | Iterable[str | Path], top: int = 3) -> list[Answer]:
        """The `top` likeliest classes of each picture file. ValueError, naming it, for one that cannot be read."""
        count("top", top)
        files = [pictures] if isinstance(pictures, str | Path) else list(pictures)
        found = []
        for start in range(0, len(files), AT_ONCE):
            images = torch.stack([self.read(file) for file in files[start : start + AT_ONCE]])  # (B, C, H, W)
            found += self.best(self.probabilities(images), top)
        return found

    def read(self, file: str | Path) -> Tensor:
        """One picture as it was prepared for training: resized until it covers H × W, its middle kept; uint8 (C, H, W).

        ValueError if it cannot be decoded, OSError if it cannot be read.
        """
        data = Path(file).expanduser().read_bytes()
        try:
            pixels, _ = decode_picture(data, self.shape[1:], self.shape[0], GROUNDS[self.ground])
        except Exception as error:  # Pillow's many decoders raise many kinds for a damaged file
            reason = "its format is unknown" if isinstance(error, UnidentifiedImageError) else error
            raise ValueError(f"{file} is not a readable picture: {reason}; replace it or leave it out") from error
        return torch.from_numpy(pixels)

    @torch.no_grad()
    def probabilities(self, images: Tensor) -> Tensor:
        """Bytes (B, C, H, W) -> probabilities of the classes (B, K). ValueError for pictures of another shape."""
        if tuple(images.shape[1:]) != self.shape or images.dtype != torch.uint8:
            given = f"{images.dtype} {tuple(images.shape[1:])}"
            raise ValueError(f"pictures are {given}, {self.name} takes uint8 {self.shape}; prepare them with read")
        return self.model(normalise(images, self.mean, self.std)).softmax(dim=1)

    def best(self, probabilities: Tensor, top: int = 3) -> list[Answer]:
        """The likeliest classes by name: (B, K) -> B lists of `top`, or of all if there are fewer."""
        shares, places = probabilities.topk(min(top, len(self.class_names)), dim=1)
        return [
            [(self.class_names[k], share) for k, share in zip(row, numbers, strict=True)]
            for row, numbers in zip(places.tolist(), shares.tolist(), strict=True)
        ]


def classifier(source: str | Path) -> Classifier:
    """What classifies pictures with the model that `source` names.

    Args:
        source: a name of weights that ship with the book; the folder of a run that `python -m vitedu.train` has
            written, or its checkpoint; or NAME.json or NAME.safetensors of what `vitedu.pretrained.save` has written
            with `class_names`, `mean` and `std`. For a folder that is called like shipped weights, write ./NAME.

    Raises:
        ValueError: there is nothing of that name, or what is there does not classify.
        CheckpointError: it is damaged, or does not say what its pictures were like.
    """
    path = Path(source).expanduser()
    if str(source) in available():
        return _weights(str(source), WEIGHTS)
    if path.is_dir():
        return _run(path)
    if not path.is_file():
        raise ValueError(f"no run {path} here, and no weights of that name; there are: {', '.join(available())}")
    if (path.parent / RUN_FILE).exists():
        kept = read_state(path.parent)["tensors"]
        if path.name not in (RUN_FILE, STATE_FILE, kept):
            raise CheckpointError(f"{path} is not what the run in {path.parent} has kept, which is {kept}; name that")
        return _run(path.parent)
    if path.stem not in available(path.parent):
        raise CheckpointError(f"{path} is no checkpoint of a run, and has no {path.stem}.json beside it; name the run")
    return _weights(path.stem, path.parent)


def _run(folder: Path) -> Classifier:
    """The model that the run in `folder` has kept."""
    if not (folder / RUN_FILE).exists():
        raise CheckpointError(f"no {RUN_FILE} in {folder}; name a folder that python -m vitedu.train --out has written")
    run = read_run(folder)
    if not (folder / STATE_FILE).exists():
        raise CheckpointError(f"{folder} has no checkpoint yet; train it with python -m vitedu.train --resume {folder}")
    model, weights = build_model(run), final_weights(folder)
    check_weights(weights, model.state_dict(), f"the weights in {folder} are not those of its {RUN_FILE}")
    model.load_state_dict(weights)
    config = configs(run)[0]
    shape, about = (config.in_channels, *pair(config.image_size)), run["data"].get("about", {})
    remedy = f"run python -m vitedu.train --resume {folder} once, which notes it"
    return _classifier(folder, model, about, shape, config.num_classes, remedy, run)


def _weights(name: str, folder: Path) -> Classifier:
    """What `vitedu.pretrained.save` wrote. ValueError for a model that does not classify."""
    card = describe(name, folder)
    able = {MODELS[kind].model.__name__ for kind in CLASSIFIERS}
    if card.get("model") not in able:
        raise ValueError(f"{name} is a {card.get('model')}, which does not classify; {', '.join(sorted(able))} do")
    model = load(name, folder)
    config = card["config"]
    if "image_size" not in config and "image_size" not in card:
        raise CheckpointError(f"{name}.json does not say image_size, the side of its pictures; save it with image_size")
    size = card.get("image_size", config.get("image_size"))
    shape = (config["in_channels"], *pair(tuple(size) if isinstance(size, list) else size))
    remedy = "save it again with class_names, mean and std"
    return _classifier(folder / name, model, card, shape, config["num_classes"], remedy)


def _classifier(
    where: Path,
    model: nn.Module,
    about: dict,
    shape: tuple[int, int, int],
    classes: int,
    remedy: str,
    run: dict | None = None,
) -> Classifier:
    """Put together; CheckpointError, with the remedy, for what `about` lacks or does not have as often as needed."""
    name = where.name if run is None else str(where)
    for key, length in {"class_names": classes, "mean": shape[0], "std": shape[0]}.items():
        if key not in about:
            raise CheckpointError(f"{name} does not say the {key} of what it was trained on; {remedy}")
        if not _are(str if key == "class_names" else float, about[key]) or len(about[key]) != length:
            raise CheckpointError(f"{name}: {key} is {about[key]!r}, expected {length} of them; {remedy}")
    if about.get("ground", "white") not in GROUNDS:
        raise CheckpointError(f"{name}: ground is {about['ground']!r}, expected one of {', '.join(GROUNDS)}; {remedy}")
    return Classifier(
        name=name,
        model=model.eval(),
        class_names=tuple(about["class_names"]),
        shape=shape,
        mean=torch.tensor(about["mean"]),
        std=torch.tensor(about["std"]),
        ground=about.get("ground", "white"),
        run=run,
    )


def _are(kind: type, values: Sequence) -> bool:
    return isinstance(values, list) and all(type(value) is kind for value in values)
