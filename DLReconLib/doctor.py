"""What is installed, what is missing, and how to mend it."""

import os
import platform
import shutil
import sys
import tempfile
from typing import Any

from DLReconLib.dependencies.packages import State
from DLReconLib.dependencies.packages import examine as examine_packages
from DLReconLib.dependencies.remedies import import_remedy
from DLReconLib.models import ModelError, list_cards
from DLReconLib.shelves import VARIABLE, card_files, named_folders, user_folder


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
    states = examine_packages("train")
    findings += [_package(state) for state in states]
    if any(state.ok and state.package.name == "torch" for state in states):
        findings += _devices()
    try:
        findings += [_weights(card) for card in list_cards() if card.weights]
    except ModelError as error:
        findings.append(finding("models", False, str(error), "see what it says; else reinstall DLRecon"))
    findings += _shelves()
    findings += [_folder("temporary folder", tempfile.gettempdir()), _folder("working folder", os.getcwd())]
    return findings


def _package(state: State) -> dict[str, Any]:
    package = state.package
    optional = package.level != "classical"
    mend = state.mend and f"{state.mend} ({package.purpose})"
    if not state.ok and optional:
        mend += f"; pip install 'dlrecon[{package.level}]' brings all of its kind"
    left = f"; an uninstallation left {' and '.join(state.remains)}, which may go" if state.ok and state.remains else ""
    found = state.version + left if state.ok else state.text
    return finding(package.name, state.ok, found, mend, optional)


def _devices() -> list[dict[str, Any]]:
    try:
        from DLReconLib.devices import choose_device, choose_precision

        device = choose_device("auto")
        found = f"{device}, {choose_precision('auto', device)}"
    except (ImportError, OSError, RuntimeError) as error:
        said = f"{type(error).__name__}: {error}"
        return [finding("device", False, said, import_remedy(said, 1, "torch>=2.4,<2.14")[0], True)]
    return [finding("device", True, found)]


def _weights(card: Any) -> dict[str, Any]:
    try:
        card.checked_weights()
    except ModelError as error:
        mend = "reinstall DLRecon" if card.shipped else f"dlrecon remove {card.id}, and add it again"
        return finding(f"weights of {card.id}", False, str(error), mend, not card.shipped)
    return finding(f"weights of {card.id}", True, f"SHA-256 {card.sha256[:16]}... as in the card")


def _shelves() -> list[dict[str, Any]]:
    """The folders of further models."""
    findings = []
    for folder in (*named_folders(), user_folder()):
        there, left = folder.is_dir(), [*folder.glob(".adding-*"), *folder.glob(".removing-*")]
        found = f"{folder}, {len(card_files(folder))} models" if there else f"{folder}, not there"
        mend = f"correct ${VARIABLE}"
        if left:
            found, mend = f"{found}, {len(left)} unfinished", f"remove {', '.join(map(str, left))}"
        ok = not left and (there or folder == user_folder())
        findings.append(finding("models of your own", ok, found, mend, True))
    return findings


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
