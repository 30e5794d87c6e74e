"""Slice widgets and the layout manager: real slice nodes and slice logics below, widgets of the host above."""

import xml.etree.ElementTree as ET

import slicer
import vtk
from PySide6.QtCore import Property, QObject, Qt, Signal
from PySide6.QtWidgets import QBoxLayout, QGridLayout, QHBoxLayout, QLabel, QSlider, QTabWidget, QVBoxLayout, QWidget

from .observing import observe
from .views import qMRMLSliceView

COLORS = {"Red": "#f34a33", "Yellow": "#edd54c", "Green": "#6eb04b"}


class qMRMLSliceControllerWidget(QWidget):
    """The bar over a slice: its name and the slider of its offset."""

    def __init__(self, parent, logic, name: str):
        super().__init__(parent)
        self._logic = logic
        row = QHBoxLayout(self)
        row.setContentsMargins(2, 0, 2, 0)
        label = QLabel(logic.GetSliceNode().GetLayoutLabel() or name[:1])
        color = COLORS.get(name, "#8c8c8c")
        label.setStyleSheet(f"background: {color}; color: black; padding: 0 6px")
        self._slider, self._text = QSlider(Qt.Orientation.Horizontal), QLabel()
        row.addWidget(label)
        row.addWidget(self._slider, 1)
        row.addWidget(self._text)
        self._slider.setRange(0, 1000)
        self._busy = False
        self._slider.valueChanged.connect(self._move)
        self._tag = observe(logic.GetSliceNode(), vtk.vtkCommand.ModifiedEvent, self, "_show")

    def _bounds(self) -> tuple[float, float]:
        bounds = [0.0] * 6
        self._logic.GetSliceBounds(bounds)
        return bounds[4], bounds[5]

    def _move(self, position: int) -> None:
        if not self._busy:
            low, high = self._bounds()
            self._logic.SetSliceOffset(low + (high - low) * position / 1000)

    def _show(self, *_) -> None:
        low, high = self._bounds()
        offset = self._logic.GetSliceOffset()
        self._busy = True
        self._slider.setValue(round(1000 * (offset - low) / (high - low)) if high > low else 0)
        self._text.setText(f"{offset:.1f} mm")
        self._busy = False

    def fitSliceToBackground(self) -> None:
        self._logic.FitSliceToBackground(-1, -1)

    def setSliceOffsetValue(self, offset) -> None:
        self._logic.SetSliceOffset(offset)

    def sliceOffsetSlider(self):
        raise NotImplementedError("qMRMLSliceControllerWidget.sliceOffsetSlider")


class qMRMLSliceWidget(QWidget):
    """A slice view under its bar."""

    def __init__(self, parent=None, logic=None, name=""):
        super().__init__(parent)
        if logic is None:
            raise NotImplementedError("qMRMLSliceWidget made by a module: take one from the layout manager")
        self._logic = logic
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(0)
        self._bar, self._view = qMRMLSliceControllerWidget(self, logic, name), qMRMLSliceView(self, logic)
        box.addWidget(self._bar)
        box.addWidget(self._view, 1)

    def _let_go(self) -> None:
        self._logic.GetSliceNode().RemoveObserver(self._bar._tag)
        self._logic.RemoveObserver(self._view._tag)
        self._logic.SetMRMLScene(None)

    def sliceLogic(self):
        return self._logic

    def mrmlSliceNode(self):
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self):
        return self._logic.GetSliceCompositeNode()

    def sliceView(self):
        return self._view

    def sliceController(self):
        return self._bar

    def fitSliceToBackground(self) -> None:
        self._bar.fitSliceToBackground()


class qSlicerLayoutManager(QObject):
    """Arranges views as the scene's layout node describes it."""

    layoutChanged = Signal(int)

    def __init__(self, application_logic, viewport):
        super().__init__()
        self._applicationLogic, self._viewport = application_logic, viewport
        self._scene = application_logic.GetMRMLScene()
        self._logic = slicer.vtkMRMLLayoutLogic()
        self._logic.SetMRMLScene(self._scene)
        self._node = self._logic.GetLayoutNode()
        self._widgets, self._slices, self._arranged = {}, vtk.vtkCollection(), None
        application_logic.SetSliceLogics(self._slices)
        self._tag = observe(self._node, vtk.vtkCommand.ModifiedEvent, self, "_arrange")
        QVBoxLayout(viewport).setContentsMargins(0, 0, 0, 0)
        if self._node.GetViewArrangement() == 0:
            self._node.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView)
        self._arrange()

    # -- arrangement

    def _arrange(self, *_) -> None:
        description = self._node.GetCurrentLayoutDescription()
        if not description or description == self._arranged:
            return
        self._arranged = description
        for one in self._widgets.values():
            one.setParent(None)
        old = self._viewport.layout().takeAt(0)
        if old is not None and old.widget() is not None:
            gone = old.widget()
            gone.setParent(None)
            gone.deleteLater()
        self._shown = []
        built = self._build(ET.fromstring(description))
        self._viewport.layout().addWidget(built)
        built.show()
        for name in self._shown:
            self._widgets[name].show()
        self._viewport.layout().activate()
        self.layoutChanged.emit(self._node.GetViewArrangement())

    def _build(self, layout) -> QWidget:
        kind = layout.get("type", "horizontal")
        holder = QTabWidget() if kind == "tab" else QWidget()
        if kind == "tab":
            box = None
        elif kind == "grid":
            box = QGridLayout(holder)
        else:
            direction = QBoxLayout.Direction
            box = QBoxLayout(direction.TopToBottom if kind == "vertical" else direction.LeftToRight, holder)
        if box is not None:
            box.setContentsMargins(0, 0, 0, 0)
            box.setSpacing(2)
        for item in layout.findall("item"):
            child = item.find("layout")
            view = item.find("view")
            built = self._build(child) if child is not None else self._view(view)
            if kind == "tab":
                holder.addTab(built, item.get("name") or (view.get("singletontag") if view is not None else "") or "")
            elif kind == "grid":
                place = [int(item.get(key, one)) for key, one in
                         (("row", 0), ("column", 0), ("rowspan", 1), ("colspan", 1))]  # fmt: skip
                box.addWidget(built, *place)
            else:
                box.addWidget(built, int(item.get("splitSize", 0) or 1))
        return holder

    def _view(self, view) -> QWidget:
        name = view.get("singletontag")
        if view.get("class") != "vtkMRMLSliceNode":
            label = QLabel("3D" if view.get("class") == "vtkMRMLViewNode" else view.get("class"))
            label.setAlignment(Qt.AlignmentFlag.AlignCenter)
            label.setStyleSheet("background: #9ca0d8; color: #404060")
            return label
        if name not in self._widgets:
            self._widgets[name] = self._slice(name)
        self._shown.append(name)
        return self._widgets[name]

    def _slice(self, name: str) -> qMRMLSliceWidget:
        node = self._scene.GetSingletonNode(name, "vtkMRMLSliceNode")
        if node is None:
            raise RuntimeError(f"layout: the scene has no slice node {name}")
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(self._applicationLogic)
        logic.SetMRMLScene(self._scene)
        logic.SetSliceNode(node) if hasattr(logic, "SetSliceNode") else logic.AddSliceNode(node)
        self._slices.AddItem(logic)
        return qMRMLSliceWidget(None, logic, name)

    def _let_go(self) -> None:
        self._node.RemoveObserver(self._tag)
        for widget in self._widgets.values():
            widget._let_go()
        self._logic.SetMRMLScene(None)
        self._slices.RemoveAllItems()

    # -- what a module asks

    def layoutLogic(self):
        return self._logic

    def mrmlScene(self):
        return self._scene

    def viewport(self):
        return self._viewport

    def setLayout(self, layout: int) -> None:
        self._node.SetViewArrangement(int(layout))

    def sliceViewNames(self) -> list[str]:
        return list(self._widgets)

    def sliceWidget(self, name: str):
        return self._widgets.get(name)

    def mrmlSliceLogics(self):
        return self._slices

    def resetSliceViews(self) -> None:
        for widget in self._widgets.values():
            widget.sliceLogic().FitSliceToAll(-1, -1)
            widget.sliceLogic().SnapSliceOffsetToIJK()

    def resetThreeDViews(self) -> None:
        pass

    def threeDWidget(self, index):
        raise NotImplementedError("layoutManager.threeDWidget: the host draws no 3D views")

    layout = Property(int, lambda self: self._node.GetViewArrangement(), setLayout)
    threeDViewCount = Property(int, lambda self: 0)
    plotViewCount = Property(int, lambda self: 0)
    tableViewCount = Property(int, lambda self: 0)
