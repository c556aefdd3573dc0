"""diffusers, imported where torchvision's operators may be missing, and kept from writing into the user's folders."""

import pytest

from ddpm_utils.runtime.torchvision_shim import import_torchvision

import_torchvision()
import diffusers  # noqa: E402
from diffusers.utils import dynamic_modules_utils, logging  # noqa: E402

logging.disable_progress_bar()
logging.set_verbosity_error()


@pytest.fixture(scope="session", autouse=True)
def modules_cache(tmp_path_factory):
    """The code that comes with weights is copied here before it is run. Imported by the tests that open such folders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dynamic_modules_utils, "HF_MODULES_CACHE", str(tmp_path_factory.mktemp("modules")))
        yield


def opened(folder, kind=diffusers.DiffusionPipeline):
    """The pipeline in a folder, as a user of diffusers opens it."""
    pipeline = kind.from_pretrained(str(folder), trust_remote_code=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
