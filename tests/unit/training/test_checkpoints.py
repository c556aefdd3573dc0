"""States are ordered by the step inside, whatever their names; what is no state is told by what it is."""

import json
import random
import shutil

import pytest

from ddpm_utils.__main__ import main
from ddpm_utils.training.checkpoints import list_states, read_state, step_in
from ddpm_utils.training.log import line_of, records_up_to

TINY = [
    *("--data-path", "digits", "--img-size", "4", "--width", "8", "--multipliers", "1", "--blocks", "1", "--batch-size", "512"),
    *("--precision", "fp32", "--device", "cpu", "--sample-every", "0", "--epochs", "4", "--timesteps", "20", "--log-every", "1"),
]


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """A run with states of the steps 3, 6 and 9 of 12."""
    out = tmp_path_factory.mktemp("cut") / "run"
    assert main(["train", *TINY, "--out", str(out), "--max-epochs", "3", "--keep", "3"]) == 0
    return out


@pytest.fixture
def run(cut, tmp_path):
    return shutil.copytree(cut, tmp_path / "run")


def resume(run, *words) -> int:
    return main(["train", *TINY, "--out", str(run), "--resume", *map(str, words)])


def steps(run):
    return [read_state(path)["step"] for path in list_states(run)]


def test_renamed_states_are_ordered_by_the_step_inside(run, capsys):
    (run / "state-00000003.pt").rename(run / "state-00000011.pt")
    (run / "state-00000009.pt").rename(run / "state-best.pt")
    assert steps(run) == [3, 6, 9]
    assert resume(run, "--max-epochs", 1) == 0
    assert f"resumed {run / 'state-best.pt'} at step 9 of 12" in capsys.readouterr().out


def test_only_states_that_are_newer_by_their_steps_are_set_aside(run, capsys):
    (run / "state-00000006.pt").rename(run / "best.pt")
    (run / "state-00000003.pt").rename(run / "state-00000010.pt")
    assert resume(run, run / "best.pt", "--max-epochs", 1) == 0
    told = capsys.readouterr().out
    assert told.count("set aside") == 1
    assert f"set aside {run / 'state-00000009.set-aside'}, which is newer" in told
    assert (run / "state-00000010.pt").exists()


def test_a_state_under_a_name_of_the_user_s_is_never_let_go_of(run):
    (run / "state-00000003.pt").rename(run / "state-first.pt")
    assert resume(run, "--keep", 1) == 0
    assert [path.name for path in list_states(run)] == ["state-first.pt", "state-00000012.pt"]


def test_the_step_of_a_damaged_state_is_that_of_its_name(run):
    newest = run / "state-00000009.pt"
    newest.write_bytes(newest.read_bytes()[:-1000])
    (run / "state-x.pt").write_bytes(b"x")
    assert (step_in(newest), step_in(run / "state-x.pt")) == (9, -1)


@pytest.mark.parametrize("position", [0, 1, -50_000])
def test_a_damaged_newest_state_offers_the_one_before_whatever_the_precision(run, capsys, position):
    newest = run / "state-00000009.pt"
    content = bytearray(newest.read_bytes())
    content[position] ^= 255
    newest.write_bytes(content)
    for words in ([], ["--precision", "auto"]):
        assert resume(run, *words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert str(newest) in line
        assert line.endswith(f"; or go on from the one before it with --resume {run / 'state-00000006.pt'}")
    assert resume(run, newest) == 2
    assert f"--resume {run / 'state-00000006.pt'}" in capsys.readouterr().err
    assert resume(run, run / "state-00000006.pt") == 0


def test_what_is_no_state_is_told_by_what_it_is_before_any_image_is_read(run, capsys, monkeypatch):
    monkeypatch.setattr("ddpm_utils.data.sources.load_images", lambda *_, **__: pytest.fail("images were read"))
    near = f"; --resume takes a state, the newest one there is '{run / 'state-00000009.pt'}'"
    (run / "other").mkdir()
    for path, sentence in (
        (run / "model.safetensors", f"is a model, to `sample` from or to `retouch` with, and to `train --start-from`{near}"),
        (run, f"is a folder{near}"),
        (run / "other", "is a folder; --resume takes a state, there is none there"),
        (run / "state-1.pt", "there is no state"),
    ):
        assert resume(run, path) == 2
        assert f"{str(path)!r} {sentence}" in (told := capsys.readouterr().err) or sentence in told


# --- before the first state ---


@pytest.mark.parametrize("words", [[], ["--resume"]])
def test_a_run_that_was_killed_before_its_first_state_begins_anew_with_either_command(cut, tmp_path, capsys, words):
    for name in ("run.json", "log.jsonl", "status.json"):
        (tmp_path / "run").mkdir(exist_ok=True)
        shutil.copy(cut / name, tmp_path / "run" / name)
    assert main(["train", *TINY, "--out", str(tmp_path / "run"), *words]) == 0
    assert ("ended before its first state; it begins anew" in capsys.readouterr().out) == bool(words)
    assert steps(tmp_path / "run") == [9, 12]
    assert (tmp_path / "run" / "run.json").read_bytes() == (cut / "run.json").read_bytes()
    assert [json.loads(line)["step"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()] == list(range(1, 13))


@pytest.mark.parametrize("left", ["model.safetensors", "state-00000009.set-aside"])
@pytest.mark.parametrize("words", [[], ["--resume"]])
def test_a_folder_with_something_to_lose_is_only_told_to_take_another_out(run, capsys, left, words):
    (run / "state-00000009.pt").rename(run / "state-00000009.set-aside")
    for path in run.iterdir():
        if path.name not in (left, "log.jsonl", "run.json"):
            path.unlink()
    assert main(["train", *TINY, "--out", str(run), *words]) == 2
    told = capsys.readouterr().err
    assert left in told
    assert "another --out" in told
    assert "pass --resume" not in told


# --- the log ---


def test_a_damaged_log_costs_its_damaged_lines_and_no_run(run, capsys):
    lines = (run / "log.jsonl").read_bytes().splitlines()
    lines[1] = b'{"step": 2, "loss": "x", "quarters": []}'
    lines[3] = b"\xff" + lines[3][1:]
    lines[4] = b"[" * 100_000 + b"}"
    lines[5] = lines[5][:30]
    (run / "log.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    records, lacks = records_up_to(run / "log.jsonl", 8, every=1)
    assert [r["step"] for r in records] == [1, 3, 7, 8]
    assert f"{run / 'log.jsonl'}: 4 of its lines are damaged and left out; the loss curve lacks them" in lacks
    assert resume(run) == 0
    assert lacks in capsys.readouterr().out
    assert [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()] == [1, 3, 7, 8, 9, 10, 11, 12]


@pytest.mark.parametrize("seed", range(20))
def test_a_flipped_bit_in_a_log_costs_at_most_its_lines_and_is_told(run, seed):
    random.seed(seed)
    whole, content = records_up_to(run / "log.jsonl", 9, 1)[0], bytearray((run / "log.jsonl").read_bytes())
    for _ in range(50):
        at = random.randrange(len(content))
        flipped = bytearray(content)
        flipped[at] ^= 1 << random.randrange(8)
        (run / "log.jsonl").write_bytes(flipped)
        records, lacks = records_up_to(run / "log.jsonl", 9, 1)
        assert records == whole or (lacks and all(record in whole for record in records))


def test_a_log_that_was_written_less_often_lacks_nothing(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text("".join(line_of({"step": step, "loss": 0.5, "quarters": [0.5] * 4}) + "\n" for step in (50, 100)))
    assert records_up_to(log, 120, every=10)[1] == ""
    assert "from 101 to 160" in records_up_to(log, 160, every=10)[1]


def test_a_log_that_ends_before_its_state_is_told(run):
    lines = (run / "log.jsonl").read_bytes().splitlines(keepends=True)
    (run / "log.jsonl").write_bytes(b"".join(lines[:5]))
    assert "the steps from 6 to 8 aren't in it" in records_up_to(run / "log.jsonl", 8, every=1)[1]
    assert records_up_to(run / "log.jsonl", 5, every=1)[1] == records_up_to(run / "log.jsonl", 9, every=5)[1] == ""
