import contextlib
import json
import logging
import os
import sys
from typing import Annotated, Union

import numpy as np
import slicer
import vtk
from DLReconPanel import choices, gallery, memory, runs, sequences, setup, texts, views
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

POLL_MS = 100
FLICKER_MS = 500
CARD_WIDTH = 330  # pixels of the pictures in a model's card

#
# DLRecon
#


class DLRecon(ScriptedLoadableModule):
    """The module's name, place and help. Nothing is installed or loaded here: Slicer starts without PyTorch."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("DLRecon")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Filtering")]
        self.parent.dependencies = []
        self.parent.contributors = ["DLRecon developers"]
        self.parent.helpText = _("""
Enhances noisy medical images with deep learning or classical methods. Choose a volume and press Apply: a new volume
appears beside it, on the same grid and in the same unit, with a record of what was done.
The result is not meant for diagnosis.
See more in the <a href="https://github.com/DLRecon/SlicerDLRecon">documentation</a>.
""")
        self.parent.acknowledgementText = _("Built on 3D Slicer, PyTorch and MONAI.")
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData():
    """Called when Slicer has started: images to try the module with."""
    from DLReconPanel import sampleData

    sampleData.register()


#
# DLReconParameterNode
#

# The binding of forms knows typing.Union only, and makes a node of each class: vtkMRMLVolumeNode is abstract.
VolumeNode = Union[slicer.vtkMRMLScalarVolumeNode, slicer.vtkMRMLVectorVolumeNode, None]  # noqa: UP007


@parameterNodeWrapper
class DLReconParameterNode:
    """What the panel holds; it is saved with the scene. Names are those of the command line where both have them.

    inputVolume, outputVolume: the volume to enhance, and the one to overwrite (none: a new one).
    resultVolume: what the Result section speaks about. fade: opacity of it before the input.
    allTimePoints: work on all items where the input is one of a sequence.
    region: whole, segment or roi. tile: side of the pieces in voxels, 0 lets the model choose.
    keepType: dtype "input" instead of float32. feather: width of the soft edge in mm.
    """

    inputVolume: VolumeNode
    outputVolume: VolumeNode
    resultVolume: VolumeNode
    allTimePoints: bool = True
    task: str = "denoise"
    modality: str = "auto"
    model: str = "auto"
    strength: Annotated[float, WithinRange(0.0, 1.0)] = 1.0
    region: str = "whole"
    segmentation: slicer.vtkMRMLSegmentationNode
    segment: str = ""
    roi: slicer.vtkMRMLMarkupsROINode
    feather: Annotated[float, WithinRange(0.0, 50.0)] = 3.0
    device: str = "auto"
    tile: int = 0
    precision: str = "auto"
    keepType: bool = False
    uncertainty: bool = False
    fade: Annotated[float, WithinRange(0.0, 1.0)] = 1.0


#
# DLReconWidget
#


class DLReconWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """A form. The logic does the work, in a process of its own; a timer asks how far it is."""

    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self._run = None
        self._explanation = None
        self._gallery = None
        self._card = None
        self._timers = []
        self._connections = []
        self._updating = False

    # -- life

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        import qt

        uiWidget = slicer.util.loadUI(self.resourcePath("UI/DLRecon.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = DLReconLogic()
        findLibrary()

        self._pollTimer = self._timer(qt, POLL_MS, self.onPoll)
        self._flickerTimer = self._timer(qt, FLICKER_MS, self.onFlicker)
        choices.fillFixed(self.ui)
        choices.explain(self.ui)
        self._connectWidgets()
        for event, function in (
            (slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose),
            (slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose),
            (slicer.mrmlScene.EndImportEvent, self.onSceneEndClose),
        ):
            self.addObserver(slicer.mrmlScene, event, function)
        self.ui.progressBar.visible = False
        self.ui.logText.visible = False
        self.ui.cardBrowser.visible = False
        self.ui.galleryTable.visible = False
        self.ui.resultCollapsible.visible = False
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """A connected method keeps the widget alive, and a worker would outlive it. setup() may have failed."""
        self._stopEverything()
        for widget, signal, function in self._connections:
            widget.disconnect(signal, function)
        self._timers, self._connections = [], []
        self.setParameterNode(None)
        self.removeObservers()
        if self.logic is not None:
            self.logic.close()

    def enter(self) -> None:
        choices.forget()
        setup.forget()
        self.initializeParameterNode()

    def exit(self) -> None:
        """A run goes on; only the flicker would puzzle in another module."""
        self.ui.flickerButton.checked = False

    def onReload(self) -> None:
        """The parts of the module and the library are read again, too."""
        self._stopEverything()
        for name in [n for n in sys.modules if n.split(".")[0] in ("DLReconPanel", "DLReconLib")]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def onSceneStartClose(self, _caller, _event) -> None:
        self._stopEverything()
        self.setParameterNode(None)

    def onSceneEndClose(self, _caller, _event) -> None:
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        self.setParameterNode(self.logic.getParameterNode())
        if self._parameterNode.inputVolume is None:
            node = choices.likelyInput()
            if node is not None:
                self._parameterNode.inputVolume = node

    def setParameterNode(self, parameterNode) -> None:
        """Bind the form to it, and let go of the one before."""
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParameters)
        self._parameterNode = parameterNode
        if parameterNode is not None:
            self._parameterNodeGuiTag = parameterNode.connectGui(self.ui)
            self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParameters)
            self.onParameters()

    def _timer(self, qt, milliseconds, function):
        timer = qt.QTimer()
        timer.setInterval(milliseconds)
        self._connect(timer, "timeout()", function)
        self._timers.append(timer)
        return timer

    def _connectWidgets(self) -> None:
        ui = self.ui
        for name in choices.COMBOS:
            self._connect(getattr(ui, f"{name}Combo"), "currentIndexChanged(int)", self.onCombo)
        for button, function in (
            (ui.detailsButton, self.onDetails),
            (ui.previewButton, self.onPreview),
            (ui.compareButton, self.onCompare),
            (ui.closeGalleryButton, self.closeGallery),
            (ui.applyButton, self.onApply),
            (ui.setupButton, self.onSetup),
            (ui.wheelsButton, self.onWheels),
            (ui.logButton, self.onLog),
            (ui.reasonsButton, self.onParameters),
            (ui.residualButton, self.onResidual),
            (ui.explainButton, self.onExplain),
            (ui.showButton, self.onShow),
            (ui.tableButton, self.onTable),
            (ui.scriptButton, self.onScript),
            (ui.reportButton, self.onReport),
        ):
            self._connect(button, "clicked(bool)", function)
        self._connect(ui.flickerButton, "toggled(bool)", self.onFlickerToggled)
        self._connect(ui.galleryTable, "cellClicked(int,int)", self.onGalleryRow)
        self._connect(ui.galleryTable, "cellActivated(int,int)", self.onGalleryRow)

    def _connect(self, widget, signal, function) -> None:
        widget.connect(signal, function)
        self._connections.append((widget, signal, function))

    # -- the form

    def onCombo(self, _index=-1) -> None:
        """The combo boxes whose items change are bound by hand: connectGui wants fixed ones."""
        if self._updating or self._parameterNode is None:
            return
        with slicer.util.NodeModify(self._parameterNode):
            for name, parameter in choices.COMBOS.items():
                value = choices.chosen(getattr(self.ui, f"{name}Combo"))
                if value is not None:
                    setattr(self._parameterNode, parameter, value)

    def onParameters(self, _caller=None, _event=None) -> None:
        """Show what the parameter node says; called on each of its changes."""
        if self._updating or self._parameterNode is None:
            return
        self._updating = True
        try:
            self._showInput()
            self._showMethod()
            self._showRegion()
            self._showResult()
            self._showState()
        finally:
            self._updating = False

    def _showInput(self) -> None:
        ui, parameters = self.ui, self._parameterNode
        sequence = sequences.sequenceOf(parameters.inputVolume)[0]
        count = sequence.GetNumberOfDataNodes() if sequence is not None else 0
        ui.allTimePointsCheckBox.visible = count > 1
        ui.allTimePointsCheckBox.text = _("All {n} &time points").format(n=count)
        ui.outputSelector.enabled = not (count > 1 and parameters.allTimePoints)
        choices.select(ui.taskCombo, parameters.task)
        choices.select(ui.modalityCombo, parameters.modality)
        modality, why = self.logic.recognise(parameters.inputVolume, parameters.modality)
        ui.modalityLabel.visible = parameters.inputVolume is not None and parameters.modality == "auto"
        ui.modalityLabel.text = choices.modalitySentence(modality, why)

    def _showMethod(self) -> None:
        ui, parameters = self.ui, self._parameterNode
        modality, why = self.logic.recognise(parameters.inputVolume, parameters.modality)
        try:
            self._card = choices.fillModels(ui.modelCombo, parameters.task, parameters.model, modality, why)
            ui.modelLabel.text = choices.modelSentence(self._card, modality)
        except (ValueError, OSError) as error:  # a damaged card: the rest of the panel goes on
            self._card, ui.modelLabel.text = None, str(error)
        if ui.cardBrowser.visible:
            from DLReconLib.card_text import page

            ui.cardBrowser.setHtml(page(self._card, width=CARD_WIDTH) if self._card else "")
        for name in ("device", "tile", "precision"):
            choices.select(getattr(ui, f"{name}Combo"), str(getattr(parameters, name)))
        learned = self._card is not None and self._card.learned
        ui.deviceCombo.enabled = ui.precisionCombo.enabled = learned
        ui.memoryLabel.text = memory.sentence(parameters.inputVolume, self._card, parameters.tile, parameters.precision)
        ui.setupLabel.text = setup.sentence()

    def _showRegion(self) -> None:
        ui, parameters = self.ui, self._parameterNode
        choices.select(ui.regionCombo, parameters.region)
        choices.fillSegments(ui.segmentCombo, parameters.segmentation, parameters.segment)
        segment, roi = parameters.region == "segment", parameters.region == "roi"
        for name, visible in (
            ("segmentation", segment),
            ("segment", segment),
            ("roi", roi),
            ("feather", segment or roi),
        ):
            field = {"segment": "segmentCombo", "feather": "featherSpinBox"}.get(name, f"{name}Selector")
            getattr(ui, field).visible = visible
            getattr(ui, f"{name}Label").visible = visible

    def _showResult(self) -> None:
        ui, node = self.ui, self._parameterNode.resultVolume
        # The parameter is read from a cache, which may still hold a node that was removed.
        provenance = views.provenanceOf(node) if runs.isIn(node) else None
        ui.resultCollapsible.visible = provenance is not None
        if provenance is None:
            return
        ui.resultCollapsible.text = _("Result: {name}").format(name=node.GetName())
        ui.trustLabel.text, ui.reasonsLabel.text = texts.trustHtml(provenance, ui.reasonsButton.checked)
        ui.figuresLabel.text = texts.figuresHtml(provenance)
        for label in (ui.reasonsLabel, ui.figuresLabel):
            label.visible = bool(label.text)
        ui.tableButton.enabled = bool(texts.figureRows(provenance))
        hasInput = node.GetNodeReference(runs.INPUT_ROLE) is not None
        for button in (
            ui.showButton,
            ui.residualButton,
            ui.scriptButton,
            ui.explainButton,
            ui.fadeSlider,
            ui.flickerButton,
        ):
            button.enabled = hasInput
        views.setFade(node, self._parameterNode.fade)

    def _showState(self) -> None:
        """Apply or Cancel, the progress bar, what can be pressed now."""
        ui, parameters = self.ui, self._parameterNode
        busy = self._busy()
        ui.applyButton.text = _("&Cancel") if busy else _("&Apply")
        problem = choices.problem(parameters, self._card)
        ui.applyButton.enabled = busy or not problem
        ui.applyButton.toolTip = problem or (_("Stop; nothing is changed") if busy else _("Make the new volume"))
        ui.progressBar.visible = busy
        hasViews = slicer.app.layoutManager() is not None
        ui.previewButton.enabled = ui.compareButton.enabled = hasViews and not busy and not problem
        ui.closeGalleryButton.visible = self._gallery is not None and self._gallery.finished
        ui.tryLabel.text = _("On a few slices around the red view: seconds, not minutes.")
        for name in ("imageCollapsible", "methodCollapsible"):
            getattr(ui, name).enabled = not busy

    def _busy(self) -> bool:
        return self._current() is not None

    def say(self, text) -> None:
        self.ui.statusLabel.text = text

    # -- the work

    def onApply(self, _checked=False) -> None:
        if self._busy():
            self._cancelWork()
            return
        self.closeGallery()
        with self._attempt(_("The volume could not be enhanced:")):
            if not self._ready():
                return
            parameters = self._parameterNode
            self._run = self.logic.process(
                parameters.inputVolume,
                None if sequences.sequenceOf(parameters.inputVolume)[0] and parameters.allTimePoints
                else parameters.outputVolume,
                mask=choices.regionOf(parameters),
                sequence=parameters.allTimePoints,
                wait=False,
                **choices.options(parameters),
            )  # fmt: skip
            self._begin()

    def _ready(self) -> bool:
        """Whether what the method needs is installed; asks once and installs it. Only here and on Set up."""
        ready, text = setup.ensure(self._card)
        if not ready:
            self.say(text)
        return ready

    def _begin(self) -> None:
        self.say("")
        self._pollTimer.start()
        self.onParameters()
        self.onPoll()

    def onPoll(self) -> None:
        """Called by the timer while something is under way. Must not raise: it would, ten times a second."""
        try:
            work = self._current()
            if work is None:
                self._pollTimer.stop()
                return
            if work.poll():
                self._showProgress(work.fraction, work.text, getattr(work, "remaining", None))
                return
            self._pollTimer.stop()
            self._finished(work)
        except Exception as error:
            self._pollTimer.stop()
            self._stopEverything()
            slicer.util.errorDisplay(_("DLRecon stopped: {error}").format(error=error))
        if self._parameterNode is not None:
            self.onParameters()

    def _current(self):
        works = (self._run, self._explanation, self._gallery)
        return next((work for work in works if work is not None and not work.finished), None)

    def _showProgress(self, fraction, text, remaining) -> None:
        bar = self.ui.progressBar
        bar.setValue(round(1000 * fraction))
        bar.format = f"{round(100 * fraction)} %"
        self.say(" · ".join(part for part in (text, texts.remainingText(remaining)) if part))
        if self.ui.logText.visible:
            self._showLog()

    def _finished(self, work) -> None:
        if work is self._gallery:
            self._showGallery()
        elif work.state == "done" and work is self._run:
            self._deliver(work)
        elif work.state == "done":
            self.say(_("The coloured map shows what the result at the crosshair depends on."))
        elif work.state == "cancelled":
            self.say(_("Cancelled: {why}. Nothing was changed.").format(why=work.error) if work.error
                     else _("Cancelled. Nothing was changed."))  # fmt: skip
        else:
            self._fail(work.error)
        if work is self._run:
            self._run = None
        elif work is self._explanation:
            self._explanation = None

    @contextlib.contextmanager
    def _attempt(self, message):
        """What goes wrong becomes a sentence in the panel. Mistakes of the program itself are left to Slicer."""
        try:
            yield
        except (ValueError, RuntimeError, OSError) as error:
            logging.info(f"DLRecon: {error}", exc_info=True)
            self._fail(str(error), message)

    def _fail(self, error, message="") -> None:
        """One sentence in the panel; all of it in the log, and no window in the way."""
        lines = error.strip().splitlines() or ["?"]
        self.say(f"{message or _('It did not work:')} {lines[0]}")
        if len(lines) > 1:
            self._showLog(error)
            self.ui.logButton.checked = self.ui.logText.visible = True
            self.ui.advancedCollapsible.collapsed = False

    def _deliver(self, run) -> None:
        node = run.outputNode
        shown = node
        source = node.GetNodeReference(runs.INPUT_ROLE)
        if node.IsA("vtkMRMLSequenceNode"):
            browser = sequences.sequenceOf(node)[1]
            shown = browser.GetProxyNode(node) if browser is not None else None
            source = self._parameterNode.inputVolume
            if shown is None:
                self.say(_("Done: sequence {name}.").format(name=node.GetName()))
                return
            runs.remember(shown, source, choices.regionOf(self._parameterNode))
            shown.SetAttribute("DLRecon.Provenance", json.dumps(run.provenance))
        with slicer.util.NodeModify(self._parameterNode):
            self._parameterNode.resultVolume = shown
            self._parameterNode.fade = 1.0
        views.showOver(source, shown)
        seconds = run.provenance["seconds"]["total"]
        text = _("Done in {n:.0f} s by {model}.").format(n=seconds, model=run.provenance["model"]["title"])
        uncertainty = node.GetNodeReference(runs.UNCERTAINTY_ROLE)
        if uncertainty is not None:
            text += " " + _("{name} shows where it may be wrong.").format(name=uncertainty.GetName())
        self.say(text)

    def _cancelWork(self) -> None:
        for work in (self._run, self._explanation):
            if work is not None:
                work.cancel()
        if self._gallery is not None and not self._gallery.finished:
            self._gallery.cancel()
            self.closeGallery()
        self._run = self._explanation = None
        self._pollTimer.stop()
        self.say(_("Cancelled. Nothing was changed."))
        self.onParameters()

    def _stopEverything(self) -> None:
        """Before the scene, the module or the application goes."""
        for timer in self._timers:
            timer.stop()
        for work in (self._run, self._explanation):
            if work is not None:
                work.cancel()
        if self._gallery is not None:
            self._gallery.close()
        self._run = self._explanation = self._gallery = None

    # -- try it first

    def onPreview(self, _checked=False) -> None:
        self._startGallery([self._card])

    def onCompare(self, _checked=False) -> None:
        self._startGallery(choices.comparable(self._parameterNode, self.logic))

    def _startGallery(self, cards) -> None:
        self.closeGallery()
        with self._attempt(_("The preview could not be made:")):
            if not self._ready():
                return
            parameters = self._parameterNode
            options = choices.options(parameters)
            options.pop("uncertainty", None)  # takes too long for a look
            self._gallery = gallery.Gallery(
                self.logic.client(), parameters.inputVolume, cards, options, choices.regionOf(parameters), self.useModel
            )
            self._begin()

    def _showGallery(self) -> None:
        choices.fillGallery(self.ui.galleryTable, self._gallery.entries)
        self.ui.galleryTable.visible = len(self._gallery.entries) > 1
        failed = [e for e in self._gallery.entries if e.state == "failed"]
        text = ""
        if len(self._gallery.entries) > 1:
            text = _(
                "Click a picture or a row to take that method. The error is an estimate, in percent of the noise; "
                "methods within {n} points of the least count as equal, and learned ones come first among them."
            ).format(n=round(100 * gallery.ALIKE))
        if failed:
            text += " " + "; ".join(f"{e.title}: {e.error.splitlines()[0]}" for e in failed)
        self.ui.galleryLabel.text = text
        self.ui.galleryLabel.visible = bool(text)
        self.say(_("This is a preview of a few slices. Apply works on the whole volume."))

    def onGalleryRow(self, row, _column=0) -> None:
        if self._gallery is not None and row < len(self._gallery.entries):
            entry = self._gallery.entries[row]
            if entry.state == "done":
                self.useModel(entry.model)

    def useModel(self, model) -> None:
        """Take a method of the preview over."""
        self._parameterNode.model = model
        self.say(_("{method} is chosen. Press Apply for the whole volume.").format(method=self._card.title))

    def closeGallery(self, _checked=False) -> None:
        if self._gallery is not None:
            self._gallery.close()
            self._gallery = None
        self.ui.galleryTable.visible = False
        self.ui.galleryLabel.visible = False
        if self._parameterNode is not None:
            self.onParameters()

    # -- after

    def onFlickerToggled(self, checked) -> None:
        if checked:
            self._flickerTimer.start()
        else:
            self._flickerTimer.stop()
            if self._parameterNode is not None:
                self._parameterNode.fade = 1.0

    def onFlicker(self) -> None:
        """Input and result in turn: the eye sees what changed."""
        if self._parameterNode is None or not runs.isIn(self._parameterNode.resultVolume):
            self.ui.flickerButton.checked = False
            self._flickerTimer.stop()
            return
        self._parameterNode.fade = 0.0 if self._parameterNode.fade > 0.5 else 1.0

    def onResidual(self, _checked=False) -> None:
        with self._attempt(_("What was removed could not be shown:")):
            node = views.residualNode(self._parameterNode.resultVolume)
            slicer.util.setSliceViewerLayers(background=node, foreground=None)
            self.say(_("{name}: what looks like noise was noise; where you see anatomy, too much was removed.").format(
                name=node.GetName()))  # fmt: skip

    def onShow(self, _checked=False) -> None:
        """Back from the residual or a map to the result over its input."""
        node = self._parameterNode.resultVolume
        views.showOver(node.GetNodeReference(runs.INPUT_ROLE), node, self._parameterNode.fade)

    def onTable(self, _checked=False) -> None:
        node = self._parameterNode.resultVolume
        table = views.figuresNode(node, texts.figureRows(views.provenanceOf(node)))
        self.say(_("Table {name} was added.").format(name=table.GetName()))

    def onScript(self, _checked=False) -> None:
        with self._attempt(_("The script could not be written:")):
            node = self._parameterNode.resultVolume
            script = texts.scriptOf(node, views.provenanceOf(node))
            slicer.app.clipboard().setText(script)
            self.say(_("The lines are on the clipboard; paste them into the Python console."))

    def onExplain(self, _checked=False) -> None:
        with self._attempt(_("The result could not be explained:")):
            if self._busy():
                return
            self._explanation = self.logic.explain(self._parameterNode.resultVolume)
            self._begin()

    def onReport(self, _checked=False) -> None:
        import qt

        node = self._parameterNode.resultVolume
        path = qt.QFileDialog.getSaveFileName(
            slicer.util.mainWindow(), _("Save report"), f"{node.GetName()}.html", _("Web page (*.html)")
        )
        if path:
            with self._attempt(_("The report could not be saved:")):
                self.logic.saveReport(node, path)
                self.say(_("Report saved as {path}.").format(path=path))

    # -- software, card, log

    def onDetails(self, checked) -> None:
        self.ui.cardBrowser.visible = checked
        self.onParameters()

    def onSetup(self, _checked=False) -> None:
        with self._attempt(_("The software could not be installed:")):
            self.say(setup.ensure(None, everything=True)[1])
            self.onParameters()

    def onWheels(self, _checked=False) -> None:
        import qt

        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Folder with the wheel files"))
        if folder:
            with self._attempt(_("The software could not be installed:")):
                self.say(setup.ensure(None, everything=True, folder=folder)[1])
                self.onParameters()

    def onLog(self, checked) -> None:
        self.ui.logText.visible = checked
        if checked:
            self._showLog()

    def _showLog(self, error="") -> None:
        self.ui.logText.setPlainText("\n".join(part for part in (error, self.logic.log) if part))


#
# DLReconLogic
#


class DLReconLogic(ScriptedLoadableModuleLogic):
    """The road from node to node, usable without the widget.

    PyTorch is not loaded into Slicer, where it has caused crashes: a process of its own does the work. It is kept
    for the next volume until close().
    """

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self._client = None
        self._recognised = None

    def getParameterNode(self):
        return DLReconParameterNode(super().getParameterNode())

    def process(
        self,
        inputVolume,
        outputVolume=None,
        task="denoise",
        model="auto",
        strength=1.0,
        mask=None,
        wait=True,
        sequence=True,
        **options,
    ):
        """Enhance a volume or a time series. The input is not changed; after an error the scene is as it was.

        :param inputVolume: scalar or vector volume node, or a sequence node of such. The volume that a sequence
            browser shows stands for its whole sequence, unless sequence=False.
        :param outputVolume: node of the same kind to overwrite, or None for a new one.
        :param task: what is wrong with the image; `python -m DLReconLib list` names the tasks and models.
        :param model: a model's id, or "auto" for the best known for the task and the modality.
        :param strength: 0 (nothing) to 1 (all that the model takes for noise is removed).
        :param mask: where to work: label map node, ROI node, or (segmentation node, segment ID). None: everywhere.
        :param wait: True waits and returns the output node; False returns a handle at once: poll() it now and then,
            then see its state, error and outputNode.
        :param options: modality, device, tile, dtype, precision, judge, uncertainty, feather: as on the command line.
        :raises TypeError, ValueError: a node or an option does not suit.
        :raises RuntimeError: the work failed, or an option does not suit the image; the message says why.
        """
        findLibrary()
        from DLReconLib.help import HELP

        unknown = sorted(set(options) - set(HELP))
        if unknown:
            raise TypeError(f"unknown options {', '.join(unknown)}; wanted some of: {', '.join(sorted(HELP))}")
        options = {"task": task, "model": model, "strength": float(strength), **options}
        source, browser = sequences.sequenceOf(inputVolume) if sequence else (None, None)
        if source is not None:
            run = runs.startSequence(self.client(), source, browser, outputVolume, mask, options)
        else:
            run = runs.startVolume(self.client(), inputVolume, outputVolume, mask, options)
        return run.wait() if wait else run

    def explain(self, resultVolume):
        """A handle to poll: what the result at the crosshair depends on, as a new volume node.

        :raises ValueError: the crosshair is outside, or the input is gone.
        """
        findLibrary()
        return runs.startExplanation(self.client(), resultVolume, views.provenanceOf(resultVolume))

    def installDependencies(self, wheels=None) -> None:
        """Install all that learned models need, without asking: for scripts.

        :param wheels: folder of wheel files to install from without the internet.
        :raises RuntimeError: it failed; the message says what to do.
        """
        findLibrary()
        setup.install("learned", wheels)

    def saveReport(self, resultVolume, path) -> None:
        """A page with pictures, figures and the record of a result. Raises OSError."""
        findLibrary()
        views.writeReport(resultVolume, path)

    def recognise(self, volumeNode, asked="auto"):
        """(DICOM code or "", why) of the kind of image; remembered until the voxels change."""
        key = choices.stateOf(volumeNode), asked
        if self._recognised is None or self._recognised[0] != key:
            findLibrary()
            self._recognised = key, choices.recognise(volumeNode, asked)
        return self._recognised[1]

    def client(self):
        """The one who talks to the worker; nothing is started before the first volume is handed over."""
        if self._client is None:
            findLibrary()
            from DLReconLib.client import Client

            self._client = Client()
        return self._client

    @property
    def log(self) -> str:
        return self._client.log if self._client is not None else ""

    def close(self) -> None:
        """End the worker. The next volume starts another one."""
        if self._client is not None:
            self._client.close()
            self._client = None


def findLibrary() -> None:
    """Put the folder that holds DLReconLib on Python's path: the module's own where it is installed, the one above
    in the sources."""
    here = os.path.dirname(os.path.abspath(__file__))
    for folder in (here, os.path.dirname(here)):
        if os.path.isfile(os.path.join(folder, "DLReconLib", "__init__.py")):
            if folder not in sys.path:
                sys.path.append(folder)
            return
    raise RuntimeError(f"DLReconLib was found neither in {here} nor above it. Install the extension again.")


#
# DLReconTest
#


class DLReconTest(ScriptedLoadableModuleTest):
    """Runs inside Slicer. The library's own tests are in Testing/Python."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        for test in (self.test_nodeToNode, self.test_denoise, self.test_failureLeavesScene):
            self.setUp()
            test()
        self.delayDisplay("Test passed")

    def _noisyVolume(self):
        volumeNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "noisy")
        voxels = 100 + np.random.default_rng(1).normal(0, 5, (12, 24, 20))
        slicer.util.updateVolumeFromArray(volumeNode, voxels.astype(np.float32))
        volumeNode.SetSpacing(0.8, 0.9, 2.0)
        volumeNode.SetOrigin(-10, 20, 30)
        return volumeNode

    def test_nodeToNode(self):
        """A node comes back on the same grid with the same values."""
        findLibrary()
        from DLReconLib import mrml

        inputVolume = self._noisyVolume()
        outputVolume = mrml.new_output_node(inputVolume, "copy")
        mrml.write_to_node(mrml.volume_from_node(inputVolume), outputVolume, inputVolume)
        arrays = [slicer.util.arrayFromVolume(node) for node in (inputVolume, outputVolume)]
        self.assertTrue(np.array_equal(*arrays))
        matrices = [vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()]
        for node, matrix in zip((inputVolume, outputVolume), matrices, strict=True):
            node.GetIJKToRASMatrix(matrix)
        self.assertTrue(np.array_equal(*[slicer.util.arrayFromVTKMatrix(matrix) for matrix in matrices]))

    def test_denoise(self):
        """A classical method needs no PyTorch: the whole road, with a record at its end."""
        inputVolume = self._noisyVolume()
        outputVolume = DLReconLogic().process(inputVolume, model="classical/gaussian")
        noisy, clean = (slicer.util.arrayFromVolume(node) for node in (inputVolume, outputVolume))
        self.assertEqual(clean.shape, noisy.shape)
        self.assertLess(clean.std(), noisy.std())
        record = json.loads(outputVolume.GetAttribute("DLRecon.Provenance"))
        self.assertEqual(record["model"]["id"], "classical/gaussian")

    def test_failureLeavesScene(self):
        """A task that does not exist fails, with the scene as it was."""
        inputVolume = self._noisyVolume()
        nodes = slicer.mrmlScene.GetNumberOfNodes()
        with self.assertRaises(RuntimeError):
            DLReconLogic().process(inputVolume, task="no-such-task")
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), nodes)
