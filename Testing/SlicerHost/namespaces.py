"""The modules qt and ctk, and the names that Slicer adds to slicer, made of wrapped classes."""

import types

from PySide6 import QtCore, QtGui, QtNetwork, QtSvg, QtWidgets

from . import calls, ctk_buttons, ctk_inputs, ctk_numbers, dialogs, forms, mrml_widgets, node_combobox, pythonqt, qt5

QT = (QtCore, QtGui, QtWidgets, QtSvg, QtNetwork)


def stand_ins(prefixes: tuple[str, ...]) -> dict[str, type]:
    """The classes of the host by name."""
    from . import layout, window

    found = {}
    for module in (ctk_buttons, ctk_inputs, ctk_numbers, mrml_widgets, node_combobox, layout, window):
        for name, kind in vars(module).items():
            if isinstance(kind, type) and issubclass(kind, QtCore.QObject) and name.startswith(prefixes):
                found[name] = kind
    return found


class QMessageBox(QtWidgets.QMessageBox):
    """Never shown: see dialogs."""

    def exec(self):
        return dialogs.ask_box(self)

    exec_ = exec

    @staticmethod
    def _static(parent, title, text, buttons=QtWidgets.QMessageBox.StandardButton.Ok, default=None):
        return dialogs.ask(title, text, "", QtWidgets.QMessageBox.StandardButton(int(buttons)))


class QUiLoader(QtCore.QObject):
    """Loads forms with the host's stand-ins."""

    def load(self, device, parent=None):
        data = bytes(device.readAll())
        return forms.load(data, parent, stand_ins(("ctk", "qMRML", "qSlicer")))


OWN = {"QMessageBox": QMessageBox, "QUiLoader": QUiLoader}


def file_dialog(kind: str, many: bool = False):
    def chosen(parent=None, caption="", *_):
        path = dialogs.path(f"QFileDialog.{kind}", caption)
        return (tuple(path.split(";")) if path else ()) if many else path

    return chosen


def open_url(url) -> bool:
    dialogs.state.shown.append(dialogs.Message("url", "", url.toString()))
    return True


for _name in ("warning", "critical", "information", "question"):
    calls.STATIC["QMessageBox", _name] = QMessageBox._static
for _name in ("getOpenFileName", "getSaveFileName", "getExistingDirectory"):
    calls.STATIC["QFileDialog", _name] = file_dialog(_name)
calls.STATIC["QFileDialog", "getOpenFileNames"] = file_dialog("getOpenFileNames", many=True)
calls.STATIC["QDesktopServices", "openUrl"] = open_url


def _refused(what: str):
    def refuse(*_):
        raise NotImplementedError(f"{what}: a dialog for a value")

    return refuse


for _name in ("getText", "getInt", "getDouble", "getItem", "getMultiLineText"):
    calls.STATIC["QInputDialog", _name] = _refused(f"QInputDialog.{_name}")


class QtModule(types.ModuleType):
    """qt: Qt's classes under one roof."""

    def __getattr__(self, name: str):
        if name.startswith("_") or name in qt5.CLASSES_LACKING:
            raise AttributeError(f"module 'qt' has no attribute '{name}'")
        kind = OWN.get(name) or next((getattr(m, name) for m in QT if hasattr(m, name)), None)
        if kind is None:
            raise AttributeError(f"module 'qt' has no attribute '{name}'")
        if not isinstance(kind, type):
            raise NotImplementedError(f"qt.{name}: only classes are in the host")
        return pythonqt.class_of(kind)


class CtkModule(types.ModuleType):
    """ctk: the stand-ins of CTK."""

    def __getattr__(self, name: str):
        kind = stand_ins(("ctk",)).get(name)
        if kind is not None:
            return pythonqt.class_of(kind)
        if name.startswith("ctk"):
            raise NotImplementedError(f"ctk.{name}: the host has no stand-in for it")
        raise AttributeError(f"module 'ctk' has no attribute '{name}'")


def slicer_attribute(name: str):
    """For slicer.__getattr__: qMRML and qSlicer classes."""
    kind = stand_ins(("qMRML", "qSlicer")).get(name)
    if kind is not None:
        return pythonqt.class_of(kind)
    if name.startswith(("qMRML", "qSlicer")):
        raise NotImplementedError(f"slicer.{name}: the host has no stand-in for it")
    raise AttributeError(f"module 'slicer' has no attribute '{name}'")
