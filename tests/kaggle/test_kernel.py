"""Why a session refuses to train, and what it makes of the end of training: kernel.py, in this process."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bare_python import bare_environment
from sessions import SMALL, build, module, outcomes

from ddpm_utils.__main__ import main as ddpm_utils


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    kernel = module("kernel")
    kernel.INPUT, kernel.WORKING, kernel.RUN = tmp_path / "input", tmp_path / "working", tmp_path / "working" / "run"
    kernel.JOB = build.load_job("ddpm-cars", overrides=SMALL) | {
        **{"dataset_sources": ["jessicali9530/stanford-cars-dataset"], "resume": True}
    }
    kernel.INPUT.mkdir()
    return kernel


@pytest.fixture
def mounted(first, kernel):
    kernel.CHAIN = first.status["chain"]
    return Path(shutil.copytree(first.working, kernel.INPUT / "ddpm-cars"))


def test_a_truncated_checkpoint_is_refused_by_name(kernel, mounted):
    path = mounted / "run" / "state-00000002.pt"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(kernel.Refused, match=r"state-00000002.pt' is missing or damaged: .* session 1"):
        kernel.take_up_chain()
    path.unlink()
    with pytest.raises(kernel.Refused, match=r"state-00000002.pt' is missing or damaged"):
        kernel.take_up_chain()
    assert not kernel.RUN.exists()


def test_a_flipped_bit_in_a_checkpoint_is_noticed(kernel, mounted):
    path = mounted / "run" / "state-00000002.pt"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(kernel.Refused, match="damaged"):
        kernel.take_up_chain()


def test_the_latest_of_several_sessions_of_the_chain_goes_on(kernel, mounted):
    old = Path(shutil.copytree(mounted, kernel.INPUT / "a-copy"))
    status = json.loads((old / "status.json").read_text())
    (old / "status.json").write_text(json.dumps({**status, "step": 1, "session": 7, "history": []}))
    assert [s["session"] for s in kernel.take_up_chain()] == [1]


def test_the_lock_of_a_session_that_was_killed_is_not_carried_into_the_next(kernel, mounted):
    (mounted / "run" / ".lock").write_text("7 the-machine-of-then\n")
    kernel.take_up_chain()
    assert (kernel.RUN / "run.json").exists()
    assert not (kernel.RUN / ".lock").exists()


def test_a_session_that_left_no_checkpoint_is_no_start(kernel, mounted):
    status = json.loads((mounted / "status.json").read_text())
    (mounted / "status.json").write_text(json.dumps({**status, "state": None, "files": {}}))
    with pytest.raises(kernel.Refused, match="left no checkpoint"):
        kernel.take_up_chain()


def test_a_resume_without_any_earlier_session_is_refused(kernel):
    with pytest.raises(kernel.Refused, match=r"there is no checkpoint of chain .* found no session of any chain; push with"):
        kernel.take_up_chain()


def test_a_truncated_status_is_named(kernel, mounted):
    path = mounted / "status.json"
    path.write_text(path.read_text()[:-50])
    (kernel.INPUT / "status.json").write_text("[1, 2]")  # a stranger's
    with pytest.raises(kernel.Refused, match=r"found 'a damaged status.json' in '.*ddpm-cars'"):
        kernel.take_up_chain()


def test_data_that_is_not_there_is_one_sentence_with_the_job_s_source(kernel):
    with pytest.raises(kernel.Refused, match=r"holds cars_train; check the job's data set \(sources: jessicali9530/stanford-cars-dataset"):
        kernel.prepared_data({})


def test_hours_already_used_are_none_of_training_s(kernel, monkeypatch):
    monkeypatch.setattr(kernel, "STARTED", kernel.STARTED - 3600 * 2)
    kernel.JOB |= {"max_hours": 3.0}
    words = kernel.training_command(Path("data"), 0, resume=False)
    assert words[1:4] == ["-m", "ddpm_utils", "train"]
    assert 0.9 < float(words[words.index("--max-hours") + 1]) < 1
    kernel.JOB["max_hours"] = 2
    with pytest.raises(kernel.Refused, match="starting took"):
        kernel.training_command(Path("data"), 0, resume=False)


def test_every_gpu_gets_a_process(kernel):
    words = kernel.training_command(Path("data"), 2, resume=False)
    assert words[1:3] == ["-m", "torch.distributed.run"]
    assert words[words.index("--nproc-per-node") + 1] == "2"


def test_a_session_without_the_gpu_that_it_needs_is_refused(kernel):
    kernel.JOB["train"]["device"] = "cuda"
    with pytest.raises(kernel.Refused, match=r"no GPU: Kaggle lends none without a verified phone number"):
        kernel.check_machine(bare_environment())


def doctor_says(kernel, monkeypatch, code, stdout, stderr=""):
    monkeypatch.setattr(kernel.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, code, stdout, stderr))


def test_the_machine_is_judged_by_fields_and_by_no_word_of_the_doctor_s(kernel, monkeypatch):
    kernel.JOB["train"]["device"] = "cuda"
    devices = {"cpu": 1, "cuda": 2}
    fine = [{"what": "cuda:9 PROBLEM: ", "found": "all in other words; PROBLEM: error: ", "problem": None, "device": None}] * 5
    doctor_says(kernel, monkeypatch, 0, json.dumps({"findings": fine, "devices": devices}), "a library's warning")
    assert kernel.check_machine({}) == 2
    bad = [*fine, {"what": "a GPU", "found": "", "problem": "it can't add", "device": "cuda:1"}]
    doctor_says(kernel, monkeypatch, 1, json.dumps({"findings": bad, "devices": devices}))
    with pytest.raises(kernel.Refused, match=r"^it can't add$"):
        kernel.check_machine({})
    doctor_says(kernel, monkeypatch, 139, "", "Segmentation fault")
    with pytest.raises(kernel.Refused, match=r"^the look at the machine failed with exit code 139: Segmentation fault$"):
        kernel.check_machine({})


def test_a_command_s_refusal_is_handed_on_whatever_stands_around_it(kernel, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("DDPM_REFUSAL", str(tmp_path / "refusal.txt"))
    assert ddpm_utils(["sample", "nowhere.safetensors"]) == 2
    sentence = (tmp_path / "refusal.txt").read_text()
    assert capsys.readouterr().err == f"error: {sentence}\n"
    lines = ["Fehler: anders gesagt", "torchrun's table", "exitcode: 2"]
    assert kernel.last_words(lines, {"DDPM_REFUSAL": str(tmp_path / "refusal.txt")}) == sentence
    assert kernel.last_words(lines, {"DDPM_REFUSAL": str(tmp_path / "none.txt")}) == kernel.last_words(lines, {}) == "exitcode: 2"


def test_every_end_of_training_has_a_cause(kernel):
    kernel.RUN.mkdir(parents=True)
    (kernel.RUN / "state-00000006.pt").touch()
    for status, cause in {"done": "done", "stopped": "stopped", "failed": "diverged", "running": "died"}.items():
        about = {"status": status, "reason": "", "epoch": 0, "epochs": 4, "step": 0, "steps": 8}
        (kernel.RUN / "status.json").write_text(json.dumps(about))
        assert kernel.run_status(["Killed"])["cause"] == cause
    assert set(outcomes.CAUSE_OF.values()) == set(outcomes.CAUSES)
    died = kernel.run_status(["Killed"])
    assert (died["status"], died["step"], died["epoch"], died["reason"]) == ("failed", 6, 3, "training died: Killed")


def test_training_that_hangs_is_asked_to_stop_and_then_ended(kernel, capsys):
    kernel.WORKING.mkdir()
    kernel.JOB |= {"max_hours": 0.0, "session_hours": 3 / 3600}
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, lambda *_: print('heard', flush=True)); print('up', flush=True); time.sleep(60)"
    )
    assert kernel.watched([sys.executable, "-c", deaf], bare_environment())[0] == ["up", "heard"]
    assert "ending it" in capsys.readouterr().out
