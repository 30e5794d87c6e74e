"""slicer.parameterNodeWrapper: typed parameters kept as text in a real vtkMRMLScriptedModuleNode."""

import types
import typing
import weakref

import slicer
import vtk

from . import annotations as notes
from . import connectors
from .connectors import SlicerParameterName
from .serializers import serializer_of


class Parameter:
    """One parameter of one node; its value is read anew when the node changes."""

    def __init__(self, name, serializer, default, node):
        self.name, self.serializer, self.default, self.node = name, serializer, default, node
        if not serializer.has(node, name):
            serializer.write(node, name, default.value)
        self.value = serializer.read(node, name)
        self.writing = False
        own = weakref.ref(self)
        self.tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: own() and own().refresh())

    def __del__(self):
        if hasattr(self, "tag"):
            self.node.RemoveObserver(self.tag)

    def refresh(self):
        if not self.writing:
            if not self.serializer.has(self.node, self.name):
                self.serializer.write(self.node, self.name, self.default.value)
            self.value = self.serializer.read(self.node, self.name)

    def write(self, value):
        self.writing = True
        try:
            with slicer.util.NodeModify(self.node):
                self.serializer.write(self.node, self.name, value)
                self.value = self.serializer.read(self.node, self.name)
        finally:
            self.writing = False


class Wrapped:
    """What the decorator puts into a module's class."""

    def __init__(self, parameterNode, prefix=None):
        self.parameterNode = parameterNode
        self._guis, self._next, self._updating = {}, 0, False
        self._parameters = {
            name: Parameter(f"{prefix or ''}{name}", serializer, default, parameterNode)
            for name, (_kind, serializer, default) in self.allParameters.items()
        }

    @classmethod
    def _known(cls, name):
        if name not in cls.allParameters:
            raise ValueError(f"Cannot find a parameter named {name}; there are {', '.join(cls.allParameters)}")
        return name

    @classmethod
    def dataType(cls, name):
        return cls.allParameters[cls._known(name)][0]

    def default(self, name):
        return self.allParameters[self._known(name)][2]

    def isCached(self, name):
        return bool(self._known(name))

    def getValue(self, name):
        return self._parameters[self._known(name)].value

    def setValue(self, name, value):
        self._parameters[self._known(name)].write(value)

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified):
        return self.parameterNode.EndModify(wasModified)

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag):
        self.parameterNode.RemoveObserver(tag)

    def Modified(self):
        self.parameterNode.Modified()

    def connectGui(self, gui):
        """Binds every widget below that has the dynamic property SlicerParameterName."""
        import qt

        widgets = gui.findChildren(qt.QWidget) if hasattr(gui, "isWidgetType") else vars(gui).values()
        named = {}
        for widget in widgets:
            name = widget.property(SlicerParameterName)
            if name:
                named[name] = widget
        return self.connectParametersToGui(named)

    def connectParametersToGui(self, mapping):
        for name in mapping:
            self._known(name)
        bound = {
            name: widget if isinstance(widget, connectors.Connector) else connectors.create(widget, self.dataType(name))
            for name, widget in mapping.items()
        }
        tag, self._next = self._next, self._next + 1
        for name, connector in bound.items():
            connector.write(self.getValue(name))
            connector.start(lambda name=name, connector=connector: self._from_gui(name, connector))
        observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._to_gui())
        self._guis[tag] = (bound, observer)
        return tag

    def disconnectGui(self, tag):
        bound, observer = self._guis.pop(tag, ({}, None))
        for connector in bound.values():
            connector.stop()
        if observer is not None:
            self.RemoveObserver(observer)

    def _from_gui(self, name, connector):
        with slicer.util.NodeModify(self):
            if not self._updating:
                self.setValue(name, connector.read())

    def _to_gui(self):
        if self._updating:
            return
        self._updating = True
        try:
            with slicer.util.NodeModify(self):
                for bound, _observer in self._guis.values():
                    for name, connector in bound.items():
                        connector.write(self.getValue(name))
        finally:
            self._updating = False


def parameterNodeWrapper(cls=None):
    """Class decorator, with or without parentheses."""
    return _process if cls is None else _process(cls)


def _process(cls):
    found = {}
    for name, kind in typing.get_type_hints(cls, include_extras=True).items():
        if name in Wrapped.__dict__:
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
        plain, given = notes.split(kind)
        if isinstance(plain, types.UnionType):
            plain = typing.Union[typing.get_args(plain)]  # noqa: UP007
        serializer = serializer_of(plain, given)
        default = notes.Default(getattr(cls, name)) if hasattr(cls, name) else notes.first(given, notes.Default)
        found[name] = (kind, serializer, default or notes.Default(serializer.default()))
        setattr(cls, name, property(
            lambda self, name=name: self.getValue(name), lambda self, value, name=name: self.setValue(name, value)
        ))  # fmt: skip
    for name, member in Wrapped.__dict__.items():
        if name not in ("__dict__", "__weakref__", "__module__", "__qualname__", "__doc__"):
            setattr(cls, name, member)
    cls.allParameters = found
    cls._is_parameter_node_wrapper = True
    return cls


def isParameterNodeWrapper(thing) -> bool:
    return getattr(thing, "_is_parameter_node_wrapper", False)


def findChildWidgetForParameter(widget, parameter):
    import qt

    found = (w for w in widget.findChildren(qt.QWidget) if w.property(SlicerParameterName) == parameter)
    return next(found, None)
