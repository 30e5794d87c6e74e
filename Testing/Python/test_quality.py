"""Figures without a reference, against phantoms whose answer is known."""

import time
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage, special

from DLReconLib.evaluation import figures_of
from DLReconLib.io import read_volume
from DLReconLib.metrics import cnr
from DLReconLib.quality import blocks, figures_of_blocks, quality
from DLReconLib.quality.edges import falls_to, find_edges, mtf, ringing
from DLReconLib.quality.figures import as_text
from DLReconLib.quality.intervals import bootstrap
from DLReconLib.quality.plots import save_plots
from DLReconLib.quality.spectrum import air_sigma, noise_map, noise_spectrum
from DLReconLib.quality.tissues import bias_fit, cells, cnr_of, inner, otsu
from DLReconLib.volume import Volume


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


@pytest.mark.parametrize("width", [0.5, 0.7, 0.9])
def test_noise_of_correlated_noise(width: float) -> None:
    """As a soft kernel makes it; the white-noise estimate reads less than half of it at 0.9 pixels."""
    noise = ndimage.gaussian_filter(np.random.default_rng(3).normal(size=(8, 200, 200)), (0, width, width))
    found = quality(100 + 10 * noise / noise.std(), (1, 1, 3), np.ones(noise.shape))
    assert found["noise_sigma"] == pytest.approx(10, rel=0.05)
    assert found["noise_white"] < (9 if width < 0.9 else 5)


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


@pytest.mark.parametrize("noise", [20.0, 50.0])
def test_a_guide_keeps_the_edges_of_noisy_versions(noise: float) -> None:
    """At a contrast of four times the noise no edge is found in the image itself."""
    clean = disk(1.0)
    found = quality(disk(1.0, noise=noise), (1, 1, 4), guide=clean)
    assert found["sharpness"] == pytest.approx(quality(clean, (1, 1, 4))["sharpness"], rel=0.03)


def slices_of(image: np.ndarray) -> np.ndarray:
    return image.astype(np.float32)


def test_mtf_of_a_gaussian_edge_at_all_levels() -> None:
    edges = find_edges(slices_of(disk(1.2, 0.8, noise=3)), (0.8, 0.8), 3.0)
    frequency, curve = mtf(edges)
    known = np.exp(-2 * (np.pi * 1.2 * frequency) ** 2)
    assert np.abs(curve - known)[frequency < 0.6].max() < 0.03
    assert falls_to(frequency, curve, 0.1) == pytest.approx(np.sqrt(np.log(10) / 2) / (np.pi * 1.2), rel=0.05)
    assert ringing(edges) < 0.02


def test_ringing_of_a_truncated_spectrum_is_gibbs() -> None:
    """A disk of exact Fourier coefficients up to a radius: the overshoot of its edge is Wilbraham's 0.0895."""
    n, fine = 128, 8
    j, i = np.mgrid[: n * fine, : n * fine] / fine - n / 2 + 0.5 / fine
    spectrum = np.fft.fftshift(np.fft.fft2(np.hypot(j, i) < 40))
    half, cut, middle = 60, 44, n * fine // 2  # of the 64 frequencies that the coarse grid carries
    kept = np.zeros((n, n), complex)
    radius = np.hypot(*np.mgrid[-half:half, -half:half])
    part = spectrum[middle - half : middle + half, middle - half : middle + half] * (radius < cut)
    kept[n // 2 - half : n // 2 + half, n // 2 - half : n // 2 + half] = part
    image = 100 + 200 * np.fft.ifft2(np.fft.ifftshift(kept)).real / fine**2
    edges = find_edges(np.repeat(slices_of(image)[None], 4, axis=0), (1.0, 1.0), 0.0)
    assert ringing(edges) == pytest.approx(0.0895, rel=0.05)


@pytest.mark.parametrize("width", [0.0, 0.8])
def test_noise_spectrum_of_filtered_noise(width: float) -> None:
    """White noise of variance v has NPS v dx dy; a Gaussian of s pixels multiplies it by exp(-4 (pi s dx f)^2)."""
    pixel = 0.8
    noise = np.random.default_rng(0).normal(0, 10, (300, 32, 32))
    noise = ndimage.gaussian_filter(noise, (0, width, width), mode="wrap") if width else noise
    found = noise_spectrum(noise, (pixel, pixel))
    known = 100 * pixel**2 * np.exp(-4 * (np.pi * width * pixel * found.frequency) ** 2)
    assert found.power[1:-4] == pytest.approx(known[1:-4], rel=0.08)


def test_noise_peak_of_back_projected_noise() -> None:
    """NPS f exp(-(f / a)^2) is highest at a / sqrt(2)."""
    pixel, a = 0.5, 0.5
    radius = np.hypot(np.fft.fftfreq(64, pixel)[:, None], np.fft.fftfreq(64, pixel))
    shape = np.sqrt(radius * np.exp(-((radius / a) ** 2)))
    noise = np.fft.ifft2(np.fft.fft2(np.random.default_rng(0).normal(size=(200, 64, 64))) * shape).real
    found = noise_spectrum(noise, (pixel, pixel))
    assert found.peak() == pytest.approx(a / np.sqrt(2), abs=0.04)
    low, high = bootstrap(200, lambda t: {"peak": found.peak(t)})["peak"]
    assert low <= found.peak() <= high


def test_noise_map_follows_the_noise() -> None:
    sigma = np.broadcast_to(np.linspace(5, 20, 96), (32, 64, 96))
    image = 300 + np.random.default_rng(0).normal(size=sigma.shape) * sigma
    found = noise_map(image)
    assert found.shape == image.shape
    assert found[:, :, 12:-12].mean((0, 1)) == pytest.approx(sigma[0, 0, 12:-12], rel=0.08)


def test_air_of_a_magnitude_image() -> None:
    rng = np.random.default_rng(0)
    signal = np.zeros((30, 64, 64))
    signal[8:22, 16:48, 16:48] = 200
    rician = np.hypot(signal + rng.normal(0, 12, signal.shape), rng.normal(0, 12, signal.shape))
    assert air_sigma(rician) == pytest.approx(12, rel=0.03)
    assert quality(rician, (1, 1, 1))["noise_sigma"] == pytest.approx(12, rel=0.05)
    assert air_sigma(signal) is None  # padding
    assert air_sigma(signal + rng.normal(0, 12, signal.shape)) is None  # not a magnitude
    assert air_sigma(np.abs(signal + rng.normal(0, 12, signal.shape))) is None  # not Rayleigh


def test_thresholds_of_otsu_agree_with_skimage() -> None:
    filters = pytest.importorskip("skimage.filters", reason="compared with scikit-image")
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(m, s, 4000) for m, s in ((0, 10), (100, 20), (180, 12))])
    for classes in (2, 3, 4):
        assert otsu(values, classes) == pytest.approx(filters.threshold_multiotsu(values, classes), abs=4)


@pytest.mark.parametrize("strength", [0.0, 0.1, 0.3])
def test_bias_of_a_known_field(strength: float) -> None:
    k, j, i = np.meshgrid(*[np.linspace(-1, 1, 64)] * 3, indexing="ij")
    radius = np.sqrt(k**2 + j**2 + i**2)
    labels = (radius < 0.95).astype(int) + (radius < 0.7)
    field = np.exp(strength * (k + 0.5 * j**2 - 0.5 * i * k))
    image = np.choose(labels, [0, 100, 160]) * field + np.random.default_rng(0).normal(0, 3, field.shape)
    known = field[labels > 0].std() / field[labels > 0].mean()
    assert bias_fit(image, labels).variation() == pytest.approx(known, rel=0.05, abs=0.002)
    assert bias_fit(image).variation() == pytest.approx(known, abs=0.03)  # the tissues found by itself


def test_cnr_of_cells_is_that_of_the_metric() -> None:
    labels = np.zeros((20, 40, 40), int)
    labels[4:16, 4:18, 4:36], labels[4:16, 22:36, 4:36] = 1, 2
    image = np.choose(labels, [0, 100, 160]) + np.random.default_rng(2).normal(0, 10, labels.shape)
    assert cnr_of(cells(image, inner(labels)), 1, 2) == pytest.approx(cnr(image, labels)["1-2"])


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """The noise of 60 images of 60: 95 % intervals by bootstrap, 12 misses have a chance below one in ten thousand."""
    hits = 0
    for seed in range(60):
        image = np.random.default_rng(seed).normal(100, 10, (2, 80, 80)).astype(np.float32)
        squares = blocks(image, np.ones(image.shape, bool))
        found = bootstrap(len(squares[0]), lambda t, s=squares: figures_of_blocks(*s, 0.0, t), 150)
        hits += found["snr"][0] <= 10 <= found["snr"][1]
    assert hits > 48


def test_figures_of_a_whole_volume() -> None:
    clean = disk(1.0, shape=(24, 96, 96)).astype(np.float32)
    noisy = disk(1.0, noise=10, shape=(24, 96, 96)).astype(np.float32)
    labels = (clean < 101).astype(np.uint8) + 2 * (clean > 299)
    found = figures_of(Volume(noisy), clean, None, labels, 200.0)
    assert found["psnr"] == pytest.approx(20 * np.log10(200 / 10), abs=0.1)
    assert found["intervals"]["psnr"][0] < found["psnr"] < found["intervals"]["psnr"][1]
    assert found["cnr"]["1-2"] == pytest.approx(20, rel=0.03)
    assert found["labels"]["2"]["rmse"] == pytest.approx(10, rel=0.05)
    assert found["labels"]["2"]["mean"] == pytest.approx(300, rel=0.02)
    assert found["mtf50"] == pytest.approx(0.1874, rel=0.05)
    assert set(found["curves"]) == {"edge", "mtf", "nps"}
    text = as_text(found)
    assert "psnr" in text and "95 % interval" in text and "data range 200: given" in text
    shifted = figures_of(Volume(clean + np.float32(5)), clean, None, labels, 200.0)
    assert shifted["labels"]["1"]["shift"] == pytest.approx(5)


def test_plots_are_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="draws the plots")
    curves = figures_of(Volume(disk(1.0, noise=5)))["curves"]
    written = save_plots(curves, tmp_path / "plots")
    assert (
        sorted(p.name for p in written)
        == ["edge.png", "mtf.png", "nps.png"]
        == sorted(p.name for p in (tmp_path / "plots").iterdir())
    )
    assert all(read_volume(p).array.std() > 5 for p in written)
