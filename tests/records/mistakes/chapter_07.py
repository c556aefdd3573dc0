"""Trials of chapters 07 and 08: guidance and control."""

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from mistakes.bench import Mistake, Seen, beside, judge, read
from mistakes.chapter_04 import one_coin
from torch import Tensor

from ddpm_utils.classifier import load_classifier
from ddpm_utils.control.controlnet import ControlNet, load_control
from ddpm_utils.control.hinted_images import with_hints
from ddpm_utils.control.hints import canny
from ddpm_utils.data.images import to_float, to_uint8
from ddpm_utils.data.sources import load_images
from ddpm_utils.data.synthetic.cars import draw_car
from ddpm_utils.evaluation.control import agreement, draw, hints_of
from ddpm_utils.evaluation.distribution_metrics import kid
from ddpm_utils.evaluation.features import classifier_features
from ddpm_utils.figures import sample_grid
from ddpm_utils.generate import Guidance, start_noise, trained_denoiser
from ddpm_utils.guidance import classifier_free, classifier_guided, classifier_mean_shifted
from ddpm_utils.ideal import gaussian_denoiser
from ddpm_utils.models import load_model, shipped
from ddpm_utils.sampling import ddim, ddpm, dpm_solver, make_denoiser, static_threshold
from ddpm_utils.schedules import NoiseSchedule
from ddpm_utils.training.tasks.control import ControlTask, control_config
from ddpm_utils.training.trainer import Trainer

MODEL, LABELS = load_model(shipped("digits")), torch.arange(100) % 10
SCHEDULE = MODEL.config.noise_schedule()
BASE, SIZE, STEPS = load_model(shipped("toy-cars")), 32, 12


def drawn(denoiser, steps: int = 12) -> Tensor:
    """A hundred digits from the same noise."""
    *_, last = dpm_solver(denoiser, start_noise(MODEL.config, 100, 0), SCHEDULE, steps)
    return last.x


def two_conventions() -> Seen:
    rows = {f"s = {s}": drawn(trained_denoiser(MODEL.network, MODEL.config, LABELS, s)) for s in (0, 1, 3, 4)}
    words = [f"{name}: {read(x)} of 100 read as asked, ink {(x > 0).float().mean():.1%}" for name, x in rows.items()]
    return Seen(f"{'; '.join(words)}. A w of 0 is s = 1, a w of 3 is s = 4", beside(rows))


def sharpened_density() -> Seen:
    world, said = NoiseSchedule.cosine(1000), []
    start = torch.tensor([0.0, 1.0], dtype=torch.float64).view(2, 1, 1, 1)
    for s in (2.0, 3.0):
        *_, last = ddim(
            classifier_free(gaussian_denoiser(world, 0.0, 0.25), gaussian_denoiser(world, 0.0, 1.0), s), start, world, steps=1000
        )
        said.append(
            f"scale {s:g}: samples have variance {(last.x[1] - last.x[0]).item() ** 2:.4f}, the sharpened density {1 / (s / 0.25 + 1 - s):.4f}"
        )
    return Seen("; ".join(said))


def gradient_of_a_mean() -> Seen:
    guide, said = load_classifier(shipped("digits-classifier")), []
    unlabelled = make_denoiser(MODEL.network, SCHEDULE, MODEL.config.task.prediction, clip=False)
    for batch in (1, 10, 100):
        shares = []
        for first in range(0, 100, {1: 5, 10: 10, 100: 100}[batch]):
            rows = slice(first, first + batch)
            pushed = classifier_guided(unlabelled, guide.network.log_prob, LABELS[rows], SCHEDULE, 8.0 / batch)
            *_, last = dpm_solver(static_threshold(pushed), start_noise(MODEL.config, 100, 0)[rows], SCHEDULE, 12)
            shares.append(right_reads(last.x, LABELS[rows]))
        said.append(f"{batch}: {100 * np.mean(shares):.0f} %")
    said = f"guided at scale 8 by the gradient of a batch's mean, the judge reads as asked in batches of {', of '.join(said)}"
    return Seen(f"{said} (of 20 samples, 100 and 100)")


def right_reads(x: Tensor, labels: Tensor) -> float:
    """Share that the judge reads as asked."""
    return float((classifier_features(judge(), to_uint8(x))[1].argmax(1) == labels.numpy()).mean())


def mean_shift_in_few_steps() -> Seen:
    guide, rows, said = load_classifier(shipped("digits-classifier")), {}, []
    unlabelled = make_denoiser(MODEL.network, SCHEDULE, MODEL.config.task.prediction, clip=False)
    for steps in (50, 10):
        scores = []
        for name, guided in {
            "score": classifier_guided(unlabelled, guide.network.log_prob, LABELS, SCHEDULE, 3.0),
            "shift": classifier_mean_shifted(unlabelled, guide.network.log_prob, LABELS, SCHEDULE, 3.0, steps),
        }.items():
            *_, last = ddpm(
                static_threshold(guided),
                start_noise(MODEL.config, 100, 0),
                SCHEDULE,
                steps=steps,
                generator=torch.Generator().manual_seed(1),
            )
            rows[f"{name}, {steps}"] = last.x
            scores.append(read(last.x))
        said.append(f"{steps} steps of DDPM at scale 3: {scores[1]} of 100 read as asked by the mean shift, {scores[0]} by the score form")
    return Seen("; ".join(said), beside(rows))


def pushed_at_every_step() -> Seen:
    guide, rows, said = load_classifier(shipped("digits-classifier")), {}, []
    unlabelled = make_denoiser(MODEL.network, SCHEDULE, MODEL.config.task.prediction, clip=False)
    for scale in (0.1, 1.0, 8.0):
        x = drawn(classifier_guided(unlabelled, guide.network.log_prob, LABELS, SCHEDULE, scale))
        rows[f"scale {scale:g}"] = x
        said.append(
            f"scale {scale:g}: pixels have a standard deviation of {x.std():.1f} and {read(x.clamp(-1, 1))} of 100 are read as asked"
        )
    fine = drawn(trained_denoiser(MODEL.network, MODEL.config, LABELS, Guidance(8.0, (0, 949), classifier=guide)))
    return Seen(
        "; ".join(said) + f" (clipped, up to t = 949, at scale 8: {fine.std():.2f}, {read(fine)})", beside({**rows, "8, mended": fine})
    )


def cars() -> tuple[Tensor, Tensor, Tensor]:
    """80 cars of the test set: labels, their edges (80, 1, 32, 32), and images."""
    data = load_images("toy-cars:80", SIZE, split="test")
    return torch.from_numpy(data.labels), hints_of(with_hints(data, "canny")), to_float(np.array(data.images))


def car_grid(rows: dict[str, Tensor]) -> Figure:
    """Eight cars a row."""
    images = [(2 * x - 1).expand(-1, 3, -1, -1) if x.shape[1] == 1 else x for x in rows.values()]
    return sample_grid(np.concatenate([to_uint8(x[:8]) for x in images]), 8, tuple(rows))


def edges_of_another_size() -> Seen:
    control, scenes = load_control(shipped("toy-cars-canny")), [draw_car(SIZE, (8, i)) for i in range(40)]
    own = canny(to_float(np.stack([scene.image for scene in scenes])))
    fog = F.avg_pool2d(canny(to_float(np.stack([draw_car(8 * SIZE, (8, i)).image for i in range(40)]))), 8)
    labels = torch.zeros(40, dtype=torch.int64)
    rows = {
        "own size": draw(BASE, labels, [(control, own, 1.0)], STEPS),
        "rescaled": draw(BASE, labels, [(control, fog, 1.0)], STEPS),
        "no hint": draw(BASE, labels, steps=STEPS),
    }
    words = [f"{name} {agreement('canny', x, own).mean():.2f}" for name, x in rows.items()]
    return Seen(f"edge F1 with the edges of the own size, for hints of: {', '.join(words)}", car_grid({"hint": own, "fog": fog, **rows}))


def random_ends() -> Seen:
    labels, hints, real = cars()
    torch.manual_seed(0)
    broken = ControlNet.on(BASE.network, 1, "canny")
    for conv in (*broken.zero_convs, broken.zero_middle):
        conv.reset_parameters()
    rows = {"base": draw(BASE, labels, steps=STEPS), "random ends": draw(BASE, labels, [(broken, hints, 1.0)], STEPS)}
    apart = (rows["base"] - rows["random ends"]).abs().mean()
    distances = [pixel_kid(x, real) for x in rows.values()]
    said = f"before any training samples lie {apart:.2f} from the base's (mean absolute difference), "
    return Seen(f"{said}and KID of pixels to real cars is {distances[1]:.4f} (base: {distances[0]:.4f})", car_grid(rows))


def pixel_kid(x: Tensor, real: Tensor) -> float:
    """KID of 8x8 pixels, enough to tell good toy cars from bad ones."""
    flat = [F.avg_pool2d(images, 4).flatten(1).double().numpy() for images in (x, real)]
    return kid(*flat, subset_size=40).mean


def copied_learning_rate() -> Seen:
    labels, hints, _ = cars()
    data, rows, said = with_hints(load_images("toy-cars:1000", SIZE), "canny"), {}, []
    for rate in (1e-5, 1e-3):
        run = {"batch_size": 32, "epochs": 1000, "warmup": 10, "lr_decay": "constant", "ema_decay": 0.9}
        trainer = Trainer(ControlTask(control_config(BASE, "canny", lr=rate, seed=0, **run), BASE, hint_channels=1), data)
        losses = [step.losses.mean().item() for step in trainer.run(until=100)]
        x = draw(BASE, labels, [(trainer.average_network(), hints, 1.0)], STEPS)
        rows[f"{rate:g}"] = x
        said.append(f"rate {rate:g}: edge F1 {agreement('canny', x, hints).mean():.2f}, loss of the second half {np.mean(losses[50:]):.3f}")
    plain = agreement("canny", draw(BASE, labels, steps=STEPS), hints).mean()
    return Seen(
        f"100 steps of 32 toy cars; {'; '.join(said)}; the base without a control: F1 {plain:.2f}", car_grid({"hint": hints, **rows})
    )


MISTAKES = [
    Mistake("one_coin_again", "07", "One coin for the whole batch", one_coin),
    Mistake("two_conventions", "07", "w in the place of s", two_conventions),
    Mistake("sharpened_density", "07", "The sharpened density taken for what is sampled", sharpened_density),
    Mistake("gradient_of_a_mean", "07", "The gradient of a batch's mean", gradient_of_a_mean),
    Mistake("mean_shift_in_few_steps", "07", "The mean shift in few steps", mean_shift_in_few_steps),
    Mistake("pushed_at_every_step", "07", "A classifier's push at the first steps", pushed_at_every_step),
    Mistake("edges_of_another_size", "08", "Edges found at another size", edges_of_another_size),
    Mistake("random_ends", "08", "A control whose ends are not zero", random_ends),
    Mistake("copied_learning_rate", "08", "A copied learning rate", copied_learning_rate),
]
