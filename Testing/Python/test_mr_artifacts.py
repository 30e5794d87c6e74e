"""MR artifacts: their physics against known answers, the classical repairs, and what the models must not do."""

import numpy as np
import pytest
from conftest import phantom
from scipy import fft

from DLReconLib import reconstruct
from DLReconLib.degradations import mr_artifacts as physics
from DLReconLib.metrics import psnr
from DLReconLib.models import list_cards
from DLReconLib.networks.context import Context
from DLReconLib.networks.kspace import acquired_share, find_spikes, gibbs_shifts, spike_filter
from DLReconLib.volume import Geometry, Volume

CARDS = {c.id: c for c in list_cards("artifact-reduction", "MR")}


def discs(size: int = 128) -> np.ndarray:
    """(1, size, size): a bright disc with a dark hole, edges one pixel wide, 0..1."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    radius = np.hypot(y, x)
    image = 0.8 * np.clip(0.4 * size - radius, 0, 1) - 0.5 * np.clip(0.15 * size - np.hypot(y - 5, x + 9), 0, 1)
    return image[None].astype(np.float32)


def gain(after: np.ndarray, before: np.ndarray, truth: np.ndarray) -> float:
    return psnr(after, truth, 1.0) - psnr(before, truth, 1.0)


def test_truncation_keeps_what_is_inside_and_nothing_else() -> None:
    """A wave below the limit comes back, shifted by the half-voxel rule on a coarser grid; one above is gone."""
    x = np.arange(64)
    low, high = (2 + np.cos(2 * np.pi * f * (x + 0.5) / 64) * np.ones((64, 1)) for f in (5, 25))
    np.testing.assert_allclose(physics.truncate(low, (64, 32), (64, 64)), low, atol=1e-5)
    np.testing.assert_allclose(physics.truncate(high, (64, 32), (64, 64)), 2, atol=1e-5)
    coarse = 2 + np.cos(2 * np.pi * 5 * (np.arange(32) + 0.5) / 32) * np.ones((64, 1))
    np.testing.assert_allclose(physics.truncate(low, (64, 32), (64, 32)), coarse, atol=1e-5)


def test_an_edge_overshoots_by_nine_percent() -> None:
    """Wilbraham and Gibbs: 8.95 % of the jump, whatever the number of lines."""
    edge = np.zeros((8, 4096)) + (np.arange(4096) >= 2048) * (np.arange(4096) < 3500)
    for lines in (128, 512):
        ringing = physics.acquire_axis(edge, lines, 4096, 1)
        assert ringing.max() - 1 == pytest.approx(0.0895, abs=0.004)


def test_movement_known_answers() -> None:
    clean = discs()[0]
    still = np.zeros((128, 3))
    np.testing.assert_allclose(physics.move(clean, still), clean, atol=1e-5)
    shifted = np.tile([3.0, -7.0, 0.0], (128, 1))
    np.testing.assert_allclose(physics.move(clean, shifted), np.roll(clean, (3, -7), (0, 1)), atol=1e-5)
    alternating = still.copy()
    alternating[1::2] = [0, 2, 0]
    assert psnr(physics.move(clean, alternating)[None], clean[None], 1.0) < 35


def test_the_centre_of_kspace_does_not_move() -> None:
    for seed in range(20):
        poses = physics.random_poses(64, np.random.default_rng(seed))
        assert np.abs(poses[np.abs(physics.frequencies(64)) < 1]).max() == 0


def test_a_spike_is_a_stripe_of_its_amplitude() -> None:
    flat = np.ones((32, 32), np.float32)
    striped = physics.put_spikes(flat, np.array([[3, 5]]), np.array([0.1]))
    assert striped.max() == pytest.approx(1.1, abs=1e-3)
    assert np.abs(fft.fft2(striped))[3, 5] / 32**2 == pytest.approx(0.05, abs=1e-3)


def test_bias_fields_are_positive_and_smooth() -> None:
    for seed in range(10):
        field = physics.bias_field((20, 24, 28), np.random.default_rng(seed))
        assert field.min() > 0
        assert np.abs(np.diff(np.log(field), 2, axis=2)).max() < 0.2


@pytest.mark.parametrize("lines", [48, 64, 96])
def test_zero_filling_is_recognised(lines: int) -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, (4, 128, 128))
    image = physics.acquire_axis(np.repeat(discs(), 4, 0) + noise, lines, 128, 1)
    assert acquired_share(np.abs(image), 1) == pytest.approx(max(lines / 128, 0.4), abs=0.03)
    assert acquired_share(np.abs(image), 2) == 1


def test_shifts_calm_ringing() -> None:
    """Inside the disc, away from its edge, the ringing falls to less than half."""
    fine = discs(256)[0]
    ringing = physics.truncate(fine, (64, 64), (64, 64))[None]
    calm = gibbs_shifts(ringing, Context())
    y, x = np.mgrid[:64, :64] - 31.5
    ring = (np.hypot(y, x) > 18) & (np.hypot(y, x) < 23.5)
    assert calm[0][ring].std() < 0.5 * ringing[0][ring].std()


def test_spikes_are_found_and_removed() -> None:
    truth = np.repeat(discs(), 3, 0) + np.float32(0.02)
    broken = truth.copy()
    broken[1] = physics.put_spikes(truth[1], np.array([[20, 33], [100, 7]]), np.array([0.06, 0.05j]))
    context = Context()
    mended = spike_filter(broken, context)
    assert context.notes == {"slices_with_spikes": 1}
    np.testing.assert_array_equal(mended[0], broken[0])
    assert gain(mended[1:2], broken[1:2], truth[1:2]) > 10


def test_an_image_without_spikes_has_none() -> None:
    volume = phantom()
    noise = np.random.default_rng(0).normal(0, 20, volume.shape)
    assert not any(len(find_spikes(s)) for s in (volume + noise).astype(np.float32))


@pytest.mark.parametrize("array", [np.zeros((2, 20, 20)), np.ones((2, 20, 20)), np.ones((1, 3, 40))])
def test_nothing_to_do_is_no_error(array: np.ndarray) -> None:
    for method in (gibbs_shifts, spike_filter):
        np.testing.assert_allclose(method(array.astype(np.float32), Context()), array, atol=1e-6)


def test_auto_repairs_spikes_and_leaves_a_clean_image_alone() -> None:
    truth = np.repeat(discs(), 3, 0) + np.float32(0.02)
    options = {"task": "artifact-reduction", "model": "classical/kspace-repair"}
    clean = reconstruct(Volume(truth, Geometry((1, 1, 4)), "MR"), **options)
    assert clean.provenance["found"]["artifact"] == "none"
    np.testing.assert_array_equal(clean.volume.array, truth)
    broken = truth.copy()
    broken[2] = physics.put_spikes(truth[2], np.array([[20, 33]]), np.array([0.06]))
    found = reconstruct(Volume(broken, Geometry((1, 1, 4)), "MR"), **options)
    assert found.provenance["found"]["artifact"] == "spike"
    assert gain(found.volume.array, broken, truth) > 10
    assert reconstruct(Volume(truth, Geometry((1, 1, 4)), "MR"), artifact="gibbs", **options).residual.array.any()


@pytest.mark.skipif("mr-artifacts" not in CARDS, reason="mr-artifacts is not in this zoo")
def test_auto_names_spikes_and_leaves_a_clean_image_alone() -> None:
    pytest.importorskip("torch", reason="learned models need torch")
    rng = np.random.default_rng(1)
    truth = np.repeat(discs(), 3, 0)
    truth = np.abs(truth + physics.complex_noise(truth.shape, 0.01, rng)).astype(np.float32)
    options = {"task": "artifact-reduction", "model": "mr-artifacts", "device": "cpu"}
    clean = reconstruct(Volume(truth, Geometry((1, 1, 4)), "MR"), **options)
    assert clean.provenance["found"]["artifact"] == "none"
    np.testing.assert_allclose(clean.volume.array, truth, atol=1e-5)
    broken = np.stack([physics.put_spikes(s, *physics.random_spikes(s.shape, rng)) for s in truth])
    found = reconstruct(Volume(broken, Geometry((1, 1, 4)), "MR"), **options)
    assert found.provenance["found"]["artifact"] == "spike"
    assert gain(found.volume.array, broken, truth) > 3


@pytest.mark.skipif("mr-bias" not in CARDS, reason="mr-bias is not in this zoo")
def test_the_field_is_smooth_and_multiplicative() -> None:
    pytest.importorskip("torch", reason="learned models need torch")
    truth = phantom()
    field = physics.bias_field(truth.shape, np.random.default_rng(3))
    image = (truth * field).astype(np.float32)
    volume = Volume(image, Geometry((5.0, 5.0, 5.0)), "MR")
    result = reconstruct(volume, task="artifact-reduction", model="mr-bias", device="cpu")
    ratio = np.log(result.volume.array[truth > 100] / image[truth > 100])
    assert np.isfinite(ratio).all()
    whole = np.where(image > 0, result.volume.array / np.maximum(image, 1e-6), np.nan)
    steps = np.abs(np.diff(np.log(whole), axis=2))
    assert np.nanmax(steps) < 0.2
