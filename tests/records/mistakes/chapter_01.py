"""Trials of chapters 00 to 02: constants and the forward process."""

import torch
from mistakes.bench import LINEAR, Mistake, Seen, beside, compared, denoiser_of, digits, draw, forward, mean_of, noise, read, right, train
from torch import Tensor

from ddpm_utils.data.images import to_float
from ddpm_utils.data.sources import load_images
from ddpm_utils.diffusion import at, q_sample
from ddpm_utils.generate import generate, start_noise
from ddpm_utils.ideal import dataset_denoiser
from ddpm_utils.models import load_model, shipped
from ddpm_utils.sampling import ddim, ddpm, timesteps
from ddpm_utils.schedules import NoiseSchedule

ALPHA_BAR = LINEAR.alpha_bar


def single_step() -> Seen:
    model = load_model(shipped("digits"))
    (*_, one), (*_, many) = (
        generate(model.network, model.config, start_noise(model.config, 100, 0), None, "ddim", steps) for steps in (1, 50)
    )
    real = to_float(load_images("mnist5k").images)
    spread = [x.std(0).mean() for x in (one.x, many.x, real)]
    near = (one.x - real.mean(0)).square().mean().sqrt()
    said = f"with the shipped digits, whose network predicts v, the standard deviation of a pixel from sample to sample is {spread[0]:.3f} "
    said += (
        f"(50 steps: {spread[1]:.3f}; digits: {spread[2]:.3f}), and a sample is {near:.2f} from the mean of all digits, root mean square; "
    )
    *_, eps = ddim(denoiser_of(right().network, label=None), noise(), LINEAR, 1)
    said += f"with the trial's own network, which predicts eps, errors are divided by 0.006 and clipped: {eps.x.std(0).mean():.3f}"
    return Seen(said, beside({"1 step, v": one.x, "50 steps, v": many.x}))


def mixed(signal: Tensor, spread: Tensor, shift: Tensor | float = 0.0):
    """x_t of these weights (T,), as a hook of `train`."""
    shift = torch.as_tensor(shift).expand(len(signal))
    return lambda x0, t, eps: at(signal, t, x0) * x0 + at(spread, t, x0) * eps + at(shift, t, x0)


def root_too_many() -> Seen:
    return compared(train("root_too_many", corrupt=mixed(ALPHA_BAR.sqrt(), (1 - ALPHA_BAR) ** 0.25)).network)


def product_to_T() -> Seen:
    last = ALPHA_BAR[-1].expand(1000)
    run = train("product_to_T", corrupt=mixed(last.sqrt(), (1 - last).sqrt()))
    seen = compared(run.network)
    losses = f"training loss {run.losses[49]:.4f} after 50 steps, {run.losses[299]:.4f} after 300, {run.losses[-1]:.4f} at the end"
    return Seen(f"{losses} (right run: {right().losses[-1]:.4f}); {seen.said}", seen.picture)


def betas_of_1000_in_300() -> Seen:
    schedules = {"same betas": NoiseSchedule.linear(300), "scaled": NoiseSchedule.named("linear", 300)}
    drawn = {}
    for name, s in schedules.items():
        network = train(f"T300 {name}", corrupt=lambda x0, t, eps, s=s: q_sample(s, x0, t, eps), T=300).network
        drawn[name] = draw(network, s)
    words = [f"{name}: mean pixel {mean_of(x)}, {read(x)} of 100 read as asked" for name, x in drawn.items()]
    return Seen("; ".join(words) + f" (digits: {mean_of(digits()[2])})", beside(drawn))


def noisy_last_step() -> Seen:
    said, rows = [], {}
    for steps in (1000, 50):
        visited = timesteps(1000, steps)
        denoiser, x, g = denoiser_of(right().network), noise(), torch.Generator().manual_seed(1)
        if steps == 1000:
            denoiser, x = denoiser_of(right().network, label=torch.arange(20) % 10), x[:20]
        for t, s in zip(visited, [*visited[1:], None]):
            ab, prev = ALPHA_BAR[t].item(), 1.0 if s is None else ALPHA_BAR[s].item()
            with torch.no_grad():
                x0_hat, beta = denoiser(x, torch.full((len(x),), t)), 1 - ab / prev
            mean = prev**0.5 * beta / (1 - ab) * x0_hat + (1 - beta) ** 0.5 * (1 - prev) / (1 - ab) * x
            x = mean + beta**0.5 * torch.randn(x.shape, generator=g)
        grain = x[:, :, :2, :2].std()
        rows[f"{steps} steps"] = x
        said.append(f"in {steps} steps the empty corners have a standard deviation of {grain:.4f}, {127.5 * grain:.1f} of 255 levels")
    return Seen("; ".join(said), beside(rows))


def lined_up_with_columns() -> Seen:
    def corrupt(x0, t, eps):
        return ALPHA_BAR.sqrt().float()[t] * x0 + (1 - ALPHA_BAR).sqrt().float()[t] * eps  # (14,) meets the columns

    return compared(train("lined_up_with_columns", corrupt=corrupt, batch=14).network)


def sums_of_steps(moment: Tensor) -> Tensor:
    """sum over s <= t of alpha_bar_t / alpha_bar_s times moment_s, (T,): what the noises of all steps add up to."""
    return ALPHA_BAR * (moment / ALPHA_BAR).cumsum(0)


def beta_times_uniform() -> Seen:
    betas, root = LINEAR.betas, ALPHA_BAR.sqrt()
    mean, variance = root * (betas / 2 / root).cumsum(0), sums_of_steps(betas**2 / 12)
    return compared(train("beta_times_uniform", corrupt=mixed(root, variance.sqrt(), mean)).network)


def beta_times_normal() -> Seen:
    return compared(train("beta_times_normal", corrupt=mixed(ALPHA_BAR.sqrt(), sums_of_steps(LINEAR.betas**2).sqrt())).network)


def no_roots() -> Seen:
    return compared(train("no_roots", corrupt=mixed(ALPHA_BAR, 1 - ALPHA_BAR)).network)


def unit_range() -> Seen:
    network = train("unit_range", corrupt=lambda x0, t, eps: forward((x0 + 1) / 2, t, eps)).network
    x, fine = draw(network), draw(right().network)
    rows = {"right": fine, "as it is": x, "2 x - 1": 2 * x - 1}
    said = (
        f"samples have mean {mean_of(x)}, and their background (the median pixel) is {x.median():+.2f} (right run {fine.median():+.2f}); "
    )
    return Seen(
        said + f"the judge reads {read(x)} of 100 as they are, {read(2 * x - 1)} as 2 x - 1 (right run: {read(fine)})", beside(rows)
    )


def naive_softmax() -> Seen:
    images = to_float(load_images("mnist5k").images).double()  # at 28x28, as in the chapter
    known, held = images[:-10], images[-10:]

    def naive(x_t, t):
        signal = at(ALPHA_BAR, t, x_t)[:, 0, 0]  # (B, 1)
        votes = torch.exp(-((x_t.flatten(1)[:, None] - signal.sqrt()[..., None] * known.flatten(1)).square().sum(2)) / (2 * (1 - signal)))
        return (votes / votes.sum(1, keepdim=True) @ known.flatten(1)).reshape(x_t.shape)

    eps, x_T = (torch.randn(1, 1, 28, 28, generator=torch.Generator().manual_seed(k), dtype=torch.float64) for k in (0, 1))
    lost = [bool(naive(forward(held[:1], torch.tensor([t]), eps), torch.tensor([t])).isnan().any()) for t in range(0, 1000, 20)]
    *_, result = ddpm(naive, x_T, LINEAR, steps=50, generator=torch.Generator().manual_seed(1))
    *_, fine = ddpm(dataset_denoiser(LINEAR, known), x_T, LINEAR, steps=50, generator=torch.Generator().manual_seed(1))
    first = max((20 * k for k, nan in enumerate(lost) if nan), default=None)
    said = f"NaN for a held-out digit at every tried t up to {first} and at {sum(lost)} of {len(lost)} in all; "
    return Seen(
        f"{said}a walk of 50 steps ends in {int(result.x.isnan().sum())} NaN of 784 pixels (by softmax: {int(fine.x.isnan().sum())})"
    )


MISTAKES = [
    Mistake("single_step", "00", "One step instead of many", single_step),
    Mistake("root_too_many", "01", "A root too many", root_too_many),
    Mistake("product_to_T", "01", "A product that doesn't stop", product_to_T),
    Mistake("betas_of_1000_in_300", "01", "Ho's betas at T = 300", betas_of_1000_in_300),
    Mistake("noisy_last_step", "01", "alpha_bar of t in the place of t - 1", noisy_last_step),
    Mistake("lined_up_with_columns", "02", "Constants without (B, 1, 1, 1)", lined_up_with_columns),
    Mistake("beta_times_uniform", "02", "Beta times uniform noise", beta_times_uniform),
    Mistake("beta_times_normal", "02", "Beta in the place of its root", beta_times_normal),
    Mistake("no_roots", "02", "alpha_bar in the place of its root", no_roots),
    Mistake("unit_range", "02", "Data in [0, 1]", unit_range),
    Mistake("naive_softmax", "02", "A softmax written out", naive_softmax),
]
