"""Combo boxes: texts for people, values for the library."""

from slicer.i18n import tr as _

from DLReconPanel import texts

# Combo box (without "Combo") -> parameter.
COMBOS = {
    "task": "task",
    "modality": "modality",
    "model": "model",
    "artifact": "artifact",
    "scale": "scale",
    "region": "region",
    "segment": "segment",
    "device": "device",
    "tile": "tile",
    "precision": "precision",
}
TILES = (0, 32, 64, 128, 256)
FLAGS_ROLE = 255  # Qt.UserRole - 1: an item with flags 0 cannot be chosen
TOOLTIP_ROLE = 3


def fillFixed(ui):
    """The combo boxes whose items do not depend on the image."""
    kinds = (
        ("auto", _("Find out")), ("MR", _("MR")), ("CT", _("CT")), ("PT", _("PET")), ("US", _("Ultrasound")),
        ("XA", _("X-ray")), ("OT", _("Something else")),
    )  # fmt: skip
    fill(ui.modalityCombo, kinds)
    fill(ui.deviceCombo, (
        ("auto", _("The fastest there is")), ("cpu", _("Processor (CPU)")), ("cuda", _("NVIDIA graphics card")),
        ("mps", _("Apple graphics")),
    ))  # fmt: skip
    fill(ui.tileCombo, [(str(n), _("{n} voxels a side").format(n=n) if n else _("Automatic")) for n in TILES])
    fill(ui.precisionCombo, (
        ("auto", _("Automatic")), ("float32", _("Full (float32)")), ("bfloat16", _("Half (bfloat16)")),
    ))  # fmt: skip


def fillTasks(combo):
    """What users want; a task without a model is shown, with the reason why it cannot be chosen."""
    from DLReconLib.models import list_cards

    try:
        installed = {card.task for card in list_cards()}
    except (ValueError, OSError):  # a damaged card: the method's place will say which
        installed = set(texts.taskNames())
    combo.clear()
    for task, name in texts.taskNames().items():
        there = task in installed
        combo.addItem(name if there else _("{name} (no model yet)").format(name=name), task)
        if not there:
            combo.setItemData(combo.count - 1, texts.taskHint(task), TOOLTIP_ROLE)
            combo.setItemData(combo.count - 1, 0, FLAGS_ROLE)


def fill(combo, items):
    for value, text in items:
        combo.addItem(text, value)


def refill(combo, items):
    """The same, of items that change with the image: only where they have changed."""
    if [(combo.itemData(n), combo.itemText(n)) for n in range(combo.count)] != list(items):
        combo.clear()
        fill(combo, items)


def select(combo, value):
    index = combo.findData(value)
    if index >= 0 and index != combo.currentIndex:
        combo.setCurrentIndex(index)


def chosen(combo):
    """The value behind the text that is shown, of the parameter's type; None where nothing is chosen."""
    value = combo.itemData(combo.currentIndex) if combo.currentIndex >= 0 else None
    return int(value) if value is not None and combo.objectName == "tileCombo" else value
