"""What the notebooks build, in one small package: denoising diffusion, chapter by chapter.

schedules (01), diffusion (02), unet (03), training (04), sampling (05), guidance (07); around them data, figures and the command line.
"""

__version__ = "0.2.0"
