"""Exercise 9.6: a reader's model and recipe against the book's, in equal time, with the error of the difference."""

import copy
import functools
import math
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitedu.data import Dataset, Split, load, normalise
from vitedu.device import pick_device
from vitedu.exercises.compare import kind
from vitedu.exercises.exercise import Case, exercise
from vitedu.exercises.outcome import Outcome, name_error
from vitedu.exercises.trial import is_stub
from vitedu.files import say
from vitedu.train import TrainConfig, TrainingLoop, evaluate, recipe
from vitedu.train.augment import Augment
from vitedu.train.budget import Clock, train_in_turns
from vitedu.train.recipes import RECIPES
from vitedu.vit import ViT, ViTConfig

Entry = Callable[[Dataset], tuple[nn.Module, TrainConfig]]
BEYOND = 2.0  # standard errors from which on a difference is called more than chance
NAMES = "your entry", "the book's recipe"


def contest(
    entry: Entry,
    data: Dataset,
    seconds: float = 20.0,
    seeds: int = 1,
    device: torch.device | None = None,
    clock: Clock | None = None,
) -> None:
    """Train the entry and the book's recipe for equal time, in turns, and print how they do on the validation images.

    For a stub it says so and trains nothing. What is wrong with an entry is said in one line, errors included.

    Args:
        entry: the reader's function, data -> (untrained model, TrainConfig).
        data: trained on `data.train`, compared on `data.val`. The test images are not touched.
        seconds: of training for each of the two and for each seed; evaluation is not counted.
        seeds: how many runs, each from another start.
        device: where to train; the GPU if there is one.
        clock: what tells the time, in seconds; by default that of the processor on one thread, of the wall on a GPU.
    """
    try:
        problem = entry_problem(entry(data), data)
        if not problem:
            each = f"{seconds:g} s each, {seeds} seed{'s' * (seeds != 1)}"
            say(f"training {NAMES[0]} and {NAMES[1]}, {each}")
            return report(*run(entry, data, seconds, seeds, device or pick_device(), clock))
    except Exception as error:
        problem = "" if is_stub(Outcome(error=error)) else name_error(error)
    say(f"Contest: {f'not held: {problem}' if problem else 'not attempted yet'}")


def report(mine: Tensor, theirs: Tensor) -> None:
    """Print who is ahead, and whether another choice of images could well have turned it round.

    Args:
        mine, theirs: share of right answers per image, of the entry and of the book's, (n,) each. Both saw the same
            images, so only those that they answer apart count for the error.
    """
    gain = mine - theirs
    difference, error = gain.mean().item(), gain.std().item() / math.sqrt(len(gain))
    side = "ahead" if difference > 0 else "behind"
    chance = "beyond" if abs(difference) > BEYOND * error else "within"
    for name, right in zip(NAMES, (mine, theirs), strict=True):
        say(f"{name:17} {100 * right.mean():6.2f} %")
    say(f"{'difference':17} {100 * difference:+6.2f} ± {100 * error:.2f} points ({len(gain):,} images)")
    say(f"Contest: {f'{side}, {chance} chance' if difference else 'level'}")


def run(entry: Entry, data: Dataset, seconds: float, seeds: int, device: torch.device, clock: Clock | None) -> Tensor:
    """The shares for `report`, (2, n), over the seeds. ValueError: no seed, or a model whose scores are no numbers."""
    if seeds < 1:
        raise ValueError(f"{seeds} seeds; a contest needs at least 1")
    rights = []
    for seed in range(seeds):
        loops = [prepare(build, data, seed, device) for build in (entry, book_entry)]
        train_in_turns(loops, data.train.to(device), seconds, clock)
        rights += [right_answers(name, loop, data) for name, loop in zip(NAMES, loops, strict=True)]
    return torch.stack(rights).unflatten(0, (seeds, 2)).mean(dim=0)  # (2·seeds, n) -> (2, n)


def book_entry(data: Dataset) -> tuple[nn.Module, TrainConfig]:
    """The book's model and recipe for the data."""
    config, settings = recipe(data)
    return ViT(config), settings


def prepare(build: Entry, data: Dataset, seed: int, device: torch.device) -> TrainingLoop:
    """An untrained model with its recipe, both from one seed."""
    torch.manual_seed(seed)
    model, settings = build(data)
    return TrainingLoop(model.to(device), data, replace(settings, seed=seed), len(data.train), device)


def right_answers(name: str, loop: TrainingLoop, data: Dataset) -> Tensor:
    """1.0 for each validation image that the trained model answers right, else 0.0, (n,)."""
    logits = evaluate(loop.eval_model, data.val, data).logits
    if not logits.isfinite().all():
        raise ValueError(f"the scores of {name} are no longer finite numbers; its learning rate may be too high")
    return (logits.argmax(dim=1) == data.val.labels.cpu()).double()


# The check: what can be wrong with an entry before it is trained ------------------------------------------------------

STEPS, IMAGES, PATIENCE = 20, 32, 0.4  # on one batch, and the processor's seconds after which 5 steps will do


def entry_problem(returned: Any, data: Dataset) -> str:
    """What is wrong with a model and a recipe for `data`, in words, or nothing; it raises what the model raises.

    The model itself stays as it is: a copy is tried, on the CPU.
    """
    problem = _wrong_pair(returned)
    if problem:
        return problem
    model, config = copy.deepcopy(returned[0]).cpu(), returned[1]
    batch = data.train.subset(torch.arange(min(IMAGES, len(data.train)))).to("cpu")
    wrong = _wrong_scores(model, batch, data) or _wrong_recipe(model, config, data)
    return wrong or _wrong_way(model, config, batch, data)


def _wrong_pair(returned: Any) -> str:
    if not isinstance(returned, tuple | list):
        what = "the model alone" if isinstance(returned, nn.Module) else f"a value of type {kind(returned)}"
        return f"returned {what}, expected a pair (model, TrainConfig)"
    if len(returned) != 2:
        return f"returned a {kind(returned)} of {len(returned)}, expected a pair (model, TrainConfig)"
    due = ("first", nn.Module, "a model, an nn.Module"), ("second", TrainConfig, "a TrainConfig")
    for part, (name, wanted, expected) in zip(returned, due, strict=True):
        if not isinstance(part, wanted):
            what = "a model" if isinstance(part, nn.Module) else f"a value of type {kind(part)}"
            what = f"the class {part.__name__}, not called" if isinstance(part, type) else what
            return f"the {name} part is {what}, expected {expected}"
    return ""


@torch.no_grad()
def _scores(model: nn.Module, batch: Split, data: Dataset) -> Any:
    return model(normalise(batch.images, data.mean, data.std))


def _wrong_scores(model: nn.Module, batch: Split, data: Dataset) -> str:
    scores, classes = _scores(model.eval(), batch, data), len(data.class_names)
    if not isinstance(scores, Tensor):
        return f"the model returns a value of type {kind(scores)}, expected scores (B, K)"
    if scores.shape != (len(batch), classes):
        return f"the model returns scores {tuple(scores.shape)}, expected (B, K) = {len(batch), classes}"
    if not scores.isfinite().all():
        return "the untrained model's scores are not all finite numbers"
    if (scores >= 0).all() and torch.allclose(scores.sum(dim=1), torch.ones(len(scores)), atol=1e-3):
        return "the model returns probabilities, which sum to one, expected scores"
    knows = F.cross_entropy(scores, batch.labels) < 0.5 * math.log(classes)  # by chance it would be about log K
    return "the model knows the images before it is trained" if knows else ""


def _wrong_recipe(model: nn.Module, config: TrainConfig, data: Dataset) -> str:
    if config.augment.flip and not data.flip:
        return f"images are mirrored, but `data.flip` is False on {data.name}"
    theirs, settings = recipe(data)
    settings = replace(settings, epochs=config.epochs, seed=config.seed)  # in equal time neither is a change
    own = data.name in RECIPES  # elsewhere the book has only defaults, and a change may well lead back to them
    same = own and type(model) is ViT and (model.config, config) == (theirs, settings)
    return "this is the book's own recipe, unchanged" if same else ""


def _wrong_way(model: nn.Module, config: TrainConfig, batch: Split, data: Dataset) -> str:
    """Whether some steps on one batch, under the whole schedule, bring its loss down."""
    loop = TrainingLoop(model.train(), data, config, len(data.train), torch.device("cpu"))
    before, began = F.cross_entropy(_scores(model, batch, data), batch.labels), time.thread_time()
    for step in range(STEPS):
        loop.set_learning_rate(step * loop.total_steps // STEPS)
        loop.step(batch.images, batch.labels)
        if step >= 4 and time.thread_time() - began > PATIENCE:
            break
    after = F.cross_entropy(_scores(model, batch, data), batch.labels)
    return "" if after < before else "some steps on one batch do not bring its loss down"  # nor do they if it is NaN


# The exercise --------------------------------------------------------------------------------------------------------

_earlier: weakref.WeakSet[nn.Module] = weakref.WeakSet()  # layers of the model that this answer gave for digits


def _cases() -> list[Case]:
    """Digits, and 24 images 3×12×16 of four classes that differ in brightness; a mirror image keeps its label."""
    labels = torch.arange(24) % 4
    noise = torch.randint(40, (24, 3, 12, 16), generator=torch.Generator().manual_seed(0))
    split = Split((noise + 60 * labels.view(-1, 1, 1, 1)).to(torch.uint8), labels)
    names = ("black", "dark", "light", "white")
    made_up = Dataset("made-up", "made by the check", names, split, split, split, flip=True)
    digits = load("digits", quiet=True)
    return [Case((digits,), "digits"), Case((made_up,), "a made-up data set, 4 classes, images 3×12×16")]


def _judged(returned: Any, args: tuple) -> str | None:
    """The problem with what was returned, or nothing; a model may share no layer with the one before."""
    if args[0].name == "digits":  # every answer begins there
        _earlier.clear()
    if returned is None or _wrong_pair(returned):
        return None if returned is None else _wrong_pair(returned)
    layers = [layer for layer in returned[0].modules() if list(layer.parameters(recurse=False))]
    if not _earlier.isdisjoint(layers):
        return "the model has layers that an earlier call has returned already"
    _earlier.update(layers)
    return entry_problem(returned, args[0])


def _entry(data: Dataset, *more: nn.Module, classes: int = 0, **settings: Any) -> tuple:
    """A weak entry, two linear layers: right, or with more layers, a number of classes, or settings that are wrong."""
    first, last = data.train.images[0].numel(), classes or len(data.class_names)
    layers = nn.Flatten(), nn.Linear(first, 32), nn.ReLU(), nn.Linear(32, last), *more
    return nn.Sequential(*layers), TrainConfig(**settings)


def _for_digits(classes: int) -> nn.Module:
    return ViT(ViTConfig(image_size=8, patch_size=4, in_channels=1, num_classes=classes, dim=8, depth=1, num_heads=1))


_kept = functools.cache(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))

exercise(
    "9.6",
    lambda data: _entry(data),
    _cases,
    difference=lambda got, expected: got or None,
    simplify=_judged,
    mistakes={
        "the pair is the wrong way round: the model comes first": lambda data: _entry(data)[::-1],
        "the recipe is missing: return the model and a TrainConfig": lambda data: _entry(data)[0],
        "`recipe` gives the model's settings; build the model from them, `ViT(config)`": recipe,
        "the number of classes is fixed at 10; it is `len(data.class_names)`": lambda data: _entry(data, classes=10),
        "the model is made for images of one shape; C, H and W are `data.train.images.shape[1:]`, and H may differ "
        "from W": lambda data: (_for_digits(len(data.class_names)), TrainConfig()),
        "there is a softmax inside the model; the loss has its own, and two of them nearly stop the learning": (
            lambda data: _entry(data, nn.Softmax(dim=1))
        ),
        "the rate is too high, the steps jump from wall to wall of the valley: try a tenth, or a hundredth of it": (
            lambda data: _entry(data, lr=30.0)
        ),
        "change what saves time or makes it count: the model, the batch, the rate, the augmentation": (
            lambda data: book_entry(data) if data.name in RECIPES else _entry(data)  # elsewhere it is right, and slow
        ),
        "the model is built once, outside the function; build a new one at every call": (
            lambda data: (_kept(), TrainConfig())
        ),
        "a mirrored digit is another sign, or none; hand the data set's own word on, `flip=data.flip`": (
            lambda data: _entry(data, augment=Augment(flip=True))
        ),
    },
)
