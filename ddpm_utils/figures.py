"""Figures, each a pure function from data to a matplotlib Figure (or frames): nothing is read, trained or shown here.

Images come as uint8 (N, H, W, C), as `data.to_uint8` returns them.
"""

import math

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from ddpm_utils.data.images import to_uint8
from ddpm_utils.diffusion import q_sample
from ddpm_utils.errors import printable
from ddpm_utils.runtime.torchvision_shim import import_torchvision
from ddpm_utils.sampling import Step
from ddpm_utils.schedules import NoiseSchedule

LINE_STYLES = ("-", "--", ":", "-.")  # so that curves differ without colour too
COLOURS = ("#00224e", "#576a8f", "#a69d75", "#dfbe2e")  # from cividis, told apart by colour-blind readers


def tile(images: np.ndarray, columns: int, gap: int = 2) -> np.ndarray:
    """One image (H', W', 3) of all images (N, H, W, C), row by row, white between them."""
    grid = import_torchvision().utils.make_grid(torch.from_numpy(images).permute(0, 3, 1, 2), nrow=columns, padding=gap, pad_value=255)
    return grid.permute(1, 2, 0).numpy()


def sample_grid(
    images: np.ndarray, columns: int, row_names: tuple[str, ...] = (), title: str = "", column_names: tuple[str, ...] = ()
) -> Figure:
    """Images (N, H, W, C) in rows of `columns`, pixels kept square and sharp, with a name beside each row and over each column if given.

    Names and title are shown as they are: a class called $1_$2 is no formula.
    """
    row_names = tuple(map(printable, row_names))
    whole = tile(images, columns)
    height, width = whole.shape[:2]
    scale = max(1, round(700 / max(height, width)))
    left = max((0.15 + 0.105 * len(name) for name in row_names), default=0.05)  # inches: room for the longest name
    top = 0.05 + 0.3 * bool(title) + 0.2 * bool(column_names)
    size = (width * scale / 100 + left + 0.05, height * scale / 100 + top + 0.05)
    figure = Figure(figsize=size, dpi=100)
    axes = figure.add_axes((left / size[0], 0.05 / size[1], width * scale / 100 / size[0], height * scale / 100 / size[1]))
    axes.imshow(whole, interpolation="nearest")
    axes.set_axis_off()
    axes.set_title(printable(title), fontsize=11, parse_math=False, pad=20 if column_names else 6)
    widest = 0.0078 * max(map(len, column_names), default=1)  # inches for each point of the font
    small = min(9, width * scale / 100 / columns / widest)  # so that neighbouring names stay apart
    for column, name in enumerate(map(printable, column_names[:columns])):
        place = (column + 0.5) / columns
        axes.text(place, 1.005, name, transform=axes.transAxes, ha="center", va="bottom", fontsize=small, parse_math=False)
    rows = math.ceil(len(images) / columns)
    for row, name in enumerate(row_names[:rows]):
        axes.text(-0.008, 1 - (row + 0.5) / rows, name, transform=axes.transAxes, ha="right", va="center", fontsize=10, parse_math=False)
    return figure


def filmstrip(rows: list[np.ndarray], row_names: list[str], column_names: list[str], title: str) -> Figure:
    """Rows of images (N, H, W, C), a name at each row and over each column."""
    n = len(column_names)
    figure = Figure(figsize=(1.1 * n + 0.9, 1.1 * len(rows) + 0.7), dpi=100, layout="constrained")
    figure.suptitle(title, fontsize=11)
    grid = figure.subplots(len(rows), n, squeeze=False)
    for axes_row, images, name in zip(grid, rows, row_names):
        for axes, image in zip(axes_row, images):
            axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
        axes_row[0].set_ylabel(name, fontsize=10)
    for axes, name in zip(grid[0], column_names):
        axes.set_title(name, fontsize=9)
    return figure


def forward_filmstrip(schedule: NoiseSchedule, x0: Tensor, eps: Tensor, ts: list[int]) -> Figure:
    """One image x0 (C, H, W) in [-1, 1] under the same noise eps at each timestep of `ts`, with the share of signal left."""
    noisy = to_uint8(torch.stack([x0, *(q_sample(schedule, x0, t, eps) for t in ts)]))
    names = ["clean", *(f"t = {t}\n" + rf"$\bar\alpha$ = {schedule.alpha_bar[t]:.3f}" for t in ts)]
    return filmstrip([noisy], [r"$x_t$"], names, "Forward process: the same noise, more and more of it")


def reverse_filmstrip(x_T: Tensor, steps: list[Step], frames: int = 9, image: int = 0) -> Figure:
    """What a sampler did to one image of its batch: x_t above, and below it the clean image that the denoiser saw in it.

    x_T: the noise (B, C, H, W) that it started from. steps: all steps of a sampler; `frames` of them are shown, evenly spread.
    """
    shown = np.linspace(0, len(steps) - 1, min(frames, len(steps))).round().astype(int)
    before = [x_T, *(step.x for step in steps)]
    x = to_uint8(torch.stack([before[i][image] for i in shown] + [steps[-1].x[image]]))
    x0_hat = to_uint8(torch.stack([steps[i].x0_hat[image] for i in shown] + [steps[-1].x[image]]))
    names = [f"t = {steps[i].t}" for i in shown] + ["result"]
    return filmstrip([x, x0_hat], [r"$x_t$", r"$\hat{x}_0$"], names, "Reverse process: from noise to an image")


def denoising_frames(x_T: Tensor, steps: list[Step], columns: int, scale: int = 4, frames: int = 40) -> list[Image.Image]:
    """Frames of an animation of the whole batch, noise first, for `save_gif`."""
    before = [x_T, *(step.x for step in steps)]
    shown = np.linspace(0, len(steps), min(frames, len(steps) + 1)).round().astype(int)
    frames = [tile(to_uint8(before[i]), columns) for i in shown]
    return [Image.fromarray(p).resize((p.shape[1] * scale, p.shape[0] * scale), Image.Resampling.NEAREST) for p in frames]


def save_gif(frames: list[Image.Image], path) -> None:
    """An endless animation of 20 frames a second that rests for two seconds on the last one."""
    durations = [50] * (len(frames) - 1) + [2000]
    frames[0].save(path, format="GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)


def schedule_constants(schedules: dict[str, NoiseSchedule]) -> Figure:
    """Six constants of each schedule against t / T: what one step adds, what is left, and what the posterior weighs."""
    panels = {
        r"$\beta_t$: noise that one step adds": lambda s: s.betas,
        r"$\bar\alpha_t$: power of the signal left": lambda s: s.alpha_bar,
        "SNR (dashed line: 1)": lambda s: s.snr,
        r"$\tilde\beta_t$: posterior variance": lambda s: s.posterior_variance,
        r"weight of $x_0$ in the posterior mean": lambda s: s.posterior_mean_coef_x0,
        r"weight of $x_t$ in the posterior mean": lambda s: s.posterior_mean_coef_xt,
    }
    figure = Figure(figsize=(11, 5.5), dpi=100, layout="constrained")
    for axes, (title, constant) in zip(figure.subplots(2, 3).flat, panels.items()):
        for k, (name, schedule) in enumerate(schedules.items()):
            position = np.arange(schedule.T) / schedule.T
            axes.plot(position, constant(schedule).numpy(), LINE_STYLES[k % 4], color=COLOURS[k % 4], label=name)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("t / T")
        if not title.startswith(r"$\bar"):
            axes.set_yscale("log")
        if title.startswith("SNR"):
            axes.axhline(1, color="gray", linestyle="--", linewidth=0.8)
    figure.axes[0].legend(fontsize=8)
    return figure


def loss_curve(records: list[dict]) -> Figure:
    """Training loss against steps, and by quarter of t: which quarter is hardest depends on what the network predicts.

    records: the lines of log.jsonl, with "step", "loss" and "quarters" (four means, some may be None).
    """
    steps = [r["step"] for r in records]
    marker = "." if len(records) == 1 else ""  # a line of one point can't be seen
    figure = Figure(figsize=(9, 3.4), dpi=100, layout="constrained")
    whole, parts = figure.subplots(1, 2, sharey=True)
    whole.plot(steps, [r["loss"] for r in records], color=COLOURS[0], marker=marker)
    whole.set_title("loss", fontsize=10)
    whole.set_ylabel("mean over the interval")
    for k in range(4):
        values = [r["quarters"][k] if r["quarters"][k] is not None else math.nan for r in records]
        parts.plot(steps, values, LINE_STYLES[k], marker=marker, color=COLOURS[k], label=("least noise", "2nd", "3rd", "most noise")[k])
    parts.set_title("by quarter of t", fontsize=10)
    figure.legend(*parts.get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    for axes in (whole, parts):
        axes.set_xlabel("step")
        axes.set_yscale("log")
        axes.grid(alpha=0.3)
    return figure
