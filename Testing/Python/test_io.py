"""Files to Volume and back: one oblique, anisotropic, non-cubic volume through every format, and each bad input."""

import gzip
import os
import struct
import sys
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from DLReconLib import headers
from DLReconLib.io import check_output, read_series, read_volume, write_series, write_volume
from DLReconLib.volume import Geometry, Volume

WHOLE = [".nrrd", ".mha", ".nii", ".nii.gz"]  # what keeps the grid


def rotation(a: float, b: float, c: float) -> np.ndarray:
    """Turns about z, y, x, in radians."""
    z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    x = np.array([[1, 0, 0], [0, np.cos(c), -np.sin(c)], [0, np.sin(c), np.cos(c)]])
    return z @ y @ x


OBLIQUE = Geometry((0.7, 1.3, 2.9), (-31.5, 12.25, 107.0), tuple(map(tuple, rotation(0.3, -0.5, 0.2))))


def volume(dtype: str = "int16", components: int = 0, geometry: Geometry = OBLIQUE, k: int = 5, **more) -> Volume:
    shape = (k, 6, 7, components) if components else (k, 6, 7)
    return Volume((np.random.default_rng(1).random(shape) * 100).astype(dtype), geometry, **more)


def write_dicom(path: Path, height: float = 0.0, *, series: str = "1.2.3.4", turn: np.ndarray | None = None, **tags):
    """One CT slice 8 x 6 whose lowest pixel value is its height, at origin + height * normal + lean * row."""
    turn = np.eye(3) if turn is None else turn
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    image = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    image.StudyInstanceUID, image.SeriesInstanceUID = "1.2.3", series
    image.Modality, image.SeriesDescription, image.PatientName = "CT", f"scan {series}", "Doe^Jane"
    image.Rows, image.Columns, image.SamplesPerPixel, image.PhotometricInterpretation = 8, 6, 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
    image.PixelSpacing = [0.8, 0.5]  # rows (along j), columns (along i)
    image.ImageOrientationPatient = [f"{v:.9f}" for v in (*turn[:, 0], *turn[:, 1])]
    position = np.array([10.0, -20.0, 30.0]) + height * turn[:, 2] + tags.pop("lean", 0.0) * turn[:, 0]
    image.ImagePositionPatient = [f"{v:.6f}" for v in position]
    pixels = np.arange(48, dtype="<i2").reshape(8, 6) + round(height * 10)
    image.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(image, name, value)
    image.save_as(path, enforce_file_format=True)


def one_line(error: pytest.ExceptionInfo, *words: str) -> None:
    text = str(error.value)
    assert "\n" not in text and "0x" not in text and ".cxx" not in text, text
    for word in words:
        assert word in text, (word, text)


# Grids, types, components


@pytest.mark.parametrize("extension", WHOLE)
@pytest.mark.parametrize("components", [0, 3])
@pytest.mark.parametrize("k", [1, 5])
def test_oblique_volume_comes_back(tmp_path, extension, components, k):
    sent = volume(components=components, k=k)
    write_volume(sent, tmp_path / f"v{extension}")
    back = read_volume(tmp_path / f"v{extension}")
    assert back.array.dtype == sent.array.dtype and np.array_equal(back.array, sent.array)
    tolerance = 1e-4 if "nii" in extension else 1e-9  # NIfTI keeps float32
    assert np.allclose(back.geometry.matrix(), sent.geometry.matrix(), atol=tolerance)
    assert back.origin_format == {".nrrd": "nrrd", ".mha": "metaimage"}.get(extension, "nifti")


def test_nifti_grid_agrees_with_nibabel(tmp_path):
    sent = volume()
    write_volume(sent, tmp_path / "v.nii.gz")
    other = nibabel.load(tmp_path / "v.nii.gz")
    assert np.allclose(np.diag([-1, -1, 1, 1]) @ other.affine, sent.geometry.matrix(), atol=1e-4)
    assert np.array_equal(np.asarray(other.dataobj).T, sent.array)


@pytest.mark.parametrize("extension", WHOLE)
@pytest.mark.parametrize(
    "dtype",
    ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64", ">i2", ">f4"],
)
def test_types_are_kept(tmp_path, extension, dtype):
    array = volume(dtype).array.copy()
    array.flat[0] = np.iinfo(dtype).max if array.dtype.kind in "iu" else np.pi
    write_volume(Volume(array), tmp_path / f"v{extension}")
    back = read_volume(tmp_path / f"v{extension}").array
    assert back.dtype == array.dtype.newbyteorder("=") and np.array_equal(back, array)


def test_float16_becomes_float32_and_strided_arrays_are_written(tmp_path):
    array = volume("float16").array[:, ::-1, ::2]
    write_volume(Volume(array), tmp_path / "v.nrrd")
    back = read_volume(tmp_path / "v.nrrd").array
    assert back.dtype == np.float32 and np.array_equal(back, array)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    angles=st.tuples(*[st.floats(-3.1, 3.1)] * 3),
    spacing=st.tuples(*[st.floats(0.01, 50)] * 3),
    origin=st.tuples(*[st.floats(-2000, 2000)] * 3),
    shape=st.tuples(*[st.integers(1, 5)] * 3),
    mirrored=st.booleans(),
)
def test_any_grid_survives_nrrd(tmp_path, angles, spacing, origin, shape, mirrored):
    turn = rotation(*angles) * ((1, 1, -1) if mirrored else (1, 1, 1))
    sent = Volume(np.arange(np.prod(shape), dtype=np.int32).reshape(shape), Geometry(spacing, origin, turn))
    write_volume(sent, tmp_path / "v.nrrd", overwrite=True)
    back = read_volume(tmp_path / "v.nrrd")
    assert np.array_equal(back.array, sent.array)
    assert np.allclose(back.geometry.matrix(), sent.geometry.matrix(), atol=1e-6)


def test_detached_headers_are_read(tmp_path):
    image = sitk.GetImageFromArray(volume().array)
    for extension in (".mhd", ".nhdr"):
        sitk.WriteImage(image, str(tmp_path / f"v{extension}"))
        assert np.array_equal(read_volume(tmp_path / f"v{extension}").array, volume().array)


def test_nifti_slope_is_applied(tmp_path):
    image = nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    nibabel.save(image, tmp_path / "v.nii")
    raw = bytearray((tmp_path / "v.nii").read_bytes())
    struct.pack_into("<2f", raw, 112, 2.5, -5.0)
    (tmp_path / "v.nii").write_bytes(raw)
    assert read_volume(tmp_path / "v.nii").array[3, 2, 1] == 2.5 * 23 - 5


@pytest.mark.parametrize("name", ["mit Leerzeichen.nrrd", "größe 日本.nii.gz", "ñ.mha", "é à.png", "ü.tif"])
def test_unicode_and_spaces_in_names(tmp_path, name):
    folder = tmp_path / "Ordner ü 日"
    folder.mkdir()
    sent = volume("uint8", k=1)
    write_volume(sent, str(folder / name))
    assert np.array_equal(read_volume(folder / name).array, sent.array)
    assert [p.name for p in folder.iterdir()] == [name]


# Pictures


@pytest.mark.parametrize("extension", [".png", ".tif", ".tiff"])
@pytest.mark.parametrize("components", [0, 3])
def test_slice_is_written_as_2d(tmp_path, extension, components):
    sent = volume("uint8", components, k=1)
    write_volume(sent, tmp_path / f"v{extension}")
    assert sitk.ReadImage(str(tmp_path / f"v{extension}")).GetDimension() == 2
    back = read_volume(tmp_path / f"v{extension}")
    assert back.array.dtype == np.uint8 and np.array_equal(back.array, sent.array)
    assert np.array_equal(back.geometry.direction, np.eye(3))


@pytest.mark.parametrize("dtype", ["uint16", "float32", "int32"])
def test_tiff_holds_stacks(tmp_path, dtype):
    write_volume(volume(dtype), tmp_path / "v.tif")
    back = read_volume(tmp_path / "v.tif")
    assert back.array.dtype == dtype and np.array_equal(back.array, volume(dtype).array)


def test_wide_types_in_pictures(tmp_path):
    write_volume(volume("float64"), tmp_path / "f.tif")
    assert read_volume(tmp_path / "f.tif").array.dtype == np.float32
    write_volume(volume("int64", k=1), tmp_path / "i.png")
    assert np.array_equal(read_volume(tmp_path / "i.png").array, volume("int64", k=1).array)
    write_volume(volume("int64"), tmp_path / "i.tif")
    assert np.array_equal(read_volume(tmp_path / "i.tif").array, volume("int64").array)
    with pytest.raises(ValueError) as error:
        write_volume(Volume(np.full((1, 2, 2), 2**40)), tmp_path / "big.tif")
    one_line(error, "32 bits", ".nrrd")


@pytest.mark.parametrize(
    ("sent", "word"),
    [
        (volume("uint8"), "one slice, got 5"),
        (volume("float32", k=1), "float32"),
        (Volume(np.full((1, 3, 3), -1000, np.int16)), "-1000"),
        (volume("uint8", 2, k=1), "got 2"),
    ],
)
def test_png_says_what_it_cannot_hold(tmp_path, sent, word):
    with pytest.raises(ValueError) as error:
        write_volume(sent, tmp_path / "v.png")
    one_line(error, word, "PNG")
    assert not list(tmp_path.iterdir())


def test_jpeg_is_read(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.full((8, 9), 77, np.uint8)), str(tmp_path / "v.jpg"))
    back = read_volume(tmp_path / "v.jpg")
    assert back.array.shape == (1, 8, 9) and abs(int(back.array.mean()) - 77) < 3 and back.origin_format == "jpeg"


# Time series


@pytest.mark.parametrize("extension", WHOLE)
@pytest.mark.parametrize("components", [0, 2])
def test_series_comes_back(tmp_path, extension, components):
    first = volume("float32", components, metadata={"time_spacing": "2.5"})
    sent = [first.with_array(first.array + t) for t in range(4)]
    write_series(sent, tmp_path / f"t{extension}")
    back = read_series(tmp_path / f"t{extension}")
    assert len(back) == 4 and all(np.array_equal(b.array, s.array) for b, s in zip(back, sent, strict=True))
    assert all(b.geometry == back[0].geometry and b.geometry.matches(OBLIQUE) for b in back)
    assert float(back[0].metadata["time_spacing"]) == 2.5
    with pytest.raises(ValueError) as error:
        read_volume(tmp_path / f"t{extension}")
    one_line(error, "4 time points", "read_series")


def test_4d_nifti_of_another_program(tmp_path):
    array = np.arange(120, dtype=np.int16).reshape(5, 4, 3, 2)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([1, 2, 3, 1])), tmp_path / "t.nii.gz")
    assert [np.array_equal(v.array, array[..., t].T) for t, v in enumerate(read_series(tmp_path / "t.nii.gz"))] == [
        1,
        1,
    ]


def test_list_axis_of_nrrd_is_a_series(tmp_path):
    header = (
        "NRRD0005\ntype: short\ndimension: 4\nspace: left-posterior-superior\nsizes: 3 5 6 7\nspace directions: none "
        "(1,0,0) (0,2,0) (0,0,3)\nkinds: list domain domain domain\nendian: little\nencoding: raw\n"
        "space origin: (1,2,3)\n\n"
    )
    array = np.arange(630, dtype="<i2").reshape(7, 6, 5, 3)
    (tmp_path / "s.seq.nrrd").write_bytes(header.encode() + array.tobytes())
    back = read_series(tmp_path / "s.seq.nrrd")
    assert len(back) == 3 and np.array_equal(back[1].array, array[..., 1])


def test_3d_file_is_a_series_of_one_and_4d_of_one_a_volume(tmp_path):
    write_volume(volume(), tmp_path / "v.nrrd")
    assert len(read_series(tmp_path / "v.nrrd")) == 1
    write_series([volume()], tmp_path / "one.nrrd")
    assert np.array_equal(read_volume(tmp_path / "one.nrrd").array, volume().array)


def test_series_of_unlike_volumes_is_refused(tmp_path):
    moved = Geometry(OBLIQUE.spacing, (0, 0, 0), OBLIQUE.direction)
    cases = [([], "no volumes"), ([volume(), volume(k=4)], "shape"), ([volume(), volume("uint8")], "type")]
    for sent, word in [*cases, ([volume(), volume(geometry=moved)], "another grid")]:
        with pytest.raises(ValueError) as error:
            write_series(sent, tmp_path / "t.nrrd")
        one_line(error, word)
    with pytest.raises(ValueError, match="no time series"):
        write_series([volume()], tmp_path / "t.tif")
    with pytest.raises(ValueError, match="time_spacing"):
        write_series([volume(metadata={"time_spacing": "fast"})], tmp_path / "t.nrrd")


# Metadata


def test_nrrd_carries_metadata(tmp_path):
    record = {
        "dlrecon": '{"model": "x", "n": [1, 2]}',
        "Größe": "日本\nzweite \\n Zeile",
        "encoding": "hex",
        "spaces": "  x  ",
        "long": "x" * 99999,
    }
    write_volume(volume(modality="MR", metadata={"own": "kept"}), tmp_path / "v.nrrd", metadata=record)
    back = read_volume(tmp_path / "v.nrrd")
    assert back.metadata == {"own": "kept", **record} and back.modality == "MR"
    write_volume(back, tmp_path / "again.nrrd")
    assert read_volume(tmp_path / "again.nrrd").metadata == back.metadata


def test_metaimage_carries_what_cannot_break_its_header(tmp_path):
    record = {
        "dlrecon": '{"a": [1, "b=c"]}',
        "DimSize": "1 1 1",
        "two": "a\nNDims = 9",
        "Größe": "1",
        "long": "x" * 99999,
    }
    write_volume(volume(modality="CT"), tmp_path / "v.mha", metadata=record)
    back = read_volume(tmp_path / "v.mha")
    assert back.metadata == {"dlrecon": record["dlrecon"]} and back.modality == "CT"
    assert np.array_equal(back.array, volume().array) and back.geometry.matches(OBLIQUE)


def test_nifti_carries_its_description(tmp_path):
    write_volume(volume(), tmp_path / "v.nii", metadata={"descrip": "made by a test"})
    assert read_volume(tmp_path / "v.nii").metadata == {"descrip": "made by a test"}


def test_dicom_tags_are_not_written_unless_asked(tmp_path):
    write_dicom(tmp_path / "a.dcm")
    image = read_volume(tmp_path / "a.dcm")
    assert image.metadata["0010|0010"] == "Doe^Jane"
    write_volume(image, tmp_path / "v.nrrd", metadata={"0008|103e": "asked"})
    back = read_volume(tmp_path / "v.nrrd")
    assert back.metadata == {"0008|103e": "asked"} and back.modality == "CT"
    assert b"Doe" not in (tmp_path / "v.nrrd").read_bytes()


@pytest.mark.parametrize("entry", [{"a:=b": "c"}, {"#a": "b"}, {"": "b"}, {"a\nb": "c"}, {"a": 1}])
def test_bad_metadata_is_refused(tmp_path, entry):
    with pytest.raises(ValueError, match="metadata"):
        write_volume(volume(), tmp_path / "v.nrrd", metadata=entry)


# DICOM


def stack(folder: Path, heights, *, names=None, **more) -> None:
    folder.mkdir(exist_ok=True)
    for number, height in enumerate(heights):
        write_dicom(folder / (names[number] if names else f"{more.get('series', 's')}-{number:03}.dcm"), height, **more)


@pytest.mark.parametrize("turn", [np.eye(3), rotation(0.4, 0.2, -0.3)], ids=["axial", "oblique"])
def test_dicom_folder_agrees_with_simpleitk(tmp_path, turn):
    stack(tmp_path, [0, 2.5, 5, 7.5], names=["9", "7.dcm", "4.IMA", "1.2.3.4"], turn=turn)  # files run downwards
    back = read_volume(tmp_path)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path)))
    other = reader.Execute()
    assert np.array_equal(back.array, sitk.GetArrayFromImage(other)) and back.array.shape == (4, 8, 6)
    assert list(back.array[:, 0, 0]) == [0, 25, 50, 75]
    expected = Geometry(other.GetSpacing(), other.GetOrigin(), np.reshape(other.GetDirection(), (3, 3)))
    assert np.allclose(back.geometry.matrix(), expected.matrix(), atol=1e-5)
    assert np.allclose(back.geometry.spacing, (0.5, 0.8, 2.5)) and np.allclose(back.geometry.direction, turn, atol=1e-6)
    assert (back.modality, back.origin_format, back.metadata["0020|000e"]) == ("CT", "dicom", "1.2.3.4")


def test_dicom_rescale_is_applied_slice_by_slice(tmp_path):
    write_dicom(tmp_path / "a.dcm", 0, RescaleSlope=1, RescaleIntercept=-1024)
    write_dicom(tmp_path / "b.dcm", 2, RescaleSlope=0.5, RescaleIntercept=3)  # as in PET
    back = read_volume(tmp_path)
    assert back.array[0, 0, 5] == 5 - 1024 and back.array[1, 0, 5] == 0.5 * 25 + 3


def test_several_series_are_listed_and_chosen(tmp_path):
    stack(tmp_path, [0, 1, 2], series="1.2.3.4")
    stack(tmp_path, [0, 3], series="1.2.3.45")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "report.dcm").write_bytes(Path(get_testdata_file("reportsi.dcm")).read_bytes())
    with pytest.raises(ValueError) as error:
        read_volume(tmp_path)
    one_line(error, "2 series", "1.2.3.4 (scan 1.2.3.4, 3 files)", "1.2.3.45 (scan 1.2.3.45, 2 files)", "series=")
    assert len(read_volume(tmp_path, series="1.2.3.45").array) == 2
    assert len(read_volume(tmp_path, series="1.2.3.4").array) == 3  # the whole UID wins over a longer one
    for wrong in ("1.2", "9"):
        with pytest.raises(ValueError, match="begins with"):
            read_volume(tmp_path, series=wrong)
    with pytest.raises(ValueError, match="series"):
        read_volume(tmp_path / "1.2.3.4-000.dcm", series="1.2.3.4")


@pytest.mark.parametrize(
    ("heights", "words"),
    [
        ([0, 2, 4, 8, 10], ("gap of 4.000 mm", "slices 3 and 4", "s-002.dcm", "2.000 mm")),
        ([0, 2, 4.1], ("gap of 2.100 mm",)),
        ([0, 2, 2, 4], ("same position", "s-001.dcm")),
    ],
    ids=["missing", "uneven", "twice"],
)
def test_irregular_stacks_are_refused(tmp_path, heights, words):
    stack(tmp_path, heights)
    with pytest.raises(ValueError) as error:
        read_volume(tmp_path)
    one_line(error, *words)


def test_rounded_positions_are_accepted(tmp_path):
    stack(tmp_path, [0, 0.63, 1.25, 1.88, 2.5])
    assert np.isclose(read_volume(tmp_path).geometry.spacing[2], 0.625)


def test_tilt_scouts_and_mixed_sizes_are_refused(tmp_path):
    for name, second, words in [
        ("tilt", {"height": 3, "lean": 1.0}, ("leans", "18.43 degrees", "gantry")),
        ("scout", {"height": 3, "turn": rotation(0, 1.0, 0)}, ("turned",)),
        ("size", {"height": 3, "Rows": 4}, ("one size",)),
        ("pixels", {"height": 3, "PixelSpacing": [1, 1]}, ("pixels of",)),
    ]:
        folder = tmp_path / name
        stack(folder, [0])
        write_dicom(folder / "b.dcm", **second)
        with pytest.raises(ValueError) as error:
            read_volume(folder)
        one_line(error, *words)


def test_slices_without_position_are_refused(tmp_path):
    stack(tmp_path, [0, 1])
    image = pydicom.dcmread(tmp_path / "s-001.dcm")
    del image.ImagePositionPatient
    image.save_as(tmp_path / "s-001.dcm")
    with pytest.raises(ValueError) as error:
        read_volume(tmp_path)
    one_line(error, "s-001.dcm", "0020,0032")


def test_damaged_slice_is_named_not_skipped(tmp_path):
    stack(tmp_path, [0, 1, 2])
    whole = (tmp_path / "s-002.dcm").read_bytes()
    for count in (len(whole) - 40, len(whole) - 110):
        (tmp_path / "s-002.dcm").write_bytes(whole[:count])
        with pytest.raises(ValueError) as error:
            read_volume(tmp_path)
        one_line(error, "s-002.dcm")


@pytest.mark.parametrize(("name", "modality", "corner"), [("CT_small.dcm", "CT", None), ("MR_small.dcm", "MR", None)])
def test_real_dicom_files(tmp_path, name, modality, corner):
    path = Path(get_testdata_file(name))
    image, back = pydicom.dcmread(path), read_volume(path)
    slope, intercept = float(image.get("RescaleSlope", 1)), float(image.get("RescaleIntercept", 0))
    assert np.array_equal(back.array[0], image.pixel_array * slope + intercept)
    assert np.allclose(back.geometry.origin, [float(v) for v in image.ImagePositionPatient])
    assert np.allclose(back.geometry.spacing[:2], [float(v) for v in image.PixelSpacing][::-1])
    assert back.modality == modality and back.metadata["0008|0060"] == modality
    (tmp_path / "IM0001").write_bytes(path.read_bytes())
    (tmp_path / "1.2.840.5").write_bytes(path.read_bytes())
    for other in ("IM0001", "1.2.840.5"):
        assert np.array_equal(read_volume(tmp_path / other).array, back.array)


def test_description_in_latin_1_is_readable(tmp_path):
    write_dicom(tmp_path / "a.dcm", SpecificCharacterSet="ISO_IR 100", SeriesDescription="Schädel")
    assert read_volume(tmp_path / "a.dcm").metadata["0008|103e"] == "Schädel"


def test_folders_without_dicom(tmp_path):
    with pytest.raises(ValueError) as error:
        read_volume(tmp_path)
    one_line(error, "0 files")
    (tmp_path / "inner").mkdir()
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "junk.dcm").write_bytes(b"junk" * 100)
    with pytest.raises(ValueError) as error:
        read_volume(tmp_path)
    one_line(error, "2 files", "sub-folder")


# Bad input


def test_missing_files(tmp_path):
    for path in (tmp_path / "no.nrrd", str(tmp_path / "no" / "v.nii.gz"), tmp_path / "no-folder"):
        with pytest.raises(FileNotFoundError) as error:
            read_volume(path)
        one_line(error, str(path))


def test_unknown_extension(tmp_path):
    (tmp_path / "v.xyz").write_bytes(b"x" * 500)
    with pytest.raises(ValueError) as error:
        read_volume(tmp_path / "v.xyz")
    one_line(error, ".xyz", ".nrrd")


@pytest.mark.parametrize("extension", list(headers.FORMATS))
@pytest.mark.parametrize("content", [b"", b"hello" * 200, b"\x1f\x8bxx", b"NRRD0005\n", b"\x5c\x01\0\0"])
def test_junk_is_refused_in_silence(tmp_path, capfd, extension, content):
    (tmp_path / f"v{extension}").write_bytes(content)
    with pytest.raises(ValueError) as error:
        read_volume(tmp_path / f"v{extension}")
    one_line(error, f"v{extension}")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("extension", [".nrrd", ".mha", ".nii", ".nii.gz", ".png", ".tif", ".jpg", ".dcm"])
@pytest.mark.parametrize("part", [0.97, 0.6])
def test_files_cut_short_are_refused(tmp_path, extension, part):
    path = tmp_path / f"v{extension}"
    array = np.random.default_rng(0).integers(0, 255, (1, 60, 70), np.uint8)
    if extension == ".dcm":
        write_dicom(path)
    elif extension == ".jpg":
        sitk.WriteImage(sitk.GetImageFromArray(array[0]), str(path))
    else:
        write_volume(Volume(array), path)
    read_volume(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(ValueError) as error:
        read_volume(path)
    one_line(error, f"v{extension}")


@pytest.mark.parametrize("offset", [np.nan, np.inf, 1e30])
def test_nifti_offset_must_be_a_place_in_the_file(tmp_path, offset):
    write_volume(volume(), tmp_path / "v.nii")
    raw = bytearray((tmp_path / "v.nii").read_bytes())
    struct.pack_into("<f", raw, 108, offset)
    (tmp_path / "v.nii").write_bytes(raw)
    with pytest.raises(ValueError) as error:
        read_volume(tmp_path / "v.nii")
    one_line(error, "v.nii")


def test_gzip_of_several_members_is_read(tmp_path):
    write_volume(volume(), tmp_path / "v.nii")
    raw = (tmp_path / "v.nii").read_bytes()
    (tmp_path / "v.nii.gz").write_bytes(gzip.compress(raw[:500]) + gzip.compress(raw[500:]) + gzip.compress(b""))
    assert np.array_equal(read_volume(tmp_path / "v.nii.gz").array, volume().array)


NRRD = (
    "NRRD0005\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: {n} {n} {n}\n"
    "space directions: {d}\nkinds: domain domain domain\nendian: little\nencoding: {e}\nspace origin: (0,0,0)\n\n"
)
META = "ObjectType = Image\nNDims = 3\nBinaryData = True\nCompressedData = {c}\nDimSize = {n} {n} {n}\n"
META += "TransformMatrix = {d}\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"


def nifti_header(n: int) -> bytes:
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, n, n, n, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 4, 16)
    struct.pack_into("<8f", header, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into("<f", header, 108, 352)
    header[344:348] = b"n+1\0"
    return bytes(header)


def bombs() -> dict[str, bytes]:
    straight, meta = "(1,0,0) (0,1,0) (0,0,1)", "1 0 0 0 1 0 0 0 1"
    return {
        "raw.nrrd": NRRD.format(n=100000, d=straight, e="raw").encode() + b"xx",
        "gzip.nrrd": NRRD.format(n=100000, d=straight, e="gzip").encode() + gzip.compress(b"xx"),
        "bzip2.nrrd": NRRD.format(n=100000, d=straight, e="bzip2").encode() + b"BZh9xx",
        "raw.mha": META.format(n=100000, d=meta, c="False").encode() + b"xx",
        "zlib.mha": META.format(n=100000, d=meta, c="True").encode() + b"xx",
        "raw.nii": nifti_header(30000) + b"xx",
        "gzip.nii.gz": gzip.compress(nifti_header(30000) + b"xx"),
        "v.tif": b"II*\0\x08\0\0\0\x05\0"
        + b"".join(
            struct.pack("<HHII", tag, 4, 1, value)
            for tag, value in [(256, 10**5), (257, 10**5), (258, 8), (273, 8), (279, 10)]
        )
        + b"\0" * 20,
    }


@pytest.mark.parametrize("name", bombs())
def test_headers_that_claim_too_much_are_refused_without_allocating(tmp_path, monkeypatch, name):
    (tmp_path / name).write_bytes(bombs()[name])
    monkeypatch.setattr(sitk.ImageFileReader, "Execute", lambda self: pytest.fail("began to read"))
    with pytest.raises(ValueError) as error:
        read_volume(tmp_path / name)
    one_line(error, name)


def test_dicom_that_claims_too_much_is_refused(tmp_path):
    write_dicom(tmp_path / "a.dcm", Rows=60000, Columns=60000)
    with pytest.raises(ValueError) as error:
        read_volume(tmp_path / "a.dcm")
    one_line(error, "a.dcm")


def test_images_larger_than_memory_are_refused(tmp_path, monkeypatch):
    write_volume(volume(), tmp_path / "v.nrrd")
    stack(tmp_path / "dicom", [0, 1])
    monkeypatch.setattr(headers, "available_memory", lambda: 100)
    for path in (tmp_path / "v.nrrd", tmp_path / "dicom"):
        with pytest.raises(ValueError) as error:
            read_volume(path)
        one_line(error, "GiB")


def test_grids_that_are_not_orthogonal_are_refused(tmp_path):
    sheared = np.diag([1.0, 2, 3, 1])
    sheared[0, 1] = 0.7
    image = nibabel.Nifti1Image(np.zeros((4, 5, 6), np.int16), sheared)
    image.set_sform(sheared, 1)
    image.set_qform(None, 0)
    nibabel.save(image, tmp_path / "v.nii")
    (tmp_path / "v.nrrd").write_bytes(NRRD.format(n=2, d="(1,0,0) (1,2,0) (0,0,1)", e="raw").encode() + bytes(16))
    (tmp_path / "v.mha").write_bytes(META.format(n=2, d="1 0 0 0.5 1 0 0 0 1", c="False").encode() + bytes(16))
    for name in ("v.nii", "v.nrrd", "v.mha"):
        with pytest.raises(ValueError) as error:
            read_volume(tmp_path / name)
        one_line(error, name, "orthogonal")


def test_complex_nifti2_and_five_axes_are_refused(tmp_path):
    array = np.zeros((3, 4, 5))
    nibabel.save(nibabel.Nifti1Image(array.astype(np.complex64), np.eye(4)), tmp_path / "complex.nii")
    nibabel.save(nibabel.Nifti2Image(array, np.eye(4)), tmp_path / "two.nii")
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 4, 5, 2, 2)), np.eye(4)), tmp_path / "five.nii")
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / "plain.nii")
    (tmp_path / "plain.nii").rename(tmp_path / "plain.nii.gz")
    for name, word in [
        ("complex.nii", "complex"),
        ("two.nii", "NIfTI-2"),
        ("five.nii", "5 axes"),
        ("plain.nii.gz", "rename"),
    ]:
        with pytest.raises(ValueError) as error:
            read_volume(tmp_path / name)
        one_line(error, name, word)


@pytest.mark.parametrize(
    ("old", "new"),
    [("NDims = 3", "NDims = -3"), ("NDims = 3", "NDims = 99"), ("DimSize = 2 2 2", "DimSize = 2 2"), ("DimSize", "D")],
)
def test_metaimage_headers_that_crash_metaio_are_refused(tmp_path, old, new):
    header = META.format(n=2, d="1 0 0 0 1 0 0 0 1", c="False")
    (tmp_path / "v.mha").write_bytes(header.encode() + bytes(16))
    assert read_volume(tmp_path / "v.mha").array.shape == (2, 2, 2)
    (tmp_path / "v.mha").write_bytes(header.replace(old, new).encode() + bytes(16))
    with pytest.raises(ValueError) as error:
        read_volume(tmp_path / "v.mha")
    one_line(error, "v.mha", "NDims")


def test_damaged_metadata_key_is_skipped(tmp_path):
    header = META.format(n=2, d="1 0 0 0 1 0 0 0 1", c="False").encode().replace(b"DimSize", b"k\xffy = a\nDimSize")
    (tmp_path / "v.mha").write_bytes(header + bytes(16))
    assert read_volume(tmp_path / "v.mha").metadata == {}


@pytest.mark.parametrize("name", ["examples_palette.dcm", "SC_ybr_full_422_uncompressed.dcm", "rtdose.dcm"])
def test_dicom_whose_voxels_grow_when_read(name):
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip("this release of pydicom does not carry the file")
    assert read_volume(path).array.size


def test_plane_of_nifti_keeps_its_place(tmp_path):
    matrix = np.diag([1.0, 2, 3, 1])
    matrix[:3, 3] = 4, 5, 6
    nibabel.save(nibabel.Nifti1Image(np.zeros((7, 6), np.int16), matrix), tmp_path / "v.nii")
    assert np.allclose(read_volume(tmp_path / "v.nii").geometry.matrix(), np.diag([-1, -1, 1, 1]) @ matrix)


def test_missing_data_file(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(volume().array), str(tmp_path / "v.mhd"))
    for raw in [*tmp_path.glob("*.raw"), *tmp_path.glob("*.zraw")]:
        raw.unlink()
    with pytest.raises(ValueError, match="is missing"):
        read_volume(tmp_path / "v.mhd")


# Output


def test_check_output(tmp_path):
    there = tmp_path / "there.nrrd"
    write_volume(volume(), there)
    (tmp_path / "folder.nrrd").mkdir()
    cases = [
        ("v.xyz", "cannot write .xyz"),
        ("v", "without extension"),
        ("v.mhd", ".mha"),
        ("v.nhdr", ".nrrd"),
        ("v.jpg", "cannot write"),
        ("v.dcm", ".nii.gz"),
        ("there.nrrd", "exists"),
        ("folder.nrrd", "is a folder"),
    ]
    for name, word in cases:
        with pytest.raises(ValueError) as error:
            check_output(tmp_path / name, False)
        one_line(error, name, word)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        check_output(tmp_path / "no" / "v.nrrd", True)
    check_output(there, True, [tmp_path / "other.nrrd"])
    check_output(tmp_path / "new.nii.gz", False, [there])


def test_output_must_not_be_an_input(tmp_path, monkeypatch):
    there = tmp_path / "there.nrrd"
    write_volume(volume(), there)
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    for same in (there, "there.nrrd", tmp_path / "sub" / ".." / "there.nrrd"):
        with pytest.raises(ValueError, match="also an input"):
            check_output(same, True, [there])
    if sys.platform != "win32":
        (tmp_path / "link.nrrd").symlink_to(there)
        with pytest.raises(ValueError, match="also an input"):
            check_output(tmp_path / "link.nrrd", True, [there])


def test_folder_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *args, **more: False)  # a chmod would not stop root
    with pytest.raises(ValueError, match="not writable"):
        check_output(tmp_path / "v.nrrd", False)


def test_overwriting(tmp_path):
    write_volume(volume(), tmp_path / "v.nrrd")
    with pytest.raises(ValueError, match="exists"):
        write_volume(volume("float32"), tmp_path / "v.nrrd")
    assert read_volume(tmp_path / "v.nrrd").array.dtype == np.int16
    write_volume(volume("float32"), tmp_path / "v.nrrd", overwrite=True)
    assert read_volume(tmp_path / "v.nrrd").array.dtype == np.float32


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match="no voxels"):
        write_volume(Volume(np.zeros((0, 3, 3))), tmp_path / "v.nrrd")
    if np.dtype(np.longdouble).itemsize > 8:
        with pytest.raises(ValueError, match="convert"):
            write_volume(Volume(np.zeros((2, 3, 3), np.longdouble)), tmp_path / "v.nrrd")


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), RuntimeError("itk::ERROR: a\nb (0xff)")])
@pytest.mark.parametrize("extension", [".nrrd", ".nii.gz"])
def test_failed_write_leaves_nothing_behind(tmp_path, monkeypatch, extension, failure):
    target = tmp_path / f"v{extension}"
    write_volume(volume(), target)
    before = target.read_bytes()

    def execute(self, image):
        Path(self.GetFileName()).write_bytes(before[:50])
        raise failure

    monkeypatch.setattr(sitk.ImageFileWriter, "Execute", execute)
    with pytest.raises(OSError, match="could not be written") as error:
        write_volume(volume("float32"), target, overwrite=True)
    assert "\n" not in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == [target.name] and target.read_bytes() == before


@pytest.mark.parametrize("extension", [".nrrd", ".mha", ".nii", ".nii.gz", ".png", ".tif"])
def test_disk_that_fills_up_is_noticed(tmp_path, extension):
    """The limit on a file's size stands for the disk's end: ITK writes NIfTI and PNG past it without an error."""
    resource = pytest.importorskip("resource")
    array = np.random.default_rng(0).integers(0, 2**16, (1, 300, 300), np.uint16)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100000, old[1]))
    try:
        with pytest.raises(OSError, match="could not be written"):
            write_volume(Volume(array), tmp_path / f"v{extension}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert not list(tmp_path.iterdir())


def test_warning_switch_is_put_back(tmp_path):
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    write_volume(volume(), tmp_path / "v.nrrd")
    read_volume(tmp_path / "v.nrrd")
    assert sitk.ProcessObject.GetGlobalWarningDisplay() == shown
