"""The cases of a batch: image files and DICOM series in a folder and below it, and where their results go."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

from DLReconLib.claims import extension
from DLReconLib.dicom import list_series
from DLReconLib.headers import FORMATS, is_dicom

DETACHED = (".mhd", ".nhdr")  # their voxels are in another file
LOSSY = (".jpg", ".jpeg")


@dataclass(frozen=True)
class Case:
    """One image to work on.

    name: path of the file, or of the folder and its series, below the source, with "/". path: file or folder.
    series: UID, "" for a file. files: all that the image is made of. output: below the target, with "/".
    trouble: why it cannot be read, found while looking for cases; else "".
    """

    name: str
    path: Path
    files: tuple[Path, ...]
    output: str
    series: str = ""
    trouble: str = ""

    def fingerprint(self) -> str:
        """SHA-256 of the files' contents, whatever their names. Raises OSError."""
        digests = []
        for path in self.files:
            with path.open("rb") as file:
                digests.append(_digest(file))
        return digests[0] if len(digests) == 1 else hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file. Raises OSError."""
    with path.open("rb") as file:
        return _digest(file)


def _digest(file) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def find_cases(source: Path, pattern: str = "*", target: Path | None = None, form: str = "") -> list[Case]:
    """The cases in a folder and below it, by name.

    pattern: of names ("*_T1w.nii.gz") or of paths below the source ("sub-0?/*"); a DICOM series counts where one of
    its files or its folder fits. target: a folder inside the source that is left out. form: extension of all
    outputs; "" keeps a file's own, and gives ".nrrd" where that cannot be written.

    Raises ValueError where the source is no folder or the format cannot be written.
    """
    if not source.is_dir():
        raise ValueError(f"{source}: wanted a folder of images; give `dlrecon run` a single file")
    if form and not (form in FORMATS and FORMATS[form].writable):
        known = ", ".join(e for e, kind in FORMATS.items() if kind.writable)
        raise ValueError(f"format {form!r}; wanted one of: {known}")
    found = []
    for folder, files in _walk(source, target):
        images, slices = [], False
        for path in files:
            kind = extension(path)
            if kind in FORMATS and kind != ".dcm":
                images.append(path)
            elif kind in (".dcm", ".ima") or is_dicom(path):
                slices = True
        found += [_of_file(path, source, form) for path in images if _fits(path, source, pattern)]
        if slices:
            found += _of_folder(folder, source, form, pattern)
    return sorted(_apart(found), key=lambda c: c.name)


def _walk(source: Path, target: Path | None) -> Iterator[tuple[Path, list[Path]]]:
    skipped = target.resolve() if target else None
    for here, folders, names in os.walk(source):
        folder = Path(here)
        folders[:] = sorted(f for f in folders if not f.startswith(".") and (folder / f).resolve() != skipped)
        yield folder, sorted(folder / n for n in names if not n.startswith(".") and (folder / n).is_file())


def _fits(path: Path, source: Path, pattern: str) -> bool:
    below = path.relative_to(source).as_posix()
    return fnmatch(path.name, pattern) or fnmatch(below, pattern)


def _of_file(path: Path, source: Path, form: str) -> Case:
    name, kind = path.relative_to(source).as_posix(), extension(path)
    files = (path,)
    if kind in DETACHED:
        files = tuple(sorted(p for p in path.parent.glob(f"{path.stem}.*") if p.is_file()))
    own = kind if FORMATS[kind].writable else ".png" if kind in LOSSY else ".nrrd"
    return Case(name, path, files, name[: -len(kind)] + (form or own))


def _of_folder(folder: Path, source: Path, form: str, pattern: str) -> list[Case]:
    """A case each series. A damaged file spoils the whole folder, because nobody knows which series it belongs to."""
    below = folder.relative_to(source).as_posix()
    stem = folder.resolve().name if below == "." else below
    try:
        series = list_series(folder)
    except (ValueError, OSError) as error:
        if "none that is one" in str(error):
            return []
        spoilt = Case(stem, folder, (), f"{stem}{form or '.nrrd'}", trouble=str(error))
        return [spoilt] if any(_fits(p, source, pattern) for p in (folder, *folder.iterdir())) else []
    cases = []
    for uid, files in series.items():
        if any(_fits(p, source, pattern) for p in (folder, *files)):
            name = stem if len(series) == 1 else f"{stem}/{uid}"
            cases.append(Case(name, folder, tuple(files), f"{name}{form or '.nrrd'}", series=uid))
    return cases


def _apart(cases: list[Case]) -> list[Case]:
    """No two outputs with one name, also where case makes no difference: scan.nii and scan.nrrd in one folder."""
    taken = Counter(c.output.lower() for c in cases)
    return [
        replace(c, output=f"{c.name}{extension(Path(c.output))}") if taken[c.output.lower()] > 1 else c for c in cases
    ]
