"""What can be chosen in the panel, in plain words, and what the choices mean for the library."""

import logging

import slicer
from slicer.i18n import tr as _

from DLReconPanel import combos, methods, runs, sequences, taskOptions

# -- image


def likelyInput():
    """The volume in the background of the red view, else the first in the scene that is an image."""
    composite = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSliceCompositeNode")
    shown = slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID() or "") if composite else None
    nodes = [shown, slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")]
    return next((n for n in nodes if n is not None and isImage(n)), None)


def isImage(node):
    try:
        runs.checkVolume(node)
    except TypeError:
        return False
    return not node.GetHideFromEditors()


def stateOf(volumeNode):
    """Something that changes with the voxels."""
    if volumeNode is None:
        return None
    image = volumeNode.GetImageData()
    return volumeNode.GetID(), image.GetMTime() if image is not None else 0


def recognise(volumeNode, asked):
    """(DICOM code or "", why). The voxels are looked at in place, not copied."""
    if asked != "auto":
        return asked, "asked for"
    if volumeNode is None or volumeNode.GetImageData() is None:
        return "", ""
    from DLReconLib import mrml
    from DLReconLib.volume import Volume

    modality = mrml._modality(volumeNode)
    if modality:
        return modality.upper(), "the file says so"
    try:
        from DLReconLib import inputs
    except ImportError as error:
        logging.info(f"DLRecon: {error}; what kind of image it is will be found out at Apply")
        return "", "found out at Apply"
    return inputs.recognise(Volume(slicer.util.arrayFromVolume(volumeNode)), "auto")


def modalitySentence(modality, why):
    names = {"MR": _("MR"), "CT": _("CT"), "PT": _("PET"), "US": _("ultrasound")}
    if modality:
        return _("Recognised as {kind}: {why}.").format(kind=names.get(modality, modality), why=why)
    return _("Not recognised ({why}). Choose it if you know it.").format(why=why.removeprefix("unknown: "))


# -- region


def fillSegments(combo, segmentationNode, wanted):
    items = []
    if segmentationNode is not None:
        segmentation = segmentationNode.GetSegmentation()
        items = [(one, segmentation.GetSegment(one).GetName()) for one in segmentation.GetSegmentIDs()]
    combos.refill(combo, items)
    combos.select(combo, wanted)


def regionOf(parameters):
    """What the logic wants as its mask, or None for the whole image."""
    if parameters.region == "roi":
        return parameters.roi
    if parameters.region == "labels":
        return parameters.labels
    if parameters.region == "segment":
        ids = parameters.segmentation.GetSegmentation().GetSegmentIDs()
        return parameters.segmentation, parameters.segment if parameters.segment in ids else ids[0]
    return None


def options(parameters, card=None):
    """The library's options. card: of the method, where it is known."""
    values = {
        "task": parameters.task,
        "model": parameters.model,
        "modality": parameters.modality,
        "strength": round(parameters.strength, 4),
        "device": parameters.device,
        "tile": (parameters.tile,) * 3 if parameters.tile else None,
        "precision": parameters.precision,
        "dtype": "input" if parameters.keepType else "float32",
    }
    if card is not None and card.network == taskOptions.LEARNS:
        values["budget"] = round(parameters.budget, 1)
    return values | taskOptions.asked(parameters)


def problem(parameters, card):
    """Why Apply cannot be pressed, or ""."""
    node = parameters.inputVolume
    if node is None:
        return _("Choose a volume.")
    if not isImage(node):
        return _("{name} is no image but a {kind}; choose another volume.").format(
            name=node.GetName(), kind=node.GetNodeTagName()
        )
    if node.GetImageData() is None:
        return _("{name} holds no voxels; choose another volume.").format(name=node.GetName())
    otherwise = "" if parameters.task == taskOptions.FILL else " " + _("Or work on the whole image.")
    if parameters.region == "segment":
        segmentation = parameters.segmentation
        if segmentation is None or not segmentation.GetSegmentation().GetNumberOfSegments():
            return _("Choose a segmentation with a segment.") + otherwise
    if parameters.region == "roi" and parameters.roi is None:
        return _("Choose or add a box.") + otherwise
    if parameters.region == "labels" and parameters.labels is None:
        return _("Choose a label map.") + otherwise
    if card is None:
        return _("Choose a method.")
    if methods.wantsSeries(card) and not (parameters.allTimePoints and sequences.sequenceOf(node)[0]):
        return _("{title} wants all frames of a time series; choose another method.").format(title=card.title)
    return taskOptions.problem(parameters, card)
