"""A run from node to node: volumes through the worker, one after the other, and the scene touched once, at the end."""

import logging
import time
from dataclasses import dataclass
from typing import Any

import slicer

from DLReconPanel import regions, sequences

INPUT_ROLE = "DLRecon.input"
MASK_ROLE = "DLRecon.mask"
UNCERTAINTY_ROLE = "DLRecon.uncertainty"
INVENTED_ROLE = "DLRecon.invented"
FEATURES_ROLE = "DLRecon.features"
SEGMENT = "DLRecon.segment"
FINISHED = ("done", "failed", "cancelled")


@dataclass(frozen=True)
class Part:
    """Of a Result, all but its source: of many volumes, only what is to be written is kept."""

    volume: Any
    provenance: dict
    uncertainty: Any = None
    invented: Any = None
    features: Any = None


class Run:
    """What process(wait=False) gives: poll() it until it is finished, a few times a second, from the main thread.

    state: running, done, failed or cancelled. fraction: 0 to 1. text: what is being done. remaining: seconds, or
    None while nobody knows. error: where it failed or was cancelled, why. outputNode: where it is done.
    Until it is done, the scene is as it was.
    """

    def __init__(self, client, source, count, read, options, write, isValid, verb="run"):
        """:param read: function of the item's number that gives (Volume, mask or None), or (list of Volumes, mask or
            None) where they are to be worked on as one, count being 1 then.
        :param write: function of [Part] that puts them into the scene and gives the output node.
        :param isValid: function that tells whether the run still makes sense (its input is in the scene).
        """
        self.client, self.source, self.count = client, source, count
        self.state, self.error, self.outputNode = "running", "", None
        self._read, self._write, self._isValid = read, write, isValid
        self._options = {**options, "verb": verb}
        self._results = []
        self._started = time.monotonic()
        self._job = self._submit()

    @property
    def finished(self):
        return self.state in FINISHED

    @property
    def provenance(self):
        return self._results[0].provenance if self._results else None

    @property
    def fraction(self):
        if self.state == "done":
            return 1.0
        return (len(self._results) + self._job.fraction) / self.count if not self.finished else 0.0

    @property
    def text(self):
        if self.count == 1 or self.finished:
            return self._job.text
        return f"{self._job.text} ({len(self._results) + 1} of {self.count})"

    @property
    def remaining(self):
        if self.finished:
            return None
        if self.count == 1:
            return self._job.remaining
        if not self._results:
            return self._job.remaining and self._job.remaining * self.count
        each = (self._tookSoFar() - self._started) / len(self._results)
        return max(0.0, each * self.count - (time.monotonic() - self._started))

    def poll(self):
        """True while it is not finished. Never waits, apart from reading a result."""
        if self.finished:
            return False
        if not self._isValid():
            self.cancel("the input volume was removed from the scene")
            return False
        self.client.poll()
        if self._job.state == "failed":
            self._end("failed", self._job.error)
        elif self._job.state == "cancelled":
            self._end("cancelled", "")
        elif self._job.state == "done":
            self._take(self._job.results)
        return not self.finished

    def cancel(self, why=""):
        """Ask the worker to stop. The scene is as it was before."""
        if not self.finished:
            self._job.cancel()
            self._end("cancelled", why)

    def wait(self):
        """Poll until it is done; gives the output node. Raises RuntimeError where it failed, Cancelled."""
        from DLReconLib import Cancelled

        try:
            while self.poll():
                time.sleep(0.02)
        except BaseException:
            self.cancel()
            raise
        if self.state == "failed":
            raise RuntimeError(self.error)
        if self.state == "cancelled":
            raise Cancelled(self.error or "cancelled")
        return self.outputNode

    def _submit(self):
        volume, mask = self._read(len(self._results))
        return self.client.submit(volume, mask=mask, **self._options)

    def _take(self, results):
        result = results[0]
        alone = self.count == len(results) == 1  # of a sequence they are not written
        for r in results:
            features = r.features if alone and not r.features_missing() else None
            self._results.append(Part(r.volume, r.provenance, r.uncertainty, r.invented, features))
        self._lastDone = time.monotonic()
        try:
            if len(self._results) < self.count:
                # Every item by the same model, whatever the first one was recognised as.
                self._options["model"] = result.provenance["model"]["id"]
                self._job = self._submit()
                return
            self.outputNode = self._write(self._results)
        except Exception as error:
            logging.exception("DLRecon: the result could not be put into the scene")
            self._end("failed", f"{type(error).__name__}: {error}")
            return
        for warning in result.provenance.get("warnings", []):
            logging.warning(f"DLRecon: {warning}")
        self.state = "done"

    def _tookSoFar(self):
        return self._lastDone

    def _end(self, state, error):
        self.state, self.error, self._results = state, error, []


def startVolume(client, inputVolume, outputVolume, region, options):
    """A Run of one volume node."""
    from DLReconLib import mrml

    checkVolume(inputVolume)
    if outputVolume is not None and outputVolume.GetClassName() != inputVolume.GetClassName():
        # Found out here, and not only after minutes of work.
        raise TypeError(
            f"outputVolume is a {outputVolume.GetClassName()}; wanted a {inputVolume.GetClassName()} "
            "like inputVolume; choose another one or None"
        )

    def read(_number):
        mask = None if region is None else regions.maskOf(region, inputVolume)
        return mrml.volume_from_node(inputVolume), mask

    def write(results):
        made = []
        try:
            node = outputVolume if isIn(outputVolume) else None
            if node is None:
                name = f"{inputVolume.GetName()} {options.get('task', 'denoise')}"
                node = mrml.new_output_node(inputVolume, name)
                made.append(node)
            _writeResult(results[0], node, inputVolume, made)
            remember(node, inputVolume, region)
        except Exception:
            for extra in made:
                extra.GetScene().RemoveNode(extra)
            raise
        return node

    return Run(client, inputVolume, 1, read, options, write, lambda: isIn(inputVolume))


def _writeResult(part, node, inputVolume, made):
    """The voxels and what belongs to them: nodes of their own, referenced by the result's. made: gets new nodes."""
    from DLReconLib import mrml

    rescaled = part.provenance["options"]["task"] == "contrast"
    mrml.write_to_node(part.volume, node, inputVolume, provenance=part.provenance, rescaled=rescaled)
    for role, volume, word in (
        (UNCERTAINTY_ROLE, part.uncertainty, "uncertainty"),
        (INVENTED_ROLE, part.invented, "invented"),
        (FEATURES_ROLE, part.features, "features"),
    ):
        node.SetNodeReferenceID(role, None)
        if volume is None:
            continue
        name = f"{node.GetName()} {word}"
        if role in (INVENTED_ROLE, FEATURES_ROLE):
            scene = node.GetScene()
            kind = "vtkMRMLLabelMapVolumeNode" if role == INVENTED_ROLE else inputVolume.GetClassName()
            extra = scene.AddNewNodeByClass(kind, scene.GetUniqueNameByString(name))
            made.append(extra)
            # Not as a copy of the input: labels and shares have no unit, window or DICOM attributes.
            mrml.write_to_node(volume, extra)
            extra.SetAndObserveTransformNodeID(node.GetTransformNodeID())
            mrml._place_in_study(node, extra)
        else:
            extra = mrml.new_output_node(inputVolume, name)
            made.append(extra)
            mrml.write_to_node(volume, extra, inputVolume, rescaled=True)
        node.SetNodeReferenceID(role, extra.GetID())


def startSequence(client, sequence, browser, outputNode, region, options):
    """A Run over all items of a sequence."""
    from DLReconLib import mrml

    count = sequence.GetNumberOfDataNodes()
    if count == 0:
        raise ValueError(f"sequence {sequence.GetName()} is empty; wanted volumes; choose another one")
    if outputNode is not None and not outputNode.IsA("vtkMRMLSequenceNode"):
        raise TypeError(
            f"outputVolume is a {outputNode.GetClassName()}; wanted a vtkMRMLSequenceNode because the input is a "
            "sequence; choose another one or None"
        )
    for n in range(count):
        checkVolume(sequence.GetNthDataNode(n))

    def read(number):
        item = sequence.GetNthDataNode(number)
        return mrml.volume_from_node(item), None if region is None else regions.maskOf(region, item)

    def write(results):
        volumes, provenances = [part.volume for part in results], [part.provenance for part in results]
        made = slicer.vtkMRMLSequenceNode()
        sequences.fill(made, sequence, volumes, provenances)
        if isIn(outputNode):
            sequences.fill(outputNode, sequence, volumes, provenances)
            made = outputNode
        else:
            scene = sequence.GetScene()
            name = f"{sequence.GetName()} {options.get('task', 'denoise')}"
            made.SetName(scene.GetUniqueNameByString(name))
            made = scene.AddNode(made)
            sequences.showBeside(made, browser if isIn(browser) else None)
        remember(made, sequence, region)
        return made

    def readAll(_number):
        items = [read(number) for number in range(count)]
        return [volume for volume, _mask in items], items[0][1]

    from DLReconLib.models import find_card
    from DLReconLib.networks import SERIES

    model = options.get("model", "auto")
    if count > 1 and model != "auto" and find_card(model).network in SERIES:  # wants all items at once
        return Run(client, sequence, 1, readAll, options, write, lambda: isIn(sequence))
    return Run(client, sequence, count, read, options, write, lambda: isIn(sequence))


def checkVolume(node):
    """Raises TypeError for what is no image."""
    from DLReconLib import mrml

    if hasattr(node, "IsA") and node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise TypeError(f"inputVolume {node.GetName()} is a label map; wanted an image; choose another one")
    mrml._require_volume_node(node, "inputVolume")


def remember(node, source, region):
    """References from the output to what it was made from, so that a script can be written from it later."""
    node.SetNodeReferenceID(INPUT_ROLE, source.GetID())
    regionNode, segment = region if isinstance(region, (tuple, list)) else (region, "")
    node.SetNodeReferenceID(MASK_ROLE, regionNode.GetID() if regionNode is not None else None)
    if segment:
        node.SetAttribute(SEGMENT, segment)
    else:
        node.RemoveAttribute(SEGMENT)


def isIn(node):
    """Whether the node is (still) in a scene."""
    return node is not None and node.GetScene() is not None and bool(node.GetScene().IsNodePresent(node))
