"""The faint grid that a network of patches leaves in its images, and what it is without: drawn from plain noise, and from even noise.

python tests/records/grid_record.py MODEL PHOTOGRAPHS [--test-path OTHERS] [--n 70] [--guidance 3]

The grid of an image is what the means of a patch's pixels, each over all patches, differ by; its root mean square is printed in levels of 256.
"""

import argparse

import torch
from recipe_record import SEED, add_photographs, photographs
from torch import Tensor

from ddpm_utils.choices import SAMPLERS
from ddpm_utils.data.images import to_float
from ddpm_utils.generate import even_over_patches, generate, labels_in_rows, start_noise
from ddpm_utils.models import find_weights, load_model
from ddpm_utils.runtime.device import Execution
from ddpm_utils.sampling import sample


def grid(images: Tensor, patch: int) -> float:
    """Of images (n, C, H, W) in [-1, 1], in levels."""
    return 127.5 * (images - even_over_patches(images, patch)).square().mean().sqrt().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    add_photographs(parser)
    parser.add_argument("--n", type=int, default=70)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=3.0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(find_weights(args.model, "generator"))
    config, execution = model.config, Execution(torch.device("cpu"), "bf16")
    args.img_size, patch = config.network.image_size, config.network.patch
    print(f"photographs that training hasn't seen: {grid(to_float(photographs(args)[1].images), patch):.2f}")
    even = start_noise(config, args.n, SEED)
    plain = torch.randn(even.shape, generator=torch.Generator().manual_seed(SEED))
    label = labels_in_rows(args.n, config.network.classes) if config.network.classes else None
    for sampler in SAMPLERS:
        for name, x_T in (("plain", plain), ("even", even)):
            with execution.autocast():
                x0 = sample(generate(model.network, config, x_T, label, sampler, args.steps, args.guidance))
            print(f"{sampler} in {args.steps} steps from {name} noise: {grid(x0, patch):.2f}", flush=True)


if __name__ == "__main__":
    main()
