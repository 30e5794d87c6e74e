"""What each control of the panel does, in the words of the command line's help where both have it."""

from slicer.i18n import tr as _


def of(option):
    """The sentence of the command line's help, so that both say the same."""
    from DLReconLib.help import HELP

    return _(HELP[option][0].upper() + HELP[option][1:])


def explain(ui):
    """Put them on all controls."""
    options = {
        "task": ui.taskCombo, "modality": ui.modalityCombo, "model": ui.modelCombo, "strength": ui.strengthSlider,
        "feather": ui.featherSpinBox, "device": ui.deviceCombo, "tile": ui.tileCombo, "dtype": ui.keepTypeCheckBox,
        "precision": ui.precisionCombo, "uncertainty": ui.uncertaintyCheckBox, "artifact": ui.artifactCombo,
        "scale": ui.scaleCombo, "thickness": ui.thicknessSpinBox, "consistent": ui.consistentCheckBox,
        "budget": ui.budgetSpinBox,
    }  # fmt: skip
    for name, widget in options.items():
        widget.toolTip = of(name)
    for axis in "XYZ":
        getattr(ui, f"spacing{axis}SpinBox").toolTip = of("spacing")
    others = {
        ui.inputSelector: _("The volume to enhance. It is not changed."),
        ui.outputSelector: _("Where the result goes: a new volume, or one to overwrite."),
        ui.allTimePointsCheckBox: _("Work on the whole sequence, not only on the time point that is shown."),
        ui.regionCombo: _("Only there is anything changed."),
        ui.labelsSelector: _("Only where this label map is not 0 is anything changed."),
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
        ui.tableButton: _("Add a table node with the figures before and after."),
        ui.reportButton: _("Write a page with pictures, figures and the record of the result."),
    }
    for widget, text in others.items():
        widget.toolTip = text


# Of buttons that may be disabled, which then say why instead.
RESULT = {
    "plotButton": lambda: _("Plot sharpness (MTF) and noise power (NPS) by frequency, before and after."),
    "dicomButton": lambda: _("Write the result as a new series of the study that the input came from."),
    "fadeSlider": lambda: _("0 shows the input, 1 the result."),
    "flickerButton": lambda: _("Show input and result in turn."),
    "showButton": lambda: _("Show the result over its input in the slice views again."),
    "residualButton": lambda: _("Add a volume with the difference of input and result."),
    "explainButton": lambda: _("Add a map of what the result at the crosshair depends on (Shift and mouse move it)."),
    "scriptButton": lambda: _("Copy the Python lines that make exactly this result again."),
}
