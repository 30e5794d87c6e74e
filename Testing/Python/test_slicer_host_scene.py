"""The test host's Slicer: forms, node selectors, parameter nodes, the life of a module, slice views, dialogs."""

import ast
import gc
import os
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

REASON = "the host needs PySide6 and slicer-core: pip install PySide6-Essentials slicer-core"
pytest.importorskip("PySide6", reason=REASON)
slicer = pytest.importorskip("slicer", reason=REASON)
pytest.importorskip("slicer_core", reason=REASON)

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from SlicerHost import Host, ctk_inputs, namespaces, pythonqt, real, signals  # noqa: E402

# Base/Python of a checkout of Slicer: its own files are then tested in the place of the host's.
SLICER_PYTHON = os.environ.get("SLICER_PYTHON")
MODULE = """
from enum import Enum
from pathlib import Path
from typing import Annotated

import slicer
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import Choice, Default, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin


class Demo(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Demonstration")
        slicer.app.connect("startupCompleted()", lambda: slicer.selfTests.__setitem__("started", True))


class Kind(Enum):
    First = 1
    Second = 2


@parameterNodeWrapper
class Parameters:
    volume: slicer.vtkMRMLScalarVolumeNode
    strength: Annotated[float, WithinRange(0, 1)] = 0.5
    tile: Annotated[int, Choice([0, 64, 128])] = 64
    kind: Kind = Kind.Second
    words: list[str]
    keep: bool
    note: Annotated[str, Default("none")]


class DemoWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.calls = []

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        self.ui = slicer.util.childWidgetVariables(slicer.util.loadUI(self.resourcePath("UI/Demo.ui")))
        import qt
        self.button = qt.QPushButton("Fail")
        self.layout.addWidget(self.button)
        self.button.connect("clicked()", self.fail)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onEndClose)

    def onStartClose(self, caller, event):
        self.calls.append("StartClose")

    def onEndClose(self, caller, event):
        self.calls.append("EndClose")

    def fail(self):
        raise RuntimeError("on purpose")

    def enter(self):
        self.calls.append("enter")

    def exit(self):
        self.calls.append("exit")

    def cleanup(self):
        self.calls.append("cleanup")
        self.removeObservers()
        if hasattr(self, "button"):
            self.button.disconnect("clicked()", self.fail)


class DemoLogic(ScriptedLoadableModuleLogic):
    def getParameterNode(self):
        return Parameters(super().getParameterNode())
"""
FORM = """<ui version="4.0"><class>Form</class><widget class="qMRMLWidget" name="Form"><layout class="QFormLayout">
<item row="0" column="1"><widget class="qMRMLNodeComboBox" name="selector">
<property name="nodeTypes"><stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property>
<property name="noneEnabled"><bool>true</bool></property>
<property name="SlicerParameterName" stdset="0"><string>volume</string></property></widget></item>
<item row="1" column="1"><widget class="ctkSliderWidget" name="slider">
<property name="SlicerParameterName" stdset="0"><string>strength</string></property></widget></item>
<item row="2" column="1"><widget class="QComboBox" name="tiles">
<property name="SlicerParameterName" stdset="0"><string>tile</string></property></widget></item>
<item row="3" column="1"><widget class="ctkCollapsibleButton" name="box"><property name="text"><string>More</string>
</property><property name="collapsed"><bool>true</bool></property><layout class="QVBoxLayout"><item>
<widget class="QCheckBox" name="keep"><property name="SlicerParameterName" stdset="0"><string>keep</string></property>
</widget></item></layout></widget></item></layout></widget><connections><connection><sender>Form</sender>
<signal>mrmlSceneChanged(vtkMRMLScene*)</signal><receiver>selector</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot>
</connection></connections></ui>"""


@pytest.fixture
def host():
    with Host(slicer_python=SLICER_PYTHON) as host:
        yield host


@pytest.fixture
def path(tmp_path):
    (tmp_path / "Resources" / "UI").mkdir(parents=True)
    (tmp_path / "Resources" / "UI" / "Demo.ui").write_text(FORM)
    (tmp_path / "Demo.py").write_text(textwrap.dedent(MODULE))
    return tmp_path / "Demo.py"


@pytest.fixture
def module(host, path):
    return host.load_module(path)


def volume(name="head", value=100.0):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    voxels = np.zeros((10, 30, 20), np.float32)
    voxels[2:8, 5:25, 4:16] = value
    slicer.util.updateVolumeFromArray(node, voxels)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetAutoWindowLevel(False)
    node.GetDisplayNode().SetWindowLevel(200, 100)
    return node


def selector(none=True, **properties):
    box = slicer.qMRMLNodeComboBox()
    box.nodeTypes, box.noneEnabled = ["vtkMRMLScalarVolumeNode"], none
    for name, value in properties.items():
        setattr(box, name, value)
    box.setMRMLScene(slicer.mrmlScene)
    return box


STAND_INS = namespaces.stand_ins(("ctk", "qMRML"))


@pytest.mark.parametrize(
    "name", [n for n in real.widgets() if n in STAND_INS and not issubclass(STAND_INS[n], ctk_inputs._NameOnly)]
)
def test_stand_in_is_like_the_measured_widget(host, name):
    """At least half of the properties, with the real defaults; no signal or method that the real one does not show."""
    spec, kind = real.widgets()[name], STAND_INS[name]
    widget, known = pythonqt.class_of(kind)(), set()
    for key, default in spec.properties.items():
        try:
            value = getattr(widget, key)
        except NotImplementedError:
            continue
        known.add(key)
        if not default.startswith(("'Q", "'<")) and key != "style":
            assert value == ast.literal_eval(default), f"{name}.{key}"
    assert len(known) >= 0.5 * len(spec.properties)
    above = {one.split("(")[0] for one in signals.table(pythonqt.unwrap(slicer.qMRMLWidget()))}
    assert {one.split("(")[0] for one in signals.table(pythonqt.unwrap(widget))} - above <= spec.signals
    own = {key for base in kind.__mro__ if base.__module__.startswith("SlicerHost") for key in vars(base)}
    shown = {key for key in own if hasattr(widget, key) and not key.startswith("_")} - set(spec.properties)
    assert all(key in spec or any(hasattr(b, key) for b in kind.__mro__ if "PySide6" in b.__module__) for key in shown)


class TestSelector:
    def test_order_of_signals(self, host):
        box, heard = selector(), []
        for signature in (
            "nodeAdded(vtkMRMLNode*)", "currentNodeChanged(vtkMRMLNode*)", "currentNodeChanged(bool)",
            "currentNodeIDChanged(QString)", "nodeAddedByUser(vtkMRMLNode*)",
        ):  # fmt: skip
            box.connect(signature, lambda value, signature=signature: heard.append((signature.split("(")[0], value)))
        node = box.addNode()
        names = ["nodeAdded", "currentNodeChanged", "currentNodeChanged", "currentNodeIDChanged", "nodeAddedByUser"]
        assert heard == list(zip(names, [node, node, True, node.GetID(), node], strict=True))
        heard.clear()
        box.setCurrentNode(node)
        assert heard == []
        box.setCurrentNode(None)
        assert [value for _, value in heard] == [None, False, ""]

    def test_starts_with_nothing_and_without_a_scene_disabled(self, host):
        volume()
        box = slicer.qMRMLNodeComboBox()
        box.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        assert not box.enabled
        box.setMRMLScene(slicer.mrmlScene)
        assert box.enabled
        assert (box.currentNode(), box.currentNodeID, box.nodeCount()) == (None, "", 1)

    def test_an_empty_list_takes_what_comes(self, host):
        box = selector(none=False, addEnabled=False, removeEnabled=False)
        first = volume()
        volume("second")
        assert box.currentNode() is first

    def test_what_it_lists(self, host):
        box = selector()
        image = volume()
        labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
        hidden = volume("hidden")
        hidden.SetHideFromEditors(True)
        box.showHidden = False
        assert [box.nodeFromIndex(i) for i in range(box.nodeCount())] == [image, labels]
        box.showChildNodeTypes = False
        assert box.nodeCount() == 1
        box.addAttribute("vtkMRMLScalarVolumeNode", "Mine", "1")
        assert box.nodeCount() == 0
        image.SetAttribute("Mine", "1")
        box.setCurrentNode(labels)
        assert box.currentNode() is None

    def test_removed_nodes(self, host):
        box, heard = selector(), []
        nodes = [volume(name) for name in "abc"]
        box.setCurrentNode(nodes[1])
        box.connect("currentNodeChanged(vtkMRMLNode*)", heard.append)
        slicer.mrmlScene.RemoveNode(nodes[1])
        assert heard == [nodes[2]]  # as QComboBox moves on
        host.clear_scene()
        assert heard == [nodes[2], None]
        assert box.currentNode() is None

    def test_renamed(self, host):
        node, heard = volume(), []
        box = selector()
        box.setCurrentNode(node)
        box.connect("currentNodeRenamed(vtkMRMLNode*)", heard.append)
        node.SetName("new")
        assert heard == [node]

    def test_dies_without_a_trace(self, host):
        box = selector()
        box.delete()
        volume()
        host.check()


class TestForm:
    def test_scene_reaches_the_selector(self, module):
        form = module.widget.ui.Form
        assert module.widget.ui.selector.mrmlScene() is None
        form.setMRMLScene(slicer.mrmlScene)
        assert module.widget.ui.selector.mrmlScene() is slicer.mrmlScene

    def test_collapsed_children_are_hidden(self, host, module):
        ui = module.widget.ui
        module.widget.layout.addWidget(ui.Form)
        host.process_events(0.05)
        assert not ui.keep.visible
        ui.box.collapsed = False
        host.process_events(0.05)
        assert ui.keep.visible
        assert ui.box.checked

    @pytest.mark.parametrize(
        ("change", "error"),
        [
            (("ctkSliderWidget", "ctkThumbnailLabel"), "ctkThumbnailLabel"),
            (("QCheckBox", "qSlicerNonsense"), "qSlicerNonsense"),
            (('name="collapsed"', 'name="colapsed"'), "colapsed"),
            (("<slot>setMRMLScene(", "<slot>setScene("), "setScene"),
            (("<receiver>selector", "<receiver>selecter"), "selecter"),
        ],
    )
    def test_slips_are_named(self, host, tmp_path, change, error):
        (tmp_path / "x.ui").write_text(FORM.replace(*change))
        with pytest.raises((NotImplementedError, ValueError), match=error):
            slicer.util.loadUI(str(tmp_path / "x.ui"))

    def test_missing_file(self, host):
        with pytest.raises(RuntimeError, match="not found"):
            slicer.util.loadUI("/nowhere/x.ui")


class TestParameters:
    @pytest.fixture
    def parameters(self, module):
        logic = sys.modules["Demo"].DemoLogic()
        parameters = logic.getParameterNode()
        yield parameters
        del parameters

    def test_are_texts_of_the_node(self, parameters):
        node = parameters.parameterNode
        assert (node.GetSingletonTag(), node.GetAttribute("ModuleName")) == ("Demo", "Demo")
        assert (node.GetParameter("strength"), node.GetParameter("keep")) == ("0.5", "False")
        parameters.keep, parameters.note = True, "text"
        parameters.words = ["a", "b"]
        parameters.words.append("c")
        parameters.kind = sys.modules["Demo"].Kind.First
        texts = {name: node.GetParameter(name) for name in node.GetParameterNames()}
        assert texts["keep"] == "True"
        assert texts["kind"] == "First"
        assert [texts[f"words.{n}"] for n in ("0", "1", "2", "len")] == ["a", "b", "c", "3"]
        node.SetParameter("strength", "0.25")
        assert parameters.strength == 0.25

    def test_node_references(self, parameters):
        parameters.volume = node = volume()
        assert parameters.parameterNode.GetNodeReference("volume") is node
        slicer.mrmlScene.RemoveNode(node)
        assert parameters.volume is None

    @pytest.mark.parametrize(
        ("name", "value"),
        [("strength", 2.0), ("strength", "a"), ("tile", 65), ("keep", 1), ("note", None), ("kind", 1)],
    )
    def test_values_are_checked(self, parameters, name, value):
        before = getattr(parameters, name)
        with pytest.raises((ValueError, TypeError)):
            setattr(parameters, name, value)
        assert getattr(parameters, name) == before

    def test_wrong_node(self, parameters):
        with pytest.raises(TypeError):
            parameters.volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode")

    def test_bound_to_the_form(self, host, module, parameters):
        ui = module.widget.ui
        ui.Form.setMRMLScene(slicer.mrmlScene)
        tag = parameters.connectGui(ui)
        assert (ui.slider.value, ui.slider.maximum, ui.tiles.currentText, ui.keep.checked) == (0.5, 1, "64", False)
        ui.slider.value, ui.tiles.currentIndex = 0.75, 2
        node = volume()
        ui.selector.setCurrentNode(node)
        ui.keep.checked = True
        assert (parameters.strength, parameters.tile, parameters.volume, parameters.keep) == (0.75, 128, node, True)
        parameters.strength = 0.256
        assert ui.slider.value == 0.26  # two decimals
        parameters.disconnectGui(tag)
        ui.slider.value = 1
        assert parameters.strength == 0.256

    def test_widgets_that_do_not_suit(self, module, parameters):
        import qt

        for name, widget in (("tile", qt.QLineEdit()), ("note", qt.QComboBox()), ("keep", qt.QLabel())):
            with pytest.raises(RuntimeError):
                parameters.connectParametersToGui({name: widget})

        class Mine(qt.QCheckBox):
            pass

        with pytest.raises(RuntimeError, match="GUI connector"):
            parameters.connectParametersToGui({"keep": Mine()})

    def test_saved_with_the_scene(self, host, parameters, tmp_path):
        parameters.strength, parameters.words = 0.25, ["x y", "ü"]
        parameters.volume = volume()
        host.save_scene(tmp_path / "scene.mrml")
        host.clear_scene()
        host.load_scene(tmp_path / "scene.mrml")
        again = sys.modules["Demo"].DemoLogic().getParameterNode()
        assert (again.strength, list(again.words), again.volume.GetName()) == (0.25, ["x y", "ü"], "head")
        assert slicer.util.arrayFromVolume(again.volume).max() == 100


class TestModule:
    def test_start(self, host, module):
        assert slicer.selfTests["started"]
        assert slicer.modules.demo.title == "Demonstration"
        assert slicer.modules.DemoWidget is module.widget is slicer.util.getModuleWidget("Demo")
        assert slicer.util.modulePath("Demo") == str(module.path)
        assert module.widget.calls == ["enter"]
        assert module.widget.parent.isEntered is True
        assert slicer.util.selectedModule() == "Demo"

    def test_scene_is_closed(self, host, module):
        host.clear_scene()
        assert module.widget.calls == ["enter", "StartClose", "EndClose"]

    def test_reload(self, host, module):
        before = module.widget
        module.path.write_text(module.path.read_text().replace("on purpose", "another text"))
        module.reload()
        assert before.calls == ["enter", "cleanup"]
        assert module.widget is not before
        module.widget.button.click()
        (error,) = host.take_errors()
        assert "another text" in str(error)

    def test_unload(self, host, module):
        widget = module.widget
        module.unload()
        assert widget.calls == ["enter", "exit", "cleanup"]
        assert not widget.parent
        assert not hasattr(slicer.modules, "demo")
        assert signals.connected_to(widget) == []

    def test_forgotten_connections_are_seen(self, host, module):
        module.widget.button.connect("pressed()", module.widget.fail)
        module.widget.cleanup()
        assert "QPushButton.pressed()" in module.still_connected()

    def test_swallowed_errors_fail_the_test(self, path):
        with pytest.raises(AssertionError, match="on purpose"), Host() as host:
            host.click(host.load_module(path).widget.button)

    def test_errors_of_setup_are_raised(self, host, path):
        path.write_text(path.read_text().replace("Demo.ui", "None.ui"))
        with pytest.raises(RuntimeError, match=r"None\.ui"):
            host.load_module(path)

    def test_without_a_window(self, path):
        with Host(main_window=False) as host:
            module = host.load_module(path)
            assert slicer.util.mainWindow() is None
            assert slicer.app.layoutManager() is None
            slicer.util.errorDisplay("only logged")
            assert host.messages == []
            assert host.log.records[-1].getMessage() == "only logged"
            assert module.widget.button.visible is False

    def test_developer_section(self, path):
        with Host(developer=True) as host:
            widget = host.load_module(path).widget
            assert widget.reloadCollapsibleButton.text == "Reload && Test"
            widget.reloadButton.click()
            assert slicer.modules.DemoWidget is not widget

    def test_one_at_a_time_and_nothing_stays_behind(self, host, path):
        with pytest.raises(RuntimeError, match="another host"), Host():
            pass
        assert slicer.app.applicationName == "Slicer"

    def test_slicer_is_as_before(self):
        before = set(vars(slicer)), set(sys.modules)
        with Host(main_window=False):
            assert slicer.app.settings().value("x") is None
        assert set(vars(slicer)) == before[0]
        assert {"qt", "ctk", "slicer.modules"}.isdisjoint(sys.modules)

    def test_settings_are_its_own(self):
        for _ in range(2):
            with Host(main_window=False):
                import qt

                assert not qt.QSettings().contains("Demo/x")
                qt.QSettings().setValue("Demo/x", 3)
                assert slicer.util.settingsValue("Demo/x", 0, converter=int) == 3


class TestDialogs:
    def test_messages_are_recorded(self, host):
        slicer.util.errorDisplay("it failed", detailedText="more")
        assert [(m.text, m.detail) for m in host.messages] == [("it failed", "more")]
        with pytest.raises(ValueError, match="x"), slicer.util.tryWithErrorDisplay("Not done."):
            raise ValueError("x")
        assert host.messages[-1].text == "Not done.\n\nx"

    def test_questions_need_an_answer(self, host):
        import qt

        with pytest.raises(AssertionError, match="without an answer"):
            slicer.util.confirmYesNoDisplay("Really?")
        host.answers.extend(["No", "Yes", lambda message: "Cancel" if "write" in message.text else "Ok"])
        assert slicer.util.confirmYesNoDisplay("Really?") is False
        assert qt.QMessageBox.question(None, "t", "Sure?", qt.QMessageBox.Yes | qt.QMessageBox.No) == qt.QMessageBox.Yes
        assert slicer.util.confirmOkCancelDisplay("Overwrite?") is False

    def test_dialogs_of_a_module(self, host):
        import qt

        dialog = qt.QDialog()
        with pytest.raises(AssertionError, match="without an answer"):
            dialog.exec_()
        host.answers.extend(["accept", "reject"])
        assert (dialog.exec_(), dialog.exec()) == (qt.QDialog.Accepted, qt.QDialog.Rejected)
        with pytest.raises(NotImplementedError, match="QMenu"):
            qt.QMenu().exec_()
        slicer.util.delayDisplay("wait", 5000)
        assert host.messages[-1].text == "wait"

    def test_paths(self, host, tmp_path):
        import qt

        host.answers.extend([tmp_path / "a.html", None])
        assert qt.QFileDialog.getSaveFileName(None, "Save", "x.html") == str(tmp_path / "a.html")
        assert qt.QFileDialog.getExistingDirectory(None, "Folder") == ""

    def test_installing_is_recorded(self, host, tmp_path):
        import slicer.packaging

        (tmp_path / "requirements.txt").write_text("# comment\nnumpy>=1.26  # arrays\n\n")
        wanted = slicer.packaging.load_requirements(tmp_path / "requirements.txt")
        slicer.packaging.pip_ensure(wanted, requester="Demo")
        slicer.util.pip_install("x")
        assert host.installed == [("pip_ensure", ["numpy>=1.26"]), ("pip_install", "x")]

    def test_sample_data_is_recorded(self, host):
        import SampleData

        SampleData.SampleDataLogic.registerCustomSampleDataSource(sampleName="a", uris="https://x", fileNames="a.nrrd")
        assert [one["sampleName"] for one in host.samples] == ["a"]
        with pytest.raises(FileNotFoundError):
            SampleData.SampleDataLogic.registerCustomSampleDataSource(sampleName="b", thumbnailFileName="none.png")
        with pytest.raises(NotImplementedError):
            SampleData.downloadSample("a")


class TestViews:
    @staticmethod
    def grey(host, name="Red"):
        """Mean of the picture of a slice view."""
        host.process_events(0.02)
        picture = pythonqt.unwrap(slicer.app.layoutManager().sliceWidget(name).sliceView())._picture()
        return 0.0 if picture is None else float(picture[..., :3].mean())

    def test_slices_are_real(self, host):
        dark, bright = volume("dark", 50.0), volume("bright", 150.0)
        assert self.grey(host) == 0
        slicer.util.setSliceViewerLayers(background=dark, foreground=bright, foregroundOpacity=0, fit=True)
        views = [self.grey(host, name) for name in ("Red", "Yellow", "Green")]
        assert min(views) > 5
        slicer.util.setSliceViewerLayers(foregroundOpacity=1)
        bright_grey = self.grey(host)
        assert bright_grey > 1.5 * views[0]
        slicer.util.setSliceViewerLayers(foregroundOpacity=0.5)
        assert views[0] < self.grey(host) < bright_grey
        dark.GetDisplayNode().SetWindowLevel(20, 50)
        slicer.util.setSliceViewerLayers(foreground=None)
        assert self.grey(host) != views[0]

    def test_layout_of_ones_own(self, host):
        manager = slicer.app.layoutManager()
        node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
        view = '<item><view class="vtkMRMLSliceNode" singletontag="{}"/></item>'
        node.AddLayoutDescription(5001, f'<layout type="horizontal">{view.format("A1")}{view.format("A2")}</layout>')
        before = manager.layout
        manager.setLayout(5001)
        assert {"A1", "A2"} <= set(manager.sliceViewNames())
        widget = manager.sliceWidget("A2")
        widget.mrmlSliceCompositeNode().SetBackgroundVolumeID(volume().GetID())
        widget.fitSliceToBackground()
        assert self.grey(host, "A2") > 10
        assert self.grey(host, "A1") == 0
        assert widget.visible
        assert not manager.sliceWidget("Red").visible
        manager.setLayout(before)
        assert manager.sliceWidget("Red").visible

    def test_clicks_reach_vtk(self, host):
        view, heard = slicer.app.layoutManager().sliceWidget("Red").sliceView(), []
        view.interactor().AddObserver(
            "LeftButtonPressEvent", lambda caller, event: heard.append(caller.GetEventPosition())
        )
        host.click(view, 10, 20)
        assert heard == [(10, view.height - 21)]

    def test_screenshots(self, path, tmp_path):
        from PySide6.QtGui import QImage

        means = {}
        for dark in (False, True):
            with Host(dark=dark, size=(900, 600)) as host:
                host.load_module(path)
                slicer.util.setSliceViewerLayers(background=volume(), fit=True)
                image = QImage(str(host.screenshot(tmp_path / f"{dark}.png")))
                assert (image.width(), image.height()) == (900, 600)
                means[dark] = image.pixelColor(250, 560).lightness()
        assert means[True] < 90 < 200 < means[False]

    def test_what_is_not_drawn_is_refused(self, host):
        manager = slicer.app.layoutManager()
        with pytest.raises(NotImplementedError):
            manager.threeDWidget(0)
        with pytest.raises(NotImplementedError):
            manager.sliceWidget("Red").sliceView().cornerAnnotation()


class TestScene:
    def test_what_an_application_has(self, host):
        assert slicer.mrmlScene is slicer.app.mrmlScene()
        assert volume().GetDisplayNode().GetColorNode() is not None
        assert slicer.mrmlScene.GetSubjectHierarchyNode() is not None
        assert slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode") is not None
        assert slicer.app.applicationLogic().GetSliceLogicByLayoutName("Red") is not None

    def test_sequences(self, host):
        sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode")
        for index in range(3):
            node = volume("item", 10.0 * (index + 1))
            sequence.SetDataNodeAtValue(node, str(index))
            slicer.mrmlScene.RemoveNode(node)
        browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode")
        browser.AddSynchronizedSequenceNode(sequence)
        logic = slicer.modules.sequences.logic()
        found = []
        for index in range(3):
            browser.SetSelectedItemNumber(index)
            logic.UpdateProxyNodesFromSequences(browser)
            found.append(slicer.util.arrayFromVolume(browser.GetProxyNode(sequence)).max())
        assert found == [10, 20, 30]

    def test_segments(self, host):
        node, image = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode"), volume()
        node.SetReferenceImageGeometryParameterFromVolumeNode(image)
        first = node.GetSegmentation().AddEmptySegment("", "first")
        box, heard = slicer.qMRMLSegmentSelectorWidget(), []
        box.connect("currentSegmentChanged(QString)", heard.append)
        box.setMRMLScene(slicer.mrmlScene)
        box.setCurrentNode(node)
        assert box.currentSegmentID() == first
        second = node.GetSegmentation().AddEmptySegment("", "second")
        box.setCurrentSegmentID(second)
        assert heard == [first, second]
        mask = np.ones((10, 30, 20), np.uint8)
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, second, image)
        assert slicer.util.arrayFromSegmentBinaryLabelmap(node, second, image).sum() == mask.sum()

    def test_volume_from_a_file(self, host, tmp_path):
        assert slicer.util.saveNode(volume(), str(tmp_path / "a.nrrd"))
        node = slicer.util.loadVolume(str(tmp_path / "a.nrrd"), {"name": "again"})
        assert node.GetName() == "again"
        assert slicer.util.arrayFromVolume(node).max() == 100
        assert node.GetDisplayNode().GetColorNode() is not None


def test_the_scene_dies_with_its_host():
    gone = []
    with Host() as host:
        volume()
        host.scene.AddObserver("DeleteEvent", lambda *_: gone.append(True))
    del host
    gc.collect()
    assert gone == [True]
