"""Compare generated images with real ones: KID and coverage, or FID where there is a network.

In features of EfficientNet-Lite0 (colour images; the package is optional), of a classifier that `train-classifier` wrote (digits and the
like), or of FID's own network, whose weights torchmetrics downloads. Numbers compare only with those of the same features and the same n.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ddpm_utils.classifier import Classifier, load_classifier
from ddpm_utils.data.folders import list_images
from ddpm_utils.data.sources import EMBEDDED, load_images
from ddpm_utils.errors import InputError
from ddpm_utils.evaluation.distribution_metrics import coverage, kid
from ddpm_utils.evaluation.features import classifier_features, efficientnet_features, inception_fid
from ddpm_utils.models import find_weights
from ddpm_utils.runtime.device import choose_device, describe_device

COLOUR, INCEPTION = "efficientnet-lite0", "inception-fid"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("generated", type=Path, help="folder of images, such as `sample --images` writes")
    parser.add_argument("real", help=f"folder of images, or {', '.join(EMBEDDED)}")
    parser.add_argument(
        "--features",
        default=COLOUR,
        help=f"{COLOUR}, {INCEPTION}, a classifier.safetensors, or a shipped one such as digits-judge (default %(default)s)",
    )
    parser.add_argument("--n", type=int, help="images of each set, drawn by the seed (default: as many as the smaller set has)")
    parser.add_argument(
        "--img-size", type=int, help="pixels that both sets are brought to (default: the classifier's, else the smaller set's)"
    )
    parser.add_argument("--seed", type=int, default=0, help="same seed, same choice of images (default %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default %(default)s)")


def run(args: argparse.Namespace) -> None:
    if args.n is not None and args.n < 2:
        raise InputError(f"--n must be at least 2, got {args.n}")
    if not args.generated.is_dir():
        raise InputError(f"there is no folder of generated images {str(args.generated)!r}; `sample --images FOLDER` writes one")
    device = choose_device(args.device)
    print(f"device: {describe_device(device)}")
    classifier = None if args.features in (COLOUR, INCEPTION) else load_classifier(find_weights(args.features, "classifier"), device)
    network = classifier and classifier.config.network
    size = args.img_size or (network.image_size if network else smaller_size(args.generated, args.real))
    channels = network.channels if network else 3
    real, generated = (with_channels(load_images(source, size).images, channels) for source in (args.real, args.generated))
    n = args.n or min(len(real), len(generated))
    real, generated = (drawn(images, n, args.seed, name) for images, name in ((real, "real"), (generated, "generated")))
    print(f"n = {n} real and {n} generated images of {size} px, features: {args.features}")
    if args.features == INCEPTION:
        print(f"FID {inception_fid(real, generated, device):.2f} (n = {n} real and {n} generated)")
        return
    a, b = (features_of(images, classifier, device) for images in (real, generated))
    print(kid(a, b, subset_size=min(1000, max(2, n // 2)), seed=args.seed))
    print(coverage(a, b) if n > 5 else "coverage and density need at least 6 images of each set")


def smaller_size(generated: Path, real: str) -> int:
    """Pixels of the generated images, or of the real ones if these are smaller: enlarged, they would only be told by their blur."""
    size, name = size_of_first(generated), real.partition(":")[0]
    if name in EMBEDDED:
        return min(size, EMBEDDED[name])
    return min(size, size_of_first(Path(real))) if Path(real).is_dir() else size


def size_of_first(folder: Path) -> int:
    """Pixels of the short side of a folder's first image."""
    files, _, _ = list_images(folder)
    try:
        with Image.open(files[0]) as image:
            return min(image.size)
    except OSError as error:
        raise InputError(f"{str(files[0])!r} can't be read as an image ({error}); repair or remove it") from error


def with_channels(images: np.ndarray, channels: int) -> np.ndarray:
    """uint8 (n, H, W, 1 or 3) as (n, H, W, channels): grey repeated, or colours weighed as Pillow does."""
    if images.shape[3] == channels:
        return images
    if channels == 3:
        return np.repeat(images, 3, axis=3)
    return np.stack([np.asarray(Image.fromarray(image).convert("L"))[..., None] for image in images])


def drawn(images: np.ndarray, n: int, seed: int, name: str) -> np.ndarray:
    """n of the images, without replacement; InputError if there are fewer."""
    if not 2 <= n <= len(images):
        raise InputError(f"there are {len(images)} {name} images, {n} are needed (and at least 2); lower --n, or add images")
    return images[np.sort(np.random.default_rng(seed).choice(len(images), n, replace=False))]


def features_of(images: np.ndarray, classifier: Classifier | None, device: torch.device) -> np.ndarray:
    return classifier_features(classifier, images)[0] if classifier else efficientnet_features(images, device)
