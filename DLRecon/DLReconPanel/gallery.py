"""Try it first: a slab around the current slice, by one or several methods, side by side."""

import numpy as np
import slicer
import vtk

from DLReconPanel import ranking, regions

LAYOUT = 3877  # first number of the layouts; Slicer's own are below 1000
VIEW = "DLReconTry"
SLICES = 24
FEWEST = 9
SIDE = 256  # voxels across the slab
VOXELS = 350_000  # a slab of this size takes seconds, not minutes
ATTRIBUTE = "DLRecon.Preview"


def slabBox(volumeNode, sliceNode=None):
    """((k0, k1), (j0, j1), (i0, i1)): some slices of the volume around the plane of a slice view.

    They lie along the volume's axis that looks most towards the viewer; across it, large images are cut around the
    middle of the view. Without a slice view: the middle of the volume, along k.
    """
    shape = np.array(volumeNode.GetImageData().GetDimensions()[::-1])
    axis, place = 0, (shape - 1) / 2
    if sliceNode is not None:
        plane = slicer.util.arrayFromVTKMatrix(sliceNode.GetSliceToRAS())
        matrix = regions.ijkToWorld(volumeNode)
        columns = matrix[:3, 2::-1]  # of k, j, i
        towards = np.abs(plane[:3, 2] @ (columns / np.linalg.norm(columns, axis=0)))
        towards[shape < 2] = -1
        axis = int(np.argmax(towards))
        place = (np.linalg.inv(matrix) @ plane[:, 3])[2::-1]
    size = np.minimum(shape, SIDE)
    size[axis] = shape[axis]
    size[axis] = min(shape[axis], int(np.clip(VOXELS * size[axis] / np.prod(size), FEWEST, SLICES)))
    first = np.clip(np.rint(place - (size - 1) / 2), 0, shape - size).astype(int)
    return tuple((int(a), int(a + n)) for a, n in zip(first, size, strict=True))


class Gallery:
    """Previews in the worker, shown in a layout of their own. Nothing of it is saved with the scene."""

    def __init__(self, client, volumeNode, cards, options, region=None, onChoose=None):
        """:param cards: [ModelCard], in the order in which they are to be tried.
        :param onChoose: called with the model's id when its picture is clicked.
        """
        from DLReconLib import mrml

        self.client, self.volumeNode, self.onChoose = client, volumeNode, onChoose
        self.original = None
        self._nodes, self._tags, self._actors = [], [], []
        self._layoutBefore = self._pressed = None
        self.sliceNode = _sliceNode()
        box = slabBox(volumeNode, self.sliceNode)
        self.source = mrml.volume_from_node(volumeNode).crop(box)
        mask = None if region is None else regions.maskOf(region, volumeNode).crop(box)
        if mask is not None and not mask.array.any():
            raise ValueError("the region does not touch the slice that is shown; scroll to it, or preview the whole")
        self.task = options["task"]
        self.entries = [ranking.Entry(card.id, card.title, learned=card.learned) for card in cards]
        self.probe = ranking.probeOf(self.source, mask) if self.task == "denoise" and len(cards) > 1 else None
        for entry in self.entries:
            wanted = options | {"model": entry.model}
            entry.job = client.submit(self.source, mask=mask, **wanted)
            if self.probe is not None:  # a second pass, by which the error is estimated
                disturbed = self.source.with_array(self.probe.disturbed(self.source.array))
                entry.again = client.submit(disturbed, mask=mask, **(wanted | {"judge": False}))

    @property
    def finished(self):
        return not any(entry.state in ("waiting", "running") for entry in self.entries)

    @property
    def fraction(self):
        return sum(e.fraction for e in self.entries) / len(self.entries)

    @property
    def text(self):
        for entry in self.entries:
            if entry.state == "running":
                return f"{entry.title}: {entry.job.text}"
        return self.entries[0].job.text

    def poll(self):
        """Take in what is finished; True while something is not. The pictures appear when all are there."""
        if self.finished:
            return False
        self.client.poll()
        for entry in self.entries:
            if entry.state in ("waiting", "running"):
                self._take(entry)
        if self.finished and any(entry.state == "done" for entry in self.entries):
            self.entries = ranking.ordered(self.entries, self.task)
            self.show()
        return not self.finished

    def cancel(self):
        for entry in self.entries:
            if entry.state in ("waiting", "running"):
                for job in entry.jobs:
                    job.cancel()
                entry.state = "cancelled"

    def close(self):
        """Back to the layout of before; the preview's nodes go."""
        self.cancel()
        for interactor, tag in self._tags:
            interactor.RemoveObserver(tag)
        for renderer, actor in self._actors:
            renderer.RemoveViewProp(actor)
        self._tags, self._actors = [], []
        manager = slicer.app.layoutManager()
        if manager is not None and self._layoutBefore is not None and manager.layout >= LAYOUT:
            manager.setLayout(self._layoutBefore)
        self._layoutBefore = None
        for node in self._nodes:
            if node.GetScene() is not None:
                node.GetScene().RemoveNode(node)
        self._nodes, self.original = [], None

    def _take(self, entry):
        job = entry.job
        entry.state = {"queued": "waiting"}.get(job.state, job.state)
        if job.state == "failed":
            entry.error = job.error
            if entry.again is not None:
                entry.again.cancel()
        if job.state != "done":
            return
        if entry.again is not None and not entry.again.finished:
            entry.state = "running"
            return
        entry.provenance = job.result.provenance
        ranking.measure(entry, self.source, self.probe)

    def show(self):
        """Volume nodes and a layout with one view each; without a window, only the nodes."""
        done = [entry for entry in self.entries if entry.state == "done"]
        self.original = self._add(self.source, "Original")
        for number, entry in enumerate(done):
            name = f"{number + 1}. {entry.title}" if len(done) > 1 else entry.title
            entry.node = self._add(entry.job.result.volume, name)
            entry.job = entry.again = None  # lets go of the arrays
        manager = slicer.app.layoutManager()
        if manager is None:
            return
        nodes = [self.original, *(entry.node for entry in done)]
        layoutNode = manager.layoutLogic().GetLayoutNode()
        number = LAYOUT + len(nodes)
        if not layoutNode.IsLayoutDescription(number):
            layoutNode.AddLayoutDescription(number, layoutXml(len(nodes)))
        if manager.layout < LAYOUT:
            self._layoutBefore = manager.layout
        manager.setLayout(number)
        for n, node in enumerate(nodes):
            self._fill(manager.sliceWidget(f"{VIEW}{n}"), node, done[n - 1].model if n else None)

    def _add(self, volume, name):
        from DLReconLib import mrml

        node = mrml.new_output_node(self.volumeNode, name)
        self._nodes.append(node)
        rescaled = self.task == "contrast" and volume is not self.source
        mrml.write_to_node(volume, node, self.volumeNode, rescaled=rescaled)
        node.SetName(name)
        for one in (node, node.GetDisplayNode()):
            one.SetSaveWithScene(False)
        node.SetHideFromEditors(True)
        node.SetAttribute(ATTRIBUTE, "1")
        return node

    def _fill(self, widget, node, model):
        """One view: its picture, where the slice view of before was, its name written on it, clicks heard."""
        composite, sliceNode = widget.mrmlSliceCompositeNode(), widget.mrmlSliceNode()
        for one in (composite, sliceNode):
            one.SetSaveWithScene(False)
        composite.SetBackgroundVolumeID(node.GetID())
        composite.SetForegroundVolumeID(None)
        composite.SetLabelVolumeID(None)
        composite.SetLinkedControl(True)
        composite.SetHotLinkedControl(True)
        if self.sliceNode is not None:
            sliceNode.GetSliceToRAS().DeepCopy(self.sliceNode.GetSliceToRAS())
            sliceNode.UpdateMatrices()
        widget.fitSliceToBackground()
        if self.sliceNode is not None:
            widget.sliceLogic().SetSliceOffset(self.sliceNode.GetSliceOffset())
        view = widget.sliceView()
        self._caption(view, node.GetName())
        if model is None:
            return
        interactor = view.interactor()

        def press(_caller, _event):
            self._pressed = interactor.GetEventPosition()

        def release(_caller, _event):
            # A drag changes window and level; only a click chooses.
            if self._pressed == interactor.GetEventPosition() and self.onChoose:
                self.onChoose(model)

        for event, function in (("LeftButtonPressEvent", press), ("LeftButtonReleaseEvent", release)):
            self._tags.append((interactor, interactor.AddObserver(event, function, 1.0)))

    def _caption(self, view, text):
        actor = vtk.vtkTextActor()
        actor.SetInput(text)
        actor.GetPositionCoordinate().SetCoordinateSystemToNormalizedViewport()
        actor.SetPosition(0.02, 0.92)
        actor.GetTextProperty().SetFontSize(16)
        actor.GetTextProperty().ShadowOn()
        renderer = view.renderWindow().GetRenderers().GetFirstRenderer()
        if renderer is not None:
            renderer.AddViewProp(actor)
            self._actors.append((renderer, actor))
            view.scheduleRender()


def layoutXml(count):
    """Slice views in rows of at most three, or two rows where that is squarer."""
    columns = count if count <= 3 else -(-count // 2) if count <= 8 else 4
    rows = []
    for first in range(0, count, columns):
        views = "".join(
            f'<item><view class="vtkMRMLSliceNode" singletontag="{VIEW}{n}">'
            '<property name="orientation" action="default">Axial</property>'
            f'<property name="viewlabel" action="default">{n or "O"}</property>'
            '<property name="viewcolor" action="default">#8c8c8c</property></view></item>'
            for n in range(first, min(first + columns, count))
        )
        rows.append(f'<item><layout type="horizontal">{views}</layout></item>')
    return f'<layout type="vertical">{"".join(rows)}</layout>'


def _sliceNode():
    """The red slice view, or the first there is."""
    manager = slicer.app.layoutManager() if hasattr(slicer, "app") else None
    if manager is None:
        return None
    node = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
    return node or slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSliceNode")
