"""What run.py makes of refusals, of sessions that fail, and of a server that is silent; with stand-ins for the kernels (see test_run.py)."""

import json
import threading
import time

import chain
import pytest
from client import download
from emulator import Emulator, tiny


def statuses(kaggle: Emulator) -> list[str]:
    return [version.status for version in kaggle.account.kernels["tiny-job"]]


# --- what Kaggle refuses ---


def test_a_push_while_two_sessions_run_waits_for_one_to_end(start, follow, tmp_path):
    kaggle = start()
    slow = {"kernelType": "script", "enableGpu": True, "text": "CHAIN = ''\nJOB = {'resume': False, 'epochs': 1, 'train': {}}"}
    kaggle.account.faults = {1: {"prefix": "import time; time.sleep(1.5)"}}
    for name in ("alice/other-one", "alice/other-two"):
        kaggle.account.save_kernel(slow | {"slug": name})
    said = follow("--set", "max-epochs=100")
    assert "refused: Maximum batch GPU session count of 2 reached." in said
    assert len(statuses(kaggle)) == 1


def test_sources_that_kaggle_leaves_out_are_failures_although_the_push_goes_through(start, follow):
    start(datasets={})
    said = follow(code=1)
    assert f"Kaggle left out the data set {tiny.DATASET}" in said


def test_an_output_that_is_not_mounted_fails_and_never_begins_anew(start, follow, monkeypatch):
    kaggle = start()
    monkeypatch.setattr(kaggle.account, "latest_output", lambda ref: None)
    said = follow("--max-failures", "2", code=1)
    assert said.count("Kaggle left out alice/tiny-job") == 2
    assert "there is no checkpoint of chain" in said
    assert statuses(kaggle) == ["COMPLETE", "ERROR", "ERROR"]


def test_wrong_credentials_and_another_owner_are_refused(start, follow, monkeypatch):
    start()
    said = follow("--owner", "bob", code=2)
    assert "the credentials are those of 'alice', --owner says 'bob'" in said
    monkeypatch.setenv("KAGGLE_KEY", "wrong")
    said = follow(code=1)
    assert "(HTTP 401)" in said


def test_an_access_token_does_as_well_as_a_key(start, follow, monkeypatch):
    start()
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("KAGGLE_API_TOKEN", tiny.KEY)
    follow("--epochs", "40")


def test_a_server_that_gives_no_answer_is_asked_again(start, follow):
    kaggle = start()
    kaggle.outage = 3
    said = follow()
    assert said.count("asking again") == 3


# --- sessions that fail ---


def test_three_lost_sessions_end_the_chain_with_the_tail_of_the_log(start, follow, tmp_path):
    kaggle = start()
    kaggle.account.faults = {n: {"prefix": "raise RuntimeError('injected')"} for n in (2, 3, 4)}
    said = follow(code=1)
    assert "3 sessions failed one after the other" in said
    assert "| RuntimeError: injected" in said
    follow()  # and the same command tries again, from the last good output
    assert statuses(kaggle) == ["COMPLETE", "ERROR", "ERROR", "ERROR", "COMPLETE", "COMPLETE"]


def test_failed_training_stops_the_chain_with_its_reason(start, follow):
    kaggle = start()
    kaggle.account.faults = {2: {"prefix": "OUTCOME = ('failed', 'diverged', 'the loss is NaN')"}}
    said = follow(code=1)
    assert "training failed: the loss is NaN" in said
    assert statuses(kaggle) == ["COMPLETE"] * 2


def test_training_that_died_is_tried_again(start, follow):
    kaggle = start()
    kaggle.account.faults = {2: {"prefix": "OUTCOME = ('failed', 'died', 'out of memory')"}}
    said = follow()
    assert "failed (1 of 3): out of memory" in said


@pytest.mark.parametrize("reason", ["", "training died: out of memory", "der Prozess ist tot"])
def test_the_cause_decides_and_no_word_of_the_reason_does(start, follow, reason):
    kaggle = start()
    kaggle.account.faults = {1: {"prefix": f"OUTCOME = ('failed', 'diverged', {reason!r})"}}
    assert f"training failed: {reason}\n" in follow(code=1)
    assert len(statuses(kaggle)) == 1
    kaggle.account.faults = {2: {"prefix": f"OUTCOME = ('failed', 'died', {reason!r})"}}
    assert f"failed (1 of 3): {reason}\n" in follow()
    assert set(statuses(kaggle)) == {"COMPLETE"}


def test_status_files_of_older_kernels_are_understood_and_their_failures_told_in_a_sentence(start, follow, monkeypatch):
    """They have no "cause"."""

    def without_cause(address, path, sha256):
        download(address, path, sha256)
        if path.name == "status.json":
            about = json.loads(path.read_text())
            about.pop("cause")
            path.write_text(json.dumps(about))

    monkeypatch.setattr(chain, "download", without_cause)
    kaggle = start()
    kaggle.account.faults = {2: {"prefix": "OUTCOME = ('failed', 'died', 'training died: out of memory')"}}
    said = follow(code=1)
    assert (
        "training failed: training died: out of memory; its status.json, of an older kernel, doesn't tell whether another try helps" in said
    )
    follow()
    assert set(statuses(kaggle)) == {"COMPLETE"}


def test_a_cause_of_a_newer_kernel_is_refused_and_the_version_waits_for_an_update(start, follow, tmp_path, monkeypatch):
    kaggle = start()
    kaggle.account.faults = {1: {"prefix": "OUTCOME = ('stopped', 'bored', 'as it liked')"}}
    said = follow(code=1)
    assert "version 1 names the cause 'bored', which is none of done, stopped, diverged, died" in said
    assert tiny.state_of(tmp_path / "out")["running"] == 1
    monkeypatch.setitem(chain.CAUSES, "bored", "known now")
    follow()
    assert set(statuses(kaggle)) == {"COMPLETE"}


def test_a_session_without_progress_counts_as_lost(start, follow):
    kaggle = start()
    said = follow("--set", "max-epochs=0", "--max-failures", "2", code=1)
    assert "it came no further than step 0" in said
    assert len(statuses(kaggle)) == 3


def test_a_cancelled_session_stops_the_chain_until_it_is_asked_again(start, follow):
    kaggle = start()
    kaggle.account.faults = {1: {"prefix": "import time; time.sleep(30)"}}

    def cancel():
        while not kaggle.account.kernels:
            time.sleep(0.02)
        time.sleep(0.3)
        kaggle.account.cancel("tiny-job")

    threading.Thread(target=cancel).start()
    said = follow(code=1)
    assert "version 1 was cancelled on Kaggle" in said
    follow()
    assert statuses(kaggle) == ["CANCEL_ACKNOWLEDGED", *["COMPLETE"] * 3]


# --- what is lost on the way ---


def test_a_server_that_stays_silent_ends_the_command_and_loses_nothing(start, follow, monkeypatch):
    kaggle = start()
    follow("--epochs", "40")
    monkeypatch.setattr(chain, "PATIENCE", 2)
    kaggle.outage = 2
    assert "Kaggle doesn't answer; what runs there goes on: run the same command later" in follow("--epochs", "80", code=1)
    follow("--epochs", "80")
    assert statuses(kaggle) == ["COMPLETE"] * 2


def test_a_kernel_that_was_deleted_on_kaggle_is_begun_anew_elsewhere(start, follow):
    kaggle = start()
    follow("--epochs", "40")
    del kaggle.account.kernels["tiny-job"]
    assert "has 0 versions, there were 1: was it deleted? Use another --out" in follow("--epochs", "80", code=1)


def test_a_damaged_state_of_a_chain_is_told_and_can_be_left_behind(start, follow, tmp_path):
    start()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "chain.json").write_text('{"kernel": ')
    assert "is not the state of a chain; restore it, or use another --out" in follow(code=2)
    follow("--epochs", "40", out="another")
