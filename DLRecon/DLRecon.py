import json
import os
import sys
from typing import Annotated, Union

import numpy as np
import slicer
import vtk
from DLReconPanel import choices, combos, explanations, form, methods, runs, sequences, setup, tooltips, views
from DLReconPanel.results import Results
from DLReconPanel.software import Software
from DLReconPanel.trying import Trying
from DLReconPanel.work import Work
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
    artifact: of artifact reduction. budget: seconds, of a model that learns from the image itself.
    scale: of super-resolution, auto, a factor, or "spacing" for spacingX, Y and Z (mm along i, j, k; 0: the input's).
    thickness: of its slices in mm, 0 where the header is right. consistent: its result agrees with the input.
    region: whole, segment, labels or roi. tile: side of the pieces in voxels, 0 lets the model choose.
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
    artifact: str = "auto"
    budget: Annotated[float, WithinRange(1.0, 3600.0)] = 60.0
    scale: str = "auto"
    spacingX: Annotated[float, WithinRange(0.0, 50.0)] = 0.0
    spacingY: Annotated[float, WithinRange(0.0, 50.0)] = 0.0
    spacingZ: Annotated[float, WithinRange(0.0, 50.0)] = 0.0
    thickness: Annotated[float, WithinRange(0.0, 50.0)] = 0.0
    consistent: bool = True
    region: str = "whole"
    labels: slicer.vtkMRMLLabelMapVolumeNode
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
    """A form. The logic does the work, in a process of its own; a timer asks how far it is.

    What its sections do is in DLReconPanel; each gets the panel. card: of the method that is chosen, or None.
    """

    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self.card = None
        self.work, self.trying, self.results, self.software = Work(self), Trying(self), Results(self), Software(self)
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

        self.work.timer = self._timer(qt, POLL_MS, self.work.onPoll)
        self.flickerTimer = self._timer(qt, FLICKER_MS, self.results.onFlicker)
        combos.fillFixed(self.ui)
        self._fillTasks()
        tooltips.explain(self.ui)
        self._connectWidgets()
        for event, function in (
            (slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose),
            (slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose),
            (slicer.mrmlScene.EndImportEvent, self.onSceneEndClose),
        ):
            self.addObserver(slicer.mrmlScene, event, function)
        for name in ("progressBar", "logText", "cardBrowser", "galleryTable", "resultCollapsible"):
            getattr(self.ui, name).visible = False
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """A connected method keeps the widget alive, and a worker would outlive it. setup() may have failed."""
        self.stopEverything()
        for widget, signal, function in self._connections:
            widget.disconnect(signal, function)
        self._timers, self._connections = [], []
        self.setParameterNode(None)
        self.removeObservers()
        if self.logic is not None:
            self.logic.close()

    def enter(self) -> None:
        methods.forget()
        self._fillTasks()
        setup.forget()
        self.initializeParameterNode()

    def exit(self) -> None:
        """A run goes on; only the flicker would puzzle in another module."""
        self.ui.flickerButton.checked = False

    def onReload(self) -> None:
        """The parts of the module and the library are read again, too."""
        self.stopEverything()
        for name in [n for n in sys.modules if n.split(".")[0] in ("DLReconPanel", "DLReconLib")]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def onSceneStartClose(self, _caller, _event) -> None:
        self.stopEverything()
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

    def _fillTasks(self) -> None:
        """Models may have been added; what is chosen stays."""
        self._updating = True
        try:
            combos.fillTasks(self.ui.taskCombo)
        finally:
            self._updating = False

    def _timer(self, qt, milliseconds, function):
        timer = qt.QTimer()
        timer.setInterval(milliseconds)
        self._connect(timer, "timeout()", function)
        self._timers.append(timer)
        return timer

    def _connectWidgets(self) -> None:
        ui, trying, results, software = self.ui, self.trying, self.results, self.software
        for name in combos.COMBOS:
            self._connect(getattr(ui, f"{name}Combo"), "currentIndexChanged(int)", self.onCombo)
        for button, function in (
            (ui.applyButton, self.work.onApply),
            (ui.reasonsButton, self.onParameters),
            (ui.previewButton, trying.onPreview),
            (ui.compareButton, trying.onCompare),
            (ui.closeGalleryButton, trying.close),
            (ui.residualButton, results.onResidual),
            (ui.explainButton, results.onExplain),
            (ui.showButton, results.onShow),
            (ui.tableButton, results.onTable),
            (ui.plotButton, results.onPlot),
            (ui.scriptButton, results.onScript),
            (ui.reportButton, results.onReport),
            (ui.dicomButton, results.onDicom),
            (ui.detailsButton, software.onDetails),
            (ui.setupButton, software.onSetup),
            (ui.wheelsButton, software.onWheels),
            (ui.logButton, software.onLog),
        ):
            self._connect(button, "clicked(bool)", function)
        self._connect(ui.flickerButton, "toggled(bool)", results.onFlickerToggled)
        for signal in ("cellClicked(int,int)", "cellActivated(int,int)"):
            self._connect(ui.galleryTable, signal, trying.onRow)

    def _connect(self, widget, signal, function) -> None:
        widget.connect(signal, function)
        self._connections.append((widget, signal, function))

    # -- the form

    @property
    def parameters(self):
        """The parameter node, None while the scene is being closed."""
        return self._parameterNode

    def onCombo(self, _index=-1) -> None:
        """The combo boxes whose items change are bound by hand: connectGui wants fixed ones."""
        if self._updating or self._parameterNode is None:
            return
        task = self._parameterNode.task
        with slicer.util.NodeModify(self._parameterNode):
            for name, parameter in combos.COMBOS.items():
                value = combos.chosen(getattr(self.ui, f"{name}Combo"))
                if value is not None:
                    setattr(self._parameterNode, parameter, value)
            if self._parameterNode.task != task:
                self._parameterNode.model = "auto"  # a method does one task

    def onParameters(self, _caller=None, _event=None) -> None:
        """Show what the parameter node says; called on each of its changes."""
        if self._updating or self._parameterNode is None:
            return
        self._updating = True
        try:
            form.showInput(self)
            self.card = form.showMethod(self)
            form.showRegion(self)
            self.results.show()
            form.showState(self)
        finally:
            self._updating = False

    def busy(self) -> bool:
        return self.work.current is not None

    def say(self, text) -> None:
        self.ui.statusLabel.text = text

    def stopEverything(self) -> None:
        """Before the scene, the module or the application goes."""
        for timer in self._timers:
            timer.stop()
        self.work.stop()
        self.trying.drop()


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
        :param task: what is to be done; `python -m DLReconLib list` names the tasks and models.
        :param model: a model's id, or "auto" for the best known for the task and the modality.
        :param strength: 0 (nothing) to 1 (all that the model takes for noise is removed).
        :param mask: where to work: label map node, ROI node, or (segmentation node, segment ID). None: everywhere.
            The task inpaint fills it, and wants one.
        :param wait: True waits and returns the output node; False returns a handle at once: poll() it now and then,
            then see its state, error and outputNode.
        :param options: modality, device, tile, dtype, precision, judge, uncertainty, feather, artifact, scale,
            spacing, thickness, consistent, budget: as on the command line.
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
        return explanations.start(self.client(), resultVolume, views.provenanceOf(resultVolume))

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
