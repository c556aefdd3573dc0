"""Time and peak memory of `python -m ddpm_utils retouch` on a large photograph, in a process of its own.

python tests/records/retouch_record.py [--model MODEL.safetensors] [--megapixels 24] [retouch's options]: prints one line. Without a model: a random
network of the shape and size of the shipped one, whose answer costs as much.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import skimage.data
import torch
from PIL import Image

from ddpm_utils.config import Restoration, TrainConfig
from ddpm_utils.models import save_model
from ddpm_utils.unet import UNet, UNetConfig


def large_photograph(path: Path, megapixels: float) -> Path:
    """A 3:2 photograph of that many megapixels, with grain, as a camera's JPEG of quality 92."""
    height = round(math.sqrt(megapixels * 1e6 / 1.5))
    image = Image.fromarray(skimage.data.coffee()).resize((round(1.5 * height), height), Image.Resampling.BICUBIC)
    grain = Image.effect_noise((1024, 1024), 40)
    for left in range(0, image.width, 1024):
        for top in range(0, image.height, 1024):
            box = (left, top, left + 1024, top + 1024)
            image.paste(Image.blend(image.crop(box), grain.convert("RGB"), 0.15), box)
    image.save(path, quality=92, exif=Image.Exif())
    return path


def random_model(path: Path, width: int = 8, multipliers: tuple[int, ...] = (1, 2), seed: int = 0) -> Path:
    """A restoration model that does something everywhere but means nothing."""
    network = UNetConfig(32, 3, width, multipliers, 1, (), False, groups=4, condition_channels=3, extra_channels=1)
    torch.manual_seed(seed)
    unet = UNet(network)
    torch.nn.init.normal_(unet.output_conv.weight, std=0.1)
    unet.output_conv.bias.data[3] = 1.0  # open gates, mostly
    save_model(unet, TrainConfig(network=network, task=Restoration()), (), path)
    return path


MEASURING = """
import json, os, subprocess, sys, tempfile, time
started = time.perf_counter()
with tempfile.TemporaryFile() as output:
    process = subprocess.Popen(sys.argv[1:], stdout=output, stderr=subprocess.STDOUT)
    _, status, usage = os.wait4(process.pid, 0)
    output.seek(0)
    said = output.read().decode()
kilobyte = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes
computing = usage.ru_utime + usage.ru_stime
print(json.dumps([os.waitstatus_to_exitcode(status), said, time.perf_counter() - started, computing, usage.ru_maxrss * kilobyte / 1e9]))
"""


def measure(command: list[str]) -> tuple[int, str, float, float, float]:
    """Run a command; returns its exit code, its output, seconds, seconds of computing (of all cores together), and peak memory in GB.

    From a small process: Linux counts what a process's parent held when it was started as its own.
    """
    return tuple(json.loads(subprocess.run([sys.executable, "-c", MEASURING, *command], stdout=subprocess.PIPE, check=True).stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model")
    parser.add_argument("--megapixels", type=float, default=24)
    args, options = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        photo = large_photograph(Path(folder) / "photo.jpg", args.megapixels)
        model = args.model or str(random_model(Path(folder) / "model.safetensors", 64, (1, 2, 2, 2)))
        command = [sys.executable, "-m", "ddpm_utils", "retouch", model, str(photo), "--out", f"{folder}/out.jpg", "--device", "cpu"]
        code, said, seconds, computing, memory = measure(command + options)
        print(said, end="")
        if code:
            print(f"exit code {code}, {seconds:.1f} s, {memory:.2f} GB at most")
            return
        before, after = np.asarray(Image.open(photo)), np.asarray(Image.open(f"{folder}/out.jpg"))
        equal = (before == after).all(2).mean()
        print(f"{seconds:.1f} s ({computing:.1f} s of computing), {memory:.2f} GB at most, {equal:.1%} of pixels equal")


if __name__ == "__main__":
    Image.MAX_IMAGE_PIXELS = None  # the images here are its own
    main()
