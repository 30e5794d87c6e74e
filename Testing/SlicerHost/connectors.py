"""Widgets bound to parameters, chosen by the exact class of the widget as Slicer chooses them."""

import enum
import pathlib
import typing

import slicer

from . import annotations as notes

SlicerParameterName = "SlicerParameterName"


def node_classes(kind) -> tuple[type, ...]:
    """The node classes of a type: one, or those of a union with None allowed; () for another type."""
    plain = notes.split(kind)[0]
    parts = (
        [notes.split(one)[0] for one in typing.get_args(plain)] if typing.get_origin(plain) is typing.Union else [plain]
    )
    parts = [one for one in parts if one is not type(None)]
    fits = all(isinstance(one, type) and issubclass(one, slicer.vtkMRMLNode) for one in parts)
    return tuple(parts) if fits else ()


class Connector:
    """One widget: reads its value, writes it, and calls back when `signal` is emitted."""

    signal = ""

    def __init__(self, widget, kind, given):
        self.widget, self.kind, self.given, self.callback = widget, kind, given, None
        self.prepare()

    def prepare(self):
        """What the real connector sets on the widget when it is made."""

    def changed(self):
        if self.callback is not None:
            self.callback()

    def start(self, callback):
        self.callback = callback
        if self.signal:
            getattr(self.widget, self.signal).connect(self.changed)

    def stop(self):
        self.callback = None
        if self.signal:
            getattr(self.widget, self.signal).disconnect(self.changed)


class CheckBox(Connector):
    signal = "stateChanged"

    def read(self):
        return self.widget.checked

    def write(self, value):
        self.widget.checked = value


class PushButton(CheckBox):
    signal = "toggled"

    def prepare(self):
        self.widget.checkable = True


def bounds(given):
    within = notes.first(given, notes.WithinRange)
    if within is not None:
        return within.minimum, within.maximum
    low, high = notes.first(given, notes.Minimum), notes.first(given, notes.Maximum)
    return (low.minimum if low else None), (high.maximum if high else None)


class Integer(Connector):
    signal = "valueChanged"
    unbounded = (-(2**31), 2**31 - 1)

    def prepare(self):
        for note, name in ((notes.Decimals, "decimals"), (notes.SingleStep, "singleStep")):
            found = notes.first(self.given, note)
            if found is not None:
                setattr(self.widget, name, found.value)
        low, high = bounds(self.given)
        if self.widget.className() == "QSlider" and None in (low, high):
            raise RuntimeError("Cannot have a connection to QSlider where the int type is unbounded.")
        self.widget.minimum = self.unbounded[0] if low is None else low
        self.widget.maximum = self.unbounded[1] if high is None else high

    def read(self):
        return self.widget.value

    def write(self, value):
        self.widget.value = value


class Real(Connector):
    signal = "valueChanged"

    def prepare(self):
        decimals = notes.first(self.given, notes.Decimals)
        if self.widget.className() != "ctkDoubleSlider":
            if self.kind is int:
                self.widget.decimals = 0
            elif decimals is not None:
                self.widget.decimals = decimals.value
        step = notes.first(self.given, notes.SingleStep)
        if step is not None:
            self.widget.singleStep = step.value
        low, high = bounds(self.given)
        if self.widget.className() in ("ctkSliderWidget", "qMRMLSliderWidget") and None in (low, high):
            raise RuntimeError("Cannot have a connection to ctkSliderWidget where the float type is unbounded.")
        self.widget.minimum = float("-inf") if low is None else low
        self.widget.maximum = float("inf") if high is None else high

    def read(self):
        return int(self.widget.value) if self.kind is int else self.widget.value

    def write(self, value):
        self.widget.value = int(value) if self.kind is int else value


class ChoiceBox(Connector):
    """A combo box refilled from a Choice."""

    signal = "currentIndexChanged"

    def prepare(self):
        choice = notes.first(self.given, notes.Choice)
        if choice is None:
            raise RuntimeError("A combo box needs the Choice annotation to be bound.")
        self.values = list(choice.choices)
        self.fill(map(str, self.values))

    def fill(self, texts):
        self.widget.clear()
        for text in texts:
            self.widget.addItem(text)

    def read(self):
        return self.values[self.widget.currentIndex]

    def write(self, value):
        if value not in self.values:
            raise ValueError(f"Unable to find value {value} in choices {self.values}")
        self.widget.currentIndex = self.values.index(value)


class EnumBox(ChoiceBox):
    def prepare(self):
        self.values = list(self.kind)
        label = getattr(self.kind, "label", lambda one: one.name)
        selected = self.values[self.widget.currentIndex]
        self.fill(label(one) for one in self.values)
        self.write(selected)


class Line(Connector):
    signal = "textChanged"

    def read(self):
        return self.widget.text

    def write(self, value):
        if value != self.widget.text:
            self.widget.text = value


class Label(Line):
    signal = ""


class TextEdit(Connector):
    signal = "textChanged"

    def read(self):
        return self.widget.toPlainText()

    def write(self, value):
        self.widget.setPlainText(value)


class PathLine(Connector):
    signal = "currentPathChanged"
    attribute = "currentPath"

    def read(self):
        return self.kind(getattr(self.widget, self.attribute))

    def write(self, value):
        setattr(self.widget, self.attribute, str(value))


class Folder(PathLine):
    signal = "directoryChanged"
    attribute = "directory"


class NodeBox(Connector):
    signal = "currentNodeChanged"

    def prepare(self):
        try:
            self.widget.nodeTypes = [one().GetClassName() for one in node_classes(self.kind)]
        except TypeError as error:  # Slicer, too, makes a node to ask it for its class name
            raise TypeError(f"parameter of type {self.kind}: {error}; name classes that have nodes") from error

    def read(self):
        return self.widget.currentNode()

    def write(self, value):
        self.widget.setCurrentNode(value)


NUMBERS = (
    "QDoubleSpinBox",
    "ctkSliderWidget",
    "qMRMLSliderWidget",
    "ctkDoubleSlider",
    "ctkDoubleSpinBox",
    "qMRMLSpinBox",
)


def _is(kind, base) -> bool:
    return isinstance(kind, type) and issubclass(kind, base)


# Which exact classes of widgets take which types; the first that fits.
TABLE = (
    (CheckBox, ("QCheckBox", "ctkCheckBox"), lambda k: k is bool),
    (PushButton, ("QPushButton",), lambda k: k is bool),
    (Integer, ("QSlider", "QSpinBox"), lambda k: k is int),
    (Real, NUMBERS, lambda k: k in (float, int)),
    (ChoiceBox, ("QComboBox", "ctkComboBox"), lambda k: k in (int, float, str, bool)),
    (EnumBox, ("QComboBox", "ctkComboBox"), lambda k: _is(k, enum.Enum)),
    (Line, ("QLineEdit",), lambda k: k is str),
    (Label, ("QLabel",), lambda k: k is str),
    (TextEdit, ("QTextEdit",), lambda k: k is str),
    (PathLine, ("ctkPathLineEdit",), lambda k: _is(k, pathlib.PurePath)),
    (Folder, ("ctkDirectoryButton",), lambda k: _is(k, pathlib.PurePath)),
    (NodeBox, ("qMRMLNodeComboBox",), lambda k: bool(node_classes(k))),
)


def create(widget, datatype) -> Connector:
    """RuntimeError where Slicer has no connector for the widget's exact class and the type."""
    kind, given = notes.split(datatype)
    for connector, classes, fits in TABLE:
        if type(widget).__name__ in classes and "_kind" in type(widget).__dict__ and fits(kind):
            return connector(widget, kind, given)
    raise RuntimeError(f"Unable to create GUI connector from datatype '{datatype}' to widget type '{type(widget)}'.")
