"""The emulator's rules, which RULES.md lists with their sources: it may be as strict as Kaggle, and no kinder."""

import gzip
import http.server
import json
import re
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import pytest
from emulator import Limits, tiny
from emulator.account import next_saturday
from emulator.refusing import Denied

RULES = (Path(__file__).parent / "emulator" / "RULES.md").read_text()
SLEEPS = "import time; time.sleep(20)"


def kernel(slug="some-kernel", **more):
    return {"slug": f"alice/{slug}", "kernelType": "script", "text": "print('hello')"} | more


def log_of(kaggle, slug="some-kernel"):
    kaggle.account.wait()
    return "".join(record["data"] for record in kaggle.account.kernels[slug][-1].sandbox.log)


def client(kaggle, tmp_path, *words):
    command = [str(Path(sys.executable).with_name("kaggle")), *map(str, words)]
    return subprocess.run(command, env=tiny.environment(kaggle, tmp_path), capture_output=True, text=True, timeout=120)


def test_every_rule_has_a_source_and_a_test_that_exists():
    rows = [line.split("|") for line in RULES.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 18
    for _, rule, source, tests, _, _ in rows:
        assert source.strip(), rule
        found = re.findall(r"`(test_\w+)`", tests)
        assert found, rule
        for name in found:
            assert any(re.search(rf"^def {name}\(", path.read_text(), re.M) for path in Path(__file__).parent.glob("test_*.py")), name


def test_a_source_of_a_million_bytes_is_refused(start):
    account = start(stand_in=None).account
    with pytest.raises(Denied, match="less than 1 megabytes"):
        account.save_kernel(kernel(text="#" * 1_000_000))
    assert "some-kernel" not in account.kernels
    assert account.save_kernel(kernel(text="#" * 999_999))["versionNumber"] == 1


def test_a_refusal_lies_nested_so_that_the_client_shows_its_status_alone(start, tmp_path):
    kaggle = start(limits=Limits(source_bytes=10))
    folder = tmp_path / "kernel"
    folder.mkdir()
    (folder / "kernel.py").write_text("print('more than ten bytes')")
    metadata = {"id": "alice/some-kernel", "title": "some-kernel", "code_file": "kernel.py", "language": "python", "kernel_type": "script"}
    (folder / "kernel-metadata.json").write_text(json.dumps(metadata))
    done = client(kaggle, tmp_path, "kernels", "push", "-p", folder)
    assert "400 Client Error" in done.stdout + done.stderr
    assert "megabytes" not in done.stdout + done.stderr
    assert json.loads(Denied(400, "No.").body) == {"error": {"code": 400, "message": "No.", "status": "INVALID_ARGUMENT"}}


def test_without_a_verified_phone_there_is_neither_gpu_nor_internet_and_no_word_about_it(start):
    account = start(stand_in=None).account
    asked = {"enableGpu": True, "enableInternet": True}
    account.verified = False
    assert "error" not in account.save_kernel(kernel(**asked))
    account.wait()
    account.verified = True
    account.save_kernel(kernel(**asked))
    account.wait()
    assert [(v.machine, v.internet) for v in account.kernels["some-kernel"]] == [(None, False), ("NvidiaTeslaT4", True)]
    assert account.used == account.kernels["some-kernel"][1].sandbox.seconds, "a session on a CPU takes none of the GPU hours"


def test_internet_is_what_was_asked_for(start):
    account = start(stand_in=None).account
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    address = ("127.0.0.1", server.server_port)
    text = f"import socket\ntry:\n    socket.create_connection({address}, 2)\n    print('open')\nexcept OSError:\n    print('closed')"
    for asked in (True, False):
        account.save_kernel(kernel(text=text, enableInternet=asked))
        account.wait()
    server.server_close()
    said = ["".join(r["data"] for r in v.sandbox.log).strip() for v in account.kernels["some-kernel"]]
    permitted = account.kernels["some-kernel"][1].sandbox.isolation["network"] == "none"  # else this system has no namespaces
    assert said == ["open", "closed" if permitted else "open"]


def test_the_title_decides_a_new_kernel_s_address_and_can_be_had_once(start):
    account = start(stand_in=None).account
    assert account.save_kernel(kernel("one-name", newTitle="Another Name"))["ref"] == "/code/alice/another-name"
    account.kernels["third-name"] = account.kernels["another-name"]
    with pytest.raises(Denied, match='title "Another Name" is already in use by a notebook') as denied:
        account.save_kernel(kernel("third-name", newTitle="Another Name"))
    assert denied.value.code == 409
    assert account.save_kernel(kernel("tiny"))["error"] == "Notebook slug must be at least five characters"


def test_gpu_hours_are_given_anew_on_saturday_at_midnight_utc(start):
    for day, saturday in ((23, 28), (27, 28), (28, 35 - 30)):  # of November 2026: a Monday, a Friday, a Saturday
        at = next_saturday(datetime(2026, 11, day, 13, 30, tzinfo=UTC))
        assert (at.weekday(), at.hour, at.minute, at.day) == (5, 0, 0, saturday)
    refresh = start().account.get_accelerator_quota_statistics({})["quotaRefreshTime"]
    assert datetime.fromisoformat(refresh) == next_saturday(datetime.now(UTC))


def test_five_sessions_run_on_cpus_at_once_and_two_on_gpus(start):
    account = start(stand_in=None).account
    for gpu, most in ((False, 5), (True, 2)):
        for i in range(most):
            assert "error" not in account.save_kernel(kernel(f"{gpu}-kernel-{i}", text=SLEEPS, enableGpu=gpu))
        name = "GPU" if gpu else "CPU"
        refusal = account.save_kernel(kernel(f"{gpu}-one-more", text=SLEEPS, enableGpu=gpu))
        assert refusal == {"error": f"Maximum batch {name} session count of {most} reached."}


def test_archives_in_a_data_set_are_unpacked(start, tmp_path):
    folder = tmp_path / "archived"
    folder.mkdir()
    with zipfile.ZipFile(folder / "pictures.zip", "w") as archive:
        archive.writestr("inside/one.txt", "1")
    with gzip.open(folder / "table.csv.gz", "wb") as file:
        file.write(b"a,b")
    kaggle = start(stand_in=None, datasets={"bob/archived": folder}, layout="by owner")
    text = "from pathlib import Path\nimport os\nroot = Path(os.environ['KAGGLE_INPUT_ROOT'])\n"
    text += "print(sorted(p.relative_to(root).as_posix() for p in root.rglob('*') if p.is_file()))"
    kaggle.account.save_kernel(kernel(text=text, datasetDataSources=["bob/archived"]))
    assert log_of(kaggle).strip() == "['datasets/bob/archived/pictures/inside/one.txt', 'datasets/bob/archived/table.csv']"


def test_a_data_set_goes_up_through_the_client_and_can_be_attached_once_it_is_unpacked(start, tmp_path):
    kaggle = start(stand_in=None)
    folder = tmp_path / "dataset"
    (folder / "inside").mkdir(parents=True)
    (folder / "inside" / "one.txt").write_text("1")
    metadata = {"id": "alice/some-data", "title": "some-data", "licenses": [{"name": "MIT"}], "subtitle": "A file in a folder, for a test"}
    (folder / "dataset-metadata.json").write_text(json.dumps(metadata))
    kaggle.account.datasets.unpacking = 1e9
    done = client(kaggle, tmp_path, "datasets", "create", "-p", folder, "--dir-mode", "zip")
    assert "created" in done.stdout, done.stdout + done.stderr
    assert kaggle.account.save_kernel(kernel(datasetDataSources=["alice/some-data"]))["invalidDatasetSources"] == ["alice/some-data"]
    kaggle.account.datasets.uploaded["alice/some-data"].unpacking = 0
    text = "from pathlib import Path\nimport os\nprint((Path(os.environ['KAGGLE_INPUT_ROOT']) / 'some-data/inside/one.txt').read_text())"
    assert not kaggle.account.save_kernel(kernel(text=text, datasetDataSources=["alice/some-data"]))["invalidDatasetSources"]
    assert log_of(kaggle).strip() == "1"


def test_a_pushed_notebook_is_executed_and_one_without_a_kernel_s_name_fails(start):
    kaggle = start(stand_in=None)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import os\nprint(os.getcwd().endswith('working'))")])
    kaggle.account.save_kernel(kernel("no-kernel", kernelType="notebook", text=nbformat.writes(notebook)))
    assert "No kernel name found in notebook" in log_of(kaggle, "no-kernel")
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    kaggle.account.save_kernel(kernel("a-kernel", kernelType="notebook", text=nbformat.writes(notebook)))
    kaggle.account.wait()
    version = kaggle.account.kernels["a-kernel"][0]
    assert version.status == "COMPLETE", version.sandbox.log
    (cell,) = nbformat.read(version.output / "__notebook__.ipynb", as_version=4).cells
    assert cell.outputs[0].text == "True\n"


def test_a_session_gets_no_more_time_than_kaggle_lends(start):
    kaggle = start(stand_in=None, limits=Limits(session_seconds=0.5))
    kaggle.account.save_kernel(kernel(text=SLEEPS, sessionTimeoutSeconds=3600))
    kaggle.account.wait()
    version = kaggle.account.kernels["some-kernel"][0]
    assert (version.status, version.output) == ("CANCEL_ACKNOWLEDGED", None)
    assert "max allowed execution duration" in version.message
