"""What the module offers in Slicer's Sample Data: checksums, thumbnails, and the example that comes along."""

import importlib
import struct
import sys
import types
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
slicer = pytest.importorskip("slicer", reason="slicer-core brings Slicer's scene")


class Scene:
    """slicer.app and what a module finds beside it, without a window."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.registered: list[dict] = []
        self.categories: list[str] = []
        logic = types.SimpleNamespace(
            registerCustomSampleDataCategory=lambda category, title: self.categories.append(category),
            registerCustomSampleDataSource=lambda **source: self.registered.append(source),
        )
        modules = {
            "slicer.i18n": {"tr": lambda text: text},
            "SampleData": {"SampleDataLogic": logic},
            "DLRecon": {"findLibrary": lambda: None},
        }
        for name, members in modules.items():
            module = types.ModuleType(name)
            module.__dict__.update(members)
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setattr(slicer, "mrmlScene", slicer.vtkMRMLScene(), raising=False)
        monkeypatch.setattr(slicer, "app", types.SimpleNamespace(layoutManager=lambda: None), raising=False)
        monkeypatch.syspath_prepend(str(ROOT / "DLRecon"))
        for name in [name for name in sys.modules if name.split(".")[0] == "DLReconPanel"]:
            monkeypatch.delitem(sys.modules, name)
        self.module = importlib.import_module("DLReconPanel.sampleData")
        self.logic = logic


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


def test_sources_are_complete(scene: Scene) -> None:
    scene.module.register()
    assert scene.categories == ["DLRecon"]
    assert {source["category"] for source in scene.registered} == {"DLRecon"}
    names = [source["sampleName"] for source in scene.registered]
    assert len(set(names)) == len(names) >= 4
    for source in scene.registered:
        width, height = struct.unpack(">II", Path(source["thumbnailFileName"]).read_bytes()[16:24])
        assert (width, height) == (260, 280)
        if "customDownloader" not in source:
            algorithm, digest = source["checksums"].split(":")
            assert algorithm == "SHA256"
            assert len(bytes.fromhex(digest)) == 32
            # Slicer's collection is named by its checksums: one cannot be changed without the other.
            assert source["uris"].endswith(f"/SlicerTestingData/releases/download/SHA256/{digest}")
            assert source["fileNames"].endswith(".nrrd")


def test_a_slicer_without_titles_of_categories(scene: Scene) -> None:
    del scene.logic.registerCustomSampleDataCategory
    scene.module.register()
    assert scene.registered


def test_the_example_needs_no_download(scene: Scene) -> None:
    node = scene.module.addNoisyBrain()
    assert node.GetName() == "NoisyBrain"
    clean = slicer.mrmlScene.GetFirstNodeByName("CleanBrain")
    noisy, truth = (slicer.util.arrayFromVolume(n).astype(float) for n in (node, clean))
    assert noisy.shape == truth.shape
    peak = np.percentile(truth, 99.9)
    # Rician noise in air is Rayleigh distributed: its mean square is twice the variance of the complex noise.
    assert np.sqrt((noisy[truth == 0] ** 2).mean() / 2) == pytest.approx(0.09 * peak, rel=0.02)
    matrices = [
        np.array([[m.GetElement(r, c) for c in range(4)] for r in range(4)]) for m in map(matrix, (node, clean))
    ]
    np.testing.assert_array_equal(*matrices)


def matrix(node: object) -> object:
    import vtk

    result = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(result)
    return result


def test_thumbnails_are_what_their_script_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    image = pytest.importorskip("matplotlib.image", reason="matplotlib reads the pictures")
    monkeypatch.syspath_prepend(str(ROOT / "Resources"))
    script = importlib.import_module("make_thumbnails")
    for name, draw in script.THUMBNAILS.items():
        np.testing.assert_allclose(image.imread(script.FOLDER / f"{name}.png"), script.finish(draw()) / 255, atol=0.01)
