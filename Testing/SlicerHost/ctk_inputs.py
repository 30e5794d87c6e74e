"""Stand-ins for CTK's combo boxes, paths and message box."""

from PySide6.QtCore import Property, Qt, Signal
from PySide6.QtGui import QIcon, QStandardItem
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QMessageBox, QPushButton, QWidget

from . import dialogs
from .ctk_buttons import held


class ctkComboBox(QComboBox):
    """A combo box with a default text that shows while nothing is chosen."""

    def __init__(self, *args):
        super().__init__(*args)
        self._text, self._icon, self._force, self._elide, self._wheel = "", QIcon(), False, 3, 1

    def _set_text(self, text):
        self._text = text
        self.setPlaceholderText(text)

    defaultText = Property(str, lambda self: self._text, _set_text)
    defaultIcon = held(QIcon, "_icon")
    forceDefault = held(bool, "_force")
    elideMode = held(int, "_elide")
    scrollWheelEffect = held(int, "_wheel")

    def setCurrentUserDataAsString(self, text) -> None:
        self.setCurrentIndex(next((i for i in range(self.count()) if str(self.itemData(i)) == text), -1))

    currentUserDataAsString = Property(
        str, lambda self: "" if self.currentData() is None else str(self.currentData()), setCurrentUserDataAsString
    )


class ctkCheckableComboBox(QComboBox):
    """A combo box whose items have check boxes; its text lists the checked ones."""

    checkedIndexesChanged = Signal()

    def __init__(self, *args):
        super().__init__(*args)
        self.model().dataChanged.connect(lambda *_: self.checkedIndexesChanged.emit())
        self.model().rowsInserted.connect(self._inserted)

    def _inserted(self, _parent, first, last) -> None:
        for row in range(first, last + 1):
            item: QStandardItem = self.model().item(row)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(Qt.CheckState.Unchecked)

    def checkState(self, index):
        return self.model().itemFromIndex(index).checkState()

    def setCheckState(self, index, state) -> None:
        self.model().itemFromIndex(index).setCheckState(Qt.CheckState(state))

    def checkedIndexes(self) -> list:
        rows = range(self.count())
        found = [self.model().index(row, 0) for row in rows]
        return [index for index in found if self.checkState(index) == Qt.CheckState.Checked]

    def allChecked(self) -> bool:
        return len(self.checkedIndexes()) == self.count()

    def noneChecked(self) -> bool:
        return not self.checkedIndexes()

    def checkableModel(self):
        return self.model()


class ctkPathLineEdit(QWidget):
    """A path with its history and a browse button."""

    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)

    def __init__(self, *args):
        super().__init__(args[-1] if args and isinstance(args[-1], QWidget) else None)
        self._line, self._browse = QComboBox(self), QPushButton("...", self)
        self._line.setEditable(True)
        self._line.setSizePolicy(self._line.sizePolicy().Policy.Expanding, self._line.sizePolicy().Policy.Fixed)
        self._browse.setMaximumWidth(30)
        self._label, self._filters, self._names, self._key, self._options = "", 24663, [], "", 0
        self._path = ""
        box = QHBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self._line)
        box.addWidget(self._browse)
        self._line.editTextChanged.connect(self.setCurrentPath)
        self._browse.clicked.connect(self.browse)

    def setCurrentPath(self, path) -> None:
        path = str(path).replace("\\", "/")
        if path == self._path:
            return
        self._path = path
        if self._line.currentText() != path:
            self._line.setEditText(path)
        self.currentPathChanged.emit(path)

    def browse(self) -> None:
        path = dialogs.path("ctkPathLineEdit.browse", self._label)
        if path:
            self.setCurrentPath(path)

    def addCurrentPathToHistory(self) -> None:
        if self._line.findText(self._path) < 0:
            self._line.insertItem(0, self._path)

    def retrieveHistory(self) -> None:
        pass

    def comboBox(self) -> QComboBox:
        return self._line

    currentPath = Property(str, lambda self: self._path, setCurrentPath)
    label = held(str, "_label")
    # Flags of the enumeration ctkPathLineEdit::Filter, not of QDir alone.
    filters = held(int, "_filters")
    nameFilters = held("QStringList", "_names")
    options = held(int, "_options")
    settingKey = held(str, "_key")
    showBrowseButton = Property(
        bool, lambda self: not self._browse.isHidden(), lambda self, v: self._browse.setVisible(v)
    )
    showHistoryButton = Property(bool, lambda self: True, lambda self, v: None)

    Files, Dirs, Drives, NoSymLinks, Readable, Writable, Executable, Hidden, System = (
        0x2, 0x1, 0x4, 0x8, 0x10, 0x20, 0x40, 0x100, 0x200)  # fmt: skip


class ctkDirectoryButton(QWidget):
    """A button that shows a folder and lets the user choose another."""

    directoryChanged = Signal(str)
    directorySelected = Signal(str)

    def __init__(self, *args):
        text, parent = (args[0], args[1:]) if args and isinstance(args[0], str) else (".", args)
        super().__init__(parent[0] if parent else None)
        self._button = QPushButton(text, self)
        self._folder, self._caption, self._text = text, "", ""
        self._mode, self._elide, self._options = 0, 2, 1
        box = QHBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self._button)
        self._button.clicked.connect(self.browse)

    def _set_directory(self, folder):
        if folder != self._folder:
            self._folder = folder
            self._button.setText(self._text or folder)
            self.directoryChanged.emit(folder)

    def browse(self) -> None:
        folder = dialogs.path("ctkDirectoryButton.browse", self._caption)
        if folder:
            self._set_directory(folder)
            self.directorySelected.emit(folder)

    directory = Property(str, lambda self: self._folder, _set_directory)
    acceptMode = held(int, "_mode")
    elideMode = held(int, "_elide")
    options = held(int, "_options")
    caption = held(str, "_caption")
    text = held(str, "_text")


class ctkMessageBox(QMessageBox):
    """Slicer's message box. It is never shown: what it would say is recorded, and the answer comes from the test."""

    def __init__(self, *args):
        super().__init__(*args)
        self._key, self._again = "", False

    dontShowAgainSettingsKey = held(str, "_key")
    dontShowAgain = held(bool, "_again")
    dontShowAgainVisible = Property(bool, lambda self: bool(self._key), lambda self, v: None)

    def exec(self) -> int:
        return dialogs.ask_box(self)

    exec_ = exec

    def open(self):
        raise NotImplementedError("ctkMessageBox.open: a message box that does not wait")


class _NameOnly(QWidget):
    """Can be asked for, as Slicer's own files do, but not made."""

    def __init__(self, *args):
        raise NotImplementedError(f"{type(self).__name__}: the host has only its name")


class ctkDoubleRangeSlider(_NameOnly): ...


class ctkRangeWidget(_NameOnly): ...


class qMRMLRangeWidget(_NameOnly): ...


class ctkColorPickerButton(_NameOnly): ...
