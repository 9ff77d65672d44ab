"""Seconds for a forward and a backward pass against sequence length: an RNN, an LSTM and attention (2 min).

Same width for all, one layer each, and the fastest form that torch has: its own RNN, not a loop in Python. The last
rows are the RNN with growing batches. Each figure is the shortest of several passes, three times over. It runs on the
GPU if there is one, and goes to longer sequences there.

Of the five questions three apply, as nothing is trained. *One difference?* The layer, the length or the batch. *Can it
show?* The count of steps says N for the RNN and N² for attention: the times follow, the RNN's up to some 4,000 items.
*Recognisable?* The crossing of the two belongs to this processor and to this torch, whose LSTM is faster than its RNN:
a clock measures an implementation.
"""

import time
from collections.abc import Callable

import torch
from _record import or_smoke, spread, start
from torch import nn

from vitedu.attention import MultiHeadAttention

D = 64
LONGEST, LONGEST_ON_GPU = or_smoke((14, 18), (6, 6))  # as powers of two
BATCHES = or_smoke([1, 4, 16, 64, 256], [4])
PATIENCE = or_smoke(0.5, 0.01)  # seconds for the repeats of one figure


class Recurrent(nn.Module):
    """One of torch's recurrent layers, without its last state: (B, N, D) -> (B, N, D)."""

    def __init__(self, kind: type[nn.RNNBase]):
        super().__init__()
        self.layer = kind(D, D, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """All states (B, N, D)."""
        return self.layer(x)[0]


LAYERS = {
    "rnn": lambda: Recurrent(nn.RNN),
    "lstm": lambda: Recurrent(nn.LSTM),
    "attention": lambda: MultiHeadAttention(D, num_heads=1),
}


def seconds(layer: nn.Module, batch: int, length: int) -> float:
    """The shortest of several forward and backward passes."""
    device = next(layer.parameters()).device
    x = torch.randn(batch, length, D, device=device, requires_grad=True)
    passes = [once(layer, x) for _ in range(2)]  # the first warms up
    stop = time.perf_counter() + PATIENCE
    while time.perf_counter() < stop and len(passes) < 50:
        passes.append(once(layer, x))
    return min(passes[1:])


def once(layer: nn.Module, x: torch.Tensor) -> float:
    """One forward and one backward pass, waiting for the device to finish both."""
    wait: Callable = (lambda device: None) if x.device.type == "cpu" else torch.accelerator.synchronize
    wait(x.device)
    began = time.perf_counter()
    layer(x).sum().backward()
    wait(x.device)
    return time.perf_counter() - began


def measure(kind: str, batch: int, length: int, device: torch.device, repeats: int) -> dict:
    """One row: the seconds of a fresh layer, `repeats` times over."""
    torch.manual_seed(0)
    layer = LAYERS[kind]().to(device)
    values = [seconds(layer, batch, length) for _ in range(repeats)]
    print(f"{device.type} {kind:9} batch {batch:3} N = {length:6} {1000 * min(values):9.2f} ms", flush=True)
    return {"layer": kind, "width": D, "batch": batch, "length": length, "seconds": spread(values)}


def main() -> None:
    run = start(__doc__)
    last, repeats = LONGEST_ON_GPU if run.device.type == "cuda" else LONGEST, len(run.seeds)
    lengths = [2**n for n in range(5, last + 1)]
    rows = [measure(kind, 1, length, run.device, repeats) for kind in LAYERS for length in lengths]
    rows += [measure("rnn", batch, 256, run.device, repeats) for batch in BATCHES]
    run.record("seconds for a forward and a backward pass by length and batch", ["none"], rows)


if __name__ == "__main__":
    main()
