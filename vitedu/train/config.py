"""A recipe: every choice that a training run is made of."""

from dataclasses import dataclass, field

from vitedu.train.augment import Augment
from vitedu.train.optim import OPTIMIZERS, SCHEDULES


@dataclass(frozen=True)
class TrainConfig:
    """A recipe. Rates are per optimiser step, probabilities in [0, 1]; `ValueError` for numbers that make no sense."""

    epochs: int = 10
    batch_size: int = 128
    optimizer: str = "adamw"
    momentum: float = 0.9  # of "sgd"
    lr: float = 1e-3  # the highest rate of the schedule
    schedule: str = "cosine"
    weight_decay: float = 0.05
    warmup: float = 0.1  # share of the steps over which the rate rises
    label_smoothing: float = 0.1
    mixup: float = 0.0  # both parameters of the Beta distribution that shares are drawn from; 0 mixes nothing
    cutmix: float = 0.0  # the same for rectangles; with both, each batch draws which of the two it gets
    ema: float = (
        0.0  # decay per step of an exponential moving average of the weights, which is what is kept; 0 for none
    )
    clip_norm: float = 1.0  # longest gradient over all parameters; 0 leaves it alone
    accumulate: int = 1  # parts in which a batch is computed, one after the other; the step is that of the whole batch
    recompute: bool = False  # keep only the tokens between the blocks, and compute their insides again on the way back
    augment: Augment = field(default_factory=Augment)
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in {"optimizer": OPTIMIZERS, "schedule": SCHEDULES}.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} {getattr(self, name)!r} is not one of {', '.join(known)}")
        for name in ("epochs", "batch_size", "accumulate"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it has to be at least 1")
        for name in ("warmup", "label_smoothing"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name)} is outside [0, 1]; it is a share")
        if self.lr <= 0:
            raise ValueError(f"lr is {self.lr}; it has to be above 0")
        if min(self.mixup, self.cutmix) < 0:
            raise ValueError(f"mixup {self.mixup} and cutmix {self.cutmix} cannot be below 0; use 0 for none")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema {self.ema} is outside [0, 1); use 0 for none, or a decay such as 0.999")
