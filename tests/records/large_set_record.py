"""Memory of large sets: a folder of files that are listed and decoded, and a run on images that lie in a memory-mapped file.

python tests/records/large_set_record.py [--files 100000] [--images 1000000] [--steps 300]: prints a table for tests/records/speed.md.

The files are hard links to one JPEG, and the memory-mapped images are zeros that take no room on a disk. Memory is what the process can't give back
(RssAnon); pages of a mapped file come on top as long as nothing else wants the room. Linux alone.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

SIZE, BATCH, LINKS = 64, 128, 60_000  # pixels a side, images a step, links to one file: ext4 allows 65,000


def memory() -> float:
    """MB of this process that lie in no file."""
    return int(re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1e3


def most_memory(of: Callable[[], object]) -> float:
    """MB that a call had at most, looked at fifty times a second."""
    seen, done = [memory()], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            seen.append(memory())

    watching = threading.Thread(target=watch)
    watching.start()
    of()
    done.set()
    watching.join()
    return max(seen)


def linked_files(folder: Path, n: int) -> Path:
    """n names of a few JPEG files, in ten classes."""
    from PIL import Image

    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8))
    for k in range(n):
        name = folder / f"class {k % 10}" / f"picture {k:07d}.jpg"
        if k % LINKS == 0:
            image.save(first := folder.parent / f"{k}.jpg")
        name.parent.mkdir(parents=True, exist_ok=True)
        os.link(first, name)
    return folder


def decoding(n: int) -> str:
    """A row: n files are listed, decoded and loaded."""
    from ddpm_utils.data.sources import load_images

    with tempfile.TemporaryDirectory() as folder:
        os.environ["DDPM_CACHE"] = f"{folder}/cache"
        files = linked_files(Path(folder) / "files", n)
        load_images("mnist5k")
        before = memory()
        return f"| {n:,} files listed and decoded | {before:.0f} | {most_memory(lambda: load_images(files, SIZE)):.0f} |"


def training(n: int, steps: int) -> str:
    """A row: a run on n memory-mapped images, of which each step takes other ones."""
    from ddpm_utils.config import TrainConfig
    from ddpm_utils.data.images import ImageSet
    from ddpm_utils.training.tasks.generation import GenerationTask
    from ddpm_utils.training.trainer import Trainer
    from ddpm_utils.unet_config import UNetConfig

    network = UNetConfig(image_size=SIZE, patch=4, width=8, multipliers=(1,), blocks=1, attention=(), groups=8, classes=10)
    with tempfile.TemporaryDirectory() as folder:
        images = np.lib.format.open_memmap(f"{folder}/images.npy", "w+", np.uint8, (n, SIZE, SIZE, 3))
        data = ImageSet(images, np.arange(n) % 10, tuple("0123456789"))
        trainer = Trainer(GenerationTask(TrainConfig(network=network, batch_size=BATCH)), data)
        list(trainer.run(until=10))
        before = memory()
        most = most_memory(lambda: list(trainer.run(until=steps)))
    return f"| {n:,} images, {images.nbytes / 1e9:.1f} GB, steps 10 to {steps} of {BATCH} | {before:.0f} | {most:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--alone", choices=("decoding", "training"), help="measure this and nothing else")
    args = parser.parse_args()
    if args.alone:
        print(decoding(args.files) if args.alone == "decoding" else training(args.images, args.steps))
        return
    print("| what | MB before | MB at most |\n|---|---:|---:|")
    for row in ("decoding", "training"):
        for part in (10, 1):  # each in a process of its own
            sizes = ["--files", str(args.files // part), "--images", str(args.images // part), "--steps", str(args.steps)]
            one = subprocess.run([sys.executable, __file__, "--alone", row, *sizes], check=True, stdout=subprocess.PIPE, text=True)
            print(one.stdout.splitlines()[-1], flush=True)


if __name__ == "__main__":
    main()
