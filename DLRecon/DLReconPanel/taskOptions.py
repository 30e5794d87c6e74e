"""What can be chosen for one task alone: shown with that task, and no option of any other."""

from slicer.i18n import tr as _

from DLReconPanel import combos, methods, tooltips

ENLARGE, CLEAN, FILL, DENOISE = "super-resolution", "artifact-reduction", "inpaint", "denoise"
FACTORS = ("1.5", "2", "3", "4")
LEARNS = "self-supervised"  # the network of a card that learns from the image itself


def show(panel, card):
    """The rows of the chosen task. Called after the method was chosen."""
    ui, parameters = panel.ui, panel.parameters
    enlarges, fills = parameters.task == ENLARGE, parameters.task == FILL
    spacing = enlarges and parameters.scale == "spacing"
    rows = {
        "artifact": parameters.task == CLEAN,
        "scale": enlarges,
        "spacing": spacing,
        "thickness": enlarges,
        "budget": card is not None and card.network == LEARNS,
        "consistent": enlarges,
    }
    for name, visible in rows.items():
        for widget in _row(ui, name):
            widget.visible = visible
    if enlarges:
        combos.refill(ui.scaleCombo, scales())
        combos.select(ui.scaleCombo, parameters.scale)
    ui.gridLabel.visible = enlarges and parameters.inputVolume is not None
    ui.gridLabel.text = gridSentence(parameters) if ui.gridLabel.visible else ""
    ui.regionLabel.text = _("Fi&ll:") if fills else _("Wh&ere:")
    ui.regionHintLabel.visible = fills and parameters.region == "whole"
    ui.regionHintLabel.text = _(
        "Mark what is to be filled: with a segment, a label map or a box. What the image holds there is not looked at."
    )
    why = uncertaintyMissing(parameters.task)
    ui.uncertaintyCheckBox.enabled = not why
    ui.uncertaintyCheckBox.toolTip = why or tooltips.of("uncertainty")


def _row(ui, name):
    fields = {
        "artifact": ("artifactLabel", "artifactCombo"),
        "scale": ("scaleLabel", "scaleCombo"),
        "spacing": ("spacingLabel", "spacingXSpinBox", "spacingYSpinBox", "spacingZSpinBox"),
        "thickness": ("thicknessLabel", "thicknessSpinBox"),
        "budget": ("budgetLabel", "budgetSpinBox"),
        "consistent": ("consistentCheckBox",),
    }
    return [getattr(ui, field) for field in fields[name]]


def scales():
    return [
        ("auto", _("As fine as along the finest axis")),
        *((factor, _("{n} times finer").format(n=factor)) for factor in FACTORS),
        ("spacing", _("A spacing of...")),
    ]


def regions(task):
    """Where to work, in the words of the task."""
    if task == FILL:
        return [
            ("whole", _("Choose...")), ("segment", _("A segment")), ("labels", _("A label map")),
            ("roi", _("A box (ROI)")),
        ]  # fmt: skip
    return [
        ("whole", _("Whole image")), ("segment", _("Inside a segment")), ("labels", _("Inside a label map")),
        ("roi", _("Inside a box (ROI)")),
    ]  # fmt: skip


def fillArtifacts(panel, modality):
    """The kinds that a model for this kind of image removes."""
    kinds = methods.artifactsOf(modality)
    items = [("auto", _("Find out"))] + [(kind, artifactNames().get(kind, kind)) for kind in kinds]
    wanted = panel.parameters.artifact
    if wanted not in dict(items):  # a saved scene may know more
        items.append((wanted, wanted))
    combos.refill(panel.ui.artifactCombo, items)
    combos.select(panel.ui.artifactCombo, wanted)


def artifactNames():
    return {
        "gibbs": _("Ringing at edges (Gibbs)"),
        "motion": _("Motion"),
        "bias": _("Shading (bias field)"),
        "spike": _("Stripes of k-space spikes"),
        "streak": _("Streaks (few or noisy views)"),
        "metal": _("Metal"),
        "ring": _("Rings"),
        "speckle": _("Speckle"),
    }


def asked(parameters):
    """The library's options of the task."""
    values = {}
    if parameters.task == CLEAN:
        values["artifact"] = parameters.artifact
    if parameters.task == ENLARGE:
        values |= resolutionAsked(parameters)
        if not parameters.consistent:
            values["consistent"] = False
    if parameters.uncertainty and not uncertaintyMissing(parameters.task):
        values["uncertainty"] = True
    if parameters.region != "whole" and parameters.task != FILL:
        values["feather"] = parameters.feather
    return values


def resolutionAsked(parameters):
    values = {}
    if parameters.scale == "spacing":
        values["spacing"] = spacingAsked(parameters)
    elif parameters.scale != "auto":
        values["scale"] = float(parameters.scale)
    if parameters.thickness > 0:
        values["thickness"] = round(parameters.thickness, 4)
    return values


def spacingAsked(parameters):
    """(i, j, k) mm; 0 in the form stands for the input's."""
    given = parameters.inputVolume.GetSpacing() if parameters.inputVolume is not None else (1.0, 1.0, 1.0)
    wanted = (parameters.spacingX, parameters.spacingY, parameters.spacingZ)
    return tuple(round(w, 4) if w > 0 else g for w, g in zip(wanted, given, strict=True))


def fineShape(parameters):
    """(k, j, i) voxels of the result of super-resolution. Raises ValueError where there is no such grid."""
    from DLReconLib import mrml
    from DLReconLib.resolution import fine_shape

    node = parameters.inputVolume
    image = node.GetImageData()
    asked = resolutionAsked(parameters)
    shape = tuple(image.GetDimensions()[::-1])
    return fine_shape(mrml._geometry(node, image), shape, asked.get("scale"), asked.get("spacing"))


def gridSentence(parameters):
    node = parameters.inputVolume
    if node is None or node.GetImageData() is None:
        return ""
    try:
        fine = fineShape(parameters)
    except ValueError as error:
        return str(error)
    spacing = [s * n / m for s, n, m in zip(node.GetSpacing(), node.GetImageData().GetDimensions(), fine[::-1],
                                            strict=True)]  # fmt: skip
    return _("Gives {n} voxels of {mm} mm.").format(
        n=" × ".join(str(n) for n in fine[::-1]), mm=" × ".join(f"{s:.3g}" for s in spacing)
    )


def problem(parameters, card):
    """Why the chosen task cannot be done, or ""."""
    if parameters.task == ENLARGE:
        try:
            fineShape(parameters)
        except ValueError as error:
            return str(error)
    if parameters.task == FILL and parameters.region == "whole":
        return _("Choose what is to be filled: a segment, a label map or a box.")
    wanted = parameters.artifact
    if parameters.task == CLEAN and wanted != "auto" and card is not None and wanted not in card.artifacts:
        name = artifactNames().get(wanted, wanted)
        return _("{title} does not remove this: {name}. Choose another method.").format(title=card.title, name=name)
    return ""


def uncertaintyMissing(task):
    """Why there is no estimate of it, or ""."""
    return "" if task == DENOISE else _("It is known for noise removal only.")


def explanationMissing(task):
    return "" if task == DENOISE else _("There is an explanation of noise removal only.")


def residualMissing(task):
    return _("All values are mapped anew; a difference would say nothing.") if task == "contrast" else ""


def residualWords(task):
    """(text of the button, sentence about the node) of the difference between input and result."""
    if task == DENOISE:
        return _("What was removed"), _(
            "{name}: what looks like noise was noise; where you see anatomy, too much was removed."
        )
    if task == ENLARGE:
        return _("What was added"), _("{name}: the detail that was added to the interpolated image.")
    if task == FILL:
        return _("What was replaced"), _("{name}: what the image held there, minus what was filled in.")
    return _("What was removed"), _("{name}: what looks like the artifact was one; where you see anatomy, it was not.")
