"""Facts that notebook 07 relies on and no other test states: what guided samplers draw from, and that its record is whole."""

from pathlib import Path

import pytest
import torch
from guidance_record import all_rows, introduction

from ddpm_utils.classifier import load_classifier
from ddpm_utils.guidance import autoguided, classifier_free
from ddpm_utils.ideal import gaussian_denoiser
from ddpm_utils.models import load_model, shipped
from ddpm_utils.sampling import ddim
from ddpm_utils.schedules import NoiseSchedule

SCHEDULE = NoiseSchedule.cosine(1000)


def variance_of_samples(denoiser, steps=1000):
    """DDIM with a denoiser of centred Gaussians is linear: one start says all."""
    *_, last = ddim(denoiser, torch.ones(1, 1, 1, 1, dtype=torch.float64), SCHEDULE, steps=steps)
    return last.x.item() ** 2


@pytest.mark.parametrize(("v", "V", "scale"), [(0.25, 1.0, s) for s in (0.0, 0.5, 1.0, 2.0, 3.0)] + [(0.5, 0.8, 2.5)])
def test_guided_ddim_ends_in_a_geometric_mean_of_the_variances_not_in_the_sharpened_density(v, V, scale):
    """The flow of guided scores, integrated by hand; the error of DDIM in 1000 steps is of order 1 / 1000 in the logarithm."""
    variance = variance_of_samples(classifier_free(gaussian_denoiser(SCHEDULE, 0.0, v), gaussian_denoiser(SCHEDULE, 0.0, V), scale))
    assert variance == pytest.approx(v**scale * V ** (1 - scale), rel=0.01)
    sharpened = 1 / (scale / v + (1 - scale) / V)
    if scale not in (0, 1):
        assert abs(variance / sharpened - 1) > 0.05
        assert (variance < sharpened) == (scale > 1)


def test_the_gap_to_the_geometric_mean_closes_as_steps_get_shorter():
    guided = classifier_free(gaussian_denoiser(SCHEDULE, 0.0, 0.25), gaussian_denoiser(SCHEDULE, 0.0, 1.0), 2.0)
    gaps = [abs(variance_of_samples(guided, steps) - 0.25**2) for steps in (25, 100, 400)]  # an error of first order falls to a quarter
    assert gaps[1] < gaps[0] / 2.5
    assert gaps[2] < gaps[1] / 2.5


def test_leading_away_from_a_broader_model_narrows_a_mode_where_it_is():
    """Same centre, larger variance: the samples' mean stays and their variance is v^s V^(1 - s)."""
    good, bad = gaussian_denoiser(SCHEDULE, 0.6, 0.02), gaussian_denoiser(SCHEDULE, 0.6, 0.06)
    starts = torch.tensor([0.0, 1.0], dtype=torch.float64).view(2, 1, 1, 1)
    *_, last = ddim(autoguided(good, bad, 2.0), starts, SCHEDULE, steps=1000)
    assert last.x[0].item() == pytest.approx(0.6, abs=0.01)
    assert (last.x[1] - last.x[0]).item() ** 2 == pytest.approx(0.02**2 / 0.06, rel=0.02)


def test_the_record_has_every_row_that_its_script_writes_and_says_its_n():
    text = (Path(__file__).parents[1] / "records" / "guidance.md").read_text()
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    rows = all_rows(load_classifier(shipped("digits-classifier")), load_model(shipped("digits-early")))
    assert [line[:3] for line in lines[3:]] == [row.cells for row in rows]
    assert lines[2][0].startswith("real digits")
    n = int(text.split("n = ")[1].split()[0])
    assert text.startswith("\n".join(introduction(n)))
