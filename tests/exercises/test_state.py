"""`vitedu.exercises.state`: whatever an answer does to global state is undone."""

import random
import sys

import numpy as np
import pytest
import torch

from vitedu.exercises.state import global_state_kept, start_call


def snapshot():
    return {
        "python": random.getstate(),
        "numpy": str(np.random.get_state()),
        "torch": torch.get_rng_state().tolist(),
        "dtype": torch.get_default_dtype(),
        "device": torch.empty(0).device,
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
        "stdout": sys.stdout,
    }


def spoil():
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_grad_enabled(False)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(torch.get_num_threads() + 1)
    sys.stdout = sys.stderr


@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_as_before(fails):
    """Also when the code inside raises."""
    before = snapshot()
    try:
        with global_state_kept():
            spoil()
            if fails:
                raise SystemExit
    except SystemExit:
        pass
    assert snapshot() == before


def test_a_setting_of_the_reader_s_own_comes_back():
    """A default dtype, a device and no gradients, set before the check."""
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_grad_enabled(False)
    try:
        with global_state_kept():
            assert torch.zeros(1).device.type == "cpu"
            assert torch.zeros(1).dtype == torch.float32
            assert torch.is_grad_enabled()
        state = snapshot()
        assert (state["dtype"], state["device"].type, state["gradients"]) == (torch.float64, "meta", False)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
        torch.set_grad_enabled(True)


def test_gradients_work_inside_even_when_the_caller_is_in_inference_mode():
    with torch.inference_mode():
        with global_state_kept():
            x = torch.ones(1, requires_grad=True)
            (3 * x).sum().backward()
            assert x.grad.item() == 3
        assert torch.is_inference_mode_enabled()


def test_every_call_starts_the_same():
    """The second call draws what the first drew, whatever the first has changed."""
    draws = []
    with global_state_kept():
        for _ in range(2):
            start_call()
            draws.append((random.random(), np.random.rand(), torch.rand(1).item(), torch.rand(1).dtype))
            spoil()
    assert draws[0] == draws[1]


def test_the_default_device_can_be_told_where_pytorch_cannot(monkeypatch):
    """PyTorch 2.6 raises when asked after the default was set and reset, and then no exercise could be checked."""

    def as_in_2_6():
        raise AttributeError("'NoneType' object has no attribute 'device'")

    monkeypatch.setattr(torch, "get_default_device", as_in_2_6)
    with global_state_kept():
        torch.set_default_device("meta")
    assert torch.empty(0).device.type == "cpu"
