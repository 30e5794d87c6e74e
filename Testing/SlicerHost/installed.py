"""The modules of Slicer's Python (qt, ctk, slicer.*), put in place for as long as a host is open."""

import importlib
import sys
import types
from pathlib import Path

import slicer
import slicer.util

from . import annotations, connectors, dialogs, extras, namespaces, parameters, pythonqt, scripted, window


def replace(stack, where: dict, name: str, value) -> None:
    """where[name] = value until the ExitStack closes."""
    missing = object()
    before = where.get(name, missing)
    where[name] = value
    stack.callback(lambda: where.pop(name, None) if before is missing else where.__setitem__(name, before))


def _parameter_node_wrapper() -> types.ModuleType:
    module = types.ModuleType("slicer.parameterNodeWrapper")
    for source in (annotations, parameters, connectors):
        for name, thing in vars(source).items():
            if not name.startswith("_") and getattr(thing, "__module__", None) == source.__name__:
                setattr(module, name, thing)
    module.SlicerParameterNamePropertyName = connectors.SlicerParameterName
    return module


def _scripted_loadable_module() -> types.ModuleType:
    module = types.ModuleType("slicer.ScriptedLoadableModule")
    module.__all__ = [f"ScriptedLoadableModule{name}" for name in ("", "Widget", "Logic", "Test")]
    for name in module.__all__:
        setattr(module, name, getattr(scripted, name))
    return module


def _module_names(manager, logics) -> tuple[types.ModuleType, types.ModuleType]:
    """slicer.modules and slicer.moduleNames, with the modules whose logics are real."""
    modules, names = types.ModuleType("slicer.modules"), types.ModuleType("slicer.moduleNames")
    for name, logic in logics.items():
        manager._modules[name] = window.qSlicerLoadableModule(name, logic)
        setattr(modules, name.lower(), pythonqt.wrap(manager._modules[name]))
        setattr(names, name, name)
    return modules, names


def delay_display(message, autoCloseMsec=1000, parent=None, **_):
    """slicer.util.delayDisplay without the wait."""
    dialogs.state.shown.append(dialogs.Message("delay", "", message))
    slicer.app.processEvents()


def install(stack, host) -> None:
    """Puts everything in place for a Host; the ExitStack takes it away again."""
    modules, names = _module_names(host.manager, host.mrml.logics)
    packaging = extras.packaging(host.installed)
    new = {
        "qt": namespaces.QtModule("qt"), "ctk": namespaces.CtkModule("ctk"), "slicer.modules": modules,
        "slicer.moduleNames": names, "slicer.parameterNodeWrapper": _parameter_node_wrapper(),
        "slicer.ScriptedLoadableModule": _scripted_loadable_module(), "slicer.i18n": extras.i18n(),
        "slicer.packaging": packaging, "SampleData": extras.sample_data(host.samples),
    }  # fmt: skip
    for name, module in new.items():
        replace(stack, sys.modules, name, module)
        if name.startswith("slicer."):
            replace(stack, vars(slicer), name.removeprefix("slicer."), module)
    own = {"app": pythonqt.wrap(host.application), "mrmlScene": host.scene, "selfTests": {}}
    for name, value in {**own, "__getattr__": namespaces.slicer_attribute}.items():
        replace(stack, vars(slicer), name, value)
    if host.slicer_python is not None:
        _install_real(stack, Path(host.slicer_python) / "slicer")
    functions = {
        "pip_install": packaging.pip_install, "loadVolume": host.mrml.load_volume, "saveNode": host.mrml.save_node,
        "delayDisplay": delay_display,
    }  # fmt: skip
    for name, function in functions.items():
        replace(stack, vars(slicer.util), name, function)


def _install_real(stack, folder: Path) -> None:
    """Slicer's own files in the place of the host's versions."""
    slicer.__path__.append(str(folder))
    stack.callback(slicer.__path__.remove, str(folder))
    names = ("i18n", "ScriptedLoadableModule", "parameterNodeWrapper")
    for name in names:
        del sys.modules[f"slicer.{name}"], vars(slicer)[name]
    for name in names:
        importlib.import_module(f"slicer.{name}")
    for name in [name for name in sys.modules if name.startswith("slicer.parameterNodeWrapper.")]:
        stack.callback(sys.modules.pop, name, None)
