"""Regions, sequences and runs of the panel on Slicer's real MRML classes, with the real worker; no window."""

import sys
from pathlib import Path

import numpy as np
import pytest

REASON = "needs Slicer's MRML classes: pip install slicer-core"
slicer = pytest.importorskip("slicer", reason=REASON)
pytest.importorskip("slicer_core", reason=REASON)
vtk = pytest.importorskip("vtk", reason=REASON)

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [path for path in (str(ROOT), str(ROOT / "DLRecon")) if path not in sys.path]

from DLReconPanel import regions, runs, sequences  # noqa: E402

from DLReconLib.client import Client  # noqa: E402

SHAPE = (12, 16, 14)  # (k, j, i)
GAUSSIAN = {"task": "denoise", "model": "classical/gaussian", "strength": 1.0}


@pytest.fixture
def scene():
    scene = slicer.vtkMRMLScene()
    scene.RegisterNodeClass(slicer.vtkMRMLSequenceBrowserNode())
    before = slicer.mrmlScene if hasattr(slicer, "mrmlScene") else None
    slicer.mrmlScene = scene
    yield scene
    slicer.mrmlScene = before


@pytest.fixture(scope="module")
def client():
    with Client() as client:
        yield client


def image(scene, name="noisy", seed=1, shape=SHAPE, kind="Scalar"):
    """Noise around a bright block, oblique and anisotropic."""
    array = np.random.default_rng(seed).normal(100, 5, shape).astype(np.float32)
    array[3:8, 4:11, 5:9] += 200
    return put(scene, array, name, kind)


def put(scene, array, name, kind="Scalar"):
    node = scene.AddNewNodeByClass(f"vtkMRML{kind}VolumeNode", name)
    slicer.util.updateVolumeFromArray(node, array)
    a = 0.3
    node.SetSpacing(0.8, 0.9, 2.0)
    node.SetOrigin(-10, 20, 30)
    node.SetIJKToRASDirections(np.cos(a), -np.sin(a), 0, np.sin(a), np.cos(a), 0, 0, 0, 1)
    return node


def voxels(node):
    return slicer.util.arrayFromVolume(node)


def moved(scene, node, x=7.5, turn=25.0):
    """Put the node under a linear transform."""
    transform = vtk.vtkTransform()
    transform.Translate(x, -3, 2)
    transform.RotateZ(turn)
    parent = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    parent.SetMatrixTransformToParent(transform.GetMatrix())
    node.SetAndObserveTransformNodeID(parent.GetID())
    return parent


def box_of(scene, volume, low, high):
    """An ROI node along the axes of the volume around the voxels from low to high (i, j, k), ends included."""
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    low, high = np.array(low), np.array(high)
    to_world = regions.ijkToWorld(volume)
    spacing = np.linalg.norm(to_world[:3, :3], axis=0)
    placed = np.eye(4)
    placed[:3, :3] = to_world[:3, :3] / spacing
    placed[:3, 3] = (to_world @ [*(low + high) / 2, 1])[:3]
    roi.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(placed))
    roi.SetSize(*((high - low + 0.5) * spacing))
    return roi


class TestRegions:
    def test_box(self, scene):
        volume = image(scene)
        moved(scene, volume)
        mask = regions.maskOf(box_of(scene, volume, (5, 4, 3), (8, 10, 7)), volume)
        wanted = np.zeros(SHAPE, np.uint8)
        wanted[3:8, 4:11, 5:9] = 1
        assert np.array_equal(mask.array, wanted)

    def test_label_map_of_another_grid_under_another_transform(self, scene):
        """Each voxel asks the label at its place in the world."""
        volume = image(scene)
        labels = np.zeros((20, 30, 28), np.uint8)
        labels[4:15, 6:22, 8:20] = 3
        node = put(scene, labels, "labels", "LabelMap")
        node.SetSpacing(0.4, 0.5, 1.2)
        moved(scene, node, 2.0, 10.0)
        mask = regions.maskOf(node, volume)
        matrix = np.linalg.inv(regions.ijkToWorld(node)) @ regions.ijkToWorld(volume)
        wanted = np.zeros(SHAPE, np.uint8)
        for k, j, i in np.ndindex(SHAPE):
            x, y, z = np.rint((matrix @ [i, j, k, 1])[:3]).astype(int)
            inside = 0 <= x < 28 and 0 <= y < 30 and 0 <= z < 20
            wanted[k, j, i] = inside and labels[z, y, x] == 3
        assert 20 < wanted.sum() < wanted.size
        assert np.array_equal(mask.array, wanted)

    def test_segment(self, scene):
        volume = image(scene)
        moved(scene, volume)
        segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "segmentation")
        inside = np.zeros(SHAPE, np.uint8)
        inside[2:6, 3:9, 4:12] = 1
        labels = put(scene, inside, "labels", "LabelMap")
        labels.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
        slicer.vtkSlicerSegmentationsModuleLogic.ImportLabelmapToSegmentationNode(labels, segmentation)
        segment = segmentation.GetSegmentation().GetNthSegmentID(0)
        assert np.array_equal(regions.maskOf((segmentation, segment), volume).array, inside)
        with pytest.raises(ValueError, match="no segment 'other'"):
            regions.maskOf((segmentation, "other"), volume)

    def test_what_is_no_region(self, scene):
        volume = image(scene)
        with pytest.raises(ValueError, match="no voxel in common"):
            regions.maskOf(put(scene, np.zeros(SHAPE, np.uint8), "empty", "LabelMap"), volume)
        with pytest.raises(TypeError, match="vtkMRMLScalarVolumeNode; wanted a label map"):
            regions.maskOf(volume, volume)


class TestRuns:
    def test_only_the_region_changes(self, scene, client):
        volume = image(scene)
        output = runs.startVolume(client, volume, None, box_of(scene, volume, (5, 4, 3), (8, 10, 7)), GAUSSIAN).wait()
        changed = voxels(output) != voxels(volume)
        wanted = np.zeros(SHAPE, bool)
        wanted[3:8, 4:11, 5:9] = True
        assert not changed[~wanted].any()
        assert changed[wanted].mean() > 0.99

    def test_cancel_and_failure_leave_the_scene(self, scene, client):
        volume = image(scene)
        constant = put(scene, np.ones(SHAPE, np.float32), "constant")
        count = scene.GetNumberOfNodes()
        run = runs.startVolume(client, volume, None, None, GAUSSIAN)
        run.cancel()
        assert run.state == "cancelled"
        with pytest.raises(RuntimeError, match="constant"):
            runs.startVolume(client, constant, None, None, GAUSSIAN).wait()
        assert scene.GetNumberOfNodes() == count

    def test_input_that_is_removed_cancels(self, scene, client):
        volume = image(scene)
        run = runs.startVolume(client, volume, None, None, GAUSSIAN)
        scene.RemoveNode(volume)
        assert not run.poll()
        assert (run.state, run.error) == ("cancelled", "the input volume was removed from the scene")

    def test_output_that_is_removed_is_replaced(self, scene, client):
        """Minutes of work are not thrown away."""
        volume, output = image(scene), image(scene, "output")
        run = runs.startVolume(client, volume, output, None, GAUSSIAN)
        scene.RemoveNode(output)
        made = run.wait()
        assert scene.IsNodePresent(made)
        assert voxels(made).std() < voxels(volume).std()

    def test_vectors(self, scene, client):
        colours = np.random.default_rng(3).integers(0, 255, (*SHAPE, 3)).astype(np.uint8)
        volume = put(scene, colours, "colours", "Vector")
        output = runs.startVolume(client, volume, None, None, GAUSSIAN).wait()
        assert output.GetClassName() == "vtkMRMLVectorVolumeNode"
        assert voxels(output).shape == colours.shape
        assert voxels(output).std() < colours.std()


class TestSequences:
    @pytest.fixture
    def sequence(self, scene):
        sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "perfusion")
        sequence.SetIndexName("time")
        sequence.SetIndexUnit("s")
        for n, value in enumerate(("0", "1.5", "4.25")):
            node = image(scene, f"frame {n}", seed=n)
            node.SetAttribute("DICOM.instanceUIDs", "1.2.3")
            node.SetAttribute("kept", "yes")
            sequence.SetDataNodeAtValue(node, value)
            scene.RemoveNode(node)
        return sequence

    def test_sequence_in_sequence_out(self, scene, client, sequence):
        told = []
        run = runs.startSequence(client, sequence, None, None, None, GAUSSIAN)
        while run.poll():
            told.append(run.fraction)
        output = run.outputNode
        assert told == sorted(told)
        assert (output.GetIndexName(), output.GetIndexUnit(), output.GetIndexType()) == ("time", "s", 0)
        assert [output.GetNthIndexValue(n) for n in range(3)] == ["0", "1.5", "4.25"]
        for n in range(3):
            before, after = sequence.GetNthDataNode(n), output.GetNthDataNode(n)
            alone = runs.startVolume(client, image(scene, "alone", seed=n), None, None, GAUSSIAN).wait()
            assert np.array_equal(voxels(after), voxels(alone))
            assert np.array_equal(regions.ijkToWorld(after), regions.ijkToWorld(before))
            assert (after.GetAttribute("kept"), after.GetAttribute("DICOM.instanceUIDs")) == ("yes", None)
            assert '"classical/gaussian"' in after.GetAttribute("DLRecon.Provenance")
            assert before.GetAttribute("DICOM.instanceUIDs") == "1.2.3"

    def test_a_method_of_series_gets_all_items_at_once(self, scene, client, sequence):
        options = {"model": "classical/mppca", "judge": False}
        with pytest.raises(RuntimeError, match="series of 3 frames; wanted at least"):
            runs.startSequence(client, sequence, None, None, None, options).wait()
        for n, value in enumerate(("5", "6", "7", "8", "9"), 3):
            node = image(scene, f"frame {n}", seed=n)
            sequence.SetDataNodeAtValue(node, value)
            scene.RemoveNode(node)
        output = runs.startSequence(client, sequence, None, None, None, options).wait()
        assert output.GetNumberOfDataNodes() == 8
        before, after = sequence.GetNthDataNode(5), output.GetNthDataNode(5)
        assert voxels(after)[:, 12:].std() < 0.7 * voxels(before)[:, 12:].std()
        assert '"frames": 8' in after.GetAttribute("DLRecon.Provenance")

    def test_proxy_stands_for_its_sequence(self, scene, client, sequence):
        browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode")
        browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
        proxy = image(scene, "proxy")
        browser.AddProxyNode(proxy, sequence, False)
        assert sequences.sequenceOf(proxy) == (sequence, browser)
        output = runs.startSequence(client, sequence, browser, None, None, GAUSSIAN).wait()
        assert browser.IsSynchronizedSequenceNode(output, True)
        assert sequences.sequenceOf(output) == (output, browser)

    def test_broken_item_leaves_the_scene(self, scene, client, sequence):
        bad = put(scene, np.ones(SHAPE, np.float32), "constant")
        sequence.SetDataNodeAtValue(bad, "9")
        count = scene.GetNumberOfNodes()
        with pytest.raises(RuntimeError, match="constant"):
            runs.startSequence(client, sequence, None, None, None, GAUSSIAN).wait()
        assert scene.GetNumberOfNodes() == count
