"""A pipeline for diffusers that knows labels by name and networks of folded pixels. `export` puts it beside the weights.

It runs wherever diffusers does and imports nothing else of this project. A network with patch=p takes images whose p x p pixels lie behind each
other as channels: it is a plain UNet2DModel between a fold and an unfold.
"""

import inspect

import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput
from diffusers.utils.torch_utils import randn_tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle


class LabelledPipeline(DiffusionPipeline):
    """Images of a class, with classifier-free guidance.

    id2label: {"0": name, ...}; none for a network without labels, else the network's last embedding stands for no label.
    patch: pixels a side that are folded into channels. pixels: {"mean": [...], "std": [...]} of the network's images, in 0..1, one or one a channel.
    """

    def __init__(self, unet, scheduler, id2label=None, patch=1, pixels=None):
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)
        self.register_to_config(id2label=id2label, patch=patch, pixels=pixels or {"mean": [0.5], "std": [0.5]})

    @property
    def classes(self):
        """The labels' names, in order."""
        return [self.config.id2label[str(number)] for number in range(len(self.config.id2label or {}))]

    @torch.no_grad()
    def __call__(
        self,
        batch_size=1,
        labels=None,
        guidance_scale=1.0,
        generator=None,
        num_inference_steps=50,
        eta=0.0,
        output_type="pil",
        return_dict=True,
    ):
        """labels: a name, a number, or a list of them, one an image; None: no label. guidance_scale: 1 is plain, above 1 exaggerates.

        eta: of DDIM, 0 is deterministic. output_type: "pil", "np" (B, H, W, C) or "pt" (B, C, H, W), in 0..1.
        """
        numbers = self._numbers(labels, batch_size)
        patch, size = self.config.patch, self.unet.config.sample_size * self.config.patch
        shape = (batch_size, self.unet.config.in_channels // patch**2, size, size)
        image = self._even(randn_tensor(shape, generator=generator, device=self._execution_device, dtype=self.unet.dtype))
        wanted = {"generator": generator, "eta": eta, "use_clipped_model_output": True}
        known = inspect.signature(self.scheduler.step).parameters
        extra = {name: value for name, value in wanted.items() if name in known}
        self.scheduler.set_timesteps(num_inference_steps, device=self._execution_device)
        for t in self.progress_bar(self.scheduler.timesteps):
            output = self._predict(self.scheduler.scale_model_input(image, t), t, numbers, guidance_scale)
            image = self.scheduler.step(output, t, image, **extra).prev_sample
        mean, std = (torch.tensor(self.config.pixels[name]).view(1, -1, 1, 1).to(image) for name in ("mean", "std"))
        image = (image * std + mean).clamp(0, 1)
        if output_type != "pt":
            image = image.float().cpu().permute(0, 2, 3, 1).numpy()
            image = self.numpy_to_pil(image) if output_type == "pil" else image
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=image) if return_dict else (image,)

    def _even(self, noise):
        """The noise (B, C, H, W), each pixel of a patch with the same mean over all patches, which a network that predicts noise or v can't see."""
        patch = self.config.patch
        if patch == 1 or self.scheduler.config.prediction_type == "sample":
            return noise
        pixels = pixel_unshuffle(noise, patch).unflatten(1, (-1, patch**2))
        means = pixels.mean((3, 4), keepdim=True)
        return pixel_shuffle((pixels - means + means.mean(2, keepdim=True)).flatten(1, 2), patch)

    def _predict(self, image, t, numbers, scale):
        """The network's output for images (B, C, H, W), guided where there are labels and a scale."""
        folded = pixel_unshuffle(image, self.config.patch)
        if numbers is None:
            return pixel_shuffle(self.unet(folded, t).sample, self.config.patch)
        output = self.unet(folded, t, class_labels=numbers).sample
        if scale != 1:
            none = self.unet(folded, t, class_labels=torch.full_like(numbers, len(self.classes))).sample
            output = none + scale * (output - none)
        return pixel_shuffle(output, self.config.patch)

    def _numbers(self, labels, batch_size):
        """The labels (B,) as numbers; None for a network without labels."""
        classes = self.classes
        if not classes:
            if labels is not None:
                raise ValueError(f"this network has no labels, got labels={labels!r}")
            return None
        if labels is None:
            labels = len(classes)
        labels = labels if isinstance(labels, (list, tuple)) else [labels] * batch_size
        if len(labels) != batch_size:
            raise ValueError(f"labels must be one, or batch_size={batch_size} of them, got {len(labels)}")
        numbers = [classes.index(label) if label in classes else label for label in labels]
        if wrong := [number for number in numbers if not isinstance(number, int) or not 0 <= number <= len(classes)]:
            raise ValueError(f"a label must be a number from 0 to {len(classes) - 1} or one of {', '.join(classes)}, got {wrong[0]!r}")
        return torch.tensor(numbers, device=self._execution_device)
