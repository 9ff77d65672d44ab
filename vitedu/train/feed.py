"""Batches on their way to the model, and the time that the model waits for them."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from vitedu.data import Split
from vitedu.data.mapped import is_mapped

Batch = tuple[Tensor, Tensor]  # bytes (B, C, H, W) and labels (B,)
AHEAD = 2  # batches that are read while the model computes


class Feed:
    """Hands out the batches of a split by their indices, and counts the seconds that `next` took.

    These are what the loop waits for its data: the indexing of images in memory, and of those in a file what reading
    takes longer than a step. A file is read by one thread, `AHEAD` batches ahead: reading runs outside Python's lock,
    and it draws no random numbers, so a thread is enough and nothing depends on it. Images on a GPU are chosen there,
    and nobody waits for them.
    """

    def __init__(self, read: Callable[[Tensor], Batch], device: torch.device, ahead: int = 0):
        self.read, self.device, self.ahead, self.waited = read, device, ahead, 0.0

    def batches(self, chosen: Iterable[Tensor]) -> Iterator[Batch]:
        """The images and labels of each of these groups of indices, on the device."""
        found = self._read_ahead(chosen) if self.ahead else map(self._prepared, chosen)
        while True:
            began = time.perf_counter()
            batch = next(found, None)
            self.waited += time.perf_counter() - began
            if batch is None:
                return
            yield tuple(tensor.to(self.device, non_blocking=self.device.type == "cuda") for tensor in batch)

    def _read_ahead(self, chosen: Iterable[Tensor]) -> Iterator[Batch]:
        waiting: deque = deque()
        with ThreadPoolExecutor(max_workers=1) as reader:
            for indices in chosen:
                waiting.append(reader.submit(self._prepared, indices))
                if len(waiting) > self.ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _prepared(self, indices: Tensor) -> Batch:
        batch = self.read(indices)
        if self.device.type != "cuda" or batch[0].is_cuda:
            return batch
        return tuple(tensor.pin_memory() for tensor in batch)  # from such memory a GPU copies while it computes


def feed_of(split: Split, device: torch.device) -> Feed:
    """What feeds a loop on `device` with the images of a split."""
    return Feed(
        lambda indices: (split.images[indices], split.labels[indices]), device, AHEAD if is_mapped(split.images) else 0
    )


def near(split: Split, device: torch.device) -> Split:
    """The split on the device, to be chosen from there; where it lies, if it is in a file and too large for a GPU."""
    if device.type == "cpu" or (is_mapped(split.images) and split.images.nbytes > room(device)):
        return split
    return split.to(device)


def room(device: torch.device) -> int:
    """The bytes that a data set may take on a device: half of what is free, or what the system recommends."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] // 2
    return torch.mps.recommended_max_memory() // 2 if device.type == "mps" else 0
