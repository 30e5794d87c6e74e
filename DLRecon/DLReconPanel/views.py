"""What the slice views show: the result over the input, faded, flickering; further nodes made from a result."""

import json

import numpy as np
import slicer

from DLReconPanel import runs


def provenanceOf(node):
    """The record of a result node, or None."""
    from DLReconLib.mrml import PROVENANCE

    text = node.GetAttribute(PROVENANCE) if node is not None else None
    if text is None and node is not None and node.IsA("vtkMRMLSequenceNode") and node.GetNumberOfDataNodes():
        text = node.GetNthDataNode(0).GetAttribute(PROVENANCE)
    try:
        return json.loads(text) if text else None
    except ValueError:
        return None


def showOver(inputVolume, outputVolume, opacity=1.0):
    """The result in front of the input in all slice views; the fade slider goes between them."""
    slicer.util.setSliceViewerLayers(background=inputVolume, foreground=outputVolume, foregroundOpacity=opacity)


def setFade(outputVolume, opacity):
    """Only in the views that show the result in front."""
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        if composite.GetForegroundVolumeID() == outputVolume.GetID():
            composite.SetForegroundOpacity(opacity)


def residualNode(outputVolume):
    """A new volume node with what was removed: input minus result, float32, grey around 0.

    :raises ValueError: the input is gone, or lies on another grid than the result.
    """
    from DLReconLib import mrml
    from DLReconLib.result import Result

    source = outputVolume.GetNodeReference(runs.INPUT_ROLE)
    if source is None:
        raise ValueError(f"{outputVolume.GetName()}: the volume it was made from is not in the scene any more")
    before, after = mrml.volume_from_node(source), mrml.volume_from_node(outputVolume)
    record = provenanceOf(outputVolume) or {}
    if before.array.shape != after.array.shape and "super_resolution" not in record:
        raise ValueError(f"{outputVolume.GetName()} has another grid than {source.GetName()}; nothing to subtract")
    residual = Result(after, before, 0.0, record).residual
    node = mrml.new_output_node(outputVolume, f"{outputVolume.GetName()} removed")
    mrml.write_to_node(residual, node, outputVolume, rescaled=True)
    for name in ("DLRecon.Provenance", runs.SEGMENT):
        node.RemoveAttribute(name)
    spread = float(np.percentile(np.abs(residual.array), 99)) or 1.0
    display = node.GetDisplayNode()
    if display.IsA("vtkMRMLScalarVolumeDisplayNode"):
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(4 * spread, 0.0)
    return node


def figuresNode(outputVolume, rows):
    """A new table node: figure, before, after."""
    import vtk

    table = slicer.mrmlScene.AddNewNodeByClass(
        "vtkMRMLTableNode", slicer.mrmlScene.GetUniqueNameByString(f"{outputVolume.GetName()} figures")
    )
    columns = {"figure": [r[0] for r in rows], "before": [r[1] for r in rows], "after": [r[2] for r in rows]}
    for name, values in columns.items():
        column = vtk.vtkStringArray() if name == "figure" else vtk.vtkDoubleArray()
        column.SetName(name)
        for value in values:
            column.InsertNextValue(value if name == "figure" else float("nan") if value is None else float(value))
        table.AddColumn(column)
    return table


def writeReport(outputVolume, path):
    """A page with pictures, figures and the record of a result, whole or not at all. Raises OSError."""
    import os

    from DLReconLib import mrml
    from DLReconLib.fingerprint import fingerprint
    from DLReconLib.report import report

    record, notes = provenanceOf(outputVolume), []
    source = outputVolume.GetNodeReference(runs.INPUT_ROLE)
    before = mrml.volume_from_node(source) if source is not None else None
    after = mrml.volume_from_node(outputVolume)
    if before is not None and before.array.shape != after.array.shape:
        before = None
    if before is not None and fingerprint(before) != record["input"]["sha256"]:
        notes.append(f"{source.GetName()} was changed since: the pictures before are of another image.")
    unfinished = f"{path}.part"
    try:
        with open(unfinished, "w", encoding="utf-8") as file:
            file.write(report(record, before, after, notes))
        os.replace(unfinished, path)
    finally:
        if os.path.exists(unfinished):
            os.remove(unfinished)
