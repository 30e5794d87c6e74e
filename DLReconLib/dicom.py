"""A folder of DICOM files to one Volume: which series, in which order, and whether the slices make a regular grid."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from DLReconLib import headers
from DLReconLib.volume import Geometry, Volume

GAP_TOLERANCE = 0.01  # of the spacing ...
GAP_TOLERANCE_MM = 0.01  # ... and at least this: positions are decimal strings, often with two digits
LEAN_TOLERANCE = 1e-3  # sine of the angle between stack and normal; the same as Geometry's tolerance

_ROWS = (b"\x28\x00\x10\x00US\x02\x00", b"\x28\x00\x10\x00\x02\x00\x00\x00", b"\x00\x28\x00\x10US\x00\x02")
_DICOMDIR = b"1.2.840.10008.1.3.10\0"


@dataclass(frozen=True)
class _Slice:
    path: Path
    size: tuple[int, ...]
    components: int
    nbytes: int
    geometry: Geometry
    tags: dict[str, str]

    @property
    def label(self) -> str:
        return self.path.name


def read_folder(folder: Path, series: str | None = None) -> Volume:
    """The Volume of one DICOM series in a folder; slices by position along the normal, not by file name.

    The grid is that of SimpleITK: origin of the lowest slice, spacing along k the mean distance of the slices.
    series: its UID or the beginning of it, wanted where the folder holds several.
    Rescale slope and intercept are applied, slice by slice (PET has one per slice).
    Raises ValueError where the folder holds no DICOM image, the series is not given or not there, a file is
    damaged, or the slices do not make a regular, orthogonal stack (gap, duplicate, tilt, mixed sizes).
    """
    found = _series(folder)
    slices = found[_choose(folder, found, series)]
    if len(slices) == 1:
        array, grid = _load(slices[0]), slices[0].geometry
    else:
        _check_alike(folder, slices)
        normal = np.asarray(slices[0].geometry.direction)[:, 2]
        slices = sorted(slices, key=lambda s: float(np.dot(s.geometry.origin, normal)))
        grid = _stacked(folder, slices)
        headers.check_memory(folder, sum(s.nbytes for s in slices))
        array = np.concatenate([_load(s) for s in slices])
    tags = slices[0].tags
    return Volume(array, grid, tags.get("0008|0060", ""), "dicom", dict(tags))


def list_series(folder: Path) -> dict[str, list[Path]]:
    """Series UID to the files of it, in a folder that holds DICOM images. Raises ValueError for a damaged one."""
    return {uid: [image.path for image in images] for uid, images in _series(folder).items()}


def tags_of(reader: sitk.ImageFileReader) -> dict[str, str]:
    """DICOM tags as "gggg|eeee": value, values stripped of their padding."""
    return {key: headers.text(reader.GetMetaData(key)).strip("\0 ") for key in reader.GetMetaDataKeys() if "|" in key}


def _series(folder: Path) -> dict[str, list[_Slice]]:
    """Series UID to the images of it."""
    files = sorted(p for p in folder.iterdir() if p.is_file())
    found: dict[str, list[_Slice]] = {}
    for path in files:
        image = _open(path)
        if image is not None:
            found.setdefault(image.tags.get("0020|000e", ""), []).append(image)
    if not found:
        folders = sum(p.is_dir() for p in folder.iterdir())
        hint = f"give one of its {folders} sub-folders" if folders else "give a folder with the slices of a scan"
        raise ValueError(f"{folder}: wanted DICOM images, got {len(files)} files and none that is one; {hint}")
    return found


def _open(path: Path) -> _Slice | None:
    """The header of an image; None for what is no DICOM image (reports, plans, an index, other files)."""
    marked = headers.is_dicom(path)
    if not marked and path.suffix.lower() not in ("", ".dcm", ".ima"):
        return None
    try:
        reader = headers.open_header(path, headers.DICOM)
    except ValueError:
        with open(path, "rb") as stream:
            start = stream.read(1 << 18)
        # Rows tell a damaged image from a report; skipping it would lose a slice in silence.
        if marked and _DICOMDIR not in start[:1024] and any(rows in start for rows in _ROWS):
            raise
        return None
    size = reader.GetSize()
    grid = headers.geometry(path, reader)
    return _Slice(path, size, reader.GetNumberOfComponents(), headers.image_bytes(reader), grid, tags_of(reader))


def _load(image: _Slice) -> np.ndarray:
    return headers.load(image.path, headers.open_header(image.path, headers.DICOM))


def _choose(folder: Path, found: dict[str, list[_Slice]], series: str | None) -> str:
    matches = [uid for uid in found if series is None or uid.startswith(series)]
    if series in found:
        return series
    if len(matches) == 1:
        return matches[0]
    listing = "; ".join(
        f"{uid or 'no UID'} ({images[0].tags.get('0008|103e') or 'no description'}, {len(images)} files)"
        for uid, images in found.items()
    )
    wanted = "one" if series is None else f"one that begins with {series!r}, which {len(matches)} do"
    raise ValueError(f"{folder}: holds {len(found)} series, wanted {wanted}; pass series= one of: {listing}")


def _check_alike(folder: Path, slices: list[_Slice]) -> None:
    first = slices[0]
    for image in slices:
        if "0020|0032" not in image.tags or "0020|0037" not in image.tags:
            raise ValueError(
                f"{folder}: {image.label} has no position (0020,0032) or orientation (0020,0037); wanted both in "
                f"each of {len(slices)} slices; open the files one by one"
            )
        if (image.size, image.components) != (first.size, first.components) or image.size[2] != 1:
            raise ValueError(
                f"{folder}: {image.label} is {image.size} with {image.components} components, {first.label} is "
                f"{first.size} with {first.components}; wanted slices of one size; put the others elsewhere"
            )
        if not np.allclose(image.geometry.direction, first.geometry.direction, atol=1e-3):
            raise ValueError(
                f"{folder}: {image.label} and {first.label} are turned against each other (a scout?); wanted "
                "parallel slices; put the others elsewhere"
            )
        if not np.allclose(image.geometry.spacing[:2], first.geometry.spacing[:2], rtol=1e-3):
            raise ValueError(
                f"{folder}: {image.label} has pixels of {image.geometry.spacing[:2]} mm, {first.label} of "
                f"{first.geometry.spacing[:2]} mm; wanted one size; put the others elsewhere"
            )


def _stacked(folder: Path, slices: list[_Slice]) -> Geometry:
    """The grid of slices sorted along their normal."""
    first = slices[0].geometry
    offsets = np.array([s.geometry.origin for s in slices]) - first.origin
    heights = offsets @ np.asarray(first.direction)[:, 2]
    gaps = np.diff(heights)
    spacing = float(np.sort(gaps)[(len(gaps) - 1) // 2])  # a gap that occurs, unlike the mean of two
    if gaps.min() < GAP_TOLERANCE_MM:
        a = int(gaps.argmin())
        raise ValueError(
            f"{folder}: slices {a + 1} and {a + 2} ({slices[a].label}, {slices[a + 1].label}) lie at the same "
            f"position, {heights[a]:.3f} mm above the first; wanted one slice per position; separate time points or "
            "echoes into folders of their own"
        )
    wrong = np.abs(gaps - spacing)
    if wrong.max() > max(GAP_TOLERANCE_MM, GAP_TOLERANCE * spacing) + 1e-6:
        a = int(wrong.argmax())
        raise ValueError(
            f"{folder}: a gap of {gaps[a]:.3f} mm between slices {a + 1} and {a + 2} ({slices[a].label}, "
            f"{slices[a + 1].label}), the others are {spacing:.3f} mm apart; wanted even spacing; find the missing "
            "slices or resample the scan"
        )
    lean = np.linalg.norm(offsets - np.outer(heights, np.asarray(first.direction)[:, 2]), axis=1)
    if np.any(lean > np.maximum(GAP_TOLERANCE_MM, LEAN_TOLERANCE * heights)):
        angle = np.degrees(np.arctan2(lean[-1], heights[-1]))
        raise ValueError(
            f"{folder}: the stack leans {angle:.2f} degrees from the normal of its slices (a tilted gantry?), "
            f"{lean.max():.2f} mm sideways; wanted slices straight above each other; correct the tilt first"
        )
    return replace(first, spacing=(*first.spacing[:2], float(heights[-1] / (len(slices) - 1))))


def is_dicom_key(key: str) -> bool:
    """Whether a metadata key is a DICOM tag, "gggg|eeee"."""
    return re.fullmatch(r"[0-9a-fA-F]{4}\|[0-9a-fA-F]{4}", key) is not None
