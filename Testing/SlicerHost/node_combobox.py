"""qMRMLNodeComboBox on a real scene: which nodes it lists, when it selects, and its signals in their real order."""

import slicer
import vtk
from PySide6.QtCore import Property, Signal
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QWidget

from .ctk_buttons import held
from .observing import observe


class qMRMLNodeComboBox(QWidget):
    """A selector of nodes of some classes, with entries to create, rename and remove."""

    _nodeChanged = Signal(object)
    _validChanged = Signal(bool)
    _nodeAdded = Signal(object)
    _nodeAddedByUser = Signal(object)
    _addedByAction = Signal(object)
    _activated = Signal(object)
    _aboutToEdit = Signal(object)
    _aboutToRemove = Signal(object)
    _renamed = Signal(object)
    currentNodeIDChanged = Signal(str)
    pythonqt_signals = {  # noqa: RUF012
        "currentNodeChanged(vtkMRMLNode*)": "_nodeChanged(PyObject)",
        "currentNodeChanged(bool)": "_validChanged(bool)",
        "nodeAdded(vtkMRMLNode*)": "_nodeAdded(PyObject)",
        "nodeAddedByUser(vtkMRMLNode*)": "_nodeAddedByUser(PyObject)",
        "nodeAddedByUserAction(vtkMRMLNode*)": "_addedByAction(PyObject)",
        "nodeActivated(vtkMRMLNode*)": "_activated(PyObject)",
        "nodeAboutToBeEdited(vtkMRMLNode*)": "_aboutToEdit(PyObject)",
        "nodeAboutToBeRemoved(vtkMRMLNode*)": "_aboutToRemove(PyObject)",
        "currentNodeRenamed(vtkMRMLNode*)": "_renamed(PyObject)",
    }

    def __init__(self, *args):
        super().__init__(args[0] if args else None)
        self._box = QComboBox(self)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._box)
        self._scene, self._tags, self._nodes, self._current = None, [], [], None
        self._types, self._hiddenChildren, self._attributes, self._labels = [], [], {}, {}
        self._none, self._noneText, self._base, self._tag = False, "None", "", "Singleton"
        self._add, self._remove, self._edit, self._rename = True, True, False, False
        self._select, self._showHidden, self._children = True, False, True
        self._filling, self._actions, self._watched = False, [], {}
        self._requested, self._actionRows = None, []
        super().setEnabled(False)
        self._box.activated.connect(self._chosen)

    # -- the scene

    def setMRMLScene(self, scene) -> None:
        if scene is self._scene:
            return
        for owner, tag in self._tags:
            owner.RemoveObserver(tag)
        wanted = self._requested if self._scene is None else self._current
        self._tags, self._scene = [], scene
        if scene is not None:
            for event, method in (
                (scene.NodeAddedEvent, "_sceneChanged"), (scene.NodeRemovedEvent, "_sceneChanged"),
                (scene.EndBatchProcessEvent, "_sceneEnded"), (scene.EndCloseEvent, "_sceneEnded"),
            ):  # fmt: skip
                self._tags.append((scene, observe(scene, event, self, method)))
            tag = observe(scene, scene.NodeAboutToBeRemovedEvent, self, "_leaving", calldata=True)
            self._tags.append((scene, tag))
        self._fill()
        self._become(wanted if wanted in self._nodes else None)
        self._requested = None
        self.setEnabled(scene is not None)

    def mrmlScene(self):
        return self._scene

    def _leaving(self, caller, event, node) -> None:
        if node in self._nodes:
            self._aboutToRemove.emit(node)

    def _sceneEnded(self, caller, event) -> None:
        """A scene was closed, or many nodes came at once."""
        self._changed(lambda row: None)

    def _sceneChanged(self, caller, event) -> None:
        if self._scene is not None and not self._scene.IsBatchProcessing():
            self._changed(self._neighbour)

    def _changed(self, instead) -> None:
        """Nodes came or went. A list that was empty takes the first as its current one, as QComboBox does."""
        before, empty, row = self._nodes, self._box.count() == 0, self._box.currentIndex()
        self._fill()
        for node in self._nodes:
            if node not in before:
                self._nodeAdded.emit(node)
        if empty and self._nodes and self._current is None:
            self._become(self._nodes[0])
        elif self._current is not None and self._current not in self._nodes:
            self._become(instead(row))

    def _neighbour(self, row: int):
        """The node that QComboBox moves to where the current one was removed: the next, else the last, else none."""
        if row <= 0 or not self._nodes:
            return None
        at = row - bool(self._none)
        return self._nodes[min(at, len(self._nodes) - 1)]

    # -- which nodes

    def _listed(self, node) -> bool:
        if node is None or (node.GetHideFromEditors() and not self._showHidden):
            return False
        if not self._types:
            return True
        own = node.GetClassName()
        fits = [kind for kind in self._types if own == kind or (self._children and node.IsA(kind))]
        if not fits or any(node.IsA(kind) for kind in self._hiddenChildren):
            return False
        return all(
            kind not in fits or (node.GetAttribute(name) is not None and value in (None, "", node.GetAttribute(name)))
            for (kind, name), value in self._attributes.items()
        )

    def _fill(self) -> None:
        """The list anew; the current node stays current where it is still there."""
        nodes = []
        if self._scene is not None:
            all_nodes = [self._scene.GetNthNode(i) for i in range(self._scene.GetNumberOfNodes())]
            nodes = [node for node in all_nodes if self._listed(node)]
        for gone in [known for known in self._watched if known not in nodes]:
            gone.RemoveObserver(self._watched.pop(gone))
        for node in nodes:
            if node not in self._watched:
                self._watched[node] = observe(node, vtk.vtkCommand.ModifiedEvent, self, "_nodeModified")
        self._nodes = nodes
        self._filling = True
        self._box.clear()
        if self._none:
            self._box.addItem(self._noneText)
        for node in nodes:
            self._box.addItem(node.GetName() or node.GetID())
        self._actionRows = []
        for text, action in self._entries():
            if not self._actionRows:
                self._box.insertSeparator(self._box.count())
            self._actionRows.append((self._box.count(), action))
            self._box.addItem(text)
        self._show()
        self._filling = False

    def _entries(self):
        if self._scene is None:
            return []
        label = self.nodeTypeLabel(self._types[0]) if len(self._types) == 1 else "node"
        entries = []
        if self._rename:
            entries.append((f"Rename current {label}", self.renameCurrentNode))
        if self._edit:
            entries.append((f"Edit current {label}", self.editCurrentNode))
        if self._add:
            for kind in self._types:
                entries.append((f"Create new {self.nodeTypeLabel(kind)}", lambda kind=kind: self._createdByUser(kind)))
        if self._remove:
            entries.append((f"Delete current {label}", self.removeCurrentNode))
        entries.extend((action.text(), action.trigger) for action in self._actions)
        return entries

    def _show(self) -> None:
        offset = 1 if self._none else 0
        at = self._nodes.index(self._current) + offset if self._current in self._nodes else (0 if self._none else -1)
        self._box.setCurrentIndex(at)

    def _nodeModified(self, node, event) -> None:
        if node in self._nodes and self._box.itemText(self._nodes.index(node) + bool(self._none)) != node.GetName():
            self._fill()
            if node is self._current:
                self._renamed.emit(node)

    # -- the current node

    def _become(self, node) -> None:
        if node is self._current:
            return
        self._current = node
        self._filling = True
        self._show()
        self._filling = False
        self._nodeChanged.emit(node)
        self._validChanged.emit(node is not None)
        self.currentNodeIDChanged.emit(node.GetID() if node is not None else "")

    def _chosen(self, row: int) -> None:
        action = dict(self._actionRows).get(row)
        if action is not None:
            self._show()
            action()
            return
        node = None if self._none and row == 0 else self._nodes[row - bool(self._none)]
        self._become(node)
        self._activated.emit(node)

    def currentNode(self):
        node = self._current
        return node if node is not None and self._scene is not None and node.GetScene() is self._scene else None

    def setCurrentNode(self, node) -> None:
        if node is not None and not isinstance(node, slicer.vtkMRMLNode):
            raise TypeError(f"wanted a vtkMRMLNode or None; got {node!r}")
        if self._scene is None:
            self._requested = node
        self._become(node if node in self._nodes else None)

    def setCurrentNodeID(self, identifier) -> None:
        node = self._scene.GetNodeByID(identifier) if identifier and self._scene is not None else None
        self.setCurrentNode(node)

    def setCurrentNodeIndex(self, index) -> None:
        self.setCurrentNode(self._nodes[index] if 0 <= index < len(self._nodes) else None)

    def nodeCount(self) -> int:
        return len(self._nodes)

    def nodeFromIndex(self, index):
        return self._nodes[index] if 0 <= index < len(self._nodes) else None

    # -- making and removing

    def addNode(self, kind: str = ""):
        kind = kind or (self._types[0] if self._types else "")
        if self._scene is None or kind not in self._types:
            return None
        node = self._scene.CreateNodeByClass(kind)
        node.UnRegister(None)
        base = self._base or ("" if node.GetName() else node.GetDefaultNodeNamePrefix())
        if base:
            node.SetName(self._scene.GetUniqueNameByString(base))
        for (_kind, name), value in self._attributes.items():
            node.SetAttribute(name, value or "")
        self._scene.AddNode(node)
        if self._select:
            self._become(node)
        self._nodeAddedByUser.emit(node)
        return node

    def _createdByUser(self, kind: str) -> None:
        node = self.addNode(kind)
        self._become(node)
        self._addedByAction.emit(node)

    def removeCurrentNode(self) -> None:
        node = self.currentNode()
        if node is not None:
            self._scene.RemoveNode(node)

    def editCurrentNode(self) -> None:
        if self.currentNode() is not None:
            self._aboutToEdit.emit(self.currentNode())
            raise NotImplementedError("qMRMLNodeComboBox.editCurrentNode: there are no other modules in the host")

    def renameCurrentNode(self) -> None:
        raise NotImplementedError("qMRMLNodeComboBox.renameCurrentNode: a dialog for a text")

    def addAttribute(self, kind: str, name: str, value=None) -> None:
        self._attributes[kind, name] = None if value is None else str(value)
        self._again()

    def removeAttribute(self, kind: str, name: str) -> None:
        self._attributes.pop((kind, name), None)
        self._again()

    def addMenuAction(self, action) -> None:
        self._actions.append(action)
        self._again()

    def setNodeTypeLabel(self, label: str, kind: str) -> None:
        self._labels[kind] = label
        self._again()

    def nodeTypeLabel(self, kind: str) -> str:
        if kind in self._labels:
            return self._labels[kind]
        label = self._scene.GetTypeDisplayNameByClassName(kind) if self._scene is not None and kind else ""
        return label or "node"

    def _again(self, *_):
        self._fill()
        if self._current not in self._nodes:
            self._become(None)

    def _set(self, attribute, value):
        setattr(self, attribute, value)
        self._again()

    nodeTypes = Property("QStringList", lambda self: self._types, lambda self, v: self._set("_types", list(v)))
    hideChildNodeTypes = Property(
        "QStringList", lambda self: self._hiddenChildren, lambda self, v: self._set("_hiddenChildren", list(v))
    )
    showChildNodeTypes = Property(bool, lambda self: self._children, lambda self, v: self._set("_children", v))
    showHidden = Property(bool, lambda self: self._showHidden, lambda self, v: self._set("_showHidden", v))
    noneEnabled = Property(bool, lambda self: self._none, lambda self, v: self._set("_none", v))
    noneDisplay = Property(str, lambda self: self._noneText, lambda self, v: self._set("_noneText", v))
    addEnabled = Property(bool, lambda self: self._add, lambda self, v: self._set("_add", v))
    removeEnabled = Property(bool, lambda self: self._remove, lambda self, v: self._set("_remove", v))
    editEnabled = Property(bool, lambda self: self._edit, lambda self, v: self._set("_edit", v))
    renameEnabled = Property(bool, lambda self: self._rename, lambda self, v: self._set("_rename", v))
    baseName = held(str, "_base")
    selectNodeUponCreation = held(bool, "_select")
    interactionNodeSingletonTag = held(str, "_tag")
    currentNodeID = Property(
        str, lambda self: self.currentNode().GetID() if self.currentNode() is not None else "", setCurrentNodeID
    )
    currentNodeId = Property(
        str, lambda self: self.currentNode().GetID() if self.currentNode() is not None else "", setCurrentNodeID
    )
    sizeAdjustPolicy = Property(int, lambda self: 1, lambda self, v: None)
