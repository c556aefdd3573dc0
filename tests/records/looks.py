"""Photographs without labels, sorted by how they look: a class folder for each look, for training with labels and guidance.

python tests/records/looks.py PHOTOGRAPHS OUT [--looks 24] [--img-size 64]

Every image is taken twice, as it is and mirrored, since a car that drives to the left is another look than one that drives to the right; train on OUT
without --flip. A look is a cluster (k-means) of EfficientNet-Lite0's features, which know the kind of thing and its view, beside a thumbnail of 8x8
pixels, which knows the colours.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from ddpm_utils.data.reading import Reading
from ddpm_utils.data.sources import load_images
from ddpm_utils.evaluation.features import efficientnet_features

THUMBNAIL = 8  # pixels a side
COMPONENTS = 48, 24  # kept of the features and of the thumbnail
COLOUR = 0.7  # how much a thumbnail counts beside the features


def looks_of(images: np.ndarray, looks: int) -> np.ndarray:
    """The look 0 .. looks-1 of each of images (n, H, W, 3) uint8: (n,) int."""
    small = np.stack([np.asarray(Image.fromarray(image).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)) for image in images])
    content, colour = (
        scaled(PCA(k, random_state=0).fit_transform(x))
        for k, x in zip(COMPONENTS, (efficientnet_features(images), small.reshape(len(images), -1)))
    )
    return KMeans(looks, n_init=4, random_state=0).fit_predict(np.hstack([content, COLOUR * colour]))


def scaled(x: np.ndarray) -> np.ndarray:
    """x (n, k) divided so that its points are as far from each other whatever k is."""
    return x / (x.std() * np.sqrt(x.shape[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs")
    parser.add_argument("out", type=Path)
    parser.add_argument("--looks", type=int, default=24)
    parser.add_argument("--img-size", type=int, default=64)
    args = parser.parse_args()
    images = np.asarray(load_images(args.photographs, args.img_size, reading=Reading(fit="squash")).images)
    images = np.concatenate([images, images[:, :, ::-1]])
    found = looks_of(np.ascontiguousarray(images), args.looks)
    for look in range(args.looks):
        folder = args.out / f"look-{look:02d}"
        folder.mkdir(parents=True)
        for i in np.flatnonzero(found == look):
            Image.fromarray(images[i]).save(folder / f"{i:05d}.png")
        print(f"{folder}: {(found == look).sum()} images")


if __name__ == "__main__":
    main()
