"""Segments, label maps and ROI boxes as masks on the grid of a volume."""

import numpy as np
import slicer
import vtk


def maskOf(region, volumeNode):
    """Where the work is done: a DLReconLib Volume (k, j, i) uint8 on the grid of volumeNode, 1 inside.

    :param region: label map volume node, markups ROI node, or (segmentation node, segment ID).
    :param volumeNode: volume node; it may lie under another parent transform than the region.
    :raises TypeError: another kind of region.
    :raises ValueError: nothing of the region lies in the volume, an unknown segment, or a transform that is not linear.
    """
    from DLReconLib import mrml

    if isinstance(region, (tuple, list)) and len(region) == 2:
        inside, name = _segment(*region, volumeNode)
    elif hasattr(region, "IsA") and region.IsA("vtkMRMLMarkupsROINode"):
        inside, name = _box(region, volumeNode), region.GetName()
    elif hasattr(region, "IsA") and region.IsA("vtkMRMLLabelMapVolumeNode"):
        labels = slicer.util.arrayFromVolume(region)
        inside, name = _sampled(labels != 0, ijkToWorld(region), volumeNode), region.GetName()
    else:
        got = region.GetClassName() if hasattr(region, "GetClassName") else type(region).__name__
        raise TypeError(f"mask: {got}; wanted a label map volume node, an ROI node or (segmentation node, segment ID)")
    if not inside.any():
        raise ValueError(
            f"{name} and {volumeNode.GetName()} have no voxel in common; choose another region, or the whole image"
        )
    grid = mrml.volume_from_node(volumeNode)
    return type(grid)(inside.astype(np.uint8), grid.geometry)


def ijkToWorld(volumeNode):
    """4 x 4 array, voxel (i, j, k, 1) to RAS millimetres of the world: through the parent transforms."""
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    return parentToWorld(volumeNode) @ slicer.util.arrayFromVTKMatrix(matrix)


def parentToWorld(node):
    """4 x 4 array. Raises ValueError where a parent transform is not linear."""
    parent = node.GetParentTransformNode()
    if parent is None:
        return np.eye(4)
    matrix = vtk.vtkMatrix4x4()
    if not parent.IsTransformToWorldLinear():
        raise ValueError(f"{node.GetName()} lies under a transform that is not linear; harden it first")
    parent.GetMatrixTransformToWorld(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def _segment(segmentationNode, segmentID, volumeNode):
    if not (hasattr(segmentationNode, "IsA") and segmentationNode.IsA("vtkMRMLSegmentationNode")):
        raise TypeError(f"mask: ({type(segmentationNode).__name__}, ...); wanted (segmentation node, segment ID)")
    segment = segmentationNode.GetSegmentation().GetSegment(segmentID)
    if segment is None:
        known = ", ".join(segmentationNode.GetSegmentation().GetSegmentIDs()) or "none"
        raise ValueError(f"{segmentationNode.GetName()} has no segment {segmentID!r}; wanted one of: {known}")
    name = f"segment {segment.GetName()}"
    image = slicer.vtkOrientedImageData()
    found = segmentationNode.GetBinaryLabelmapRepresentation(segmentID, image)
    if not found:
        raise ValueError(f"{name} has no voxels; create its binary labelmap in the Segmentations module")
    scalars = image.GetPointData().GetScalars()
    if scalars is None or not scalars.GetNumberOfTuples():
        raise ValueError(f"{name} is empty; paint something, or choose another region")
    from vtk.util.numpy_support import vtk_to_numpy

    array = vtk_to_numpy(scalars).reshape(image.GetDimensions()[::-1])
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)  # of the segmentation's own space
    start = np.eye(4)
    start[:3, 3] = image.GetExtent()[::2]
    toWorld = parentToWorld(segmentationNode) @ slicer.util.arrayFromVTKMatrix(matrix) @ start
    return _sampled(array != 0, toWorld, volumeNode), name


def _sampled(inside, toWorld, volumeNode):
    """A boolean array (k, j, i) at the nearest voxel, on the grid of volumeNode; outside of it nothing is inside."""
    i, j, k = volumeNode.GetImageData().GetDimensions()
    matrix = np.linalg.inv(toWorld) @ ijkToWorld(volumeNode)
    if inside.shape == (k, j, i) and np.allclose(matrix, np.eye(4), atol=1e-4):
        return inside.copy()
    result = np.zeros((k, j, i), bool)
    limits = np.array(inside.shape[::-1])
    columns, rows = np.meshgrid(np.arange(i), np.arange(j))
    for n in range(k):  # slice by slice: three whole index arrays would need twelve times the image's memory
        places = matrix[:3, :3] @ np.stack([columns.ravel(), rows.ravel(), np.full(i * j, n)]) + matrix[:3, 3:]
        nearest = np.rint(places).astype(int)
        valid = np.all((nearest >= 0) & (nearest < limits[:, None]), axis=0)
        x, y, z = nearest[:, valid]
        result[n].reshape(-1)[valid] = inside[z, y, x]
    return result


def _box(roiNode, volumeNode):
    """The voxels whose centres lie in the box, which may be turned."""
    matrix = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Invert(roiNode.GetObjectToWorldMatrix(), matrix)
    toObject = slicer.util.arrayFromVTKMatrix(matrix) @ ijkToWorld(volumeNode)
    half = np.array(roiNode.GetSize()) / 2
    i, j, k = (np.arange(n, dtype=np.float64) for n in volumeNode.GetImageData().GetDimensions())
    inside = np.ones((len(k), len(j), len(i)), bool)
    for axis in range(3):
        a, b, c, d = toObject[axis]
        inside &= np.abs(a * i + b * j[:, None] + c * k[:, None, None] + d) <= half[axis] + 1e-6
    return inside
