"""Does a model copy? The nearest training photographs of samples, to be looked at, and how near they are, beside how near new photographs are.

python tests/records/nearest_record.py SAMPLES PHOTOGRAPHS --test-path NEW [--figure out/nearest.png]

Distances are those between features of EfficientNet-Lite0, to the training photographs and their mirror images. A copy would lie far nearer than a
photograph that training hasn't seen; samples that lie about as far are no copies, though single ones may be: look at the figure.
"""

import argparse
from pathlib import Path

import numpy as np
from recipe_record import add_photographs, photographs
from scipy.spatial.distance import cdist

from ddpm_utils.data.sources import load_images
from ddpm_utils.evaluation.features import efficientnet_features
from ddpm_utils.figures import sample_grid

SHOWN, NEIGHBOURS = 10, 3  # samples in the figure, photographs beside each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samples", help="folder of samples, as `sample --images` writes it")
    add_photographs(parser)
    parser.add_argument(
        "--figure", type=Path, help="the samples that lie nearest, each before its nearest photographs; not for publication"
    )
    args = parser.parse_args()
    training, new = (np.asarray(part.images) for part in photographs(args))
    training = np.concatenate([training, training[:, :, ::-1]])
    samples = np.asarray(load_images(args.samples, args.img_size).images)
    of_training = efficientnet_features(training)
    for name, images in (("samples", samples), ("new photographs", new)):
        nearest = cdist(efficientnet_features(images), of_training)  # (n, N)
        low, middle = np.quantile(nearest.min(1), [0.01, 0.5])
        print(
            f"{name}: {len(images)}, distance to the nearest of {len(training):,}: least {nearest.min():.2f}, 1 % {low:.2f}, median {middle:.2f}"
        )
        if name == "samples" and args.figure:
            first = nearest.min(1).argsort()[:SHOWN]
            rows = [[images[i], *training[nearest[i].argsort()[:NEIGHBOURS]]] for i in first]
            figure = sample_grid(np.concatenate([np.stack(row) for row in rows]), 1 + NEIGHBOURS, column_names=("sample", "nearest"))
            figure.savefig(args.figure)


if __name__ == "__main__":
    main()
