"""Chapter 06: images retouched, from pairs."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from ddpm_utils.data.images import ImageSet, to_float, to_uint8
from ddpm_utils.data.pairs import PairSet
from ddpm_utils.errors import InputError
from ddpm_utils.models import Model
from ddpm_utils.restoration.formulations import STEPS, restoration_loss, restore
from ddpm_utils.training.batches import Batch, Draw
from ddpm_utils.training.task import Predict, Preview, UNetTask, spread_rows


class RestorationTask(UNetTask):
    """A U-Net that is given the source beside its input, and predicts the change mask beside its target. config.task: a `Restoration`."""

    def check(self, data: ImageSet) -> None:
        """Refuse single images."""
        if not isinstance(data, PairSet):
            raise InputError(f"form {self.config.task.form!r} needs pairs of images, these are single ones; pass a paired folder")

    def complete(self, batch: Batch, data: PairSet, draw: Draw) -> Batch:
        """Source and change mask of each pair; ResShift moves a share of the pairs to step T-1."""
        config, task, t = self.config, self.config.task, batch.t
        if task.first_step_share is not None:
            t = t.masked_fill(draw.chance(task.first_step_share), config.timesteps - 1)
        mask = torch.from_numpy(draw.pick(data.masks[..., None])).permute(0, 3, 1, 2).float()  # (B, 1, H, W)
        return batch._replace(t=t, source=to_float(draw.pick(data.sources), config.mean, config.std), mask=mask)

    def losses(self, predict: Predict, batch: Batch) -> Tensor:
        """The distance between prediction and target, retouched pixels counting more, and the mask's cross-entropy: (B,)."""
        return restoration_loss(predict, self.config.task, batch.source, batch.x0, batch.mask, t=batch.t, eps=batch.eps)

    def preview(self, network: nn.Module, data: PairSet, stopped: Callable[[], bool]) -> Preview | None:
        """Eight pairs in three rows: as taken, as the network retouches them, as the retoucher did."""
        rows = spread_rows(len(data), 8)
        source = to_float(data.sources[rows]).to(next(network.parameters()).device)
        steps = min(STEPS[self.config.task.form], self.config.timesteps)
        restored = source + restore(Model(network, self.config, (), {}), source, steps=steps).residual
        return Preview(np.concatenate([data.sources[rows], to_uint8(restored), data.images[rows]]), columns=len(rows))
