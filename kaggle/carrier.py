"""The text of a kernel: kernel.py with its constants filled in, the modules that it imports, and ddpm_utils as a zip inside it."""

import ast
import base64
import hashlib
import io
import re
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PACKAGE = ROOT / "ddpm_utils"
PARTS = ("outcomes", "session_report", "unpack")  # of these modules the text becomes a part of the kernel
MAIN = '\n\nif __name__ == "__main__":'
SOURCE_BYTES = 1_000_000  # Kaggle refuses a source of so many bytes


def small_kernel_text(constants: dict) -> str:
    """from_dataset.py with its constants filled in."""
    return filled((HERE / "from_dataset.py").read_text(), constants)


def kernel_text(constants: dict) -> str:
    """kernel.py with its constants filled in, and its parts and the package before its last lines."""
    functions, main = (HERE / "kernel.py").read_text().split(MAIN)
    functions = filled(functions, constants)
    for part in PARTS:
        functions, count = re.subn(rf"^from {part} import .*\n", "", functions, flags=re.M)
        if count != 1:
            raise ValueError(f"kernel.py imports {part} {count} times, not once")
    texts = [(HERE / f"{part}.py").read_text() for part in PARTS]
    texts[-1] = carrying(texts[-1])
    return "\n\n".join([functions, *(text.rstrip() + "\n" for text in texts)]).rstrip() + "\n" + MAIN + main


def filled(text: str, constants: dict) -> str:
    """The text with values for its constants."""
    for name, value in constants.items():
        text = replaced(text, name, value)
    return text


def replaced(text: str, name: str, value) -> str:
    """The text with another value for the constant `name`, which stands on a line of its own."""
    line = f"{name} = {value!r}" if not isinstance(value, str) else f'{name} = "{value}"'
    found, count = re.subn(rf"^{name} = .*$", lambda _: line, text, flags=re.M)
    if count != 1:
        raise ValueError(f"{name} stands on {count} lines of the template, not on one")
    return found


def carrying(text: str) -> str:
    """unpack.py with the package in it."""
    data = package_bytes()
    encoded = base64.b64encode(data).decode()
    text = replaced(text, "PACKAGE_SHA256", hashlib.sha256(data).hexdigest())
    lines = "\n".join(encoded[i : i + 120] for i in range(0, len(encoded), 120))
    return text.replace('PACKAGE = ""', f'PACKAGE = """\n{lines}\n"""')


def package_bytes() -> bytes:
    """The code of ddpm_utils as a zip, always with the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(PACKAGE.rglob("*.py")):
            entry = zipfile.ZipInfo(path.relative_to(ROOT).as_posix())  # dated 1980, so that time leaves no trace
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED, 9)
    return buffer.getvalue()


def built(folder: Path) -> dict:
    """The job in a built folder: its settings, with "chain" and "session"."""
    text = (Path(folder) / "kernel.py").read_text()
    chain, session, job = (ast.literal_eval(re.search(rf"^{name} = (.*)$", text, re.M)[1]) for name in ("CHAIN", "SESSION", "JOB"))
    return {**job, "chain": chain, "session": session}
