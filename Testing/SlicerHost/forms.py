"""Forms made with Qt Designer, with the stand-ins in the place of Designer's plugins."""

import xml.etree.ElementTree as ET

from PySide6 import QtCore, QtUiTools, QtWidgets

from . import signals


def load(text: bytes, parent, stand_ins: dict[str, type]):
    """The widget of the text of a .ui file. NotImplementedError names a class or property that the host lacks."""
    root = ET.fromstring(text)
    _check_classes(root, stand_ins)
    scene_connections = _take_connections(root)
    loader = QtUiTools.QUiLoader()
    for kind in stand_ins.values():
        loader.registerCustomWidget(kind)
    buffer = QtCore.QBuffer()
    buffer.setData(ET.tostring(root))
    buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
    widget = loader.load(buffer, parent)
    if widget is None:
        raise RuntimeError(f"the form could not be loaded: {loader.errorString()}")
    _check_properties(root, widget)
    for sender, signal, receiver, slot in scene_connections:
        _connect(widget, sender, signal, receiver, slot)
    return widget


def _named(widget, name: str):
    return widget if widget.objectName() == name else widget.findChild(QtCore.QObject, name)


def _connect(widget, sender: str, signal: str, receiver: str, slot: str) -> None:
    source, target = _named(widget, sender), _named(widget, receiver)
    if source is None or target is None:
        raise ValueError(f"connection {sender}.{signal} to {receiver}.{slot}: no such widget in the form")
    name = slot.split("(")[0]
    if not callable(getattr(target, name, None)):
        raise ValueError(f"connection {sender}.{signal} to {receiver}.{slot}: {type(target).__name__} has no {name}")
    inner = signals.table(source).get(signal)
    if inner is None:
        raise ValueError(f"connection {sender}.{signal}: {type(source).__name__} has no such signal")
    QtCore.QObject.connect(source, QtCore.SIGNAL(inner), getattr(target, name))


def _take_connections(root) -> list[tuple[str, str, str, str]]:
    """The connections with MRML types, taken out of the form: QUiLoader cannot make them to Python's classes."""
    taken = []
    for group in root.iter("connections"):
        for one in list(group):
            parts = tuple(one.findtext(tag) for tag in ("sender", "signal", "receiver", "slot"))
            if "vtkMRML" in parts[1]:
                taken.append(parts)
                group.remove(one)
    return taken


def _check_classes(root, stand_ins) -> None:
    for one in root.iter("widget"):
        name = one.get("class")
        if name not in stand_ins and name != "Line" and not hasattr(QtWidgets, name):
            raise NotImplementedError(f"{name} ({one.get('name')}): the host has no stand-in for this widget")


def _check_properties(root, widget) -> None:
    """A property that its class does not have becomes a dynamic one without a word: a slip of the pen."""
    known_to_designer = {"frameShape", "orientation", "lineWidth", "currentTabIndex", "buddy"}
    for one in root.iter("widget"):
        built = _named(widget, one.get("name"))
        if built is None or one.get("class") == "Line":
            continue
        for prop in one.findall("property"):
            name = prop.get("name")
            if prop.get("stdset") != "0" and built.metaObject().indexOfProperty(name) < 0:
                if name in known_to_designer:
                    continue
                raise NotImplementedError(f"{one.get('class')} {one.get('name')}: property {name} in the form")
