"""What can be chosen in the panel, in plain words, and what the choices mean for the library."""

import functools
import logging

import slicer
from slicer.i18n import tr as _

from DLReconPanel import runs, setup, texts

# Combo box (without "Combo") -> parameter.
COMBOS = {
    "task": "task",
    "modality": "modality",
    "model": "model",
    "region": "region",
    "segment": "segment",
    "device": "device",
    "tile": "tile",
    "precision": "precision",
}
TILES = (0, 32, 64, 128, 256)
FLAGS_ROLE = 255  # Qt.UserRole - 1: an item with flags 0 cannot be chosen
TOOLTIP_ROLE = 3


# -- combo boxes: texts for people, values for the library


def fillFixed(ui):
    """The combo boxes whose items do not depend on the image."""
    from DLReconLib.models import list_cards

    installed = {card.task for card in list_cards()}
    for task, name in texts.taskNames().items():
        there = task in installed
        ui.taskCombo.addItem(name if there else _("{name} (no model yet)").format(name=name), task)
        if not there:
            index = ui.taskCombo.count - 1
            ui.taskCombo.setItemData(index, texts.taskHint(task), TOOLTIP_ROLE)
            ui.taskCombo.setItemData(index, 0, FLAGS_ROLE)
    kinds = (
        ("auto", _("Find out")), ("MR", _("MR")), ("CT", _("CT")), ("PT", _("PET")), ("US", _("Ultrasound")),
        ("XA", _("X-ray")), ("OT", _("Something else")),
    )  # fmt: skip
    fill(ui.modalityCombo, kinds)
    fill(ui.regionCombo, (
        ("whole", _("Whole image")), ("segment", _("Inside a segment")), ("roi", _("Inside a box (ROI)")),
    ))  # fmt: skip
    fill(ui.deviceCombo, (
        ("auto", _("The fastest there is")), ("cpu", _("Processor (CPU)")), ("cuda", _("NVIDIA graphics card")),
        ("mps", _("Apple graphics")),
    ))  # fmt: skip
    fill(ui.tileCombo, [(str(n), _("{n} voxels a side").format(n=n) if n else _("Automatic")) for n in TILES])
    fill(ui.precisionCombo, (
        ("auto", _("Automatic")), ("float32", _("Full (float32)")), ("bfloat16", _("Half (bfloat16)")),
    ))  # fmt: skip


def fill(combo, items):
    for value, text in items:
        combo.addItem(text, value)


def select(combo, value):
    index = combo.findData(value)
    if index >= 0 and index != combo.currentIndex:
        combo.setCurrentIndex(index)


def chosen(combo):
    """The value behind the text that is shown, of the parameter's type; None where nothing is chosen."""
    value = combo.itemData(combo.currentIndex) if combo.currentIndex >= 0 else None
    return int(value) if value is not None and combo.objectName == "tileCombo" else value


def explain(ui):
    """Tooltips from the command line's help, so that both say the same."""
    from DLReconLib.help import HELP

    of = {
        "task": ui.taskCombo, "modality": ui.modalityCombo, "model": ui.modelCombo, "strength": ui.strengthSlider,
        "feather": ui.featherSpinBox, "device": ui.deviceCombo, "tile": ui.tileCombo, "dtype": ui.keepTypeCheckBox,
        "precision": ui.precisionCombo, "uncertainty": ui.uncertaintyCheckBox,
    }  # fmt: skip
    for name, widget in of.items():
        text = HELP[name]
        widget.toolTip = _(text[0].upper() + text[1:])
    others = {
        ui.inputSelector: _("The volume to enhance. It is not changed."),
        ui.outputSelector: _("Where the result goes: a new volume, or one to overwrite."),
        ui.allTimePointsCheckBox: _("Work on the whole sequence, not only on the time point that is shown."),
        ui.regionCombo: _("Only there is anything changed."),
        ui.segmentationSelector: _("The segmentation that holds the segment."),
        ui.segmentCombo: _("Only inside this segment is anything changed."),
        ui.roiSelector: _("Only inside this box is anything changed."),
        ui.detailsButton: _("What the method is made for, what it was trained on, how good it is, what it cannot do."),
        ui.previewButton: _("Try the chosen method on a few slices."),
        ui.compareButton: _("Try all methods for this kind of image on a few slices, side by side."),
        ui.closeGalleryButton: _("Back to the layout of before."),
        ui.setupButton: _("Install what is missing. Nothing is installed without asking."),
        ui.wheelsButton: _("Install without the internet, from a folder of wheel files."),
        ui.logButton: _("The messages of the process that does the work."),
        ui.reasonsButton: _("All that was checked, and what was found."),
        ui.fadeSlider: _("0 shows the input, 1 the result."),
        ui.flickerButton: _("Show input and result in turn."),
        ui.showButton: _("Show the result over its input in the slice views again."),
        ui.residualButton: _("Add a volume with input minus result: it should look like noise."),
        ui.explainButton: _("Add a map of what the result at the crosshair depends on (Shift and mouse move it)."),
        ui.tableButton: _("Add a table node with the figures before and after."),
        ui.scriptButton: _("Copy the Python lines that make exactly this result again."),
        ui.reportButton: _("Write a page with pictures, figures and the record of the result."),
    }
    for widget, text in others.items():
        widget.toolTip = text


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


# -- method


@functools.lru_cache(maxsize=16)
def cardsOf(task):
    """The cards of a task, read once; see forget()."""
    from DLReconLib.models import list_cards

    return tuple(list_cards(task))


def forget():
    """Read the cards again the next time: models may have been added."""
    cardsOf.cache_clear()
    recommended.cache_clear()


def fillModels(combo, task, wanted, modality, why):
    """All methods of a task, the recommended one first. Gives the card that is chosen, or None."""
    cards = cardsOf(task)
    best = recommended(task, modality, why)
    missing = setup.missingForLearned()
    items = []
    if best is not None:
        items.append(("auto", _("Recommended: {title}").format(title=best.title)))
    for card in cards:
        kinds = ", ".join(card.modalities).replace("*", _("any image"))
        note = _("needs PyTorch") if card.learned and missing else kinds
        items.append((card.id, f"{card.title} ({note})"))
    shown = [(combo.itemData(n), combo.itemText(n)) for n in range(combo.count)]
    if shown != items:
        combo.clear()
        fill(combo, items)
    if combo.findData(wanted) < 0 and wanted != "auto":
        # A model of one's own, or one that a saved scene knows and this DLRecon does not.
        combo.addItem(wanted, wanted)
    select(combo, wanted)
    if wanted == "auto":
        return best
    return next((card for card in cards if card.id == wanted), None)


@functools.lru_cache(maxsize=64)
def recommended(task, modality, why):
    """What model="auto" will take."""
    cards = cardsOf(task)
    try:
        from DLReconLib.pipeline import Options, choose_model

        return choose_model(Options(task=task), modality, why)[0] if cards else None
    except ImportError:
        return next((c for c in cards if modality in c.modalities), cards[-1] if cards else None)


def modelSentence(card, modality):
    if card is None:
        return _("This method is not installed.")
    text = card.summary
    if modality and modality not in card.modalities and "*" not in card.modalities:
        text += " " + _("It is made for {made}, not for {got}: do not trust the result.").format(
            made=", ".join(card.modalities), got=modality
        )
    return text


def comparable(parameters, logic):
    """The methods that are worth a comparison for this image: the quick ones first."""
    from DLReconLib.models import list_cards

    modality, _why = logic.recognise(parameters.inputVolume, parameters.modality)
    cards = list_cards(parameters.task, modality or None)
    if setup.missingForLearned():
        cards = [card for card in cards if not card.learned]
    return sorted(cards, key=lambda card: (card.learned, card.id))


# -- region


def fillSegments(combo, segmentationNode, wanted):
    items = []
    if segmentationNode is not None:
        segmentation = segmentationNode.GetSegmentation()
        items = [(one, segmentation.GetSegment(one).GetName()) for one in segmentation.GetSegmentIDs()]
    if [(combo.itemData(n), combo.itemText(n)) for n in range(combo.count)] != items:
        combo.clear()
        fill(combo, items)
    select(combo, wanted)


def regionOf(parameters):
    """What the logic wants as its mask, or None for the whole image."""
    if parameters.region == "roi":
        return parameters.roi
    if parameters.region == "segment":
        ids = parameters.segmentation.GetSegmentation().GetSegmentIDs()
        return parameters.segmentation, parameters.segment if parameters.segment in ids else ids[0]
    return None


def options(parameters):
    """The library's options."""
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
    if parameters.uncertainty:
        values["uncertainty"] = True
    if parameters.region != "whole":
        values["feather"] = parameters.feather
    return values


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
    if parameters.region == "segment":
        segmentation = parameters.segmentation
        if segmentation is None or not segmentation.GetSegmentation().GetNumberOfSegments():
            return _("Choose a segmentation with a segment, or work on the whole image.")
    if parameters.region == "roi" and parameters.roi is None:
        return _("Choose or add a box, or work on the whole image.")
    if card is None:
        return _("Choose a method.")
    return ""


# -- gallery


def fillGallery(table, entries):
    """One row a method, the best first."""
    import qt

    heads = [_("Method"), _("Noise left"), _("Sharpness"), _("Error left")]
    table.setRowCount(len(entries))
    table.setColumnCount(len(heads))
    table.setHorizontalHeaderLabels(heads)
    table.verticalHeader().setVisible(True)
    for row, entry in enumerate(entries):
        sharpness = "" if entry.sharpness is None else f"{entry.sharpness:.2f} /mm"
        cells = [entry.title, percent(entry.noise), sharpness, percent(entry.errorLeft)]
        if entry.state != "done":
            cells[1:] = [_("failed"), "", ""]
        for column, text in enumerate(cells):
            item = qt.QTableWidgetItem(text)
            item.setToolTip(entry.error or _("Compared with the input; the error is estimated without a reference."))
            table.setItem(row, column, item)
    table.resizeColumnsToContents()
    table.setMinimumHeight(30 + 30 * min(len(entries), 7))


def percent(value):
    return "" if value is None else f"{100 * value:.0f} %"
