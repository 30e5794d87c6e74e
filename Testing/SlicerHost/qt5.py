"""What Qt 5.15 has and Qt 6 has not, and the other way round: a module may use only what both have."""

# Members of Qt 6 that a module must not use: Slicer 5.12 is built on Qt 5.15.
LACKS: dict[str, frozenset[str]] = {}
# Classes of Qt 6 or of PySide6 that Slicer 5.12 does not have.
CLASSES_LACKING = frozenset({"Signal", "Slot", "Property", "ClassInfo", "QEnum", "QFlag", "QStringConverter"})
# Signals of Qt 5.15 that Qt 6 dropped, beside the one that stayed: plain .connect(f) reaches both.
# class: {signal: (its signature in Qt 6, text of the argument, whether the dropped one comes first)}
TEXT_OVERLOADS = {
    "QComboBox": {
        "currentIndexChanged": ("currentIndexChanged(int)", "itemText", False),
        "activated": ("activated(int)", "itemText", False),
        "highlighted": ("highlighted(int)", "itemText", False),
    },
    "QSpinBox": {"valueChanged": ("valueChanged(int)", "text", True)},
    "QDoubleSpinBox": {"valueChanged": ("valueChanged(double)", "text", True)},
}
