"""Open an image file as far as its header, and refuse what the file cannot hold before anything is allocated.

SimpleITK believes a header: it allocates what is claimed, and NIfTI files cut short come back filled with zeros.
"""

import gzip
import math
import os
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from DLReconLib.volume import Geometry

DEFLATE_RATIO = 1032  # no gzip or zlib stream grows by more
TIFF_RATIO = 65536  # its codecs differ; above what the best of them makes of an empty image
HEADER_LIMIT = 16 << 20  # bytes of text that may stand before the voxels


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
_NIFTI_BYTES = {2: 1, 4: 2, 8: 4, 16: 4, 64: 8, 128: 3, 256: 1, 512: 2, 768: 4, 1024: 8, 1280: 8, 2304: 4}
_NOT_COMPRESSED = {b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2.2"}


def extension(path: Path) -> str:
    """The lower-case extension with its dot; ".nii.gz" counts as one."""
    return ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix.lower()


def is_dicom(path: Path) -> bool:
    """Whether the file carries DICOM's mark after its preamble."""
    return _first_bytes(path, 132)[128:] == b"DICM"


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
    text = re.split(r"(?:ITK|itk|sitk)::? ?ERROR: ", str(error))[-1]
    return re.sub(r"\w+\(0x[0-9a-f]+\): |/\S+\.cxx:\d+:", "", " ".join(text.split()))[:200].strip()


def text(value: str) -> str:
    """A header's string; bytes that are not UTF-8 are taken for Latin-1, DICOM's commonest other alphabet."""
    raw = value.encode("utf-8", "surrogateescape")
    try:
        return raw.decode("utf-8").strip("\0 ")
    except UnicodeDecodeError:
        return raw.decode("latin-1").strip("\0 ")


def open_header(path: Path, kind: Format) -> sitk.ImageFileReader:
    """A reader that knows the image's size, type, grid and metadata, and has read no voxel.

    Raises ValueError where the file is not of this kind, is damaged or cut short, claims more voxels than it can
    hold, or has values that are neither integers nor real numbers.
    """
    start = _first_bytes(path, 16)
    if not start.startswith(kind.magic):
        plain = extension(path) == ".nii.gz" and start.startswith(FORMATS[".nii"].magic)
        hint = "it is not compressed: rename it to .nii" if plain else "check the file or its extension"
        if start.startswith((b"\x1c\x02\0\0", b"\0\0\x02\x1c")):
            hint = "NIfTI-2 cannot be read: convert it to NIfTI-1"
        raise ValueError(f"{path}: wanted a {kind.name} file, got one that begins with {start[:8]!r}; {hint}")
    if kind.name == "metaimage":
        _meta_header(path)  # before ITK, which complains on stderr
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
    _check_holds(path, kind, reader)
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
    try:
        return Geometry(tuple(spacing), tuple(origin), tuple(map(tuple, direction)))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _first_bytes(path: Path, count: int) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read(count)
    except OSError as error:
        raise ValueError(f"{path}: wanted a readable file, got {error.strerror}; check its permissions") from None


def _check_holds(path: Path, kind: Format, reader: sitk.ImageFileReader) -> None:
    needed, size = image_bytes(reader), path.stat().st_size
    if kind.name == "nifti":
        needed, limit = _nifti_limit(path)
    elif kind.name == "nrrd":
        limit = _nrrd_limit(path, _BYTES[reader.GetPixelID()])
    elif kind.name == "metaimage":
        limit = _meta_limit(path, _BYTES[reader.GetPixelID()])
    elif kind.name == "dicom":
        needed, limit = _dicom_limit(path, reader)
    elif kind.name == "tiff":
        limit = size * TIFF_RATIO
    else:  # PNG and JPEG; libjpeg paints a missing end grey, and a full disk can leave a PNG without its end
        data = path.read_bytes()
        whole = data.rfind(b"IEND") > 0 if kind.name == "png" else data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda")
        limit = size * DEFLATE_RATIO if whole else 0
    if limit is not None and needed > limit:
        raise ValueError(
            f"{path}: the header claims {reader.GetSize()} voxels, {needed} bytes, the file can hold {limit}; "
            "it is cut short or its header is wrong; copy or export it again"
        )


def _nifti_limit(path: Path) -> tuple[int, int]:
    """Bytes needed, header included, and bytes held."""
    packed = extension(path) == ".nii.gz"
    try:
        with gzip.open(path) if packed else open(path, "rb") as stream:
            header = stream.read(348)
    except (EOFError, OSError, zlib.error):
        header = b""
    if len(header) < 348:
        raise ValueError(f"{path}: wanted a NIfTI header of 348 bytes, got {len(header)}; copy the file again")
    order = "<" if struct.unpack_from("<i", header)[0] == 348 else ">"
    axes = struct.unpack_from(order + "8h", header, 40)
    voxel = _NIFTI_BYTES.get(struct.unpack_from(order + "h", header, 70)[0], 1)
    offset = max(348, int(struct.unpack_from(order + "f", header, 108)[0]))
    needed = offset + math.prod(max(1, n) for n in axes[1 : axes[0] + 1]) * voxel
    size = path.stat().st_size
    if packed and needed <= size * DEFLATE_RATIO:
        return needed, _inflated_size(path, needed)
    return needed, size * (DEFLATE_RATIO if packed else 1)


def _inflated_size(path: Path, expected: int) -> int:
    """Bytes in a gzip file. Its last four bytes tell; only where they surprise (several members) is it inflated."""
    with open(path, "rb") as stream:
        stream.seek(-4, os.SEEK_END)
        if int.from_bytes(stream.read(4), "little") == expected % 2**32:
            return expected
    total = 0
    try:
        with gzip.open(path) as stream:
            while chunk := stream.read(1 << 20):
                total += len(chunk)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(
            f"{path}: wanted {expected} bytes, gzip broke off after {total} ({error}); copy it again"
        ) from None
    return total


def _nrrd_limit(path: Path, item: int) -> int | None:
    fields: dict[str, str] = {}
    with open(path, "rb") as stream:
        while (line := stream.readline(HEADER_LIMIT).strip()) and "data file" not in fields:
            key, _, value = line.decode("utf-8", "replace").partition(":")
            fields[key.lower().replace("datafile", "data file")] = value.strip()
        left = path.stat().st_size - stream.tell()
        rest = [line.decode("utf-8", "replace"), *_lines(stream)] if "data file" in fields else []
    if "data file" in fields:
        for other in rest:  # the encoding may stand after a single data file
            if other.lower().startswith("encoding:"):
                fields["encoding"] = other.partition(":")[2].strip()
        left = _sizes(path, fields["data file"], rest)
    ratio = {"raw": 1, "hex": 1, "gz": DEFLATE_RATIO, "gzip": DEFLATE_RATIO}
    ratio |= dict.fromkeys(("txt", "text", "ascii"), item)  # a digit and a space are at least two bytes a value
    factor = ratio.get(fields.get("encoding", "raw").lower())
    return None if factor is None else left * factor


def _meta_header(path: Path) -> tuple[dict[str, str], int]:
    """The fields of a MetaImage header and where the voxels begin, if they are in the same file."""
    fields: dict[str, str] = {}
    with open(path, "rb") as stream:
        while "ElementDataFile" not in fields and (line := stream.readline(HEADER_LIMIT)):
            key, found, value = line.decode("utf-8", "replace").partition("=")
            if not found:
                break
            fields[key.strip()] = value.strip()
        if not {"ElementDataFile", "NDims", "DimSize"} <= fields.keys():
            raise ValueError(
                f"{path}: wanted a metaimage header, got none that is whole; check the file or its extension"
            )
        return fields, stream.tell()


def _meta_limit(path: Path, item: int) -> int:
    fields, begin = _meta_header(path)
    where = fields["ElementDataFile"]
    with open(path, "rb") as stream:
        stream.seek(begin)
        rest = _lines(stream) if where.startswith("LIST") else []
    left = path.stat().st_size - begin if where.upper() == "LOCAL" else _sizes(path, where, rest)
    if fields.get("CompressedData", "").lower() in ("true", "1"):
        whole = int(fields["CompressedDataSize"]) <= left if fields.get("CompressedDataSize", "").isdigit() else True
        return left * DEFLATE_RATIO if whole else 0
    return left * (1 if fields.get("BinaryData", "True").lower() in ("true", "1") else item)


def _lines(stream) -> list[str]:  # noqa: ANN001
    return [line.decode("utf-8", "replace").strip() for line in stream.read(HEADER_LIMIT).splitlines()]


def _sizes(path: Path, where: str, rest: list[str]) -> int:
    """Bytes in the data files a header names: one, a LIST that follows, or a pattern with first, last and step."""
    pattern = re.fullmatch(r"(.*%0?\d*d\S*)\s+(-?\d+)\s+(-?\d+)(?:\s+(-?\d+))?(?:\s+\d+)?", where)
    if where.startswith("LIST"):
        names = [name for name in rest if name]
    elif pattern:
        first, last, step = int(pattern[2]), int(pattern[3]), int(pattern[4] or 1) or 1
        names = [pattern[1] % n for n in range(first, last + (1 if step > 0 else -1), step)]
    else:
        names = [where]
    total = 0
    for name in names:
        if not (path.parent / name).is_file():
            raise ValueError(
                f"{path}: the header wants the data file {name}, which is missing; put it beside the header"
            )
        total += (path.parent / name).stat().st_size
    return total


def _dicom_limit(path: Path, reader: sitk.ImageFileReader) -> tuple[int, int | None]:
    """Bytes the voxels take in the file, and the file's size where its transfer syntax is not compressed."""
    bits = text(reader.GetMetaData("0028|0100")) if reader.HasMetaDataKey("0028|0100") else ""
    found = re.search(rb"\x02\x00\x10\x00UI(..)", _first_bytes(path, 4096), re.DOTALL)
    if not (found and bits.isdigit()):
        return 0, None
    end = found.end() + int.from_bytes(found[1], "little")
    syntax = _first_bytes(path, end)[found.end() :].strip(b"\0 ")
    needed = math.prod(reader.GetSize()) * reader.GetNumberOfComponents() * int(bits) // 8
    return needed, path.stat().st_size if syntax in _NOT_COMPRESSED else None
