"""The folders of the jobs, as they stand in the repository."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import refusals
from bare_python import bare_environment
from emulator import tiny
from sessions import JOBS, KAGGLE, SMALL, build, module, write_images


@pytest.mark.parametrize("job", JOBS)
def test_a_job_s_folder_holds_the_small_kernel_that_the_builder_makes(job):
    folder = KAGGLE / job
    text = (folder / "kernel.py").read_text()
    assert text == build.small_kernel(job), "run: python kaggle/build.py kernels"
    assert len(text) < 3_000
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
    course_notebooks.build_dataset("alice", tmp_path / "dataset")
    for name in ("ddpm_utils", "kaggle_kernel"):
        shutil.make_archive(str(package / name), "zip", tmp_path / "dataset" / name)
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


def test_a_kernel_without_its_data_set_says_where_it_comes_from(tmp_path, python):
    environment = bare_environment(KAGGLE_INPUT_ROOT=str(tmp_path))
    done = subprocess.run([python, KAGGLE / "ddpm-cars" / "kernel.py"], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ddpm_utils is in none of the data sets in ")
    reason, way = refusals.in_log(done.stdout)
    assert reason in done.stderr
    assert way is refusals.SESSIONS["no package"]
