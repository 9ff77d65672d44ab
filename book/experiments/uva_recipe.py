"""The UvA tutorial's ViT and two of ours on CIFAR-10 after equal time, 60 and 300 s (60 min on one core).

The tutorial's, from its description (Lippe, "UvA Deep Learning Tutorials", tutorial 15): width 256, MLP 512, 8 heads, 6
blocks, patches of 4, dropout 0.2, torch's own initialisation, AdamW at 3e-4, divided by ten after epochs 100 and 150 of
180 (which no run here comes near, so the rate stays), mirror images and zooms to 80 % of the area. What differs here:
torch's default decay of 0.01 acts on the matrices alone.

"tiny" is the book's smallest ViT on patches of 8 pixels; "ours" the hybrid, a small CNN in front of the same ViT. Both
have 16 tokens, one recipe, and a rate that follows the time down to zero.

The five questions. *Converged?* Not asked: it is said what each reached after so many seconds of one thread. *Tuned
alike?* No: theirs is as published, for its 180 epochs; ours have one rate, the one that Fashion-MNIST likes. *One
difference?* From theirs to "tiny": size, patches, start, dropout and schedule at once. From "tiny" to "ours": the stem,
which takes its part of the time. *Can it show?* With enough time theirs has to come closer, and does from 60 to 300 s.
*Recognisable?* The tutorial reports 75.6 % on the test images after its 180 epochs. Three seeds, validation images; the
test split is not looked at.

One row: make results NAME=uva_recipe ROW="ours, 60 s".
"""

from _equal_time import Contender, compare_all
from _record import load, start

from vitedu.data import Dataset
from vitedu.models.hybrid import HybridViT, small_stem
from vitedu.train import TrainConfig, recipe
from vitedu.train.augment import Augment
from vitedu.vit import ViT, ViTConfig

UVA_MODEL = ViTConfig(
    image_size=32,
    patch_size=4,
    num_classes=10,
    dim=256,
    depth=6,
    num_heads=8,
    mlp_ratio=2.0,
    dropout=0.2,
    init="torch",
)
UVA_TRAIN = TrainConfig(
    epochs=180,
    batch_size=128,
    lr=3e-4,
    schedule="constant",
    warmup=0.0,
    weight_decay=0.01,
    label_smoothing=0.0,
    clip_norm=0.0,
    augment=Augment(flip=True, zoom=0.2),
)


def contenders(data: Dataset) -> dict[str, Contender]:
    """Theirs, and ours without a stem and with one; both of ours read 16 tokens of 8 × 8 pixels."""
    tiny, training = recipe(
        data, model={"patch_size": 8}, train={"epochs": 20, "lr": 2e-3}, augment={"flip": True, "crop": 2}
    )
    return {
        "UvA": Contender(lambda: ViT(UVA_MODEL), UVA_TRAIN),
        "tiny": Contender(lambda: ViT(tiny), training),
        "ours": Contender(lambda: HybridViT(tiny, small_stem(tiny.image_size, tiny.in_channels)), training),
    }


if __name__ == "__main__":
    run, cifar10 = start(__doc__, device="cpu", rows=True), load("cifar10")
    compare_all(run, cifar10, contenders(cifar10))
