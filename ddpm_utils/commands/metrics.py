"""Distribution metrics of generated images against real ones: KID and coverage, or FID where there is a network.

In features of EfficientNet-Lite0 (colour images; the package is optional), of a classifier that `train-classifier` wrote (digits and the
like), or of FID's own network, whose weights torchmetrics downloads. Numbers compare only with those of the same features and the same n.
For retouched images, whose ground truth is known, see `evaluate`.
"""

import argparse

from ddpm_utils.commands.arguments import add_device, user_path
from ddpm_utils.data.names import EMBEDDED
from ddpm_utils.errors import InputError

FEW = 100  # images below which a line says how little the figures tell
COLOUR, INCEPTION = "efficientnet-lite0", "inception-fid"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("generated", type=user_path, help="folder of images, such as `sample --images` writes")
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
    add_device(parser)


def run(args: argparse.Namespace) -> None:
    from ddpm_utils.classifier import BATCH, load_classifier
    from ddpm_utils.evaluation.comparable_sets import comparable_sets
    from ddpm_utils.evaluation.distribution_metrics import coverage, kid
    from ddpm_utils.evaluation.features import features_of, inception_fid
    from ddpm_utils.models import find_weights
    from ddpm_utils.runtime.device import join, leave_processes

    for flag, value, least in (("--n", args.n, 2), ("--img-size", args.img_size, 1), ("--seed", args.seed, 0)):
        if value is not None and value < least:
            raise InputError(f"{flag} must be at least {least}, got {value}")
    if not args.generated.is_dir():
        raise InputError(f"there is no folder of generated images {str(args.generated)!r}; `sample --images FOLDER` writes one")
    execution = join(args.device)
    device = execution.device
    classifier = None if args.features in (COLOUR, INCEPTION) else load_classifier(find_weights(args.features, "classifier"), device)
    network = classifier and classifier.config.network
    size, channels = (args.img_size or network.image_size, network.channels) if network else (args.img_size, 3)
    real, generated = comparable_sets(args.real, args.generated, size=size, channels=channels, n=args.n, seed=args.seed)
    n = len(real)
    lines = [f"n = {n} real and {n} generated images of {real.shape[1]} px, features: {args.features}"]
    if args.features == INCEPTION:
        lines.append(f"FID {inception_fid(real, generated, device):.2f} (n = {n} real and {n} generated)")
    else:
        a, b = (execution.shared_out(n, BATCH, lambda part, of=of: features_of(of[part], classifier, device)) for of in (real, generated))
        lines.append(str(kid(a, b, subset_size=min(1000, max(2, n // 2)), seed=args.seed)))
        lines.append(str(coverage(a, b)) if n > 5 else "coverage and density need at least 6 images of each set")
    if n < FEW:
        lines.append(f"from {n} images these are rough; compare by some hundreds")
    leave_processes()
    if execution.is_first:
        print(*lines, sep="\n")
