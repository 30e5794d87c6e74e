"""A result as a derived DICOM series in the study that its input came from."""

import os
import re
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from DLReconPanel import runs

INSTANCES = "DICOM.instanceUIDs"


def missing(resultVolume):
    """Why a result cannot be exported, as far as can be told at once, or ""."""
    source = resultVolume.GetNodeReference(runs.INPUT_ROLE)
    if source is None:
        return _("The input is not in the scene any more.")
    if not instances(source):
        return _("{name} was not loaded from DICOM: there is no study that the result could belong to.").format(
            name=source.GetName()
        )
    if resultVolume.IsA("vtkMRMLVectorVolumeNode"):
        return _("Only grey images can be exported.")
    if resultVolume.GetImageData().GetDimensions() != source.GetImageData().GetDimensions():
        return _("The result lies on another grid than the images of the study; save it as a file instead.")
    if database() is None:
        return _("Slicer's DICOM database is not open: open the DICOM module once.")
    return ""


def instances(node):
    """UIDs of the images that a volume was loaded from: of the node, or of its place in the subject hierarchy."""
    text = node.GetAttribute(INSTANCES)
    hierarchy = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode")
    item = hierarchy.GetItemByDataNode(node) if hierarchy is not None and not text else 0
    if item:
        text = hierarchy.GetItemUID(item, "DICOMInstance")
    return (text or "").split()


def database():
    found = getattr(slicer, "dicomDatabase", None)
    return found if found is not None and found.isOpen else None


def write(resultVolume, record, folder):
    """Write the series into a new folder in `folder`. Gives (files, whether the DICOM database knows them).

    :raises ValueError: the images of the study are not there, or do not suit the result.
    :raises RuntimeError: pydicom is missing.
    :raises OSError: the folder cannot be written.
    """
    from DLReconLib import mrml

    why = missing(resultVolume)
    if why:
        raise ValueError(why)
    try:
        from DLReconLib.derived import write_derived
    except ImportError as error:
        raise RuntimeError(_("{package} is missing: press Set up").format(package=error.name)) from error
    source = resultVolume.GetNodeReference(runs.INPUT_ROLE)
    wanted = instances(source)
    files = [database().fileForInstance(uid) for uid in wanted]
    there = [file for file in files if file and os.path.isfile(file)]
    if len(there) < len(wanted):
        raise ValueError(
            _("{n} of the {all} images that {name} was loaded from are not in the DICOM database any more; "
              "import them again").format(n=len(wanted) - len(there), all=len(wanted), name=source.GetName())
        )  # fmt: skip
    written = write_derived(
        mrml.volume_from_node(resultVolume),
        there,
        newFolder(Path(folder), resultVolume.GetName()),
        record=record,
        description=resultVolume.GetName()[:64],
    )
    return written, tell(written[0].parent)


def newFolder(folder, name):
    """A path in the folder that does not exist yet."""
    plain = re.sub(r"[^\w.-]+", "_", name).strip("._") or "DLRecon"
    path, number = folder / plain, 1
    while path.exists():
        number += 1
        path = folder / f"{plain}_{number}"
    return path


def tell(folder):
    """Let the DICOM database know of the images where they lie; whether it does."""
    try:
        from DICOMLib import DICOMUtils
    except ImportError:
        return False
    return bool(DICOMUtils.importDicom(str(folder), database()))
