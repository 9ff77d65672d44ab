"""What a run was trained on and how: what a resumed run has to agree with, and what to say where it does not."""

import json
from dataclasses import asdict

from vitedu.data import Dataset
from vitedu.train.config import TrainConfig
from vitedu.train.distributed import world_size


def about_run(data: Dataset, config: TrainConfig, train_images: int) -> dict:
    """Classes, counts and pictures; the number of processes; the recipe; what a new picture needs. As JSON has it."""
    about = {
        "class_names": data.class_names,
        "images": train_images,
        "fingerprint": data.fingerprint,
        "processes": world_size(),
        "config": asdict(config),
        "image_shape": data.train.images.shape[1:],
        "mean": data.mean.tolist(),
        "std": data.std.tolist(),
        "ground": data.ground,
    }
    return json.loads(json.dumps(about))


def what_changed(before: dict, now: dict) -> str | None:
    """One sentence on the first thing in which two runs differ so that one cannot go on as the other, or None.

    What is not known of the run before is not compared; of the recipe, see `changed_settings`.
    """
    for key in before.keys() & now.keys():
        if type(before[key]) is not type(now[key]):
            return f"what it says of its {key} is damaged"
    before = now | before
    if (old := before["class_names"]) != (new := now["class_names"]):
        if len(old) != len(new):
            odd = [str(name) for name in [*old, *new] if (name in old) != (name in new)]
            return f"it was trained on {len(old)} classes, here are {len(new)} ({', '.join(odd)} differ)"
        place = next(index for index, names in enumerate(zip(old, new, strict=True)) if names[0] != names[1])
        return f"class {place} was {old[place]!r}, here it is {new[place]!r}; give the classes the names they had"
    if (old := before["images"]) != now["images"]:
        return f"it was trained with {old} training images, here are {now['images']}; bring them back"
    if (old := before["processes"]) != now["processes"]:
        start = f"with torchrun --nproc-per-node={old}" if old > 1 else "without torchrun"
        return f"it was trained with {old} processes, here are {now['processes']}; start it {start}"
    if before["fingerprint"] != now["fingerprint"]:
        return "the pictures or their labels are not those it was trained on, though they are as many; bring them back"
    return None


def changed_settings(before: dict, now: dict) -> list[str]:
    """The fields of the recipe that are not what they were, such as `epochs 1 -> 2`."""
    old = before.get("config", {})
    return [f"{name} {old[name]} -> {value}" for name, value in now["config"].items() if old.get(name, value) != value]
