"""The names that __init__.py hands on from api.py, for programs that check types."""

from ddpm_utils.api import InputError as InputError
from ddpm_utils.api import NoiseSchedule as NoiseSchedule
from ddpm_utils.api import TrainedModel as TrainedModel
from ddpm_utils.api import UNet as UNet
from ddpm_utils.api import UNetConfig as UNetConfig
from ddpm_utils.api import ddim as ddim
from ddpm_utils.api import ddpm as ddpm
from ddpm_utils.api import dpm_solver as dpm_solver
from ddpm_utils.api import load as load
from ddpm_utils.api import make_denoiser as make_denoiser
from ddpm_utils.api import shipped_models as shipped_models

__version__: str
