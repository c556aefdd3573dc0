"""Takes ddpm_utils out of the text of the file that carries it: kaggle/build.py puts this, filled, into kernels and standalone notebooks."""

import base64
import hashlib
import io
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE_SHA256 = ""
PACKAGE = ""


def unpack_ddpm_utils() -> Path:
    """Unpack the embedded package into a scratch folder, which Python then imports from; returns the folder."""
    data = base64.b64decode(PACKAGE)
    if hashlib.sha256(data).hexdigest() != PACKAGE_SHA256:
        raise ValueError("the copy of ddpm_utils inside this file is damaged (its SHA-256 is another); build or download the file again")
    folder = Path(tempfile.mkdtemp(prefix="ddpm_utils-"))
    zipfile.ZipFile(io.BytesIO(data)).extractall(folder)
    sys.path.insert(0, str(folder))
    return folder
