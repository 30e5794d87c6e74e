"""The real MRML scene as an application sets it up: logics, colours, files."""

from pathlib import Path

import slicer
import vtk

# The modules of Slicer whose logics are real here: slicer.modules.sequences.logic().
LOGICS = {
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
}


class Mrml:
    """A scene with its application logic and the logics of modules."""

    def __init__(self, folder: str):
        self.scene = slicer.vtkMRMLScene()
        self.scene.RegisterNodeClass(slicer.vtkMRMLCommandLineModuleNode())
        self.logic = slicer.vtkSlicerApplicationLogic()
        self.logic.SetMRMLScene(self.scene)
        self.logic.SetTemporaryPath(folder)
        colors = slicer.vtkMRMLColorLogic()
        self.logic.SetColorLogic(colors)
        self.logics = {name: getattr(slicer, kind)() for name, kind in LOGICS.items()}
        for name, one in {"Colors": colors, **self.logics}.items():
            self.logic.SetModuleLogic(name, one)
            if hasattr(one, "SetMRMLApplicationLogic"):
                one.SetMRMLApplicationLogic(self.logic)
            one.SetMRMLScene(self.scene)
        slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.scene)
        if self.scene.GetFirstNodeByClass("vtkMRMLCrosshairNode") is None:
            self.scene.AddNewNodeByClass("vtkMRMLCrosshairNode")

    def let_go(self) -> None:
        """What observes the scene stops, so that its memory is free for the next one."""
        vtk.vtkObject.GlobalWarningDisplayOff()  # logics that ask the scene which is going
        self.logic.SetSliceLogics(None)
        for name, logic in self.logics.items():
            self.logic.SetModuleLogic(name, None)
            logic.SetMRMLScene(None)
            if hasattr(logic, "SetMRMLApplicationLogic"):
                logic.SetMRMLApplicationLogic(None)
        self.logic.SetModuleLogic("Colors", None)
        self.logic.SetColorLogic(None)
        self.logic.SetMRMLScene(None)
        self.scene = self.logic = None
        self.logics = {}
        vtk.vtkObject.GlobalWarningDisplayOn()

    def save(self, path) -> Path:
        """Into a new folder of that name (without .mrml): the scene and its data."""
        folder = Path(path).with_suffix("")
        folder.mkdir(parents=True)
        before = (self.scene.GetURL(), self.scene.GetRootDirectory())
        if not self.logic.SaveSceneToSlicerDataBundleDirectory(str(folder), None):
            raise OSError(f"scene could not be saved: {folder}")
        self.scene.SetURL(before[0])
        self.scene.SetRootDirectory(before[1])
        return folder

    def load(self, path) -> None:
        """A saved scene instead of this one."""
        path = Path(path)
        if not path.is_file():
            path = next(path.with_suffix("").rglob("*.mrml"))
        self.scene.SetURL(str(path))
        if not self.scene.Connect():
            raise OSError(f"scene could not be loaded: {path}")

    # -- for slicer.util

    def load_volume(self, filename, properties=None):
        """slicer.util.loadVolume by the logic of the module Volumes."""
        known = {"name", "show", "singleFile", "labelmap", "center"}
        given = properties or {}
        if set(given) - known:
            raise NotImplementedError(f"slicer.util.loadVolume: properties {sorted(set(given) - known)}")
        options = bool(given.get("labelmap")) + 2 * bool(given.get("center")) + 4 * bool(given.get("singleFile"))
        name = given.get("name", Path(filename).name.split(".")[0])
        node = self.logics["Volumes"].AddArchetypeVolume(str(filename), name, options)
        if node is None:
            raise RuntimeError(f"Failed to load node from file: {filename}")
        if given.get("show", True):
            slicer.util.setSliceViewerLayers(background=node, fit=slicer.app.layoutManager() is not None)
        return node

    @staticmethod
    def save_node(node, filename, properties=None) -> bool:
        """slicer.util.saveNode by the node's own storage class."""
        if properties:
            raise NotImplementedError(f"slicer.util.saveNode: properties {sorted(properties)}")
        storage = node.CreateDefaultStorageNode()
        storage.UnRegister(None)
        storage.SetFileName(str(filename))
        return bool(storage.WriteData(node))
