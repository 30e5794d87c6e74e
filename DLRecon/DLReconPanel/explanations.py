"""What a result depends on, as a map over it."""

import numpy as np
import slicer

from DLReconPanel import regions, runs

COLOURS = ("vtkMRMLColorTableNodeFileColdToHotRainbow.txt", "vtkMRMLColorTableNodeRainbow")


def start(client, resultVolume, provenance):
    """A runs.Run whose output is a map of what the result at the crosshair depends on, coloured, over the result."""
    from DLReconLib import mrml

    source = resultVolume.GetNodeReference(runs.INPUT_ROLE)
    if source is None:
        raise ValueError(f"{resultVolume.GetName()}: the volume it was made from is not in the scene any more")
    volume = mrml.volume_from_node(source)
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    place = np.linalg.inv(regions.ijkToWorld(source)) @ [*(crosshair.GetCrosshairRAS() if crosshair else (0, 0, 0)), 1]
    point = [int(n) for n in np.rint(place[:3])]
    shape = volume.array.shape[2::-1]
    if not all(0 <= p < n for p, n in zip(point, shape, strict=True)):
        raise ValueError(
            f"the crosshair is not in {source.GetName()}; hold Shift and move the mouse over the image to place it"
        )
    from DLReconLib.models import find_card

    options = {
        "point": point,
        "method": "gradient" if find_card(provenance["model"]["id"]).learned else "occlusion",
        "task": provenance["options"]["task"],
        "model": provenance["model"]["id"],
        "modality": provenance.get("modality", {}).get("used") or "auto",
    }

    def write(results):
        explained = results[0].volume
        node = mrml.new_output_node(source, f"{resultVolume.GetName()} explained")
        try:
            mrml.write_to_node(explained, node, source, rescaled=True)
            display = node.GetDisplayNode()
            colours = next((one for one in COLOURS if slicer.mrmlScene.GetNodeByID(one)), None)
            display.SetAndObserveColorNodeID(colours)
            limit = float(np.percentile(np.abs(explained.array), 99.9)) or 1.0
            display.SetAutoWindowLevel(False)
            display.SetWindowLevelMinMax(min(0.0, -limit if explained.array.min() < 0 else 0.0), limit)
            slicer.util.setSliceViewerLayers(background=resultVolume, foreground=node, foregroundOpacity=0.5)
        except Exception:
            node.GetScene().RemoveNode(node)
            raise
        return node

    return runs.Run(
        client, source, 1, lambda _n: (volume, None), options, write, lambda: runs.isIn(source), verb="explain"
    )
