"""The application object, the main window and the module manager."""

from PySide6.QtCore import Property, QObject, QSettings, QSize, Qt, Signal
from PySide6.QtGui import QColor, QIcon, QPalette
from PySide6.QtWidgets import (
    QApplication,
    QComboBox,
    QDockWidget,
    QLabel,
    QMainWindow,
    QScrollArea,
    QToolBar,
    QVBoxLayout,
    QWidget,
)

from .ctk_buttons import ctkCollapsibleButton, held
from .mrml_widgets import qSlicerScriptedLoadableModuleWidget

VERSION = "5.12.3"


class qSlicerScriptedLoadableModule(QObject):
    """The module as the application knows it: what a module's first class fills in."""

    def __init__(self, path: str, name: str):
        super().__init__()
        self._path, self._name, self._title, self._help, self._thanks = path, name, "", "", ""
        self._categories, self._dependencies, self._people, self._types = [], [], [], []
        self._icon, self._hidden, self._index, self._make = QIcon(), False, -1, True
        self._widget, self._build = None, None

    def _keep(self, attribute, value):
        setattr(self, attribute, value)

    def update(self):
        """held() paints widgets anew; a module has nothing to paint."""

    pythonqt_hidden = ("update",)

    title = held(str, "_title")
    name = Property(str, lambda self: self._name)
    path = Property(str, lambda self: self._path)
    helpText = held(str, "_help")
    acknowledgementText = held(str, "_thanks")
    categories = held("QStringList", "_categories")
    dependencies = held("QStringList", "_dependencies")
    contributors = held("QStringList", "_people")
    associatedNodeTypes = held("QStringList", "_types")
    icon = held(QIcon, "_icon")
    hidden = held(bool, "_hidden")
    index = held(int, "_index")
    widgetRepresentationCreationEnabled = held(bool, "_make")

    def widgetRepresentation(self):
        if self._widget is None:
            self._widget = self.createNewWidgetRepresentation()
        return self._widget

    def createNewWidgetRepresentation(self):
        widget = qSlicerScriptedLoadableModuleWidget()
        widget._build = self._build
        self._build(widget)
        return widget

    def logic(self):
        raise NotImplementedError("qSlicerScriptedLoadableModule.logic: scripted modules keep theirs in the widget")


class qSlicerLoadableModule(QObject):
    """A module of Slicer itself: its logic is real, it has no panel."""

    def __init__(self, name: str, logic):
        super().__init__()
        self._name, self._module_logic = name, logic

    name = Property(str, lambda self: self._name)
    title = Property(str, lambda self: self._name)

    def logic(self):
        return self._module_logic

    def widgetRepresentation(self):
        raise NotImplementedError(f"slicer.modules.{self._name.lower()}.widgetRepresentation")


class _FactoryManager(QObject):
    def __init__(self, manager):
        super().__init__()
        self._manager = manager

    def loadedModuleNames(self) -> list[str]:
        return list(self._manager._modules)


class qSlicerModuleManager(QObject):
    """The modules of the application: the one under test."""

    moduleAboutToBeUnloaded = Signal(str)
    moduleLoaded = Signal(str)
    moduleUnloaded = Signal(str)

    def __init__(self):
        super().__init__()
        self._modules = {}
        self._factory = _FactoryManager(self)

    def module(self, name: str):
        return self._modules.get(name)

    def factoryManager(self):
        return self._factory

    def modulesNames(self) -> list[str]:
        return list(self._modules)


class qSlicerModuleSelectorToolBar(QToolBar):
    """Which module is shown."""

    moduleSelected = Signal(str)

    def __init__(self, parent):
        super().__init__("Modules", parent)
        self._box, self._selected = QComboBox(), ""
        self._box.setMinimumWidth(220)
        self.addWidget(QLabel(" Modules: "))
        self.addWidget(self._box)

    def selectModule(self, name: str) -> None:
        self._selected = name
        if self._box.findText(name) < 0:
            self._box.addItem(name)
        self._box.setCurrentText(name)
        self.moduleSelected.emit(name)

    selectedModule = Property(str, lambda self: self._selected)


class qSlicerMainWindow(QMainWindow):
    """The panel of the module at the left, the views at the right."""

    def __init__(self):
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self.setWindowTitle(f"3D Slicer {VERSION}")
        self._selector = qSlicerModuleSelectorToolBar(self)
        self.addToolBar(self._selector)
        self._dock = QDockWidget("", self)
        self._dock.setObjectName("PanelDockWidget")
        self._dock.setFeatures(QDockWidget.DockWidgetFeature.NoDockWidgetFeatures)
        self._scroll = QScrollArea()
        self._scroll.setObjectName("ModulePanel")
        self._scroll.setWidgetResizable(True)
        self._scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._dock.setWidget(self._scroll)
        self.addDockWidget(Qt.DockWidgetArea.LeftDockWidgetArea, self._dock)
        self._views = QWidget()
        self._views.setObjectName("CentralWidgetLayoutFrame")
        self.setCentralWidget(self._views)
        self.statusBar()

    def moduleSelector(self):
        return self._selector

    def _show_module(self, module, widget) -> None:
        holder = QWidget()
        box = QVBoxLayout(holder)
        about = ctkCollapsibleButton("Help && Acknowledgement")
        inside = QVBoxLayout(about)
        text = QLabel(module._help + module._thanks)
        text.setWordWrap(True)
        inside.addWidget(text)
        about.setProperty("collapsed", True)
        box.addWidget(about)
        box.addWidget(widget, 1)
        self._dock.setWindowTitle(module._title)
        self._scroll.takeWidget()
        self._scroll.setWidget(holder)
        widget.show()

    def _set_panel_width(self, width: int) -> None:
        self.resizeDocks([self._dock], [width], Qt.Orientation.Horizontal)
        self._dock.setFixedWidth(width)


class _Options(QObject):
    noMainWindow = Property(bool, lambda self: self._no_window)
    testingEnabled = Property(bool, lambda self: False)

    def __init__(self, no_window: bool):
        super().__init__()
        self._no_window = no_window


class qSlicerApplication(QApplication):
    """slicer.app. One a process; each host gives it a scene, a window and settings of its own."""

    startupCompleted = Signal()

    def __init__(self, arguments):
        super().__init__(arguments)
        self.setApplicationName("Slicer")
        self.setOrganizationName("SlicerHost")
        self.setApplicationVersion(VERSION)
        self.setStyle("Fusion")

    def _equip(self, scene, logic, manager, layout, folder: str, no_window: bool, testing: bool) -> None:
        self._scene, self._logic, self._manager, self._layout = scene, logic, manager, layout
        self._folder, self._testing, self._options = folder, testing, _Options(no_window)
        self._settings = {
            name: QSettings(f"{folder}/{name}.ini", QSettings.Format.IniFormat) for name in ("Slicer", "revision")
        }

    def mrmlScene(self):
        return self._scene

    def applicationLogic(self):
        return self._logic

    def moduleManager(self):
        return self._manager

    def layoutManager(self):
        return self._layout

    def commandOptions(self):
        return self._options

    def testingEnabled(self) -> bool:
        return self._testing

    def settings(self):
        return self._settings["revision"]

    def userSettings(self):
        return self._settings["Slicer"]

    def revisionUserSettings(self):
        return self._settings["revision"]

    def pythonConsole(self):
        return None

    def pauseRender(self) -> None:
        pass

    def resumeRender(self) -> None:
        pass

    def moduleDocumentationUrl(self, name: str) -> str:
        return f"https://slicer.readthedocs.io/en/latest/user_guide/modules/{name.lower()}.html"

    def restart(self):
        raise NotImplementedError("slicer.app.restart")

    def ioManager(self):
        raise NotImplementedError("slicer.app.ioManager: load and save files through nodes' storage or slicer.util")

    coreIOManager = ioManager

    temporaryPath = Property(str, lambda self: self._folder)
    slicerHome = Property(str, lambda self: self._folder)
    majorVersion = Property(int, lambda self: int(VERSION.split(".")[0]))
    minorVersion = Property(int, lambda self: int(VERSION.split(".")[1]))
    revision = Property(str, lambda self: "34000")
    documentationBaseUrl = Property(str, lambda self: "https://slicer.readthedocs.io/en/latest/")
    mainApplicationName = Property(str, lambda self: "Slicer")
    platform = Property(str, lambda self: "linux-amd64")

    def _paint(self, dark: bool) -> None:
        """Slicer's light and dark palettes."""
        self.setPalette(_dark() if dark else _light())


def _palette(window, base, alternate, text, button, highlight, faint) -> QPalette:
    palette, role = QPalette(), QPalette.ColorRole
    pairs = {
        role.Window: window, role.WindowText: text, role.Base: base, role.AlternateBase: alternate, role.Text: text,
        role.Button: button, role.ButtonText: text, role.BrightText: "#ffffff", role.Highlight: highlight,
        role.HighlightedText: "#ffffff", role.ToolTipBase: base, role.ToolTipText: text, role.Link: highlight,
        role.PlaceholderText: faint,
    }  # fmt: skip
    for key, color in pairs.items():
        palette.setColor(key, QColor(color))
    for key in (role.WindowText, role.Text, role.ButtonText):
        palette.setColor(QPalette.ColorGroup.Disabled, key, QColor(faint))
    return palette


def _light() -> QPalette:
    return _palette("#efefef", "#ffffff", "#f6f6f6", "#000000", "#efefef", "#308cc6", "#8c8c8c")


def _dark() -> QPalette:
    return _palette("#353535", "#2a2a2a", "#424242", "#ffffff", "#353535", "#2a82da", "#7f7f7f")


PANEL = QSize(500, 900)
