"""The flags of `sample` that begin from images: --inpaint, --interpolate, --from-image, --super-resolve."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from ddpm_utils.commands.arguments import user_path
from ddpm_utils.errors import InputError

EDITS = ("inpaint", "interpolate", "from_image", "super_resolve")
RESAMPLINGS, NOISE = 10, 0.4  # where nothing is said
BELONGS = {"mask": "inpaint", "resamplings": "inpaint", "noise": "from_image"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("images that are there, changed by the model; --n says how many results")
    group.add_argument("--inpaint", type=user_path, metavar="IMAGE", help="fill the hole that --mask shows (RePaint, ancestral sampling)")
    group.add_argument("--mask", type=user_path, metavar="IMAGE", help="white where --inpaint fills, black where the image stays")
    group.add_argument("--resamplings", type=int, help=f"times that each step of --inpaint is repeated (default {RESAMPLINGS})")
    group.add_argument(
        "--interpolate",
        type=user_path,
        nargs=2,
        metavar=("A", "B"),
        help="--n images from A to B, by way of the noises that they come from",
    )
    group.add_argument(
        "--from-image", type=user_path, metavar="IMAGE", help="vary this image: noise is added, and taken away again (SDEdit)"
    )
    group.add_argument("--noise", type=float, help=f"share of the noise that --from-image adds, above 0 to 1 (default {NOISE})")
    group.add_argument("--super-resolve", type=user_path, metavar="IMAGE", help="enlarge a small image to the model's size; its means stay")


def edit_of(args: argparse.Namespace) -> str | None:
    """Which of EDITS is asked for; InputError for two of them, and for flags that belong to none that is there or are missing."""
    asked = [name for name in EDITS if getattr(args, name) is not None]
    if len(asked) > 1:
        raise InputError(f"{flag_of(asked[0])} and {flag_of(asked[1])} can't be used together")
    edit = asked[0] if asked else None
    for name, of in BELONGS.items():
        if getattr(args, name) is not None and edit != of:
            raise InputError(f"{flag_of(name)} belongs to {flag_of(of)}, which is missing")
    if edit == "inpaint" and args.mask is None:
        raise InputError("--inpaint needs --mask, an image that is white where the hole is")
    if edit == "inpaint" and args.sampler is not None:
        raise InputError("--inpaint samples by ancestral sampling, which --sampler can't change")
    if edit == "interpolate" and args.sampler == "ddpm":
        raise InputError("--interpolate needs a deterministic sampler, ddim, dpm or heun, got ddpm")
    if edit == "interpolate" and args.n < 2:
        raise InputError(f"--interpolate draws both ends, so --n must be at least 2, got {args.n}")
    return edit


def flag_of(name: str) -> str:
    return "--" + name.replace("_", "-")


class Edit:
    """An edit with its images read: what a sampler starts from, and its steps."""

    def __init__(self, kind: str, args: argparse.Namespace, config):
        self.kind, self.config = kind, config
        self.share = NOISE if args.noise is None else args.noise
        self.resamplings = RESAMPLINGS if args.resamplings is None else args.resamplings
        if not 0 < self.share <= 1:
            raise InputError(f"--noise must lie in (0, 1], 0.4 is usual; got {self.share:g}")
        if self.resamplings < 1:
            raise InputError(f"--resamplings must be at least 1, 10 are usual; got {self.resamplings}")
        named = getattr(args, kind)
        whole = kind != "super_resolve"
        self.images = [image_of(path, flag_of(kind), config, whole) for path in (named if kind == "interpolate" else [named])]
        self.hole = hole_of(args.mask, config) if kind == "inpaint" else None

    def start(self, model, x_T, label, count: int):
        """What all images begin with, (n, C, H, W): `x_T`, or for an interpolation the noises between those of its two ends."""
        if self.kind != "interpolate":
            return x_T
        from ddpm_utils.editing import between
        from ddpm_utils.sampling import ddim_invert, make_denoiser, sample

        if label is not None and len(label.unique()) > 1:
            raise InputError("--interpolate needs --label for a model with labels: the noise that an image comes from depends on it")
        device, schedule = next(model.network.parameters()).device, self.config.noise_schedule()
        conditions = {} if label is None else {"label": label[:1].to(device)}
        denoiser = make_denoiser(model.network, schedule, self.config.task.prediction, clip=False, **conditions)
        a, b = (sample(ddim_invert(denoiser, image.to(device), schedule, count)) for image in self.images)
        return between(a.cpu(), b.cpu(), len(x_T))

    def total(self, count: int) -> int:
        """Steps down that are done for `count` sampling steps."""
        if self.kind == "inpaint":
            return (count - 1) * self.resamplings + 1
        return max(1, round(self.share * count)) if self.kind == "from_image" else count

    def steps(self, model, x_T, label, guidance, sampler: str, count: int, seed: tuple[int, int]) -> Iterator:
        """Every Step from x_T, on the network's device."""
        from ddpm_utils.editing import averaging_to, inpaint, noised
        from ddpm_utils.generate import run_sampler, trained_denoiser
        from ddpm_utils.runtime.rng import keyed_generator
        from ddpm_utils.sampling import timesteps

        device, schedule = next(model.network.parameters()).device, self.config.noise_schedule()
        timesteps(schedule.T, count)  # refuses wrong numbers
        denoiser = trained_denoiser(model.network, self.config, None if label is None else label.to(device), guidance)
        x_T, image = x_T.to(device), self.images[0].to(device)
        if self.kind == "inpaint":
            generator = keyed_generator(seed[0], "sampling", seed[1])
            return inpaint(denoiser, x_T, schedule, image, self.hole.to(device), count, self.resamplings, generator)
        if self.kind == "super_resolve":
            denoiser = averaging_to(denoiser, image)
        if self.kind == "from_image":
            x_T, schedule = noised(schedule, image, self.share, x_T)
        return run_sampler(sampler, denoiser, x_T, schedule, min(self.total(count), schedule.T), seed)


def image_of(path: Path, flag: str, config, whole: bool):
    """The image (1, C, S, S) in a file, square as training images become; not whole: a small one as it lies, whose side must divide S."""
    import numpy as np

    from ddpm_utils.data.images import fit, picture_for, read_rgb, to_float

    size, channels = config.network.image_size, config.network.channels
    if channels not in (1, 3):
        raise InputError(f"{flag} needs a model of images with 1 or 3 channels, this one has {channels}")
    image = picture_for(flag, path, read_rgb)
    if whole:
        image = fit(image, size, config.fit)
    elif image.width != image.height or size % image.width or size == image.width:
        raise InputError(f"{flag} needs a square image whose side divides {size}, {str(path)!r} has {image.width} x {image.height} pixels")
    pixels = np.array(image.convert("L" if channels == 1 else "RGB"))
    return to_float(pixels.reshape(1, *pixels.shape[:2], channels), config.mean, config.std)


def hole_of(path: Path, config):
    """The hole (1, 1, S, S) of 0 and 1 in a file: 1 where it is white."""
    import numpy as np
    import torch
    from PIL import Image

    from ddpm_utils.data.images import fit, picture_for, read_rgb

    mask = fit(picture_for("--mask", path, read_rgb).convert("L"), config.network.image_size, config.fit, Image.Resampling.NEAREST)
    hole = torch.from_numpy(np.array(mask))[None, None] > 127
    if not hole.any():
        raise InputError(f"--mask must be white where the hole is, {str(path)!r} is black all over")
    return hole.float()
