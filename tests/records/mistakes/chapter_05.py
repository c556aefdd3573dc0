"""Trials of chapters 05, 06 and 09: sampling, masks and one field."""

import re
from pathlib import Path

import numpy as np
import torch
from mistakes.bench import LABELS, LINEAR, Mistake, Seen, beside, denoiser_of, digits, mean_of, noise, read, right
from mistakes.chapter_03 import batch_norm
from torch import Tensor

from ddpm_utils.data.images import to_float
from ddpm_utils.data.sources import load_images
from ddpm_utils.evaluation.image_metrics import psnr, psnr_in
from ddpm_utils.ideal import dataset_denoiser, gaussian_denoiser
from ddpm_utils.sampling import ddim, ddpm, timesteps
from ddpm_utils.schedules import NoiseSchedule


def walk(
    visited: list[int], x: Tensor, *, to_last: float = 1.0, noisy_end: bool = False, clip_late: bool = False, error: float = 0.0
) -> Tensor:
    """DDPM over these timesteps with the trial's network, with the slips of the chapter. to_last: alpha_bar where the last step leads."""
    plain, g = denoiser_of(right().network, label=LABELS[: len(x)]), torch.Generator().manual_seed(1)
    levels = [*LINEAR.alpha_bar[visited].tolist(), to_last]
    for t, ab, prev in zip(visited, levels, levels[1:]):
        x0_hat, beta = plain(x, torch.full((len(x),), t)), 1 - ab / prev
        wrong = error * ((1 - ab) / ab) ** 0.5 * torch.randn(x.shape, generator=torch.Generator().manual_seed(t))
        x0_hat = x0_hat + wrong if clip_late else (x0_hat + wrong).clamp(-1, 1)
        mean = prev**0.5 * beta / (1 - ab) * x0_hat + (1 - beta) ** 0.5 * (1 - prev) / (1 - ab) * x
        variance = beta if prev == 1 and noisy_end else beta * (1 - prev) / (1 - ab)
        x = mean + variance**0.5 * torch.randn(x.shape, generator=g)
    return x


def grain(x: Tensor) -> str:
    """Of the corners, which are empty in every digit."""
    return f"{127.5 * x[:, :, :2, :2].std():.1f} of 255 levels"


def noise_at_the_end() -> Seen:
    rows, said = {}, []
    for steps in (10, 50):
        visited = timesteps(1000, steps)
        fine, wrong = walk(visited, noise()), walk(visited, noise(), noisy_end=True)
        rows |= {f"{steps}, right": fine, f"{steps}, noisy": wrong}
        said.append(
            f"{steps} steps: the empty corners spread by {grain(wrong)} (right: {grain(fine)}), {read(wrong)} of 100 read as asked ({read(fine)})"
        )
    return Seen("; ".join(said), beside(rows))


def one_turn_too_few() -> Seen:
    rows, said = {}, []
    for steps in (10, 50):
        visited = timesteps(1000, steps)
        fine = walk(visited, noise())
        wrong = walk(visited[:-1], noise(), to_last=LINEAR.alpha_bar[visited[-1]].item())
        rows |= {f"{steps}, right": fine, f"{steps}, short": wrong}
        ink = [x[x > 0.5].mean() for x in (wrong, fine)]
        said.append(
            f"{steps} steps: the empty corners spread by {grain(wrong)} (right: {grain(fine)}), mean of the ink {ink[0]:.2f} ({ink[1]:.2f})"
        )
    return Seen("; ".join(said), beside(rows))


def first_step_missing() -> Seen:
    rows, said = {}, []
    for steps in (10, 50):
        visited = timesteps(1000, steps)
        fine, wrong = walk(visited, noise()), walk(visited[1:], noise())
        rows |= {f"{steps}, right": fine, f"{steps}, late": wrong}
        means = f"{mean_of(wrong)} (right: {mean_of(fine)}; digits: {mean_of(digits()[2])})"
        said.append(f"{steps} steps, begun at t = {visited[1]}: mean pixel {means}, {read(wrong)} of 100 read as asked ({read(fine)})")
    return Seen("; ".join(said), beside(rows))


def counting_from_one() -> Seen:
    try:
        denoiser_of(right().network)(noise(), torch.full((100,), 1000))
    except Exception as error:
        return Seen(f'it stops with "{type(error).__name__}: {error}"')
    raise AssertionError("t = T was taken")


def clipped_late() -> Seen:
    rows, said = {}, []
    for steps in (50, 250):
        visited = timesteps(1000, steps)
        fine, wrong = walk(visited, noise(), error=0.05), walk(visited, noise(), error=0.05, clip_late=True)
        rows |= {f"{steps}, before": fine, f"{steps}, after": wrong}
        said.append(f"{steps} steps with an error of 5 % in the noise: {read(wrong)} of 100 read as asked (clipped before: {read(fine)})")
    return Seen("; ".join(said), beside(rows))


def a_grid_redrawn() -> Seen:
    def seeded(n: int) -> Tensor:
        *_, last = ddpm(
            denoiser_of(right().network, label=LABELS[:n]), noise()[:n], LINEAR, steps=50, generator=torch.Generator().manual_seed(1)
        )
        return last.x

    *_, together = ddim(denoiser_of(right().network, label=LABELS[:4]), noise()[:4], LINEAR)
    *_, alone = ddim(denoiser_of(right().network, label=LABELS[:1]), noise()[:1], LINEAR)
    apart = [(a - b).abs().mean() for a, b in ((seeded(4)[0], seeded(1)[0]), (together.x[0], alone.x[0]))]
    return Seen(f"the first of four and the same alone are {apart[0]:.3f} apart (mean absolute difference; by DDIM {apart[1]:.0e})")


def perfect_denoiser_of_300() -> Seen:
    known, rows, said = digits()[0].double(), {}, []
    for name, s in {"same betas": NoiseSchedule.linear(300), "scaled": NoiseSchedule.named("linear", 300)}.items():
        *_, last = ddim(dataset_denoiser(s, known), noise().double(), s, steps=50)
        rows[name] = last.x
        nearest = torch.cdist(last.x.flatten(1), known.flatten(1)).argmin(1)
        ones = int((digits()[1][nearest] == 1).sum())
        said.append(f"{name}: mean pixel {mean_of(last.x)}, {ones} ones in 100")
    return Seen(f"with a denoiser that is perfect: {'; '.join(said)} (digits: {mean_of(known)}, 10)", beside(rows))


def blackened() -> Seen:
    images = to_float(load_images("mnist5k").images[:200:10]).numpy()  # any images: the rule is arithmetic
    said, generator = [], np.random.default_rng(0)
    for share in (0.05, 0.5):
        gains = []
        for image in images:
            mask = np.zeros((28, 28), bool)
            mask.flat[generator.permutation(784)[: round(share * 784)]] = True
            x = 127.5 * (image[0] + 1)
            y = x + mask * generator.normal(0, 10, x.shape)
            gains.append(psnr(x * mask, y * mask, 255) - psnr_in(x[..., None], y[..., None], mask, 255))
        said.append(f"a mask of {share:.0%} scores {np.mean(gains):.1f} dB too high")
    return Seen("for the same error in the mask, " + ", ".join(said))


def no_gate() -> Seen:
    """What the chapter itself printed, since its own networks are what it is about."""
    (path,) = (Path(__file__).parents[3] / "notebooks").glob("06_*.ipynb")
    said = path.read_text()
    shares = [re.search(rf"{form}\s+no gate\s+([\d.]+%)", said)[1] for form in ("palette", "L2")]
    said = f"in the chapter's own run {shares[0]} of the pixels outside the mask stayed as they were without a gate where all was redrawn,"
    return Seen(f"{said} and {shares[1]} after a regression")


def half_the_noise() -> Seen:
    g, field = torch.Generator().manual_seed(0), NoiseSchedule.cosine(1000)
    denoiser, t, variances = gaussian_denoiser(field, 0.0, 0.06), 20, []
    ab = field.alpha_bar[t].item()
    for shake in (2.0, 1.0):  # Langevin: x += step * score + sqrt(shake * step) * noise, and shake must be 2
        x = 0.06**0.5 * torch.randn(4000, 1, 1, 1, generator=g, dtype=torch.float64)
        for _ in range(600):
            score = (ab**0.5 * denoiser(x, torch.full((len(x),), t)) - x) / (1 - ab)
            x = x + 0.002 * score + (shake * 0.002) ** 0.5 * torch.randn(x.shape, generator=g, dtype=torch.float64)
        variances.append(x.var().item())
    return Seen(f"data of variance {0.06 * ab + 1 - ab:.4f} at that level: right noise {variances[0]:.4f}, half of it {variances[1]:.4f}")


MISTAKES = [
    Mistake("noise_at_the_end", "05", "Noise after the last step", noise_at_the_end),
    Mistake("one_turn_too_few", "05", "One turn too few", one_turn_too_few),
    Mistake("first_step_missing", "05", "The first step left out", first_step_missing),
    Mistake("counting_from_one", "05", "Counting from 1 over tables that count from 0", counting_from_one),
    Mistake("clipped_late", "05", "Clipping x0_hat after the mean was formed", clipped_late),
    Mistake("train_mode", "05", "Sampled in train mode", batch_norm),
    Mistake("a_grid_redrawn", "05", "A seed without its batch", a_grid_redrawn),
    Mistake("perfect_denoiser_of_300", "05", "Ho's betas at T = 300, sampled", perfect_denoiser_of_300),
    Mistake("blackened", "06", "PSNR of blackened images", blackened),
    Mistake("no_gate", "06", "A retoucher without its gate", no_gate),
    Mistake("half_the_noise", "09", "Langevin with half the noise", half_the_noise),
]
