"""However a run is cut into sessions, it ends in the same bits as one that was never stopped."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from cases import cases
from hypothesis import given
from hypothesis import strategies as st

from ddpm_utils.config import Classification, Generation, Restoration, TrainConfig
from ddpm_utils.data.images import ImageSet
from ddpm_utils.data.pairs import PairSet
from ddpm_utils.runtime.device import Execution
from ddpm_utils.training.checkpoints import load_state, save_state
from ddpm_utils.training.tasks.classification import ClassificationTask
from ddpm_utils.training.tasks.generation import GenerationTask
from ddpm_utils.training.tasks.restoration import RestorationTask
from ddpm_utils.training.trainer import Trainer
from ddpm_utils.unet_config import UNetConfig

N, SIDE, STEPS = 8, 8, 6
PIXELS = np.random.default_rng(0).integers(0, 256, (2, N, SIDE, SIDE, 3), np.uint8)
IMAGES = ImageSet(PIXELS[0], np.arange(N) % 2, ("a", "b"))
PAIRS = PairSet(PIXELS[0], sources=PIXELS[1], masks=PIXELS[0, ..., 0] > 100)
NETWORK = {"image_size": SIDE, "width": 4, "multipliers": (1, 2), "blocks": 1, "attention": (), "groups": 2, "middle_attention": False}

RUN = {
    "optimizer": st.sampled_from(("adamw", "adam")),
    "lr_decay": st.sampled_from(("constant", "cosine")),
    "warmup": st.integers(0, 8),
    "batch_size": st.sampled_from((2, 3, 4, 8)),
    "ema_start": st.integers(0, 8),
    "ema_every": st.integers(1, 3),
    "ema_sigmas": st.sampled_from(((), (0.05,), (0.05, 0.2))),
    "flip": st.booleans(),
    "draws": st.sampled_from(("host", "device")),
    "seed": st.integers(0, 2**63 - 1),
}
DROPOUT = st.sampled_from((0.0, 0.3))


@st.composite
def tasks(draw) -> tuple:
    """(task's class, its settings, network, what more the task is made of, data)."""
    kind = draw(st.sampled_from(("generation", "regression", "resshift", "residual", "classification")))
    if kind == "generation":
        process = Generation(timesteps=20, prediction=draw(st.sampled_from(("eps", "v", "x0"))), label_dropout=draw(DROPOUT))
        return GenerationTask, process, {"classes": draw(st.sampled_from((2, None))), "dropout": draw(DROPOUT)}, (), IMAGES
    if kind == "classification":
        return ClassificationTask, Classification(timesteps=20), {"classes": 2}, (IMAGES,), IMAGES
    process = Restoration(form=kind, **({} if kind == "regression" else {"timesteps": 20}))
    return RestorationTask, process, {"condition_channels": 3, "extra_channels": 1, "dropout": draw(DROPOUT)}, (), PAIRS


def everything(trainer: Trainer) -> list[torch.Tensor]:
    """Weights, averages and moments."""
    moments = [m for p in trainer.network.parameters() for m in trainer.optimizer.state[p].values()]
    return [*trainer.network.parameters(), *(s for a in trainer.averages for s in a.shadow), *moments]


@cases(25)
@given(tasks(), st.fixed_dictionaries({}, optional=RUN), st.sets(st.integers(0, STEPS), max_size=5), st.sampled_from((1, 2)))
def test_any_cuts_into_sessions_end_in_the_bits_of_an_uncut_run(task, run, cuts, accumulate):
    cls, process, network, more, data = task
    batch = run.get("batch_size", 4) // accumulate * accumulate
    config = TrainConfig(
        network=UNetConfig(**NETWORK, **network),
        task=process,
        **{"warmup": 2, **run, "batch_size": batch, "epochs": -(-STEPS * batch // N)},
    )

    def fresh() -> Trainer:
        return Trainer(cls(config, *more), data, Execution(accumulate=accumulate))

    whole = fresh()
    losses = [step.losses for step in whole.run(STEPS)]
    trainer, seen = fresh(), []
    with TemporaryDirectory() as folder:
        for cut in [*sorted(cuts), STEPS]:
            seen += [step.losses for step in trainer.run(cut)]
            save_state(trainer, path := Path(folder) / "state.pt")
            torch.rand(3)  # whatever else a process draws
            trainer = fresh()
            load_state(trainer, path)
    assert trainer.step == whole.step
    assert all(map(torch.equal, seen, losses))
    assert len(seen) == len(losses)
    assert all(torch.equal(a, b) for a, b in zip(everything(trainer), everything(whole), strict=True))
