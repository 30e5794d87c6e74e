"""Host: an application with a scene that loads a scripted module, shows it, clicks it and takes pictures of it."""

import contextlib
import gc
import logging
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import shiboken6
import slicer
from PySide6 import QtCore, QtTest, QtWidgets

from . import dialogs, errors, layout, pythonqt, signals, window
from .errors import Swallowed
from .installed import install
from .loaded import Module
from .scenes import Mrml

PANEL_WIDTH = 500


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

    @property
    def scene(self):
        """slicer.mrmlScene."""
        return self.mrml.scene

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
        self.mrml = Mrml(self.folder)
        self.manager = window.qSlicerModuleManager()
        self.window = self.layouts = None
        if self.main_window:
            self.window = window.qSlicerMainWindow()
            self.layouts = layout.qSlicerLayoutManager(self.mrml.logic, self.window._views)
        self.application._equip(
            self.scene, self.mrml.logic, self.manager, self.layouts, self.folder, not self.main_window, self.testing
        )
        install(self._exit, self)
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
        self.application._equip(None, None, None, None, self.folder, True, False)
        self.mrml.let_go()
        self.mrml = self.layouts = self.window = self.manager = None
        gc.collect()

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
        return self.mrml.save(path)

    def load_scene(self, path) -> None:
        """A saved scene instead of this one, with the events of an application."""
        self.mrml.load(path)
        self.process_events()

    def clear_scene(self) -> None:
        """File, Close scene."""
        self.scene.Clear()
        self.process_events()
