"""How a run is computed: device, precision, memory, number of processes. Nothing here changes what is being trained.

Precision follows the device's compute capability: float32 where half precision has no fast units or no safe range, float16 with loss
scaling on tensor cores that lack bfloat16 (T4), bfloat16 from sm_80 on, and on CPUs where it is measured to be faster.
"""

import gc
import importlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from ddpm_utils.choices import PRECISIONS
from ddpm_utils.errors import InputError


@dataclass(frozen=True)
class Execution:
    """One process's share of the work. rank and world_size: its number and how many there are."""

    device: str = "cpu"
    precision: str = "fp32"
    accumulate: int = 1  # micro-batches a step: less memory, same gradient
    checkpoint_blocks: bool = False  # recompute activations in the backward pass: less memory, a third more time
    compiled: bool = False  # torch.compile
    rank: int = 0
    world_size: int = 1

    def __post_init__(self):
        if self.precision not in PRECISIONS:
            raise InputError(f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}")
        if self.precision == "fp16" and self.device_type != "cuda":
            raise InputError(f"precision fp16 needs a CUDA GPU, the device is {self.device!r}; use fp32 or bf16")
        if self.accumulate < 1:
            raise InputError(f"accumulate must be at least 1 micro-batch a step, got {self.accumulate}")

    @property
    def device_type(self) -> str:
        """The device's type: "cpu", "cuda" or "mps"."""
        return torch.device(self.device).type

    @property
    def memory_format(self) -> torch.memory_format:
        """The layout that was measured to be faster: channels last with tensor cores, and in float32 on CPUs, but not in bf16 there."""
        last = (self.device_type == "cuda" and self.precision != "fp32") or (self.device_type == "cpu" and self.precision == "fp32")
        return torch.channels_last if last else torch.contiguous_format

    def stage(self, x: torch.Tensor) -> torch.Tensor:
        """x as `place` wants it: images (B, C, H, W) in the network's layout, in pinned memory what a CUDA GPU has yet to copy."""
        x = x.contiguous(memory_format=self.memory_format) if x.dim() == 4 else x
        return x.pin_memory() if self.device_type == "cuda" and not x.is_cuda else x

    def place(self, x: torch.Tensor) -> torch.Tensor:
        """x on the device, images (B, C, H, W) in the network's layout: it keeps that of its input, and the wrong one halves the speed.

        A CUDA GPU copies what was staged while the CPU goes on; the memory is kept until that is done.
        """
        settings = {"device": self.device, "non_blocking": self.device_type == "cuda"}
        return x.to(**settings, memory_format=self.memory_format) if x.dim() == 4 else x.to(**settings)

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    @property
    def in_words(self) -> str:
        """The device, and how many processes share the work."""
        return describe_device(self.device) + (f", one of {self.world_size} processes" if self.world_size > 1 else "")

    def as_saved(self) -> dict:
        """What a state remembers of how it was computed: where this changes, a resumed run rounds otherwise."""
        return {"device": self.device_type, "precision": self.precision, "processes": self.world_size, "micro-batches": self.accumulate}

    def autocast(self) -> torch.autocast:
        """The context for the network's forward pass; noising, loss and averages stay outside, in float32."""
        dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[self.precision]
        return torch.autocast(self.device_type, dtype, enabled=self.precision != "fp32")

    def any_process(self, flag: bool) -> bool:
        """Whether `flag` is true in any process: all must leave a loop at the same step."""
        if self.world_size == 1:
            return flag
        flags = torch.tensor([float(flag)], device=self.device)
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        return flags.item() > 0

    def gather(self, values: Tensor) -> Tensor:
        """The values (n, …) of all processes, one after the other."""
        if self.world_size == 1:
            return values
        parts = [torch.empty_like(values) for _ in range(self.world_size)]
        dist.all_gather(parts, values.contiguous())
        return torch.cat(parts)

    def shared_out(self, rows: int, at_a_time: int, compute: Callable[[slice], np.ndarray]) -> np.ndarray:
        """What `compute` makes of all rows, `at_a_time` of them (n, …) at once, in every process; each computes every world_size-th part.

        The parts are the same however many processes there are, and with them the result.
        """
        parts = [slice(start, min(start + at_a_time, rows)) for start in range(0, rows, at_a_time)]
        mine = [compute(part) for part in parts[self.rank :: self.world_size]]
        if self.world_size == 1:
            return np.concatenate(mine)
        everyones: list = [None] * self.world_size
        dist.all_gather_object(everyones, mine)
        return np.concatenate([everyones[k % self.world_size][k // self.world_size] for k in range(len(parts))])


TORCHRUN = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # what it sets beside WORLD_SIZE


def join_processes(device: str) -> tuple[str, int, int]:
    """Device, rank and world size of this process: alone, or one of those that torchrun started (gloo on CPU, nccl on CUDA)."""
    world_size = os.environ.get("WORLD_SIZE", "1")
    if world_size == "1":
        return device, 0, 1
    if not world_size.isdecimal() or not all(name in os.environ for name in TORCHRUN):
        raise InputError(
            f"WORLD_SIZE is {world_size!r}, which torchrun sets to a number, together with {', '.join(TORCHRUN)}; unset it, or use torchrun"
        )
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        # Before there is a group: its functions take the group of that moment as their default, and would keep it alive for ever.
        importlib.import_module("torch.distributed.nn")
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    return device, dist.get_rank(), int(world_size)


def join(device: str) -> Execution:
    """This process's share of the work on the device called so; the first says which that is."""
    device, rank, world_size = join_processes(choose_device(device))
    execution = Execution(device, rank=rank, world_size=world_size)
    if execution.is_first:
        print(f"device: {execution.in_words}")
    return execution


def will_be_first() -> bool:
    """Whether this process, alone or one of those that torchrun started, will be the first. Known before they join."""
    return os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK") == "0"


def leave_processes() -> None:
    """Wait until every process is done, then part: one that ends while another still talks to it would make that one abort.

    The group's threads end with the last reference to it, and a trainer that is no longer used may hold one: it is in reference cycles.
    A thread that outlives Python can let go of a tensor's last reference too late, ask for the GIL and abort (pytorch issue 190489).
    """
    if dist.is_initialized():
        dist.barrier()
        gc.collect()
        dist.destroy_process_group()


def choose_device(name: str) -> str:
    """The device called `name`; "auto" takes CUDA, then Apple's MPS, then the CPU. One that is asked for must be there."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return next(device for device, there in available.items() if there)
    names = [device for device, there in available.items() if there] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if name not in names:
        raise InputError(f"device {name!r} is not available here; available: auto, {', '.join(names)}")
    return name


def describe_device(device: str) -> str:
    """The device in words: name, memory, threads."""
    if device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(device)
        return f"{device} ({properties.name}, sm_{properties.major}{properties.minor}, {properties.total_memory / 1e9:.0f} GB)"
    return f"cpu ({torch.get_num_threads()} threads)" if device == "cpu" else device


def precision_of(device: str) -> tuple[str, str]:
    """(precision, why) for a GPU, by its compute capability; float32 elsewhere."""
    if not device.startswith("cuda"):
        return "fp32", "no tensor cores"
    major, minor = torch.cuda.get_device_capability(device)
    if major >= 8:
        return "bf16", f"sm_{major}{minor} has bfloat16 tensor cores"
    if major == 7:
        return "fp16", f"sm_{major}{minor} has float16 tensor cores, and only emulates bfloat16"
    return "fp32", f"sm_{major}{minor} has no tensor cores"


def cpu_has_bf16() -> bool:
    """Whether this CPU has instructions for bfloat16."""
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


def cpu_gains_from_bf16(time_step: Callable[[str], None]) -> tuple[bool, str]:
    """Whether a training step is at least a tenth faster in bf16 on this CPU, measured; (whether, why).

    time_step(precision) runs one step on a scratch copy of the network.
    """
    if not cpu_has_bf16():
        return False, "this CPU has no bfloat16 instructions"
    seconds = {"fp32": [], "bf16": []}
    for round_ in range(4):
        for precision, times in seconds.items():
            started = time.perf_counter()
            time_step(precision)
            if round_:  # the first round warms up
                times.append(time.perf_counter() - started)
    gain = min(seconds["fp32"]) / min(seconds["bf16"])
    return gain >= 1.1, f"a step is {gain:.2f} times as fast in bfloat16, measured"
