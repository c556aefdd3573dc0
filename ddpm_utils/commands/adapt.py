"""Fit the retouching model to your own pairs, if that makes it better: 20 to 200 photographs and the same ones retouched.

Each photograph is retouched by weights that were fitted without it, beside those of the model as it is, and both gains are printed. Only if the
fitted ones gain more in the mean, and on most photographs, a model is fitted to all pairs and written; else nothing is.
"""

import argparse

from ddpm_utils.commands.arguments import add_device, add_fields, given, user_path
from ddpm_utils.errors import InputError, printable
from ddpm_utils.runtime.files import check_writable
from ddpm_utils.training.adaptation_settings import AdaptSettings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photographs", type=user_path, help="folder of photographs with wrinkles")
    parser.add_argument("retouched", type=user_path, help="folder of the same photographs, retouched, with the same names")
    parser.add_argument("--out", type=user_path, required=True, help="model.safetensors to write, if it is better")
    parser.add_argument("--model", default="retouch", help="model to begin with: its file, or a shipped one's name (default %(default)s)")
    add_fields(parser, AdaptSettings)
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    from ddpm_utils.models import find_weights, save_model
    from ddpm_utils.restoration.formulations import load_restorer
    from ddpm_utils.runtime.device import Execution, choose_device, describe_device, precision_of
    from ddpm_utils.training.adaptation import cut_pairs, find_pairs, fit, is_better, means, validate

    settings = AdaptSettings(**given(args, AdaptSettings))
    if args.out.suffix != ".safetensors" or args.out.exists():
        raise InputError(f"--out must name a new file that ends in .safetensors, got {str(args.out)!r}")
    check_writable(args.out)
    files = find_pairs(args.photographs, args.retouched)
    device = choose_device(args.device)
    model = load_restorer(find_weights(args.model, "retoucher"), device)
    sets = cut_pairs(files, model.config.network.image_size, settings)
    execution = Execution(device, precision_of(device)[0])
    print(f"device: {describe_device(device)}; {len(files)} pairs, {sum(map(len, sets))} crops; dB over copying, {args.model} -> fitted")
    gains = []
    for gain in validate(model, files, sets, settings, execution):
        gains.append(gain)
        print(in_words(gain), flush=True)
    mean = means(gains)
    print(in_words(mean))
    if not is_better(gains):
        print(f"no model is written: on photographs that it hasn't seen the fitted one is no better than {args.model};")
        print("if all were retouched alike, more pairs may get further")
        return 1
    fitted = fit(model, sets, settings, execution)
    save_model(fitted.network, fitted.config, (), args.out)
    print(printable(f"written to {args.out}; use it with `python -m ddpm_utils retouch {args.out} PHOTO --out RETOUCHED`"))
    return 0


def in_words(gain) -> str:
    """A photograph's gains, in a line."""
    masked = f"in the mask {gain.masked_before:+.2f} -> {gain.masked_after:+.2f}"
    return printable(f"{gain.name}: {masked}, whole {gain.whole_before:+.2f} -> {gain.whole_after:+.2f}")
