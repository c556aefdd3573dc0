"""Several agents of torchrun, as on several machines, and commands that share their work among processes: the same bits as without."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import stirred
from PIL import Image
from two_processes import free_port, in_two_processes

from ddpm_utils.__main__ import main
from ddpm_utils.config import Generation, TrainConfig
from ddpm_utils.models import save_model
from ddpm_utils.runtime.device import Execution
from ddpm_utils.unet import UNet, UNetConfig

FLAGS = ["train", "--data-path", "digits", "--width", "8", "--multipliers", "1", "2", "--blocks", "1", "--batch-size", "256"]
FLAGS += ["--precision", "fp32", "--epochs", "8", "--log-every", "1"]


def two_agents(*words: str) -> list[subprocess.Popen]:
    """What torchrun starts on each of two machines, here on one, which meet at a port of the first."""
    meet = ["--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{free_port()}"]
    command = [sys.executable, "-m", "torch.distributed.run", *meet, "-m", "ddpm_utils", *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return [subprocess.Popen(command, env=environment, **pipes) for _ in range(2)]


def kill_machine(agent: subprocess.Popen) -> None:
    """End an agent and what it has started, as a loss of power does."""
    workers = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
    for pid in [agent.pid, *map(int, workers)]:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="which workers an agent has is read in /proc")
def test_a_run_on_two_machines_outlives_one_of_them_and_ends_in_the_bits_of_two_processes_on_one(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    in_two_processes([*FLAGS, "--out", str(one)])

    agents = two_agents(*FLAGS, "--out", str(two))
    deadline = time.monotonic() + 500
    while not list(two.glob("state-*.pt")) and time.monotonic() < deadline and agents[0].poll() is None:
        time.sleep(0.01)
    kill_machine(agents[1])
    outputs = [agent.communicate(timeout=500)[0] for agent in agents]
    assert agents[0].returncode != 0, outputs  # it can't go on alone, and doesn't wait for ever
    assert json.loads((two / "status.json").read_text())["status"] == "running", outputs

    agents = two_agents(*FLAGS, "--out", str(two), "--resume")
    outputs = [agent.communicate(timeout=500)[0] for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], outputs
    assert "".join(outputs).count("one of 2 processes") == 1  # only the first speaks and writes
    assert (two / "model.safetensors").read_bytes() == (one / "model.safetensors").read_bytes()
    steps = [[json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()] for out in (one, two)]
    assert steps[0] == steps[1] == list(range(1, len(steps[0]) + 1))


def test_images_that_two_processes_draw_are_those_of_one(tmp_path):
    """An uneven share: three batches, the last of them smaller. DDPM's noise belongs to the batch, not to the process."""
    network = UNetConfig(image_size=8, channels=1, width=8, multipliers=(1, 2), blocks=1, attention=(4,), groups=8, classes=10)
    model = tmp_path / "model.safetensors"
    config = TrainConfig(network=network, task=Generation(timesteps=20))
    save_model(stirred(UNet(network), 0, 0.1), config, tuple("0123456789"), model)
    words = ["sample", str(model), "--device", "cpu", "--n", "50", "--batch-size", "20", "--sampler", "ddpm", "--steps", "4"]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the two have
    try:
        assert main([*words, "--out", str(tmp_path / "one.png"), "--images", str(tmp_path / "one")]) == 0
    finally:
        torch.set_num_threads(threads)
    in_two_processes([*words, "--out", str(tmp_path / "two.png"), "--images", str(tmp_path / "two"), "--gif", str(tmp_path / "two.gif")])
    one, two = (np.stack([np.asarray(Image.open(path)) for path in sorted((tmp_path / name).iterdir())]) for name in ("one", "two"))
    assert one.shape == (50, 8, 8)
    assert np.array_equal(one, two)
    assert (tmp_path / "two.gif").exists()

    words = ["metrics", str(tmp_path / "one"), "mnist5k", "--features", "digits-judge", "--device", "cpu"]
    in_two_processes(words)  # whose features come in parts of 256, so that one of the two has none


@pytest.mark.parametrize("rows", [1, 4, 9])
def test_parts_that_are_shared_out_come_back_in_order(rows):
    seen = []

    def compute(part: slice) -> np.ndarray:
        seen.append(part)
        return np.arange(rows)[part]

    assert np.array_equal(Execution().shared_out(rows, 4, compute), np.arange(rows))
    assert [part.start for part in seen] == list(range(0, rows, 4))
