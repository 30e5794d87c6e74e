"""Nodes <-> Volume on Slicer's real MRML classes (PyPI's slicer-core), without an application."""

import gc
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

REASON = "needs Slicer's MRML classes: pip install slicer-core"
slicer = pytest.importorskip("slicer", reason=REASON)
pytest.importorskip("slicer_core", reason=REASON)
vtk = pytest.importorskip("vtk", reason=REASON)
sitk = pytest.importorskip("SimpleITK", reason="writes the files that MRML's storage nodes read")

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from DLReconLib import io, mrml  # noqa: E402
from DLReconLib.volume import Geometry, Volume  # noqa: E402

SHAPE = (4, 6, 5)  # (k, j, i): three different numbers, so that a swapped axis shows


def rotation(x: float, y: float, z: float) -> np.ndarray:
    """3 x 3 from three angles in radians."""
    (a, b, c), (d, e, f) = np.cos([x, y, z]), np.sin([x, y, z])
    about_x = np.array([[1, 0, 0], [0, a, -d], [0, d, a]])
    about_y = np.array([[b, 0, e], [0, 1, 0], [-e, 0, b]])
    about_z = np.array([[c, -f, 0], [f, c, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def as_tuples(matrix: np.ndarray) -> tuple:
    return tuple(map(tuple, matrix.tolist()))


OBLIQUE = Geometry((0.7, 0.9, 2.5), (-120.3, 44.1, 1034.9), as_tuples(rotation(0.3, -0.5, 1.1)))


@pytest.fixture
def scene():
    """A scene as an application sets it up: colour nodes, default displays, a subject hierarchy."""
    scene = slicer.vtkMRMLScene()
    colors = slicer.vtkMRMLColorLogic()
    colors.SetMRMLScene(scene)
    slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    yield scene
    colors.SetMRMLScene(None)
    scene.Clear(True)


def values(shape=SHAPE, dtype=np.int16) -> np.ndarray:
    return (np.arange(np.prod(shape)) - 40).astype(dtype).reshape(shape)


def add(scene, kind="Scalar", name="input"):
    return scene.AddNewNodeByClass(f"vtkMRML{kind}VolumeNode", name)


def filled(scene, volume=None, kind="Scalar", name="input"):
    """An input node, made without mrml.write_to_node's reference."""
    node = add(scene, kind, name)
    mrml.write_to_node(volume or Volume(values(), OBLIQUE), node)
    return node


def ijk_to_ras(node) -> np.ndarray:
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def voxels(node) -> np.ndarray:
    return slicer.util.arrayFromVolume(node)


def state(node) -> tuple:
    """Everything that a failed write could have changed."""
    return (
        ijk_to_ras(node).tolist(),
        node.GetImageData(),
        None if node.GetImageData() is None else voxels(node).tobytes(),
        {name: node.GetAttribute(name) for name in node.GetAttributeNames()},
        node.GetTransformNodeID(),
        node.GetDisplayNodeID(),
        node.GetVoxelValueUnits(),
        node.GetMTime(),
        node.GetScene().GetNumberOfNodes(),
    )


def code(text: str):
    entry = slicer.vtkCodedEntry()
    entry.SetValueSchemeMeaning(text, "UCUM", text)
    return entry


class TestGeometry:
    def test_oblique_grid_there_and_back_exactly(self, scene):
        node = filled(scene)
        assert mrml.volume_from_node(node).geometry == OBLIQUE
        copy = add(scene, name="copy")
        mrml.write_to_node(mrml.volume_from_node(node), copy)
        assert np.array_equal(ijk_to_ras(copy), ijk_to_ras(node))
        assert node.GetImageData().GetDimensions() == SHAPE[::-1]

    def test_grid_set_by_slicer_there_and_back_exactly(self, scene):
        matrix = np.eye(4)
        matrix[:3, :3] = rotation(-0.2, 0.4, 0.9) * [0.41, 1.3, 3.7]
        matrix[:3, 3] = [10.1, -20.2, 30.3]
        node, copy = filled(scene), add(scene, name="copy")
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
        mrml.write_to_node(mrml.volume_from_node(node), copy)
        assert np.array_equal(ijk_to_ras(copy), ijk_to_ras(node))

    def test_ras_is_lps_with_x_and_y_turned(self, scene):
        node = filled(scene)
        assert np.allclose(ijk_to_ras(node), np.diag([-1, -1, 1, 1]) @ OBLIQUE.matrix(), rtol=0, atol=1e-13)

    @given(
        angles=st.tuples(*[st.floats(-3, 3)] * 3),
        spacing=st.tuples(*[st.floats(1e-3, 50)] * 3),
        origin=st.tuples(*[st.floats(-2000, 2000)] * 3),
        mirrored=st.booleans(),
    )
    @settings(max_examples=50, deadline=None)
    def test_any_grid_there_and_back(self, angles, spacing, origin, mirrored):
        direction = rotation(*angles) * ([1, 1, -1] if mirrored else [1, 1, 1])
        geometry = Geometry(spacing, origin, as_tuples(direction))
        node = slicer.vtkMRMLScalarVolumeNode()
        mrml.write_to_node(Volume(values(), geometry), node)
        # MRML leaves a number alone that it takes for the same one: a difference of 2e-16.
        assert np.allclose(mrml.volume_from_node(node).geometry.matrix(), geometry.matrix(), rtol=0, atol=1e-13)

    def test_negative_spacing_is_a_turned_axis(self, scene):
        node = filled(scene)
        node.SetSpacing(0.7, -0.9, 2.5)
        geometry = mrml.volume_from_node(node).geometry
        assert np.allclose(geometry.spacing, OBLIQUE.spacing)
        assert np.allclose(np.diag([-1, -1, 1, 1]) @ geometry.matrix(), ijk_to_ras(node))

    def test_image_that_begins_at_another_index(self, scene):
        node = filled(scene)
        crop = vtk.vtkExtractVOI()
        crop.SetInputData(node.GetImageData())
        crop.SetVOI(2, 4, 1, 5, 1, 3)
        crop.Update()
        node.SetAndObserveImageData(crop.GetOutput())
        volume = mrml.volume_from_node(node)
        assert np.array_equal(volume.array, values()[1:4, 1:6, 2:5])
        assert np.allclose(volume.geometry.origin, (OBLIQUE.matrix() @ [2, 1, 1, 1])[:3])

    def test_sheared_axes_are_refused(self, scene):
        node = filled(scene)
        sheared = ijk_to_ras(node)
        sheared[:3, 2] += 0.2 * sheared[:3, 1]
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(sheared))
        with pytest.raises(ValueError, match=r"input.*not orthogonal"):
            mrml.volume_from_node(node)


class TestAgainstFiles:
    """The same voxel must lie at the same place of the patient through a file as through a node."""

    @staticmethod
    def image(array: np.ndarray, geometry: Geometry, vector=False):
        image = sitk.GetImageFromArray(array, isVector=vector)
        image.SetSpacing(geometry.spacing)
        image.SetOrigin(geometry.origin)
        image.SetDirection(np.ravel(geometry.direction).tolist())
        return image

    @staticmethod
    def load(scene, path, kind="Scalar"):
        node = add(scene, kind, "loaded")
        storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
        storage.SetFileName(str(path))
        assert storage.ReadData(node) == 1
        return node

    @staticmethod
    def same_values_at_same_places(volume, image):
        """The storage node may turn an axis to make the indices right-handed: compare by position."""
        for k, j, i in np.ndindex(volume.array.shape[:3]):
            position = volume.geometry.matrix() @ [i, j, k, 1]
            index = image.TransformPhysicalPointToContinuousIndex(position[:3].tolist())
            assert np.allclose(index, np.round(index), atol=1e-4)
            there = image.GetPixel([round(n) for n in index])
            assert np.array_equal(volume.array[k, j, i], np.array(there, volume.array.dtype))

    @pytest.mark.parametrize("ending", ["nrrd", "mha", "nii.gz"])
    @pytest.mark.parametrize("mirrored", [False, True])
    def test_file_read_by_mrml(self, scene, tmp_path, ending, mirrored):
        direction = np.array(OBLIQUE.direction) * ([1, 1, -1] if mirrored else [1, 1, 1])
        image = self.image(values(), Geometry(OBLIQUE.spacing, OBLIQUE.origin, as_tuples(direction)))
        path = tmp_path / f"volume.{ending}"
        sitk.WriteImage(image, str(path))
        self.same_values_at_same_places(mrml.volume_from_node(self.load(scene, path)), image)

    @pytest.mark.parametrize("ending", ["nrrd", "mha", "nii.gz"])
    def test_the_door_of_files_agrees(self, scene, tmp_path, ending):
        """A file through DLReconLib.io and the same file through Slicer are the same Volume."""
        path = tmp_path / f"volume.{ending}"
        io.write_volume(Volume(values(), OBLIQUE), path)
        ours, slicers = io.read_volume(path), mrml.volume_from_node(self.load(scene, path))
        assert np.array_equal(ours.array, slicers.array)
        assert slicers.geometry.matches(ours.geometry)

    def test_file_written_by_mrml(self, scene, tmp_path):
        node = filled(scene)
        storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
        storage.SetFileName(str(tmp_path / "out.nrrd"))
        assert storage.WriteData(node) == 1
        self.same_values_at_same_places(Volume(values(), OBLIQUE), sitk.ReadImage(str(tmp_path / "out.nrrd")))

    def test_spatial_vectors_are_turned_like_positions(self, scene, tmp_path):
        """As a file of spatial vectors keeps them: Slicer's own NRRD writer is the judge."""
        node = add(scene, "Vector")
        node.SetVoxelVectorType(node.VoxelVectorTypeSpatial)
        volume = Volume(values((*SHAPE, 3), np.float32), OBLIQUE)
        mrml.write_to_node(volume, node)
        assert np.array_equal(voxels(node), volume.array * np.float32([-1, -1, 1]))
        assert np.array_equal(mrml.volume_from_node(node).array, volume.array)
        storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
        storage.SetFileName(str(tmp_path / "vectors.nrrd"))
        assert storage.WriteData(node) == 1
        self.same_values_at_same_places(volume, sitk.ReadImage(str(tmp_path / "vectors.nrrd")))
        loaded = self.load(scene, tmp_path / "vectors.nrrd", "Vector")
        assert loaded.GetVoxelVectorType() == node.VoxelVectorTypeSpatial
        assert np.array_equal(mrml.volume_from_node(loaded).array, volume.array)

    def test_colour_file(self, scene, tmp_path):
        image = self.image(np.arange(4 * 6 * 5 * 3, dtype=np.uint8).reshape(*SHAPE, 3), OBLIQUE, vector=True)
        sitk.WriteImage(image, str(tmp_path / "colour.nrrd"))
        volume = mrml.volume_from_node(self.load(scene, tmp_path / "colour.nrrd", "Vector"))
        assert volume.components == 3
        self.same_values_at_same_places(volume, image)


class TestValues:
    def test_array_is_a_copy(self, scene):
        node = filled(scene)
        volume = mrml.volume_from_node(node)
        volume.array[...] = 7
        assert np.array_equal(voxels(node), values())
        voxels(node)[...] = 9
        assert (volume.array == 7).all()

    def test_node_owns_its_memory(self, scene):
        node = add(scene)
        array = values()
        mrml.write_to_node(Volume(array, OBLIQUE), node)
        array[...] = 1
        assert np.array_equal(voxels(node), values())
        del array
        gc.collect()
        filler = [np.full(SHAPE, 99, np.int16) for _ in range(200)]
        assert np.array_equal(voxels(node), values())
        assert len(filler) == 200

    def test_volume_outlives_the_node(self, scene):
        node = filled(scene)
        volume = mrml.volume_from_node(node)
        scene.RemoveNode(node)
        del node
        gc.collect()
        assert np.array_equal(volume.array, values())

    @pytest.mark.parametrize("layout", ["transposed", "strided", "big-endian", "fortran"])
    def test_any_layout_in_memory(self, scene, layout):
        plain = values(dtype=np.float32)
        array = {
            "transposed": np.ascontiguousarray(plain.T).T,
            "strided": np.repeat(plain, 2, axis=2)[:, :, ::2],
            "big-endian": plain.astype(">f4"),
            "fortran": np.asfortranarray(plain),
        }[layout]
        node = add(scene)
        mrml.write_to_node(Volume(array, OBLIQUE), node)
        assert np.array_equal(voxels(node), plain)

    @pytest.mark.parametrize(
        ("dtype", "wanted"),
        [
            *[(kind, kind) for kind in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")],
            ("int64", "int32"),
            ("uint64", "int32"),
            ("float16", "float32"),
            ("longdouble", "float64"),
        ],
    )
    def test_types(self, scene, dtype, wanted):
        array = np.arange(np.prod(SHAPE)).astype(dtype).reshape(SHAPE)
        node = add(scene)
        mrml.write_to_node(Volume(array, OBLIQUE), node)
        assert voxels(node).dtype == wanted
        assert np.array_equal(voxels(node), array)
        assert mrml.volume_from_node(node).array.dtype == wanted

    @pytest.mark.parametrize("value", [2**31, -(2**31) - 1, 2**52])
    def test_large_integers_become_real_numbers(self, scene, value):
        array = np.zeros(SHAPE, np.int64)
        array[1, 2, 3] = value
        node = add(scene)
        mrml.write_to_node(Volume(array, OBLIQUE), node)
        assert voxels(node).dtype == np.float64
        assert voxels(node)[1, 2, 3] == value

    def test_one_slice(self, scene):
        node = filled(scene, Volume(values((1, 6, 5)), OBLIQUE))
        assert np.array_equal(mrml.volume_from_node(node).array, values((1, 6, 5)))

    @pytest.mark.parametrize("components", [2, 3, 4])
    def test_components_last(self, scene, components):
        volume = Volume(values((*SHAPE, components), np.uint8), OBLIQUE)
        node = filled(scene, volume, "Vector")
        assert node.GetImageData().GetNumberOfScalarComponents() == components
        assert np.array_equal(voxels(node), volume.array)
        assert np.array_equal(mrml.volume_from_node(node).array, volume.array)

    def test_one_component_is_a_scalar(self, scene):
        node = filled(scene, Volume(values((*SHAPE, 1)), OBLIQUE))
        assert mrml.volume_from_node(node).array.shape == SHAPE

    def test_label_map(self, scene):
        labels = Volume(np.arange(np.prod(SHAPE)).reshape(SHAPE) % 4, OBLIQUE)
        node = filled(scene, labels, "LabelMap")
        assert np.array_equal(mrml.volume_from_node(node).array, labels.array)
        output = mrml.new_output_node(node, "labels out")
        mrml.write_to_node(labels, output, node)
        assert output.GetClassName() == "vtkMRMLLabelMapVolumeNode"
        assert output.GetDisplayNode().GetColorNodeID() == node.GetDisplayNode().GetColorNodeID()
        assert voxels(output).dtype == np.int32


class TestReading:
    def test_attributes_and_modality(self, scene):
        node = filled(scene)
        node.SetAttribute("DICOM.Modality", "MR")
        node.SetAttribute("Patient", "Ålice; 7")
        volume = mrml.volume_from_node(node)
        assert (volume.modality, volume.origin_format) == ("MR", "node")
        assert volume.metadata == {"DICOM.Modality": "MR", "Patient": "Ålice; 7"}

    def test_modality_of_the_item(self, scene):
        node = filled(scene)
        assert mrml.volume_from_node(node).modality == ""
        hierarchy = scene.GetSubjectHierarchyNode()
        item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
        hierarchy.SetItemAttribute(item, "DICOM.Modality", "CT")
        assert mrml.volume_from_node(node).modality == "CT"

    def test_leaves_the_scene_alone(self):
        scene = slicer.vtkMRMLScene()
        node = filled(scene)
        before = state(node)
        mrml.volume_from_node(node)
        assert state(node) == before

    def test_parent_transform_is_not_in_the_volume(self, scene):
        node = filled(scene)
        parent = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        parent.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.diag([2.0, 2, 2, 1])))
        node.SetAndObserveTransformNodeID(parent.GetID())
        assert mrml.volume_from_node(node).geometry == OBLIQUE

    def test_no_voxels(self, scene):
        with pytest.raises(ValueError, match="vtkMRMLScalarVolumeNode 'input' has no image data"):
            mrml.volume_from_node(add(scene))
        node = add(scene)
        node.SetAndObserveImageData(vtk.vtkImageData())
        with pytest.raises(ValueError, match="has no image data"):
            mrml.volume_from_node(node)

    @pytest.mark.parametrize(
        "kind", ["vtkMRMLModelNode", "vtkMRMLDiffusionTensorVolumeNode", "vtkMRMLDiffusionWeightedVolumeNode"]
    )
    def test_other_nodes(self, scene, kind):
        node = scene.AddNewNodeByClass(kind, "thing")
        for call in (mrml.volume_from_node, lambda n: mrml.new_output_node(n, "x")):
            with pytest.raises(TypeError, match=f"{kind} 'thing'; wanted"):
                call(node)

    @pytest.mark.parametrize("thing", [None, "vtkMRMLScalarVolumeNode1", np.zeros(SHAPE)])
    def test_no_node(self, thing):
        with pytest.raises(TypeError, match=r"input: .*wanted a scalar, label map or vector volume node"):
            mrml.volume_from_node(thing)


class TestOutput:
    @pytest.fixture
    def source(self, scene):
        """A CT as DICOM import leaves it: acquisition transform, study, unit, instance UIDs; coloured by the user."""
        node = filled(scene, Volume(values(), OBLIQUE), name="CT")
        transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "acquisition")
        node.SetAndObserveTransformNodeID(transform.GetID())
        for name, value in {"DICOM.instanceUIDs": "1.2.3 1.2.4", "DICOM.Modality": "CT", "mine": "kept"}.items():
            node.SetAttribute(name, value)
        node.SetVoxelValueUnits(code("[hnsf'U]"))
        node.SetVoxelValueQuantity(code("112031"))
        node.AddNodeReferenceID("planning", transform.GetID())
        storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
        node.SetAndObserveStorageNodeID(storage.GetID())
        display = node.GetDisplayNode()
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(350, 40)
        display.SetThreshold(-10, 30)
        display.SetApplyThreshold(True)
        display.SetInterpolate(False)
        display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeRainbow")
        hierarchy = scene.GetSubjectHierarchyNode()
        patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "patient")
        study = hierarchy.CreateStudyItem(patient, "study")
        item = hierarchy.CreateItem(study, node)
        hierarchy.SetItemAttribute(item, "DICOM.Modality", "CT")
        hierarchy.SetItemUID(item, "DICOM", "1.2.840.1")
        return node

    @pytest.fixture
    def output(self, source):
        node = mrml.new_output_node(source, "CT denoised")
        mrml.write_to_node(Volume(values(dtype=np.float32) / 2, OBLIQUE), node, source)
        return node

    def test_new_node(self, source):
        scene = source.GetScene()
        first, second = mrml.new_output_node(source, "CT"), mrml.new_output_node(source, "CT")
        assert len({source.GetName(), first.GetName(), second.GetName()}) == 3
        assert first.GetScene() is scene
        assert first.GetImageData() is None
        colour = add(scene, "Vector", "colour")
        assert mrml.new_output_node(colour, "x").GetClassName() == "vtkMRMLVectorVolumeNode"
        with pytest.raises(ValueError, match="in no scene"):
            mrml.new_output_node(slicer.vtkMRMLScalarVolumeNode(), "x")

    def test_voxels_and_grid(self, source, output):
        assert np.array_equal(voxels(output), values(dtype=np.float32) / 2)
        assert np.array_equal(ijk_to_ras(output), ijk_to_ras(source))
        assert np.array_equal(voxels(source), values())

    def test_grid_of_another_resolution(self, source):
        node = mrml.new_output_node(source, "finer")
        finer = OBLIQUE.resampled(SHAPE[::-1], (10, 12, 8))
        mrml.write_to_node(Volume(values((8, 12, 10)), finer), node, source)
        assert mrml.volume_from_node(node).geometry == finer
        inner, outer = [0] * 6, [0] * 6
        node.GetRASBounds(inner), source.GetRASBounds(outer)
        assert np.allclose(inner, outer)

    def test_parent_transform_kept(self, source, output):
        assert output.GetTransformNodeID() == source.GetTransformNodeID() is not None
        source.SetAndObserveTransformNodeID(None)
        mrml.write_to_node(mrml.volume_from_node(source), output, source)
        assert output.GetTransformNodeID() is None

    def test_attributes_without_the_instances(self, source, output):
        assert output.GetAttribute("mine") == "kept"
        assert output.GetAttribute("DICOM.Modality") == "CT"
        assert output.GetAttribute("DICOM.instanceUIDs") is None
        assert source.GetAttribute("DICOM.instanceUIDs") == "1.2.3 1.2.4"

    def test_instances_of_an_overwritten_node_go(self, scene, source):
        clone = add(scene, name="loaded from DICOM")
        clone.SetAttribute("DICOM.instanceUIDs", "9.9")
        mrml.write_to_node(Volume(values()), clone)
        assert clone.GetAttribute("DICOM.instanceUIDs") is None

    def test_unit_and_quantity(self, source, output):
        assert output.GetVoxelValueUnits().GetCodeValue() == "[hnsf'U]"
        assert output.GetVoxelValueQuantity().GetCodeValue() == "112031"
        source.GetVoxelValueUnits().SetCodeValue("changed")
        assert output.GetVoxelValueUnits().GetCodeValue() == "[hnsf'U]"

    def test_node_references(self, source, output):
        assert output.GetNodeReferenceID("planning") == source.GetNodeReferenceID("planning") is not None
        assert output.GetStorageNodeID() is None
        mrml.write_to_node(mrml.volume_from_node(source), output, source)
        assert output.GetNumberOfNodeReferences("planning") == 1

    def test_window_threshold_and_colour(self, source, output):
        display = output.GetDisplayNode()
        assert display is not source.GetDisplayNode()
        assert (display.GetWindow(), display.GetLevel(), display.GetAutoWindowLevel()) == (350, 40, 0)
        assert (display.GetLowerThreshold(), display.GetUpperThreshold()) == (-10, 30)
        assert (display.GetApplyThreshold(), display.GetInterpolate()) == (1, 0)
        assert display.GetColorNodeID() == "vtkMRMLColorTableNodeRainbow"
        assert display.GetInputImageData() is output.GetImageData()
        assert source.GetDisplayNode().GetInputImageData() is source.GetImageData()

    def test_automatic_window_is_fixed_to_compare(self, source):
        source.GetDisplayNode().SetAutoWindowLevel(True)
        window, level = source.GetDisplayNode().GetWindow(), source.GetDisplayNode().GetLevel()
        node = mrml.new_output_node(source, "x")
        mrml.write_to_node(Volume(values() * 3, OBLIQUE), node, source)
        assert (node.GetDisplayNode().GetWindow(), node.GetDisplayNode().GetLevel()) == (window, level)
        assert source.GetDisplayNode().GetAutoWindowLevel()

    def test_rescaled_window_is_computed(self, source):
        node = mrml.new_output_node(source, "x")
        array = np.linspace(0, 1, np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
        mrml.write_to_node(Volume(array, OBLIQUE), node, source, rescaled=True)
        display = node.GetDisplayNode()
        assert display.GetWindow() == pytest.approx(1, abs=0.02)
        assert display.GetLevel() == pytest.approx(0.5, abs=0.02)
        assert not display.GetApplyThreshold()
        assert display.GetColorNodeID() == "vtkMRMLColorTableNodeRainbow"
        assert source.GetDisplayNode().GetWindow() == 350

    def test_display_is_made_where_there_is_none(self, scene):
        bare = add(scene)
        bare.SetAndObserveImageData(vtk.vtkImageData())
        node = add(scene, name="x")
        mrml.write_to_node(Volume(values(), OBLIQUE), node, bare)
        display = node.GetDisplayNode()
        assert display.GetColorNodeID() == "vtkMRMLColorTableNodeGrey"
        assert display.GetWindow() == pytest.approx(values().max() - values().min(), rel=0.05)

    def test_shared_display_is_parted(self, source):
        node = mrml.new_output_node(source, "x")
        node.SetAndObserveDisplayNodeID(source.GetDisplayNodeID())
        mrml.write_to_node(Volume(values() * 9, OBLIQUE), node, source, rescaled=True)
        assert node.GetDisplayNodeID() != source.GetDisplayNodeID()
        assert source.GetDisplayNode().GetWindow() == 350

    def test_colour_volume(self, scene):
        colour = filled(scene, Volume(values((*SHAPE, 3), np.uint8), OBLIQUE), "Vector", "photo")
        colour.SetVoxelVectorType(colour.VoxelVectorTypeColorRGB)
        node = mrml.new_output_node(colour, "x")
        mrml.write_to_node(mrml.volume_from_node(colour), node, colour)
        assert np.array_equal(voxels(node), voxels(colour))
        assert node.GetVoxelVectorType() == colour.VoxelVectorTypeColorRGB
        assert node.GetDisplayNode().GetClassName() == "vtkMRMLVectorVolumeDisplayNode"

    def test_study(self, source, output):
        hierarchy = source.GetScene().GetSubjectHierarchyNode()
        item, own = hierarchy.GetItemByDataNode(source), hierarchy.GetItemByDataNode(output)
        assert hierarchy.GetItemParent(own) == hierarchy.GetItemParent(item)
        assert hierarchy.GetItemLevel(hierarchy.GetItemParent(own)) == "Study"
        assert hierarchy.GetItemAttribute(own, "DICOM.Modality") == "CT"
        assert hierarchy.GetItemUID(own, "DICOM") == ""

    def test_item_that_is_there_already_moves(self, source):
        hierarchy = source.GetScene().GetSubjectHierarchyNode()
        node = mrml.new_output_node(source, "x")
        item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
        mrml.write_to_node(mrml.volume_from_node(source), node, source)
        assert hierarchy.GetItemByDataNode(node) == item
        parent = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(source))
        assert hierarchy.GetItemParent(item) == parent

    def test_provenance(self, source):
        node = mrml.new_output_node(source, "x")
        record = {"model": "mr-denoise", "note": 'ü "quoted"; a:b <c> & %20\n', "seconds": 1.5}
        mrml.write_to_node(mrml.volume_from_node(source), node, source, provenance=record)
        assert json.loads(node.GetAttribute("DLRecon.Provenance")) == record
        # It must live through saving the scene.
        scene = source.GetScene()
        scene.SetSaveToXMLString(1)
        scene.Commit()
        loaded = slicer.vtkMRMLScene()
        loaded.SetLoadFromXMLString(1)
        loaded.SetSceneXMLString(scene.GetSceneXMLString())
        loaded.Import()
        assert json.loads(loaded.GetFirstNodeByName("x").GetAttribute("DLRecon.Provenance")) == record

    def test_provenance_of_other_voxels_goes(self, source):
        source.SetAttribute("DLRecon.Provenance", "{}")
        node = mrml.new_output_node(source, "x")
        mrml.write_to_node(mrml.volume_from_node(source), node, source)
        assert node.GetAttribute("DLRecon.Provenance") is None

    def test_written_twice(self, source, output):
        scene, display = source.GetScene(), output.GetDisplayNodeID()
        count = scene.GetNumberOfNodes()
        second = Volume(values((3, 2, 7)), Geometry((2.0, 2.0, 2.0)))
        mrml.write_to_node(second, output, source)
        assert scene.GetNumberOfNodes() == count
        assert output.GetDisplayNodeID() == display
        assert np.array_equal(voxels(output), second.array)
        assert mrml.volume_from_node(output).geometry == second.geometry

    def test_onto_the_input_itself(self, source):
        mrml.write_to_node(Volume(values() + 1, OBLIQUE), source, source)
        assert np.array_equal(voxels(source), values() + 1)
        assert source.GetAttribute("mine") == "kept"
        assert source.GetAttribute("DICOM.instanceUIDs") is None
        assert source.GetDisplayNode().GetWindow() == 350
        assert source.GetVoxelValueUnits().GetCodeValue() == "[hnsf'U]"

    def test_who_hears_of_the_image_finds_the_new_grid(self, source):
        node = mrml.new_output_node(source, "x")
        heard = []

        def listen(caller, event):
            heard.append((ijk_to_ras(node).tolist(), voxels(node).shape))

        node.AddObserver(slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent, listen)
        node.AddObserver(vtk.vtkCommand.ModifiedEvent, listen)
        mrml.write_to_node(Volume(values(), OBLIQUE), node, source)
        assert heard
        assert all(one == (ijk_to_ras(node).tolist(), SHAPE) for one in heard)

    def test_node_without_a_scene(self):
        node = slicer.vtkMRMLScalarVolumeNode()
        mrml.write_to_node(Volume(values(), OBLIQUE), node)
        assert np.array_equal(mrml.volume_from_node(node).array, values())


class TestFailure:
    """A refused volume leaves node and scene as they were."""

    @pytest.mark.parametrize(
        ("kind", "array", "message"),
        [
            ("Scalar", np.zeros((*SHAPE, 3), np.uint8), "3 components; wanted one"),
            ("LabelMap", np.zeros(SHAPE, np.float32), "float32; wanted integers"),
            ("LabelMap", np.full(SHAPE, 2**40), "float64; wanted integers"),
            ("Scalar", np.zeros((0, 6, 5), np.int16), "at least one voxel"),
        ],
    )
    def test_volume_that_does_not_suit(self, scene, kind, array, message):
        node = filled(scene, kind=kind)
        reference = filled(scene, kind=kind, name="reference")
        reference.SetAttribute("new", "value")
        before = state(node)
        with pytest.raises(ValueError, match=f"vtkMRML{kind}VolumeNode 'input'.*{message}"):
            mrml.write_to_node(Volume(array, Geometry()), node, reference)
        assert state(node) == before

    def test_provenance_that_is_no_json(self, scene):
        node = filled(scene)
        before = state(node)
        with pytest.raises(TypeError):
            mrml.write_to_node(Volume(values() + 1), node, provenance={"model": object()})
        assert state(node) == before

    def test_reference_of_another_kind_or_scene(self, scene):
        node = filled(scene)
        before = state(node)
        with pytest.raises(TypeError, match="reference: vtkMRMLModelNode"):
            mrml.write_to_node(Volume(values() + 1), node, scene.AddNewNodeByClass("vtkMRMLModelNode"))
        scene.RemoveNode(scene.GetFirstNodeByClass("vtkMRMLModelNode"))
        elsewhere = slicer.vtkMRMLScene()
        with pytest.raises(ValueError, match="not in one scene"):
            mrml.write_to_node(Volume(values() + 1), node, filled(elsewhere))
        assert state(node) == before

    def test_output_of_another_kind(self, scene):
        with pytest.raises(TypeError, match="output: vtkMRMLModelNode"):
            mrml.write_to_node(Volume(values()), scene.AddNewNodeByClass("vtkMRMLModelNode"))


def test_import_loads_neither_vtk_nor_slicer():
    """The library's modules can be imported where there is no Slicer."""
    import subprocess

    code = (
        "import sys; import DLReconLib.mrml; assert not {'vtk', 'slicer', 'torch', 'SimpleITK'} & set(sys.modules), "
        "sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[2], timeout=60)
