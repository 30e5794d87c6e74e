"""The panel, clicked: the unmodified module on the test host, the real worker behind it, results checked by number."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

REASON = "the panel needs PySide6 and slicer-core: pip install PySide6-Essentials slicer-core"
pytest.importorskip("PySide6", reason=REASON)
slicer = pytest.importorskip("slicer", reason=REASON)
pytest.importorskip("slicer_core", reason=REASON)

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [path for path in (str(ROOT), str(ROOT / "Testing")) if path not in sys.path]

from SlicerHost import Host  # noqa: E402

SHAPE = (14, 40, 36)  # (k, j, i)


@pytest.fixture
def host():
    with Host() as host:
        yield host


@pytest.fixture
def panel(host):
    return Panel(host)


class Panel:
    """The module as a user has it: a noisy volume is loaded and shown."""

    def __init__(self, host, cheap=True):
        self.host = host
        self.volume = noisy(host)
        self.module = host.load_module(ROOT / "DLRecon" / "DLRecon.py")
        if cheap:
            self.choose("model", "classical/gaussian")

    @property
    def widget(self):
        return self.module.widget

    @property
    def ui(self):
        return self.widget.ui

    @property
    def parameters(self):
        return self.widget._parameterNode

    @property
    def said(self):
        return self.ui.statusLabel.text

    def choose(self, name, value):
        combo = getattr(self.ui, f"{name}Combo")
        index = combo.findData(value)
        assert index >= 0, f"{name} {value} cannot be chosen"
        combo.setCurrentIndex(index)

    def wait(self, timeout=240):
        self.host.wait_until(lambda: not self.widget.busy(), timeout)
        self.host.process_events(0.05)

    def apply(self):
        self.ui.applyButton.click()
        self.wait()
        return self.parameters.resultVolume


def noisy(host, name="Brain", kind="Scalar"):
    """Noise on a bright block; anisotropic, turned, under a parent transform, with window and level of its own."""
    array = np.random.default_rng(5).normal(100, 8, SHAPE).astype(np.float32)
    array[4:10, 10:30, 8:28] += 150
    node = slicer.mrmlScene.AddNewNodeByClass(f"vtkMRML{kind}VolumeNode", name)
    slicer.util.updateVolumeFromArray(node, array)
    node.SetSpacing(1.0, 1.1, 2.5)
    node.SetOrigin(-20, 10, 5)
    a = 0.2
    node.SetIJKToRASDirections(np.cos(a), -np.sin(a), 0, np.sin(a), np.cos(a), 0, 0, 0, 1)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetAutoWindowLevel(False)
    node.GetDisplayNode().SetWindowLevel(333, 166)
    node.SetAttribute("DICOM.Modality", "MR")
    node.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    parent = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "table")
    node.SetAndObserveTransformNodeID(parent.GetID())
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    return node


def voxels(node):
    return slicer.util.arrayFromVolume(node)


def matrix(node):
    import vtk

    ijk_to_ras = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(ijk_to_ras)
    return slicer.util.arrayFromVTKMatrix(ijk_to_ras)


def images():
    """Names of the volumes of the scene."""
    return sorted(node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLVolumeNode"))


def test_apply(panel):
    """The result stands beside the input: same grid, window, transform; noise is gone; the record is on the node."""
    before = voxels(panel.volume).copy()
    result = panel.apply()
    assert images() == ["Brain", "Brain denoise"]
    assert np.array_equal(voxels(panel.volume), before)
    flat = (slice(5, 9), slice(14, 26), slice(12, 24))
    assert voxels(result)[flat].std() < 0.5 * before[flat].std()
    assert voxels(result)[flat].mean() == pytest.approx(before[flat].mean(), rel=0.02)  # it blurs the block's edge
    assert np.array_equal(matrix(result), matrix(panel.volume))
    assert result.GetParentTransformNode().GetName() == "table"
    display = result.GetDisplayNode()
    assert (display.GetWindow(), display.GetLevel(), display.GetAutoWindowLevel()) == (333, 166, 0)
    assert result.GetAttribute("DICOM.instanceUIDs") is None
    record = json.loads(result.GetAttribute("DLRecon.Provenance"))
    assert record["model"]["id"] == "classical/gaussian"
    composite = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSliceCompositeNode")
    shown = composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID(), composite.GetForegroundOpacity()
    assert shown == (panel.volume.GetID(), result.GetID(), 1.0)
    assert panel.ui.resultCollapsible.visible
    assert panel.said.startswith("Done in")
    assert panel.ui.applyButton.text == "&Apply"


def test_buttons_say_what_is_missing(panel):
    panel.ui.inputSelector.setCurrentNode(None)
    assert not panel.ui.applyButton.enabled
    assert panel.ui.applyButton.toolTip == "Choose a volume."
    panel.ui.inputSelector.setCurrentNode(panel.volume)
    assert panel.ui.applyButton.enabled
    panel.choose("region", "roi")
    assert not panel.ui.applyButton.enabled
    assert "box" in panel.ui.applyButton.toolTip


def test_tasks_without_a_model_cannot_be_chosen(panel):
    """They are shown, with a reason, and not hidden."""
    from DLReconLib.models import TASKS, list_cards

    combo = panel.ui.taskCombo
    installed = {card.task for card in list_cards()}
    assert {combo.itemData(n) for n in range(combo.count)} == set(TASKS)
    for n in range(combo.count):
        enabled = bool(int(combo.model().flags(combo.model().index(n, 0))) & 32)  # Qt.ItemIsEnabled
        assert enabled == (combo.itemData(n) in installed)


def test_recommended_model_follows_the_image(panel):
    panel.choose("model", "auto")
    assert panel.ui.modelCombo.currentText == "Recommended: MR noise removal"
    assert panel.ui.modalityLabel.text == "Recognised as MR: the file says so."
    panel.choose("modality", "CT")
    assert "CT" in panel.ui.modelCombo.currentText
    panel.choose("model", "mr-denoise")
    assert "do not trust" in panel.ui.modelLabel.text
    panel.ui.detailsButton.click()
    assert panel.ui.cardBrowser.visible
    assert "Known failures" in panel.ui.cardBrowser.toPlainText()


def test_cancel_leaves_the_scene(panel):
    before = slicer.mrmlScene.GetNumberOfNodes()
    panel.ui.applyButton.click()
    assert panel.ui.applyButton.text == "&Cancel"
    assert panel.ui.progressBar.visible
    panel.ui.applyButton.click()
    panel.host.process_events(0.3)
    assert panel.ui.applyButton.text == "&Apply"
    assert panel.said == "Cancelled. Nothing was changed."
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    assert panel.apply() is not None  # and again


def test_slicer_stays_usable(panel):
    """Events are handled while the worker works."""
    panel.ui.applyButton.click()
    slowest, last = 0.0, time.monotonic()
    while panel.widget.busy():
        panel.host.process_events()
        now = time.monotonic()
        slowest, last = max(slowest, now - last), now
    assert slowest < 1.0


def test_killed_worker(panel):
    """The panel says so, the scene is as it was, and the next run works."""
    slicer.mrmlScene.RemoveNode(panel.apply())
    before = slicer.mrmlScene.GetNumberOfNodes()
    panel.ui.applyButton.click()
    pid = panel.widget.logic.client().status()["pid"]
    os.kill(pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    panel.wait()
    assert panel.said.startswith("It did not work: the worker was ended")
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    assert panel.apply() is not None


def test_constant_image(panel):
    voxels(panel.volume)[...] = 7
    panel.volume.GetImageData().Modified()
    assert panel.apply() is None
    assert panel.said.startswith("It did not work: image is constant")
    assert images() == ["Brain"]
    assert panel.host.messages == []  # no window in the way


def test_label_map_is_refused(panel):
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    slicer.util.updateVolumeFromArray(labels, np.ones(SHAPE, np.uint8))
    with pytest.raises(TypeError, match="label map"):
        panel.widget.logic.process(labels)
    panel.ui.inputSelector.setCurrentNode(labels)
    assert panel.parameters.inputVolume is not labels


def test_input_removed_in_the_middle(panel):
    panel.ui.applyButton.click()
    slicer.mrmlScene.RemoveNode(panel.volume)
    panel.wait()
    assert "was removed" in panel.said
    assert images() == []
    assert not panel.ui.applyButton.enabled


def test_reload_in_the_middle(panel):
    """The worker goes with the old panel; the new one knows the same parameters."""
    panel.ui.strengthSlider.value = 0.25
    panel.ui.applyButton.click()
    panel.host.wait_until(lambda: panel.widget.logic.client().status()["pid"] is not None)
    pid = panel.widget.logic.client().status()["pid"]
    old = panel.widget
    panel.module.reload()
    panel.host.wait_until(lambda: not lives(pid), 10)
    assert panel.widget is not old
    assert images() == ["Brain"]
    assert panel.ui.strengthSlider.value == 0.25
    assert panel.ui.inputSelector.currentNode() is panel.volume
    assert panel.ui.modelCombo.itemData(panel.ui.modelCombo.currentIndex) == "classical/gaussian"
    assert panel.apply() is not None


def test_reload_by_the_developer(panel):
    panel.widget.onReload()
    panel.host.process_events(0.05)
    assert panel.apply() is not None


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except OSError:
        return False


def test_scene_closed_in_the_middle(panel):
    panel.ui.applyButton.click()
    panel.host.process_events(0.2)
    panel.host.clear_scene()
    panel.host.process_events(0.5)
    assert images() == []
    assert panel.ui.applyButton.text == "&Apply"
    assert not panel.ui.resultCollapsible.visible
    panel.volume = noisy(panel.host)
    panel.ui.inputSelector.setCurrentNode(panel.volume)
    panel.choose("model", "classical/gaussian")
    assert panel.apply() is not None


def test_saved_scene_restores_everything(panel, tmp_path):
    panel.ui.strengthSlider.value = 0.5
    panel.choose("modality", "CT")
    panel.choose("tile", "64")
    panel.ui.keepTypeCheckBox.checked = True
    result = panel.apply()
    after = voxels(result).copy()
    saved = panel.host.save_scene(tmp_path / "scene.mrml")
    panel.host.clear_scene()
    assert panel.parameters.strength == 1.0
    panel.host.load_scene(saved)
    parameters = panel.parameters
    assert (parameters.strength, parameters.modality, parameters.tile) == (0.5, "CT", 64)
    assert parameters.keepType
    assert parameters.inputVolume.GetName() == "Brain"
    assert np.array_equal(voxels(parameters.resultVolume), after)
    assert panel.ui.resultCollapsible.visible
    assert panel.ui.strengthSlider.value == 0.5
    assert panel.ui.residualButton.enabled


def test_cleanup_lets_go_of_everything(host):
    panel = Panel(host)
    panel.apply()
    widget, pid = panel.widget, panel.widget.logic.client().status()["pid"]
    panel.module.unload()
    host.wait_until(lambda: not lives(pid), 10)
    from SlicerHost import signals

    assert signals.connected_to(widget) == []


def test_region(panel):
    """Nothing changes outside of the box; its edge is soft."""
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    to_ras = matrix(panel.volume)
    roi.SetCenter(*(to_ras @ [18, 20, 7, 1])[:3])
    roi.SetSize(16, 16, 20)
    panel.choose("region", "roi")
    assert panel.ui.featherSpinBox.visible
    panel.ui.roiSelector.setCurrentNode(roi)
    panel.ui.featherSpinBox.value = 4
    result = panel.apply()
    changed = np.abs(voxels(result) - voxels(panel.volume))
    places = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), -1)[..., ::-1]
    world = places @ to_ras[:3, :3].T + to_ras[:3, 3]
    inside = np.all(np.abs(world - roi.GetCenter()) <= np.array(roi.GetSize()) / 2, axis=-1)
    assert changed[~inside].max() == 0
    assert changed[inside].mean() > 1
    assert json.loads(result.GetAttribute("DLRecon.Provenance"))["options"]["feather"] == 4


class TestAfter:
    def test_fade_and_flicker(self, panel):
        panel.apply()
        composite = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSliceCompositeNode")
        panel.ui.fadeSlider.value = 0.3
        assert composite.GetForegroundOpacity() == pytest.approx(0.3)
        panel.ui.flickerButton.click()
        seen = set()
        end = time.monotonic() + 1.8
        while time.monotonic() < end:
            panel.host.process_events(0.05)
            seen.add(composite.GetForegroundOpacity())
        assert {0.0, 1.0} <= seen
        panel.ui.flickerButton.click()
        assert composite.GetForegroundOpacity() == 1.0

    def test_result_that_is_removed(self, panel):
        """The section goes with the next change, and a flicker that runs stops."""
        result = panel.apply()
        panel.ui.flickerButton.click()
        slicer.mrmlScene.RemoveNode(result)
        panel.host.wait_until(lambda: not panel.ui.flickerButton.checked, 10)
        panel.ui.strengthSlider.value = 0.9
        assert not panel.ui.resultCollapsible.visible

    def test_residual_and_table(self, panel):
        result = panel.apply()
        panel.ui.residualButton.click()
        residual = slicer.util.getNode("Brain denoise removed")
        difference = voxels(panel.volume).astype(np.float32) - voxels(result)
        assert np.array_equal(voxels(residual), difference)
        assert residual.GetDisplayNode().GetLevel() == 0
        panel.ui.tableButton.click()
        table = slicer.util.getNode("Brain denoise figures")
        figures = json.loads(result.GetAttribute("DLRecon.Provenance"))["figures"]
        names = [table.GetCellText(row, 0) for row in range(table.GetNumberOfRows())]
        row = names.index("Noise")
        assert float(table.GetCellText(row, 1)) == pytest.approx(figures["before"]["noise_sigma"], rel=1e-4)
        assert float(table.GetCellText(row, 2)) == pytest.approx(figures["after"]["noise_sigma"], rel=1e-4)

    def test_trust_light(self, panel):
        result = panel.apply()
        trust = json.loads(result.GetAttribute("DLRecon.Provenance"))["trust"]
        word = {"green": "Green", "amber": "Amber", "red": "Red"}[trust["light"]]
        assert f"<b>{word}</b>" in panel.ui.trustLabel.text
        if not panel.ui.reasonsButton.checked:
            panel.ui.reasonsButton.click()
        assert panel.ui.reasonsLabel.visible
        assert panel.ui.reasonsLabel.text.count("<br>") == len(trust["reasons"]) - 1

    @pytest.mark.parametrize("region", ["whole", "segment"])
    def test_script_gives_the_identical_result(self, panel, region):
        if region == "segment":
            labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
            inside = np.zeros(SHAPE, np.uint8)
            inside[3:11, 8:30, 8:30] = 1
            slicer.util.updateVolumeFromArray(labels, inside)
            labels.CopyOrientation(panel.volume)
            labels.SetAndObserveTransformNodeID(panel.volume.GetTransformNodeID())
            segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs")
            slicer.vtkSlicerSegmentationsModuleLogic.ImportLabelmapToSegmentationNode(labels, segmentation)
            slicer.mrmlScene.RemoveNode(labels)
            panel.choose("region", "segment")
            panel.ui.segmentationSelector.setCurrentNode(segmentation)
        panel.ui.strengthSlider.value = 0.7
        result = panel.apply()
        panel.ui.scriptButton.click()
        script = slicer.app.clipboard().text()
        names = {}
        exec(script, names)
        again = names["outputVolume"]
        assert again is not result
        assert np.array_equal(voxels(again), voxels(result))
        assert (voxels(result) == voxels(panel.volume)).any() == (region == "segment")

    def test_report(self, panel, tmp_path):
        panel.apply()
        path = tmp_path / "report.html"
        panel.host.answers.append(str(path))
        panel.ui.reportButton.click()
        page = path.read_text(encoding="utf-8")
        assert "data:image/png" in page
        assert "Gaussian" in page
        assert [one.name for one in tmp_path.iterdir()] == ["report.html"]

    def test_explanation_at_the_crosshair(self, panel):
        """The map is highest where the crosshair is; outside of the image the panel says what to do."""
        panel.apply()
        crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
        crosshair.SetCrosshairRAS(*(matrix(panel.volume) @ [18, 20, 7, 1])[:3])
        panel.ui.explainButton.click()
        panel.wait()
        node = slicer.util.getNode("Brain denoise explained")
        peak = np.unravel_index(np.argmax(np.abs(voxels(node))), SHAPE)
        assert np.abs(np.subtract(peak, (7, 20, 18))).max() <= 4
        assert np.array_equal(matrix(node), matrix(panel.volume))
        panel.ui.showButton.click()
        composite = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSliceCompositeNode")
        assert composite.GetForegroundVolumeID() == panel.parameters.resultVolume.GetID()
        crosshair.SetCrosshairRAS(1e4, 0, 0)
        panel.ui.explainButton.click()
        assert "hold Shift" in panel.said

    def test_uncertainty(self, panel):
        panel.ui.uncertaintyCheckBox.checked = True
        result = panel.apply()
        node = result.GetNodeReference("DLRecon.uncertainty")
        assert voxels(node).shape == SHAPE
        assert voxels(node).min() >= 0
        assert voxels(node).mean() > 0
        assert node.GetName() in panel.said


class TestSoftware:
    """What is missing is asked for at Apply and on Set up, and nowhere else; classical methods need no PyTorch."""

    @pytest.fixture
    def no_torch(self, monkeypatch, tmp_path):
        """torch cannot be found by the panel, nor imported by the worker."""
        from DLReconLib.dependencies import packages

        look = packages.look

        def without(package, paths=None):
            if package.name in ("torch", "safetensors"):
                return packages.State(package, "missing", "", f"{package.name} is not installed", "install it")
            return look(package, paths)

        monkeypatch.setattr(packages, "look", without)
        fake = tmp_path / "blocked" / "torch"
        fake.mkdir(parents=True)
        (fake / "__init__.py").write_text("raise ImportError('no torch here')")
        monkeypatch.setenv("PYTHONPATH", str(fake.parent))
        monkeypatch.syspath_prepend(str(ROOT / "DLRecon"))
        from DLReconPanel import setup

        setup.forget()
        yield
        setup.forget()

    @pytest.fixture
    def panel(self, host, no_torch):
        return Panel(host)

    def test_classical_methods_work(self, panel):
        assert "torch" in panel.ui.setupLabel.text
        result = panel.apply()
        assert voxels(result).std() < voxels(panel.volume).std()
        record = json.loads(result.GetAttribute("DLRecon.Provenance"))
        assert record["model"]["id"] == "classical/gaussian"
        assert panel.host.messages == []

    def test_learned_methods_ask(self, panel):
        """With sizes and source; a refusal leaves everything as it is."""
        labels = [panel.ui.modelCombo.itemText(n) for n in range(panel.ui.modelCombo.count)]
        assert "MR noise removal (needs PyTorch)" in labels
        panel.choose("model", "mr-denoise")
        panel.host.answers.append("Cancel")
        panel.ui.applyButton.click()
        (asked,) = panel.host.messages
        assert "PyTorch" in asked.text
        assert "MB from" in asked.text
        assert panel.said.startswith("Nothing was installed.")
        assert panel.host.installed == []
        assert images() == ["Brain"]

    def test_agreed_without_the_extension(self, panel):
        """The safetensors package is asked for; PyTorch needs the extension, and the message says so."""
        panel.host.answers.extend(["Ok", "Ok"])
        panel.ui.setupButton.click()
        assert [what for what, _ in panel.host.installed] == ["pip_ensure"]
        assert "PyTorch extension" in panel.said

    def test_folder_of_wheels_that_lacks_them(self, panel, tmp_path):
        (tmp_path / "wheels").mkdir()
        panel.host.answers.extend([str(tmp_path / "wheels"), "Ok", "Ok"])
        panel.ui.wheelsButton.click()
        assert "lacks wheels" in panel.said
        assert "pip download" in panel.ui.logText.toPlainText()
        assert panel.host.installed == []


class TestTryItFirst:
    def test_compare_and_take(self, panel):
        """Pictures side by side; a click takes the method over; closing leaves the scene as it was."""
        before, layout = images(), slicer.app.layoutManager().layout
        panel.ui.compareButton.click()
        panel.wait()
        entries = panel.widget.trying.gallery.entries
        assert [entry.state for entry in entries] == ["done"] * len(entries)
        assert {"classical/gaussian", "classical/tv"} <= {entry.model for entry in entries}
        assert panel.ui.galleryTable.rowCount == len(entries)
        manager = slicer.app.layoutManager()
        assert manager.layout != layout
        for n, entry in enumerate(entries):
            widget = manager.sliceWidget(f"DLReconTry{n + 1}")
            assert widget.mrmlSliceCompositeNode().GetBackgroundVolumeID() == entry.node.GetID()
            assert not entry.node.GetSaveWithScene()
        wanted = next(n for n, entry in enumerate(entries) if entry.model == "classical/tv")
        panel.widget.trying.onRow(wanted)
        assert panel.parameters.model == "classical/tv"
        click(manager.sliceWidget("DLReconTry1").sliceView().interactor())
        assert panel.parameters.model == entries[0].model
        panel.ui.closeGalleryButton.click()
        assert images() == before
        assert manager.layout == layout

    def test_preview_shows_the_current_slices(self, panel):
        panel.ui.previewButton.click()
        panel.wait()
        entry = panel.widget.trying.gallery.entries[0]
        assert entry.model == "classical/gaussian"
        original = panel.widget.trying.gallery.original
        whole = voxels(panel.volume)
        k0 = round((np.linalg.inv(matrix(panel.volume)) @ matrix(original) @ [0, 0, 0, 1])[2])
        assert np.array_equal(voxels(original), whole[k0 : k0 + len(voxels(original))])
        offset = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed").GetSliceOffset()
        place = (offset - panel.volume.GetOrigin()[2]) / panel.volume.GetSpacing()[2]
        assert k0 <= place <= k0 + len(voxels(original))
        panel.apply()  # closes it
        assert images() == ["Brain", "Brain denoise"]

    def test_cancel(self, panel):
        before = images()
        panel.ui.compareButton.click()
        panel.host.process_events(0.2)
        assert panel.ui.applyButton.text == "&Cancel"
        panel.ui.applyButton.click()
        panel.host.process_events(0.2)
        assert images() == before
        assert panel.widget.trying.gallery is None


def click(interactor):
    interactor.SetInteractorStyle(None)  # VTK's default one takes all events from a press on; Slicer's does not
    for event in ("LeftButtonPressEvent", "LeftButtonReleaseEvent"):
        interactor.InvokeEvent(event)


def test_keyboard(panel):
    """Tab reaches every control that can be used, in the order of the form."""
    import qt

    panel.host.process_events(0.1)
    first, seen = panel.ui.inputSelector, []
    chain = first.nextInFocusChain()
    names = set(vars(panel.ui))
    for _ in range(400):
        if chain.objectName in names and chain.objectName not in seen and int(chain.focusPolicy) & int(qt.Qt.TabFocus):
            seen.append(chain.objectName)
        chain = chain.nextInFocusChain()
        if chain == first:
            break
    order = ["taskCombo", "modalityCombo", "modelCombo", "previewButton", "applyButton", "residualButton"]
    assert [name for name in seen if name in order] == order


def test_sequence_in_the_panel(panel):
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "perfusion")
    for value in ("0", "2", "4"):
        sequence.SetDataNodeAtValue(panel.volume, value)
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    browser.AddProxyNode(panel.volume, sequence, False)
    panel.widget.onParameters()
    assert panel.ui.allTimePointsCheckBox.visible
    assert panel.ui.allTimePointsCheckBox.text == "All 3 &time points"
    shown = panel.apply()
    output = next(
        node for node in slicer.util.getNodesByClass("vtkMRMLSequenceNode") if node.GetName() == "perfusion denoise"
    )
    assert output.GetNumberOfDataNodes() == 3
    assert browser.GetSequenceNode(shown) is output
    panel.ui.allTimePointsCheckBox.checked = False
    one = panel.apply()
    assert np.array_equal(voxels(one), voxels(output.GetNthDataNode(0)))


def test_headless_process(panel):
    """wait=False gives a handle; a sequence gives a sequence; mistakes are exceptions, not windows."""
    process = panel.widget.logic.process
    run = process(panel.volume, model="classical/gaussian", wait=False)
    assert images() == ["Brain"]
    while run.poll():
        time.sleep(0.02)
    assert (run.state, run.fraction, run.error) == ("done", 1.0, "")
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "frames")
    sequence.SetDataNodeAtValue(panel.volume, "3.5")
    output = process(sequence, model="classical/gaussian")
    assert (output.GetNthIndexValue(0), output.GetNumberOfDataNodes()) == ("3.5", 1)
    assert np.array_equal(voxels(output.GetNthDataNode(0)), voxels(run.outputNode))
    with pytest.raises(TypeError, match="unknown options stength"):
        process(panel.volume, stength=1)
    with pytest.raises(TypeError, match="wanted a vtkMRMLSequenceNode"):
        process(sequence, panel.volume)
    with pytest.raises(RuntimeError, match="no-such-model"):
        process(panel.volume, model="no-such-model")
    assert panel.host.messages == []


@pytest.mark.parametrize(
    ("model", "shape", "precision", "measured"),
    [
        ("mr-denoise", (256, 256, 256), "float32", 3675),
        ("mr-denoise", (256, 256, 256), "bfloat16", 2481),
        ("ct-denoise", (600, 512, 512), "float32", 5808),
        ("ct-denoise", (600, 512, 512), "bfloat16", 3959),
    ],
)
def test_memory_estimate(panel, model, shape, precision, measured):
    """Against the peaks, in MB, that Testing/Benchmarks/speed.py measured with earlier weights."""
    from DLReconPanel import memory

    from DLReconLib.models import find_card

    card = find_card(model)
    needed = memory.bytesNeeded(shape, card, precision=precision) / 1e6
    assert needed == pytest.approx(measured, rel=0.35)
    assert memory.bytesNeeded(shape, card, tile=64, precision=precision) / 1e6 < 0.7 * needed


def test_damaged_card(panel, monkeypatch):
    """The panel says what is wrong with it, and goes on when it is mended."""
    from DLReconPanel import methods

    from DLReconLib import models

    def broken(*_):
        raise models.ModelError("card x: not readable as JSON")

    with monkeypatch.context() as patch:
        patch.setattr(models, "list_cards", broken)
        methods.forget()
        panel.widget.onParameters()
        assert "not readable" in panel.ui.modelLabel.text
        assert not panel.ui.applyButton.enabled
    panel.module.exit()
    panel.module.enter()
    assert panel.ui.applyButton.enabled


def test_no_window():
    """Headless: no main window and no layout manager; the panel can still be made, and process() works."""
    with Host(main_window=False) as host:
        panel = Panel(host)
        assert slicer.app.layoutManager() is None
        assert not panel.ui.previewButton.enabled
        result = panel.apply()
        assert voxels(result).std() < voxels(panel.volume).std()


class TestBatch:
    """Resources/Examples/batch.py, as Slicer runs it without a window."""

    @pytest.fixture
    def batch(self, tmp_path):
        import importlib.util

        path = ROOT / "DLRecon" / "Resources" / "Examples" / "batch.py"
        spec = importlib.util.spec_from_file_location("batch_example", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        with Host(main_window=False) as host:
            panel = Panel(host)
            slicer.util.saveNode(panel.volume, str(tmp_path / "one.nrrd"))
            voxels(panel.volume)[...] = 1
            slicer.util.saveNode(panel.volume, str(tmp_path / "constant.nrrd"))
            yield module

    def test_files_in_files_out(self, batch, tmp_path, capsys):
        before = images()
        arguments = ["--output", str(tmp_path / "out"), "--model", "classical/gaussian"]
        files = [str(tmp_path / f"{name}.nrrd") for name in ("constant", "one", "absent")]
        assert batch.main([*arguments, *files]) == 1
        out = capsys.readouterr().out
        assert "constant.nrrd: failed: image is constant" in out
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one-denoise.json", "one-denoise.nrrd"]
        assert images() == before
        assert batch.main([*arguments, files[1]]) == 0
        assert "there already" in capsys.readouterr().out
        made = slicer.util.loadVolume(str(tmp_path / "out" / "one-denoise.nrrd"), {"show": False})
        source = slicer.util.loadVolume(files[1], {"show": False})
        np.testing.assert_allclose(matrix(made), matrix(source), atol=1e-6)
        assert voxels(made).std() < voxels(source).std()
        assert json.loads((tmp_path / "out" / "one-denoise.json").read_text())["model"]["id"] == "classical/gaussian"

    def test_wrong_arguments(self, batch):
        assert batch.main([]) == 2
