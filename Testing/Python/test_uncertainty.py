"""The map of the error: what it must be for methods whose answer is known."""

from pathlib import Path

import numpy as np
import pytest
from conftest import noisy_phantom

from DLReconLib import reconstruct
from DLReconLib.uncertainty import BAND, FLIPS, Calibration, error_deviation, fit, flip_spread, local_noise


def test_spread_of_a_method_that_treats_mirrored_images_alike_is_zero() -> None:
    plane = np.random.default_rng(0).random((4, 6, 8)).astype(np.float32)
    assert flip_spread(plane, 2 * plane, lambda flipped, which: 2 * flipped).max() < 1e-6


def test_spread_is_the_standard_deviation_of_the_passes() -> None:
    plane = np.zeros((2, 3, 4), np.float32)
    answers = np.random.default_rng(1).random((1 + len(FLIPS), 2, 3, 4)).astype(np.float32)

    def again(flipped: np.ndarray, which: int) -> np.ndarray:
        return np.flip(answers[which], FLIPS[which - 1])

    np.testing.assert_allclose(flip_spread(plane, answers[0], again), answers.std(0, ddof=1), rtol=1e-4)


def test_local_noise_follows_the_residual_and_keeps_the_level() -> None:
    rng = np.random.default_rng(2)
    removed = rng.standard_normal((6, 64, 64)).astype(np.float32)
    removed[:, :, 32:] *= 2
    local = local_noise(removed, 10.0)
    assert np.median(local[:, :, 40:]) / np.median(local[:, :, :24]) == pytest.approx(2, rel=0.1)
    assert 7 < np.median(local) < 14


def test_noise_that_was_left_in_counts() -> None:
    removed = np.random.default_rng(3).standard_normal((4, 32, 32)).astype(np.float32)
    calibration = Calibration(1.0, 0.5, True)
    nothing = error_deviation(np.zeros_like(removed), removed, 1.0, calibration, strength=0.0)
    everything = error_deviation(np.zeros_like(removed), removed, 1.0, calibration, strength=1.0)
    assert np.median(nothing) == pytest.approx(2 * np.median(everything), rel=0.01)


def test_fit_finds_the_scale_that_covers_ninety_percent() -> None:
    rng = np.random.default_rng(4)
    spreads = [rng.uniform(0.1, 1, 20000) for _ in range(4)]
    noises = [np.full(20000, level) for level in (0.5, 1, 2, 4)]
    errors = [
        rng.standard_normal(20000) * np.sqrt((3 * s) ** 2 + (0.5 * n) ** 2)
        for s, n in zip(spreads, noises, strict=True)
    ]
    a, b = fit(errors, spreads, noises)
    for e, s, n in zip(errors, spreads, noises, strict=True):
        assert 0.85 < np.mean(np.abs(e) <= BAND * np.sqrt((a * s) ** 2 + (b * n) ** 2)) < 0.95


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


def test_map_is_in_the_unit_of_the_image(identity_card: Path) -> None:
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
