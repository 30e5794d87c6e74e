"""What DLRecon needs, and what of it is missing, half installed or broken.

Nothing is imported to find out: Python's records of installed packages (PEP 376) are compared with the files.
dependencies.py mends what is found here.
"""

import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import re
import site
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from email import message_from_string
from pathlib import Path

from DLReconLib.dependencies.remedies import import_remedy
from DLReconLib.dependencies.wheels import canonical, satisfies


@dataclass(frozen=True)
class Package:
    name: str  # as it is installed
    module: str  # as it is imported
    versions: str  # accepted, as in a requirement
    purpose: str
    download: int  # MB, with what it needs itself (CPython 3.12, Linux)
    disk: int  # MB, likewise, once unpacked
    level: str  # one of LEVELS
    shipped: bool = False  # comes with Slicer, perhaps without a record

    @property
    def requirement(self) -> str:
        return self.name + self.versions


LEVELS = ("classical", "learned", "train")  # each with all before it
PACKAGES = (
    Package("numpy", "numpy", ">=1.26", "arrays", 16, 53, "classical", True),
    Package("scipy", "scipy", ">=1.11", "filters", 36, 112, "classical", True),
    Package("scikit-image", "skimage", ">=0.22", "classical methods", 25, 55, "classical"),
    Package("SimpleITK", "SimpleITK", ">=2.3", "image files", 53, 274, "classical", True),
    Package("torch", "torch", ">=2.4,<2.14", "learned models", 200, 900, "learned"),
    Package("safetensors", "safetensors", ">=0.4", "weight files", 1, 2, "learned"),
    Package("monai", "monai", ">=1.4", "training", 2, 7, "train"),
    Package("matplotlib", "matplotlib", ">=3.8", "plots", 20, 45, "train"),
)
CUDA_DOWNLOAD, CUDA_DISK = 2900, 6500  # MB of torch with all that an NVIDIA card needs


@dataclass(frozen=True)
class State:
    """What there is of a package. kind: "present", or what is wrong.

    missing: nothing of it; version: not a suitable one; empty: recorded as installed, without its files; unrecorded:
    files that Python's records do not know; interrupted: an installation that did not end; broken: fails when imported;
    refused: likewise, and installing it again would not help.
    """

    package: Package
    kind: str
    version: str = ""
    text: str = ""  # what was found, for the user
    mend: str = ""  # what to do, for the user; "" where all is well
    remains: tuple[str, ...] = ()  # folders that only stand in the way

    @property
    def ok(self) -> bool:
        return self.kind == "present"


def needed(level: str = "learned") -> tuple[Package, ...]:
    """The packages of a level and of those before it. Raises ValueError for an unknown level."""
    if level not in LEVELS:
        raise ValueError(f"level {level!r} does not exist; choose one of {', '.join(LEVELS)}")
    return tuple(p for p in PACKAGES if LEVELS.index(p.level) <= LEVELS.index(level))


def look(package: Package, paths: list[str] | None = None) -> State:
    """What there is of a package.

    paths: the folders Python looks into, sys.path by default.
    """
    importlib.invalidate_caches()
    found = importlib.metadata.distributions(name=package.name, path=sys.path if paths is None else paths)
    records = list({str(getattr(record, "_path", record)): record for record in found}.values())
    spec = _find(package.module, paths)
    remains = leftovers(package, paths)
    if spec and spec.origin is None:  # a folder without __init__.py: an uninstallation could not delete all of it
        husks = tuple(spec.submodule_search_locations or ())
        # A folder of that name elsewhere on the path, such as the current one, is somebody's own.
        remains += tuple(husk for husk in husks if _is_site(str(Path(husk).parent), paths))
        spec = None
    version = (_field(records[0], "Version") if records else "") or "version unknown"
    install = (f"remove {' and '.join(remains)}, then " if remains else "") + f"install {package.requirement}"
    undone = _undone([record for record in records if _is_site(str(Path(str(record.locate_file("")))), paths)])
    if undone:
        text = f"{package.name} {version}: an installation did not end"
        remains = (*remains, *undone)
        mend = f"remove {' and '.join(remains)}, then install {package.requirement}"
        return State(package, "interrupted", version, text, mend, remains)
    if records and not spec:
        text = f"{package.name} {version} is recorded as installed, but its files are gone"
        return State(package, "empty", version, text, f"uninstall {package.name}; {install}", remains)
    if not spec:
        text = f"{package.name} is not installed" + (f"; {' and '.join(remains)} was left behind" if remains else "")
        return State(package, "missing", "", text, install, remains)
    if not records and _is_site(str(Path(spec.origin).parents[1]), paths) and not package.shipped:
        text = f"{package.name} lies in {Path(spec.origin).parent}, but is not recorded as installed"
        return State(package, "unrecorded", version, text, f"{install}: it replaces the files", remains)
    if records and version != "version unknown" and not satisfies(version, package.versions):
        text = f"{package.name} {version} does not suit; wanted {package.versions}"
        return State(package, "version", version, text, install, remains)
    return State(package, "present", version, f"{package.name} {version}", "", remains)


def examine(level: str = "learned", paths: list[str] | None = None, python: str | None = None) -> list[State]:
    """The state of every package of a level.

    python: an executable that tries to import torch, in a process of its own (some seconds); None tries nothing.
    """
    states = [look(package, paths) for package in needed(level)]
    if python:
        states = [try_import(s, python) if s.ok and s.package.name == "torch" else s for s in states]
    return states


def try_import(state: State, python: str, timeout: float = 180) -> State:
    """The state again, "broken" where the import fails: in a process of its own, because a bad torch ends it."""
    code = f"import {state.package.module}"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        kind, text = "refused", f"importing {state.package.name} took more than {timeout:.0f} s"
        mend = "restart the computer and try again"
    except OSError as error:
        kind, text, mend = "refused", f"{python} could not be started: {error}", "give the path of a Python"
    else:
        if done.returncode == 0:
            return state
        last = (done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"])[-1]
        text = f"{state.package.name} {state.version} fails when it is imported: {last}"
        mend, again = import_remedy(done.stderr, done.returncode, state.package.requirement)
        kind = "broken" if again else "refused"
    return State(state.package, kind, state.version, text, mend, state.remains)


def leftovers(package: Package, paths: list[str] | None = None) -> tuple[str, ...]:
    """What interrupted uninstallations of pip left: it first renames "torch" to "~orch", "~-rch" and so on."""
    found = []
    for folder in sys.path if paths is None else paths:
        if _is_site(folder, paths) and Path(folder).is_dir():
            found += [str(p) for p in Path(folder).glob("~*") if _is_remainder(p.name, package)]
    return tuple(sorted(set(found)))


def _is_remainder(folder: str, package: Package) -> bool:
    rest = re.split(r"-\d", folder[1:].lstrip("-~.=%0123456789"))[0].lower()  # without "-2.9.dist-info"
    names = (package.module.lower(), package.name.lower().replace("-", "_"))
    return any(rest == name[n:] for name in names for n in range(1, len(name)))


def _find(module: str, paths: list[str] | None) -> importlib.machinery.ModuleSpec | None:
    if paths is not None:
        return importlib.machinery.PathFinder.find_spec(module, paths)
    try:
        return importlib.util.find_spec(module)
    except ValueError:  # imported already, by something that gave it no spec
        return importlib.machinery.PathFinder.find_spec(module)


def _field(record: importlib.metadata.Distribution, name: str) -> str:
    """A field of the record, "" where a broken-off installation left none."""
    text = record.read_text("METADATA") or record.read_text("PKG-INFO") or ""
    return message_from_string(text).get(name) or ""


def _undone(records: list[importlib.metadata.Distribution]) -> tuple[str, ...]:
    """The folders of records that a broken-off installation left.

    pip writes INSTALLER and RECORD last (those who repack for a system leave out RECORD only), and an upgrade takes
    the old record away: two in one folder are one too many, and the last whole one is as good as none.
    """
    folders = [str(getattr(record, "_path", "")) for record in records]
    halves = [
        folder
        for folder, record in zip(folders, records, strict=True)
        if folder.endswith(".dist-info") and not any(record.read_text(name) for name in ("RECORD", "INSTALLER"))
    ]
    parents = [str(Path(folder).parent) for folder in folders]
    twins = [folder for folder, parent in zip(folders, parents, strict=True) if parents.count(parent) > 1]
    return tuple(dict.fromkeys(halves + twins))


def _is_site(folder: str, paths: list[str] | None) -> bool:
    """Whether packages are installed there: what lies elsewhere on the path is not ours to judge."""
    if paths is not None:
        return folder in paths
    return str(Path(folder)) in {str(Path(f)) for f in (site_folder(), *site.getsitepackages())}


def site_folder() -> str:
    """Where this Python installs packages."""
    return sysconfig.get_path("purelib")


def installed_versions(paths: list[str] | None = None) -> dict[str, str]:
    """The versions of all that is recorded as installed, by canonical name."""
    records = importlib.metadata.distributions(path=sys.path if paths is None else paths)
    return {canonical(_field(record, "Name")): _field(record, "Version") for record in records}
