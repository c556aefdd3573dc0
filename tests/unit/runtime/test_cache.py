"""Entries of the cache that several processes complete at once."""

import os
import subprocess
import sys

from ddpm_utils.runtime.cache import seal, whole_files


def test_two_processes_may_seal_an_entry_at_once(tmp_path, monkeypatch):
    """The other one seals from beginning to end while this one has written its list aside and not yet renamed it."""
    (tmp_path / "images.npy").write_bytes(b"the same in both")
    other = f"from pathlib import Path; from ddpm_utils.runtime.cache import seal; seal(Path({str(tmp_path)!r}))"
    real = os.replace

    def overtaken(temporary, path):
        subprocess.run([sys.executable, "-c", other], check=True)
        real(temporary, path)

    monkeypatch.setattr(os, "replace", overtaken)
    seal(tmp_path)
    assert whole_files(tmp_path) == {"images.npy"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checksums.json", "images.npy"]
