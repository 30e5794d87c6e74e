"""The steps that bring what is missing and mend what is broken, and their execution.

Slicer does not come in here: whoever installs is passed to install(). In Slicer these are

    pip        lambda requirements, options: slicer.util.pip_install([*options, *requirements]), or without options
               slicer.packaging.pip_ensure(list(requirements), requester="DLRecon") (5.11 and later)
    uninstall  lambda names: slicer.util.pip_uninstall(list(names))
    torch      lambda versions: PyTorchUtils.PyTorchUtilsLogic().installTorch(torchVersionRequirement=versions)
"""

import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from DLReconLib.dependencies.packages import (
    CUDA_DISK,
    CUDA_DOWNLOAD,
    Package,
    State,
    examine,
    installed_versions,
    look,
    needed,
    site_folder,
)
from DLReconLib.dependencies.remedies import install_remedy
from DLReconLib.dependencies.wheels import download_command, lacking
from DLReconLib.progress import Cancelled, Progress, silent

PYTHONS = ((3, 10), (3, 13))
SPARE = 500  # MB that stay free


class DependencyError(RuntimeError):
    """Something could not be installed. The message says what, why, and what to do next."""


@dataclass(frozen=True)
class Step:
    """One thing to do. kind: "remove" (folders), "uninstall", "pip" or "torch"."""

    kind: str
    title: str  # for the user
    items: tuple[str, ...]  # folders to remove, names to uninstall, requirements to install
    options: tuple[str, ...] = ()  # of pip
    download: int = 0  # MB
    disk: int = 0  # MB
    source: str = ""  # where it comes from


def plan(
    level: str = "learned",
    *,
    states: Iterable[State] | None = None,
    wheels: str | Path | None = None,
    cuda: bool | None = None,
) -> list[Step]:
    """The steps to a state in which all packages of a level are there; [] where they are, or where no step helps.

    level: "classical" (no PyTorch), "learned" or "train". states: of packages.examine(), which is asked by default.
    wheels: a folder of wheels to install from, without the internet. cuda: whether torch will come with CUDA, which
    only changes the sizes; found out by default. Raises ValueError for an unknown level.
    """
    wanted = needed(level)
    states = examine(level) if states is None else states
    bad = [s for s in states if s.package in wanted and s.kind not in ("present", "refused")]
    cuda = shutil.which("nvidia-smi") is not None if cuda is None else cuda
    steps = []
    remains = tuple(dict.fromkeys(folder for state in bad for folder in state.remains))
    if remains:
        steps.append(Step("remove", "Remove what a broken-off installation left", remains))
    # pip takes what is recorded for installed, whatever became of its files.
    recorded = tuple(state.package.name for state in bad if state.kind in ("empty", "broken"))
    if recorded:
        steps.append(Step("uninstall", f"Uninstall {', '.join(recorded)}", recorded))
    options = ("--no-index", "--find-links", str(wheels)) if wheels else ()
    source = str(wheels) if wheels else "the Python Package Index"
    others = [state.package for state in bad if state.package.name != "torch"]
    if others:
        steps.append(_pip_step(others, options, source))
    for torch in (state.package for state in bad if state.package.name == "torch"):
        if wheels:
            steps.append(_pip_step([torch], options, source))
        else:
            download, disk = (CUDA_DOWNLOAD, CUDA_DISK) if cuda else (torch.download, torch.disk)
            source = "download.pytorch.org or the Python Package Index"
            steps.append(Step("torch", "Install PyTorch", (torch.requirement,), (), download, disk, source))
    return steps


def _pip_step(packages: list[Package], options: tuple[str, ...], source: str) -> Step:
    title = f"Install {', '.join(p.name for p in packages)}"
    download = 0 if options else sum(p.download for p in packages)
    requirements = tuple(p.requirement for p in packages)
    return Step("pip", title, requirements, options, download, sum(p.disk for p in packages), source)


def summary(steps: list[Step]) -> str:
    """The steps for a user who is to agree to them: one line each, with sizes and where from."""
    return "\n".join(
        f"- {step.title}" + (f": {step.download or step.disk} MB from {step.source}" if step.source else "")
        for step in steps
    )


def install(
    steps: list[Step],
    *,
    pip: Callable[[tuple[str, ...], tuple[str, ...]], object] | None = None,
    torch: Callable[[str], object] | None = None,
    uninstall: Callable[[tuple[str, ...]], object] | None = None,
    progress: Progress = silent,
    folder: str | Path | None = None,
    paths: list[str] | None = None,
) -> None:
    """Carry out the steps of plan(), and look whether everything is there then.

    pip(requirements, options), uninstall(names) and torch(versions, such as ">=2.4,<2.14") do the work; by default the
    pip of this Python does. torch() returns None where the user declined. folder: where packages are installed to, for
    the check of free space. paths: where to look afterwards, sys.path by default.

    Raises DependencyError: before anything is done where the Python does not suit, the space is not enough or the
    folder of wheels lacks something; afterwards where a step failed. Cancelled comes through from progress: what is
    done by then stays, and plan() finds the rest.
    """
    if not steps:
        return
    check_python()
    check_space(steps, Path(folder or site_folder()))
    check_wheels(steps, installed_versions(paths))
    pip, uninstall = pip or run_pip, uninstall or uninstall_by_pip
    torch = torch or (lambda versions: pip((f"torch{versions}",), ()) or True)
    actions = {
        "remove": lambda step: [_remove(Path(item)) for item in step.items],
        "uninstall": lambda step: uninstall(step.items),
        "pip": lambda step: pip(step.items, step.options),
        "torch": lambda step: _torch(torch, step),
    }
    whole = sum(step.disk + 1 for step in steps)
    done = 0
    for step in steps:
        progress(done / whole, step.title)
        try:
            actions[step.kind](step)
        except (Cancelled, DependencyError):
            raise
        except Exception as error:  # whatever the caller's installer raises
            raise DependencyError(f"{step.title}: failed. {install_remedy(_said(error))}\n({error})") from error
        done += step.disk + 1
    _check_result(steps, paths)
    progress(1.0, "Everything is installed")


def _torch(torch: Callable[[str], object], step: Step) -> None:
    if torch(step.items[0].removeprefix("torch")) is None:
        raise DependencyError(f"{step.title}: declined. {install_remedy('declined')}")


def _check_result(steps: list[Step], paths: list[str] | None) -> None:
    asked = {item for step in steps if step.kind in ("pip", "torch") for item in step.items}
    states = [look(package, paths) for package in needed("train") if package.requirement in asked]
    bad = [state for state in states if not state.ok]
    if bad:
        texts = "; ".join(f"{state.text}: {state.mend}" for state in bad)
        raise DependencyError(f"The installation said that it succeeded, but {texts}. Restart, then try again.")


def check_python() -> None:
    """Raises DependencyError where packages do not exist for this Python."""
    if not PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        raise DependencyError(
            f"Python {platform.python_version()} does not suit; wanted 3.10 to 3.13. Use Slicer 5.10 or later, or make "
            "an environment with a Python that suits."
        )


def check_space(steps: list[Step], folder: Path) -> None:
    """Raises DependencyError where a disk is too full for the packages, or for what is downloaded meanwhile."""
    disks: dict[int, tuple[Path, int]] = {}
    for place, megabytes in (
        (folder, sum(step.disk for step in steps)),
        (Path(tempfile.gettempdir()), sum(step.download for step in steps)),
    ):
        there = next(p for p in (place, *place.parents) if p.exists())
        first, already = disks.get(there.stat().st_dev, (there, 0))
        disks[there.stat().st_dev] = (first, already + megabytes)
    for place, megabytes in disks.values():
        free = shutil.disk_usage(place).free / 1e6
        if megabytes and free < megabytes + SPARE:
            raise DependencyError(
                f"The disk of {place} has {free / 1000:.1f} GB free; wanted {(megabytes + SPARE) / 1000:.1f} GB. "
                "Free some space; downloads pass through the folder that TMPDIR names."
            )


def check_wheels(steps: list[Step], installed: dict[str, str]) -> None:
    """Raises DependencyError where a folder of wheels does not hold what is to be installed from it."""
    offline = [step for step in steps if "--find-links" in step.options]
    if not offline:
        return
    folder = Path(offline[0].options[-1])
    requirements = [item for step in offline for item in step.items]
    if not folder.is_dir():
        raise DependencyError(
            f"The folder of wheels {folder} does not exist. Choose the one that holds the .whl files."
        )
    # What is uninstalled first does not count as there.
    gone = {name for step in steps if step.kind == "uninstall" for name in step.items}
    sentences = lacking(folder, requirements, {n: v for n, v in installed.items() if n not in gone})
    if sentences:
        raise DependencyError(
            f"The folder {folder} lacks wheels that suit Python {platform.python_version()} on {sys.platform} "
            f"{platform.machine()}:\n" + "\n".join(f"- {sentence}" for sentence in sentences)
            + "\nFill it on a machine of the same kind that has the internet:\n" + download_command(requirements)
        )  # fmt: skip


def _remove(folder: Path) -> None:
    """Delete a remainder; plan() names only folders that no working package has."""
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)
    else:
        folder.unlink(missing_ok=True)


def _said(error: Exception) -> str:
    """All the text of an error and of the process behind it. (Slicer's holds closed streams instead of text.)"""
    parts = [type(error).__name__, str(error), getattr(error, "stdout", ""), getattr(error, "stderr", "")]
    return "\n".join(part for part in parts if isinstance(part, str))


def run_pip(requirements: tuple[str, ...], options: tuple[str, ...]) -> None:
    """`pip install` of this Python. Raises subprocess.CalledProcessError, with its output, where it fails."""
    _run([sys.executable, "-m", "pip", "install", "--disable-pip-version-check", *options, *requirements])


def uninstall_by_pip(names: tuple[str, ...]) -> None:
    """`pip uninstall` of this Python. Raises subprocess.CalledProcessError, with its output, where it fails."""
    _run([sys.executable, "-m", "pip", "uninstall", "--yes", *names])


def _run(command: list[str]) -> None:
    subprocess.run(command, capture_output=True, text=True, errors="replace", check=True, stdin=subprocess.DEVNULL)
