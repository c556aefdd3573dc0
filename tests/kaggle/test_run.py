"""kaggle/run.py and the real kaggle client against an emulator of Kaggle that executes what is pushed, under Kaggle's rules.

The first two tests execute real kernels. In the others, which are about the runner, tests/kaggle/emulator/stand_in.py is executed in their
place: the pushed text, the protocol, the rules and the runner are the real ones. The long form is tests/records/kaggle_record.py.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import build
import chain
import pytest
from client import Kernel, download
from emulator import Emulator, Limits, tiny
from filelock import FileLock


def statuses(kaggle: Emulator) -> list[str]:
    return [version.status for version in kaggle.account.kernels["tiny-job"]]


# --- with real kernels ---


def test_a_chain_that_lost_sessions_to_clock_disk_and_an_exception_ends_in_the_bits_of_one_run(start, job, tmp_path):
    """The run to compare with is one session, pushed by the plain command line of the client."""
    kaggle = start(stand_in=None, layout="by owner", limits=Limits(working_bytes=20_000_000))
    kaggle.account.faults = {2: {"seconds": 2}, 3: {"prefix": tiny.FILLS_DISK}, 4: {"prefix": tiny.FAILS}}
    runner = tiny.start_runner(kaggle, job, tmp_path / "out", "--set", "max-epochs=60", "--max-failures", "4", "--fetch-checkpoints")
    said = runner.communicate(timeout=1200)[0]
    assert runner.returncode == 0, said
    assert tiny.KEY not in said
    assert statuses(kaggle) == ["COMPLETE", "CANCEL_ACKNOWLEDGED", "ERROR", "ERROR", "COMPLETE"]
    assert "max allowed execution duration" in said
    assert "more disk space than is available" in said
    assert "| RuntimeError: injected" in said
    state = tiny.state_of(tmp_path / "out")
    assert [(s["status"], s.get("epoch")) for s in state["sessions"]] == [("stopped", 60), *[("failed", None)] * 3, ("done", 100)]
    assert list((tmp_path / "out/version-001/run").glob("state-*.pt"))

    whole = build.build_job(job, "alice", tmp_path / "whole")
    metadata = json.loads((whole / "kernel-metadata.json").read_text())
    (whole / "kernel-metadata.json").write_text(json.dumps(metadata | {"id": "alice/in-one-go", "title": "in-one-go"}))
    command = [str(Path(sys.executable).with_name("kaggle")), "kernels", "push", "-p", str(whole)]
    pushed = subprocess.run(command, env=tiny.environment(kaggle, tmp_path), capture_output=True, text=True)
    assert "Kernel version 1 successfully pushed" in pushed.stdout
    kaggle.account.wait()
    version = kaggle.account.kernels["in-one-go"][0]
    assert version.status == "COMPLETE"
    assert version.sandbox.isolation in ({"network": "none", "inputs": "read-only"}, {"network": "open", "inputs": "writable"})
    assert (version.output / "run/model.safetensors").read_bytes() == (tmp_path / "out/model.safetensors").read_bytes()


def test_a_truncated_and_a_foreign_checkpoint_are_refused_before_training(start, follow):
    kaggle = start(stand_in=None)
    kaggle.account.faults = {2: {"prefix": "raise SystemExit(1)"}}
    flags = ("--set", "max-epochs=1", "--epochs", "2")
    follow(*flags, "--max-failures", "1", code=1)
    output = kaggle.account.kernels["tiny-job"][0].output
    state = next((output / "run").glob("state-*.pt"))
    whole = state.read_bytes()
    state.write_bytes(whole[: len(whole) // 2])
    said = follow(*flags, code=1)
    assert f"/{state.name}' is missing or damaged" in said
    assert "to begin anew, run the command with --replace and another --out" in said

    state.write_bytes(whole)
    about = (output / "status.json").read_text()
    (output / "status.json").write_text(about.replace('"chain": "tiny-job-', '"chain": "other-job-'))
    assert re.search(r"there is no checkpoint of chain 'tiny-job-\w+' in .*found 'other-job-", follow(*flags, code=1))
    assert statuses(kaggle) == ["COMPLETE", "ERROR", "ERROR", "ERROR"]


def test_a_kernel_has_no_network_no_repository_no_secret_and_can_not_write_into_its_inputs(start):
    kaggle = start(stand_in=None)
    text = """
import importlib.util, os, socket
print(dict(os.environ), "repository:", importlib.util.find_spec("ddpm_utils"))
for name, attempt in {
    "network": lambda: socket.create_connection(("192.0.2.1", 80), timeout=0.5),
    "inputs": lambda: open(os.path.join(os.environ["KAGGLE_INPUT_ROOT"], "new"), "w"),
}.items():
    try:
        attempt()
        print(name, "open")
    except OSError:
        print(name, "closed")
"""
    kaggle.account.save_kernel({"slug": "alice/looks-around", "kernelType": "script", "text": text, "datasetDataSources": [tiny.DATASET]})
    kaggle.account.wait()
    version = kaggle.account.kernels["looks-around"][0]
    said = "".join(record["data"] for record in version.sandbox.log)
    assert "repository: None" in said
    assert "network closed" in said
    assert tiny.KEY not in said
    if version.sandbox.isolation["inputs"] == "read-only":
        assert "inputs closed" in said
        assert version.status == "COMPLETE"
    else:  # a system without namespaces: Kaggle's rule is kept by looking afterwards
        assert version.status == "ERROR"


# --- the chain ---


def test_a_hundred_epochs_in_chunks_finish_and_only_what_was_asked_for_is_fetched(start, follow, tmp_path):
    kaggle = start()
    follow()
    state = tiny.state_of(tmp_path / "out")
    assert [s["epoch"] for s in state["sessions"]] == [40, 80, 100]
    assert sorted(p.name for p in (tmp_path / "out/version-001").rglob("*")) == ["report.html", "status.json"]
    sources = [request.get("kernelDataSources", []) for method, request in kaggle.calls if method == "SaveKernel"]
    assert sources == [[], ["alice/tiny-job"], ["alice/tiny-job"]]
    assert (tmp_path / "out/model.safetensors").stat().st_size == 32


@pytest.mark.parametrize(("call", "when"), [(3, "before"), (3, "after"), (8, "after")])
def test_a_runner_killed_between_two_calls_goes_on_without_pushing_twice(start, job, tmp_path, call, when):
    """Calls 1 to 3 are GetKernel, the quota and SaveKernel. All calls: tests/records/kaggle_record.py."""
    kaggle = start()
    extra = ("--set", "max-epochs=60")
    runner = tiny.start_runner(kaggle, job, tmp_path / "out", *extra)
    kaggle.kill = (runner.pid, call, when)
    runner.communicate(timeout=300)
    assert runner.returncode == -9
    again = tiny.start_runner(kaggle, job, tmp_path / "out", *extra)
    said = again.communicate(timeout=300)[0]
    assert again.returncode == 0, said
    assert statuses(kaggle) == ["COMPLETE"] * 2
    assert [s["epoch"] for s in tiny.state_of(tmp_path / "out")["sessions"]] == [60, 100]


def test_a_chain_is_taken_up_from_another_folder_if_its_state_is_lost(start, follow, tmp_path):
    kaggle = start()
    kaggle.account.faults = {2: {"prefix": "raise RuntimeError('injected')"}}
    follow("--max-failures", "1", code=1)
    said = follow(out="elsewhere")  # finds version 2 failed, and version 1 to go on from
    assert "pushed from elsewhere" in said
    assert statuses(kaggle) == ["COMPLETE", "ERROR", "COMPLETE", "COMPLETE"]


def test_the_same_command_after_the_end_pushes_nothing_but_more_epochs_go_on(start, follow, tmp_path):
    kaggle = start()
    follow()
    follow()
    assert len(statuses(kaggle)) == 3
    follow("--epochs", "120")
    assert [s["epoch"] for s in tiny.state_of(tmp_path / "out")["sessions"]] == [40, 80, 100, 120]


# --- two chains on one kernel ---


def test_another_chain_on_the_same_kernel_is_refused_unless_it_shall_begin_anew(start, follow):
    kaggle = start()
    follow()
    said = follow("--set", "width=16", out="other", code=1)
    assert re.search(r"version 3 of alice/tiny-job belongs to tiny-job-\w{12}, not to the chain tiny-job-\w{12}", said)
    said = follow("--set", "width=16", code=2)
    assert "use another --out, or --replace" in said
    said = follow("--set", "width=16", "--replace")
    first = [request for method, request in kaggle.calls if method == "SaveKernel"][3]
    assert "kernelDataSources" not in first


def test_two_runners_in_one_folder_are_refused(start, follow, tmp_path):
    start()
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / "lock"):
        assert "another run.py follows the chain" in follow(code=2)


def test_a_push_by_another_runner_is_noticed(start, follow, monkeypatch):
    kaggle = start()
    push = Kernel.push

    def push_twice(kernel, folder, seconds):
        push(kernel, folder, seconds)
        return push(kernel, folder, seconds)

    monkeypatch.setattr(Kernel, "push", push_twice)
    said = follow(code=1)
    assert "version 1 was expected: another run.py pushes to this kernel too" in said
    monkeypatch.setattr(Kernel, "push", push)
    follow()  # follows version 2
    assert statuses(kaggle) == ["COMPLETE"] * 4


def test_a_chain_that_still_runs_is_not_replaced(start, follow):
    kaggle = start()
    kaggle.account.faults = {1: {"prefix": "import time; time.sleep(60)"}}
    metadata = {"slug": "alice/tiny-job", "kernelType": "script", "enableGpu": True, "text": 'CHAIN = "another"'}
    kaggle.account.save_kernel(metadata)
    assert "version 1 of alice/tiny-job still runs" in follow("--replace", code=1)


# --- hours ---


def test_a_session_takes_no_more_than_what_is_left_of_the_week(start, follow):
    kaggle = start(limits=Limits(week_seconds=180))
    follow("--epochs", "40")
    pushed = next(request for method, request in kaggle.calls if method == "SaveKernel")
    hours = float(re.search(r"'max_hours': ([\d.]+)", pushed["text"])[1])
    assert hours == pytest.approx(0.05)
    assert pushed["sessionTimeoutSeconds"] == pytest.approx(180 + 360)  # and the job's margin


def test_a_spent_week_ends_with_the_time_or_is_waited_for(start, follow):
    kaggle = start(limits=Limits(week_seconds=0.5, refresh_seconds=4))
    kaggle.account.faults = {1: {"prefix": "import time; time.sleep(1)"}}
    said = follow("--set", "max_hours=0.0001", code=3)
    assert re.search(r"there are new ones at 2\d{3}-\d\d-\d\d \d\d:\d\d UTC", said)
    said = follow("--set", "max_hours=0.0001", "--wait-for-quota")
    assert "UTC: waiting" in said
    assert [method for method, _ in kaggle.calls].count("SaveKernel") == len(statuses(kaggle))  # nothing is pushed to be refused


# --- the plan ---


def test_a_dry_run_plans_sessions_hours_and_disk_and_needs_no_network(follow, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    said = follow("--dry-run", "--set", "max_hours=1.5", "--set", "session_hours=2", "--set", "max_disk_gb=19")
    assert "100 epochs of 24 images on NvidiaTeslaT4" in said
    assert re.search(r"\n +1 +1-100 +0\.\d\d +1 +0\.\d\d\n", said)
    assert "GPU hours in 1 session" in said
    assert not (tmp_path / "out").exists()


def test_the_retired_p100_is_said_aloud_and_replaced(start, follow):
    kaggle = start()
    said = follow("--accelerator", "p100", "--epochs", "40")
    assert "the P100 was retired by Kaggle on 2026-09-15" in said
    assert kaggle.account.kernels["tiny-job"][0].request["machineShape"] == "NvidiaTeslaP100"
    assert kaggle.account.kernels["tiny-job"][0].machine == "NvidiaTeslaT4"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model": "../../secret.txt"}, "names a model '../../secret.txt' that is none of its files"),
        ({"step": "6"}, "'step' in its status.json must be a whole number"),
        ({"files": [1]}, "'files' in its status.json must be an object"),
        (None, "its status.json can't be read"),
    ],
)
def test_a_status_that_is_damaged_or_leads_elsewhere_is_not_believed(start, follow, monkeypatch, tmp_path, change, told):
    start()
    (tmp_path / "secret.txt").write_text("secret")

    def spoiled(address, path, sha256):
        download(address, path, sha256)
        if path.name == "status.json":
            about = json.loads(path.read_text())
            path.write_text("{" if change is None else json.dumps({**about, **change}))

    monkeypatch.setattr(chain, "download", spoiled)
    assert told in follow(code=1)
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file() and p.read_bytes() == b"secret"]
