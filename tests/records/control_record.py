"""How well the shipped controls follow their hints, on toy cars that no training has seen. `make control-record`.

    python tests/records/control_record.py [--n 200] [--steps 20] [--record tests/records/control.md]

1. The base's own cars beside real ones: KID and coverage.
2. Four rows for each kind of hint: without the control, with the right hint, with shuffled hints, and real pictures.
3. Canny at strengths from 0 to 1: the more, the closer.
4. Two controls summed.
5. The base before and after a control was trained on it, bit by bit, and the digest that each control names as its base's.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from ddpm_utils.control.controlnet import ControlNet, load_control
from ddpm_utils.control.hinted_images import HintedSet, with_hints
from ddpm_utils.data.images import to_uint8
from ddpm_utils.data.sources import load_images
from ddpm_utils.data.synthetic.cars import CarSet
from ddpm_utils.evaluation.car_reader import CarReader, train_reader
from ddpm_utils.evaluation.control import MEASURES, agreement, draw, four_rows, hints_of
from ddpm_utils.evaluation.distribution_metrics import coverage, kid
from ddpm_utils.evaluation.features import efficientnet_features
from ddpm_utils.models import Model, load_model, shipped, weights_digest
from ddpm_utils.training.tasks.control import control_trainer

sys.path.append(str(Path(__file__).parents[1] / "helpers"))
from recipes import recipe_of

STRENGTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
READER_STEPS = 500
BASE = "toy-cars"
Drawn = Callable[..., torch.Tensor]  # (hint, strength), … -> images (N, 3, H, W); each drawn once, whichever parts ask for it


def shown(values: torch.Tensor) -> str:
    """Mean and its standard error."""
    return f"{values.mean():.3f} ± {values.std() / len(values) ** 0.5:.3f}"


def quality(plain: torch.Tensor, cars: CarSet):
    """Part 1: (lines, None): how far the base's cars, and real ones of the training set, are from others, in EfficientNet-Lite0's features."""
    reference = efficientnet_features(np.array(cars.images))
    sets = {"the base's cars": to_uint8(plain), "cars of the training set": np.array(load_images(BASE, cars.size).images[: len(cars)])}
    lines = []
    for name, images in sets.items():
        found = efficientnet_features(images)
        lines.append(f"- {name}: {kid(reference, found, subset_size=len(cars) // 2)}; {coverage(reference, found)}")
    return lines, None


def adherence(drawn: Drawn, data: dict[str, HintedSet], reader: CarReader):
    """Part 2: (lines, whether each kind of hint is followed)."""
    lines, good = ["| hint | measure | uncontrolled | right | shuffled | real | CPU minutes |", "|---|---|---|---|---|---|---|"], []
    for hint, cars in data.items():
        rows = four_rows(hint, drawn(), drawn((hint, 1.0)), cars, reader)
        minutes = recipe_of(f"{BASE}-{hint}")["cpu_minutes"]
        lines.append(f"| {hint} | {MEASURES[hint]} | {' | '.join(shown(row) for row in rows.values())} | {minutes} |")
        print(lines[-1], flush=True)
        means = {name: row.mean().item() for name, row in rows.items()}
        good.append(means["right"] > max(means["uncontrolled"], means["shuffled"]))
        if hint == "canny":
            good.append(means["right"] >= 0.70 and means["shuffled"] <= 0.35 and minutes <= 20)
    return lines, all(good)


def sweep(drawn: Drawn, cars: HintedSet):
    """Part 3: (lines, whether F1 rises with every strength)."""
    found = [agreement("canny", drawn(("canny", strength)), hints_of(cars)) for strength in STRENGTHS]
    monotone = all(a.mean() < b.mean() for a, b in pairwise(found))
    header = f"| strength | {' | '.join(f'{s:g}' for s in STRENGTHS)} |"
    return [header, "|---" * (len(STRENGTHS) + 1) + "|", f"| edge F1 | {' | '.join(shown(f) for f in found)} |"], monotone


def together(drawn: Drawn, data: dict[str, HintedSet], reader: CarReader):
    """Part 4: lines and segmentation of the same cars, alone and summed."""
    lines, right = ["| controls | line recall | mIoU |", "|---|---|---|"], {}
    for names in (("lines",), ("segmentation",), ("lines", "segmentation")):
        images = drawn(*((name, 1.0) for name in names))
        right[names] = [agreement(name, images, hints_of(data[name]), reader) for name in ("lines", "segmentation")]
        lines.append(f"| {' + '.join(names)} | {' | '.join(shown(values) for values in right[names])} |")
    both = right["lines", "segmentation"]
    return lines, bool(both[0].mean() > right["segmentation",][0].mean() and both[1].mean() > right["lines",][1].mean())


def untouched(base: Model, controls: dict[str, ControlNet]):
    """Part 5."""
    before = {name: w.clone() for name, w in base.network.state_dict().items()}
    digest = weights_digest(base.network)
    data = with_hints(load_images(f"{BASE}:256", base.config.network.image_size), "canny")
    trainer = control_trainer(base, base.config, data, "canny")
    for _ in trainer.run(until=4):
        pass
    equal = all(torch.equal(w, before[name]) for name, w in base.network.state_dict().items())
    moved = sum(
        not torch.equal(w, new) for w, new in zip(ControlNet.on(base.network, 1).parameters(), trainer.network.control.parameters())
    )
    named = {hint: control.base_digest for hint, control in controls.items()}
    lines = [
        f"- digest of the base: {digest[:16]}; after 4 more steps of training a control, which moved {moved} of its tensors: "
        f"{weights_digest(base.network)[:16]}; every weight {'equal, bit by bit' if equal else 'NOT EQUAL'}",
        *(f"- the control {hint} was trained on {name[:16]}" for hint, name in named.items()),
    ]
    return lines, equal and moved > 0 and set(named.values()) == {digest}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--record", type=Path)
    args = parser.parse_args()
    started = time.process_time()
    base = load_model(shipped(BASE))
    size = base.config.network.image_size
    controls = {hint: load_control(shipped(f"{BASE}-{hint}")) for hint in MEASURES}
    test = load_images(f"{BASE}:{10 * args.n}", size, split="test")
    labels = torch.from_numpy(test.labels)
    reader = train_reader(load_images(BASE, size), READER_STEPS)
    data = {hint: with_hints(test, hint) for hint in controls}

    @cache
    def drawn(*asked: tuple[str, float]) -> torch.Tensor:
        return draw(base, labels, [(controls[hint], hints_of(data[hint]), strength) for hint, strength in asked], args.steps)

    parts = {
        "Pictures of the base": quality(drawn(), test),
        "Four rows": adherence(drawn, data, reader),
        "Canny by strength": sweep(drawn, data["canny"]),
        "Two controls summed": together(drawn, data, reader),
        "Weights of the base": untouched(base, controls),
    }
    text = ["# Control record", "", "Written by `make control-record`.", ""]
    text += [f"{len(test)} toy cars of the test split, {size} px, with their labels; DDIM in {args.steps} steps; mean ± standard error."]
    text += ["Parts and depths of pictures are read by a network that was trained on real cars; the last column is the control's training."]
    for title, (lines, good) in parts.items():
        text += ["", f"## {title}", "", *lines]
        text += [] if good is None else ["", "As it should be." if good else "NOT AS IT SHOULD BE."]
    print("\n".join([*text, f"({(time.process_time() - started) / 60:.1f} CPU minutes)"]))
    if args.record:
        args.record.write_text("\n".join(text) + "\n")
    return 1 if any(good is False for _, good in parts.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
