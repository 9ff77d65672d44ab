"""Time and peak memory of attention, written out and fused, against the number of tokens (about 5 min; Linux).

A forward pass. Each measurement runs in three processes of its own, on one thread. Peak memory is what the process
holds at its highest minus what it held before the call (VmHWM and VmRSS of /proc/self/status), so inputs and libraries
are not counted; on a GPU it is what torch has allocated there. Time is that of the fastest call, on a CPU the
processor's, so that other programs on the machine hardly count.

Of the five questions three apply, as nothing is trained. *One difference?* The kernel, the tokens or the heads. *Can it
show?* Written out, the weights alone take 4·h·N² bytes, so the memory has to grow like that, and does. *Recognisable?*
Linear memory is what such kernels are made for (arXiv:2112.05682, arXiv:2205.14135); the ratios of the times are this
processor's, and without a backward pass.
"""

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from _record import Run, or_smoke, spread, start
from torch import Tensor

from vitedu.attention import scaled_dot_product_attention

D, HEADS = 192, 3  # those of ViT-Ti
TOKENS = or_smoke((256, 512, 1024, 2048, 4096, 8192), (64,))
LONGEST = or_smoke((16384,), ())  # for the fused kernel alone
EQUAL_COST = or_smoke((1, 12, 48), ())  # other numbers of heads, at the same width and 1,024 tokens
PATIENCE = or_smoke(0.6, 0.01)  # seconds for the repeats of one figure
KERNELS: dict[str, Callable[..., Tensor]] = {
    "explicit": lambda q, k, v: scaled_dot_product_attention(q, k, v)[0],
    "fused": F.scaled_dot_product_attention,
}


def status(field: str) -> int:
    """A size of this process from /proc/self/status, in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def peak(kernel: str, tensors: list[Tensor]) -> int:
    """Bytes in use at the highest point of a call, above those in use before it."""
    device = tensors[0].device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        KERNELS[kernel](*tensors)
        return torch.cuda.max_memory_allocated(device) - before
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest point so far
    before = status("VmRSS")
    KERNELS[kernel](*tensors)
    return status("VmHWM") - before


def fastest(run: Run, kernel: str, tensors: list[Tensor]) -> float:
    """Seconds of the fastest call; a long one is made once."""
    times: list[float] = []
    while sum(times) < PATIENCE:
        began = run.clock()
        KERNELS[kernel](*tensors)
        times.append(run.clock() - began)
    return min(times)


def measure(run: Run, kernel: str, tokens: int, heads: int, seed: int) -> tuple[int, float]:
    """Bytes and seconds; meant for a fresh process."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    KERNELS[kernel](*torch.randn(3, 1, heads, 32, D // heads, device=run.device))  # loads what the first call loads
    tensors = [torch.randn(1, heads, tokens, D // heads, device=run.device) for _ in range(3)]
    return peak(kernel, tensors), fastest(run, kernel, tensors)


def in_fresh_process(*arguments) -> tuple[int, float]:
    """`measure(*arguments)` in a process that has done nothing before."""
    with multiprocessing.get_context("spawn").Pool(1) as fresh:
        return fresh.apply(measure, arguments)


def main() -> None:
    run, rows = start(__doc__, device="cpu"), []
    jobs = [(kernel, N, HEADS) for kernel in KERNELS for N in (*TOKENS, *(LONGEST if kernel == "fused" else ()))]
    jobs += [(kernel, 1024, heads) for kernel in KERNELS for heads in EQUAL_COST]
    for kernel, tokens, heads in jobs:
        found = zip(*[in_fresh_process(run, kernel, tokens, heads, seed) for seed in run.seeds], strict=True)
        sizes, seconds = (spread(list(values)) for values in found)
        row = {"kernel": kernel, "tokens": tokens, "heads": heads, "dim": D, "peak_bytes": sizes, "seconds": seconds}
        rows.append(row)
        shown = f"{sizes['mean'] / 2**20:8.1f} MiB  {seconds['mean'] * 1e3:8.1f} ± {seconds['std'] * 1e3:.1f} ms"
        print(f"{kernel:8} N = {tokens:5}, h = {heads:2}  {shown}", flush=True)
    run.record("time and peak memory of attention by number of tokens", ["random"], rows)


if __name__ == "__main__":
    main()
