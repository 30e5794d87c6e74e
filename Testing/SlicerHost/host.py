"""Host: an application with a scene that loads a scripted module, shows it, clicks it and takes pictures of it."""

import contextlib
import gc
import importlib
import importlib.util
import logging
import os
import sys
import tempfile
import threading
import time
import types
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import shiboken6
import slicer
import slicer.util
import vtk
from PySide6 import QtCore, QtTest, QtWidgets

from . import (
    annotations,
    connectors,
    dialogs,
    errors,
    extras,
    layout,
    namespaces,
    parameters,
    pythonqt,
    scripted,
    signals,
    window,
)
from .errors import Swallowed

PANEL_WIDTH = 500
# The modules of Slicer whose logics are real here: slicer.modules.sequences.logic().
LOGICS = {
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
}


class Log(logging.Handler):
    """What the application log would hold."""

    def __init__(self):
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


class Host:
    """A running application for one module; use it in a `with`.

    :param dark: Slicer's dark palette instead of the light one.
    :param main_window: False as with `Slicer --no-main-window`: no window, no layout manager.
    :param developer: developer mode, with the section Reload and Test.
    :param testing: as with `Slicer --testing`.
    :param size: (width, height) of the main window in pixels.
    :param slicer_python: folder Base/Python of Slicer's source; its own ScriptedLoadableModule, parameterNodeWrapper
        and i18n are then used in the place of the host's.

    Leaving the `with` raises AssertionError where exceptions were swallowed: see `errors`.
    """

    def __init__(self, *, dark=False, main_window=True, developer=False, testing=False, size=(1500, 950),
                 slicer_python=None):  # fmt: skip
        self.dark, self.main_window, self.developer = dark, main_window, developer
        self.testing, self.size, self.slicer_python = testing, size, slicer_python
        self.installed: list[tuple] = []
        self.samples: list[dict] = []
        self.qt_messages: list[str] = []
        self.modules: list[Module] = []

    # -- start and end

    def __enter__(self) -> "Host":
        if getattr(slicer, "app", None) is not None:
            raise RuntimeError("SlicerHost: another host is open; only one application can run")
        self._exit = contextlib.ExitStack()
        try:
            self._start()
        except BaseException:
            self._exit.close()
            raise
        return self

    def _start(self) -> None:
        self.folder = self._exit.enter_context(tempfile.TemporaryDirectory(prefix="SlicerHost-"))
        for fmt in (QtCore.QSettings.Format.NativeFormat, QtCore.QSettings.Format.IniFormat):
            QtCore.QSettings.setPath(fmt, QtCore.QSettings.Scope.UserScope, self.folder)
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.Format.IniFormat)
        errors.collected.clear()
        dialogs.state.__init__()
        self._hooks()
        self.application = QtWidgets.QApplication.instance() or window.qSlicerApplication(["Slicer"])
        if not isinstance(self.application, window.qSlicerApplication):
            raise RuntimeError("SlicerHost: another QApplication runs in this process")
        self.application._paint(self.dark)
        self._start_scene()
        self.manager = window.qSlicerModuleManager()
        self.window = self.layouts = None
        if self.main_window:
            self.window = window.qSlicerMainWindow()
            self.layouts = layout.qSlicerLayoutManager(self.logic, self.window._views)
        self.application._equip(
            self.scene, self.logic, self.manager, self.layouts, self.folder, not self.main_window, self.testing
        )
        self._install()
        QtCore.QSettings().setValue("Developer/DeveloperMode", self.developer)
        if self.window is not None:
            self.window.resize(*self.size)
            self.window.show()
            self.window._set_panel_width(PANEL_WIDTH)
        self.process_events()

    def _hooks(self) -> None:
        hooks = ((sys, "excepthook", errors.hook), (sys, "unraisablehook", errors.unraisable))
        for owner, name, hook in (*hooks, (threading, "excepthook", errors.thread)):
            self._exit.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, hook)
        self.log = Log()
        logging.getLogger().addHandler(self.log)
        self._exit.callback(logging.getLogger().removeHandler, self.log)
        old = QtCore.qInstallMessageHandler(self._qt_says)
        self._exit.callback(QtCore.qInstallMessageHandler, old)

    def _qt_says(self, _kind, _context, text: str) -> None:
        if "propagateSizeHints" not in text:  # the offscreen platform says it of each window
            self.qt_messages.append(text)

    def _start_scene(self) -> None:
        self.scene = slicer.vtkMRMLScene()
        self.scene.RegisterNodeClass(slicer.vtkMRMLCommandLineModuleNode())
        self.logic = slicer.vtkSlicerApplicationLogic()
        self.logic.SetMRMLScene(self.scene)
        self.logic.SetTemporaryPath(self.folder)
        colors = slicer.vtkMRMLColorLogic()
        self.logic.SetColorLogic(colors)
        self.logics = {name: getattr(slicer, kind)() for name, kind in LOGICS.items()}
        for name, one in {"Colors": colors, **self.logics}.items():
            self.logic.SetModuleLogic(name, one)
            if hasattr(one, "SetMRMLApplicationLogic"):
                one.SetMRMLApplicationLogic(self.logic)
            one.SetMRMLScene(self.scene)
        slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.scene)
        if self.scene.GetFirstNodeByClass("vtkMRMLCrosshairNode") is None:
            self.scene.AddNewNodeByClass("vtkMRMLCrosshairNode")

    def _install(self) -> None:
        """The modules of Slicer's Python, for as long as the host is open."""
        modules = types.ModuleType("slicer.modules")
        module_names = types.ModuleType("slicer.moduleNames")
        wrapper = types.ModuleType("slicer.parameterNodeWrapper")
        for source in (annotations, parameters, connectors):
            for name, thing in vars(source).items():
                if not name.startswith("_") and getattr(thing, "__module__", None) == source.__name__:
                    setattr(wrapper, name, thing)
        wrapper.SlicerParameterNamePropertyName = connectors.SlicerParameterName
        base = types.ModuleType("slicer.ScriptedLoadableModule")
        for name in ("", "Widget", "Logic", "Test"):
            setattr(base, f"ScriptedLoadableModule{name}", getattr(scripted, f"ScriptedLoadableModule{name}"))
        base.__all__ = [name for name in vars(base) if name.startswith("Scripted")]
        packaging = extras.packaging(self.installed)
        new = {
            "qt": namespaces.QtModule("qt"), "ctk": namespaces.CtkModule("ctk"), "slicer.modules": modules,
            "slicer.moduleNames": module_names, "slicer.parameterNodeWrapper": wrapper,
            "slicer.ScriptedLoadableModule": base, "slicer.i18n": extras.i18n(), "slicer.packaging": packaging,
            "SampleData": extras.sample_data(self.samples),
        }  # fmt: skip
        for name, module in new.items():
            self._replace(sys.modules, name, module)
            if name.startswith("slicer."):
                self._replace(vars(slicer), name.removeprefix("slicer."), module)
        for name, logic in self.logics.items():
            core = window.qSlicerLoadableModule(name, logic)
            self.manager._modules[name] = core
            setattr(modules, name.lower(), pythonqt.wrap(core))
            setattr(module_names, name, name)
        self._replace(vars(slicer), "app", pythonqt.wrap(self.application))
        self._replace(vars(slicer), "mrmlScene", self.scene)
        self._replace(vars(slicer), "selfTests", {})
        self._replace(vars(slicer), "__getattr__", namespaces.slicer_attribute)
        if self.slicer_python is not None:
            self._install_real()
        self._replace(vars(slicer.util), "pip_install", packaging.pip_install)
        for name in ("loadVolume", "saveNode"):
            self._replace(vars(slicer.util), name, getattr(self, f"_{name}"))

    def _install_real(self) -> None:
        """Slicer's own files in the place of the host's versions."""
        folder = str(Path(self.slicer_python) / "slicer")
        slicer.__path__.append(folder)
        self._exit.callback(slicer.__path__.remove, folder)
        names = ("i18n", "ScriptedLoadableModule", "parameterNodeWrapper")
        for name in names:
            del sys.modules[f"slicer.{name}"], vars(slicer)[name]
        for name in names:
            importlib.import_module(f"slicer.{name}")
        for name in [name for name in sys.modules if name.startswith("slicer.parameterNodeWrapper.")]:
            self._exit.callback(sys.modules.pop, name, None)

    def _replace(self, where: dict, name: str, value) -> None:
        missing = object()
        before = where.get(name, missing)
        where[name] = value
        self._exit.callback(lambda: where.pop(name, None) if before is missing else where.__setitem__(name, before))

    def __exit__(self, kind, error, trace) -> bool:
        try:
            for module in list(self.modules):
                module.unload()
            self.process_events()
            if self.window is not None:
                self.window.close()
            if self.layouts is not None:
                self.layouts._let_go()
            self.scene.Clear(True)
            self.process_events()
            for one in (self.layouts, self.window, self.manager):
                if one is not None and shiboken6.isValid(one):
                    shiboken6.delete(one)
            self._let_go()
        finally:
            self._exit.close()
        if kind is None:
            self.check()
        return False

    def _let_go(self) -> None:
        """The scene and all that observes it, so that the next host starts with free memory."""
        signals.forget_deleted()
        vtk.vtkObject.GlobalWarningDisplayOff()  # logics that ask the scene which is going
        self.logic.SetSliceLogics(None)
        for name, logic in self.logics.items():
            self.logic.SetModuleLogic(name, None)
            logic.SetMRMLScene(None)
            if hasattr(logic, "SetMRMLApplicationLogic"):
                logic.SetMRMLApplicationLogic(None)
        self.logic.SetModuleLogic("Colors", None)
        self.logic.SetColorLogic(None)
        self.logic.SetMRMLScene(None)
        self.application._equip(None, None, None, None, self.folder, True, False)
        self.scene = self.logic = self.layouts = self.window = self.manager = None
        self.logics = {}
        gc.collect()
        vtk.vtkObject.GlobalWarningDisplayOn()

    # -- what went wrong

    @property
    def errors(self) -> list[Swallowed]:
        """Exceptions that slots, event handlers and observers raised, which Slicer prints and swallows."""
        return errors.collected

    def take_errors(self) -> list[Swallowed]:
        """The errors so far, which then count as expected."""
        taken, errors.collected[:] = list(errors.collected), []
        return taken

    def check(self) -> None:
        """AssertionError where there are errors."""
        if errors.collected:
            raise AssertionError("swallowed in the application:\n" + "\n".join(map(str, self.take_errors())))

    @property
    def messages(self) -> list[dialogs.Message]:
        """Dialogs that a user would have seen, oldest first."""
        return dialogs.state.shown

    @property
    def answers(self) -> list:
        """What the user answers to the next dialogs: names of buttons, paths, or functions of the Message."""
        return dialogs.state.answers

    # -- time

    def process_events(self, seconds: float = 0.0) -> None:
        """Lets the application run, for so many seconds or until nothing is waiting."""
        end = time.monotonic() + seconds
        while True:
            self.application.processEvents(QtCore.QEventLoop.ProcessEventsFlag.AllEvents, 20)
            self.application.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete.value)
            if time.monotonic() >= end:
                break
            time.sleep(0.005)

    def wait_until(self, condition, timeout: float = 30.0) -> None:
        """Lets the application run until the condition holds. TimeoutError says what it waited for."""
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"after {timeout} s still not: {getattr(condition, '__name__', condition)}")
            self.process_events(0.02)

    def click(self, widget, x: int | None = None, y: int | None = None, button: str = "Left") -> None:
        """A press and a release of the mouse on a widget as a module knows it, in its middle or at a point."""
        shown = pythonqt.unwrap(widget)
        place = QtCore.QPoint(shown.width() // 2 if x is None else x, shown.height() // 2 if y is None else y)
        which = QtCore.Qt.MouseButton[f"{button}Button"]
        QtTest.QTest.mouseClick(shown, which, QtCore.Qt.KeyboardModifier.NoModifier, place)
        self.process_events()

    # -- the module

    def load_module(self, path) -> "Module":
        """Loads a scripted module, starts the application with it, and shows its widget."""
        module = Module(self, Path(path).resolve())
        self.modules.append(module)
        module.load()
        return module

    # -- scene and pictures

    def screenshot(self, path, widget=None) -> Path:
        """Saves a picture of the main window, or of one widget as a module knows it."""
        self.process_events(0.05)
        shown = pythonqt.unwrap(widget) if widget is not None else self.window
        if shown is None:
            shown = self.modules[-1].holder
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        if not shown.grab().save(str(path)):
            raise OSError(f"screenshot could not be written: {path}")
        return Path(path)

    def save_scene(self, path) -> Path:
        """The scene with its data into a new folder of that name (without .mrml), as a data bundle before zipping."""
        folder = Path(path).with_suffix("")
        folder.mkdir(parents=True)
        before = (self.scene.GetURL(), self.scene.GetRootDirectory())
        if not self.logic.SaveSceneToSlicerDataBundleDirectory(str(folder), None):
            raise OSError(f"scene could not be saved: {folder}")
        self.scene.SetURL(before[0])
        self.scene.SetRootDirectory(before[1])
        return folder

    def load_scene(self, path) -> None:
        """A saved scene instead of this one, with the events of an application."""
        path = Path(path)
        if not path.is_file():
            path = next(path.with_suffix("").rglob("*.mrml"))
        self.scene.SetURL(str(path))
        if not self.scene.Connect():
            raise OSError(f"scene could not be loaded: {path}")
        self.process_events()

    def clear_scene(self) -> None:
        """File, Close scene."""
        self.scene.Clear()
        self.process_events()

    def _loadVolume(self, filename, properties=None):
        """slicer.util.loadVolume by the storage node of volumes."""
        known = {"name", "show", "singleFile", "labelmap", "center"}
        given = properties or {}
        if set(given) - known - {"fileName"}:
            raise NotImplementedError(f"slicer.util.loadVolume: properties {sorted(set(given) - known)}")
        options = bool(given.get("labelmap")) + 2 * bool(given.get("center")) + 4 * bool(given.get("singleFile"))
        name = given.get("name", Path(filename).name.split(".")[0])
        node = self.logics["Volumes"].AddArchetypeVolume(str(filename), name, options)
        if node is None:
            raise RuntimeError(f"Failed to load node from file: {filename}")
        if given.get("show", True):
            slicer.util.setSliceViewerLayers(background=node, fit=self.layouts is not None)
        return node

    def _saveNode(self, node, filename, properties=None):
        storage = node.CreateDefaultStorageNode()
        storage.UnRegister(None)
        storage.SetFileName(str(filename))
        return bool(storage.WriteData(node))


class Module:
    """A loaded scripted module: its instance, its widget and what an application does to them."""

    def __init__(self, host: Host, path: Path):
        self.host, self.path, self.name = host, path, path.stem
        self.holder = None
        self.core = window.qSlicerScriptedLoadableModule(str(path), self.name)
        self.core._build = self._build

    @property
    def widget(self):
        """<Name>Widget, as slicer.modules knows it: another one after reload()."""
        return self.holder._python

    def load(self) -> None:
        folder = str(self.path.parent)
        if folder not in sys.path:
            sys.path.insert(0, folder)
        self._folder = folder
        spec = importlib.util.spec_from_file_location(self.name, self.path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[self.name] = module
        spec.loader.exec_module(module)
        shown = pythonqt.wrap(self.core)
        self.host.manager._modules[self.name] = self.core
        setattr(slicer.modules, self.name.lower(), shown)
        setattr(slicer.moduleNames, self.name, self.name)
        self.instance = getattr(module, self.name)(shown)
        setattr(slicer.modules, f"{self.name}Instance", self.instance)
        self.host.application.startupCompleted.emit()
        self.host.process_events()
        self.holder = self.core.widgetRepresentation()
        self.enter()

    def _build(self, holder) -> None:
        holder.setMRMLScene(self.host.scene)
        self.holder = holder
        holder._name = self.name
        scripted.instantiate(self.name, holder).setup()

    def enter(self) -> None:
        """The user opens the module."""
        if self.host.window is not None:
            self.host.window._show_module(self.core, self.holder)
            self.host.window.moduleSelector().selectModule(self.name)
        if not self.holder._entered:
            self.holder._entered = True
            self._call("enter")
        self.host.process_events(0.02)

    def exit(self) -> None:
        """The user goes to another module."""
        if self.holder is not None and self.holder._entered:
            self.holder._entered = False
            self._call("exit")
        self.host.process_events()

    def _call(self, name: str) -> None:
        method = getattr(self.widget, name, None)
        if method is not None:
            try:
                method()
            except Exception as error:
                errors.collect(error, f"{self.name}Widget.{name}()")

    def reload(self) -> None:
        """The developer's Reload button: cleanup, the source anew, a new widget in the same place."""
        slicer.util.reloadScriptedModule(self.name)
        self.host.process_events(0.02)

    def still_connected(self) -> list[str]:
        """Signals still connected to methods of the widget."""
        return signals.connected_to(self.widget)

    def unload(self) -> None:
        """The application ends or the extension is switched off: exit(), cleanup(), and the widget is deleted."""
        if self not in self.host.modules:
            return
        self.host.modules.remove(self)
        try:
            self.exit()
            self.host.manager.moduleAboutToBeUnloaded.emit(self.name)
            self.host.process_events()
        finally:
            for name in (self.name.lower(), f"{self.name}Widget", f"{self.name}Instance"):
                vars(slicer.modules).pop(name, None)
            self.host.manager._modules.pop(self.name, None)
            if self.holder is not None and shiboken6.isValid(self.holder):
                self.holder._python = None
                shiboken6.delete(self.holder)
            for name, module in list(sys.modules.items()):
                if str(getattr(module, "__file__", None) or "").startswith(self._folder + os.sep):
                    del sys.modules[name]
            if self._folder in sys.path:
                sys.path.remove(self._folder)
            signals.forget_deleted()
            gc.collect()
