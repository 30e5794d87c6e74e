"""The test host itself: what PythonQt does with Qt objects, the host does too, or refuses."""

import gc
import sys
import threading
import weakref
from pathlib import Path

import pytest

REASON = "the host needs PySide6 and slicer-core: pip install PySide6-Essentials slicer-core"
pytest.importorskip("PySide6", reason=REASON)
slicer = pytest.importorskip("slicer", reason=REASON)
pytest.importorskip("slicer_core", reason=REASON)
vtk = pytest.importorskip("vtk", reason=REASON)

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from SlicerHost import Host, pythonqt, signals  # noqa: E402


@pytest.fixture(scope="module")
def host():
    with Host(main_window=False) as host:
        yield host


@pytest.fixture
def qt(host):
    import qt

    yield qt
    host.check()


@pytest.fixture
def ctk(host):
    import ctk

    return ctk


@pytest.fixture
def button(qt):
    return qt.QPushButton("a")


class TestProperties:
    def test_are_attributes(self, button):
        assert (button.text, button.enabled, button.checkable) == ("a", True, False)
        button.text = "b"
        assert button.text == "b"
        with pytest.raises(TypeError, match="not callable"):
            button.text()

    def test_their_getters_and_setters_are_methods(self, button):
        button.setText("c")
        button.setEnabled(False)
        assert button.text == "c"
        assert button.isEnabled() is False
        assert button.enabled is False

    def test_of_stand_ins(self, ctk):
        slider = ctk.ctkSliderWidget()
        slider.maximum = 7
        slider.value = 9
        assert slider.value == 7.0
        with pytest.raises(TypeError, match="not callable"):
            slider.value()

    def test_what_is_none_stays_a_method(self, qt):
        box, widget = qt.QCheckBox(), qt.QWidget()
        layout = qt.QVBoxLayout(widget)
        layout.addWidget(box)
        assert box.checkState() == 0
        assert layout.count() == 1
        assert widget.layout() == layout
        assert box.parent() == widget

    def test_dynamic_ones(self, button):
        with pytest.raises(AttributeError):
            _ = button.mine
        button.setProperty("mine", 5)
        assert (button.mine, button.property("mine"), button.property("text")) == (5, 5, "a")
        button.mine = 6
        assert button.property("mine") == 6

    def test_read_only(self, qt):
        with pytest.raises(AttributeError, match="not writable"):
            qt.QComboBox().count = 3

    @pytest.mark.parametrize(
        ("name", "value", "wanted"),
        [("text", 3, "3"), ("text", None, ""), ("enabled", None, False), ("checkable", 1, True), ("text", 1.5, "1.5")],
    )
    def test_conversions(self, button, name, value, wanted):
        setattr(button, name, value)
        assert getattr(button, name) == wanted

    @pytest.mark.parametrize(("name", "value"), [("enabled", "no"), ("iconSize", 3), ("icon", "x")])
    def test_what_does_not_suit(self, button, name, value):
        with pytest.raises(AttributeError, match="does not accept"):
            setattr(button, name, value)


class TestStrictness:
    @pytest.mark.parametrize("name", ["foo", "tooltip", "Text"])
    def test_no_new_attributes(self, button, ctk, name):
        for one in (button, ctk.ctkCollapsibleButton(), slicer.qMRMLNodeComboBox()):
            with pytest.raises(AttributeError, match="not allowed"):
                setattr(one, name, 1)

    @pytest.mark.parametrize("name", ["setText", "clicked", "layout", "update"])
    def test_methods_and_signals_stay(self, button, name):
        with pytest.raises(AttributeError, match="can not be overwritten"):
            setattr(button, name, None)

    def test_constructors_take_no_keywords(self, qt):
        with pytest.raises(ValueError, match="keywords"):
            qt.QLabel(text="a")
        with pytest.raises(ValueError, match="keywords"):
            qt.QLabel().setText(text="a")

    def test_wrong_arguments(self, qt):
        with pytest.raises(ValueError, match="wrong arguments"):
            qt.QLabel().setText()
        with pytest.raises(ValueError, match="wrong arguments"):
            qt.QGridLayout().addWidget("x", 1, 2)

    def test_isinstance_knows_the_exact_class_only(self, qt, button, ctk):
        assert isinstance(button, qt.QPushButton)
        assert not isinstance(button, qt.QWidget)
        assert not isinstance(ctk.ctkComboBox(), qt.QComboBox)
        assert button.inherits("QWidget")

    @pytest.mark.parametrize(
        ("kind", "name"),
        [("QCheckBox", "checkStateChanged"), ("QFormLayout", "setRowVisible"), ("QWidget", "setScreen")],
    )
    def test_members_that_qt_5_lacks(self, qt, kind, name):
        assert not hasattr(getattr(qt, kind)(), name)

    @pytest.mark.parametrize("name", ["Signal", "Slot", "Property", "QRegExp", "QDesktopWidget", "nonsense"])
    def test_names_that_one_of_both_lacks(self, qt, name):
        with pytest.raises(AttributeError):
            getattr(qt, name)

    @pytest.mark.parametrize("name", ["tr", "staticMetaObject_", "_kind_", "receivers"])
    def test_what_only_pyside_has(self, button, name):
        assert not hasattr(button, name)

    @pytest.mark.parametrize("name", ["setRange", "setMinimum"])
    def test_methods_that_the_real_class_does_not_show(self, ctk, name):
        assert not hasattr(ctk.ctkSliderWidget(), name)

    def test_what_the_host_lacks_is_named(self, ctk):
        with pytest.raises(NotImplementedError, match=r"ctkSliderWidget\.invertedControls"):
            _ = ctk.ctkSliderWidget().invertedControls
        with pytest.raises(NotImplementedError, match=r"ctkSliderWidget\.invertedControls"):
            ctk.ctkSliderWidget().invertedControls = True
        with pytest.raises(NotImplementedError, match="ctkThumbnailLabel"):
            _ = ctk.ctkThumbnailLabel
        with pytest.raises(NotImplementedError, match="qMRMLPlotView"):
            _ = slicer.qMRMLPlotView


class TestValues:
    def test_enumerations_are_integers(self, qt):
        assert qt.Qt.Checked == 2
        assert qt.Qt.AlignLeft | qt.Qt.AlignTop == 0x21
        box = qt.QCheckBox()
        box.setChecked(True)
        assert box.checkState() == qt.Qt.Checked == 2
        assert qt.QLabel().alignment == 0x81  # a property: a plain integer
        assert type(qt.QLabel().alignment) is int

    def test_integers_are_enumerations(self, qt):
        label = qt.QLabel()
        label.setAlignment(qt.Qt.AlignRight | qt.Qt.AlignBottom)
        assert label.alignment == 0x42
        label.alignment = 4
        assert label.alignment == qt.Qt.AlignHCenter
        box = qt.QCheckBox()
        box.setCheckState(2)
        assert box.checked

    def test_lists_come_as_tuples(self, qt):
        widget = qt.QWidget()
        child = qt.QLabel(widget)
        assert widget.children() == (child,)
        selector = slicer.qMRMLNodeComboBox()
        selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        assert selector.nodeTypes == ("vtkMRMLScalarVolumeNode",)

    def test_methods_convert_too(self, qt):
        label = qt.QLabel()
        label.setText(3)
        assert label.text == "3"
        label.setText(None)
        assert label.text == ""
        bar = qt.QProgressBar()
        bar.setValue(12.7)
        assert bar.value == 12

    @pytest.mark.parametrize("make", ["QVBoxLayout", "QFormLayout", "QSize", "QIcon", "QPixmap", "QColor", "QMenu"])
    def test_empty_ones_are_false(self, qt, make):
        assert not getattr(qt, make)()
        assert getattr(qt, make)() is not None

    def test_others_are_true(self, qt, button):
        widget = qt.QWidget()
        layout = qt.QVBoxLayout(widget)
        layout.addWidget(button)
        assert layout
        assert button
        assert qt.QSize(1, 2)

    def test_one_object_is_one_wrapper(self, qt):
        widget = qt.QWidget()
        child = qt.QLabel("x", widget)
        assert widget.children()[0] is child
        assert widget.children()[0] == child
        assert len({child, widget.children()[0]}) == 1


class TestNames:
    def test_name_is_the_object_name(self, button):
        button.name = "apply"
        assert (button.name, button.objectName, button.property("objectName")) == ("apply",) * 3

    def test_children_by_name_and_class(self, qt, ctk):
        widget = qt.QWidget()
        box = ctk.ctkCollapsibleButton(widget)
        inner = qt.QLabel("x", box)
        box.name, inner.name = "box", "inner"
        assert widget.findChildren(qt.QLabel) == (inner,)
        assert widget.findChild("QLabel", "inner") == inner
        assert widget.findChild(qt.QLabel, "other") is None
        assert set(widget.findChildren("QWidget")) == {box, inner}
        assert slicer.util.childWidgetVariables(widget).inner == inner
        assert widget.box == box  # PythonQt finds children by their names

    def test_class_names(self, button, ctk):
        assert button.className() == "QPushButton"
        assert ctk.ctkComboBox().className() == "ctkComboBox"
        assert slicer.qMRMLNodeComboBox().className() == "qMRMLNodeComboBox"


class TestLife:
    def test_deleted_objects(self, qt):
        parent = qt.QWidget()
        child = qt.QLabel("x", parent)
        parent.delete()
        assert not parent
        assert not child
        with pytest.raises(ValueError, match="destroyed"):
            _ = child.text
        with pytest.raises(ValueError, match="destroyed"):
            child.text = "y"

    def test_delete_later(self, host, button):
        button.deleteLater()
        host.process_events()
        assert not button

    def test_without_parent_or_reference_it_dies(self, qt):
        widget = qt.QWidget()
        below = weakref.ref(pythonqt.unwrap(widget))
        del widget
        gc.collect()
        assert below() is None

    def test_a_parent_keeps_it(self, qt):
        parent = qt.QWidget()
        qt.QLabel("kept", parent)
        gc.collect()
        assert parent.children()[0].text == "kept"

    def test_a_connected_method_keeps_its_object(self, button):
        class Owner:
            def slot(self):
                pass

        owner = Owner()
        gone = weakref.ref(owner)
        button.connect("clicked()", owner.slot)
        assert signals.connected_to(owner) == ["QPushButton.clicked()"]
        del owner
        gc.collect()
        assert gone() is not None
        button.disconnect("clicked()", gone().slot)
        gc.collect()
        assert gone() is None


class TestSubclasses:
    def test_take_attributes_and_virtual_calls(self, qt):
        class Mine(qt.QWidget):
            def __init__(self):
                qt.QWidget.__init__(self)
                self.seen = []

            def sizeHint(self):
                return qt.QSize(123, 45)

            def resizeEvent(self, event):
                self.seen.append((event.size().width(), event.oldSize().width()))

        mine = Mine()
        mine.foo = 1
        assert pythonqt.unwrap(mine).sizeHint().width() == 123
        mine.resize(50, 60)
        mine.show()
        assert mine.seen == [(50, -1)]
        assert isinstance(mine, qt.QWidget)

    def test_event_filter(self, host, qt, button):
        class Filter(qt.QObject):
            def eventFilter(self, watched, event):
                return watched == button and event.type() == qt.QEvent.MouseButtonPress

        filter_, clicks = Filter(), []
        button.connect("clicked()", lambda: clicks.append(1))
        host.click(button)
        button.installEventFilter(filter_)
        host.click(button)
        assert clicks == [1]


class TestSignals:
    def test_by_signature(self, button):
        button.checkable, heard = True, []
        assert button.connect("clicked(bool)", heard.append) is True
        assert button.connect("toggled( bool )", heard.append) is True
        button.click()
        assert heard == [True, True]
        assert button.disconnect("clicked(bool)", heard.append) is True
        assert button.disconnect("clicked(bool)", heard.append) is False
        button.click()
        assert heard == [True, True, False]

    @pytest.mark.parametrize("signature", ["clicked(int)", "clickd()", "clicked", "currentIndexChanged(int)"])
    def test_wrong_signature(self, button, signature):
        with pytest.raises(ValueError, match="no signal"):
            button.connect(signature, print)

    def test_only_the_arguments_that_fit(self, button):
        heard = []
        button.connect("clicked(bool)", lambda: heard.append("none"))
        button.clicked.connect(lambda checked: heard.append(checked))
        button.clicked.connect(lambda *args: heard.append(args))
        button.connect("clicked(bool)", lambda trap="default": heard.append(trap))  # a default is filled, too
        button.connect("clicked()", lambda clean="default": heard.append(clean))
        button.click()
        assert heard == ["none", False, (False,), False, "default"]

    def test_overloads_of_qt_5_are_called_both(self, qt):
        combo, spin, heard = qt.QComboBox(), qt.QSpinBox(), []
        combo.addItem("a")
        combo.addItem("b")
        combo.currentIndexChanged.connect(heard.append)
        combo.currentIndex = 1
        assert heard == [1, "b"]
        combo.currentIndexChanged.disconnect(heard.append)
        spin.valueChanged.connect(heard.append)
        spin.value = 4
        assert heard == [1, "b", "4", 4]
        with pytest.raises(ValueError, match="Qt 5 only"):
            combo.connect("currentIndexChanged(QString)", print)

    def test_to_a_slot_of_another(self, qt, button):
        label = qt.QLabel()
        line = qt.QLineEdit()
        line.connect("textChanged(QString)", label, "setText(QString)")
        line.text = "heard"
        assert label.text == "heard"

    def test_emit(self, button):
        heard = []
        button.connect("clicked(bool)", heard.append)
        button.clicked(True)
        button.clicked.emit(False)
        assert heard == [True, False]

    def test_timers(self, host, qt):
        heard, timer = [], qt.QTimer()
        qt.QTimer.singleShot(1, lambda: heard.append("once"))
        timer.setInterval(1)
        timer.connect("timeout()", lambda: heard.append("timer"))
        timer.start()
        host.wait_until(lambda: set(heard) == {"once", "timer"}, 5)
        timer.stop()

    def test_node_as_argument(self, host):
        selector, heard = slicer.qMRMLNodeComboBox(), []
        selector.connect("currentNodeChanged(vtkMRMLNode*)", heard.append)
        selector.connect("currentNodeChanged(bool)", heard.append)
        selector.nodeTypes = ["vtkMRMLTextNode"]
        selector.noneEnabled = True
        selector.setMRMLScene(slicer.mrmlScene)
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode")
        selector.setCurrentNode(node)
        assert heard == [node, True]


class TestErrors:
    """What Slicer prints and swallows is collected. Each test takes its errors away again."""

    def test_in_slots(self, host, button):
        button.connect("clicked()", lambda: 1 / 0)
        button.click()
        (error,) = host.take_errors()
        assert isinstance(error.error, ZeroDivisionError)
        assert "clicked()" in error.where

    def test_in_virtual_calls(self, host, qt):
        class Mine(qt.QWidget):
            def resizeEvent(self, event):
                raise KeyError("x")

        mine = Mine()
        mine.show()
        assert [type(e.error) for e in host.take_errors()] == [KeyError]

    def test_in_observers_timers_and_threads(self, host, qt):
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode")
        node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: 1 / 0)
        node.Modified()
        qt.QTimer.singleShot(0, lambda: [][1])
        host.process_events(0.05)
        thread = threading.Thread(target=lambda: {}["x"])
        thread.start()
        thread.join()
        assert [type(e.error) for e in host.take_errors()] == [ZeroDivisionError, IndexError, KeyError]

    def test_fail_the_with(self):
        host = Host.__new__(Host)
        from SlicerHost import errors

        errors.collect(ValueError("x"), "somewhere")
        with pytest.raises(AssertionError, match="somewhere"):
            host.check()
