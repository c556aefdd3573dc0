"""Pairs of real photographs for tests: local smoothing plays the retoucher, a JPEG round trip of both gives the noise floor."""

import io
import struct
import zlib

import numpy as np
from PIL import Image
from scipy import ndimage


def smoothed_pairs(photographs, scale=1, patches=3, seed=0):
    """[(source, target)] uint8 (H, W, 3): each photograph, enlarged, with grain, and the same smoothed inside `patches` discs."""
    rng, pairs = np.random.default_rng(seed), []
    for photograph in photographs:
        height, width = (scale * n for n in photograph.shape[:2])
        large = np.asarray(Image.fromarray(photograph).resize((width, height), Image.Resampling.BICUBIC)).astype(np.float32)
        source = (large + rng.normal(0, 12, (height, width, 1))).clip(0, 255)
        y, x = np.ogrid[:height, :width]
        weight = np.zeros((height, width, 1), np.float32)
        for _ in range(patches):
            row, column, radius = rng.uniform(0.3, 0.7) * height, rng.uniform(0.3, 0.7) * width, 0.1 * min(height, width)
            weight[(y - row) ** 2 + (x - column) ** 2 < radius**2] = 1
        target = source + weight * (ndimage.gaussian_filter(source, (3, 3, 0)) - source)
        pairs.append((source.round().astype(np.uint8), target.round().astype(np.uint8)))
    return pairs


def write_pairs(root, pairs, source="src", target="gt", ending=".jpg"):
    """root/src/0.jpg and root/gt/0.jpg, and so on; returns the two folders."""
    for folder, k in ((source, 0), (target, 1)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for i, pair in enumerate(pairs):
            Image.fromarray(pair[k]).save(root / folder / f"{i}{ending}", quality=95)
    return root / source, root / target


def through_jpeg(image, quality=95):
    """The image as it comes back from a JPEG."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def truncate(path, share=0.5):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def write_png(path, side):
    """A PNG that says it has side x side pixels and holds the first one only."""
    Image.new("L", (1, 1)).save(path)
    content = path.read_bytes()
    header = b"IHDR" + struct.pack(">II", side, side) + content[24:29]
    path.write_bytes(content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:])
