"""The map of the error: what it must be for methods whose answer is known."""

from pathlib import Path

import numpy as np
import pytest
from conftest import noisy_phantom

from DLReconLib import reconstruct
from DLReconLib.models import find_card
from DLReconLib.uncertainty import BAND, FLIPS, Calibration, Noise, error_deviation, fit, flip_spread, noise_maps


def test_spread_of_a_method_that_treats_mirrored_images_alike_is_zero() -> None:
    plane = np.random.default_rng(0).random((4, 6, 8)).astype(np.float32)
    assert flip_spread(plane, 2 * plane, lambda flipped, which: 2 * flipped).max() < 1e-6


def test_spread_is_the_standard_deviation_of_the_passes() -> None:
    plane = np.zeros((2, 3, 4), np.float32)
    answers = np.random.default_rng(1).random((1 + len(FLIPS), 2, 3, 4)).astype(np.float32)

    def again(flipped: np.ndarray, which: int) -> np.ndarray:
        return np.flip(answers[which], FLIPS[which - 1])

    np.testing.assert_allclose(flip_spread(plane, answers[0], again), answers.std(0, ddof=1), rtol=1e-4)


CARD = find_card("classical/gaussian")


def noisy_plane(level: float) -> tuple[np.ndarray, np.ndarray]:
    """A constant image with noise, twice as large on its right half; and that noise."""
    noise = level * np.random.default_rng(2).standard_normal((6, 64, 64)).astype(np.float32)
    noise[:, :, 32:] *= 2
    return 1000 + noise, noise


def test_noise_follows_the_residual_and_keeps_the_level() -> None:
    source, noise = noisy_plane(10)
    found = noise_maps(source, noise, 15.0, CARD).found
    assert np.median(found[:, :, 40:]) / np.median(found[:, :, :24]) == pytest.approx(2, rel=0.1)
    assert 10 < np.median(found) < 20


def test_noise_that_was_not_removed_is_left() -> None:
    source, noise = noisy_plane(10)
    level = float(noise.std())
    assert np.median(noise_maps(source, noise, level, CARD).left) < 0.3 * level
    assert np.median(noise_maps(source, 0.6 * noise, level, CARD).left) == pytest.approx(0.8 * level, rel=0.2)


def test_noise_that_the_method_missed_counts() -> None:
    source, noise = noisy_plane(10)
    assert np.median(noise_maps(source, 0.1 * noise, 1.0, CARD).left) > 5


def test_strength_of_zero_leaves_all_of_the_noise() -> None:
    source, noise = noisy_plane(10)
    maps = noise_maps(source, noise, float(noise.std()), CARD)
    nothing = error_deviation(np.zeros_like(noise), maps, Calibration(1.0, 0.5, True), strength=0.0)
    np.testing.assert_allclose(nothing, maps.found, rtol=1e-5)


def test_fit_finds_the_scale_that_covers_ninety_percent() -> None:
    rng = np.random.default_rng(4)
    spreads = [rng.uniform(0.1, 1, 20000) for _ in range(4)]
    noises = [Noise(np.full(20000, level), np.full(20000, 0.3 * level)) for level in (0.5, 1, 2, 4)]
    errors = [
        rng.standard_normal(20000) * np.sqrt((3 * s) ** 2 + (0.5 * n.found) ** 2 + n.left**2)
        for s, n in zip(spreads, noises, strict=True)
    ]
    calibration = Calibration(*fit(errors, spreads, noises), True)
    for e, s, n in zip(errors, spreads, noises, strict=True):
        assert 0.87 < np.mean(np.abs(e) <= BAND * error_deviation(s, n, calibration)) < 0.93


def test_result_carries_the_map_and_is_the_same_with_and_without_it() -> None:
    volume = noisy_phantom("MR")
    plain = reconstruct(volume, model="classical/gaussian", judge=False)
    result = reconstruct(volume, model="classical/gaussian", judge=False, uncertainty=True)
    assert plain.uncertainty is None
    np.testing.assert_array_equal(plain.volume.array, result.volume.array)
    assert result.uncertainty is not None
    assert result.uncertainty.array.shape == volume.array.shape
    assert result.uncertainty.geometry == volume.geometry
    assert result.uncertainty.array.min() > 0
    assert result.provenance["uncertainty"]["passes"] == 1 + len(FLIPS)


def test_map_is_in_the_unit_of_the_image() -> None:
    volume = noisy_phantom("MR")
    double = volume.with_array(volume.array * 2)
    maps = [reconstruct(v, model="classical/gaussian", judge=False, uncertainty=True) for v in (volume, double)]
    np.testing.assert_allclose(maps[1].uncertainty.array, 2 * maps[0].uncertainty.array, rtol=1e-3)


def test_the_command_line_writes_the_map(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    from DLReconLib.cli import main
    from DLReconLib.io import read_volume, write_volume

    scan, out, errors = (tmp_path / f"{name}.nrrd" for name in ("scan", "out", "errors"))
    write_volume(noisy_phantom("MR"), scan)
    assert main(["run", str(scan), str(out), "--model", "classical/gaussian", "--uncertainty", str(errors)]) == 0
    assert "trust: " in capsys.readouterr().out
    found, image = read_volume(errors), read_volume(out)
    assert found.geometry.matches(image.geometry)
    assert found.array.min() > 0
    again = ["run", str(scan), str(out), "--model", "classical/gaussian", "--overwrite"]
    assert main([*again, "--uncertainty", str(tmp_path / "errors.png")]) == 2  # PNG holds no fractions
