"""The plan of a job: operations that are counted, divided by a range of speeds."""

import build
import estimates
import pytest


def test_the_count_is_the_network_s_and_its_range_the_gpus():
    job = build.load_job("ddpm-cars")
    flop, parameters = estimates.counted(job)
    assert flop == pytest.approx(140.2e9, rel=0.01), "three times the forward pass"
    assert parameters == pytest.approx(35.7e6, rel=0.01)
    fast, slow = estimates.seconds_per_epoch(job, flop)
    assert slow == 2 * fast == pytest.approx(flop * 8144 / (2 * 5e12))


def test_a_second_week_is_said_in_advance(capsys):
    estimates.show_plan(build.load_job("ddpm-tiny-imagenet"))
    said = capsys.readouterr().out
    assert "at the slow end this run goes on in week 2; new hours come on Saturday at 00:00 UTC" in said
    assert "not measured here" in said
    estimates.show_plan(build.load_job("ddpm-cars"))
    assert "week 2" not in capsys.readouterr().out


def test_the_first_session_s_time_replaces_the_estimate(start, follow):
    start()
    said = follow("--epochs", "80")
    assert "measured: 0.09 s an epoch, starts included; the 40 that are left take about 0.001 hours, in 1 session" in said
    assert "0.09 s an epoch, as measured in the sessions so far" in follow(
        "--dry-run", "--set", "max_hours=1.5", "--set", "session_hours=2"
    )
