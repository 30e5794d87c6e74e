"""Models for other programs: the same values there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import noisy_phantom

from DLReconLib import read_volume, reconstruct, write_volume
from DLReconLib.cli import main
from DLReconLib.inference import Model
from DLReconLib.models import ModelError, find_card

torch = pytest.importorskip("torch", reason="what is exported are networks")


def test_a_bundle_runs_in_monai_and_gives_the_same(tmp_path: Path) -> None:
    pytest.importorskip("monai", reason="runs the bundle")
    pytest.importorskip("fire", reason="monai.bundle's command line needs it")
    pytest.importorskip("nibabel", reason="MONAI reads NIfTI by it")
    assert main(["export", "ct-denoise", str(tmp_path / "bundle"), "--format", "bundle"]) == 0
    (tmp_path / "in").mkdir()
    volume = noisy_phantom("CT", shape=(12, 40, 36))
    write_volume(volume, tmp_path / "in" / "scan.nii.gz")
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/inference.json",
               "--dataset_dir", str(tmp_path / "in"), "--output_dir", str(tmp_path / "out"),
               "--device", "cpu"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path / "bundle",
                          env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])})  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    made = read_volume(tmp_path / "out" / "scan_restored.nii.gz")
    same = reconstruct(read_volume(tmp_path / "in" / "scan.nii.gz"), model="ct-denoise", modality="CT", device="cpu")
    assert made.geometry.matches(same.volume.geometry)
    np.testing.assert_allclose(made.array, same.volume.array, atol=0.01)
    assert np.abs(made.array - volume.array).max() > 10


def test_a_bundle_can_be_added_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from DLReconLib.library import add

    for name in ("XDG_DATA_HOME", "LOCALAPPDATA", "HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    assert main(["export", "mr-denoise", str(tmp_path / "bundle"), "--format", "bundle"]) == 0
    card = add(tmp_path / "bundle", {"id": "again"}).card
    network, original = (Model(c, "cpu", "float32").network.state_dict() for c in (card, find_card("mr-denoise")))
    assert all(torch.equal(network[name], original[name]) for name in original)


@pytest.mark.parametrize("model", ["mr-denoise", "ct-denoise"])
def test_onnx_gives_the_same_values(tmp_path: Path, model: str) -> None:
    pytest.importorskip("onnx", reason="writes the graph")
    runtime = pytest.importorskip("onnxruntime", reason="runs the graph")
    command = ["export", model, str(tmp_path / "graph"), "--format", "onnx", "--size", "16,16,24"]
    assert main(command) == 0
    network = Model(find_card(model), "cpu", "float32").network
    session = runtime.InferenceSession(str(tmp_path / "graph" / "model.onnx"), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(2)
    for flag in (0.0, 1.0):
        image, magnitude = rng.random((1, 1, 16, 16, 24), np.float32), np.array([flag], np.float32)
        with torch.inference_mode():
            residual, _ = network(torch.from_numpy(image), torch.from_numpy(magnitude))
        (found,) = session.run(None, {"image": image, "condition": magnitude})
        np.testing.assert_allclose(found, image - residual.numpy(), atol=1e-4)
    assert json.loads((tmp_path / "graph" / "model.json").read_text())["size"] == [16, 16, 24]
    assert main([*command[:2], str(tmp_path / "other"), *command[3:-1], "12,16,16"]) == 2


def test_what_cannot_be_exported_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    from DLReconLib.library.exporting import export

    for form in ("bundle", "onnx"):
        with pytest.raises(ModelError, match="classical/nlm"):
            export("classical/nlm", tmp_path / "out", form)
    with pytest.raises(ValueError, match="bundle, onnx"):
        export("mr-denoise", tmp_path / "out", "pickle")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("precious")
    with pytest.raises(FileExistsError):
        export("mr-denoise", tmp_path / "full", "bundle")
