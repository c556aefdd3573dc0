"""`build.py push-notebooks`: the data set and all chapters, through the real client, onto the emulator."""

import build
import course_notebooks
import nbformat
import publish
import pytest
from emulator import Limits

CHAPTERS = [p.stem for p in course_notebooks.course.notebooks()]


@pytest.fixture
def small(monkeypatch):
    """A data set of one file."""
    monkeypatch.setattr(course_notebooks, "package_files", lambda: {"ddpm_utils/errors.py": build.ROOT / "ddpm_utils" / "errors.py"})


def test_one_command_puts_the_whole_course_up_and_uploads_the_package_only_when_it_changed(start, small, tmp_path, capsys, monkeypatch):
    kaggle = start(limits=Limits(cpu_sessions=1))
    monkeypatch.setattr(publish, "POLL", 0.05)
    assert publish.push_notebooks(None, tmp_path / "built", poll=0.05)
    slugs = [f"ddpm-course-{stem.replace('_', '-')}" for stem in CHAPTERS]
    assert sorted(kaggle.account.kernels) == slugs
    assert "Maximum batch CPU session count of 1 reached. Trying again" in capsys.readouterr().out
    for slug in slugs:
        (version,) = kaggle.account.kernels[slug]
        assert version.request["datasetDataSources"] == ["alice/ddpm-utils"]
        assert version.invalid_datasets == []
        assert not version.request.get("enableGpu"), "a CPU takes none of the week's hours"
        assert len(version.request["text"]) < 900_000
    data = kaggle.account.datasets.uploaded["alice/ddpm-utils"]
    publish.upload(*publish.account_of(), tmp_path / "built" / "dataset", 0.05)
    assert data is kaggle.account.datasets.uploaded["alice/ddpm-utils"], "Kaggle has this content"
    monkeypatch.setattr(publish, "content_id", lambda: "another")
    publish.upload(*publish.account_of(), tmp_path / "built" / "dataset", 0.05)
    assert kaggle.account.datasets.uploaded["alice/ddpm-utils"].version == 2


def test_save_and_run_all_of_a_pushed_chapter_succeeds_with_the_package_from_the_data_set(start, tmp_path, monkeypatch):
    monkeypatch.setenv("DDPM_PROFILE", "tiny")
    kaggle = start(stand_in=None, layout="by owner")
    api, account = publish.account_of()
    publish.upload(api, account, course_notebooks.build_dataset(account, tmp_path / "dataset"), 0.05)
    folder = publish.notebook_folders(account, tmp_path)[0]
    publish.push(api, folder, 0.05)
    kaggle.account.wait()
    version = kaggle.account.kernels[folder.name][0]
    assert version.status == "COMPLETE", "".join(record["data"] for record in version.sandbox.log)
    ran = nbformat.read(version.output / "__notebook__.ipynb", as_version=4)
    assert [o.output_type for c in ran.cells for o in c.get("outputs", []) if o.output_type == "error"] == []


def test_a_data_set_of_another_kind_in_the_way_is_refused(start, small, tmp_path, capsys):
    kaggle = start()
    kaggle.account.datasets.given["alice/ddpm-utils"] = tmp_path
    assert build.main(["push-notebooks", "--out", str(tmp_path / "built")]) == 1
    assert 'stopped: The requested title "ddpm-utils" is already in use by a dataset.' in capsys.readouterr().err
    assert kaggle.account.kernels == {}


def test_a_folder_that_holds_something_else_is_not_written_over(tmp_path):
    (tmp_path / "ddpm_utils").mkdir()
    assert build.main(["dataset", "--owner", "alice", "--out", str(tmp_path)]) == 2
    assert (tmp_path / "ddpm_utils").is_dir()


def test_a_data_set_that_is_not_ready_in_time_is_told(start, small, tmp_path, capsys, monkeypatch):
    kaggle = start()
    kaggle.account.datasets.unpacking = 1e9
    monkeypatch.setattr(publish, "PATIENCE", 2)
    with pytest.raises(publish.Unreachable, match="the data set alice/ddpm-utils isn't ready yet; run the same command again"):
        publish.push_notebooks(None, tmp_path, poll=0.01)
    kaggle.account.datasets.uploaded["alice/ddpm-utils"].unpacking = 0
    assert len(publish.push_notebooks(None, tmp_path, poll=0.05)) == len(CHAPTERS)
