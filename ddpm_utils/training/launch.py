"""From a command's flags to a session: the device is tried, the precision chosen, and what will be trained is said aloud."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from ddpm_utils.data.images import ImageSet
from ddpm_utils.runtime.device import (
    Execution,
    choose_device,
    cpu_gains_from_bf16,
    join_processes,
    leave_processes,
    precision_of,
)
from ddpm_utils.runtime.doctor import check_device
from ddpm_utils.training.checkpoints import list_states, offering_the_one_before, read_state
from ddpm_utils.training.log import parameter_table
from ddpm_utils.training.options import Compute, SessionOptions
from ddpm_utils.training.session import train
from ddpm_utils.training.task import Task
from ddpm_utils.training.trainer import Trainer, check_data


def join(compute: Compute) -> Execution:
    """This process's share of the work, on a device that was seen to compute; its precision may still change."""
    device, rank, world_size = join_processes(choose_device(compute.device))
    check_device(device)
    precision = "fp32" if compute.precision == "auto" else compute.precision
    return Execution(
        device,
        precision,
        accumulate=compute.accumulate,
        checkpoint_blocks=compute.checkpoint_blocks,
        compiled=compute.compile,
        rank=rank,
        world_size=world_size,
    )


def launch(
    make_task: Callable[[], Task],
    data: ImageSet,
    options: SessionOptions,
    compute: Compute,
    execution: Execution,
    *,
    said: str,
    start: dict[str, Tensor] | None = None,
    resumed: dict | None = None,
) -> int:
    """Train in one session; returns the exit code. said: a line about the data. start: weights to begin with.

    resumed: what `state_to_resume` found, where it was asked already: a state takes its time to be read.
    make_task: makes a task of its own at each call, since what is timed to choose the precision must not be what is trained.
    """
    task = make_task()
    check_data(task, data)
    if compute.precision == "auto":
        resumed = resumed or state_to_resume(options)
    precision, why = choose_precision(compute.precision, execution, resumed, lambda scratch: Trainer(make_task(), data, scratch))
    execution = replace(execution, precision=precision)
    if execution.is_first:
        print(said)
        print(f"device: {execution.in_words}; precision {precision} ({why})")
        print(parameter_table(task.build(Execution()), 1))
    status = train(task, data, options, execution, start)
    leave_processes()
    return 1 if status["status"] == "failed" else 0


def state_to_resume(options: SessionOptions) -> dict | None:
    """ "config" and "execution" of the state that the session begins with, if it goes on with a run."""
    path = options.resume if isinstance(options.resume, Path) else next(iter(list_states(options.out)[-1:]), None)
    if not (options.resume and path):
        return None
    with offering_the_one_before(path):
        state = read_state(path)
    return {name: state[name] for name in ("config", "execution")}


def choose_precision(asked: str, execution: Execution, resumed: dict | None, trainer: Callable[[Execution], Trainer]) -> tuple[str, str]:
    """(precision, why): as asked, or with "auto" that of the state to be resumed, that of the GPU, or what this CPU is measured to gain from.

    resumed: what `state_to_resume` found. trainer: makes a scratch trainer of the run, to be timed.
    """
    if asked != "auto":
        return asked, "as asked"
    if resumed and resumed["execution"]["device"] == execution.device_type:
        return resumed["execution"]["precision"], "as the state was trained"
    if execution.device_type != "cpu" or execution.world_size > 1:
        return precision_of(execution.device)

    def time_step(precision: str) -> None:
        scratch[precision].train_step()

    scratch = {p: trainer(replace(execution, precision=p)) for p in ("fp32", "bf16")}
    gains, why = cpu_gains_from_bf16(time_step)
    return "bf16" if gains else "fp32", why
