"""One training loop for every model of the book, and a command line for it.

python -m vitedu.train --data fashion-mnist --preset tiny --epochs 3 --out runs/a
python -m vitedu.train --resume runs/a
torchrun --nproc-per-node=2 -m vitedu.train --data fashion-mnist --out runs/b
"""

from vitedu.train.config import TrainConfig
from vitedu.train.fit import Evaluation, evaluate, evaluate_shared, fit
from vitedu.train.loop import TrainingDiverged, TrainingLoop
from vitedu.train.recipes import recipe

__all__ = [
    "Evaluation",
    "TrainConfig",
    "TrainingDiverged",
    "TrainingLoop",
    "evaluate",
    "evaluate_shared",
    "fit",
    "recipe",
]
