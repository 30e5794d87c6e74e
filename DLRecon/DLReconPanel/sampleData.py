"""Images to try the module with, for Slicer's Sample Data module: category DLRecon."""

import os

import slicer
from slicer.i18n import tr as _

CATEGORY = "DLRecon"
ADDRESS = "https://github.com/Slicer/SlicerTestingData/releases/download/SHA256/"
# Real scans from Slicer's own collection: (name on the button, thumbnail, node, file in Slicer's cache, SHA-256).
DOWNLOADS = (
    ("Head MR", "DLReconHeadMR", "MRHead", "MR-head.nrrd",
     "cc211f0dfd9a05ca3841ce1141b292898b2dd2d3f08286affadf823a7e58df93"),
    ("Brain tumor MR", "DLReconTumorMR", "MRBrainTumor1", "RegLib_C01_1.nrrd",
     "998cb522173839c78657f4bc0ea907cea09fd04e44601f17c82ea27927937b95"),
    ("Chest CT", "DLReconChestCT", "CTChest", "CT-chest.nrrd",
     "4507b664690840abb6cb9af2d919377ffc4ef75b167cb6fd0f747befdb12e38e"),
)  # fmt: skip
NOISY = "Noisy brain MR"


def register():
    """Put the images into the Sample Data module. What is registered already stays as it is."""
    import SampleData

    logic = SampleData.SampleDataLogic
    if hasattr(logic, "registerCustomSampleDataCategory"):  # not in every Slicer
        logic.registerCustomSampleDataCategory(CATEGORY, title=_("DLRecon"))
    icons = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "Resources", "Icons")
    for name, thumbnail, nodeName, fileName, sha256 in DOWNLOADS:
        logic.registerCustomSampleDataSource(
            category=CATEGORY,
            sampleName=name,
            thumbnailFileName=os.path.join(icons, f"{thumbnail}.png"),
            uris=ADDRESS + sha256,
            fileNames=fileName,
            nodeNames=nodeName,
            checksums=f"SHA256:{sha256}",
        )
    logic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=NOISY,
        thumbnailFileName=os.path.join(icons, "DLReconNoisyBrain.png"),
        uris="https://github.com/DLRecon/SlicerDLRecon",  # asked for by Sample Data, not used
        fileNames="colin27_brain.nii.gz",
        nodeNames="NoisyBrain",
        customDownloader=addNoisyBrain,
    )


def addNoisyBrain(source=None):
    """Add the example that comes with DLRecon: the average of 27 scans, made noisy. Needs no internet.

    :return: the volume node "NoisyBrain"; the average without noise is added as "CleanBrain", to compare with.
    """
    from DLRecon import findLibrary

    findLibrary()
    from DLReconLib import mrml
    from DLReconLib.demo import noisy_example

    clean, noisy, _peak = noisy_example()
    nodes = []
    for name, volume in (("CleanBrain", clean), ("NoisyBrain", noisy)):
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", slicer.mrmlScene.GenerateUniqueName(name))
        mrml.write_to_node(volume, node)
        nodes.append(node)
    if slicer.app.layoutManager() is not None:
        slicer.util.setSliceViewerLayers(background=nodes[-1], fit=True)
    return nodes[-1]
