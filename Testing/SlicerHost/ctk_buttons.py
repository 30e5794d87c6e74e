"""Stand-ins for CTK's buttons and boxes, with the properties, defaults and signals of the real ones.

Written against CTK's public interface (github.com/commontk/CTK, Libs/Widgets); names with an underscore are the host's.
"""

from PySide6.QtCore import Property, QEvent, QSize, Qt, Signal
from PySide6.QtGui import QIcon, QPainter, QPalette
from PySide6.QtWidgets import (
    QAbstractButton,
    QCheckBox,
    QGroupBox,
    QPushButton,
    QSizePolicy,
    QStyle,
    QStyleOption,
    QStyleOptionButton,
    QTextBrowser,
    QWidget,
)


def held(kind, attribute: str, notify=None):
    """A Qt property kept in an attribute; the widget is painted anew when it changes."""

    def get(self):
        return getattr(self, attribute)

    def set_(self, value):
        setattr(self, attribute, value)
        self.update()

    return Property(kind, get, set_)


class ctkCollapsibleButton(QAbstractButton):
    """A title that shows and hides its children; checked and collapsed are opposites."""

    contentsCollapsed = Signal(bool)

    def __init__(self, *args):
        text, parent = _text_and_parent(args)
        super().__init__(parent)
        self._collapsed, self._height, self._flat = False, 14, False
        self._shape, self._shadow, self._line, self._mid = 0, 16, 1, 0
        self._hidden_by_us = []
        self.setText(text)
        self.setCheckable(True)
        self.setChecked(True)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
        self.setContentsMargins(0, self._title(), 0, 0)
        self.toggled.connect(lambda on: self._collapse(not on))

    def _title(self) -> int:
        return self.fontMetrics().height() + 8

    def _get_collapsed(self):
        return self._collapsed

    def _set_collapsed(self, collapsed):
        self.setChecked(not collapsed)

    collapsed = Property(bool, _get_collapsed, _set_collapsed)
    collapsedHeight = held(int, "_height")
    flat = held(bool, "_flat")
    contentsFrameShape = held(int, "_shape")
    contentsFrameShadow = held(int, "_shadow")
    contentsLineWidth = held(int, "_line")
    contentsMidLineWidth = held(int, "_mid")
    buttonTextAlignment = Property(int, lambda self: 129)
    indicatorAlignment = Property(int, lambda self: 129)

    def _collapse(self, collapsed: bool) -> None:
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        children = [c for c in self.children() if isinstance(c, QWidget)]
        if collapsed:
            self._hidden_by_us = [c for c in children if not c.isHidden()]
            for child in self._hidden_by_us:
                child.hide()
            self.setMaximumHeight(self._title() + self._height)
        else:
            self.setMaximumHeight(16777215)
            for child in self._hidden_by_us:
                child.show()
            self._hidden_by_us = []
        self.updateGeometry()
        self.update()
        self.contentsCollapsed.emit(collapsed)

    def event(self, event):
        """Children that came while it was collapsed hide too. (A child in the making must not be touched: PySide6 would
        take it for a QWidget for ever.)"""
        if self._collapsed and event.type() in (QEvent.Type.LayoutRequest, QEvent.Type.Show):
            for child in self.children():
                if isinstance(child, QWidget) and not child.isHidden():
                    child.hide()
                    self._hidden_by_us.append(child)
        return super().event(event)

    def hitButton(self, position) -> bool:
        return position.y() < self._title()

    def sizeHint(self) -> QSize:
        width = self.fontMetrics().horizontalAdvance(self.text()) + 40
        hint = QSize(width, self._title() + (self._height if self._collapsed else 0))
        return hint.expandedTo(self.layout().sizeHint()) if self.layout() and not self._collapsed else hint

    def minimumSizeHint(self) -> QSize:
        hint = QSize(40, self._title())
        return hint.expandedTo(self.layout().minimumSize()) if self.layout() and not self._collapsed else hint

    def paintEvent(self, event):
        painter = QPainter(self)
        option = QStyleOptionButton()
        option.initFrom(self)
        option.rect = self.rect().adjusted(0, 0, 0, self._title() - self.height())
        option.state |= QStyle.StateFlag.State_Raised
        if self.isDown():
            option.state |= QStyle.StateFlag.State_Sunken
        self.style().drawPrimitive(QStyle.PrimitiveElement.PE_PanelButtonCommand, option, painter, self)
        arrow = QStyleOption()
        arrow.initFrom(self)
        arrow.rect = option.rect.adjusted(6, 6, 6 + 12 - option.rect.width(), -6)
        kind = QStyle.PrimitiveElement.PE_IndicatorArrowRight if self._collapsed else (
            QStyle.PrimitiveElement.PE_IndicatorArrowDown)  # fmt: skip
        self.style().drawPrimitive(kind, arrow, painter, self)
        painter.setPen(option.palette.color(QPalette.ColorRole.ButtonText))
        painter.drawText(
            option.rect.adjusted(24, 0, 0, 0), Qt.AlignmentFlag.AlignVCenter | Qt.TextFlag.TextShowMnemonic, self.text()
        )


def _text_and_parent(args) -> tuple[str, QWidget | None]:
    """Constructors (), (parent), (text), (text, parent)."""
    if args and isinstance(args[0], str):
        return args[0], (args[1] if len(args) > 1 else None)
    if len(args) > 1 or (args and args[0] is not None and not isinstance(args[0], QWidget)):
        raise TypeError(f"wanted (parent) or (text, parent); got {args!r}")
    return "", (args[0] if args else None)


class ctkCollapsibleGroupBox(QGroupBox):
    """A group box whose children hide while it is collapsed."""

    def __init__(self, *args):
        super().__init__(*args)
        self._collapsed, self._height, self._hidden_by_us = False, 14, []
        super().setCheckable(True)
        super().setChecked(True)
        self.toggled.connect(lambda on: self._collapse(not on))

    collapsed = Property(bool, lambda self: self._collapsed, lambda self, value: self.setChecked(not value))
    collapsedHeight = held(int, "_height")

    def _title(self) -> int:
        return self.fontMetrics().height() + 8

    def _collapse(self, collapsed: bool) -> None:
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        if collapsed:
            self._hidden_by_us = [c for c in self.children() if isinstance(c, QWidget) and not c.isHidden()]
        for child in self._hidden_by_us:
            child.setVisible(not collapsed)
        self.setMaximumHeight(self._title() + 4 if collapsed else 16777215)


class ctkCheckBox(QCheckBox):
    """A check box with an icon of its own."""

    def __init__(self, *args):
        super().__init__(*args)
        self._icon, self._size = QIcon(), QSize(0, 0)

    indicatorIcon = held(QIcon, "_icon")
    indicatorIconSize = held(QSize, "_size")


class ctkPushButton(QPushButton):
    """A push button whose text and icon can be aligned."""

    buttonTextAlignment = Property(int, lambda self: 132)
    iconAlignment = Property(int, lambda self: 129)


class ctkCheckablePushButton(ctkPushButton):
    """A push button with a check box inside it."""

    checkBoxToggled = Signal(bool)
    checkStateChanged = Signal(int)

    def __init__(self, *args):
        super().__init__(*args)
        self._state, self._controls, self._toggles, self._user = 0, True, False, True

    def _set_state(self, state):
        if state != self._state:
            self._state = state
            self.checkStateChanged.emit(state)
            self.checkBoxToggled.emit(state == 2)
            if self._toggles:
                self.setCheckable(state == 2)
            self.update()

    checkState = Property(int, lambda self: self._state, _set_state)
    checkBoxControlsButton = held(bool, "_controls")
    checkBoxControlsButtonToggleState = held(bool, "_toggles")
    checkBoxUserCheckable = held(bool, "_user")


class ctkMenuButton(QPushButton):
    """A push button with a separate area that opens its menu."""


class ctkFittedTextBrowser(QTextBrowser):
    """A text browser as high as its text."""

    def __init__(self, *args):
        super().__init__(*args)
        self._collapsed, self._show, self._hide = True, "Show details...", "Hide details."
        self._scroll = False
        self._whole = ""
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.textChanged.connect(self.updateGeometry)

    collapsed = held(bool, "_collapsed")
    showDetailsText = held(str, "_show")
    hideDetailsText = held(str, "_hide")
    disableMouseScroll = held(bool, "_scroll")

    def _height(self) -> int:
        document = self.document().clone()
        document.setTextWidth(max(50, self.viewport().width()))
        return int(document.size().height()) + 2 * self.frameWidth()

    def sizeHint(self):
        return QSize(super().sizeHint().width(), self._height())

    def minimumSizeHint(self):
        return QSize(super().minimumSizeHint().width(), self._height())

    def resizeEvent(self, event):
        super().resizeEvent(event)
        self.updateGeometry()
