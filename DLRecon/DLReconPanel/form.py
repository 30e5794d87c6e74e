"""The upper sections of the panel, as the parameter node says they are: image, method, where, the state of the work.

Each function takes the panel (DLReconWidget): its ui, its parameters, its logic.
"""

import slicer
from slicer.i18n import tr as _

from DLReconPanel import choices, combos, memory, methods, sequences, setup

CARD_WIDTH = 330  # pixels of the pictures in a model's card


def showInput(panel):
    ui, parameters = panel.ui, panel.parameters
    sequence = sequences.sequenceOf(parameters.inputVolume)[0]
    count = sequence.GetNumberOfDataNodes() if sequence is not None else 0
    ui.allTimePointsCheckBox.visible = count > 1
    ui.allTimePointsCheckBox.text = _("All {n} &time points").format(n=count)
    ui.outputSelector.enabled = not (count > 1 and parameters.allTimePoints)
    combos.select(ui.taskCombo, parameters.task)
    combos.select(ui.modalityCombo, parameters.modality)
    modality, why = panel.logic.recognise(parameters.inputVolume, parameters.modality)
    ui.modalityLabel.visible = parameters.inputVolume is not None and parameters.modality == "auto"
    ui.modalityLabel.text = choices.modalitySentence(modality, why)


def showMethod(panel):
    """Gives the card of the method that is chosen, or None."""
    ui, parameters = panel.ui, panel.parameters
    modality, why = panel.logic.recognise(parameters.inputVolume, parameters.modality)
    try:
        card = methods.fillModels(ui.modelCombo, parameters.task, parameters.model, modality, why)
        ui.modelLabel.text = methods.modelSentence(card, modality)
    except (ValueError, OSError) as error:  # a damaged card: the rest of the panel goes on
        card, ui.modelLabel.text = None, str(error)
    if ui.cardBrowser.visible:
        from DLReconLib.card_text import page

        ui.cardBrowser.setHtml(page(card, width=CARD_WIDTH) if card else "")
    for name in ("device", "tile", "precision"):
        combos.select(getattr(ui, f"{name}Combo"), str(getattr(parameters, name)))
    ui.deviceCombo.enabled = ui.precisionCombo.enabled = card is not None and card.learned
    ui.memoryLabel.text = memory.sentence(parameters.inputVolume, card, parameters.tile, parameters.precision)
    ui.setupLabel.text = setup.sentence()
    return card


def showRegion(panel):
    ui, parameters = panel.ui, panel.parameters
    combos.select(ui.regionCombo, parameters.region)
    choices.fillSegments(ui.segmentCombo, parameters.segmentation, parameters.segment)
    segment, roi = parameters.region == "segment", parameters.region == "roi"
    for name, visible in (
        ("segmentation", segment),
        ("segment", segment),
        ("roi", roi),
        ("feather", segment or roi),
    ):
        field = {"segment": "segmentCombo", "feather": "featherSpinBox"}.get(name, f"{name}Selector")
        getattr(ui, field).visible = visible
        getattr(ui, f"{name}Label").visible = visible


def showState(panel):
    """Apply or Cancel, the progress bar, what can be pressed now."""
    ui, parameters = panel.ui, panel.parameters
    busy = panel.busy()
    ui.applyButton.text = _("&Cancel") if busy else _("&Apply")
    problem = choices.problem(parameters, panel.card)
    ui.applyButton.enabled = busy or not problem
    ui.applyButton.toolTip = problem or (_("Stop; nothing is changed") if busy else _("Make the new volume"))
    ui.progressBar.visible = busy
    hasViews = slicer.app.layoutManager() is not None
    ui.previewButton.enabled = ui.compareButton.enabled = hasViews and not busy and not problem
    ui.closeGalleryButton.visible = panel.trying.finished
    ui.tryLabel.text = _("On a few slices around the red view: seconds, not minutes.")
    for name in ("imageCollapsible", "methodCollapsible"):
        getattr(ui, name).enabled = not busy
