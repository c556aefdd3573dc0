"""kaggle/build.py and the kernels that it builds, executed in an empty folder without network and without this repository."""

import base64
import hashlib
import http.server
import importlib.metadata
import importlib.util
import io
import json
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from bare_python import bare_environment, bare_python
from emulator import tiny
from PIL import Image

from ddpm_utils.__main__ import main as ddpm_utils
from ddpm_utils.errors import InputError
from ddpm_utils.models import load_model
from ddpm_utils.training.checkpoints import read_state

KAGGLE = Path(__file__).parents[2] / "kaggle"
JOBS = sorted(p.parent.name for p in KAGGLE.glob("*/job.toml"))
LAYOUTS = ("{slug}", "datasets/{owner}/{slug}", "notebooks/{owner}/{slug}")
NOT_ON_KAGGLE = ("mlxtend", "kagglehub", "diffusers", "ipywidgets", "IPython", "pytest")  # or not surely
SECRET = "5f0c1e-not-for-anyone"
SMALL = {
    **{"device": "cpu", "precision": "fp32", "img-size": 8, "width": 8, "multipliers": [1], "blocks": 1, "batch-size": 4},
    **{"timesteps": 20, "log-every": 1, "sample-every": 0, "warmup": 0, "attention": [8]},
}


def module(name):
    spec = importlib.util.spec_from_file_location(f"kaggle_{name}", KAGGLE / f"{name}.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


sys.path.insert(0, str(KAGGLE))
build, outcomes = module("build"), module("outcomes")


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    return bare_python(tmp_path_factory.mktemp("python"), without=NOT_ON_KAGGLE)


class Session:
    """A folder that looks like /kaggle, and what a kernel did in it."""

    def __init__(self, root, python, job="ddpm-cars", earlier=None, layout=LAYOUTS[0], images=8, **options):
        self.input, self.working, scratch = (root / name for name in ("input", "working", "scratch"))
        for folder in (self.input, self.working, scratch):
            folder.mkdir(parents=True)
        if job == "wrinkle-removal":
            write_pairs(self.input / layout.format(owner="alice", slug="pairs"))
        else:
            cars = self.input / layout.format(owner="jessicali9530", slug="stanford-cars-dataset")
            write_images(cars / "cars_train" / "cars_train", images)
        if earlier is not None:
            shutil.copytree(earlier, self.input / layout.format(owner="alice", slug=job))
        overrides = {**SMALL, **options.pop("overrides", {})}
        folder = build.build_job(job, "alice", root / "built", resume=earlier is not None, overrides=overrides, **options)
        shutil.move(folder / "kernel.py", self.working.parent / "script.py")
        environment = bare_environment(
            KAGGLE_INPUT_ROOT=str(self.input), KAGGLE_WORKING_ROOT=str(self.working), TMPDIR=str(scratch), KAGGLE_KEY=SECRET
        )
        done = subprocess.run([python, root / "script.py"], cwd=self.working, env=environment, capture_output=True, text=True, timeout=300)
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    @property
    def status(self):
        return json.loads((self.working / "status.json").read_text())

    def files(self):
        return sorted(p.relative_to(self.working).as_posix() for p in self.working.rglob("*") if p.is_file())


def write_images(folder, n):
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0)
    for i in range(n):
        Image.fromarray(pixels.integers(0, 255, (10, 12, 3), dtype=np.uint8)).save(folder / f"{i:05d}.jpg")


def write_pairs(folder):
    """Four rough pictures, and the same with a smooth middle."""
    pixels = np.random.default_rng(0)
    for i in range(4):
        source = pixels.integers(0, 255, (48, 48, 3), dtype=np.uint8)
        target = source.copy()
        target[8:40, 8:40] = source[8:40, 8:40].mean((0, 1))
        for name, picture in (("CRHD-3K_src", source), ("CRHD-3K_gt", target)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / name / f"{i}.png")


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# --- a chain of sessions ---


@pytest.fixture(scope="module")
def first(tmp_path_factory, python):
    return Session(tmp_path_factory.mktemp("first"), python, epochs=4, overrides={"max-epochs": 1, "sample-every": 2})


def test_a_first_session_leaves_all_that_the_next_one_and_people_need(first):
    assert first.code == 0, first.err
    assert first.files() == [
        *("report.html", "run/log.jsonl", "run/loss.png", "run/model.safetensors", "run/run.json"),
        *("run/samples/step-0000002.png", "run/state-00000002.pt", "run/status.json", "status.json"),
    ]
    status = first.status
    assert (status["status"], status["session"], status["epoch"], status["epochs"], status["steps"]) == ("stopped", 1, 1.0, 4, 8)
    assert status["cause"] == status["history"][0]["cause"] == "stopped"
    assert status["chain"].startswith("ddpm-cars-")
    assert 0 < status["hours"] < 0.1
    assert 0 < status["peak_disk_gb"] < 0.01
    for name, about in status["files"].items():
        data = (first.working / name).read_bytes()
        assert about == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    page = (first.working / "report.html").read_text()
    pictures = [base64.b64decode(data) for data in re.findall(r'src="data:image/png;base64,([^"]+)"', page)]
    assert [Image.open(io.BytesIO(data)).format for data in pictures] == ["PNG", "PNG"]
    assert "http" not in page
    assert first.out.rstrip().endswith("kernel: stopped at epoch 1 of 4: 1 epochs are done in this session")


def test_a_session_speaks_of_the_machine_before_it_touches_data(first):
    assert 0 < first.out.index("computes; precision") < first.out.index("kernel: data in")


def test_a_chain_over_all_mount_layouts_ends_in_the_bits_of_one_uninterrupted_run(first, python, tmp_path):
    session = first
    for number, layout in enumerate(LAYOUTS, 2):
        before = contents(session.working)
        mounted = session.working
        session = Session(tmp_path / str(number), python, earlier=mounted, layout=layout, epochs=4, overrides={"max-epochs": 1})
        assert session.code == 0, session.err
        assert session.status["epoch"] == session.status["session"] == number
        inputs = session.input / layout.format(owner="alice", slug="ddpm-cars")
        assert contents(inputs) == before, "an input was changed"
        assert session.status["total_hours"] == pytest.approx(sum(s["hours"] for s in session.status["history"]), abs=1e-4)
    assert session.status["status"] == session.status["cause"] == "done"
    assert [s["session"] for s in session.status["history"]] == [1, 2, 3, 4]
    assert [json.loads(line)["step"] for line in (session.working / "run" / "log.jsonl").read_text().splitlines()] == list(range(1, 9))
    assert (session.working / "run" / "samples" / "step-0000002.png").exists(), "the pictures of earlier sessions are carried forward"

    flags = build.load_job("ddpm-cars", overrides=SMALL)["train"]
    words = [word for name, value in flags.items() for word in (f"--{name}", *map(str, value if isinstance(value, list) else [value]))]
    whole = tmp_path / "whole"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the kernels had: another number rounds otherwise
    assert ddpm_utils(["train", "--data-path", str(first.input), "--out", str(whole), "--epochs", "4", *words]) == 0
    torch.set_num_threads(threads)
    ours, theirs = (read_state(folder / "state-00000008.pt")["vectors"] for folder in (session.working / "run", whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert (session.working / "run" / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_two_processes_share_a_session_on_pairs(python, tmp_path):
    overrides = {"processes": 2, "img-size": 16, "patch": 1, "attention": [], "sample-every": 1}
    session = Session(tmp_path, python, "wrinkle-removal", epochs=1, dataset="alice/pairs", layout=LAYOUTS[1], overrides=overrides)
    assert session.code == 0, session.err
    assert "one of 2 processes" in session.out
    assert "pairs of 16 px" in session.out
    assert session.status["status"] == "done"
    config = load_model(session.working / "run" / "model.safetensors").config
    assert (config.task.form, config.batch_size) == ("resshift", 4)
    assert session.files()[0] == "report.html"
    assert not [name for name in session.files() if "source" in name], "crops belong into scratch space"


def test_a_session_that_fails_in_training_exits_with_zero_and_says_why(python, tmp_path):
    session = Session(tmp_path, python, epochs=2, overrides={"lr": 1e30})
    assert session.code == 0
    assert (session.status["status"], session.status["cause"]) == ("failed", "diverged")
    assert "loss" in session.status["reason"]
    assert (session.working / "report.html").exists()


def test_a_session_with_another_chain_s_checkpoint_fails_at_once(first, python, tmp_path):
    session = Session(tmp_path, python, earlier=first.working, epochs=4, chain="mine")
    assert session.code == 1
    assert session.files() == []
    last = session.err.strip().splitlines()[-1]
    assert last.startswith("error: there is no checkpoint of chain 'mine'")
    assert first.status["chain"] in last
    assert "Traceback" not in session.err


def test_images_that_training_refuses_end_the_session_at_once(python, tmp_path):
    session = Session(tmp_path, python, images=3)
    assert session.code == 1
    assert session.files() == []
    assert session.err.splitlines()[-1].startswith("error: batch size 4 is larger than the data set of 3 images")


# --- refusals before training, in this process ---


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


# --- what is built ---


def test_the_same_input_gives_the_same_bytes_and_no_secret_gets_in(first, tmp_path, monkeypatch):
    folders = []
    for i in range(2):
        monkeypatch.setenv("KAGGLE_KEY", SECRET + str(i))
        folders.append(contents(build.build_job("ddpm-cars", "alice", tmp_path / str(i))))
    assert folders[0] == folders[1]
    assert not [path for path, data in folders[0].items() if SECRET.encode() in data]
    saved = [*contents(first.working).values(), first.out.encode(), first.err.encode()]
    assert not [data for data in saved if SECRET.encode() in data]


def test_a_kernel_holds_the_package_and_nothing_large(tmp_path):
    text = (build.build_job("ddpm-cars", "alice", tmp_path) / "kernel.py").read_text()
    assert len(text) < 500_000
    archive = zipfile.ZipFile(io.BytesIO(module("carrier").package_bytes()))
    assert {"ddpm_utils/__main__.py", "ddpm_utils/commands/train.py"} <= set(archive.namelist())
    assert all(name.endswith(".py") for name in archive.namelist())
    assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}, "the time of the build shows in its bytes"
    for name in archive.namelist():
        assert archive.read(name) == (KAGGLE.parent / name).read_bytes()


def test_a_damaged_copy_of_the_package_is_not_unpacked(tmp_path, python):
    text = (build.build_job("ddpm-cars", "alice", tmp_path) / "kernel.py").read_text()
    at = text.index('PACKAGE = """') + 5000
    damaged = tmp_path / "kernel.py"
    damaged.write_text(text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :])
    done = subprocess.run([python, damaged], capture_output=True, text=True, env=bare_environment(TMPDIR=str(tmp_path)))
    assert done.returncode == 1
    assert "inside this file is damaged" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("accelerator", ["t4", "p100"])
@pytest.mark.parametrize("job", JOBS)
def test_resuming_changes_the_sources_and_not_the_chain(job, accelerator, tmp_path):
    folders = [
        build.build_job(job, "alice", tmp_path / str(r), accelerator=accelerator, resume=r, dataset="bob/some-data") for r in (False, True)
    ]
    first, later = (build.built(folder) for folder in folders)
    assert first["chain"] == later["chain"]
    metadata = [json.loads((folder / "kernel-metadata.json").read_text()) for folder in folders]
    assert [m["kernel_sources"] for m in metadata] == [[], [f"alice/{job}"]]
    assert metadata[0]["dataset_sources"] == ["bob/some-data"]
    assert metadata[0]["machine_shape"] == {"t4": "NvidiaTeslaT4", "p100": "NvidiaTeslaP100"}[accelerator]
    assert first["max_hours"] <= first["session_hours"] - 0.5 <= 11.5
    assert first["max_disk_gb"] < 20
    assert first["epochs"] == 100


def test_the_chain_follows_what_is_trained_and_not_how_long_or_where():
    def chain(**overrides):
        job = build.load_job("ddpm-cars", overrides={k.replace("_", "-"): v for k, v in overrides.items()})
        return build.chain_id(job | {"dataset_sources": []})

    assert chain() == chain(epochs=7) == chain(device="cpu") == chain(log_every=3)
    assert len({chain(), chain(width=64), chain(lr=1e-3), chain(flip=True)}) == 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"job": "no-such-job"}, "there is no job 'no-such-job'; there are ddpm-cars"),
        ({"owner": "OWNER"}, "owner must be your name"),
        ({"owner": "a b"}, "owner must be your name"),
        ({"accelerator": "a100"}, "accelerator must be one of t4, p100, got 'a100'"),
        ({"overrides": {"widht": 3}}, "widht"),
        ({"overrides": {"width": "wide"}}, "width"),
        ({"overrides": {"data-path": "x"}}, "decided by the kernel"),
        ({"overrides": {"max_hours": "long"}}, "max_hours of job 'ddpm-cars' must be of type float, got 'long'"),
        ({"dataset": "cars"}, "OWNER/SLUG, got 'cars'"),
        ({"job": "wrinkle-removal", "overrides": {"drawn": ""}}, "pass --dataset"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_pushed(arguments, said, tmp_path):
    with pytest.raises(InputError, match=re.escape(said)):
        build.build_job(**{"job": "ddpm-cars", "owner": "alice", "out": tmp_path / "out", **arguments})
    assert not (tmp_path / "out").exists()


def test_the_command_line_builds_a_job(tmp_path, capsys):
    assert build.main(["ddpm-cars", "--owner", "alice", "--out", str(tmp_path), "--epochs", "3", "--set", "multipliers=[1, 2]"]) == 0
    assert build.built(tmp_path)["train"]["multipliers"] == [1, 2]
    assert build.built(tmp_path)["chain"] in capsys.readouterr().out
    assert build.main(["ddpm-cars", "--owner", "alice", "--out", str(tmp_path), "--set", "width"]) == 2
    assert capsys.readouterr().err == "error: --set takes KEY=VALUE, got 'width'\n"


# --- the real client ---


class Answering(http.server.BaseHTTPRequestHandler):
    """Notes what the client sends, and says that all went well."""

    def do_POST(self):
        self.server.requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        answer = json.dumps({"ref": "/alice/x", "url": "http://localhost/alice/x", "versionNumber": 1}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@pytest.mark.skipif("kaggle" not in importlib.metadata.packages_distributions(), reason="needs the kaggle client")
def test_the_real_client_pushes_every_job_as_it_is(tmp_path):
    folders = [build.build_job(job, "alice", tmp_path / job, resume=True, dataset="bob/some-data") for job in JOBS]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    server.requests = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    script = """if True:
        import sys
        from kaggle.api.kaggle_api_extended import KaggleApi
        api = KaggleApi()
        api.authenticate()
        for folder in sys.argv[1:]:
            api.kernels_push_cli(folder, None, None)
    """
    environment = bare_environment(
        KAGGLE_API_ENVIRONMENT="LOCALHOST", KAGGLE_USERNAME="alice", KAGGLE_KEY="x", no_proxy="", NO_PROXY="",
        http_proxy=f"http://127.0.0.1:{server.server_port}", HOME=str(tmp_path),
    )  # fmt: skip
    done = subprocess.run([sys.executable, "-c", script, *folders], capture_output=True, text=True, env=environment, cwd=tmp_path)
    server.shutdown()
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("successfully pushed") == len(JOBS), done.stdout
    assert "does not resolve" not in done.stdout
    for job, folder, sent in zip(JOBS, folders, server.requests):
        assert sent["slug"] == f"alice/{job}"
        assert sent["text"] == (folder / "kernel.py").read_text()
        assert (sent["language"], sent["kernelType"], sent["isPrivate"], sent["enableGpu"]) == ("python", "script", True, True)
        assert (sent["enableInternet"], sent["machineShape"]) == (False, "NvidiaTeslaT4")
        assert (sent["datasetDataSources"], sent["kernelDataSources"]) == (["bob/some-data"], [f"alice/{job}"])


# --- the folders as they stand ---


@pytest.mark.parametrize("job", JOBS)
def test_a_job_s_folder_holds_the_small_kernel_that_the_builder_makes(job):
    folder = KAGGLE / job
    text = (folder / "kernel.py").read_text()
    assert text == build.small_kernel(job), "run: python kaggle/build.py kernels"
    assert len(text) < 30_000
    metadata = (folder / "kernel-metadata.json").read_text()
    assert json.loads(metadata)["dataset_sources"][-1] == "OWNER/ddpm-utils"
    assert metadata.count("OWNER") == 2, "what a user replaces"


@pytest.mark.parametrize("job", [job for job in JOBS if job != "wrinkle-removal"])
def test_a_job_of_many_hours_leaves_nothing_to_the_settings_for_a_few_minutes(job):
    from ddpm_utils.commands.train import in_words, usual_settings

    settings = build.load_job(job)
    args = build.train_arguments(settings["train"], settings["epochs"])
    assert in_words(args, usual_settings(args, args.img_size, settings["images"])) == ""


def test_a_job_pushed_as_it_stands_finds_the_package_in_its_data_set_and_goes_on_from_its_own_output(start, tmp_path):
    """Settings are made small; the folder, its metadata, the client and the data set are as they are for a user."""
    course_notebooks = module("course_notebooks")
    cars = tmp_path / "cars"
    write_images(cars / "cars_train" / "cars_train", 8)
    package = tmp_path / "package"
    package.mkdir()
    shutil.make_archive(str(package / "ddpm_utils"), "zip", course_notebooks.build_dataset("alice", tmp_path / "dataset") / "ddpm_utils")
    data = {"jessicali9530/stanford-cars-dataset": cars, "alice/ddpm-utils": package}
    kaggle = start(stand_in=None, datasets=data, layout="by owner")
    folder = Path(shutil.copytree(KAGGLE / "ddpm-cars", tmp_path / "ddpm-cars"))
    path = folder / "kernel-metadata.json"
    path.write_text(path.read_text().replace("OWNER", "alice"))
    job = build.built(folder)
    small = {**job["train"], **SMALL, "accumulate": 1, "max-epochs": 1}
    for sources in ([], ["alice/ddpm-cars"]):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"kernel_sources": sources}))
        text = (KAGGLE / "ddpm-cars" / "kernel.py").read_text()
        text = re.sub("^JOB = .*$", lambda _: f"JOB = { ({**job, 'train': small, 'epochs': 2})!r}", text, flags=re.M)
        (folder / "kernel.py").write_text(text)
        pushed = subprocess.run(
            [str(Path(sys.executable).with_name("kaggle")), "kernels", "push", "-p", str(folder)],
            **{"env": tiny.environment(kaggle, tmp_path), "capture_output": True, "text": True},
        )
        assert "successfully pushed" in pushed.stdout, pushed.stdout + pushed.stderr
        kaggle.account.wait()
    versions = kaggle.account.kernels["ddpm-cars"]
    assert [v.status for v in versions] == ["COMPLETE"] * 2, [record["data"] for v in versions for record in v.sandbox.log]
    ends = [json.loads((v.output / "status.json").read_text()) for v in versions]
    assert [(end["status"], end["epoch"]) for end in ends] == [("stopped", 1), ("done", 2)]


def test_without_a_data_set_wrinkle_removal_trains_on_pairs_that_it_draws(python, tmp_path):
    overrides = {"img-size": 16, "patch": 1, "attention": [], "drawn": "wrinkles:8"}
    session = Session(tmp_path, python, "wrinkle-removal", epochs=1, overrides=overrides)
    assert session.code == 0, session.err
    assert session.status["status"] == "done"
    assert "8 pairs of 16 px" in session.out


def test_the_owner_is_the_account_of_the_credentials_where_none_is_given(start, tmp_path, capsys):
    start()
    assert build.main(["ddpm-cars", "--out", str(tmp_path / "built")]) == 0
    assert json.loads((tmp_path / "built" / "kernel-metadata.json").read_text())["id"] == "alice/ddpm-cars"
    assert f"kaggle kernels push -p {tmp_path / 'built'}" in capsys.readouterr().out


def test_a_kernel_without_its_package_says_where_it_comes_from(kernel):
    with pytest.raises(
        kernel.Refused, match=r"ddpm_utils is in none of the data sets in .*; attach the one that `build.py dataset` writes"
    ) as refused:
        kernel.attached_package()
    assert refused.value.cause == "no package"
    course_notebooks = module("course_notebooks")
    course_notebooks.build_dataset("alice", kernel.INPUT / "datasets" / "alice" / "ddpm-utils")
    assert (kernel.attached_package() / "ddpm_utils" / "__main__.py").is_file()


def test_a_kernel_that_is_too_large_for_kaggle_is_not_built(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "SOURCE_BYTES", 1000)
    with pytest.raises(InputError, match=r"the kernel has [\d,]+ bytes; Kaggle takes fewer than 1,000"):
        build.build_job("ddpm-cars", "alice", tmp_path / "out")
    assert not (tmp_path / "out").exists()
