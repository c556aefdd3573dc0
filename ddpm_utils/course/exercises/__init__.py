"""Checks for the notebooks: yours against a reference, exercises, and mistakes that must show.

The answers of chapter NN are graded by `chapter_NN.py`: a function `exercise_K(answer) -> str` for exercise "NN.K" returns "" where the
answer is right, and otherwise what differs, in words that help. References there are computed independently of `ddpm_utils` where possible.
"""

import importlib
import textwrap
from contextlib import contextmanager

import torch
from torch import Tensor

from ddpm_utils.errors import InputError


class Mismatch(AssertionError):
    """Two things that should be equal are not; the message says where and by how much."""


def compare(name: str, mine, reference, tolerance: float = 1e-12) -> None:
    """Print in one short line that `mine` equals `reference`, or by how much they differ at most (absolutely); above tolerance raise Mismatch.

    Tensors of any shape, or numbers. Shapes must agree, and NaN equals nothing.
    """
    mine, reference = torch.as_tensor(mine), torch.as_tensor(reference)
    if mine.shape != reference.shape:
        raise Mismatch(f"{name}: shape {tuple(mine.shape)}, the reference has {tuple(reference.shape)}")
    if torch.equal(mine, reference):
        print(f"{name}: equal")
        return
    difference, where = _largest(mine, reference)
    if not difference <= tolerance:
        raise Mismatch(
            f"{name}: differs by up to {difference:.3g}{_at(where)}, {mine[where]:.6g} instead of {reference[where]:.6g}; allowed is {tolerance:.3g}"
        )
    print(f"{name}: equal to {difference:.0e}")


@contextmanager
def expect_failure(symptom: str, error: type[BaseException] = Mismatch):
    """For deliberate mistakes: the block must raise `error`; what it says is printed with the symptom. Fails if nothing went wrong."""
    try:
        yield
    except error as caught:
        print(textwrap.fill(f"Caught, as it should be: {caught}", 110))
        print(textwrap.fill(f"What it does: {symptom}", 110))
    else:
        raise AssertionError(f"this was meant to go wrong and did not; the symptom would have been: {symptom}")


def check(name: str, answer) -> None:
    """Judge the answer to exercise "NN.K": print "NN.K: right", or "NN.K: not yet" and what differs."""
    differs = grade(name, answer)
    print(textwrap.fill(f"{name}: not yet, {differs}", 110) if differs else f"{name}: right")


def grade(name: str, answer) -> str:
    """What is wrong with the answer to exercise "NN.K", "" if nothing. Raises InputError if there is no such exercise."""
    chapter, _, number = name.partition(".")
    try:
        exercise = getattr(importlib.import_module(f"ddpm_utils.course.exercises.chapter_{chapter}"), f"exercise_{number}")
    except (ImportError, AttributeError) as error:
        raise InputError(f"there is no exercise {name!r}; they are numbered like '01.2', chapter and exercise") from error
    try:
        return exercise(answer)
    except Exception as error:  # the learner's code may raise anything, and that is feedback
        return f"your code stops with {type(error).__name__}: {error}"


def difference(what: str, mine, reference, tolerance: float = 1e-9) -> str:
    """For graders: "" where equal within tolerance (absolute), else one sentence on what differs, where, and what was expected."""
    if mine is None or mine is ...:
        return f"{what} is still missing"
    mine, reference = torch.as_tensor(mine), torch.as_tensor(reference)
    if mine.shape != reference.shape:
        return f"{what} has shape {tuple(mine.shape)}, it should be {tuple(reference.shape)}"
    apart, where = _largest(mine, reference)
    if apart <= tolerance:
        return ""
    return f"{what}{_at(where)} is {mine[where]:.6g}, it should be {reference[where]:.6g}"


def _largest(mine: Tensor, reference: Tensor) -> tuple[float, tuple]:
    """The largest absolute difference and its index; NaN counts as infinite, equal infinities as none."""
    mine, reference = mine.detach().double().cpu(), reference.detach().double().cpu()
    apart = torch.where(mine == reference, 0.0, (mine - reference).abs()).nan_to_num(nan=torch.inf)
    if apart.numel() == 0:
        return 0.0, ()
    where = torch.unravel_index(apart.argmax(), apart.shape)
    return apart.max().item(), tuple(int(i) for i in where)


def _at(where: tuple) -> str:
    return f" at index {where[0] if len(where) == 1 else where}" if where else ""
