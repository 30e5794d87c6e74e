"""Sharpness and noise of a result and its input, by frequency, as plot nodes."""

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from DLReconPanel import runs

COLOURS = {"before": (0.45, 0.45, 0.45), "after": (0.1, 0.45, 0.85)}


def kinds():
    """Key of DLReconLib.quality.curves -> (its values, title, axis)."""
    return {
        "mtf": ("mtf", _("sharpness (MTF)"), _("modulation transfer")),
        "nps": ("power", _("noise power (NPS)"), _("noise power, unit² mm²")),
    }


def plotNodes(resultVolume):
    """New nodes: for each of MTF and NPS that can be measured a table, two series and a chart. Gives the charts.

    :raises ValueError: neither edges nor quiet places were found, or the input is gone.
    :raises RuntimeError: a package is missing.
    """
    from DLReconLib import mrml

    try:
        from DLReconLib.quality.curves import curves
    except ImportError as error:
        raise RuntimeError(_("{package} is missing: press Set up").format(package=error.name)) from error
    source = resultVolume.GetNodeReference(runs.INPUT_ROLE)
    if source is None:
        raise ValueError(f"{resultVolume.GetName()}: the volume it was made from is not in the scene any more")
    volumes = {"before": mrml.volume_from_node(source), "after": mrml.volume_from_node(resultVolume)}
    arrays = {when: v.array if v.array.ndim == 3 else v.array.mean(axis=3) for when, v in volumes.items()}
    # Both at the edges and the quiet places of the cleaner one, else they could not be compared.
    guide = arrays["after"] if arrays["after"].shape == arrays["before"].shape else None
    found = {when: curves(arrays[when], v.geometry.spacing, guide) for when, v in volumes.items()}
    charts = []
    for kind, (values, title, axis) in kinds().items():
        measured = {when: (c[kind]["frequency"], c[kind][values]) for when, c in found.items() if kind in c}
        if kind == "mtf":
            measured = {when: cut(*pair, 1.2 * found[when]["mtf"]["nyquist"]) for when, pair in measured.items()}
        if measured:
            charts.append(chart(measured, f"{resultVolume.GetName()} {title}", title, axis))
    if not charts:
        raise ValueError(f"{resultVolume.GetName()} has neither clear edges nor quiet places to measure")
    return charts


def cut(frequency, values, limit):
    """Above 1.2 times half a cycle per pixel there is nothing to see."""
    kept = [(f, v) for f, v in zip(frequency, values, strict=True) if f <= limit]
    return tuple(zip(*kept, strict=True)) if kept else ((), ())


def chart(measured, name, title, axis):
    """A vtkMRMLPlotChartNode. measured: {"before" or "after": (frequencies in cycles/mm, values)}."""
    scene = slicer.mrmlScene
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", scene.GetUniqueNameByString(f"{name} table"))
    length = max(len(frequency) for frequency, _values in measured.values())
    names = {"before": _("before"), "after": _("after")}
    columns = {}
    for when, (frequency, values) in measured.items():
        columns[when] = (f"{_('frequency')} {names[when]}", names[when])
        for column, numbers in zip(columns[when], (frequency, values), strict=True):
            _addColumn(table, column, numbers, length)
    node = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", scene.GetUniqueNameByString(name))
    node.SetTitle(title)
    node.SetXAxisTitle(_("frequency, cycles/mm"))
    node.SetYAxisTitle(axis)
    for when, (x, y) in columns.items():
        series = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", scene.GetUniqueNameByString(f"{name} {names[when]}"))
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetPlotType(series.PlotTypeScatter)  # the only type with values of its own along x
        series.SetXColumnName(x)
        series.SetYColumnName(y)
        series.SetMarkerStyle(series.MarkerStyleNone)
        series.SetLineStyle(series.LineStyleSolid)
        series.SetLineWidth(2)
        series.SetColor(*COLOURS[when])
        node.AddAndObservePlotSeriesNodeID(series.GetID())
    return node


def _addColumn(table, name, numbers, length):
    """A shorter curve is filled up with NaN, which plots leave out: all columns of a table are of one length."""
    column = vtk.vtkDoubleArray()
    column.SetName(name)
    for value in [*numbers, *[np.nan] * (length - len(numbers))]:
        column.InsertNextValue(float(value))
    table.AddColumn(column)


def show(chartNode):
    """In a layout with a plot view, where there are views."""
    module = getattr(slicer.modules, "plots", None)
    if slicer.app.layoutManager() is not None and module is not None:
        module.logic().ShowChartInLayout(chartNode)
