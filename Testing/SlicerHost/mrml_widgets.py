"""Stand-ins for qMRML widgets other than the node selector."""

import slicer
import vtk
from PySide6.QtCore import Property, Signal
from PySide6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHBoxLayout,
    QTableView,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from .node_combobox import qMRMLNodeComboBox
from .observing import observe


class qMRMLWidget(QWidget):
    """A widget with a scene that tells its children of it (by connections in the .ui)."""

    _sceneChanged = Signal(object)
    pythonqt_signals = {"mrmlSceneChanged(vtkMRMLScene*)": "_sceneChanged(PyObject)"}  # noqa: RUF012

    def __init__(self, *args):
        super().__init__(*args)
        self._scene = None

    def setMRMLScene(self, scene) -> None:
        if scene is not self._scene:
            self._scene = scene
            self._sceneChanged.emit(scene)

    def mrmlScene(self):
        return self._scene


class qSlicerWidget(qMRMLWidget):
    """The application's name for the same."""


class qMRMLCheckableNodeComboBox(qMRMLNodeComboBox):
    """A node selector with a check box for each node."""

    def __init__(self, *args):
        raise NotImplementedError("qMRMLCheckableNodeComboBox")


class qMRMLSegmentSelectorWidget(QWidget):
    """A segmentation and one of its segments."""

    _nodeChanged = Signal(object)
    currentSegmentChanged = Signal(str)
    segmentSelectionChanged = Signal("QStringList")
    pythonqt_signals = {"currentNodeChanged(vtkMRMLNode*)": "_nodeChanged(PyObject)"}  # noqa: RUF012

    def __init__(self, *args):
        super().__init__(*args)
        self._nodes = qMRMLNodeComboBox(self)
        self._nodes.setProperty("nodeTypes", ["vtkMRMLSegmentationNode"])
        self._nodes.setProperty("addEnabled", False)
        self._nodes.setProperty("removeEnabled", False)
        self._segments = QComboBox(self)
        self._none, self._multiple, self._observed, self._segment = False, False, [], ""
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._nodes)
        row.addWidget(self._segments)
        self._nodes._nodeChanged.connect(self._changed)
        self._segments.activated.connect(lambda _: self._choose(self._segments.currentData()))

    def setMRMLScene(self, scene) -> None:
        self._nodes.setMRMLScene(scene)
        self.setEnabled(scene is not None)

    def mrmlScene(self):
        return self._nodes.mrmlScene()

    def _changed(self, node) -> None:
        for observed, tag in self._observed:
            observed.RemoveObserver(tag)
        self._observed = []
        if node is not None:
            event = slicer.vtkSegmentation.SegmentAdded
            events = (event, event + 1)  # added, removed
            self._observed = [(node, observe(node, one, self, "_fill")) for one in events]
        self._fill()
        self._nodeChanged.emit(node)

    def _fill(self, *_) -> None:
        node = self._nodes.currentNode()
        self._segments.clear()
        if self._none:
            self._segments.addItem("None", "")
        names = node.GetSegmentation().GetSegmentIDs() if node is not None else ()
        for name in names:
            self._segments.addItem(node.GetSegmentation().GetSegment(name).GetName(), name)
        if self._segment not in names:
            self._choose(names[0] if names and not self._none else "")
        else:
            self._segments.setCurrentIndex(self._segments.findData(self._segment))

    def _choose(self, segment) -> None:
        segment = segment or ""
        self._segments.setCurrentIndex(self._segments.findData(segment))
        if segment != self._segment:
            self._segment = segment
            self.currentSegmentChanged.emit(segment)

    def currentNode(self):
        return self._nodes.currentNode()

    def currentNodeID(self) -> str:
        return self._nodes.property("currentNodeID")

    def setCurrentNode(self, node) -> None:
        self._nodes.setCurrentNode(node)

    def setCurrentNodeID(self, identifier) -> None:
        self._nodes.setCurrentNodeID(identifier)

    def currentSegmentID(self) -> str:
        return self._segment

    def setCurrentSegmentID(self, segment) -> None:
        self._choose(segment if self._segments.findData(segment) >= 0 else "")

    def segmentationNodeComboBox(self):
        return self._nodes

    def _set_none(self, value):
        self._none = value
        self._fill()

    def _set_multiple(self, value):
        if value:
            raise NotImplementedError("qMRMLSegmentSelectorWidget.multiSelection")

    noneEnabled = Property(bool, lambda self: self._none, _set_none)
    multiSelection = Property(bool, lambda self: False, _set_multiple)


class qMRMLTableView(QTableView):
    """Shows a table node. Read only here."""

    def __init__(self, *args):
        super().__init__(*args)
        self._node, self._tag = None, None
        self._table = QTableWidget()
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)

    def setMRMLScene(self, scene) -> None:
        pass

    def setMRMLTableNode(self, node) -> None:
        if self._node is not None:
            self._node.RemoveObserver(self._tag)
        self._node = node
        if node is not None:
            self._tag = observe(node, vtk.vtkCommand.ModifiedEvent, self, "_fill")
        self._fill()

    def mrmlTableNode(self):
        return self._node

    def _fill(self, *_) -> None:
        table = self._node.GetTable() if self._node is not None else None
        rows, columns = (table.GetNumberOfRows(), table.GetNumberOfColumns()) if table is not None else (0, 0)
        self._table = QTableWidget(rows, columns)
        self._table.setHorizontalHeaderLabels([table.GetColumnName(c) or "" for c in range(columns)] if columns else [])
        for row in range(rows):
            for column in range(columns):
                self._table.setItem(row, column, QTableWidgetItem(table.GetValue(row, column).ToString()))
        self.setModel(self._table.model())


class qSlicerScriptedLoadableModuleWidget(qSlicerWidget):
    """What holds a scripted module's widget: a QWidget with a QVBoxLayout."""

    def __init__(self, *args):
        super().__init__(*args)
        QVBoxLayout(self)
        self._python, self._build, self._entered, self._name = None, None, False, ""

    isEntered = Property(bool, lambda self: self._entered)
    moduleName = Property(str, lambda self: self._name)

    def self(self):
        return self._python

    def reload(self) -> None:
        self._build(self)
