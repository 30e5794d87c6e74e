"""Make the pictures of the panel in Resources/Screenshots.

    python Resources/make_screenshots.py [FOLDER] [--only NAME]

The module, the worker, the scene and the results are the real ones; the image is the brain that comes along, with
simulated Rician noise. The window is drawn by Testing/SlicerHost and looks a little plainer than Slicer's.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SIZE = (1500, 950)
FOLDER = ROOT / "Resources" / "Screenshots"


class Stage:
    """An open application with the panel and the noisy brain. model: of the panel's choice, an id or auto."""

    def __init__(self, host, model="auto"):
        import slicer

        self.host, self.slicer = host, slicer
        self.module = host.load_module(ROOT / "DLRecon" / "DLRecon.py")
        from DLReconPanel import sampleData

        self.node = sampleData.addNoisyBrain()
        slicer.util.setSliceViewerLayers(background=self.node, fit=True)
        self.ui, self.parameters = self.module.widget.ui, self.module.widget._parameterNode
        self.parameters.inputVolume = self.node
        self.parameters.model = model
        self.look("OneUpRedSlice")
        host.process_events(0.5)

    def look(self, name):
        self.slicer.app.layoutManager().setLayout(getattr(self.slicer.vtkMRMLLayoutNode, f"SlicerLayout{name}View"))
        self.host.process_events(0.2)
        self.slicer.app.layoutManager().resetSliceViews()

    def work(self, button):
        button.click()
        self.host.wait_until(lambda: not self.module.widget.busy(), timeout=900)
        self.host.process_events(0.5)

    def apply(self):
        """Raises RuntimeError where the panel made no result."""
        self.work(self.ui.applyButton)
        if self.parameters.resultVolume is None:
            raise RuntimeError(f"the panel made no result; it says: {self.ui.statusLabel.text}")

    def fold(self, *names):
        for name in names:
            getattr(self.ui, f"{name}Collapsible").collapsed = True
        self.host.process_events(0.2)


def result(stage):
    """After Apply: the brain without its noise, the trust light, the figures."""
    stage.apply()
    stage.fold("try")


def compare(stage):
    """Try it first: all methods for this image side by side, the best first."""
    stage.work(stage.ui.compareButton)


def running(stage):
    """Apply has become Cancel; small pieces, so that the picture is not of the first or the last one."""
    stage.parameters.tile = 64
    stage.ui.applyButton.click()
    stage.host.wait_until(lambda: stage.module.widget.work.run.fraction > 0.2, timeout=300)
    stage.host.process_events(0.2)


def details(stage):
    """The card of the method, and the advanced settings."""
    stage.ui.detailsButton.click()
    stage.fold("image", "try")
    stage.ui.advancedCollapsible.collapsed = False
    stage.host.process_events(0.3)


def removed(stage):
    """What was removed, in every direction; every check of the trust light."""
    stage.look("FourUp")
    stage.apply()
    stage.ui.reasonsButton.click()
    stage.fold("image", "method", "try")
    stage.ui.residualButton.click()


def finer(stage):
    """Another task: thick slices made finer, with its own options; the slice thickness is three times the pixel."""
    import numpy as np

    node = stage.slicer.util.getNode("CleanBrain")
    array = stage.slicer.util.arrayFromVolume(node)
    count = len(array) // 3
    thick = array[: 3 * count].reshape(count, 3, *array.shape[1:]).mean(axis=1)
    stage.slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(thick))
    node.SetSpacing(*node.GetSpacing()[:2], 3 * node.GetSpacing()[2])
    stage.parameters.inputVolume, stage.parameters.task = node, "super-resolution"
    stage.look("FourUp")
    stage.apply()
    stage.fold("try")


def fill(stage):
    """Another task: a region is filled, and the light says that it was invented."""
    import numpy as np

    slicer, node = stage.slicer, stage.node
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Hole")
    hole = np.zeros(slicer.util.arrayFromVolume(node).shape, np.uint8)
    middle = [n // 2 for n in hole.shape]
    hole[middle[0] - 4 : middle[0] + 4, middle[1] + 20 : middle[1] + 34, middle[2] - 7 : middle[2] + 7] = 1
    slicer.util.updateVolumeFromArray(labels, hole)
    labels.CopyOrientation(node)
    stage.parameters.task, stage.parameters.model = "inpaint", "classical/biharmonic"
    stage.parameters.region, stage.parameters.labels = "labels", labels
    stage.apply()
    stage.fold("try")


# file: (what to do, dark)
PICTURES = {
    "2": (result, False),
    "3": (compare, False),
    "4": (result, True),
    "5": (details, False),
    "6": (running, False),
    "7": (removed, True),
    "8": (finer, False),
    "9": (fill, False),
}


def make(target, scene=result, dark=False, model="auto", size=SIZE):
    """One picture. Raises RuntimeError or TimeoutError where the panel does not get there."""
    sys.path[:0] = [path for path in (str(ROOT / "Testing"), str(ROOT)) if path not in sys.path]
    from SlicerHost import Host

    with Host(size=size, dark=dark) as host:
        stage = Stage(host, model)
        scene(stage)
        return host.screenshot(target)


def main(argv=None):
    parser = argparse.ArgumentParser(description="Make the pictures of the panel.")
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    parser.add_argument("--only", choices=PICTURES, help="one picture")
    arguments = parser.parse_args(argv)
    for name, (scene, dark) in PICTURES.items():
        if arguments.only in (None, name):
            print(make(arguments.folder / f"{name}.png", scene, dark), (scene.__doc__ or "").strip())


if __name__ == "__main__":
    main()
