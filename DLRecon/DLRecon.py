import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

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


#
# DLReconWidget
#


class DLReconWidget(ScriptedLoadableModuleWidget):
    """A form: input, output, Apply. The logic does the work."""

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        import ctk
        import qt

        self.logic = DLReconLogic()

        volumes = ctk.ctkCollapsibleButton()
        volumes.text = _("Volumes")
        self.layout.addWidget(volumes)
        form = qt.QFormLayout(volumes)

        self.inputSelector = self._volumeSelector(_("The volume to enhance. It is not changed."))
        form.addRow(_("Input:"), self.inputSelector)

        self.outputSelector = self._volumeSelector(_("Where the result goes: a new volume, or one to overwrite."))
        self.outputSelector.noneEnabled = True
        self.outputSelector.noneDisplay = _("(new volume)")
        form.addRow(_("Output:"), self.outputSelector)

        self.applyButton = qt.QPushButton(_("Apply"))
        self.applyButton.toolTip = _("Enhance the input volume")
        self.layout.addWidget(self.applyButton)
        self.layout.addStretch(1)

        self.inputSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onInputChanged)
        self.applyButton.connect("clicked(bool)", self.onApplyButton)
        self.onInputChanged(self.inputSelector.currentNode())

    def cleanup(self) -> None:
        # A connected method keeps the widget alive. setup() may have failed half way.
        if hasattr(self, "applyButton"):
            self.inputSelector.disconnect("currentNodeChanged(vtkMRMLNode*)", self.onInputChanged)
            self.applyButton.disconnect("clicked(bool)", self.onApplyButton)

    def onInputChanged(self, node) -> None:
        self.applyButton.enabled = node is not None

    def onApplyButton(self, _checked=False) -> None:
        with slicer.util.tryWithErrorDisplay(_("The volume could not be enhanced."), waitCursor=True):
            outputVolume = self.logic.process(self.inputSelector.currentNode(), self.outputSelector.currentNode())
            self.outputSelector.setCurrentNode(outputVolume)
            slicer.util.setSliceViewerLayers(background=outputVolume)

    def _volumeSelector(self, toolTip):
        selector = slicer.qMRMLNodeComboBox()
        selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        selector.addEnabled = False
        selector.removeEnabled = False
        selector.setMRMLScene(slicer.mrmlScene)
        selector.toolTip = toolTip
        return selector


#
# DLReconLogic
#


class DLReconLogic(ScriptedLoadableModuleLogic):
    """The road from node to node, usable without the widget.

    PyTorch is not loaded into Slicer, where it has caused crashes: a process of its own does the work.
    """

    def process(self, inputVolume, outputVolume=None, task="denoise", model="auto", strength=1.0):
        """Enhance a volume. Slicer waits until it is done.

        :param inputVolume: scalar or vector volume node; it is not changed.
        :param outputVolume: volume node of the same kind to overwrite, or None for a new one.
        :param task: what is wrong with the image; `python -m DLReconLib list` names the tasks and models.
        :param model: a model's id, or "auto" for the best known for the task and the modality.
        :param strength: 0 (nothing) to 1 (all that the model takes for noise is removed).
        :return: the output volume node.
        :raises TypeError, ValueError: a node does not suit.
        :raises RuntimeError: the work failed, or a parameter does not suit the image; the message says why.

        In case of an error the scene is as it was.
        """
        self._findLibrary()
        from DLReconLib import io, mrml

        volume = mrml.volume_from_node(inputVolume)
        if inputVolume.IsA("vtkMRMLLabelMapVolumeNode"):
            raise TypeError(f"inputVolume {inputVolume.GetName()} is a label map; wanted an image; choose another one")
        if outputVolume is not None and outputVolume.GetClassName() != inputVolume.GetClassName():
            # Found out here, and not only after minutes of work.
            raise TypeError(
                f"outputVolume is a {outputVolume.GetClassName()}; wanted a {inputVolume.GetClassName()} "
                "like inputVolume; choose another one or None"
            )
        # Readable by this user only, and removed in any case: it holds an image of a patient.
        with tempfile.TemporaryDirectory(prefix="DLRecon-", ignore_cleanup_errors=True) as folder:
            names = ("input.nrrd", "output.nrrd", "report.json")
            inputPath, outputPath, reportPath = (os.path.join(folder, name) for name in names)
            # The node's attributes may name the patient, and the work does not need them.
            io.write_volume(replace(volume, metadata={}), inputPath)
            arguments = ["run", inputPath, outputPath, "--report", reportPath, "--progress", "none"]
            arguments += ["--task", task, "--model", model, "--strength", str(strength)]
            if volume.modality:
                arguments += ["--modality", volume.modality]
            self._runLibrary(arguments, folder)
            result = io.read_volume(outputPath)
            with open(reportPath, encoding="utf-8") as file:
                provenance = json.load(file)
        for warning in provenance.get("warnings", []):
            logging.warning(f"DLRecon: {warning}")

        node = outputVolume or mrml.new_output_node(inputVolume, f"{inputVolume.GetName()} {task}")
        try:
            mrml.write_to_node(result, node, inputVolume, provenance=provenance)
        except Exception:
            if outputVolume is None:
                node.GetScene().RemoveNode(node)
            raise
        return node

    @staticmethod
    def _libraryFolder() -> str:
        """The folder that holds DLReconLib: the module's own where it is installed, the one above in the sources."""
        here = os.path.dirname(os.path.abspath(__file__))
        for folder in (here, os.path.dirname(here)):
            if os.path.isfile(os.path.join(folder, "DLReconLib", "__init__.py")):
                return folder
        raise RuntimeError(f"DLReconLib was found neither in {here} nor above it. Install the extension again.")

    def _findLibrary(self) -> None:
        folder = self._libraryFolder()
        if folder not in sys.path:
            sys.path.append(folder)

    def _runLibrary(self, arguments, folder) -> None:
        """`python -m DLReconLib ...` in a process of its own. Raises RuntimeError with the end of what it said.

        It runs in the given folder, an empty one: Python imports from the current folder first, and Slicer's may
        hold anything.
        """
        python = shutil.which("PythonSlicer") or sys.executable
        environment = dict(os.environ)
        paths = [self._libraryFolder(), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        environment["PYTHONIOENCODING"] = "utf-8"
        done = subprocess.run(
            [python, "-m", "DLReconLib", *arguments],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            # No console window on Windows.
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            check=False,
        )
        if done.returncode != 0:
            said = "\n".join(done.stdout.strip().splitlines()[-15:])
            raise RuntimeError(f"DLReconLib ended with code {done.returncode}:\n{said}")


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
        DLReconLogic()._findLibrary()
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
