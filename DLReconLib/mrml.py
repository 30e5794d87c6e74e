"""Nodes of a MRML scene <-> Volume: the only place that knows MRML, and where RAS and LPS meet.

MRML counts millimetres to the Right, Anterior and Superior, Volume to the Left, Posterior and Superior: x and y
change their signs here, once on the way in and once on the way out, and nowhere else.

A parent transform is not part of the Volume: it stays with the nodes. Call these functions in the main thread
only: Slicer crashes when another thread touches a node.
"""

import json
from typing import Any

import numpy as np

from DLReconLib.volume import Geometry, Volume

DICOM_INSTANCES = "DICOM.instanceUIDs"
MODALITY = "DICOM.Modality"
PROVENANCE = "DLRecon.Provenance"

# Roles of node references that have functions of their own, or that must not be shared with the input.
OWN_REFERENCES = ("display", "storage", "transform")
# VTK and MRML cannot hold these. Integers of 64 bits are treated apart: Slicer draws them wrongly.
CASTS = {np.dtype(bool): np.uint8, np.dtype(np.float16): np.float32, np.dtype(np.longdouble): np.float64}


def volume_from_node(node: Any) -> Volume:
    """A copy of the voxels and the grid of a scalar, label map or vector volume node; the scene stays as it is.

    array: (k, j, i), or (k, j, i, components) where the node has more than one component, of the node's own type.
    Vectors that MRML marks as spatial have their x and y turned to LPS like positions, as in an NRRD file.
    geometry: LPS, millimetres, without the parent transform.
    modality: the attribute DICOM.Modality of the node, else of its item in the subject hierarchy, else "".
    metadata: the node's attributes, text by name.

    Raises TypeError for any other class of node, ValueError where the node has no voxels or where its axes
    are not at right angles.
    """
    _require_volume_node(node, "input")
    image = node.GetImageData()
    scalars = image.GetPointData().GetScalars() if image is not None else None
    if scalars is None or scalars.GetNumberOfTuples() == 0:
        raise ValueError(f"{_named(node)} has no image data; wanted voxels; load an image or choose another node")
    from vtk.util.numpy_support import vtk_to_numpy

    i, j, k = image.GetDimensions()
    components = scalars.GetNumberOfComponents()
    shape = (k, j, i) if components == 1 else (k, j, i, components)
    array = np.array(vtk_to_numpy(scalars), order="C").reshape(shape)
    return Volume(
        _between_ras_and_lps(array, node.GetVoxelVectorType(), node),
        _geometry(node, image),
        modality=_modality(node),
        origin_format="node",
        metadata={name: node.GetAttribute(name) for name in node.GetAttributeNames()},
    )


def new_output_node(reference: Any, name: str) -> Any:
    """An empty volume node of the reference's class in the reference's scene; the name is made unique there.

    Call it when the result is whole: it changes the scene. Raises TypeError where the reference is no volume node,
    ValueError where it is in no scene.
    """
    _require_volume_node(reference, "reference")
    scene = reference.GetScene()
    if scene is None:
        raise ValueError(f"{_named(reference)} is in no scene; wanted one to add {name!r} to; add the node first")
    return scene.AddNewNodeByClass(reference.GetClassName(), scene.GetUniqueNameByString(name))


def write_to_node(
    volume: Volume,
    node: Any,
    reference: Any = None,
    *,
    rescaled: bool = False,
    provenance: dict[str, Any] | None = None,
) -> None:
    """Put a volume into an existing volume node, in one go: where an error is raised, nothing has changed.

    volume: array (k, j, i) or (k, j, i, components). The node gets its own deep copy; 64-bit integers become int32,
        or float64 where they do not fit; float16 becomes float32.
    node: a scalar or label map volume node for one component, a vector volume node for any number. Its name, its
        place on disk and, without a reference, its transform, display and attributes stay.
    reference: the node that the volume was made from. The output takes its parent transform, attributes, unit and
        quantity, further node references, colours, window, level and threshold, its study in the subject hierarchy
        and its modality there. Window and level are then fixed, so that both images can be compared by eye.
    rescaled: the values are spread otherwise than the reference's: window and level are computed anew (and follow
        the image), the threshold is off.
    provenance: how the volume came about, kept as JSON in the attribute DLRecon.Provenance; an older one is removed.

    DICOM.instanceUIDs is removed in every case: the node does not hold those instances' values any more.

    Raises TypeError for another class of node or a provenance that JSON cannot hold, ValueError where the volume
    does not suit the node or where the reference is not in the node's scene.
    """
    _require_volume_node(node, "output")
    if reference is not None:
        _require_volume_node(reference, "reference")
        if reference.GetScene() is not node.GetScene() or node.GetScene() is None:
            raise ValueError(f"{_named(node)} and the reference {_named(reference)} are not in one scene; add both")
    # All that can fail comes before the first change.
    text = None if provenance is None else json.dumps(provenance)
    vectors = (reference or node).GetVoxelVectorType()
    image = _image_data(_between_ras_and_lps(_storable(volume.array, node), vectors, node))
    other = reference if reference is not node else None

    was_modifying = node.StartModify()
    try:
        if other is not None:
            _copy_description(other, node)
        node.RemoveAttribute(DICOM_INSTANCES)
        if text is None:
            node.RemoveAttribute(PROVENANCE)
        else:
            node.SetAttribute(PROVENANCE, text)
        # The grid comes first: whoever hears of the new image must find it in its place.
        _set_geometry(node, volume.geometry)
        node.SetAndObserveImageData(image)
        if node.GetScene() is not None:
            _set_display(node, other, rescaled)
            if other is not None:
                _place_in_study(other, node)
    finally:
        node.EndModify(was_modifying)


def _named(node: Any) -> str:
    return f"{node.GetClassName()} {node.GetName() or node.GetID()!r}"


def _require_volume_node(node: Any, role: str) -> None:
    """Tensors, diffusion series and multi-volumes derive from the scalar volume, but their voxels mean other things."""
    plain = ("vtkMRMLScalarVolumeNode", "vtkMRMLLabelMapVolumeNode")
    is_node = hasattr(node, "GetVoxelVectorType")
    if not is_node or not (node.GetClassName() in plain or node.IsA("vtkMRMLVectorVolumeNode")):
        got = _named(node) if hasattr(node, "GetNodeTagName") else f"a {type(node).__name__}"
        raise TypeError(f"{role}: {got}; wanted a scalar, label map or vector volume node; choose another one")


def _between_ras_and_lps(array: np.ndarray, vector_type: int, node: Any) -> np.ndarray:
    """Turns x and y of spatial vectors (k, j, i, 3), either way; colours and scalars come back as they are."""
    spatial = (node.VoxelVectorTypeSpatial, node.VoxelVectorTypeSpatialCovariant)
    if vector_type not in spatial or array.ndim != 4 or array.shape[3] != 3:
        return array
    turned = array.copy()
    np.negative(turned[..., :2], out=turned[..., :2])
    return turned


def _geometry(node: Any, image: Any) -> Geometry:
    """The node's grid in LPS: its own numbers, not those of a matrix, so that nothing is lost by rounding."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASDirectionMatrix(matrix)
    # Adding zero turns -0.0 into 0.0.
    turn = np.array([-1.0, -1.0, 1.0])
    axes = np.array([[matrix.GetElement(row, column) for column in range(3)] for row in range(3)])
    axes = axes * turn[:, None] + 0.0
    origin = np.array(node.GetOrigin()) * turn + 0.0
    spacing = np.array(node.GetSpacing())
    # MRML lets an image begin at another index than 0: its first voxel lies there, not at the node's origin.
    start = np.array(image.GetExtent()[::2])
    if start.any():
        origin = origin + axes @ (spacing * start)
    try:
        if spacing.min() > 0 and np.allclose(np.linalg.norm(axes, axis=0), 1, atol=1e-3):
            return Geometry(tuple(spacing), tuple(origin), tuple(map(tuple, axes)))
        # MRML also holds negative spacings and axes of any length.
        return Geometry.from_matrix(np.column_stack([axes * spacing, origin]))
    except ValueError as error:
        raise ValueError(f"{_named(node)}: {error}") from error


def _set_geometry(node: Any, geometry: Geometry) -> None:
    turn = np.array([-1.0, -1.0, 1.0])
    node.SetSpacing(*geometry.spacing)
    node.SetOrigin(*(np.array(geometry.origin) * turn + 0.0).tolist())
    node.SetIJKToRASDirections(*(np.array(geometry.direction) * turn[:, None] + 0.0).ravel().tolist())


def _storable(array: np.ndarray, node: Any) -> np.ndarray:
    """The same values in a type and byte order that MRML can hold. Raises ValueError where the node cannot."""
    if array.size == 0:
        raise ValueError(f"{_named(node)}: the volume's shape is {array.shape}; wanted at least one voxel")
    components = array.shape[3] if array.ndim == 4 else 1
    if components > 1 and not node.IsA("vtkMRMLVectorVolumeNode"):
        raise ValueError(
            f"{_named(node)}: the volume has {components} components; wanted one; write it into a vector volume node"
        )
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8:
        limits = np.iinfo(np.int32)
        fits = limits.min <= array.min() and array.max() <= limits.max
        array = array.astype(np.int32 if fits else np.float64)
    native = array.dtype.newbyteorder("=")
    array = array.astype(CASTS.get(native, native), copy=False)
    if array.dtype.kind == "f" and node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise ValueError(
            f"{_named(node)}: the volume's values are {array.dtype}; wanted integers; round the labels, "
            "or write them into a scalar volume node"
        )
    return array


def _image_data(array: np.ndarray) -> Any:
    """A vtkImageData that owns its memory: VTK allocates, numpy only copies the values in."""
    import vtk
    from vtk.util.numpy_support import get_vtk_array_type, vtk_to_numpy

    k, j, i = array.shape[:3]
    image = vtk.vtkImageData()
    image.SetDimensions(i, j, k)
    image.AllocateScalars(get_vtk_array_type(array.dtype), array.shape[3] if array.ndim == 4 else 1)
    vtk_to_numpy(image.GetPointData().GetScalars()).reshape(array.shape)[...] = array
    return image


def _modality(node: Any) -> str:
    """DICOM import writes the modality on the item, not on the node."""
    hierarchy, item = _item(node)
    of_item = hierarchy.GetItemAttribute(item, MODALITY) if hierarchy is not None else ""
    return node.GetAttribute(MODALITY) or of_item or ""


def _item(node: Any) -> tuple[Any, int]:
    """The subject hierarchy and the node's item in it; (None, 0) where there is none.

    Looks the hierarchy up by class: asking the scene for it would create it.
    """
    scene = node.GetScene()
    hierarchy = scene.GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode") if scene is not None else None
    item = hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0
    return (hierarchy, item) if item else (None, 0)


def _place_in_study(reference: Any, node: Any) -> None:
    """The node's item beside the reference's, with its modality (DICOM export takes CT where none is given)."""
    hierarchy, item = _item(reference)
    if hierarchy is None:
        return
    # Moves the node's item where it has one already.
    own_item = hierarchy.CreateItem(hierarchy.GetItemParent(item), node)
    modality = hierarchy.GetItemAttribute(item, MODALITY)
    if modality:
        hierarchy.SetItemAttribute(own_item, MODALITY, modality)


def _copy_description(reference: Any, node: Any) -> None:
    """Parent transform, attributes, unit, quantity, kind of vectors and node references of the reference."""
    node.SetAndObserveTransformNodeID(reference.GetTransformNodeID())
    node.SetVoxelVectorType(reference.GetVoxelVectorType())
    for name in reference.GetAttributeNames():
        node.SetAttribute(name, reference.GetAttribute(name))
    for what in ("VoxelValueQuantity", "VoxelValueUnits"):
        entry = getattr(reference, f"Get{what}")()
        copied = entry.NewInstance() if entry is not None else None
        if copied is not None:
            copied.Copy(entry)
        getattr(node, f"Set{what}")(copied)
    for role in [reference.GetNthNodeReferenceRole(n) for n in range(reference.GetNumberOfNodeReferenceRoles())]:
        if role not in OWN_REFERENCES:
            node.RemoveNodeReferenceIDs(role)
            for n in range(reference.GetNumberOfNodeReferences(role)):
                node.AddNodeReferenceID(role, reference.GetNthNodeReferenceID(role, n))


def _set_display(node: Any, reference: Any, rescaled: bool) -> None:
    """A display node where there is none, with the reference's settings where there is a reference."""
    source = reference.GetDisplayNode() if reference is not None else None
    if source is not None and node.GetDisplayNode() is source:
        # A shared display node would drag the input's window along.
        node.SetAndObserveDisplayNodeID(None)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    alike = source is not None and source.IsA(display.GetClassName())
    has_window = display.IsA("vtkMRMLScalarVolumeDisplayNode")
    was_modifying = display.StartModify()
    try:
        if alike:
            display.CopyContent(source)
            # CopyContent copies the colours, and connects the source's image, too.
            display.SetInputImageDataConnection(node.GetImageDataConnection())
        if has_window and rescaled:
            display.SetAutoWindowLevel(True)
            display.SetAutoThreshold(True)
            display.SetApplyThreshold(False)
        elif has_window and alike:
            display.SetAutoWindowLevel(False)
            display.SetAutoThreshold(False)
            display.SetWindowLevel(source.GetWindow(), source.GetLevel())
            display.SetThreshold(source.GetLowerThreshold(), source.GetUpperThreshold())
    finally:
        display.EndModify(was_modifying)
