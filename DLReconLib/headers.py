"""Open an image file as far as its header, and refuse what the file cannot hold before anything is allocated.

SimpleITK believes a header: it allocates what is claimed, and NIfTI files cut short come back filled with zeros.
"""

import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from DLReconLib import claims
from DLReconLib.volume import Geometry


@dataclass(frozen=True)
class Format:
    """A kind of file: its name in Volume.origin_format, SimpleITK's reader, how its files begin, may we write it."""

    name: str
    image_io: str
    magic: tuple[bytes, ...] = (b"",)
    writable: bool = True


DICOM = Format("dicom", "GDCMImageIO", writable=False)
_TIFF = Format("tiff", "TIFFImageIO", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"))
_JPEG = Format("jpeg", "JPEGImageIO", (b"\xff\xd8",), writable=False)
FORMATS: dict[str, Format] = {
    ".nrrd": Format("nrrd", "NrrdImageIO", (b"NRRD000",)),
    ".nhdr": Format("nrrd", "NrrdImageIO", (b"NRRD000",), writable=False),
    ".nii": Format("nifti", "NiftiImageIO", (b"\x5c\x01\0\0", b"\0\0\x01\x5c")),
    ".nii.gz": Format("nifti", "NiftiImageIO", (b"\x1f\x8b",)),
    ".mha": Format("metaimage", "MetaImageIO"),
    ".mhd": Format("metaimage", "MetaImageIO", writable=False),
    ".dcm": DICOM,
    ".png": Format("png", "PNGImageIO", (b"\x89PNG\r\n\x1a\n",)),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
}

_NUMBERS = {"Int8": 1, "UInt8": 1, "Int16": 2, "UInt16": 2, "Int32": 4, "UInt32": 4, "Int64": 8, "UInt64": 8}
_NUMBERS |= {"Float32": 4, "Float64": 8}
_BYTES = {getattr(sitk, f"sitk{kind}{name}"): size for kind in ("", "Vector") for name, size in _NUMBERS.items()}


def is_dicom(path: Path) -> bool:
    """Whether the file carries DICOM's mark after its preamble."""
    return claims.first_bytes(path, 132)[128:] == b"DICM"


@contextmanager
def quiet() -> Iterator[None]:
    """Keep ITK's warnings off stderr; what matters is raised. The switch is global, so it is put back."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def reason(error: Exception) -> str:
    """ITK's many lines as one, without its source files and addresses."""
    text = re.split(r"(?:ITK|itk|sitk)(?:::| )ERROR: ", str(error))[-1]
    noise = r"Exception thrown in SimpleITK \w+: ?|\w+\(0x[0-9a-f]+\): ?|\S+\.[ch]\w*:\d+:? ?|/\S*/SimpleITK\S*/"
    return re.sub(noise, "", " ".join(text.split()))[:200].strip()


def text(value: str) -> str:
    """A header's string; bytes that are not UTF-8 are taken for Latin-1, DICOM's commonest other alphabet."""
    raw = value.encode("utf-8", "surrogateescape")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def open_header(path: Path, kind: Format) -> sitk.ImageFileReader:
    """A reader that knows the image's size, type, grid and metadata, and has read no voxel.

    Raises ValueError where the file is not of this kind, is damaged or cut short, claims more voxels than it can
    hold, or has values that are neither integers nor real numbers.
    """
    start = claims.first_bytes(path, 16)
    if not start.startswith(kind.magic):
        plain = claims.extension(path) == ".nii.gz" and start.startswith(FORMATS[".nii"].magic)
        hint = "it is not compressed: rename it to .nii" if plain else "check the file or its extension"
        if start.startswith((b"\x1c\x02\0\0", b"\0\0\x02\x1c")):
            hint = "NIfTI-2 cannot be read: convert it to NIfTI-1"
        raise ValueError(f"{path}: wanted a {kind.name} file, got one that begins with {start[:8]!r}; {hint}")
    if kind.name == "metaimage":
        claims.meta_header(path)  # before ITK, which complains on stderr
    reader = sitk.ImageFileReader()
    reader.SetImageIO(kind.image_io)
    reader.SetFileName(str(path))
    try:
        with quiet():
            reader.ReadImageInformation()
    except RuntimeError as error:
        if "orthonormal" in str(error):
            raise ValueError(
                f"{path}: the axes in the header are not at right angles (a sheared sform?); wanted an orthogonal "
                "grid; resample the image onto a regular grid first"
            ) from None
        raise ValueError(
            f"{path}: wanted a readable {kind.name} file, got an error ({reason(error)}); export or copy it again"
        ) from None
    if reader.GetPixelID() not in _BYTES:
        got = sitk.GetPixelIDValueAsString(reader.GetPixelID())
        raise ValueError(f"{path}: values are {got}; wanted integers or real numbers; save magnitude or real part")
    if min(reader.GetSize()) < 1:
        raise ValueError(f"{path}: size {reader.GetSize()} has no voxels; wanted at least one; export it again")
    claims.check(path, kind.name, reader, _BYTES[reader.GetPixelID()])
    return reader


def image_bytes(reader: sitk.ImageFileReader) -> int:
    """Bytes of the image once read."""
    return math.prod(reader.GetSize()) * reader.GetNumberOfComponents() * _BYTES[reader.GetPixelID()]


def check_memory(path: Path, needed: int) -> None:
    """Raise ValueError where an image of so many bytes and its copy as an array exceed the free memory."""
    free = available_memory()
    if free is not None and 2 * needed > free:
        raise ValueError(
            f"{path}: reading needs {2 * needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB of memory are free; "
            "close other programs or crop the image"
        )


def available_memory() -> int | None:
    """Bytes free (Linux) or built in (macOS); None on Windows, which refuses too large an allocation by itself."""
    try:
        found = re.search(rb"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_bytes())
    except OSError:
        found = None
    if found:
        return int(found[1]) * 1024
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def load(path: Path, reader: sitk.ImageFileReader) -> np.ndarray:
    """The voxels, axes as SimpleITK gives them: (j, i), (k, j, i) or (t, k, j, i), components last."""
    check_memory(path, image_bytes(reader))
    try:
        with quiet():
            return sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise ValueError(
            f"{path}: wanted a whole image, got an error while reading voxels ({reason(error)}); copy the file again"
        ) from None


def geometry(path: Path, reader: sitk.ImageFileReader) -> Geometry:
    """The grid of a 2D, 3D or 4D image; two axes get a third at right angles, a fourth (time) is left out."""
    n = reader.GetDimension()
    spacing, origin = [*reader.GetSpacing(), 1.0][:3], [*reader.GetOrigin(), 0.0][:3]
    full = np.asarray(reader.GetDirection()).reshape(n, n)
    direction = np.eye(3)
    direction[: min(n, 3), : min(n, 3)] = full[:3, :3]
    if n == 4 and not np.allclose(np.delete(full[3], 3), 0):
        raise ValueError(f"{path}: the time axis leans into space; wanted it apart; write the file again as 4D")
    matrix = claims.nifti_matrix(path) if n == 2 and reader.GetImageIO() == "NiftiImageIO" else None
    try:
        if matrix is not None:  # of a single slice with components ITK drops the third axis
            return Geometry.from_matrix(matrix)
        return Geometry(tuple(spacing), tuple(origin), tuple(map(tuple, direction)))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
