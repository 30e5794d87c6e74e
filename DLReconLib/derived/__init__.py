"""A volume out as DICOM: a derived series in the study of the images it was made from. Needs pydicom.

DICOM PS3.3: derived images C.7.6.1.1.3, rescaling C.11.1, CT C.8.2.1, MR C.8.3.1, PET C.8.9.4.
"""

import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.valuerep import format_number_as_ds

from DLReconLib import headers
from DLReconLib.derived import tags as derived_tags
from DLReconLib.volume import Volume

CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT Image Storage",
    "1.2.840.10008.5.1.4.1.1.4": "MR Image Storage",
    "1.2.840.10008.5.1.4.1.1.128": "PET Image Storage",
}
PET = "1.2.840.10008.5.1.4.1.1.128"
OFF_GRID = 0.25  # voxels that a slice may lie off the grid of the volume; half a voxel is another grid


@dataclass(frozen=True)
class Slice:
    """A source image: its file, its attributes without pixels, and where its pixels lie in the volume.

    first, along_columns, along_rows: voxel (i, j, k) of the first pixel and the steps to the next in a row, a column.
    """

    path: Path
    header: pydicom.Dataset
    first: np.ndarray
    along_columns: np.ndarray
    along_rows: np.ndarray

    def of(self, array: np.ndarray) -> np.ndarray:
        """The values (rows, columns) that (k, j, i) has at this slice."""
        row, column = np.mgrid[: self.header.Rows, : self.header.Columns]
        i, j, k = (self.first[a] + column * self.along_columns[a] + row * self.along_rows[a] for a in range(3))
        return array[k, j, i]


@dataclass(frozen=True)
class Scale:
    """value = stored * slope + intercept; stored are 16 bits, signed or not."""

    slope: float
    intercept: float
    signed: bool

    def stored(self, values: np.ndarray) -> np.ndarray:
        limits = np.iinfo(np.int16 if self.signed else np.uint16)
        steps = np.rint((values.astype(np.float64) - self.intercept) / self.slope)
        return np.clip(steps, limits.min, limits.max).astype(limits.dtype)


def write_derived(
    volume: Volume, source: Path | str | Sequence[Path | str], target: Path | str, *,
    record: Mapping[str, Any] | None = None, series: str | None = None, description: str = "",
) -> list[Path]:  # fmt: skip
    """Write a volume as a DERIVED series in the study of its source; returns the files, sorted by position.

    volume: (k, j, i), in the unit of the source and on its grid; axes may be swapped or turned round.
    source: folder of the DICOM images it was made from, or their files; CT, MR or PET, one image a file.
    target: a folder that is made; it must not exist, or be empty. It appears whole or not at all.
    record: the provenance of the run, for the description of the derivation. series: which one of the folder, its
    UID or the beginning of it; else the one that the volume was read from. description: of the new series.

    Values are stored in 16 bits with a rescale slope: rounded by less than 2e-5 of their range; whole numbers that
    fit stay as they are. Padding of the source stays padding. Raises ValueError for a source or a volume that do not
    suit each other, FileNotFoundError for what is missing.
    """
    slices = check(volume, source, target, series)
    padding = {s.path: padded for s in slices if (padded := find_padding(s)) is not None}
    check_values(volume, slices)
    scale = choose_scale(volume.array, slices[0].header, [value for value, _ in padding.values()])
    derived = derived_tags.Series.of([s.header for s in slices], record or {}, description)
    target = Path(target)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    temporary.mkdir()
    try:
        for number, one in enumerate(slices, 1):
            pixels, pad = encode(one.of(volume.array), scale, padding.get(one.path))
            image = derived.image(one.header, number)
            derived_tags.set_pixels(image, pixels, ds(scale.slope), ds(scale.intercept), pad)
            derived_tags.save(image, temporary / f"IM{number:05d}.dcm")
        if target.is_dir():
            target.rmdir()  # empty: Windows renames onto nothing that exists
        temporary.replace(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return sorted(target.iterdir())


def check(
    volume: Volume, source: Path | str | Sequence[Path | str], target: Path | str, series: str | None = None
) -> list[Slice]:
    """The source images in their places; raises as write_derived() does, before any work."""
    check_target(target)
    if volume.array.ndim != 3 or not np.all(np.isfinite(volume.array)):
        raise ValueError(f"volume {volume.array.shape}: wanted one component and finite values for DICOM; write .nrrd")
    uid = series or volume.metadata.get("0020|000e")
    return place(volume, read_headers(source, uid, asked=series is not None))


def check_target(target: Path | str) -> None:
    """Raise before any work where no series could be written: FileNotFoundError, FileExistsError, PermissionError."""
    target = Path(target)
    if not target.absolute().parent.is_dir():
        raise FileNotFoundError(f"{target}: the folder {target.parent} does not exist; create it first")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"{target}: wanted a folder for the DICOM series that is new or empty; choose another")
    if not os.access(target.absolute().parent, os.W_OK | os.X_OK):
        raise PermissionError(f"{target}: the folder {target.parent} is not writable; choose another")


def read_headers(source: Path | str | Sequence[Path | str], uid: str | None, asked: bool) -> list[tuple]:
    """(file, attributes) of the images of one series. Raises ValueError where it is not clear which, or none suits."""
    single = isinstance(source, (str, Path))
    if single and not Path(source).exists():
        raise FileNotFoundError(f"{source}: no such folder; wanted the DICOM images that the volume was made from")
    if single:
        files = sorted(p for p in Path(source).iterdir() if p.is_file()) if Path(source).is_dir() else [Path(source)]
    else:
        files = [Path(p) for p in source]
    found: dict[str, list[tuple[Path, pydicom.Dataset]]] = {}
    for path in files:
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True)
        except (pydicom.errors.InvalidDicomError, EOFError):
            continue
        if "Rows" in header and "SOPInstanceUID" in header:
            found.setdefault(str(header.get("SeriesInstanceUID", "")), []).append((path, header))
    matches = [uid] if uid in found else [name for name in found if uid and name.startswith(uid)]
    name = matches[0] if len(matches) == 1 else next(iter(found)) if len(found) == 1 and not asked else None
    if name is None:
        listing = "; ".join(f"{n} ({h[0][1].get('SeriesDescription', '')}, {len(h)} files)" for n, h in found.items())
        raise ValueError(f"DICOM source {source}: holds {len(found)} series, wanted one; give --series one of: "
                         f"{listing or 'none is there'}")  # fmt: skip
    for path, header in found[name]:
        check_kind(path, header)
    return found[name]


def check_kind(path: Path, header: pydicom.Dataset) -> None:
    kind = header.get("SOPClassUID", pydicom.uid.UID(""))
    if kind not in CLASSES or header.get("NumberOfFrames", 1) not in (None, 1) or header.get("SamplesPerPixel", 1) != 1:
        raise ValueError(f"DICOM source {path.name}: {getattr(kind, 'name', kind)}; wanted one grey image in a file, "
                         f"{', '.join(CLASSES.values())}; write .nrrd instead")  # fmt: skip
    wanted = ("StudyInstanceUID", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Columns")
    missing = [name for name in wanted if not header.get(name)]
    if missing:
        raise ValueError(f"DICOM source {path.name}: lacks {', '.join(missing)}; wanted whole images; export it again")


def place(volume: Volume, images: list[tuple[Path, pydicom.Dataset]]) -> list[Slice]:
    """Where each image lies in the volume, sorted by position. Raises ValueError where they do not cover it."""
    to_voxel = np.linalg.inv(volume.geometry.matrix())
    slices, taken = [], {}
    for path, header in images:
        rows, columns = int(header.Rows), int(header.Columns)
        turn = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
        steps = [to_voxel[:3, :3] @ turn[a] * float(header.PixelSpacing[1 - a]) for a in (0, 1)]
        first = (to_voxel @ [*map(float, header.ImagePositionPatient), 1.0])[:3]
        corners = [first + c * steps[0] + r * steps[1] for c in (0, columns - 1) for r in (0, rows - 1)]
        whole = [np.rint(s).astype(int) for s in (first, *steps)]
        nearest = [whole[0] + c * whole[1] + r * whole[2] for c in (0, columns - 1) for r in (0, rows - 1)]
        off = float(np.abs(np.subtract(corners, nearest)).max())
        inside = np.all((np.array(nearest) >= 0) & (np.array(nearest) < volume.array.shape[::-1]))
        if off > OFF_GRID or not inside or sorted(np.abs(whole[1] + whole[2])) != [0, 1, 1]:
            raise ValueError(f"DICOM source {path.name}: lies {off:.2f} voxels off the grid of the volume or outside "
                             "it; wanted the images that the volume was made from, on the same grid")  # fmt: skip
        place = tuple(np.min(nearest, axis=0))
        if place in taken:
            raise ValueError(f"DICOM source {path.name}: lies where {taken[place]} lies (time points? echoes?); wanted "
                             "one image per position; put the others elsewhere")  # fmt: skip
        taken[place] = path.name
        slices.append(Slice(path, header, *whole))
    covered = sum(int(s.header.Rows) * int(s.header.Columns) for s in slices)
    if covered != volume.array.size:
        raise ValueError(f"DICOM source: {len(slices)} images with {covered} pixels, the volume has "
                         f"{volume.array.size} voxels; wanted all images that it was made from")  # fmt: skip
    return sorted(slices, key=lambda s: (*s.first[::-1],))


def source_values(one: Slice) -> np.ndarray:
    """The rescaled values (rows, columns) of a source image."""
    values = headers.load(one.path, headers.open_header(one.path, headers.DICOM))
    return values.reshape(int(one.header.Rows), int(one.header.Columns))


def find_padding(one: Slice) -> tuple[float, np.ndarray] | None:
    """(value, where) of the padding in a source image, in its unit; None where it has none."""
    if one.header.get("PixelPaddingValue") is None:
        return None
    slope, intercept = float(one.header.get("RescaleSlope", 1) or 1), float(one.header.get("RescaleIntercept", 0) or 0)
    ends = [one.header.PixelPaddingValue, one.header.get("PixelPaddingRangeLimit", one.header.PixelPaddingValue)]
    low, high = sorted(float(v) * slope + intercept for v in ends)
    values, half = source_values(one), abs(slope) / 2
    where = (values > low - half) & (values < high + half)
    return (float(ends[0]) * slope + intercept, where) if where.any() else None


def check_values(volume: Volume, slices: list[Slice]) -> None:
    """Raise ValueError where the values are in another unit than the source's (SUV for Bq/ml): the header that is
    kept would lie about them."""
    some = slices[:: max(1, len(slices) // 8)]
    then = np.concatenate([source_values(s).ravel() for s in some]).astype(np.float64)
    now = np.concatenate([s.of(volume.array).ravel() for s in some]).astype(np.float64)
    spread = then.std()
    if spread and not (now.std() < 3 * spread and abs(now.mean() - then.mean()) < spread):
        raise ValueError(f"volume: mean {now.mean():.4g} and deviation {now.std():.4g}, the DICOM source has "
                         f"{then.mean():.4g} and {spread:.4g}; wanted values in the unit of the source")  # fmt: skip
    if spread and now.std() < 0.01 * spread:
        raise ValueError(f"volume: deviation {now.std():.4g}, the DICOM source has {spread:.4g}; wanted values in the "
                         "unit of the source (SUV for Bq/ml?)")  # fmt: skip


def choose_scale(array: np.ndarray, header: pydicom.Dataset, padding: Sequence[float] = ()) -> Scale:
    """The finest 16 bit scale that holds all values: as the source's where they are whole, else spread over them."""
    low, high = min(float(array.min()), *padding, np.inf), max(float(array.max()), *padding, -np.inf)
    intercept = float(header.get("RescaleIntercept", 0) or 0)
    if header.SOPClassUID == PET or intercept != round(intercept):
        intercept = 0.0
    whole = array.dtype.kind in "iu" or np.array_equal(array, np.rint(array))
    if whole and all(v == round(v) for v in padding):
        for signed, limits in ((False, np.iinfo(np.uint16)), (True, np.iinfo(np.int16))):
            if low - intercept >= limits.min and high - intercept <= limits.max:
                return Scale(1.0, intercept, signed)
    # Zero stays zero where that costs little; PET allows no intercept.
    if header.SOPClassUID == PET or max(abs(low), abs(high)) <= 2 * (high - low):
        largest = high / 65535 if low >= 0 else max(high / 32767, low / -32768)
        return Scale(float(ds(largest or 1.0)), 0.0, low < 0)
    return Scale(float(ds((high - low) / 65535 or 1.0)), float(ds(low)), False)


def encode(values: np.ndarray, scale: Scale, padding: tuple[float, np.ndarray] | None) -> tuple[np.ndarray, int | None]:
    """Stored pixels (rows, columns) and the padding value; no other pixel has that value."""
    pixels = scale.stored(values)
    if padding is None:
        return pixels, None
    pad = int(scale.stored(np.array([padding[0]]))[0])
    pixels[pixels == pad] = pad + 1 if pad < np.iinfo(pixels.dtype).max else pad - 1
    pixels[padding[1]] = pad
    return pixels, pad


def ds(value: float) -> str:
    """A decimal string of DICOM, 16 letters at most."""
    return format_number_as_ds(float(value))
