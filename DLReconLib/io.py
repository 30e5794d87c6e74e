"""Files to Volume and back. With headers.py, claims.py and dicom.py the only place of SimpleITK.

Arrays are (k, j, i) or (k, j, i, components), grids LPS in millimetres: both as SimpleITK gives them.
"""

import os
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from DLReconLib import claims, dicom, headers
from DLReconLib.headers import FORMATS, Format
from DLReconLib.volume import Volume

PathLike = str | os.PathLike[str]

TIME_SPACING = "time_spacing"  # the metadata key for the distance of time points, in the file's unit
_WRITABLE = ", ".join(extension for extension, kind in FORMATS.items() if kind.writable)
_SERIES = (".nrrd", ".nii", ".nii.gz", ".mha")
_INSTEAD = {".mhd": ".mha, which is one file", ".nhdr": ".nrrd, which is one file", ".dcm": ".nrrd or .nii.gz"}
_META_LENGTH = 30000  # MetaIO's buffer for a value has 32768 bytes and is not checked
# Header words of MetaIO: as keys of ours they would overwrite the grid.
# fmt: off
_META_WORDS = {
    "comment", "objecttype", "objectsubtype", "transformtype", "ndims", "name", "id", "parentid", "acquisitiondate",
    "color", "position", "origin", "offset", "direction", "orientation", "rotation", "transformmatrix",
    "centerofrotation", "anatomicalorientation", "elementspacing", "elementsize", "elementtype",
    "elementnumberofchannels", "elementmin", "elementmax", "elementtointensityfunctionslope",
    "elementtointensityfunctionoffset", "elementbyteordermsb", "binarydata", "binarydatabyteordermsb",
    "compresseddata", "compresseddatasize", "compressionlevel", "distanceunits", "dimsize", "headersize",
    "headersizeperslice", "imageposition", "sequenceid", "elementdatafile",
}
# fmt: on


def read_volume(path: PathLike, series: str | None = None) -> Volume:
    """The Volume in a file, or in a folder of DICOM slices.

    path: .nrrd .nhdr .nii .nii.gz .mha .mhd .dcm .png .tif .tiff .jpg .jpeg, a DICOM file of any name, or a folder.
    series: for a folder with several DICOM series, the UID of one or the beginning of it.

    Array (k, j, i), or (k, j, i, components); a 2D image has k = 1. The file's type of number is kept; DICOM's and
    NIfTI's slope and intercept are applied. Geometry in LPS millimetres. metadata: DICOM tags ("0008|0060"), keys
    of NRRD and MetaImage, NIfTI's descrip, intent_name and aux_file.
    Raises FileNotFoundError where there is nothing, ValueError for everything else that is wrong with the input,
    a time series (see read_series) included.
    """
    volumes = _read(path, series)
    if len(volumes) > 1:
        raise ValueError(
            f"{path}: holds {len(volumes)} time points (or images of a list), wanted one volume; use read_series, "
            "or save one time point as a file of its own"
        )
    return volumes[0]


def read_series(path: PathLike) -> list[Volume]:
    """The Volumes of a time series, all with one geometry: 4D NIfTI, NRRD or MetaImage, or NRRD with a list axis.

    A file with three axes or fewer gives a list of one. metadata["time_spacing"] holds the distance of time points
    in the file's own unit, where it says one. Arrays are views of one array. Raises as read_volume does.
    """
    return _read(path, None)


def write_volume(
    volume: Volume, path: PathLike, *, metadata: Mapping[str, str] | None = None, overwrite: bool = False
) -> None:
    """Write a Volume; the extension says how: .nrrd .nii .nii.gz .mha .png .tif .tiff.

    The type of number is kept (float16 becomes float32). PNG takes one slice of integers from 0 to 65535; TIFF
    takes a slice or a stack, float64 as float32; both lose the place in the patient, as images always do.
    metadata: entries added to the volume's own. NRRD holds them all; MetaImage those with a plain key and one short
    line of ASCII; NIfTI only descrip (80 letters), intent_name is its own; PNG and TIFF none. DICOM tags
    of the volume are not written (they name the patient): pass in metadata those you want.
    The file appears whole or not at all. Raises ValueError for what cannot be written there, FileNotFoundError for
    a missing folder, OSError where writing fails (a full disk).
    """
    target = _check_target(path, overwrite)
    extension = claims.extension(target)
    flat = FORMATS[extension].name in ("png", "tiff")
    array = _encodable(volume.array, extension, target)
    if flat and array.shape[0] == 1:
        array = array[0]
    image = sitk.GetImageFromArray(np.ascontiguousarray(array), isVector=volume.array.ndim == 4)
    image.SetSpacing(volume.geometry.spacing[: image.GetDimension()])
    if not flat:
        image.SetOrigin(volume.geometry.origin)
        image.SetDirection(np.ravel(volume.geometry.direction).tolist())
    _set_metadata(image, volume, metadata, extension)
    _write(image, target)


def write_series(volumes: Sequence[Volume], path: PathLike, *, overwrite: bool = False) -> None:
    """Write Volumes of one grid, shape and type as a 4D file: .nrrd .nii .nii.gz .mha.

    Metadata and metadata["time_spacing"] are those of the first. Raises as write_volume does.
    """
    target = _check_target(path, overwrite)
    extension = claims.extension(target)
    if extension not in _SERIES:
        raise ValueError(f"{path}: {extension} holds no time series; wanted one of {', '.join(_SERIES)}")
    if not volumes:
        raise ValueError(f"{path}: got no volumes, wanted at least one")
    first = volumes[0]
    for number, other in enumerate(volumes):
        if other.array.shape != first.array.shape or other.array.dtype != first.array.dtype:
            raise ValueError(
                f"{path}: volume {number} is {other.array.shape} {other.array.dtype}, volume 0 {first.array.shape} "
                f"{first.array.dtype}; wanted one shape and type; resample or convert first"
            )
        if not other.geometry.matches(first.geometry):
            raise ValueError(f"{path}: volume {number} lies on another grid than volume 0; wanted one; resample first")
    array = np.stack([_encodable(v.array, extension, target) for v in volumes])
    image = sitk.GetImageFromArray(array, isVector=first.array.ndim == 4)
    direction = np.eye(4)
    direction[:3, :3] = first.geometry.direction
    image.SetSpacing((*first.geometry.spacing, _time_spacing(first, target)))
    image.SetOrigin((*first.geometry.origin, 0.0))
    image.SetDirection(direction.ravel().tolist())
    _set_metadata(image, first, None, extension)
    _write(image, target)


def check_output(path: PathLike, overwrite: bool, inputs: Iterable[PathLike] = ()) -> None:
    """Raise before any work is done if a result could not be written to path.

    ValueError where the extension is unknown or read only, the folder is not writable, path is a folder, the file
    exists and overwrite is False, or it is one of the inputs (even with overwrite); FileNotFoundError where the
    folder is missing.
    """
    target = Path(path)
    extension = claims.extension(target)
    kind = FORMATS.get(extension)
    if kind is None or not kind.writable:
        hint = f"choose {_INSTEAD[extension]}" if extension in _INSTEAD else "choose another extension"
        raise ValueError(f"{path}: cannot write {extension or 'a name without extension'}; wanted {_WRITABLE}; {hint}")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {target.parent} does not exist; create it first")
    if target.is_dir():
        raise ValueError(f"{path}: is a folder; wanted the name of a file")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise ValueError(f"{path}: the folder {target.parent} is not writable; choose another")
    for source in inputs:
        if _same_file(target, Path(source)):
            raise ValueError(f"{path}: is also an input; wanted an output of its own; choose another name")
    if target.exists() and not overwrite:
        raise ValueError(f"{path}: exists already; choose another name or allow overwriting")


def _check_target(path: PathLike, overwrite: bool) -> Path:
    check_output(path, overwrite)
    return Path(path)


def _same_file(a: Path, b: Path) -> bool:
    if a.exists() and b.exists():
        return a.samefile(b)
    return os.path.normcase(a.resolve()) == os.path.normcase(b.resolve())


def _read(path: PathLike, series: str | None) -> list[Volume]:
    source = Path(path)
    if not source.exists():
        raise FileNotFoundError(f"{path}: no such file or folder; check the name")
    if source.is_dir():
        return [dicom.read_folder(source, series)]
    if series is not None:
        raise ValueError(f"{path}: series={series!r} wants a folder of DICOM files, got a file; leave series out")
    kind = _format(source)
    reader = headers.open_header(source, kind)
    axes = reader.GetDimension()
    if axes not in (2, 3, 4):
        raise ValueError(f"{path}: has {axes} axes {reader.GetSize()}; wanted 2, 3 or 4 (time); split the file first")
    geometry = headers.geometry(source, reader)
    metadata = _metadata(reader, kind)
    modality = metadata.get("0008|0060", "") if kind is headers.DICOM else metadata.pop("modality", "")
    # Sequences and gradient tables: their components are images of their own.
    listed = axes == 3 and reader.GetNumberOfComponents() > 1 and _meta(reader, "NRRD_kinds[pixel]") == "list"
    if axes == 4:
        metadata[TIME_SPACING] = repr(reader.GetSpacing()[3])
    array = headers.load(source, reader)
    if axes == 2:
        array = array[None]
    if listed:
        array = np.moveaxis(array, -1, 0)
    arrays = list(array) if axes == 4 or listed else [array]
    return [Volume(a, geometry, modality, kind.name, dict(metadata)) for a in arrays]


def _format(path: Path) -> Format:
    extension = claims.extension(path)
    if extension in FORMATS:
        return FORMATS[extension]
    if extension == "" or headers.is_dicom(path):  # DICOM files are often named by a UID
        return headers.DICOM
    raise ValueError(f"{path}: unknown extension {extension}; wanted {', '.join(FORMATS)} or a DICOM file; convert it")


def _meta(reader: sitk.ImageFileReader, key: str) -> str:
    return reader.GetMetaData(key) if reader.HasMetaDataKey(key) else ""


def _metadata(reader: sitk.ImageFileReader, kind: Format) -> dict[str, str]:
    if kind is headers.DICOM:
        return dicom.tags_of(reader)
    keys = [key for key in reader.GetMetaDataKeys() if key.isprintable()]  # SimpleITK cannot look up damaged ones
    if kind.name == "nifti":  # the other entries describe the file's grid, not the image
        keys = [key for key in ("descrip", "intent_name", "aux_file") if _meta(reader, key)]
    drop = "Modality" if kind.name == "metaimage" else None  # MetaIO's own word, not DICOM's code
    return {
        key: headers.text(reader.GetMetaData(key))
        for key in keys
        if not key.startswith(("NRRD_", "ITK_")) and key != drop
    }


def _set_metadata(image: sitk.Image, volume: Volume, extra: Mapping[str, str] | None, extension: str) -> None:
    own = {key: value for key, value in volume.metadata.items() if not dicom.is_dicom_key(key) and key != TIME_SPACING}
    entries = {**own, **({"modality": volume.modality} if volume.modality else {}), **(extra or {})}
    for key, value in entries.items():
        if not (isinstance(key, str) and isinstance(value, str)):
            raise ValueError(f"metadata: {key!r} is {type(value).__name__}; wanted strings; convert it with json.dumps")
        if not key or ":=" in key or key[0] == "#" or key != key.strip() or not key.isprintable():
            raise ValueError(f"metadata: {key!r} cannot be a key; wanted printable letters without ':=' or a first '#'")
        plain = re.fullmatch(r"[\w.|-]+", key, re.ASCII) and value.isascii() and value.isprintable()
        fits = value == value.strip() and 0 < len(value) <= _META_LENGTH and key.lower() not in _META_WORDS
        if extension == ".nrrd" or (extension == ".mha" and plain and fits):
            image.SetMetaData(key, value)
        elif extension in (".nii", ".nii.gz") and key == "descrip":
            image.SetMetaData("ITK_FileNotes", value[:79])


def _time_spacing(volume: Volume, target: Path) -> float:
    value = volume.metadata.get(TIME_SPACING, "1.0")
    try:
        step = float(value)
    except ValueError:
        step = np.nan
    if not (np.isfinite(step) and step > 0):
        raise ValueError(f"{target}: metadata {TIME_SPACING} is {value!r}; wanted a positive number; mend or remove it")
    return step


def _encodable(array: np.ndarray, extension: str, target: Path) -> np.ndarray:
    """The array in a type the format holds, values unchanged (float64 to TIFF is rounded to float32)."""
    if array.size == 0:
        raise ValueError(f"{target}: array of shape {array.shape} has no voxels; wanted at least one")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        raise ValueError(f"{target}: no format holds {array.dtype}; wanted float64 or smaller; convert it first")
    if extension == ".png":
        return _for_png(array, target)
    if extension in (".tif", ".tiff") and array.dtype.itemsize == 8:
        if array.dtype.kind == "f":
            return array.astype(np.float32)
        small = next((t for t in (np.int32, np.uint32) if _fits(array, t)), None)
        if small is None:
            raise ValueError(f"{target}: values exceed TIFF's 32 bits; wanted smaller ones; write .nrrd or .nii.gz")
        return array.astype(small)
    return array


def _for_png(array: np.ndarray, target: Path) -> np.ndarray:
    if array.shape[0] != 1:
        raise ValueError(f"{target}: PNG holds one slice, got {array.shape[0]}; write .tif or .nrrd, or pick a slice")
    if array.ndim == 4 and array.shape[3] not in (1, 3, 4):
        raise ValueError(f"{target}: PNG holds 1, 3 or 4 components, got {array.shape[3]}; write .tif or .nrrd")
    if array.dtype.kind == "f":
        raise ValueError(f"{target}: PNG holds integers, got {array.dtype}; scale to uint8 or uint16, or write .tif")
    kind = np.uint8 if array.dtype.itemsize == 1 else np.uint16
    if not _fits(array, kind):
        raise ValueError(
            f"{target}: values {array.min()} to {array.max()} do not fit PNG's {np.dtype(kind)}; shift or window them, "
            "or write .tif or .nrrd"
        )
    return array.astype(kind)


def _fits(array: np.ndarray, kind: type) -> bool:
    return int(array.min()) >= np.iinfo(kind).min and int(array.max()) <= np.iinfo(kind).max


def _write(image: sitk.Image, target: Path) -> None:
    """Write beside the target, look whether all of it arrived, then take its name."""
    extension = claims.extension(target)
    kind = FORMATS[extension]
    temporary = target.with_name(f".{uuid.uuid4().hex}{extension}")
    writer = sitk.ImageFileWriter()
    writer.SetImageIO(kind.image_io)
    writer.SetFileName(str(temporary))
    writer.SetUseCompression(extension in (".nrrd", ".mha", ".nii.gz"))
    try:
        with headers.quiet():
            writer.Execute(image)
        headers.open_header(temporary, kind)  # ITK writes NIfTI and PNG to a full disk without a word
        os.replace(temporary, target)
    except (RuntimeError, ValueError, OSError) as error:
        why = headers.reason(error).replace(str(temporary), "the file")
        raise OSError(
            f"{target}: could not be written ({why}); free space on the disk or choose another folder"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)
