"""Two processes of one run, forked from one that has done the slow imports: what torchrun starts, without its cost."""

import multiprocessing
import os
import socket
from pathlib import Path

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["ddpm_utils.commands.train", "torch.distributed.nn", "torch._dynamo"])


def in_two_processes(words: list[str]) -> None:
    """Run this command in both; each must end with 0 and leave no thread of its group behind."""
    port = free_port()
    both = [FORKS.Process(target=_one, args=(rank, port, words)) for rank in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(300)
    assert [process.exitcode for process in both] == [0, 0]


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _one(rank: int, port: int, words: list[str]) -> None:
    import torch

    from ddpm_utils.__main__ import main

    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    code = main(words)
    threads = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").glob("*")]  # none where there is no /proc
    assert not [name for name in threads if "gloo" in name], threads
    raise SystemExit(code)
