"""A Python that has the packages of this one but not this repository, and that no connection to anything but itself can leave."""

import os
import site
import subprocess
import sys
from pathlib import Path

NO_NETWORK = '''"""Imported by Python at its start: refuses every connection that would leave this machine."""
import socket

def refuse(address):
    if isinstance(address, tuple) and str(address[0]) not in ("127.0.0.1", "::1", "localhost", socket.gethostname()):
        raise OSError(101, f"no network here: {address[0]}")

class Socket(socket.socket):
    def connect(self, address):
        refuse(address)
        return super().connect(address)

    def connect_ex(self, address):
        refuse(address)
        return super().connect_ex(address)

original = socket.getaddrinfo
socket.socket = Socket
socket.getaddrinfo = lambda host, *rest, **more: (refuse((host,)) if host else None, original(host, *rest, **more))[1]
'''
MISSING = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in NAMES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
"""


def bare_python(folder: Path, without: tuple[str, ...] = ()) -> Path:
    """The interpreter of a new environment in `folder`. without: packages that it lacks as well."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (own,) = folder.glob("lib/python*/site-packages")
    others = [p for p in sys.path if p.endswith("site-packages")] or site.getsitepackages()
    (own / "others.pth").write_text("\n".join(others) + "\n")  # plain paths: what is installed there in place stays out
    (own / "sitecustomize.py").write_text(f"{NO_NETWORK}\nNAMES = {without}\n{MISSING}")
    python = folder / "bin" / "python"
    check = "import socket, importlib.util as u; assert u.find_spec('ddpm_utils') is None and socket.socket.__name__ == 'Socket'"
    subprocess.run([python, "-c", check], check=True, cwd=folder, env=bare_environment())
    return python


def bare_environment(**more: str) -> dict[str, str]:
    """The variables of this process without those that lead Python to this repository, and with some more."""
    return {**{k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "DDPM_CACHE", "VIRTUAL_ENV")}, "OMP_NUM_THREADS": "1", **more}
