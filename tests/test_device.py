"""`vitedu.device`: which device and which precision, decided for hardware that need not be here."""

from types import SimpleNamespace

import pytest
import torch

from vitedu.device import amp_dtype, autocast, cpu_has_bfloat16, describe_device, pick_device


def pretend(monkeypatch, cuda: bool = False, mps: bool = False, capability: tuple[int, int] = (8, 0)) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *arguments, **options: True)  # as on a T4
    properties = SimpleNamespace(name="Tesla T4", total_memory=15 * 2**30 + 10**8)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device=None: properties)


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_cuda_comes_before_mps_before_cpu(monkeypatch, cuda, mps, chosen):
    pretend(monkeypatch, cuda, mps)
    assert pick_device() == torch.device(chosen)


@pytest.mark.parametrize(
    ("capability", "dtype"),
    [
        ((7, 0), torch.float16),
        ((7, 5), torch.float16),
        ((8, 0), torch.bfloat16),
        ((8, 6), torch.bfloat16),
        ((9, 0), torch.bfloat16),
        ((10, 0), torch.bfloat16),
    ],
)
def test_a_gpu_computes_in_bfloat16_only_where_the_hardware_has_it(monkeypatch, capability, dtype):
    pretend(monkeypatch, cuda=True, capability=capability)
    assert amp_dtype(torch.device("cuda")) is dtype
    assert amp_dtype(torch.device("cuda:0")) is dtype


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_other_devices_stay_in_float32_even_beside_a_gpu(monkeypatch, device):
    pretend(monkeypatch, cuda=True)
    assert amp_dtype(torch.device(device)) is None


@pytest.mark.parametrize(("has", "width", "dtype"), [(True, 384, torch.bfloat16), (True, 64, None), (False, 384, None)])
def test_a_cpu_computes_in_bfloat16_only_for_wide_models_and_only_where_it_can(monkeypatch, has, width, dtype):
    monkeypatch.setattr("vitedu.device.cpu_has_bfloat16", lambda: has)
    assert amp_dtype(torch.device("cpu"), width) is dtype


def test_a_torch_without_the_probes_says_no(monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert not cpu_has_bfloat16()


def test_the_description_names_device_size_and_precision(monkeypatch):
    pretend(monkeypatch, cuda=True, capability=(7, 5))
    assert describe_device(torch.device("cuda")) == "cuda (Tesla T4, 15 GiB, float16)"
    pretend(monkeypatch, cuda=True, capability=(8, 0))
    assert describe_device(torch.device("cuda")) == "cuda (Tesla T4, 15 GiB, bfloat16)"
    assert describe_device(torch.device("mps")) == "mps (float32)"
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert describe_device(torch.device("cpu")) == "cpu (2 threads, float32)"


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_matrix_products_inside_autocast_have_its_dtype_and_outside_their_own(dtype):
    a, cpu = torch.ones(4, 4), torch.device("cpu")
    with autocast(cpu, dtype):
        assert (a @ a).dtype == (dtype or torch.float32)
    assert (a @ a).dtype == torch.float32
