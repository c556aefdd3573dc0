"""A look at the machine that takes seconds, before anything is downloaded or trained: does the device really compute, and in which precision?

`torch.cuda.is_available()` is not enough: a torch without kernels for a GPU returns True and fails at the first operation.
"""

import shutil
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from ddpm_utils import __version__
from ddpm_utils.errors import InputError
from ddpm_utils.runtime.cache import cache_folder
from ddpm_utils.runtime.device import cpu_has_bf16, describe_device, precision_of

OLD_GPU_ADVICE = (
    "choose another accelerator (on Kaggle: GPU T4 x2), or install a torch built for CUDA 12.6, the last with kernels for sm_60 "
    "(2.14 at the latest, wheel index cu126)"
)


@dataclass(frozen=True)
class Finding:
    """One thing looked at. problem: what to do about it, or None if all is well. device: that it is about, such as "cpu" or "cuda:0"."""

    what: str
    found: str
    problem: str | None = None
    device: str | None = None


def examine(out: Path = Path(".")) -> list[Finding]:
    """All findings about versions, disk, and every device, each of which runs one real kernel."""
    findings = [
        Finding(
            "versions",
            f"ddpm_utils {__version__}, Python {sys.version.split()[0]}, torch {torch.__version__}, CUDA {torch.version.cuda or 'none'}",
        ),
        *(disk(name, folder) for name, folder in (("disk for runs", out), ("disk for decoded images", cache_folder()))),
        kernel("cpu"),
    ]
    if torch.backends.mps.is_available():
        findings.append(kernel("mps"))
    if not torch.cuda.is_available():
        built = (
            f"this torch is built for CUDA {torch.version.cuda}, but finds no GPU"
            if torch.version.cuda
            else "this torch is built without CUDA"
        )
        return [*findings, Finding("cuda", f"no GPU: {built}")]
    return findings + [cuda(index) for index in range(torch.cuda.device_count())]


def disk(name: str, folder: Path) -> Finding:
    """Free space where `folder` is, or will be."""
    existing = next(p for p in (folder, *folder.resolve().parents) if p.exists())
    free = shutil.disk_usage(existing).free / 1e9
    return Finding(
        name, f"{free:.1f} GB free", None if free > 1 else f"less than 1 GB is free in {str(existing)!r}; make room or use another folder"
    )


def cuda(index: int) -> Finding:
    """One GPU: is its architecture in torch's list, and does it compute?"""
    device = f"cuda:{index}"
    capability, architectures = torch.cuda.get_device_capability(index), torch.cuda.get_arch_list()
    if not supports(capability, architectures):
        problem = f"this torch has no kernels for sm_{capability[0]}{capability[1]}, only for {' '.join(architectures)}; {OLD_GPU_ADVICE}"
        return Finding(device, torch.cuda.get_device_name(index), problem, device)
    return kernel(device)


def supports(capability: tuple[int, int], architectures: list[str]) -> bool:
    """Whether a torch built for these architectures ("sm_75", "compute_90", …) runs on a GPU of this compute capability.

    Compiled kernels (sm) serve later minor versions of the same major one; portable code (compute) serves everything later.
    """
    major, minor = capability
    for name in architectures:
        kind, _, digits = name.partition("_")
        built = (int(digits.rstrip("af")[:-1]), int(digits.rstrip("af")[-1]))
        if (kind == "sm" and built[0] == major and built[1] <= minor) or (kind == "compute" and built <= (major, minor)):
            return True
    return False


def kernel(device: str) -> Finding:
    """Run one small matrix product and compare it with the exact result."""
    try:
        ones = torch.ones(64, 64, device=device)
        right = (ones @ ones == 64).all().item()
    except RuntimeError as error:
        problem = f"the first operation failed ({str(error).splitlines()[0]}); {OLD_GPU_ADVICE}"
        return Finding(device, "does not compute", problem, device)
    precision, why = precision_of(device)
    if device == "cpu" and cpu_has_bf16():
        why += "; a training measures whether bf16 is faster"
    problem = None if right else "a product of ones came out wrong; do not train on this device"
    return Finding(device, f"{describe_device(device)}, computes; precision {precision} ({why})", problem, device)


def as_json(findings: list[Finding]) -> dict:
    """For programs: {"findings": [{"what", "found", "problem", "device"}, …], "devices": {kind: how many, such as "cuda": 2}}."""
    kinds = Counter(finding.device.partition(":")[0] for finding in findings if finding.device)
    return {"findings": [asdict(finding) for finding in findings], "devices": dict(kinds)}


def check_device(device: str) -> None:
    """The part that a training run asks for before it touches data: raises InputError if `device` does not compute."""
    finding = cuda(torch.device(device).index or 0) if device.startswith("cuda") else kernel(device)
    if finding.problem:
        raise InputError(f"device {device} can't be used: {finding.problem}")
