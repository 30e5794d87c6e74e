"""Filling holes: what is kept, what is said of what was invented, and whether the fills are what they claim to be."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import noisy_phantom, oblique, phantom
from scipy import ndimage

from DLReconLib import reconstruct
from DLReconLib.cli import main
from DLReconLib.client import Client
from DLReconLib.degradations.holes import KINDS, MOST, random_hole
from DLReconLib.io import read_volume, write_volume
from DLReconLib.models import list_cards
from DLReconLib.networks.context import Context
from DLReconLib.networks.filling import along, between_slices, biharmonic, blend, fills, median_fill, smooth
from DLReconLib.progress import Cancelled
from DLReconLib.trust.invention import invention
from DLReconLib.volume import Volume

FILLS = [c.id for c in list_cards("inpaint")]


def hole_at(shape: tuple[int, int, int], value: int = 1) -> np.ndarray:
    hole = np.zeros(shape, np.uint8)
    hole[6:11, 15:24, 12:20] = value
    return hole


@pytest.fixture
def volume() -> Volume:
    return noisy_phantom("MR", 10.0)


@pytest.mark.parametrize("model", FILLS)
def test_outside_bit_for_bit_and_inside_never_looked_at(model: str, volume: Volume) -> None:
    if "classical" not in model:
        pytest.importorskip("torch", reason="learned models need torch")
    mask = hole_at(volume.array.shape, 7)
    result = reconstruct(volume, task="inpaint", model=model, mask=volume.with_array(mask))
    assert np.array_equal(result.volume.array[mask == 0], volume.array[mask == 0])
    spoiled = volume.array.copy()
    spoiled[mask != 0] = np.random.default_rng(0).uniform(-5000, 5000, np.count_nonzero(mask))
    again = reconstruct(volume.with_array(spoiled), task="inpaint", model=model, mask=volume.with_array(mask))
    np.testing.assert_allclose(again.volume.array, result.volume.array, atol=0.01)
    assert np.abs(result.volume.array - volume.array).max() > 1


def test_what_was_invented_is_told(volume: Volume) -> None:
    mask = hole_at(volume.array.shape)
    result = reconstruct(volume, task="inpaint", mask=volume.with_array(mask))
    assert np.array_equal(result.invented.array, mask)
    assert result.invented.geometry == volume.geometry
    record = json.loads(json.dumps(result.provenance))
    assert record["synthetic"] is True
    assert record["invented"]["voxels"] == 5 * 9 * 8
    assert record["trust"]["light"] != "green"
    reason = next(r for r in record["trust"]["reasons"] if r["check"] == "invented")
    assert "360 voxels" in reason["text"] and reason["light"] != "green"
    # 8 voxels of 0.8 mm along i: the middle lies four of them from the next known one.
    assert reason["value"] == pytest.approx(4 * 0.8, abs=0.01)


def test_nothing_is_called_invented_elsewhere(volume: Volume) -> None:
    mask = volume.with_array(hole_at(volume.array.shape))
    denoised = reconstruct(volume, model="classical/gaussian", mask=mask)
    untouched = reconstruct(volume, task="inpaint", model="classical/biharmonic", mask=mask, strength=0)
    for result in (denoised, untouched):
        assert result.invented is None
        assert "synthetic" not in result.provenance


@pytest.mark.parametrize(
    ("value", "options", "said"),
    [(None, {}, "no mask"), (0, {}, "empty"), (1, {}, "covers the whole"), (2, {"feather": 2.0}, "feather")],
)
def test_a_hole_is_wanted(volume: Volume, value: int | None, options: dict, said: str) -> None:
    mask = np.full(volume.array.shape, value or 0, np.uint8) if value != 2 else hole_at(volume.array.shape)
    given = None if value is None else volume.with_array(mask)
    with pytest.raises(ValueError, match=said):
        reconstruct(volume, task="inpaint", model="classical/biharmonic", mask=given, **options)


def test_far_from_anything_known_is_red() -> None:
    mask = np.zeros((3, 40, 40), np.uint8)
    mask[:, :, :30] = 1
    found, reason = invention(mask, (1.0, 1.0, 2.0))
    assert found["farthest_mm"] == 30
    assert reason.light == "red"
    assert invention(mask, (0.2, 0.2, 2.0))[1].light == "amber"


def test_command_line_writes_the_label(tmp_path: Path, volume: Volume) -> None:
    image, hole, out = (tmp_path / name for name in ("in.nrrd", "hole.nrrd", "out.nii.gz"))
    write_volume(volume, image)
    write_volume(volume.with_array(hole_at(volume.array.shape)), hole)
    words = ["run", str(image), str(out), "--task", "inpaint", "--model", "classical/biharmonic"]
    assert main(words) == 2
    assert not out.exists()
    assert main([*words, "--mask", str(hole)]) == 0
    label = read_volume(tmp_path / "out-invented.nrrd")
    assert np.array_equal(label.array, hole_at(volume.array.shape))
    assert main([*words, "--mask", str(hole)]) == 2  # both exist
    out.unlink()
    assert main([*words, "--mask", str(hole)]) == 2  # the label would be replaced


def test_what_was_trained_to_look_real_is_never_chosen_by_itself(volume: Volume) -> None:
    """The fill that is nearer to the truth is taken, unless the other one is asked for by name."""
    mask = volume.with_array(hole_at(volume.array.shape))
    assert any(c.adversarial for c in list_cards("inpaint"))
    chosen = reconstruct(volume, task="inpaint", mask=mask).provenance["model"]["id"]
    assert chosen == "classical/blend"
    pytest.importorskip("torch", reason="the network is an nn.Module")
    named = reconstruct(volume, task="inpaint", mask=mask, model="inpaint-gan")
    again = reconstruct(volume, task="inpaint", mask=mask, model="inpaint-gan")
    assert named.provenance["trust"]["light"] != "green"
    assert np.array_equal(named.volume.array, again.volume.array), "the noise it makes a texture of is always the same"


def test_a_batch_says_that_it_has_no_masks(tmp_path: Path, volume: Volume, capsys: pytest.CaptureFixture) -> None:
    write_volume(volume, tmp_path / "in.nrrd")
    assert main(["batch", str(tmp_path), str(tmp_path / "out"), "--task", "inpaint"]) == 2
    assert "masks" in capsys.readouterr().err


def test_the_worker_gives_the_label(volume: Volume) -> None:
    mask = volume.with_array(hole_at(volume.array.shape))
    with Client() as client:
        job = client.submit(volume, mask=mask, task="inpaint", model="classical/biharmonic")
        plain = client.submit(volume, mask=mask, model="classical/gaussian")
        assert np.array_equal(job.wait().invented.array, mask.array)
        assert plain.wait().invented is None


def test_biharmonic_is_that_of_skimage() -> None:
    restoration = pytest.importorskip("skimage.restoration")
    rng = np.random.default_rng(1)
    image = ndimage.gaussian_filter(rng.standard_normal((12, 14, 13)), 1.5).astype(np.float32)
    hole = np.zeros(image.shape, bool)
    hole[4:8, 5:9, 4:8] = True
    hole[:2, :3, :2] = True  # in a corner
    wanted = restoration.inpaint_biharmonic(image.astype(float), hole)
    assert np.abs(smooth(image, hole) - wanted).max() < 1e-3 * np.abs(wanted[hole]).max()


def test_biharmonic_gives_a_slope_back_and_knows_millimetres() -> None:
    k, j, i = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in (14, 20, 20)), indexing="ij")
    hole = np.zeros(k.shape, bool)
    hole[5:9, 7:12, 7:12] = True
    slope = 3 * k - 2 * j + i + 50
    np.testing.assert_allclose(biharmonic(slope, Context((3.0, 1.0, 1.0), hole)), slope, atol=0.02)
    # x^2 - y^2 is biharmonic in millimetres: k counts three times.
    saddle = (3 * k) ** 2 - j**2
    np.testing.assert_allclose(biharmonic(saddle, Context((3.0, 1.0, 1.0), hole)), saddle, atol=0.5)


def test_a_large_hole_starts_from_a_coarse_answer() -> None:
    image = ndimage.gaussian_filter(np.random.default_rng(2).standard_normal((48, 48, 48)), 9).astype(np.float32)
    k, j, i = np.meshgrid(*(np.arange(48) - 23.5,) * 3, indexing="ij")
    hole = k**2 + j**2 + i**2 < 18**2
    filled = smooth(image, hole)
    assert np.sqrt(np.mean((filled - image)[hole] ** 2)) < 0.3 * image[hole].std()


def test_of_a_huge_hole_the_inside_is_coarse_and_the_rim_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    from DLReconLib.networks import filling

    image = ndimage.gaussian_filter(np.random.default_rng(2).standard_normal((40, 48, 48)), 8).astype(np.float32)
    hole = np.zeros(image.shape, bool)
    hole[:, :, 16:] = True
    exact = smooth(image, hole)
    monkeypatch.setattr(filling, "LARGE", 1000)
    monkeypatch.setattr(filling, "HUGE", 2000)
    apart = np.abs(smooth(image, hole) - exact)
    assert 0 < apart[hole].max() < 0.5 * np.abs(exact[hole]).max()
    assert apart[:, :, 16:18].max() < 0.01 * np.ptp(image)


def test_a_solution_can_be_stopped(volume: Volume) -> None:
    def stop(fraction: float, text: str) -> None:
        if text == "solving":
            raise Cancelled

    mask = volume.with_array(hole_at(volume.array.shape))
    with pytest.raises(Cancelled):
        reconstruct(volume, task="inpaint", model="classical/biharmonic", mask=mask, progress=stop)


def test_median_of_two_halves_keeps_the_edge() -> None:
    image = np.zeros((9, 24, 24), np.float32)
    image[:, :, 12:] = 100
    hole = np.zeros(image.shape, bool)
    hole[3:6, 8:14, 9:15] = True
    assert set(np.unique(median_fill(image, Context(mask=hole)))) <= {0.0, 100.0}


def test_between_slices_lines_and_splines() -> None:
    k = np.arange(12, dtype=np.float32)[:, None, None]
    hole = np.zeros((12, 6, 6), bool)
    hole[5] = True
    line, curve = np.broadcast_to(3 * k, hole.shape), np.broadcast_to(np.sin(k / 3), hole.shape)
    np.testing.assert_allclose(between_slices(line, Context(mask=hole)), line, atol=1e-5)
    error = [np.abs(between_slices(curve, Context(mask=hole), order) - curve).max() for order in (1, 3)]
    assert error[1] < 0.2 * error[0]


def test_weights_fitted_to_the_other_slices_beat_lines_and_splines() -> None:
    """Noise of the neighbours is averaged where it is strong, and what is fine is not doubled."""
    rng = np.random.default_rng(3)
    clean = ndimage.gaussian_filter(rng.standard_normal((18, 40, 40)), (1.5, 2, 2))
    clean *= 100 / clean.std()
    image = (clean + rng.normal(0, 30, clean.shape)).astype(np.float32)
    hole = np.zeros(image.shape, bool)
    hole[[5, 11]] = True
    spoiled = np.where(hole, 1e6, image)
    errors = []
    for options in ({"order": 3, "fit": True}, {"order": 3}, {"order": 1}):
        filled = between_slices(spoiled, Context(mask=hole), **options)
        assert np.array_equal(filled[~hole], image[~hole])
        errors.append(np.sqrt(np.mean((filled - clean)[hole] ** 2)))
    assert errors[0] < 0.9 * min(errors[1:])
    few, mask = spoiled[4:8], Context(mask=hole[4:8])
    assert np.array_equal(between_slices(few, mask, 3, True), between_slices(few, mask, 3))


def test_lines_say_how_far_they_are_to_be_trusted() -> None:
    image = np.arange(10, dtype=np.float32)[None, None].repeat(2, 0).repeat(3, 1)
    hole = np.zeros(image.shape, bool)
    hole[:, :, 4:7] = hole[:, :, 9:] = hole[0, 0] = True
    found = along(image, hole, 2)
    np.testing.assert_allclose(found.value[1, 1, 4:7], image[1, 1, 4:7])
    np.testing.assert_allclose(found.trust[1, 1, 4:7], 1 / 4)
    assert (found.value[1, 1, 9], found.trust[1, 1, 9]) == (8, 0.25)
    assert (found.trust[0, 0] == 0).all()


def test_curved_lines_follow_a_wave_better_than_straight_ones() -> None:
    wave = np.broadcast_to(np.sin(np.arange(16, dtype=np.float32) / 2)[:, None, None], (16, 4, 4))
    hole = np.zeros(wave.shape, bool)
    hole[[0, 5, 6, 11]] = True
    straight, curved = (along(wave, hole, 0, curved=c).value for c in (False, True))
    inner = np.s_[[5, 6, 11]]
    assert (np.abs(curved - wave)[inner] < 0.8 * np.abs(straight - wave)[inner]).all()
    assert np.array_equal(curved[0], straight[0])


@pytest.mark.parametrize("kind", KINDS)
def test_holes_are_holes(kind: str) -> None:
    for seed in range(20):
        hole = random_hole((24, 32, 32), np.random.default_rng(seed), 1 + seed % 4, kind)
        assert 0 < np.count_nonzero(hole) <= MOST * hole.size


def test_the_network_begins_between_the_classical_fills() -> None:
    torch = pytest.importorskip("torch", reason="the network is an nn.Module")
    from DLReconLib.networks.fill_unet import FillUNet
    from DLReconLib.networks.layers import fold, unfold

    image, hole = phantom((16, 32, 32)), np.zeros((16, 32, 32), bool)
    hole[5:9, 12:20, 12:20] = True
    part = fills(image, hole, (1.0, 1.0, 1.0))
    x = torch.from_numpy(part.channels)[None]
    assert torch.equal(unfold(fold(x)), x)
    with torch.no_grad():
        found = FillUNet((8, 8), 1)(x)[0, 0].numpy()
    mixed = blend(image, Context(mask=hole))
    np.testing.assert_allclose(found * part.unit + part.middle, mixed, atol=0.05)
    change = part.channels[1:4]
    low, high = np.minimum(change.min(0), 0), np.maximum(change.max(0), 0)
    inside = found - part.channels[0]
    assert ((inside >= low - 1e-5) & (inside <= high + 1e-5)).all()
    assert np.array_equal(found[~hole], part.channels[0][~hole])
    np.testing.assert_allclose(found[~hole] * part.unit + part.middle, image[~hole], rtol=1e-4, atol=1e-2)


def test_training_makes_a_model_that_fills(tmp_path: Path) -> None:
    """Twelve steps on one small image: the folder holds a card that runs."""
    pytest.importorskip("torch", reason="training needs torch")
    from DLReconLib.training import inpainting, train_by_plan

    data = tmp_path / "data"
    data.mkdir()
    write_volume(Volume(phantom((24, 48, 48)), oblique(), "MR"), data / "a.nrrd")
    entry = {"path": "a.nrrd", "averages": [[1, 1, 1]], "weight": 1, "licence": "none"}
    images = [entry | {"subject": role, "role": role} for role in ("train", "validation")]
    (tmp_path / "split.json").write_text(json.dumps({"images": images}))
    plan = {"id": "tiny", "network": "fill-unet", "arguments": {"channels": [8, 8], "bottom": 1},
            "degradation": "inpainting", "modality": "MR", "split": "split.json", "patch": [16, 16, 16], "batch": 1,
            "first_steps": 0, "steps": 2, "estimator_steps": 0, "muon_rate": 0.01, "adam_rate": 1e-3, "warmup": 1,
            "decay": 0.5, "average": 0.9, "precision": "float32", "every": 1, "seed": 1}  # fmt: skip
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    template = next(c for c in list_cards("inpaint") if c.id == "classical/biharmonic").to_dict() | {"id": "tiny"}
    (tmp_path / "card.json").write_text(json.dumps(template))
    inpainting.POOL = {"train": 4, "validation": 5}
    folder = train_by_plan(tmp_path / "plan.json", data, tmp_path / "out")
    volume = noisy_phantom("MR")
    mask = volume.with_array(hole_at(volume.array.shape))
    result = reconstruct(volume, task="inpaint", model=str(folder / "card.json"), mask=mask)
    assert result.provenance["model"]["sha256"]
    adversarial = plan | {"degradation": "inpainting-gan", "start": "out/weights.safetensors", "id": "tiny-gan"}
    (tmp_path / "gan.json").write_text(json.dumps(adversarial))
    pytest.importorskip("monai", reason="the discriminator is MONAI's")
    made = train_by_plan(tmp_path / "gan.json", data, tmp_path / "gan")
    assert (made / "critic.pt").is_file()
    assert (made / "weights.safetensors").read_bytes() != (folder / "weights.safetensors").read_bytes()
