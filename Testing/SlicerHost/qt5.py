"""What Qt 5.15 has and Qt 6 has not, and the other way round: a module may use only what both have.

Compared member by member: PySide6 6.12 with PyQt5 5.15, of the classes that panels use.
"""

_LACKS = {
    "QAbstractItemView": "keyboardSearchFlags setKeyboardSearchFlags setUpdateThreshold updateThreshold",
    "QAbstractSpinBox": "returnPressed",
    "QAction": "associatedObjects checkableChanged enabledChanged resetEnabled visibleChanged",
    "QByteArray": "first last removeFirst removeLast slice sliced",
    "QCalendarWidget": "clearMaximumDate clearMinimumDate",
    "QCheckBox": "checkStateChanged",
    "QColor": "fromString isValidColorName toTuple",
    "QColumnView": "isPreviewColumnVisible previewColumnVisible setPreviewColumnVisible",
    "QComboBox": "labelDrawingMode setLabelDrawingMode",
    "QCoreApplication": "checkPermission instanceExists requestPermission shutdown",
    "QDateTime": "addDuration timeRepresentation toPython",
    "QDateTimeEdit": "setTimeZone timeZone",
    "QDockWidget": "dockLocation setDockLocation",
    "QEvent": "clone isInputEvent isPointerEvent isSinglePointEvent",
    "QFileInfo": "isAlias isOther junctionTarget readSymLink",
    "QFont": "featureTags featureValue legacyWeight setFeature setLegacyWeight setVariableAxis unsetFeature",
    "QFontComboBox": "sampleTextForFont sampleTextForSystem setDisplayFont setSampleTextForFont setSampleTextForSystem",
    "QFormLayout": "isRowVisible setRowVisible",
    "QHeaderView": "isSortIndicatorClearable setSortIndicatorClearable sortIndicatorClearable",
    "QImage": "convertedTo deviceIndependentSize flip flipped mirror rgbSwap",
    "QKeySequenceEdit": "clearButtonEnabled finishingKeyCombinations maximumSequenceLength setMaximumSequenceLength",
    "QLayout": "horizontalSizeConstraint setHorizontalSizeConstraint setSizeConstraints setVerticalSizeConstraint "
    "unsetContentsMargins verticalSizeConstraint",
    "QListWidget": "setSupportedDragActions supportedDragActions",
    "QLocale": "codeToCountry codeToLanguage codeToTerritory nativeTerritoryName territory territoryToString",
    "QMessageBox": "options setOption setOptions testOption",
    "QObject": "isQmlExposed isQuickItemType",
    "QPalette": "accent resolveMask setResolveMask",
    "QPixmap": "deviceIndependentSize",
    "QPoint": "toPointF toTuple",
    "QProcess": "setUnixProcessParameters startCommand unixProcessParameters",
    "QRect": "span toRectF",
    "QSinglePointEvent": "exclusivePointGrabber globalPosition position scenePosition",
    "QSize": "toSizeF toTuple",
    "QStackedLayout": "widgetAdded",
    "QStackedWidget": "widgetAdded",
    "QStandardPaths": "isTestModeEnabled",
    "QStyle": "name",
    "QStyleHints": "accessibility colorScheme colorSchemeChanged setColorScheme unsetColorScheme",
    "QTableWidget": "setSupportedDragActions supportedDragActions",
    "QTextCursor": "insertMarkdown",
    "QThread": "isCurrentThread isMainThread serviceLevel setServiceLevel",
    "QTimer": "id intervalAsDuration remainingTimeAsDuration",
    "QTreeWidget": "setSupportedDragActions supportedDragActions",
    "QWidget": "accessibleIdentifier setAccessibleIdentifier setScreen",
}
# Members of Qt 6 (or of PySide6 alone) that Qt 5.15 lacks, by class.
LACKS = {name: frozenset(members.split()) for name, members in _LACKS.items()}

# Classes and names of Qt 6 or of PySide6 that Slicer's qt does not have.
_CLASSES = """ClassInfo Property Signal SignalInstance Slot QEnum QFlag MetaFunction MetaSignal QKeyCombination
QStringConverter QStringDecoder QStringEncoder QPermission QIntList QPointList QDirListing QIODeviceBase
QOperatingSystemVersionBase QSinglePointEvent QPointerEvent QEventPoint QInputDevice QPointingDevice"""
CLASSES_LACKING = frozenset(_CLASSES.split())

# Signals of Qt 5.15 that Qt 6 dropped, beside the one that stayed: plain .connect(f) reaches both.
# class: {signal: (its signature in Qt 6, where the text comes from, whether the dropped one comes first)}
TEXT_OVERLOADS = {
    "QComboBox": {
        "currentIndexChanged": ("currentIndexChanged(int)", "itemText", False),
        "activated": ("activated(int)", "itemText", False),
        "highlighted": ("highlighted(int)", "itemText", False),
    },
    "QSpinBox": {"valueChanged": ("valueChanged(int)", "text", True)},
    "QDoubleSpinBox": {"valueChanged": ("valueChanged(double)", "text", True)},
}
