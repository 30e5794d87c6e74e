"""Super-resolution: the acquisition, the grids, the training. What holds for every model is in test_laws.py."""

import csv
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import noisy_phantom, oblique, phantom

from DLReconLib import reconstruct
from DLReconLib.cli import main
from DLReconLib.io import read_volume, write_volume
from DLReconLib.networks.interpolation import lanczos, spline
from DLReconLib.resolution import Enlargement
from DLReconLib.resolution.acquisition import PROFILES, Acquisition, Axis, degrading, interpolating, inverting
from DLReconLib.resolution.variation import fewer_edges, variation_gradient
from DLReconLib.volume import Volume

TASK = "super-resolution"
PLANS = Path(__file__).parents[2] / "DLReconLib" / "zoo"
GRIDS = [(12, 24), (12, 36), (10, 40), (11, 40), (27, 40), (30, 33), (5, 5)]
WIDTHS = [0.5, 1.0, 1.25]
AXES = [Axis(n, m, p, w) for n, m in GRIDS for p in PROFILES for w in WIDTHS if p != "kspace" or w == 1]
every_axis = pytest.mark.parametrize("axis", AXES, ids=lambda a: f"{a.coarse}-{a.fine}-{a.profile}-{a.width:g}")


@every_axis
def test_acquisition_keeps_constants_and_is_undone(axis: Axis) -> None:
    forward = degrading(axis)
    np.testing.assert_allclose(forward.sum(1), 1, atol=1e-9)
    np.testing.assert_allclose(forward @ inverting(axis), np.eye(axis.coarse), atol=1e-9)
    assert np.abs(inverting(axis)).sum(1).max() < 6  # noise is not amplified without limit


@every_axis
def test_a_shifted_phantom_stays_in_its_place(axis: Axis) -> None:
    """Half-voxel rule: the centre of gravity of a blob, wherever it lies, to a hundredth of a coarse voxel."""
    fine, coarse = axis.centres, np.arange(axis.coarse)
    for shift in np.linspace(-0.5, 0.5, 5):
        blob = np.exp(-0.5 * ((fine - (axis.coarse - 1) / 2 - shift) / 1.0) ** 2)
        seen = degrading(axis) @ blob
        for image, places in ((seen, coarse), (interpolating(axis) @ seen, fine), (inverting(axis) @ seen, fine)):
            assert (image * places).sum() / image.sum() - (blob * fine).sum() / blob.sum() == pytest.approx(0, abs=0.01)


def test_blocks_are_averaged_exactly() -> None:
    image = phantom((12, 24, 30))
    acquisition = Acquisition((Axis(4, 12), Axis(12, 24), Axis(30, 30)))
    wanted = image.reshape(4, 3, 12, 2, 30).mean((1, 3))
    np.testing.assert_allclose(acquisition.degrade(image), wanted, atol=1e-3)


def test_gap_between_slices() -> None:
    """Slices of a third of the spacing are the middle one of three."""
    image = np.random.default_rng(0).random((12, 4, 4)).astype(np.float32)
    acquisition = Acquisition((Axis(4, 12, "box", 1 / 3), Axis(4, 4), Axis(4, 4)))
    np.testing.assert_allclose(acquisition.degrade(image), image[1::3], atol=1e-6)


def test_truncation_of_kspace() -> None:
    """Waves below the new Nyquist frequency pass, those above vanish."""
    axis = Axis(20, 40, "kspace")
    for order, passes in ((3, True), (19, True), (21, False), (35, False)):
        wave = np.cos(np.pi * order * (np.arange(40) + 0.5) / 40)
        wanted = np.cos(np.pi * order * (np.arange(20) + 0.5) / 20) * passes
        np.testing.assert_allclose(degrading(axis) @ wave, wanted, atol=1e-9)


def test_adjoint() -> None:
    rng = np.random.default_rng(0)
    acquisition = Acquisition((Axis(4, 12, "gaussian"), Axis(7, 11, "box", 0.8), Axis(6, 12, "kspace")))
    x, y = rng.standard_normal(acquisition.fine), rng.standard_normal(acquisition.coarse)
    left, right = np.vdot(acquisition.degrade(x), y), np.vdot(x, acquisition.adjoint(y))
    assert left == pytest.approx(right, rel=1e-4)


def test_projection_makes_any_image_consistent() -> None:
    rng = np.random.default_rng(0)
    acquisition = Acquisition((Axis(6, 24, "gaussian"), Axis(12, 24, "kspace"), Axis(11, 24, "box", 0.9)))
    x, y = rng.standard_normal(acquisition.fine), rng.standard_normal(acquisition.coarse)
    projected = acquisition.project(x, y)
    np.testing.assert_allclose(acquisition.degrade(projected), y, atol=1e-4)
    np.testing.assert_allclose(acquisition.project(projected, y), projected, atol=1e-4)
    again = Acquisition.from_dict(json.loads(json.dumps(acquisition.to_dict())))
    assert again == acquisition


def test_gradient_of_the_variation() -> None:
    rng = np.random.default_rng(0)
    image, step = rng.random((19, 7, 8)), rng.standard_normal((19, 7, 8))

    def variation(x: np.ndarray) -> float:
        slopes = [np.diff(x, axis=n, append=np.take(x, [-1], n)) for n in range(3)]
        return float(np.sqrt(sum(s**2 for s in slopes) + 0.1**2).sum())

    wanted = (variation(image + 1e-4 * step) - variation(image - 1e-4 * step)) / 2e-4
    found = (variation_gradient(image.astype(np.float32), 0.1) * step).sum()
    assert found == pytest.approx(wanted, rel=1e-3)


def test_variation_finds_edges_and_adds_nothing_visible() -> None:
    """Blocks that no interpolation can sharpen come out nearer to the truth, and the acquisition sees no change."""
    truth = np.zeros((24, 32, 32), np.float32)
    for k in range(24):  # a slanted edge
        truth[k, :, 6 + k // 2 :] = 1
    acquisition = Acquisition((Axis(8, 24, "gaussian"), Axis(32, 32), Axis(32, 32)))
    base = acquisition.consistent(acquisition.degrade(truth))
    errors = [np.square(base + d - truth).mean() for d in [0 * base, *fewer_edges(base, acquisition)]]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.7 * errors[0]  # 1.5 dB
    for change in fewer_edges(base, acquisition):
        np.testing.assert_allclose(acquisition.degrade(change), 0, atol=1e-4)


def test_interpolation_agrees_with_other_libraries() -> None:
    image = phantom((6, 14, 12))
    acquisition = Acquisition((Axis(6, 18), Axis(14, 25), Axis(12, 12)))
    np.testing.assert_allclose(acquisition.interpolate(image), spline(image, acquisition.fine), atol=1e-2)
    sitk = pytest.importorskip("SimpleITK", reason="the other library")
    steps = [c / f for c, f in zip(acquisition.coarse, acquisition.fine, strict=True)][::-1]
    grid = [25, 18][::-1], [(s - 1) / 2 for s in steps]
    resampled = sitk.Resample(
        sitk.GetImageFromArray(np.pad(image, 6, mode="symmetric")), [12, *grid[0][::-1]], sitk.Transform(),
        sitk.sitkLanczosWindowedSinc, [o + 6 for o in grid[1]], steps, [1, 0, 0, 0, 1, 0, 0, 0, 1], 0.0,
    )  # fmt: skip
    np.testing.assert_allclose(lanczos(image, acquisition.fine), sitk.GetArrayFromImage(resampled), atol=8)


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """A plan of a few steps on two phantoms and a label map."""
    folder = tmp_path / "plan"
    folder.mkdir()
    labels = np.digitize(phantom((40, 40, 40)), [1, 300, 700]).astype(np.int16)
    for name, array in {"a": phantom((36, 40, 40)), "b": phantom((36, 36, 40)), "labels": labels}.items():
        write_volume(Volume(array), tmp_path / f"{name}.nii.gz")
    common = {"licence": "CC0", "credit": "phantom", "weight": 1}
    images = [
        {"path": "a.nii.gz", "subject": "a", "role": "train", "averages": [[1, 1, 1]], **common},
        {"path": "labels.nii.gz", "subject": "l", "role": "train", "labels": True, **common},
        {"path": "b.nii.gz", "subject": "b", "role": "validation", "averages": [[1, 1, 1]], **common},
    ]
    (folder / "split.json").write_text(json.dumps({"images": images}))
    values = json.loads((PLANS / "mr-superres" / "plan.json").read_text())
    values |= {"id": "little", "arguments": {"channels": [8, 8]}, "patch": [24, 24, 24], "precision": "float32"}
    values |= {"batch": 2, "steps": 8, "further": [], "every": 4, "warmup": 2}
    (folder / "plan.json").write_text(json.dumps(values))
    card = json.loads((PLANS / "mr-superres" / "card.json").read_text()) | {"weights": "", "sha256": ""}
    (folder / "card.json").write_text(json.dumps(card))
    return folder / "plan.json"


def test_training_writes_a_model_that_runs(plan: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="training needs torch")
    from DLReconLib.training import train_by_plan

    out = train_by_plan(plan, tmp_path, tmp_path / "out")
    rows = list(csv.DictReader((out / "log.csv").open()))
    assert [int(r["step"]) for r in rows] == [4, 8]
    assert np.isfinite(float(rows[0]["validation_psnr_gain_db"]))
    result = reconstruct(noisy_phantom("MR", 0.0), task=TASK, model=str(out / "card.json"), device="cpu")
    assert np.abs(result.residual.array).max() > 0


def test_network_learns_what_the_acquisition_hides(plan: Path, tmp_path: Path) -> None:
    """On patches that it sees again and again, the error of the interpolation falls."""
    torch = pytest.importorskip("torch", reason="training needs torch")
    from DLReconLib.training.resolution import ResolutionTrainer

    torch.manual_seed(0)
    trainer = ResolutionTrainer(plan, tmp_path, tmp_path / "out", "cpu")
    trainer.plan = replace(trainer.plan, steps=1000)  # the rate stays up
    batch = trainer.pairs("train", 0, 2, (3.0, 1.0, 1.0))
    for _ in range(150):
        left, before = batch.errors(trainer.network(batch.base, batch.changes))
        trainer.descend((left / before).log().mean())
    assert float(left.detach().sum()) < 0.8 * float(before.sum())


def test_a_critic_asks_for_edges_as_strong_as_the_truth(plan: Path, tmp_path: Path) -> None:
    """Trained against it, a network's edges come nearer to the truth's in strength, and stay invisible to A."""
    pytest.importorskip("monai", reason="the critic is MONAI's")
    safetensors = pytest.importorskip("safetensors.torch", reason="training needs torch")
    from DLReconLib.training import adversarial

    trainer = adversarial.ResolutionTrainer(plan, tmp_path, tmp_path / "first", "cpu")
    folder = tmp_path / "begin"
    folder.mkdir()
    state = {k: v.contiguous() for k, v in trainer.network.state_dict().items()}
    safetensors.save_file(state, folder / "weights.safetensors")
    card = json.loads((plan.parent / "card.json").read_text())
    card |= {"id": "begin", "arguments": {"channels": [8, 8]}, "weights": "weights.safetensors"}
    card["sha256"] = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adversarial, "BEGIN", str(folder))
        trainer = adversarial.AdversarialTrainer(plan, tmp_path, tmp_path / "out", "cpu")
    trainer.plan = replace(trainer.plan, steps=1000)
    batch = trainer.pairs("train", 0, 2, (3.0, 1.0, 1.0))
    trainer.pairs = lambda *_: batch

    def edges() -> tuple[float, float]:
        made = batch.base + batch.hidden(trainer.network(batch.base, batch.changes).detach())
        true = batch.base + batch.target
        for one, given in zip(made[:, 0].numpy(), batch.base[:, 0].numpy(), strict=True):
            np.testing.assert_allclose(one.mean(), given.mean(), atol=1e-2)
        return float(adversarial.edge_strength(made).mean()), float(adversarial.edge_strength(true).mean())

    before, wanted = edges()
    for _ in range(40):
        trainer.train_step()
    after, _ = edges()
    assert abs(after - wanted) < abs(before - wanted)


def test_resumed_training_ends_in_the_same_weights(plan: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="training needs torch")
    from DLReconLib.progress import Cancelled
    from DLReconLib.training import train_by_plan

    def interrupt(fraction: float, text: str) -> None:
        if fraction > 0.6:
            raise Cancelled

    whole = train_by_plan(plan, tmp_path, tmp_path / "whole") / "weights.safetensors"
    with pytest.raises(Cancelled):
        train_by_plan(plan, tmp_path, tmp_path / "parts", progress=interrupt)
    parts = train_by_plan(plan, tmp_path, tmp_path / "parts", resume=True) / "weights.safetensors"
    assert whole.read_bytes() == parts.read_bytes()


def refused(match: str, volume: Volume | None = None, **options: object) -> None:
    with pytest.raises(ValueError, match=match):
        reconstruct(volume or noisy_phantom("MR"), **{"task": TASK, "model": "classical/spline", **options})


def test_grids_that_cannot_be_made_are_refused() -> None:
    refused("from \\(0.2, 0.275, 0.725\\)", spacing=(0.8, 1.1, 0.5))
    refused("wanted each", spacing=(0.8, 1.1, 4.0))
    refused("one of both", spacing=(0.8, 1.1, 1.0), scale=2.0)
    refused("wanted a finer one", spacing=(0.8, 1.1, 2.9))
    refused("up to 4", scale=5.0)
    refused("above 1", scale=1.0)
    refused("options of the task", task="denoise", model="classical/gaussian", scale=2.0)
    refused("uncertainty", uncertainty=True)


@pytest.mark.parametrize(
    ("options", "shape"),
    [({}, (73, 62, 38)), ({"scale": 2.0}, (40, 90, 76)), ({"spacing": (0.8, 1.1, 1.45)}, (40, 45, 38))],
)
def test_the_new_grid_covers_the_same_box(options: dict, shape: tuple) -> None:
    volume = noisy_phantom("MR")
    result = reconstruct(volume, task=TASK, model="classical/spline", **options).volume
    assert np.abs(np.subtract(result.array.shape, shape)).max() <= 1
    boxes = []
    for grid in (volume, result):
        ends = np.array([[-0.5, -0.5, -0.5, 1], [*np.array(grid.array.shape[::-1]) - 0.5, 1]]).T
        boxes.append(grid.geometry.matrix() @ ends)
    np.testing.assert_allclose(boxes[0], boxes[1], atol=1e-9)


def test_thickness_comes_from_the_header_unless_it_is_given() -> None:
    volume = replace(noisy_phantom("MR"), metadata={"0018|0050": "2.32"})
    found = Enlargement.of_volume(volume, "MR").acquisition.axes[0]
    assert (found.profile, found.width) == ("gaussian", pytest.approx(0.8))
    assert Enlargement.of_volume(volume, "MR", thickness=2.9).acquisition.axes[0].width == pytest.approx(1)


def test_a_volume_acquired_in_three_dimensions_has_no_slices() -> None:
    volume = Volume(phantom((20, 24, 24)), replace(oblique(), spacing=(1.0, 1.0, 1.1)), "MR")
    assert {a.profile for a in Enlargement.of_volume(volume, "MR").acquisition.axes} == {"kspace"}


def test_command_line_writes_the_new_grid_and_what_was_added(tmp_path: Path) -> None:
    volume = noisy_phantom("MR")
    write_volume(volume, tmp_path / "in.nrrd")
    command = ["run", tmp_path / "in.nrrd", tmp_path / "out.nrrd", "--task", TASK, "--model", "classical/lanczos"]
    command += ["--modality", "MR", "--spacing", "0.8,1.1,1.45", "--residual", tmp_path / "added.nrrd"]
    command += ["--consistency", tmp_path / "disagreement.nrrd", "--no-consistent"]
    assert main([str(c) for c in [*command, "--report", tmp_path / "record.json"]]) == 0
    command = command[:-3]
    out, added = (read_volume(tmp_path / name) for name in ("out.nrrd", "added.nrrd"))
    assert out.array.shape == added.array.shape == (40, 45, 38)
    assert out.geometry.matches(volume.geometry.resampled((38, 45, 20), (38, 45, 40)))
    record = json.loads((tmp_path / "record.json").read_text())
    acquisition = Acquisition.from_dict(record["super_resolution"]["acquisition"])
    np.testing.assert_allclose(out.array - added.array, acquisition.interpolate(volume.array), atol=0.01)
    disagreement = read_volume(tmp_path / "disagreement.nrrd")
    assert disagreement.geometry.matches(volume.geometry, 1e-4, volume.array.shape[::-1])
    wanted = np.abs(acquisition.degrade(out.array) - volume.array) / record["noise"]
    np.testing.assert_allclose(disagreement.array, wanted, atol=1e-3)
    command[2], command[-1] = tmp_path / "dicom", tmp_path / "again.nrrd"
    assert main([str(c) for c in [*command, "--dicom-source", tmp_path]]) == 2
    assert not (tmp_path / "dicom").exists()


def test_worker_brings_the_new_grid_back() -> None:
    from DLReconLib.client import Client

    volume = noisy_phantom("MR")
    with Client() as client:
        result = client.submit(volume, task=TASK, model="classical/spline", spacing=(0.8, 1.1, 1.45)).wait()
    assert result.volume.geometry.matches(volume.geometry.resampled((38, 45, 20), (38, 45, 40)))
    assert np.abs(result.residual.array).max() < 0.01
