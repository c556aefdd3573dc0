"""Names that may be chosen, where several files need them. Imports nothing, so that the command line can name them without torch."""

SCHEDULES = ("linear", "cosine", "sigmoid", "flow")  # NoiseSchedule.named
PREDICTIONS = ("eps", "x0", "v", "mean", "flow")  # diffusion.to_x0
LOSSES = ("l2", "l1", "huber")  # diffusion.training_loss
WEIGHTINGS = ("plain", "min-snr")  # diffusion.loss_weights
VARIANCES = ("small", "large")  # diffusion.model_variance
SAMPLERS = ("ddim", "ddpm", "dpm", "heun")  # generate.generate
FORMS = ("regression", "palette", "residual", "resshift")  # restoration/formulations.py
HINTS = ("canny", "lines", "scribble")  # control/hints.py draws them from any image
EXACT_HINTS = ("segmentation", "depth")  # known of toy cars alone
PRECISIONS = ("fp32", "fp16", "bf16")  # runtime/device.py
OPTIMIZERS = ("adamw", "adam")  # training/trainer.py
BOARDS = ("tensorboard", "wandb")  # training/boards.py
DECAYS = ("constant", "cosine")  # of the learning rate
DRAWS = ("host", "device")  # training/batches.py: where a step's noise is drawn
FITS = ("crop", "squash", "pad")  # data/images.py: how a photograph becomes square
CROPS = ("whole", "boxes")  # data/published_sets.py knows the boxes
LABELS = ("model", "body")  # of Stanford Cars
