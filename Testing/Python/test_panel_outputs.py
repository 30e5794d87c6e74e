"""What the panel makes of a result: plots of sharpness and noise, a DICOM series in the study of the input."""

import sys
from types import ModuleType

import numpy as np
import pytest

REASON = "the panel needs PySide6 and slicer-core: pip install PySide6-Essentials slicer-core"
pytest.importorskip("PySide6", reason=REASON)
slicer = pytest.importorskip("slicer", reason=REASON)
pytest.importorskip("slicer_core", reason=REASON)
pydicom = pytest.importorskip("pydicom", reason="DICOM output needs pydicom")

from test_derived import make_series  # noqa: E402
from test_panel import Host, Panel, voxels  # noqa: E402

from DLReconLib import mrml, read_volume  # noqa: E402
from DLReconLib.quality.curves import curves  # noqa: E402


@pytest.fixture
def panel():
    with Host() as host:
        yield Panel(host)


def column(table, name):
    from vtk.util.numpy_support import vtk_to_numpy

    return vtk_to_numpy(table.GetTable().GetColumnByName(name))


class TestPlots:
    @pytest.fixture
    def disc(self, panel):
        """A sharp disc in white noise, large enough to measure edges and noise."""
        _k, j, i = np.indices((8, 128, 128))
        image = 100 + 400.0 * ((j - 64) ** 2 + (i - 64) ** 2 < 45**2)
        image += np.random.default_rng(2).normal(0, 10, image.shape)
        slicer.util.updateVolumeFromArray(panel.volume, image.astype(np.float32))
        panel.volume.SetSpacing(1.0, 1.0, 2.5)
        return panel

    def test_nodes(self, disc):
        """Two charts; the tables behind them hold the curves, of the input and of the result."""
        result = disc.apply()
        disc.ui.plotButton.click()
        assert "Brain denoise sharpness (MTF)" in disc.said
        arrays = {"before": voxels(disc.volume), "after": voxels(result)}
        for kind, values, name in (("mtf", "mtf", "sharpness (MTF)"), ("nps", "power", "noise power (NPS)")):
            chart = slicer.util.getNode(f"Brain denoise {name}")
            assert chart.IsA("vtkMRMLPlotChartNode")
            assert chart.GetXAxisTitle() == "frequency, cycles/mm"
            series = [chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]
            assert [one.GetYColumnName() for one in series] == ["before", "after"]
            for one in series:
                when = one.GetYColumnName()
                found = curves(arrays[when], (1.0, 1.0, 2.5), arrays["after"])[kind]
                x, y = (column(one.GetTableNode(), c) for c in (one.GetXColumnName(), when))
                count = np.count_nonzero(np.isfinite(y))
                assert count >= 8
                np.testing.assert_allclose(x[:count], found["frequency"][:count])
                np.testing.assert_allclose(y[:count], found[values][:count])

    def test_the_filter_is_seen(self, disc):
        """A Gaussian lowers sharpness and takes the noise of high frequencies."""
        disc.apply()
        disc.ui.plotButton.click()
        table = slicer.util.getNode("Brain denoise noise power (NPS) table")
        before, after = column(table, "before"), column(table, "after")
        assert after[-1] < 0.2 * before[-1]
        assert before[np.isfinite(before)].mean() == pytest.approx(10**2 * 1.0, rel=0.25)  # variance times pixel area
        table = slicer.util.getNode("Brain denoise sharpness (MTF) table")
        half = len(column(table, "after")) // 2
        assert column(table, "after")[half] < column(table, "before")[half]

    def test_an_image_that_shows_neither(self, panel):
        slicer.util.updateVolumeFromArray(panel.volume, np.random.default_rng(1).normal(9, 1, (4, 12, 12)))
        assert panel.apply() is not None
        panel.ui.plotButton.click()
        assert "neither clear edges nor quiet places" in panel.said
        assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLPlotChartNode") == 0


class Database:
    """What the panel asks Slicer's DICOM database for."""

    isOpen = True

    def __init__(self, folder):
        read = [(path, pydicom.dcmread(path, stop_before_pixels=True)) for path in sorted(folder.iterdir())]
        self.files = {str(header.SOPInstanceUID): str(path) for path, header in read}

    def fileForInstance(self, uid):
        return self.files.get(uid, "")


class TestDicom:
    @pytest.fixture
    def study(self, panel, tmp_path, monkeypatch):
        """A CT as Slicer's DICOM module loads it: the UIDs of its images on the node, their files in the database."""
        folder = make_series(tmp_path / "source", "CT")
        panel.database = Database(folder)
        monkeypatch.setattr(slicer, "dicomDatabase", panel.database, raising=False)
        self.imported = []
        module = ModuleType("DICOMLib")
        module.DICOMUtils = type("DICOMUtils", (), {"importDicom": lambda f, db: self.imported.append(f) or True})
        monkeypatch.setitem(sys.modules, "DICOMLib", module)
        volume = read_volume(folder)
        mrml.write_to_node(volume, panel.volume)
        panel.volume.SetAttribute("DICOM.instanceUIDs", " ".join(panel.database.files))
        panel.volume.SetAttribute("DICOM.Modality", "CT")
        panel.out = tmp_path / "out"
        panel.out.mkdir()
        panel.widget.onParameters()
        panel.host.answers.append(str(panel.out))
        return panel

    def test_a_series_in_the_study(self, study):
        result = study.apply()
        assert study.ui.dicomButton.enabled
        study.ui.dicomButton.click()
        (folder,) = study.out.iterdir()
        assert folder.name == "Brain_denoise"
        assert self.imported == [str(folder)]
        images = [pydicom.dcmread(path) for path in folder.iterdir()]
        assert {str(i.StudyInstanceUID) for i in images} == {"2.25.1"}
        assert {str(i.SeriesInstanceUID) for i in images} != {"2.25.11"}
        assert {i.ImageType[0] for i in images} == {"DERIVED"}
        assert {i.SeriesDescription for i in images} == {"Brain denoise"}
        back = read_volume(folder)
        step = max(float(i.RescaleSlope) for i in images)
        np.testing.assert_allclose(back.array, voxels(result), atol=step)
        assert "in the study of the input" in study.said

    def test_not_from_dicom(self, study):
        study.volume.RemoveAttribute("DICOM.instanceUIDs")
        study.apply()
        assert not study.ui.dicomButton.enabled
        assert "was not loaded from DICOM" in study.ui.dicomButton.toolTip

    def test_no_database(self, study, monkeypatch):
        monkeypatch.setattr(slicer.dicomDatabase, "isOpen", False)
        study.apply()
        assert "database is not open" in study.ui.dicomButton.toolTip

    def test_images_that_are_gone(self, study):
        study.apply()
        study.database.files.popitem()
        study.ui.dicomButton.click()
        assert "1 of the 5 images" in study.said
        assert list(study.out.iterdir()) == []

    def test_a_finer_grid_is_no_series_of_the_study(self, study):
        study.choose("task", "super-resolution")
        study.choose("model", "classical/spline")
        study.apply()
        assert "another grid" in study.ui.dicomButton.toolTip
