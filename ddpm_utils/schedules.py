"""Chapter 01: noise schedules, and every constant that follows from the betas.

A schedule is a list of T numbers, beta_0 .. beta_{T-1}. Everything else in DDPM is arithmetic on them, done here once, in
float64, because a float32 cumulative product is already wrong in the seventh digit (linear) or the fifth (cosine).

Indices are 0-based throughout the project: index t here is the paper's t - 1, so `alpha_bar[0]` is an image with one step of
noise on it, and `alpha_bar[T - 1]` is (almost) pure noise.

Equations: Ho et al. 2020 (arXiv 2006.11239); Nichol & Dhariwal 2021 (2102.09672); Jabri et al. 2022 (2212.11972);
Lin et al. 2023 (2305.08891); Liu et al. 2022 (2209.03003) for the straight path.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ddpm_utils.choices import SCHEDULES
from ddpm_utils.errors import InputError

MAX_BETA = 0.999  # Nichol & Dhariwal, below eq. 17: keeps the last steps of a steep curve from dividing by zero


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """The betas of a diffusion process, and as attributes all constants of the forward and reverse process.

    Every attribute is a float64 tensor of shape (T,). Build one with `linear`, `cosine`, `sigmoid`, `flow` or `named`.
    """

    betas: Tensor

    def __post_init__(self):
        if self.betas.ndim != 1 or len(self.betas) < 2:
            raise InputError(f"a schedule needs T >= 2 betas in one dimension, got shape {tuple(self.betas.shape)}")
        object.__setattr__(self, "betas", self.betas.double())
        if not ((self.betas > 0) & (self.betas <= 1)).all():
            low, high = self.betas.min().item(), self.betas.max().item()
            raise InputError(f"every beta must lie in (0, 1], got values from {low:.3g} to {high:.3g}")

    @classmethod
    def linear(cls, T: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> "NoiseSchedule":
        """Betas rise in a straight line (Ho et al., section 4). The defaults are made for T = 1000.

        They are taken literally at any T: with T = 300 the last image still holds 5 % of its signal's power.
        `NoiseSchedule.named("linear", 300)` scales them by 1000 / T so that it ends in noise.
        """
        return cls(torch.linspace(beta_start, beta_end, _checked(T), dtype=torch.float64))

    @classmethod
    def cosine(cls, T: int = 1000, s: float = 0.008) -> "NoiseSchedule":
        """alpha_bar falls as a squared cosine (Nichol & Dhariwal, eq. 17); betas are clipped at 0.999."""
        u = torch.arange(_checked(T) + 1, dtype=torch.float64) / T
        return cls._from_curve(torch.cos((u + s) / (1 + s) * math.pi / 2) ** 2)

    @classmethod
    def sigmoid(cls, T: int = 1000, start: float = -3, end: float = 3, tau: float = 1) -> "NoiseSchedule":
        """alpha_bar falls as a sigmoid (Jabri et al., algorithm 1). Not GeoDiff's sigmoid of beta."""
        if not start < end or tau <= 0:
            raise InputError(f"sigmoid needs start < end and tau > 0, got start={start}, end={end}, tau={tau}")
        u = torch.arange(_checked(T) + 1, dtype=torch.float64) / T
        curve = torch.sigmoid(-(u * (end - start) + start) / tau)
        return cls._from_curve((curve - curve[-1]) / (curve[0] - curve[-1]))

    @classmethod
    def flow(cls, T: int = 1000) -> "NoiseSchedule":
        """The straight path (1 - s) x_0 + s eps of flow matching (Liu et al., eq. 1), s = (t + 1) / T, divided by its standard deviation.

        For data of variance 1 that leaves x_t with variance 1, as the other schedules do: alpha_bar = (1 - s)^2 / ((1 - s)^2 + s^2).
        """
        s = torch.arange(_checked(T) + 1, dtype=torch.float64) / T
        return cls._from_curve((1 - s) ** 2 / ((1 - s) ** 2 + s**2))

    @classmethod
    def named(cls, name: str, T: int) -> "NoiseSchedule":
        """The schedule that the training command calls `name`: "linear", "cosine", "sigmoid" or "flow", ending in noise at any T.

        Linear betas are scaled by 1000 / T, as Nichol & Dhariwal's code does; the others are curves over t / T already.
        """
        if name == "linear":
            if _checked(T) < 21:
                raise InputError(f"a linear schedule needs T >= 21, because its last beta is 20 / T; got T={T}")
            return cls.linear(T, beta_start=0.1 / T, beta_end=20 / T)
        if name not in SCHEDULES:
            raise InputError(f"schedule must be one of {', '.join(SCHEDULES)}, got {name!r}")
        curves: dict[str, Callable[[int], NoiseSchedule]] = {"cosine": cls.cosine, "sigmoid": cls.sigmoid, "flow": cls.flow}
        return curves[name](T)

    @classmethod
    def _from_curve(cls, curve: Tensor) -> "NoiseSchedule":
        """From alpha_bar at 0, 1/T, .. 1: beta_t = 1 - alpha_bar_t / alpha_bar_{t-1}, clipped."""
        return cls((1 - curve[1:] / curve[:-1]).clamp(max=MAX_BETA))

    @property
    def T(self) -> int:
        return len(self.betas)

    @cached_property
    def alphas(self) -> Tensor:
        """alpha_t = 1 - beta_t: the share of power that one step keeps (Ho, above eq. 4)."""
        return 1 - self.betas

    @cached_property
    def alpha_bar(self) -> Tensor:
        """alpha_bar_t = product of alpha_0 .. alpha_t: the share of the clean image's power left in x_t (Ho, eq. 4)."""
        return self.alphas.cumprod(0)

    @cached_property
    def alpha_bar_prev(self) -> Tensor:
        """alpha_bar_{t-1}, and 1 before the first step: nothing is lost yet."""
        return torch.cat([torch.ones(1, dtype=torch.float64), self.alpha_bar[:-1]])

    @cached_property
    def snr(self) -> Tensor:
        """Signal-to-noise ratio alpha_bar_t / (1 - alpha_bar_t)."""
        return self.alpha_bar / (1 - self.alpha_bar)

    @cached_property
    def posterior_variance(self) -> Tensor:
        """beta~_t = beta_t (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t): variance of q(x_{t-1} | x_t, x_0) (Ho, eq. 7)."""
        return self.betas * (1 - self.alpha_bar_prev) / (1 - self.alpha_bar)

    @cached_property
    def posterior_log_variance_clipped(self) -> Tensor:
        """log beta~_t, where the 0 at t = 0 is replaced by the value at t = 1 so that its logarithm is finite."""
        return torch.cat([self.posterior_variance[1:2], self.posterior_variance[1:]]).log()

    @cached_property
    def posterior_mean_coef_x0(self) -> Tensor:
        """sqrt(alpha_bar_{t-1}) beta_t / (1 - alpha_bar_t): weight of x_0 in the posterior mean (Ho, eq. 7)."""
        return self.alpha_bar_prev.sqrt() * self.betas / (1 - self.alpha_bar)

    @cached_property
    def posterior_mean_coef_xt(self) -> Tensor:
        """sqrt(alpha_t) (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t): weight of x_t in the posterior mean (Ho, eq. 7)."""
        return self.alphas.sqrt() * (1 - self.alpha_bar_prev) / (1 - self.alpha_bar)

    def with_zero_terminal_snr(self) -> "NoiseSchedule":
        """The same schedule, stretched so that x_{T-1} is pure noise: alpha_bar[T-1] = 0 exactly (Lin et al., algorithm 1).

        A network that predicts eps can't be used with it: at T - 1 there is no signal to solve for x_0.
        """
        root = self.alpha_bar.sqrt()
        stretched = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
        before = torch.cat([torch.ones(1, dtype=torch.float64), stretched[:-1]])
        return NoiseSchedule(1 - stretched / before)

    def up_to(self, t: int) -> "NoiseSchedule":
        """The first steps of this schedule, 0 .. t: to sample from an image that is at timestep t."""
        if not 1 <= t < self.T:
            raise InputError(f"t must lie in 1 .. {self.T - 1} to begin from, got {t}")
        return NoiseSchedule(self.betas[: t + 1])

    @property
    def has_zero_terminal_snr(self) -> bool:
        return self.alpha_bar[-1].item() == 0


def _checked(T: int) -> int:
    if not isinstance(T, int) or T < 2:
        raise InputError(f"T must be a whole number >= 2 (300 and 1000 are usual), got {T!r}")
    return T
