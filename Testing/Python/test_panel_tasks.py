"""The panel for every task: its own options, its own kind of result. Cheap methods stand for all models."""

import json
from dataclasses import fields

import numpy as np
import pytest

REASON = "the panel needs PySide6 and slicer-core: pip install PySide6-Essentials slicer-core"
pytest.importorskip("PySide6", reason=REASON)
slicer = pytest.importorskip("slicer", reason=REASON)
pytest.importorskip("slicer_core", reason=REASON)

from test_panel import SHAPE, Host, Panel, images, matrix, voxels  # noqa: E402

from DLReconLib.models import ZOO, ModelCard  # noqa: E402

GAUSSIAN = ModelCard.read(ZOO / "classical" / "gaussian")
MADE = {
    "rings-out": {"task": "artifact-reduction", "artifacts": ["ring"], "modalities": ["CT"]},
    "gibbs-out": {"task": "artifact-reduction", "artifacts": ["gibbs", "spike"], "modalities": ["MR"]},
    "more-contrast": {"task": "contrast"},
    "learns-here": {"network": "self-supervised", "arguments": {}, "tile": []},
}


@pytest.fixture
def models(tmp_path, monkeypatch):
    """Methods for tasks, of which others need not be installed; the worker finds them, too."""
    for name, values in MADE.items():
        (tmp_path / name).mkdir()
        card = GAUSSIAN.to_dict() | {"id": name, "title": name, "results": {}} | values
        (tmp_path / name / "card.json").write_text(json.dumps(card))
    monkeypatch.setenv("DLRECON_MODELS", str(tmp_path))


@pytest.fixture
def panel(models):
    with Host() as host:
        yield Panel(host, cheap=False)


def items(combo):
    return [combo.itemData(n) for n in range(combo.count)]


def labels(panel, box=(slice(5, 8), slice(14, 22), slice(12, 20))):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "hole")
    array = np.zeros(SHAPE, np.uint8)
    array[box] = 1
    slicer.util.updateVolumeFromArray(node, array)
    node.CopyOrientation(panel.volume)
    node.SetAndObserveTransformNodeID(panel.volume.GetTransformNodeID())
    return node, array


OWN = {
    "artifactCombo": "artifact-reduction",
    "scaleCombo": "super-resolution",
    "thicknessSpinBox": "super-resolution",
    "consistentCheckBox": "super-resolution",
    "gridLabel": "super-resolution",
    "regionHintLabel": "inpaint",
}


@pytest.mark.parametrize("task", ["denoise", "super-resolution", "artifact-reduction", "contrast", "inpaint"])
def test_a_task_shows_its_own_options_alone(panel, task):
    panel.choose("task", task)
    for name, owner in OWN.items():
        assert getattr(panel.ui, name).visible == (owner == task), name
    if task == "inpaint":
        assert not panel.ui.applyButton.enabled
    assert panel.parameters.model == "auto"
    assert panel.ui.uncertaintyCheckBox.enabled == (task == "denoise")


def test_options_of_another_task_are_not_handed_on(panel):
    """Every set of options that the form gives is one that the library takes."""
    from DLReconPanel import choices

    from DLReconLib.pipeline import Options

    node, _array = labels(panel)
    panel.parameters.scale, panel.parameters.thickness = "3", 4.0
    panel.parameters.artifact, panel.parameters.uncertainty = "gibbs", True
    panel.parameters.consistent = False
    panel.parameters.region, panel.parameters.labels = "labels", node
    for task in ("denoise", "super-resolution", "artifact-reduction", "contrast", "inpaint"):
        panel.choose("task", task)
        given = Options(**choices.options(panel.parameters, panel.widget.card))
        assert (given.scale, given.thickness) == ((3.0, 4.0) if task == "super-resolution" else (None, None))
        assert given.artifact == ("gibbs" if task == "artifact-reduction" else "auto")
        assert given.uncertainty == (task == "denoise")
        assert given.feather == (0.0 if task == "inpaint" else 3.0)


def test_script_leaves_out_what_is_the_default(panel):
    from DLReconPanel import texts

    from DLReconLib.pipeline import Options

    chosen = {"task", "model", "strength"}
    defaults = {f.name: f.default for f in fields(Options) if f.name not in chosen}
    assert defaults == texts.DEFAULTS


class TestSuperResolution:
    def test_result_on_the_finer_grid(self, panel):
        """The box in the patient is the input's; what the panel foretold is what comes."""
        panel.choose("task", "super-resolution")
        panel.choose("model", "classical/spline")
        panel.choose("scale", "2")
        assert panel.ui.gridLabel.text == "Gives 72 × 80 × 28 voxels of 0.5 × 0.55 × 1.25 mm."
        result = panel.apply()
        assert voxels(result).shape == (28, 80, 72)
        assert result.GetSpacing() == pytest.approx((0.5, 0.55, 1.25))
        corners = [matrix(n) @ [*(np.array(voxels(n).shape[::-1]) / 2 - 0.5), 1] for n in (panel.volume, result)]
        np.testing.assert_allclose(*corners, atol=1e-4)
        assert result.GetParentTransformNode().GetName() == "table"
        assert panel.ui.residualButton.text == "What was added"
        panel.ui.residualButton.click()
        assert voxels(slicer.util.getNode("Brain super-resolution removed")).shape == (28, 80, 72)
        assert not panel.ui.explainButton.enabled
        assert "noise removal only" in panel.ui.explainButton.toolTip
        panel.ui.scriptButton.click()
        names = {}
        exec(slicer.app.clipboard().text(), names)
        assert np.array_equal(voxels(names["outputVolume"]), voxels(result))

    def test_spacing(self, panel):
        panel.choose("task", "super-resolution")
        panel.choose("model", "classical/spline")
        assert not panel.ui.spacingXSpinBox.visible
        panel.choose("scale", "spacing")
        assert panel.ui.spacingXSpinBox.visible
        panel.ui.spacingZSpinBox.value = 1.25
        assert "28 voxels of 1 × 1.1 × 1.25 mm" in panel.ui.gridLabel.text
        panel.ui.spacingZSpinBox.value = 0.1
        assert not panel.ui.applyButton.enabled
        assert "4 times finer at most" in panel.ui.applyButton.toolTip
        panel.ui.spacingZSpinBox.value = 1.25
        panel.ui.thicknessSpinBox.value = 3.0
        record = json.loads(panel.apply().GetAttribute("DLRecon.Provenance"))
        assert record["options"]["spacing"] == [1.0, 1.1, 1.25]
        assert record["options"]["thickness"] == 3.0

    def test_preview(self, panel):
        panel.choose("task", "super-resolution")
        panel.choose("model", "classical/spline")
        panel.ui.previewButton.click()
        panel.wait()
        (entry,) = panel.widget.trying.gallery.entries
        assert entry.state == "done"
        assert min(entry.node.GetSpacing()) < min(panel.widget.trying.gallery.original.GetSpacing()) + 1e-6
        assert np.prod(voxels(entry.node).shape) > np.prod(voxels(panel.widget.trying.gallery.original).shape)


class TestArtifacts:
    def test_what_there_are_models_for(self, panel):
        """Kinds by the kind of image; methods by the kind of artifact."""
        panel.choose("task", "artifact-reduction")
        kinds = items(panel.ui.artifactCombo)
        assert kinds[0] == "auto"
        assert {"gibbs", "spike"} <= set(kinds)
        assert "ring" not in kinds
        panel.choose("artifact", "spike")
        assert "gibbs-out" in items(panel.ui.modelCombo)
        assert "rings-out" not in items(panel.ui.modelCombo)
        panel.choose("modality", "CT")
        assert "ring" in items(panel.ui.artifactCombo)

    def test_a_method_that_does_not_do_it(self, panel):
        panel.choose("task", "artifact-reduction")
        panel.choose("model", "gibbs-out")
        panel.parameters.modality, panel.parameters.artifact = "CT", "ring"
        assert not panel.ui.applyButton.enabled
        assert "does not remove this: Rings" in panel.ui.applyButton.toolTip

    def test_record(self, panel):
        panel.choose("task", "artifact-reduction")
        panel.choose("artifact", "gibbs")
        panel.choose("model", "gibbs-out")
        result = panel.apply()
        assert images() == ["Brain", "Brain artifact-reduction"]
        record = json.loads(result.GetAttribute("DLRecon.Provenance"))
        assert record["options"]["artifact"] == "gibbs"
        assert record["trust"]["light"] in panel.ui.trustLabel.text.lower()


class TestInpaint:
    def test_a_label_map_is_filled(self, panel):
        """Only there; a label map beside the result marks what was invented; the light is never green."""
        node, hole = labels(panel)
        panel.choose("task", "inpaint")
        assert "Mark what is to be filled" in panel.ui.regionHintLabel.text
        assert "Choose what is to be filled" in panel.ui.applyButton.toolTip
        panel.choose("model", "classical/biharmonic")
        panel.choose("region", "labels")
        panel.ui.labelsSelector.setCurrentNode(node)
        assert not panel.ui.featherSpinBox.visible
        assert not panel.ui.regionHintLabel.visible
        result = panel.apply()
        changed = voxels(result) != voxels(panel.volume)
        assert changed[hole == 1].mean() > 0.9
        assert not changed[hole == 0].any()
        invented = result.GetNodeReference("DLRecon.invented")
        assert invented.IsA("vtkMRMLLabelMapVolumeNode")
        assert np.array_equal(voxels(invented), hole)
        assert np.array_equal(matrix(invented), matrix(result))
        assert invented.GetTransformNodeID() == result.GetTransformNodeID()
        assert invented.GetName() in panel.said
        assert "Green" not in panel.ui.trustLabel.text
        panel.ui.scriptButton.click()
        names = {}
        exec(slicer.app.clipboard().text(), names)
        assert np.array_equal(voxels(names["outputVolume"]), voxels(result))

    def test_compare(self, panel):
        node, _hole = labels(panel)
        panel.choose("task", "inpaint")
        panel.parameters.region, panel.parameters.labels = "labels", node
        panel.parameters.modality = "US"  # the learned ones would take their time
        panel.ui.compareButton.click()
        panel.wait()
        entries = panel.widget.trying.gallery.entries
        assert [e.error for e in entries] == [""] * len(entries)
        heads = [panel.ui.galleryTable.horizontalHeaderItem(n).text() for n in range(panel.ui.galleryTable.columnCount)]
        assert heads == ["Method", "Trust", "Sharpness", "Contrast"]


def test_contrast(panel):
    """The window is made anew, and no difference is offered where none has a meaning."""
    panel.choose("task", "contrast")
    panel.choose("model", "more-contrast")
    result = panel.apply()
    assert result.GetDisplayNode().GetAutoWindowLevel() == 1
    assert not panel.ui.residualButton.enabled
    assert "mapped anew" in panel.ui.residualButton.toolTip


def test_contrast_by_features(panel):
    """The map is a volume of its own beside the result: 0 to 1, without the unit of the input, also after a new run."""
    panel.choose("task", "contrast")
    panel.choose("model", "classical/objectness")
    result = panel.apply()
    features = result.GetNodeReference("DLRecon.features")
    assert features.GetClassName() == "vtkMRMLScalarVolumeNode"
    assert features.GetName() == f"{result.GetName()} features"
    assert features.GetName() in panel.said
    found = voxels(features)
    lift = json.loads(result.GetAttribute("DLRecon.Provenance"))["found"]["lift"]
    assert 0 <= found.min() < 0.01 < found.max() <= 1
    np.testing.assert_allclose(voxels(result) - voxels(panel.volume), lift * found, atol=0.01)
    assert np.array_equal(matrix(features), matrix(result))
    assert features.GetTransformNodeID() == result.GetTransformNodeID()
    assert features.GetVoxelValueUnits() is None
    panel.choose("model", "more-contrast")
    assert panel.apply().GetNodeReference("DLRecon.features") is None


def test_budget_of_a_model_that_learns_here(panel):
    from DLReconPanel import choices

    assert not panel.ui.budgetSpinBox.visible
    panel.choose("model", "learns-here")
    assert panel.ui.budgetSpinBox.visible
    panel.ui.budgetSpinBox.value = 20
    assert choices.options(panel.parameters, panel.widget.card)["budget"] == 20
    assert panel.ui.memoryLabel.text.startswith("About ")


def test_a_task_that_comes_while_the_panel_is_away(panel, tmp_path):
    """Models that were added are offered when the module is entered again; what was chosen stays."""
    panel.choose("task", "contrast")
    (tmp_path / "more-contrast" / "card.json").unlink()
    panel.module.exit()
    panel.module.enter()
    assert panel.parameters.task == "contrast"
    assert "more-contrast" not in items(panel.ui.modelCombo)
