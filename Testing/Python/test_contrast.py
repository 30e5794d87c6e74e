"""Tone curves: order is kept, no halo, nothing vanishes; what the classical neighbours do."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import noisy_phantom, phantom
from scipy import ndimage

from DLReconLib import reconstruct
from DLReconLib.inference import Model
from DLReconLib.io import write_volume
from DLReconLib.models import find_card, list_cards
from DLReconLib.networks import FEATURES
from DLReconLib.networks.tone import BINS, apply, base_of, bin_edges, overlap, survey
from DLReconLib.volume import Volume


def learned(**arguments: object) -> Model:
    pytest.importorskip("torch", reason="the learned curves need torch")
    card = find_card("contrast")
    return Model(replace(card, arguments=card.arguments | arguments), "cpu", "float32")


def test_identity_curves_change_nothing() -> None:
    image = noisy_phantom("MR").array
    scene = survey(image)
    curves = np.broadcast_to(scene.edges, (*scene.grid, BINS + 1))
    np.testing.assert_allclose(apply(image, scene, curves), image, atol=0.01)


def test_curves_alone_never_turn_the_order_of_neighbours_round() -> None:
    """Neighbours that differ by more than a hundredth of the range."""
    image = noisy_phantom("MR", 30.0, (20, 72, 64)).array
    found = reconstruct(Volume(image), task="contrast", loaded=learned(base=False)).volume.array
    for axis in range(3):
        was, now = np.diff(image, axis=axis), np.diff(found, axis=axis)
        clear = np.abs(was) > 0.01 * np.ptp(image)
        assert (np.sign(was[clear]) == np.sign(now[clear])).all()
    assert np.abs(found - image).max() > 0.02 * np.ptp(image)


def test_order_is_kept_beyond_the_noise() -> None:
    image = noisy_phantom("MR", 30.0, (20, 72, 64)).array
    found = reconstruct(Volume(image), task="contrast", loaded=learned()).volume.array
    for axis in range(3):
        was, now = np.diff(image, axis=axis), np.diff(found, axis=axis)
        clear = np.abs(was) > 3 * 30
        assert (np.sign(was[clear]) == np.sign(now[clear])).all()


def test_no_halo_at_an_edge() -> None:
    """Beside a step the result is as flat as far from it: less than 2 % of the step away."""
    image = np.full((16, 64, 64), 300.0, np.float32)
    image[:, :, 32:] = 700
    image += np.random.default_rng(3).normal(0, 4, image.shape).astype(np.float32)
    found = reconstruct(Volume(image), task="contrast", loaded=learned()).volume.array
    profile = found.mean((0, 1))
    height = profile[40:60].mean() - profile[4:24].mean()
    assert height > 0
    assert np.abs(profile[24:32] - profile[4:24].mean()).max() < 0.02 * height
    assert np.abs(profile[32:40] - profile[40:60].mean()).max() < 0.02 * height


def test_tissues_come_apart_more_than_the_noise() -> None:
    rng = np.random.default_rng(4)
    clean = np.zeros((16, 72, 72), np.float32)
    clean[:, 8:64, 8:64], clean[:, 20:40, 20:40], clean[:, 44:56, 20:52] = 500, 560, 440
    image = clean + rng.normal(0, 12, clean.shape).astype(np.float32)
    found = reconstruct(Volume(image), task="contrast", loaded=learned()).volume.array

    def cnr(x: np.ndarray) -> tuple[float, float]:
        one, other = x[:, 22:38, 22:38], x[:, 46:54, 22:50]
        return (one.mean() - other.mean()) / other.std(), float(other.std())

    (before, noise), (after, left) = cnr(image), cnr(found)
    assert after > 1.15 * before
    assert left < 1.05 * noise


def test_base_keeps_the_edge_and_loses_the_noise() -> None:
    rng = np.random.default_rng(5)
    step = np.zeros((12, 40, 40), np.float32)
    step[:, :, 20:] = 100
    image = step + rng.normal(0, 3, step.shape).astype(np.float32)
    base = base_of(image, survey(image), (1.0, 1.0, 1.0))
    assert base[:, :, 4:16].std() < 1.5
    assert (base[:, :, 20:] - step[:, :, 20:]).mean() > -3


def test_bins_cover_the_range_and_shares_add_up() -> None:
    x = phantom() / 1000
    edges = bin_edges(x, x > 0.1)
    assert (edges[0], edges[-1]) == (0, pytest.approx(1))
    assert (np.diff(edges) > 0).all()
    ends = np.array([[0.1, 0.7], [0.3, 0.31]], np.float32)
    np.testing.assert_allclose(overlap(ends, edges).sum(1), 1, atol=1e-4)


@pytest.mark.parametrize("model", [c.id for c in list_cards("contrast") if c.network not in FEATURES])
def test_values_stay_near_their_range_and_light_is_given(model: str) -> None:
    if "classical" not in model:
        pytest.importorskip("torch", reason="learned models need torch")
    volume = noisy_phantom("MR", 20.0)
    result = reconstruct(volume, task="contrast", model=model)
    width = np.ptp(volume.array)
    assert result.volume.array.min() > volume.array.min() - 0.05 * width
    assert result.volume.array.max() < volume.array.max() + 0.05 * width
    assert result.provenance["trust"]["light"] in ("green", "amber")
    assert "synthetic" not in result.provenance


def test_gamma_is_the_power_that_it_says() -> None:
    image = np.linspace(0, 16, 4096, dtype=np.float32).reshape(16, 16, 16)
    found = reconstruct(Volume(image), task="contrast", model="classical/gamma").volume.array
    np.testing.assert_allclose(found, (image / 16) ** 0.7 * 16, atol=1e-3)


def test_training_parts_tissues(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="training needs torch")
    from DLReconLib.training import contrast, train_by_plan

    data = tmp_path / "data"
    data.mkdir()
    rng = np.random.default_rng(6)
    image = phantom((24, 60, 60)) + ndimage.gaussian_filter(rng.normal(0, 60, (24, 60, 60)), 0.6)
    write_volume(Volume(image.astype(np.float32), modality="MR"), data / "a.nrrd")
    entry = {"path": "a.nrrd", "averages": [[1, 1, 1]], "weight": 1, "licence": "none"}
    images = [entry | {"subject": role, "role": role} for role in ("train", "validation")]
    (tmp_path / "split.json").write_text(json.dumps({"images": images}))
    plan = json.loads((find_card("contrast").folder / "plan.json").read_text()) | {
        "steps": 40,
        "every": 20,
        "further": [],
    }
    plan |= {"batch": 2, "warmup": 5, "adam_rate": 0.01}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    (tmp_path / "card.json").write_text(json.dumps(find_card("contrast").to_dict()))
    contrast.POOL = {"train": 4, "validation": 2}
    folder = train_by_plan(tmp_path / "plan.json", data, tmp_path / "out")
    first, last = ((folder / "log.csv").read_text().split("\n")[n].split(",") for n in (1, 2))
    assert float(last[4]) > 1.005  # contrast
    assert float(last[4]) >= float(first[4])
