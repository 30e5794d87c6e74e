"""The upper sections of the panel, as the parameter node says they are: image, method, where, the state of the work.

Each function takes the panel (DLReconWidget): its ui, its parameters, its logic.
"""

import slicer
from slicer.i18n import tr as _

from DLReconPanel import choices, combos, memory, methods, sequences, setup, taskOptions

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
        artifact = parameters.artifact if parameters.task == taskOptions.CLEAN else "auto"
        if parameters.task == taskOptions.CLEAN:
            taskOptions.fillArtifacts(panel, modality)
        card = methods.fillModels(ui.modelCombo, parameters.task, parameters.model, modality, why, artifact)
        ui.modelLabel.text = methods.modelSentence(card, modality, parameters.model)
    except (ValueError, OSError) as error:  # a damaged card: the rest of the panel goes on
        card, ui.modelLabel.text = None, str(error)
    if ui.cardBrowser.visible:
        from DLReconLib.card_text import page

        ui.cardBrowser.setHtml(page(card, width=CARD_WIDTH) if card else "")
    for name in ("device", "tile", "precision"):
        combos.select(getattr(ui, f"{name}Combo"), str(getattr(parameters, name)))
    ui.deviceCombo.enabled = ui.precisionCombo.enabled = card is not None and card.learned
    taskOptions.show(panel, card)
    ui.memoryLabel.text = memory.sentence(parameters, card)
    ui.setupLabel.text = setup.sentence()
    return card


def showRegion(panel):
    ui, parameters = panel.ui, panel.parameters
    combos.refill(ui.regionCombo, taskOptions.regions(parameters.task))
    combos.select(ui.regionCombo, parameters.region)
    choices.fillSegments(ui.segmentCombo, parameters.segmentation, parameters.segment)
    soft = parameters.region != "whole" and parameters.task != taskOptions.FILL
    for label, field, visible in (
        (ui.segmentationLabel, ui.segmentationSelector, parameters.region == "segment"),
        (ui.segmentLabel, ui.segmentCombo, parameters.region == "segment"),
        (ui.labelsLabel, ui.labelsSelector, parameters.region == "labels"),
        (ui.roiLabel, ui.roiSelector, parameters.region == "roi"),
        (ui.featherLabel, ui.featherSpinBox, soft),
    ):
        label.visible = field.visible = visible


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
    text = _("On a few slices around the red view: seconds, not minutes.")
    if panel.card is not None and not panel.card.tile and parameters.task != taskOptions.ENLARGE:
        text += " " + _("This method looks at the whole image: it may answer a little differently there.")
    ui.tryLabel.text = text
    for name in ("imageCollapsible", "methodCollapsible"):
        getattr(ui, name).enabled = not busy
