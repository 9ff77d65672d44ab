"""Published BiT weights into `vitedu.models.bit.BiT`, under timm's names (`resnetv2_*_bit`).

The numbers are carried over as they are. Images have to be normalised with mean and standard deviation 0.5.
"""

import re

from vitedu.files import say
from vitedu.models.bit import BiT, BiTConfig
from vitedu.pretrained.carry import carry, new_head
from vitedu.pretrained.source import Source, find_weights

TIMM = {
    r"^stem\.": "stem.conv.",
    r"^stages\.(\d+)\.(\d+)\.": r"stages.\1.blocks.\2.",
    r"\.shortcut\.": ".downsample.conv.",
    r"^head\.": "head.fc.",
}
BLOCK = r"stages\.(\d+)\.blocks\.(\d+)\.conv1\.weight"


def load_bit(source: Source, num_classes: int | None = None) -> BiT:
    """One of timm's BiT models as a `BiT` in evaluation mode, with its own copy of the weights.

    Args:
        source: a model such as timm's `resnetv2_50x1_bit`, its state dict, or the path of a file of one.
        num_classes: another K, or one where the weights have no classifier; it then starts at zero, for fine-tuning.

    Raises:
        ValueError: another network, or weights that do not fit, with their key.
        TypeError: a module that is no ResNet of version 2.
        CheckpointError: the file is missing or damaged, or wants to run code.
    """
    found = find_weights(source, ["stem.conv.weight", "stages.0.blocks.0.conv1.weight"])
    if found.module is not None and not any(kind.__name__ == "StdConv2d" for kind in map(type, found.module.modules())):
        raise TypeError(
            f"a {type(found.module).__name__} has no standardised convolutions; pass timm's resnetv2_50x1_bit"
        )
    places = [match for key in found.weights if (match := re.fullmatch(BLOCK, key))]
    if not places or "stem.conv.weight" not in found.weights:
        raise ValueError("the weights hold no stem.conv.weight and stages.*.blocks.*; pass those of a resnetv2_*_bit")
    stages = [int(match[1]) for match in places]
    weights = {key: w.flatten(1) if key == "head.fc.weight" else w for key, w in found.weights.items()}
    kept = len(weights["head.fc.weight"]) if "head.fc.weight" in weights else None
    config = BiTConfig(
        in_channels=weights["stem.conv.weight"].shape[1],
        num_classes=num_classes or kept or 1,
        depths=tuple(stages.count(stage) for stage in range(max(stages) + 1)),
        factor=max(1, len(weights["stem.conv.weight"]) // 64),
    )
    if num_classes not in (None, kept):
        weights = new_head(weights, TIMM, num_classes, config.widths[-1])
    if found.said:
        say(f"load_bit: {found.said}")
    return carry(weights, BiT, config, TIMM)
