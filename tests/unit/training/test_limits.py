"""What limits allow: when a session stops before them, disks that are too small, and plans of sessions."""

import time

import pytest

from ddpm_utils.__main__ import main
from ddpm_utils.errors import InputError
from ddpm_utils.training.limits import Stopper, check_disk, disk_bytes
from ddpm_utils.training.options import Limits
from ddpm_utils.training.plan import plan_sessions


def test_predictions_stop_before_an_epoch_that_would_not_fit():
    stopper = Stopper(Limits(max_hours=1.0), started=time.monotonic() - 2928)  # 600 s are left of 98 %
    stopper.step_seconds.extend([10.0] * 5)
    stopper.saved(5.0)
    assert stopper.why_stop_now() is None
    assert stopper.why_stop_after_epoch(50, is_last=False) is None  # 1.1 (500 + 5) s
    assert "next epoch" in stopper.why_stop_after_epoch(55, is_last=False)
    assert stopper.why_stop_after_epoch(55, is_last=True) is None
    stopper.started -= 585
    assert "1 hours is near" in stopper.why_stop_now()


def test_a_disk_that_is_too_small_is_refused_with_the_numbers(tmp_path):
    needed = disk_bytes(60_000_000, 1, 2, 0)
    assert 2 * 16.2 * 60e6 < needed < 2.3e9
    with pytest.raises(InputError, match=r"2\.22 GB, more than --max-disk-gb 2"):
        check_disk(needed, Limits(max_disk_gb=2), tmp_path)
    with pytest.raises(InputError, match="GB free"):
        check_disk(10**16, Limits(), tmp_path / "not" / "there")


def test_a_plan_covers_every_epoch_once_within_all_limits():
    sessions = plan_sessions(epochs=100, seconds_per_epoch=480, session_hours=12, weekly_hours=30, disk_gb=20, parameters=60e6)
    assert [e for s in sessions for e in range(s.first_epoch, s.last_epoch + 1)] == list(range(1, 101))
    assert all(s.hours <= 12 for s in sessions)
    assert all(s.disk_gb <= 20 for s in sessions)


def test_a_plan_waits_for_the_next_week():
    sessions = plan_sessions(epochs=100, seconds_per_epoch=2400, session_hours=12, weekly_hours=30)
    weeks = {s.week for s in sessions}
    assert len(weeks) == 3
    for week in weeks:
        assert sum(s.hours for s in sessions if s.week == week) <= 30
    assert sum(s.last_epoch - s.first_epoch + 1 for s in sessions) == 100


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seconds_per_epoch": 13 * 3600}, "more than a session of 12 h"),
        ({"weekly_hours": 0.2}, "more than a week of 0.2 h"),
        ({"parameters": 1e9}, "more than the disk of 20 GB"),
        ({"epochs": 0}, "epochs must be above 0"),
        ({"disk_gb": float("nan")}, "disk_gb must be above 0, got nan"),
    ],
)
def test_a_plan_that_can_not_fit_is_refused(changes, words):
    with pytest.raises(InputError, match=words):
        plan_sessions(**{"epochs": 100, "seconds_per_epoch": 480} | changes)


def test_plan_and_doctor_commands_print_their_tables(capsys):
    assert main(["plan", "--epochs", "100", "--seconds-per-epoch", "480", "--params", "60e6"]) == 0
    out = capsys.readouterr().out
    assert "T4 x2" in out
    assert "P100" in out
    assert "1-80" in out
    assert main(["doctor"]) == 0
    assert "computes" in capsys.readouterr().out
