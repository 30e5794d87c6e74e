"""What a header claims against what its file can hold, found before anything is allocated.

SimpleITK believes a header: it allocates what is claimed, and NIfTI files cut short come back filled with zeros.
"""

import gzip
import math
import os
import re
import struct
import zlib
from pathlib import Path
from typing import IO

import numpy as np
import SimpleITK as sitk

DEFLATE_RATIO = 1032  # no gzip or zlib stream grows by more
TIFF_RATIO = 65536  # its codecs differ; above what the best of them makes of an empty image
HEADER_LIMIT = 16 << 20  # bytes of text that may stand before the voxels

_NIFTI_BYTES = {2: 1, 4: 2, 8: 4, 16: 4, 64: 8, 128: 3, 256: 1, 512: 2, 768: 4, 1024: 8, 1280: 8, 2304: 4}
_NOT_COMPRESSED = {b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2.2"}


def extension(path: Path) -> str:
    """The lower-case extension with its dot; ".nii.gz" counts as one."""
    return ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix.lower()


def first_bytes(path: Path, count: int) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read(count)
    except OSError as error:
        raise ValueError(f"{path}: wanted a readable file, got {error.strerror}; check its permissions") from None


def check(path: Path, name: str, reader: sitk.ImageFileReader, item: int) -> None:
    """Raise ValueError where the header claims more bytes than the file can hold.

    name: the format's; item: bytes of one number once read.
    """
    needed = math.prod(reader.GetSize()) * reader.GetNumberOfComponents() * item
    size = path.stat().st_size
    if name == "nifti":
        needed, limit = _nifti_limit(path)
    elif name == "nrrd":
        limit = _nrrd_limit(path, item)
    elif name == "metaimage":
        limit = _meta_limit(path, item)
    elif name == "dicom":
        needed, limit = _dicom_limit(path, reader)
    elif name == "tiff":
        limit = size * TIFF_RATIO
    else:  # PNG and JPEG; libjpeg paints a missing end grey, and a full disk can leave a PNG without its end
        data = path.read_bytes()
        whole = data.rfind(b"IEND") > 0 if name == "png" else data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda")
        limit = size * DEFLATE_RATIO if whole else 0
    if limit is not None and needed > limit:
        raise ValueError(
            f"{path}: the header claims {reader.GetSize()} voxels, {needed} bytes, the file can hold {limit}; "
            "it is cut short or its header is wrong; copy or export it again"
        )


def _nifti_header(path: Path) -> tuple[bytes, str]:
    """The 348 bytes and the sign of their byte order for struct."""
    try:
        with gzip.open(path) if extension(path) == ".nii.gz" else open(path, "rb") as stream:
            header = stream.read(348)
    except (EOFError, OSError, zlib.error):
        header = b""
    if len(header) < 348:
        raise ValueError(f"{path}: wanted a NIfTI header of 348 bytes, got {len(header)}; copy the file again")
    return header, "<" if struct.unpack_from("<i", header)[0] == 348 else ">"


def _nifti_limit(path: Path) -> tuple[int, int]:
    """Bytes needed, header included, and bytes held."""
    header, order = _nifti_header(path)
    axes = struct.unpack_from(order + "8h", header, 40)
    voxel = _NIFTI_BYTES.get(struct.unpack_from(order + "h", header, 70)[0], 1)
    offset = struct.unpack_from(order + "f", header, 108)[0]
    if not math.isfinite(offset):
        raise ValueError(f"{path}: the header puts the voxels at byte {offset}; wanted a number; copy the file again")
    needed = max(348, int(offset)) + math.prod(max(1, n) for n in axes[1 : axes[0] + 1]) * voxel
    size, packed = path.stat().st_size, extension(path) == ".nii.gz"
    if packed and needed <= size * DEFLATE_RATIO:
        return needed, _inflated_size(path, needed)
    return needed, size * (DEFLATE_RATIO if packed else 1)


def nifti_matrix(path: Path) -> np.ndarray | None:
    """4 x 4, voxel (i, j, k, 1) to LPS millimetres, from a NIfTI header's sform; None where it has none in mm."""
    header, order = _nifti_header(path)
    if struct.unpack_from(order + "h", header, 254)[0] <= 0 or header[123] & 7 not in (0, 2):
        return None
    sform = np.array(struct.unpack_from(order + "12f", header, 280)).reshape(3, 4)
    return np.vstack([sform * [[-1], [-1], [1]], [0, 0, 0, 1]])  # RAS to LPS


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
    rest: list[str] = []
    with open(path, "rb") as stream:
        while line := stream.readline(HEADER_LIMIT).strip().decode("utf-8", "replace"):
            key, _, value = line.partition(":")
            if not value.startswith("="):  # "key:=value" is metadata and may be called anything
                fields["data file" if key.lower() == "datafile" else key.lower()] = value.strip()
            if fields.get("data file", "").startswith("LIST"):
                rest = _lines(stream)
                break
        left = path.stat().st_size - stream.tell()
    if "data file" in fields:
        left = _sizes(path, fields["data file"], rest)
    ratio = {"raw": 1, "hex": 1, "gz": DEFLATE_RATIO, "gzip": DEFLATE_RATIO}
    ratio |= dict.fromkeys(("txt", "text", "ascii"), item)  # a digit and a space are at least two bytes a value
    factor = ratio.get(fields.get("encoding", "raw").lower())
    return None if factor is None else left * factor


def meta_header(path: Path) -> tuple[dict[str, str], int]:
    """The fields of a MetaImage header and where the voxels begin, if they are in the same file.

    Raises ValueError where size or axes are missing or wrong: MetaIO ends the process on some of these.
    """
    fields: dict[str, str] = {}
    with open(path, "rb") as stream:
        while "ElementDataFile" not in fields and (line := stream.readline(HEADER_LIMIT)):
            key, found, value = line.decode("utf-8", "replace").partition("=")
            if not found or (key.strip() in ("NDims", "DimSize") and key.strip() in fields):
                break
            fields[key.strip()] = value.strip()
        begin = stream.tell()
    axes, size = fields.get("NDims", ""), fields.get("DimSize", "").split()
    channels = fields.get("ElementNumberOfChannels", "1")
    whole = "ElementDataFile" in fields and axes in ("1", "2", "3", "4", "5") and len(size) == int(axes)
    if not whole or not all(re.fullmatch("[0-9]{1,12}", number) for number in [*size, channels]):
        raise ValueError(
            f"{path}: wanted a metaimage header, got NDims {axes[:20]!r} and DimSize {size[:5]}, or no end of it; "
            "check the file or copy it again"
        )
    return fields, begin


def _meta_limit(path: Path, item: int) -> int:
    fields, begin = meta_header(path)
    where = fields["ElementDataFile"]
    with open(path, "rb") as stream:
        stream.seek(begin)
        rest = _lines(stream) if where.startswith("LIST") else []
    left = path.stat().st_size - begin if where.upper() == "LOCAL" else _sizes(path, where, rest)
    if fields.get("CompressedData", "").lower() in ("true", "1"):
        whole = int(fields["CompressedDataSize"]) <= left if fields.get("CompressedDataSize", "").isdigit() else True
        return left * DEFLATE_RATIO if whole else 0
    return left * (1 if fields.get("BinaryData", "True").lower() in ("true", "1") else item)


def _lines(stream: IO[bytes]) -> list[str]:
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
            raise ValueError(f"{path}: the header wants the data file {name}, which is missing; put it beside")
        total += (path.parent / name).stat().st_size
    return total


def _dicom_limit(path: Path, reader: sitk.ImageFileReader) -> tuple[int, int | None]:
    """Bytes the voxels take in the file, and the file's size where its transfer syntax is not compressed."""
    tags = {key: reader.GetMetaData(key).strip("\0 ") for key in reader.GetMetaDataKeys() if key.startswith("0028|")}
    bits, samples = tags.get("0028|0100", ""), tags.get("0028|0002", "1")
    found = re.search(rb"\x02\x00\x10\x00UI(..)", first_bytes(path, 4096), re.DOTALL)
    if not (found and bits.isdigit() and samples.isdigit()) or "_42" in tags.get("0028|0004", ""):
        return 0, None  # colour that is stored at half its width has no simple size
    end = found.end() + int.from_bytes(found[1], "little")
    syntax = first_bytes(path, end)[found.end() :].strip(b"\0 ")
    needed = math.prod(reader.GetSize()) * int(samples) * int(bits) // 8  # a palette has one sample, three once read
    return needed, path.stat().st_size if syntax in _NOT_COMPRESSED else None
