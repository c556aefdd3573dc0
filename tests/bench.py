"""Training speed beside diffusers: the same weights, optimizer and precision, steps interleaved in one run. `make bench`.

Each variant takes turns, step by step, so that a noisy machine slows all alike; reported is the median of the ratios of
neighbouring steps. The last table gives each library its own fastest setting among those tried.

    python tests/bench.py [--steps 10] [--batch 8] [--network small|ho] [--compile]
"""

import argparse
import statistics
import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ddpm_utils.runtime.torchvision_shim import import_torchvision
from ddpm_utils.unet import UNet, UNetConfig

import_torchvision()

NETWORKS = {
    "small": UNetConfig(image_size=32, width=64, multipliers=(1, 2, 2, 2), attention=(16,)),
    "ho": UNetConfig.ho_cifar10(),
}


@dataclass
class Contestant:
    """One library in one setting: a network with its optimizer, and the times of its steps."""

    name: str
    network: torch.nn.Module
    channels_last: bool = False
    bfloat16: bool = False
    compiled: bool = False

    def __post_init__(self):
        self.network.train()
        if self.channels_last:
            self.network.to(memory_format=torch.channels_last)
        self.call = torch.compile(self.network) if self.compiled else self.network
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-4, fused=True)
        self.seconds: list[float] = []

    def step(self, x, t, eps):
        started = time.perf_counter()
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            output = self.call(x, t)
        output = output if isinstance(output, torch.Tensor) else output.sample
        loss = F.mse_loss(output.float(), eps)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.seconds.append(time.perf_counter() - started)
        return loss.item()


def race(ours: Contestant, theirs: Contestant, steps: int, batch: int, size: int) -> float:
    """Interleaved steps after two for warming up; prints and returns how many times faster ours is."""
    generator = torch.Generator().manual_seed(0)
    for step in range(steps + 2):
        x, eps = (torch.randn(batch, 3, size, size, generator=generator) for _ in range(2))
        t = torch.randint(0, 1000, (batch,), generator=generator)
        order = (ours, theirs) if step % 2 else (theirs, ours)
        losses = {c.name: c.step(x, t, eps) for c in order}
    del ours.seconds[:2], theirs.seconds[:2]
    ratio = statistics.median(b / a for a, b in zip(ours.seconds, theirs.seconds))
    for c in (theirs, ours):
        setting = ", ".join(n for n, on in [("channels_last", c.channels_last), ("bf16", c.bfloat16), ("compiled", c.compiled)] if on)
        print(
            f"  {c.name:<10} {setting or 'plain float32':<28} {1000 * statistics.median(c.seconds):8.1f} ms/step   loss {losses[c.name]:.5f}"
        )
    print(f"  ddpm_utils is {ratio:.3f} times as fast\n", flush=True)
    return ratio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--network", choices=NETWORKS, default="small")
    parser.add_argument("--compile", action="store_true", help="also under torch.compile, which takes minutes more")
    args = parser.parse_args()
    config = NETWORKS[args.network]
    print(
        f"{args.network} network, {config.image_size} px, batch {args.batch}, {torch.get_num_threads()} threads, torch {torch.__version__}\n"
    )

    def pair(**setting) -> tuple[Contestant, Contestant]:
        torch.manual_seed(0)
        ours = UNet(config)
        return Contestant("ddpm_utils", ours, **setting), Contestant("diffusers", ours.to_diffusers(), **setting)

    settings = [
        {},
        {"channels_last": True},
        {"bfloat16": True},
        {"bfloat16": True, "channels_last": True},
    ]
    if args.compile:
        settings += [setting | {"compiled": True} for setting in settings]
    best: dict[str, tuple[float, dict]] = {}
    for setting in settings:
        contestants = pair(**setting)
        race(*contestants, args.steps, args.batch, config.image_size)
        for c in contestants:
            seconds = statistics.median(c.seconds)
            if c.name not in best or seconds < best[c.name][0]:
                best[c.name] = (seconds, setting)
        torch.compiler.reset()
    print("each at its fastest setting:")
    ours, _ = pair(**best["ddpm_utils"][1])
    _, theirs = pair(**best["diffusers"][1])
    race(ours, theirs, args.steps, args.batch, config.image_size)


if __name__ == "__main__":
    main()
