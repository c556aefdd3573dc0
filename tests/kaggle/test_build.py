"""What kaggle/build.py makes of jobs, and what of wrong input; and that the real client takes it."""

import http.server
import importlib.metadata
import io
import json
import re
import subprocess
import sys
import threading
import zipfile

import pytest
from bare_python import bare_environment
from sessions import JOBS, KAGGLE, SECRET, build, contents, module

from ddpm_utils.errors import InputError


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


def test_the_owner_is_the_account_of_the_credentials_where_none_is_given(start, tmp_path, capsys):
    start()
    assert build.main(["ddpm-cars", "--out", str(tmp_path / "built")]) == 0
    assert json.loads((tmp_path / "built" / "kernel-metadata.json").read_text())["id"] == "alice/ddpm-cars"
    assert f"kaggle kernels push -p {tmp_path / 'built'}" in capsys.readouterr().out


def test_without_credentials_a_name_is_enough_to_build(start, tmp_path, monkeypatch, capsys):
    start()

    def refused():
        raise InputError("there are no credentials")

    monkeypatch.setattr(sys.modules["client"], "account_of", refused)
    arguments = ["ddpm-cars", "--out", str(tmp_path / "built")]
    assert build.main(arguments) == 2
    advice = capsys.readouterr().err.partition("or say whose it will be: ")[2].split()
    assert build.main([*arguments, *advice]) == 0
    assert json.loads((tmp_path / "built" / "kernel-metadata.json").read_text())["id"] == "NAME/ddpm-cars"


def test_a_kernel_that_is_too_large_for_kaggle_is_not_built(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "SOURCE_BYTES", 1000)
    with pytest.raises(InputError, match=r"the kernel has [\d,]+ bytes; Kaggle takes fewer than 1,000"):
        build.build_job("ddpm-cars", "alice", tmp_path / "out")
    assert not (tmp_path / "out").exists()


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
