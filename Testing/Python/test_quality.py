"""Figures without a reference, against phantoms whose answer is known."""

import time

import numpy as np
import pytest
from scipy import special

from DLReconLib.quality import quality


def disk(
    blur: float, pixel: float = 1.0, noise: float = 0.0, shape: tuple[int, int, int] = (6, 128, 128)
) -> np.ndarray:
    """A cylinder of 300 on 100 whose edge is a step convolved with a Gaussian of `blur` mm: (k, j, i)."""
    j, i = ((a - n / 2 + 0.3) * pixel for a, n in zip(np.mgrid[: shape[1], : shape[2]], shape[1:], strict=True))
    plane = 100 + 200 * special.ndtr((0.3 * shape[1] * pixel - np.hypot(j, i)) / blur)
    return plane + np.random.default_rng(0).normal(0, noise, shape)


@pytest.mark.parametrize("pixel", [0.5, 1.0])
@pytest.mark.parametrize("blur", [0.5, 1.0, 2.5])
def test_sharpness_is_the_mtf50_of_a_gaussian(blur: float, pixel: float) -> None:
    """MTF(f) = exp(-2 (pi f s)^2), so it is one half at sqrt(ln 2 / 2) / (pi s)."""
    found = quality(disk(blur * pixel, pixel, noise=8), (pixel, pixel, 4 * pixel))
    assert found["sharpness"] == pytest.approx(np.sqrt(np.log(2) / 2) / (np.pi * blur * pixel), rel=0.03)


@pytest.mark.parametrize("sigma", [5.0, 20.0])
def test_noise_snr_and_contrast_of_a_phantom(sigma: float) -> None:
    image = disk(1.0, noise=sigma)
    found = quality(image, (1, 1, 1), np.ones(image.shape))
    assert found["noise_sigma"] == pytest.approx(sigma, rel=0.05)
    assert found["contrast"] == pytest.approx((300 - 100) / (300 + 100), rel=0.05)


def test_quality_takes_less_than_a_second() -> None:
    image = np.tile(disk(1.0, noise=10, shape=(8, 256, 256)).astype(np.float32), (32, 1, 1))
    started = time.perf_counter()
    first = quality(image, (1, 1, 1))
    assert time.perf_counter() - started < 1
    assert quality(image, (1, 1, 1)) == first
    assert all(value is not None for value in first.values())


@pytest.mark.parametrize("array", [np.zeros((4, 20, 20)), np.full((1, 30, 30), np.nan), np.zeros((3, 3, 3)) + 2])
def test_what_cannot_be_told_is_none(array: np.ndarray) -> None:
    assert set(quality(array, (1, 1, 1)).values()) == {None}
