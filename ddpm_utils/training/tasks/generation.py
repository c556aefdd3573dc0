"""Chapter 04: images from noise."""

from collections.abc import Callable

import numpy as np
from torch import Tensor, nn

from ddpm_utils.config import Generation, TrainConfig
from ddpm_utils.data.images import ImageSet, to_uint8
from ddpm_utils.data.pairs import PairSet
from ddpm_utils.diffusion import training_loss
from ddpm_utils.errors import InputError
from ddpm_utils.generate import generate, labels_in_rows, start_noise
from ddpm_utils.training.batches import Batch, Draw
from ddpm_utils.training.preset import too_little
from ddpm_utils.training.task import Predict, Preview, UNetTask

PREVIEW = 16  # images
PREVIEW_STEPS = 25


class GenerationTask(UNetTask):
    """A U-Net that predicts the noise, x_0 or v of noisy images. config.task: a `Generation`."""

    def __init__(self, config: TrainConfig):
        super().__init__(config)
        self.schedule = config.noise_schedule()

    def check(self, data: ImageSet) -> None:
        """Refuse pairs."""
        if isinstance(data, PairSet):
            raise InputError("these are pairs, which need a form of training on pairs: pass --form resshift")

    def complete(self, batch: Batch, data: ImageSet, draw: Draw) -> Batch:
        """Labels are dropped for each image, not for the batch."""
        if batch.label is None:
            return batch
        dropped = draw.chance(self.config.task.label_dropout)
        return batch._replace(label=batch.label.masked_fill(dropped, self.config.network.null_label))

    def losses(self, predict: Predict, batch: Batch) -> Tensor:
        """Ho et al., eq. 14: the distance between prediction and target, (B,)."""
        task = self.config.task
        conditions = {name: value for name, value in (("label", batch.label), ("hint", batch.hint)) if value is not None}
        return training_loss(
            predict,
            self.schedule,
            batch.x0,
            batch.t,
            batch.eps,
            prediction=task.prediction,
            loss=task.loss,
            weighting=task.weighting,
            **conditions,
        )

    def remark(self, steps: int, data: ImageSet) -> str:
        """Whether too little was trained for pictures, which random weights need much of."""
        config = self.config
        if config.start or config.task.kind != Generation.kind:
            return ""
        return too_little(config, steps, len(data))

    def preview(self, network: nn.Module, data: ImageSet, stopped: Callable[[], bool]) -> Preview | None:
        """Samples, always from the same noise, so that one can watch a run improve."""
        classes = self.config.network.classes
        drawn = self.drawn(network, PREVIEW, None if classes is None else labels_in_rows(PREVIEW, classes), stopped)
        return None if drawn is None else Preview(drawn)

    def drawn(self, network: nn.Module, n: int, label: Tensor | None, stopped: Callable[[], bool]) -> np.ndarray | None:
        """n images (n, H, W, C) uint8 from noise that never changes; None if the run was stopped meanwhile."""
        config = self.config
        x_T = start_noise(config, n, seed=0)
        for step in generate(network, config, x_T, label, steps=min(PREVIEW_STEPS, config.timesteps)):
            x0 = step.x
            if stopped():
                return None
        return to_uint8(x0, config.mean, config.std)
