"""A recipe: every choice that a training run is made of.

Label smoothing: Szegedy et al. 2015, arXiv:1512.00567. Clipping by the norm: Pascanu et al. 2012, arXiv:1211.5063.
"""

from dataclasses import dataclass, field

from vitedu.initialise import at_least, count, one_of, probability
from vitedu.train.augment import Augment
from vitedu.train.optim import OPTIMIZERS, SCHEDULES

KEPT = ("last", "best")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A recipe. Rates are per optimiser step, probabilities in [0, 1]; `ValueError` for numbers that make no sense."""

    epochs: int = 10
    batch_size: int = 128
    optimizer: str = "adamw"
    momentum: float = 0.9  # of "sgd"
    lr: float = 1e-3  # the highest rate of the schedule
    schedule: str = "cosine"
    weight_decay: float = 0.05
    layer_decay: float = 1.0  # rate of a block over that of the block above it, for fine-tuning with "adamw"
    warmup: float = 0.1  # share of the steps over which the rate rises
    label_smoothing: float = 0.1  # of the loss that classifies
    mixup: float = 0.0  # both parameters of the Beta distribution that shares are drawn from; 0 mixes nothing
    cutmix: float = 0.0  # the same for rectangles; with both, each batch draws which of the two it gets
    ema: float = 0.0  # decay per step of a moving average of the weights, which is what is kept; 0 for none
    clip_norm: float = 1.0  # longest gradient over all parameters; 0 leaves it alone
    keep: str = (
        "last"  # whose weights the model has at the end: "last" epoch, or the "best" one on the validation split
    )
    accumulate: int = 1  # parts in which a batch is computed, one after the other; the step is that of the whole batch
    compile: bool = False  # let torch.compile make kernels of the model: a minute at first, then a shorter step
    channels_last: bool = False  # keep images as (B, H, W, C) in memory, as the fast convolutions want them
    recompute: bool = False  # keep only the tokens between the blocks; their insides are computed a second time
    augment: Augment = field(default_factory=Augment)
    seed: int = 0

    def __post_init__(self) -> None:
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        one_of("schedule", self.schedule, SCHEDULES)
        one_of("keep", self.keep, KEPT)
        for name in ("epochs", "batch_size", "accumulate"):
            count(name, getattr(self, name))
        count("seed", self.seed, 0)
        at_least("lr", self.lr, 0, above=True)
        at_least("layer_decay", self.layer_decay, 0, above=True)
        if self.layer_decay > 1 or (self.layer_decay < 1 and self.optimizer != "adamw"):
            raise ValueError(f"layer_decay {self.layer_decay} with {self.optimizer}; take 1, or less with adamw")
        for name in ("weight_decay", "mixup", "cutmix", "clip_norm"):
            at_least(name, getattr(self, name), 0)
        for name in ("momentum", "ema"):
            probability(name, getattr(self, name))
        for name in ("warmup", "label_smoothing"):
            probability(name, getattr(self, name), below_one=False)
