"""Speed beside diffusers and lucidrains, and beside what the machine can do: interleaved steps in one run. `make bench`.

python tests/bench [--quick] [--network small|ho] [--size 64] [--device cpu] [--batch 8] [--rounds 8]
    [--compile [reduce-overhead]] [--record tests/records/speed.md]

Ratios are medians over rounds of neighbouring steps, so that a busy machine slows all alike; milliseconds and GFLOP/s hold for an idle one, or for
one thread of a CPU (OMP_NUM_THREADS=1), where only the time counts that the process computes.
Takes at most six minutes on two idle cores; --quick, which measures nothing, seconds. --record replaces this machine's part of the file.
"""

import argparse
import platform
import re
import resource
import sys
from dataclasses import replace
from pathlib import Path

import torch
from ceilings import convolutions, matrix_product
from contestants import contestants, race, table
from end_to_end import SIZE
from end_to_end import lines as end_to_end
from overhead import line as overhead
from record import write

from ddpm_utils.runtime.device import Execution, choose_device, cpu_has_bf16, describe_device, precision_of
from ddpm_utils.runtime.memory import keep_freed_memory
from ddpm_utils.unet_config import UNetConfig

NETWORKS = {
    "small": UNetConfig(image_size=32, width=64, multipliers=(1, 2, 2, 2), attention=(16,)),
    "ho": UNetConfig.ho_cifar10(),
    "tiny": UNetConfig(image_size=16, width=8, multipliers=(1, 2), blocks=1, attention=(), groups=8),
}


def precisions(device: str) -> tuple[list[str], str]:
    """Those that the device has units for, and a sentence about what is left out."""
    if device == "cpu":
        has = cpu_has_bf16()
        return [
            "fp32",
            *(["bf16"] if has else []),
        ], "" if has else "bf16 is left out: this CPU has no instructions for it, and emulates it."
    precision, why = precision_of(device)
    return ["fp32", *([precision] if precision != "fp32" else [])], f"Precision of the device: {precision} ({why})."


def machine(device: str) -> str:
    """The machine in words, a heading of the record."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()) if Path("/proc/cpuinfo").exists() else None
    where = f"{cpu[1] if cpu else platform.processor()}, {torch.get_num_threads()} threads" if device == "cpu" else describe_device(device)
    return f"{where}, torch {torch.__version__}"


def measured(args: argparse.Namespace) -> list[str]:
    """All tables, for one device."""
    config, batch, rounds = NETWORKS[args.network], args.batch, args.rounds
    config = replace(config, image_size=args.size) if args.size else config
    names, word = precisions(args.device)
    found = [
        f"## {machine(args.device)}" + (f", torch.compile ({args.compile})" if args.compile else ""),
        "",
        f"Network: {args.network}, {config.image_size} px, batch {batch}, {rounds} rounds. {word}".rstrip(),
    ]
    for precision in names:
        execution = Execution(args.device, precision)
        product = matrix_product(execution, rounds) / 1e9
        forwards, both = convolutions(config, execution, batch, max(1, rounds // 3))
        racing = contestants(config, execution, args.compile)
        race(racing, rounds, batch, config.image_size)
        ceiling = f"a matrix product {product:.0f}, the network's convolutions alone {forwards / 1e9:.0f} forwards, {both / 1e9:.0f} with backwards"
        found += ["", f"{precision}: GFLOP/s of {ceiling} (the share is of the last)", "", *table(racing, batch, config.image_size, both)]
        del racing
    execution = Execution(args.device, names[-1])
    photographs = replace(config, image_size=SIZE, blocks=1)
    found += ["", *end_to_end(photographs, execution, files=args.files, batch=batch, rounds=rounds)]
    found += ["", overhead(config, Execution(args.device), batch, rounds), f"Peak memory of all this: {peak(args.device):.1f} GB."]
    return found


def peak(device: str) -> float:
    """GB that this process had at most; of a GPU's memory where there is one."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tiny network and one round: whether all this runs")
    parser.add_argument("--network", choices=NETWORKS, default="small")
    parser.add_argument("--size", type=int, help="pixels a side (default 32)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--files", type=int, default=200, help="photographs of the race from end to end")
    modes = ("default", "reduce-overhead")
    parser.add_argument(
        "--compile", nargs="?", const=modes[0], choices=modes, help="the networks under torch.compile; reduce-overhead: in CUDA graphs"
    )
    parser.add_argument("--record", type=Path)
    args = parser.parse_args()
    if args.quick:
        args.network, args.batch, args.rounds, args.files = "tiny", 2, 1, 4
    args.device = choose_device(args.device)
    if args.device == "cpu":
        keep_freed_memory()  # as our training does, so that the others have it too
    found = measured(args)
    print("\n".join(found))
    if args.record:
        write(args.record, found)


if __name__ == "__main__":
    main()
