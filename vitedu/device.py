"""Where the numbers are computed, and in which precision."""

import contextlib
import platform
from pathlib import Path

import torch


def pick_device() -> torch.device:
    """The GPU if there is one (CUDA, then Apple's MPS), else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def describe_device(device: torch.device, width: int = 0) -> str:
    """One phrase for a reader: `cuda (NVIDIA T4, 15 GiB, float16)` or `cpu (2 threads, float32)`.

    `width` is that of the model: the precision that pays depends on it.
    """
    precision = str(amp_dtype(device, width) or torch.float32).removeprefix("torch.")
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"cuda ({properties.name}, {properties.total_memory / 2**30:.0f} GiB, {precision})"
    if device.type == "cpu":
        return f"cpu ({torch.get_num_threads()} threads, {precision})"
    return f"{device.type} ({precision})"


def processor() -> str:
    """The processor's name, as Linux reports it where it does."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def amp_dtype(device: torch.device, width: int = 0) -> torch.dtype | None:
    """The 16-bit type worth using for the matrix products of a model of this width, or None for plain float32.

    Asked of the hardware and not of `torch.cuda.is_bf16_supported()`, which answers True for GPUs that only emulate
    bfloat16, more slowly than they would compute in float32.
    """
    if device.type == "cuda":
        native_bfloat16 = torch.cuda.get_device_capability(device) >= (8, 0)
        return torch.bfloat16 if native_bfloat16 else torch.float16
    # On a CPU, converting costs more than the shorter products save while the matrices are small. On an AMD EPYC with
    # AVX-512 BF16 a training step took 1.08 times as long as in float32 at D = 64 and 0.65 times at D = 384
    # (book/results/scaling.json); between them nothing is recorded, and 256 is a guess on the careful side.
    if device.type == "cpu" and width >= 256 and cpu_has_bfloat16():
        return torch.bfloat16
    return None


def cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 matrices itself (AVX-512 BF16, AMX); False where torch cannot tell."""
    probes = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(probe() for probe in probes if probe)


def autocast(device: torch.device, dtype: torch.dtype | None) -> contextlib.AbstractContextManager:
    """Run matrix products inside the context in `dtype`; with None the context does nothing."""
    if dtype is None:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)
