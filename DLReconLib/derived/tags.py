"""The attributes of a derived series: what it keeps of its source, what it says of its making."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

import DLReconLib

# What describes the encoding, the storing or the making of the source and is not true of the derived image.
# fmt: off
DROPPED = (
    "SmallestImagePixelValue", "LargestImagePixelValue", "SmallestPixelValueInSeries", "LargestPixelValueInSeries",
    "PixelPaddingValue", "PixelPaddingRangeLimit", "ModalityLUTSequence", "VOILUTSequence",
    "RealWorldValueMappingSequence", "IconImageSequence", "NumberOfFrames", "FloatPixelPaddingValue",
    "OriginalAttributesSequence", "DigitalSignaturesSequence", "MACParametersSequence", "InstanceCreatorUID",
    "StorageMediaFileSetUID", "ReferencedPerformedProcedureStepSequence", "PerformedProcedureStepID",
    "PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime", "PerformedProcedureStepEndDate",
    "PerformedProcedureStepEndTime", "PerformedProcedureStepDescription", "PerformedProtocolCodeSequence",
    "SourceImageSequence", "ReferencedSeriesSequence", "DerivationCodeSequence", "PixelAspectRatio",
)
# fmt: on
LOSSY = {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.91"}
# Derivations, CID 7203.
SMOOTHING = ("113087", "Smoothing")
RESEARCH = "research use only"


@dataclass(frozen=True)
class Series:
    """What all images of the derived series share."""

    uid: str
    number: int
    description: str
    derivation: str
    model: str
    lossy: bool
    now: datetime

    @classmethod
    def of(cls, headers: Sequence[Dataset], record: Mapping[str, Any], description: str) -> "Series":
        first = headers[0]
        model = (record.get("model") or {}).get("id", "")
        earlier = str(first.get("SeriesDescription", "") or "")
        number = int(first.get("SeriesNumber") or 0)
        return cls(
            uid=generate_uid(None),
            number=number + 1000 if number < 1_000_000 else number + 1,
            description=(description or f"{earlier[: 63 - len(model) - 8]} DLRecon {model}".strip())[:64],
            derivation=derivation(record)[:1024],
            model=model or "unknown model",
            lossy=any(is_lossy(h) for h in headers),
            now=now_of(first),
        )

    def image(self, source: Dataset, number: int) -> Dataset:
        """The attributes of one derived image, without pixels. number: its place in the stack, from 1."""
        image = Dataset()  # a new one forgets in which byte order the source was
        for tag in source.keys():  # noqa: SIM118  (iterating a Dataset decodes every element)
            if not tag.is_private:  # many of those rescale the pixels of their vendor
                image.add(copy.deepcopy(source[tag]))
        image.remove_private_tags()  # those inside of sequences
        for name in DROPPED:
            if name in image:
                del image[name]
        for element in [e.tag for e in image if 0x6000 <= e.tag.group <= 0x60FF or e.tag.element == 0]:
            del image[element]
        image.ImageType = image_type(source)
        image.SOPInstanceUID = generate_uid(None)
        image.SeriesInstanceUID = self.uid
        image.SeriesNumber = self.number
        image.SeriesDescription = self.description
        image.InstanceNumber = number
        day, time = self.now.strftime("%Y%m%d"), self.now.strftime("%H%M%S")
        for kind in ("Series", "Content", "InstanceCreation"):
            setattr(image, f"{kind}Date", day)
            setattr(image, f"{kind}Time", time)
        image.ContentQualification = "RESEARCH"
        image.BurnedInAnnotation = source.get("BurnedInAnnotation") or "NO"
        image.LossyImageCompression = "01" if self.lossy else "00"
        self.tell_making(image, source)
        return image

    def tell_making(self, image: Dataset, source: Dataset) -> None:
        """From which images, by what, how."""
        image.DerivationDescription = self.derivation
        image.DerivationCodeSequence = [code(*SMOOTHING)]
        reference = Dataset()
        reference.ReferencedSOPClassUID = source.SOPClassUID
        reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
        purposed = copy.deepcopy(reference)
        purposed.SpatialLocationsPreserved = "YES"
        purposed.PurposeOfReferenceCodeSequence = [code("121322", "Source image for image processing operation")]
        image.SourceImageSequence = [purposed]
        series = Dataset()
        series.SeriesInstanceUID = source.SeriesInstanceUID
        series.ReferencedInstanceSequence = [reference]
        image.ReferencedSeriesSequence = [series]
        equipment = Dataset()
        equipment.PurposeOfReferenceCodeSequence = [code("109102", "Processing Equipment")]
        equipment.Manufacturer = "DLRecon developers"
        equipment.ManufacturerModelName = f"DLRecon {self.model}"[:64]
        equipment.SoftwareVersions = f"DLRecon {DLReconLib.__version__}"
        equipment.ContributionDateTime = self.now.strftime("%Y%m%d%H%M%S")
        equipment.ContributionDescription = self.derivation
        image.ContributingEquipmentSequence = [*(source.get("ContributingEquipmentSequence") or []), equipment]


def derivation(record: Mapping[str, Any]) -> str:
    """The making in a sentence, ASCII."""
    if not record:
        return f"Processed by DLRecon {DLReconLib.__version__}; {RESEARCH}"
    model, options = record["model"], record.get("options") or {}
    weights = f" (weights SHA-256 {model['sha256'][:16]})" if model.get("sha256") else ""
    text = (f"{options.get('task', 'denoise')} by {record.get('software', 'DLRecon')}, model {model['id']}{weights}, "
            f"strength {options.get('strength', 1)}; {RESEARCH}")  # fmt: skip
    return text.encode("ascii", "replace").decode()


def image_type(source: Dataset) -> list[str]:
    """DERIVED, SECONDARY and the source's further values; PET knows only PRIMARY (C.8.9.4), CT wants AXIAL or
    LOCALIZER, MR at least OTHER."""
    kind = source.get("Modality", "")
    rest = [str(v) for v in (source.get("ImageType") or [])][2:]
    rest = rest or {"CT": ["AXIAL"], "MR": ["OTHER"]}.get(kind, [])
    return ["DERIVED", "PRIMARY" if kind == "PT" else "SECONDARY", *rest]


def is_lossy(header: Dataset) -> bool:
    """Whether the source was ever compressed with loss: that cannot be undone and must be told for ever."""
    return header.get("LossyImageCompression") == "01" or header.file_meta.get("TransferSyntaxUID") in LOSSY


def now_of(header: Dataset) -> datetime:
    """Now, in the time zone that the source's times are told in."""
    offset = str(header.get("TimezoneOffsetFromUTC", "") or "")
    if len(offset) == 5 and offset[1:].isdigit():
        minutes = int(offset[1:3]) * 60 + int(offset[3:])
        return datetime.now(timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes)))
    return datetime.now()


def code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


def set_pixels(image: Dataset, pixels: np.ndarray, slope: str, intercept: str, padding: int | None) -> None:
    """pixels: (rows, columns) int16 or uint16; slope, intercept: decimal strings; padding: stored value or None."""
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
    image.PixelRepresentation = int(pixels.dtype.kind == "i")
    plain = float(slope) == 1 and float(intercept) == 0 and "RescaleSlope" not in image
    if not plain:
        image.RescaleSlope, image.RescaleIntercept = slope, intercept
        if image.Modality in ("CT", "MR") and "RescaleType" not in image:
            image.RescaleType = "HU" if image.Modality == "CT" else "US"
    if padding is not None:
        image.add_new("PixelPaddingValue", "SS" if image.PixelRepresentation else "US", padding)
    image.add_new("PixelData", "OW", pixels.astype("<i2" if image.PixelRepresentation else "<u2").tobytes())


def save(image: Dataset, path: Path) -> None:
    """Explicit VR little endian, with file meta information of its own."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta, image.preamble = meta, b"\0" * 128
    if int(pydicom.__version__.split(".")[0]) >= 3:
        image.save_as(path, enforce_file_format=True, little_endian=True, implicit_vr=False)
    else:
        image.is_little_endian, image.is_implicit_VR = True, False
        image.save_as(path, write_like_original=False)
