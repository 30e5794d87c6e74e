"""Stand-ins for CTK's and qMRML's sliders, spin boxes and ranges."""

from PySide6.QtCore import Property, Qt, Signal
from PySide6.QtWidgets import QDoubleSpinBox, QHBoxLayout, QSlider, QWidget

from .ctk_buttons import held

STEPS = 1000000


class ctkDoubleSlider(QWidget):
    """A slider of real numbers: 0 to 99, vertical, as CTK makes it."""

    valueChanged = Signal(float)
    sliderMoved = Signal(float)
    sliderPressed = Signal()
    sliderReleased = Signal()
    rangeChanged = Signal(float, float)

    def __init__(self, *args):
        orientation = args[0] if args and isinstance(args[0], Qt.Orientation) else Qt.Orientation.Vertical
        parent = args[-1] if args and isinstance(args[-1], QWidget) else None
        super().__init__(parent)
        self._minimum, self._maximum, self._value, self._step, self._page = 0.0, 99.0, 0.0, 1.0, 10.0
        self._tick, self._tickPosition, self._tracking, self._help = 0.0, 0, True, ""
        self._slider = QSlider(orientation, self)
        self._slider.setRange(0, STEPS)
        self._busy = False
        box = QHBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self._slider)
        self._slider.valueChanged.connect(self._moved)
        self._slider.sliderPressed.connect(self.sliderPressed)
        self._slider.sliderReleased.connect(self._released)

    def _moved(self, position: int) -> None:
        if self._busy:
            return
        value = self._minimum + (self._maximum - self._minimum) * position / STEPS
        self.sliderMoved.emit(value)
        if self._tracking or not self._slider.isSliderDown():
            self.setValue(value)

    def _released(self) -> None:
        self.sliderReleased.emit()
        if not self._tracking:
            self.setValue(self._minimum + (self._maximum - self._minimum) * self._slider.value() / STEPS)

    def _show(self) -> None:
        span = self._maximum - self._minimum
        self._busy = True
        self._slider.setValue(round(STEPS * (self._value - self._minimum) / span) if span else 0)
        self._slider.setSingleStep(max(1, round(STEPS * self._step / span)) if span else 1)
        self._slider.setPageStep(max(1, round(STEPS * self._page / span)) if span else 1)
        self._busy = False

    def setValue(self, value) -> None:
        value = min(max(float(value), self._minimum), self._maximum)
        changed, self._value = value != self._value, value
        self._show()
        if changed:
            self.valueChanged.emit(value)

    def setRange(self, low, high) -> None:
        if (low, high) != (self._minimum, self._maximum):
            self._minimum, self._maximum = float(low), float(max(low, high))
            self.rangeChanged.emit(self._minimum, self._maximum)
        self.setValue(self._value)

    def setMinimum(self, low) -> None:
        self.setRange(low, max(low, self._maximum))

    def setMaximum(self, high) -> None:
        self.setRange(min(high, self._minimum), high)

    def setOrientation(self, orientation) -> None:
        self._slider.setOrientation(Qt.Orientation(orientation))

    def setSingleStep(self, step) -> None:
        self._step = float(step)
        self._show()

    value = Property(float, lambda self: self._value, setValue)
    minimum = Property(float, lambda self: self._minimum, setMinimum)
    maximum = Property(float, lambda self: self._maximum, setMaximum)
    singleStep = Property(float, lambda self: self._step, setSingleStep)
    pageStep = held(float, "_page")
    sliderPosition = Property(float, lambda self: self._value, setValue)
    tickInterval = held(float, "_tick")
    tickPosition = held(int, "_tickPosition")
    tracking = held(bool, "_tracking")
    handleToolTip = held(str, "_help")
    orientation = Property(int, lambda self: self._slider.orientation().value, setOrientation)
    invertedAppearance = Property(
        bool, lambda self: self._slider.invertedAppearance(), lambda self, v: self._slider.setInvertedAppearance(v)
    )


class ctkDoubleSpinBox(QWidget):
    """A spin box of real numbers; its text box is a child, as in CTK."""

    valueChanged = Signal(float)
    decimalsChanged = Signal(int)
    editingFinished = Signal()

    def __init__(self, *args):
        super().__init__(args[0] if args else None)
        self._spin = QDoubleSpinBox(self)
        self._spin.setRange(0, 99.99)
        box = QHBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self._spin)
        self._spin.valueChanged.connect(self.valueChanged)
        self._spin.editingFinished.connect(self.editingFinished)

    def setValue(self, value) -> None:
        self._spin.setValue(value)

    setValueIfDifferent = setValue

    def setDecimals(self, decimals) -> None:
        if decimals != self._spin.decimals():
            self._spin.setDecimals(decimals)
            self.decimalsChanged.emit(decimals)

    def setRange(self, low, high) -> None:
        self._spin.setRange(low, high)

    def stepUp(self) -> None:
        self._spin.stepUp()

    def stepDown(self) -> None:
        self._spin.stepDown()

    value = Property(float, lambda self: self._spin.value(), setValue)
    minimum = Property(float, lambda self: self._spin.minimum(), lambda self, v: self._spin.setMinimum(v))
    maximum = Property(float, lambda self: self._spin.maximum(), lambda self, v: self._spin.setMaximum(v))
    singleStep = Property(float, lambda self: self._spin.singleStep(), lambda self, v: self._spin.setSingleStep(v))
    decimals = Property(int, lambda self: self._spin.decimals(), setDecimals)
    prefix = Property(str, lambda self: self._spin.prefix(), lambda self, v: self._spin.setPrefix(v))
    suffix = Property(str, lambda self: self._spin.suffix(), lambda self, v: self._spin.setSuffix(v))
    readOnly = Property(bool, lambda self: self._spin.isReadOnly(), lambda self, v: self._spin.setReadOnly(v))
    cleanText = Property(str, lambda self: self._spin.cleanText())


class ctkSliderWidget(QWidget):
    """A slider with a spin box: 0 to 99.99, two decimals, step 1."""

    valueChanged = Signal(float)
    valueIsChanging = Signal(float)
    decimalsChanged = Signal(int)

    def __init__(self, *args):
        super().__init__(args[0] if args else None)
        self._slider = ctkDoubleSlider(Qt.Orientation.Horizontal, self)
        self._spin = QDoubleSpinBox(self)
        self._tracking, self._sync, self._popup, self._held, self._busy = True, 1, False, None, False
        for one in (self._slider, self._spin):
            one.setRange(0, 99.99)
            one.setSingleStep(1)
        self._spin.setDecimals(2)
        box = QHBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self._slider, 1)
        box.addWidget(self._spin)
        self._value = 0.0
        self._slider.sliderMoved.connect(self._slide)
        self._slider.sliderReleased.connect(self._end)
        self._spin.valueChanged.connect(lambda value: None if self._busy else self.setValue(value))

    def _slide(self, value: float) -> None:
        down = self._slider._slider.isSliderDown()
        if self._busy:
            return
        if self._tracking or not down:
            self.setValue(value)
        else:
            self.valueIsChanging.emit(round(value, self._spin.decimals()))

    def _end(self) -> None:
        self.setValue(self._slider._value)

    def setValue(self, value) -> None:
        value = round(min(max(float(value), self._spin.minimum()), self._spin.maximum()), self._spin.decimals())
        self._busy = True
        self._slider.setValue(value)
        self._spin.setValue(value)
        self._busy = False
        if value != self._value:
            self._value = value
            self.valueIsChanging.emit(value)
            self.valueChanged.emit(value)

    def setDecimals(self, decimals) -> None:
        if decimals != self._spin.decimals():
            self._spin.setDecimals(decimals)
            self.setValue(self._value)
            self.decimalsChanged.emit(decimals)

    def setRange(self, low, high) -> None:
        self._busy = True
        self._slider.setRange(low, high)
        self._spin.setRange(low, high)
        self._busy = False
        self.setValue(self._value)

    def setMinimum(self, low) -> None:
        self.setRange(low, max(low, self._spin.maximum()))

    def setMaximum(self, high) -> None:
        self.setRange(min(high, self._spin.minimum()), high)

    def setSingleStep(self, step) -> None:
        self._slider.setSingleStep(step)
        self._spin.setSingleStep(step)

    def setSpinBoxVisible(self, visible) -> None:
        self._spin.setVisible(visible)

    def reset(self) -> None:
        self.setValue(0)

    value = Property(float, lambda self: self._value, setValue)
    minimum = Property(float, lambda self: self._spin.minimum(), setMinimum)
    maximum = Property(float, lambda self: self._spin.maximum(), setMaximum)
    singleStep = Property(float, lambda self: self._spin.singleStep(), setSingleStep)
    pageStep = Property(float, lambda self: self._slider._page, lambda self, v: setattr(self._slider, "_page", v))
    decimals = Property(int, lambda self: self._spin.decimals(), setDecimals)
    prefix = Property(str, lambda self: self._spin.prefix(), lambda self, v: self._spin.setPrefix(v))
    suffix = Property(str, lambda self: self._spin.suffix(), lambda self, v: self._spin.setSuffix(v))
    spinBoxVisible = Property(bool, lambda self: not self._spin.isHidden(), setSpinBoxVisible)
    spinBoxAlignment = Property(int, lambda self: 129)
    tracking = held(bool, "_tracking")
    synchronizeSiblings = held(int, "_sync")
    popupSlider = held(bool, "_popup")
    tickInterval = Property(float, lambda self: self._slider._tick, lambda self, v: setattr(self._slider, "_tick", v))
    tickPosition = Property(int, lambda self: 0)
    invertedAppearance = Property(
        bool,
        lambda self: self._slider._slider.invertedAppearance(),
        lambda self, v: self._slider._slider.setInvertedAppearance(v),
    )


class _InScene:
    """What qMRML's number widgets add: a scene, and a unit's quantity."""

    def setMRMLScene(self, scene) -> None:
        self._scene = scene

    def mrmlScene(self):
        return getattr(self, "_scene", None)

    def setQuantity(self, quantity) -> None:
        if quantity:
            raise NotImplementedError(f"qMRML number widgets: quantity {quantity!r} (units of the scene)")


class qMRMLSliderWidget(_InScene, ctkSliderWidget):
    """ctkSliderWidget in a scene."""

    quantity = Property(str, lambda self: "", _InScene.setQuantity)
    unitAwareProperties = Property(int, lambda self: 39)
    orientation = Property(int, lambda self: 1)


class qMRMLSpinBox(_InScene, ctkDoubleSpinBox):
    """ctkDoubleSpinBox in a scene."""

    quantity = Property(str, lambda self: "", _InScene.setQuantity)
    unitAwareProperties = Property(int, lambda self: 31)
