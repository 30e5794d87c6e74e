"""A loaded scripted module, and what an application does to it in its life."""

import gc
import importlib.util
import os
import sys
from pathlib import Path

import shiboken6
import slicer

from . import errors, pythonqt, scripted, signals, window


class Module:
    """A loaded scripted module: its instance, its widget and what an application does to them."""

    def __init__(self, host, path: Path):
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
