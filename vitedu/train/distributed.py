"""Training in several processes, one for each GPU or each share of the cores, started by `torchrun`.

Every process holds the whole model, computes the gradient of its share of the batch, and gets the mean of all of them:
Li et al., "PyTorch Distributed", 2020, arXiv:2006.15704. `shard` splits the model itself: Zhao et al., "PyTorch FSDP",
2023, arXiv:2304.11277.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vitedu.block import Stack
from vitedu.device import pick_device


@contextmanager
def processes() -> Iterator[torch.device]:
    """Join the others that `torchrun` started, on a GPU of one's own where there are any; alone, change nothing.

    Yields:
        The device of this process.
    """
    if not _started_by_torchrun():
        yield pick_device()
        return
    device = pick_device()
    if device.type == "mps":  # gloo does not reach Apple's GPU
        device = torch.device("cpu")
    if device.type == "cuda":
        own = os.environ.get("LOCAL_RANK", int(os.environ["RANK"]) % torch.cuda.device_count())
        device = torch.device("cuda", int(own))
        torch.cuda.set_device(device)
    store, number, count = next(dist.rendezvous("env://"))
    if _store_outlives_restarts():  # in one without a name a new process may find the address of one that has ended
        store = dist.PrefixStore(f"restart {restarts()}", store)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", store=store, rank=number, world_size=count)
    try:
        yield device
    finally:
        dist.destroy_process_group()


def _started_by_torchrun() -> bool:
    """Whether there are others to join: a cluster may set `WORLD_SIZE=1` for a process that is alone.

    ValueError if the environment speaks of several processes, but does not say which of them this one is.
    """
    count = os.environ.get("WORLD_SIZE", "1")
    if not count.isdecimal() or int(count) < 1:
        raise ValueError(f"WORLD_SIZE is {count!r}, expected a whole number from 1 on; unset it to train alone")
    names = ("RANK", "MASTER_ADDR", "MASTER_PORT")
    missing = [name for name in names if name not in os.environ]
    if missing and int(count) > 1:
        raise ValueError(
            f"WORLD_SIZE is {count}, but {', '.join(missing)} not set; start the processes with torchrun, or unset it"
        )
    return not missing


def _store_outlives_restarts() -> bool:
    """Whether the processes meet in the store of torchrun itself, which is still there after a restart.

    ValueError if that store is shared by several machines that may start anew: each counts its own restarts, and so
    they would not meet again (github.com/pytorch/pytorch/issues/135712).
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return False
    machines, most = (os.environ.get(name, "0") for name in ("GROUP_WORLD_SIZE", "TORCHELASTIC_MAX_RESTARTS"))
    if machines not in ("0", "1") and most != "0":
        raise ValueError(
            f"{machines} machines share one store, in which they do not find each other after one of them was lost; "
            "set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 before torchrun on each, or --max-restarts=0"
        )
    return True


def rank() -> int:
    """This process's number, 0 to `world_size() - 1`; 0 if it is alone."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def restarts() -> int:
    """How often `torchrun` has started the processes of this machine anew, because one of all had ended."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def started_anew(device: torch.device) -> bool:
    """Whether any of the processes was: a machine that joins again counts from 0, those that waited for it do not."""
    return all_reduce(torch.tensor(restarts(), device=device)).item() > 0


def local_shard(items: Tensor) -> Tensor:
    """This process's part of the first axis: every `world_size()`-th, from `rank()` on."""
    return items[rank() :: world_size()]


def data_parallel(model: nn.Module) -> nn.Module:
    """The model, with gradients averaged over all processes in every backward pass."""
    if world_size() == 1:
        return model
    devices = [torch.cuda.current_device()] if next(model.parameters()).is_cuda else None
    return DistributedDataParallel(model, device_ids=devices)


def no_sync(model: nn.Module, wanted: bool = True) -> AbstractContextManager:
    """Inside, backward passes through a model from `data_parallel` add to this process's gradient alone.

    The next backward pass outside averages what has been added up. If not `wanted`, or alone, nothing changes.
    """
    return model.no_sync() if wanted and isinstance(model, DistributedDataParallel) else nullcontext()


def all_reduce(values: Tensor) -> Tensor:
    """The sum over all processes, in place."""
    if world_size() > 1:
        dist.all_reduce(values)
    return values


def shard(model: nn.Module) -> nn.Module:
    """Split every parameter of a model that tells its `stages` over the processes (FSDP2), in place.

    Each process keeps 1 / `world_size()` of the weights, and so of the gradients and of the optimiser's moments; the
    whole weights of one block at a time are gathered while it computes.

    Raises:
        ValueError: the model has no `stages`.
        RuntimeError: on the CPU of a torch before 2.7, whose FSDP2 knows GPUs alone
            (github.com/pytorch/pytorch/pull/145935).
    """
    blocks = [block for stage in stages_of(model) for block in stage.blocks]
    on_cpu = next(model.parameters()).device.type == "cpu"
    if on_cpu and not hasattr(torch.cpu.Stream, "record_event"):
        raise RuntimeError(f"torch {torch.__version__} splits no model on a CPU; take torch 2.7 or later, or a GPU")
    from torch.distributed.fsdp import fully_shard  # late: importing it takes longer than the rest of this file

    for block in blocks:
        fully_shard(block)
    return fully_shard(model)


def stages_of(model: nn.Module) -> list[Stack]:
    """The stacks that a model says its blocks stand in, `model.stages`. ValueError for a model that does not say."""
    if not hasattr(model, "stages"):
        raise ValueError(f"{type(model).__name__} does not tell its `stages`, the stacks that its blocks stand in")
    return list(model.stages)
