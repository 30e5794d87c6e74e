"""A slice view: the picture that a real slice logic blends, painted by Qt, with VTK's interactor behind it.

VTK's own rendering needs OpenGL and is left alone. What displayable managers draw (outlines of segments, markups,
corner texts) is absent; texts that a module adds to the renderer itself are painted.
"""

import numpy as np
import vtk
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QFont, QImage, QPainter
from PySide6.QtWidgets import QWidget
from vtk.util.numpy_support import vtk_to_numpy

from .observing import observe

BUTTONS = {
    Qt.MouseButton.LeftButton: "Left",
    Qt.MouseButton.MiddleButton: "Middle",
    Qt.MouseButton.RightButton: "Right",
}


class qMRMLSliceView(QWidget):
    """The picture of one slice."""

    def __init__(self, parent, logic):
        super().__init__(parent)
        self._logic = logic
        self.setMinimumSize(60, 60)
        self.setMouseTracking(True)
        self._window = vtk.vtkGenericOpenGLRenderWindow()
        self._renderer = vtk.vtkRenderer()
        self._window.AddRenderer(self._renderer)
        self._interactor = vtk.vtkGenericRenderWindowInteractor()
        self._interactor.SetRenderWindow(self._window)
        self._tag = observe(logic, vtk.vtkCommand.ModifiedEvent, self, "_changed")

    def _changed(self, caller, event) -> None:
        self.update()

    def _picture(self) -> np.ndarray | None:
        """(rows, columns, 3 or 4) uint8, first row at the bottom, or None where nothing is shown."""
        port = self._logic.GetImageDataConnection()
        if port is None:
            return None
        port.GetProducer().Update()
        data = port.GetProducer().GetOutputDataObject(port.GetIndex())
        if data is None or not data.GetNumberOfPoints() or data.GetPointData().GetScalars() is None:
            return None
        columns, rows, _ = data.GetDimensions()
        return vtk_to_numpy(data.GetPointData().GetScalars()).reshape(rows, columns, -1)

    def resizeEvent(self, event):
        super().resizeEvent(event)
        self._logic.ResizeSliceNode(max(1, self.width()), max(1, self.height()))

    def paintEvent(self, event):
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor("black"))
        picture = self._picture()
        if picture is not None:
            pixels = np.ascontiguousarray(picture[::-1, :, :3])
            rows, columns, _ = pixels.shape
            image = QImage(pixels.data, columns, rows, 3 * columns, QImage.Format.Format_RGB888)
            painter.drawImage(self.rect(), image)
        for prop in self._renderer.GetViewProps():
            self._paint_text(painter, prop)

    def _paint_text(self, painter, actor) -> None:
        if not isinstance(actor, vtk.vtkTextActor):
            raise NotImplementedError(f"slice view: {actor.GetClassName()} added to the renderer")
        if not actor.GetVisibility():
            return
        style = actor.GetTextProperty()
        font = QFont(painter.font())
        font.setPixelSize(max(6, style.GetFontSize()))
        font.setBold(bool(style.GetBold()))
        painter.setFont(font)
        x, y = actor.GetPositionCoordinate().GetComputedViewportValue(self._sized())
        painter.setPen(QColor.fromRgbF(*style.GetColor()))
        painter.drawText(x, self.height() - y, actor.GetInput() or "")

    def _sized(self):
        self._window.SetSize(self.width(), self.height())
        return self._renderer

    # -- the mouse reaches VTK's observers

    def _tell(self, event, what: str) -> None:
        place = event.position()
        keys = event.modifiers()
        self._interactor.SetEventInformation(
            int(place.x()), self.height() - 1 - int(place.y()),
            int(bool(keys & Qt.KeyboardModifier.ControlModifier)), int(bool(keys & Qt.KeyboardModifier.ShiftModifier)),
        )  # fmt: skip
        self._interactor.InvokeEvent(what)

    def mousePressEvent(self, event):
        self._tell(event, f"{BUTTONS.get(event.button(), 'Left')}ButtonPressEvent")

    def mouseReleaseEvent(self, event):
        self._tell(event, f"{BUTTONS.get(event.button(), 'Left')}ButtonReleaseEvent")

    def mouseMoveEvent(self, event):
        self._tell(event, "MouseMoveEvent")

    # -- what a module asks

    def interactor(self):
        return self._interactor

    def renderWindow(self):
        return self._window

    def scheduleRender(self) -> None:
        self.update()

    def forceRender(self) -> None:
        self.repaint()

    def sliceLogic(self):
        return self._logic

    def mrmlSliceNode(self):
        return self._logic.GetSliceNode()

    def cornerAnnotation(self):
        raise NotImplementedError("qMRMLSliceView.cornerAnnotation")

    def displayableManagerByClassName(self, name):
        raise NotImplementedError(f"qMRMLSliceView.displayableManagerByClassName({name!r})")
