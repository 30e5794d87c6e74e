"""What is installed, what is missing, and how to mend it."""

import os
import platform
import shutil
import sys
import tempfile
from importlib import metadata, util
from typing import Any

from DLReconLib.models import ModelError, list_cards

REQUIRED = {"numpy": "numpy", "scipy": "scipy", "scikit-image": "skimage", "SimpleITK": "SimpleITK"}
OPTIONAL = {
    "torch": ("torch", "pip install 'dlrecon[learned]': without it only the classical methods work"),
    "safetensors": ("safetensors", "pip install 'dlrecon[learned]'"),
    "monai": ("monai", "pip install 'dlrecon[train]': training, and networks of MONAI"),
    "matplotlib": ("matplotlib", "pip install 'dlrecon[train]': plots of training"),
}


def finding(what: str, ok: bool, found: object, mend: str = "", optional: bool = False) -> dict[str, Any]:
    return {"what": what, "ok": ok, "found": found, "mend": mend, "optional": optional}


def examine() -> list[dict[str, Any]]:
    """One finding each: what, ok, found, mend (what to do), optional (whether one can do without)."""
    python = sys.version_info
    findings = [
        finding("Python", (3, 10) <= python[:2] <= (3, 13), platform.python_version(), "use Python 3.10 to 3.13"),
        finding("memory", True, f"{memory_gib():.1f} GiB in all" if memory_gib() else "unknown"),
        finding("processor cores", True, os.cpu_count()),
    ]
    for package, module in REQUIRED.items():
        findings.append(_package(package, module, f"pip install {package}", False))
    for package, (module, mend) in OPTIONAL.items():
        findings.append(_package(package, module, mend, True))
    if util.find_spec("torch"):
        findings += _devices()
    try:
        findings += [_weights(card) for card in list_cards() if card.weights]
    except ModelError as error:
        findings.append(finding("models", False, str(error), "reinstall DLRecon"))
    findings += [_folder("temporary folder", tempfile.gettempdir()), _folder("working folder", os.getcwd())]
    return findings


def _package(package: str, module: str, mend: str, optional: bool) -> dict[str, Any]:
    there = util.find_spec(module) is not None
    try:
        version = metadata.version(package) if there else "not installed"
    except metadata.PackageNotFoundError:
        version = "version unknown"
    return finding(package, there, version, mend, optional)


def _devices() -> list[dict[str, Any]]:
    try:
        from DLReconLib.devices import choose_device, choose_precision

        device = choose_device("auto")
        found = f"{device}, {choose_precision('auto', device)}"
    except (ImportError, OSError, RuntimeError) as error:
        mend = "the installation of torch is broken: pip install --force-reinstall 'torch<2.14'"
        return [finding("device", False, f"{type(error).__name__}: {error}", mend, True)]
    return [finding("device", True, found)]


def _weights(card: Any) -> dict[str, Any]:
    try:
        card.checked_weights()
    except ModelError as error:
        return finding(f"weights of {card.id}", False, str(error), "reinstall DLRecon")
    return finding(f"weights of {card.id}", True, f"SHA-256 {card.sha256[:16]}... as in the card")


def _folder(what: str, path: str) -> dict[str, Any]:
    free = shutil.disk_usage(path).free / 2**30
    ok = os.access(path, os.W_OK) and free > 1
    return finding(what, ok, f"{path}, {free:.1f} GiB free", "free some space, or choose another folder", True)


def memory_gib() -> float:
    """Memory of the machine in GiB, 0 where it cannot be found out."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):
        return 0.0
