"""The networks that race: ours, diffusers' with the same weights, lucidrains' of about that size, each with an optimizer, in each layout."""

import copy
import statistics
import time
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_utils.runtime.device import Execution
from ddpm_utils.runtime.torchvision_shim import import_torchvision
from ddpm_utils.training.flops import TRAINING, flops_of
from ddpm_utils.unet import UNet
from ddpm_utils.unet_config import UNetConfig

LAYOUTS = {"plain": torch.contiguous_format, "channels_last": torch.channels_last}


@dataclass
class Contestant:
    """One library in one layout, and the seconds of its steps."""

    library: str
    network: nn.Module
    layout: str
    execution: Execution
    compile_mode: str | None = None  # of torch.compile, if at all
    training: list[float] = field(default_factory=list)
    sampling: list[float] = field(default_factory=list)

    def __post_init__(self):
        alone = copy.deepcopy(self.network).to("meta")
        config = self.execution
        self.network.to(config.device, memory_format=LAYOUTS[self.layout]).train()
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-4, fused=True)
        self.call = torch.compile(self.network, mode=self.compile_mode) if self.compile_mode else self.network
        self.flops = lambda x: flops_of(lambda: alone(torch.empty(1, *x.shape[1:]), torch.zeros(1, dtype=torch.int64)))

    @property
    def name(self) -> str:
        return f"{self.library}, {self.layout}"

    def predicted(self, x: Tensor, t: Tensor) -> Tensor:
        with self.execution.autocast():
            output = self.call(x.contiguous(memory_format=LAYOUTS[self.layout]), t)
        return (output if isinstance(output, Tensor) else output.sample).float()

    def train(self, x: Tensor, t: Tensor, eps: Tensor) -> None:
        """A step of training: forwards, backwards, clipped, AdamW."""
        F.mse_loss(self.predicted(x, t), eps).backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def look(self, x: Tensor, t: Tensor, eps: Tensor) -> None:
        """What a sampling step asks of the network."""
        self.predicted(x, t)


def contestants(config: UNetConfig, execution: Execution, compile_mode: str | None = None) -> list[Contestant]:
    """Ours in the layout that it chooses, then the others in both. lucidrains' is left out where the package isn't installed."""
    import_torchvision()  # before diffusers does
    torch.manual_seed(0)
    ours = UNet(config)
    chosen = next(name for name, layout in LAYOUTS.items() if layout == execution.memory_format)
    racing = [Contestant("ddpm_utils", ours, chosen, execution, compile_mode)]
    racing += [Contestant("diffusers", ours.to_diffusers(), layout, execution, compile_mode) for layout in LAYOUTS]
    try:
        from denoising_diffusion_pytorch import Unet
    except ModuleNotFoundError:
        print("lucidrains' Unet isn't installed (pip install denoising-diffusion-pytorch), and left out")
        return racing
    theirs = [Unet(config.width, dim_mults=config.multipliers) for _ in LAYOUTS]
    return racing + [Contestant("lucidrains", one, layout, execution, compile_mode) for one, layout in zip(theirs, LAYOUTS)]


def race(racing: list[Contestant], rounds: int, batch: int, size: int) -> None:
    """Interleaved steps, each round in another order, so that a noisy machine slows all alike; the first round warms up."""
    generator, device = torch.Generator().manual_seed(0), racing[0].execution.device
    for round_ in range(rounds + 1):
        x, eps = (torch.randn(batch, 3, size, size, generator=generator).to(device) for _ in range(2))
        t = torch.randint(0, 1000, (batch,), generator=generator).to(device)
        for k in range(len(racing)):
            one = racing[(k + round_) % len(racing)]
            for act, seconds in ((one.train, one.training), (one.look, one.sampling)):
                seconds.append(timed(partial(act, x, t, eps), device))
    for one in racing:
        del one.training[0], one.sampling[0]


def now(device: str) -> float:
    """Seconds of the clock, once the device has done all; with one thread of a CPU those that this process computed."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.process_time() if device == "cpu" and torch.get_num_threads() == 1 else time.perf_counter()


def timed(act, device: str) -> float:
    """Seconds that it takes."""
    started = now(device)
    act()
    return now(device) - started


def ratio(theirs: list[float], ours: list[float]) -> float:
    """How many times as fast ours is: the median over rounds."""
    return statistics.median(b / a for a, b in zip(ours, theirs))


def table(racing: list[Contestant], batch: int, size: int, ceiling: float) -> list[str]:
    """A row a contestant: milliseconds, ratio to ours, GFLOP/s in training and its share of `ceiling` (FLOP/s of convolutions alone)."""
    ours, x = racing[0], torch.empty(1, 3, size, size)
    lines = ["| network | training, ms | ours is, times | for each FLOP | GFLOP/s | share | sampling step, ms | ours is, times |"]
    lines.append("|---|---:|---:|---:|---:|---:|---:|---:|")
    for one in racing:
        times, flops = ratio(one.training, ours.training), one.flops(x)
        speed = TRAINING * flops * batch / statistics.median(one.training)
        cells = [f"{1000 * statistics.median(one.training):.0f}", f"{times:.2f}", f"{times * ours.flops(x) / flops:.2f}"]
        cells += [f"{speed / 1e9:.0f}", f"{speed / ceiling:.0%}"]
        cells += [f"{1000 * statistics.median(one.sampling):.0f}", f"{ratio(one.sampling, ours.sampling):.2f}"]
        lines.append(f"| {one.name} | " + " | ".join(cells) + " |")
    return lines
