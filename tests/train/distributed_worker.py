"""What the processes of test_distributed.py run, under torchrun: `distributed_worker.py TASK FOLDER`."""

import sys
from pathlib import Path
from types import SimpleNamespace

import torch

from vitedu.data import Dataset, Split
from vitedu.train import TrainConfig, fit
from vitedu.train.distributed import data_parallel, local_shard, no_sync, processes, rank, shard, world_size
from vitedu.vit import ViT, ViTConfig

CONFIG = ViTConfig(image_size=8, patch_size=4, in_channels=1, num_classes=3, dim=16, depth=2, num_heads=2)
EPOCHS, BATCH = 3, 16  # the batch of one process of two


def noise(count: int, seed: int) -> Split:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (count, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return Split(pixels, torch.randint(3, (count,), generator=generator))


def data() -> Dataset:
    return Dataset("noise", "made by a test", ("a", "b", "c"), noise(80, 0), noise(31, 1), noise(10, 2), flip=False)


def model() -> ViT:
    torch.manual_seed(0)
    return ViT(CONFIG)


def train(out: Path | None, device: torch.device, batch_size: int = BATCH, **changes) -> tuple[ViT, list[dict]]:
    trained = model()
    # Not AdamW: it blows the rounding error of a gradient that is 0, that of the keys' biases, up to a whole step.
    config = TrainConfig(epochs=EPOCHS, batch_size=batch_size, optimizer="sgd", lr=0.05, ema=0.9, **changes)
    return trained, fit(trained, data(), config, out=out, device=device, shown=False)


class InTwoStages(ViT):
    """The same model, which says that its blocks stand in two stacks."""

    @property
    def stages(self):
        return [SimpleNamespace(blocks=[block]) for block in self.encoder.blocks]


def train_sharded(device: torch.device, sharded: bool) -> dict:
    """Three steps of gradient descent, its gradient averaged over the processes, and how much of the model is here."""
    network = model()
    if sharded:
        network.__class__ = InTwoStages
        shard(network)
        assert all(hasattr(block, "unshard") for block in network.encoder.blocks)  # each is gathered by itself
    held = sum((p.to_local() if sharded else p).numel() for p in network.parameters())
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    images, labels = noise(8, 5).images.float() / 255, noise(8, 5).labels
    losses = []
    for _ in range(3):
        mine = slice(None) if not sharded else slice(rank(), None, world_size())
        loss = torch.nn.functional.cross_entropy(network(images[mine]), labels[mine])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    weights = {key: (p.full_tensor() if sharded else p).detach() for key, p in network.named_parameters()}
    return {"weights": weights, "held": held, "losses": losses}


def add_up(device: torch.device) -> dict:
    """The gradient after a backward pass for oneself, and after a second one together with the others."""
    network, found = data_parallel(model().to(device)), {}
    for name, alone in (("own", True), ("shared", False)):
        mine = noise(4, 10 + rank())
        with no_sync(network, alone):
            torch.nn.functional.cross_entropy(network(mine.images.float() / 255), mine.labels).backward()
        found[name] = network.module.head.weight.grad.clone()
    return found


def main(task: str, folder: Path) -> None:
    with processes() as device:
        if task == "shard":
            found = train_sharded(device, sharded=True)
        elif task == "parts":
            trained, history = train(None, device, accumulate=3, recompute=True)
            found = {"weights": trained.state_dict(), "history": history, **add_up(device)}
        else:
            trained, history = train(folder / "run", device)
            found = {"weights": trained.state_dict(), "history": history}
        torch.save({"world": world_size(), "shares": local_shard(torch.arange(7)), **found}, folder / f"{rank()}.pt")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
