"""Keeping an answer's side effects on global state away from the notebook it runs in."""

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def global_state_kept() -> Iterator[None]:
    """Inside, gradients are on and new tensors are on the CPU; afterwards everything is as it was.

    Everything: random generators (Python, NumPy, torch), gradient mode, default dtype and device, deterministic mode,
    number of threads, `sys.stdout`.
    """
    generators = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    dtype, device, threads = torch.get_default_dtype(), _default_device(), torch.get_num_threads()
    deterministic = _deterministic()
    stdout, gradients = sys.stdout, torch.is_grad_enabled()
    try:
        with torch.inference_mode(False):
            start_call()
            yield
    finally:
        random.setstate(generators[0])
        np.random.set_state(generators[1])
        torch.set_rng_state(generators[2])
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
        torch.set_grad_enabled(gradients)
        torch.set_default_dtype(dtype)
        _use_device(device)
        if _deterministic() != deterministic:  # the setter alone imports torch's compiler, which takes a second
            torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        sys.stdout = stdout


def _deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _default_device() -> torch.device:
    """Where a new tensor is. In PyTorch 2.6, `get_default_device` raises once the default has been set and reset."""
    return torch.empty(0).device


def _use_device(device: torch.device) -> None:
    if _default_device() != device:
        torch.set_default_device(None if device.type == "cpu" else device)


def start_call() -> None:
    """The same start for every call of an answer, whatever the call before it has changed."""
    random.seed(0)
    np.random.seed(0)
    torch.default_generator.manual_seed(0)  # the CPU's only: `torch.manual_seed` is slow, and answers run on the CPU
    torch.set_grad_enabled(True)
    torch.set_default_dtype(torch.float32)
    _use_device(torch.device("cpu"))
