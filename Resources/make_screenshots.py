"""Make Resources/Screenshots/2.png: the panel after the example was denoised.

Run it from the root: `python Resources/make_screenshots.py [FILE]`. The module is the real one and so are the scene and
the result; the window is drawn by Testing/SlicerHost, and looks a little plainer than Slicer's.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SIZE = (1500, 950)


def make(target: Path, model: str = "auto", size: tuple[int, int] = SIZE) -> Path:
    """Load the module and the noisy brain, press Apply, wait, and take the picture.

    Raises RuntimeError where the panel made no result.
    """
    sys.path[:0] = [str(ROOT / "Testing"), str(ROOT)]
    from SlicerHost import Host

    with Host(size=size) as host:
        import slicer

        slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
        module = host.load_module(ROOT / "DLRecon" / "DLRecon.py")
        from DLReconPanel import sampleData

        node = sampleData.addNoisyBrain()
        widget = module.widget
        widget._parameterNode.inputVolume = node
        widget._parameterNode.model = model
        host.process_events(0.5)
        widget.ui.applyButton.click()
        host.wait_until(lambda: not widget._busy(), timeout=600)
        if widget._parameterNode.resultVolume is None:
            raise RuntimeError(f"the panel made no result; it says: {widget.ui.statusLabel.text}")
        host.process_events(0.5)
        return host.screenshot(target)


if __name__ == "__main__":
    print(make(Path(sys.argv[1]) if sys.argv[1:] else ROOT / "Resources" / "Screenshots" / "2.png"))
