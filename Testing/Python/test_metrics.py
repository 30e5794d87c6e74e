"""Metrics against known answers and against other libraries."""

import numpy as np
import pytest
from conftest import phantom

from DLReconLib import metrics


def test_psnr_of_a_known_error() -> None:
    reference = phantom()
    assert metrics.psnr(reference + 10, reference, 1000) == pytest.approx(40)
    assert metrics.psnr(reference, reference, 1000) == float("inf")
    assert metrics.rmse(reference + 10, reference, 1000) == pytest.approx(10)
    assert metrics.nrmse(reference + 10, reference, 1000) == pytest.approx(0.01)
    assert metrics.mae(reference - 10, reference, 1000) == pytest.approx(10)


def test_mask_limits_what_counts() -> None:
    reference = phantom()
    image = reference.copy()
    image[:, :10] += 500
    mask = np.ones(image.shape, bool)
    mask[:, :10] = False
    assert metrics.rmse(image, reference, 1000, mask) == 0
    with pytest.raises(ValueError, match="mask is empty"):
        metrics.rmse(image, reference, 1000, np.zeros(image.shape, bool))


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="wanted the same shape"):
        metrics.psnr(phantom(), phantom()[1:], 1000)


def test_psnr_and_ssim_agree_with_monai() -> None:
    torch = pytest.importorskip("torch", reason="MONAI's metrics need torch")
    monai = pytest.importorskip("monai.metrics", reason="compared with MONAI")
    rng = np.random.default_rng(0)
    reference = phantom((24, 40, 40)) / 1000
    image = (reference + rng.normal(0, 0.05, reference.shape)).astype(np.float32)
    pair = [torch.from_numpy(a)[None, None] for a in (image, reference)]
    psnr = float(monai.PSNRMetric(max_val=1.0)(*pair))
    assert metrics.psnr(image, reference, 1.0) == pytest.approx(psnr, abs=1e-3)
    ssim = float(monai.SSIMMetric(spatial_dims=3, data_range=1.0, win_size=11, kernel_sigma=1.5)(*pair))
    inner = np.zeros(image.shape, bool)
    inner[5:-5, 5:-5, 5:-5] = True
    assert metrics.ssim(image, reference, 1.0, inner) == pytest.approx(ssim, abs=0.01)


def camera() -> tuple[np.ndarray, np.ndarray]:
    """A photograph and the same with noise, (j, i) from 0 to 255."""
    data = pytest.importorskip("skimage.data", reason="its photograph")
    clean = data.camera()[:360, :400].astype(np.float64)
    return np.clip(clean + np.random.default_rng(0).normal(0, 20, clean.shape), 0, 255), clean


def test_ms_ssim_agrees_with_monai() -> None:
    torch = pytest.importorskip("torch", reason="MONAI's metrics need torch")
    monai = pytest.importorskip("monai.metrics", reason="compared with MONAI")
    image, clean = camera()
    metric = monai.MultiScaleSSIMMetric(spatial_dims=2, data_range=255.0, kernel_size=11, kernel_sigma=1.5)
    theirs = float(metric(*(torch.from_numpy(a).float()[None, None] for a in (image, clean))))
    assert metrics.ms_ssim(image, clean, 255) == pytest.approx(theirs, abs=1e-4)
    assert metrics.ms_ssim(np.stack([image, clean]), np.stack([clean, clean]), 255) == pytest.approx(
        (theirs + 1) / 2, abs=1e-4
    )


def test_gmsd_agrees_with_piq() -> None:
    """0.1901: piq 0.8.0, piq.gmsd(noisy, clean, data_range=255)."""
    assert metrics.gmsd(*camera(), 255) == pytest.approx(0.1901, abs=1e-4)


def test_hfen_of_known_errors() -> None:
    image, clean = camera()
    assert metrics.hfen(clean, clean, 255) == 0
    assert metrics.hfen(clean + 30, clean, 255) == pytest.approx(0, abs=1e-3)  # a constant is no detail
    assert metrics.hfen(1.5 * clean, clean, 255) == pytest.approx(0.5)
    assert metrics.hfen(image, clean, 255) > 0.5


@pytest.mark.parametrize("name", metrics.METRICS)
def test_metrics_know_equal_images_and_obey_the_mask(name: str) -> None:
    image, clean = (a[None] for a in camera())
    metric = metrics.METRICS[name]
    best = {"psnr": float("inf"), "ssim": 1, "ms_ssim": 1}.get(name, 0)
    assert metric(clean, clean, 255) == pytest.approx(best)
    spoiled = clean.copy()
    spoiled[:, :100] = image[:, :100]
    assert metric(spoiled, clean, 255) != pytest.approx(best, abs=1e-3)
    far = np.zeros(clean.shape, bool)
    far[:, 250:] = True  # farther than the coarsest window of MS-SSIM reaches
    assert metric(spoiled, clean, 255, far) == pytest.approx(best, abs=1e-9)


def test_ssim_of_thin_stacks_is_two_dimensional() -> None:
    image = phantom((3, 40, 40))
    noisy = image + np.random.default_rng(0).normal(0, 50, image.shape)
    slices = [metrics.ssim(a, b, 1000) for a, b in zip(noisy, image, strict=True)]
    assert metrics.ssim(noisy, image, 1000) == pytest.approx(np.mean(slices))


@pytest.mark.parametrize("sigma", [5.0, 40.0])
@pytest.mark.parametrize("shape", [(32, 48, 48), (1, 120, 120)])
def test_noise_sigma_of_white_noise(sigma: float, shape: tuple[int, int, int]) -> None:
    noise = np.random.default_rng(1).normal(0, sigma, shape)
    assert metrics.noise_sigma(300 + noise) == pytest.approx(sigma, rel=0.05)


def test_snr_and_cnr_of_a_phantom() -> None:
    rng = np.random.default_rng(2)
    labels = np.zeros((20, 40, 40), int)
    labels[4:16, 4:18, 4:36], labels[4:16, 22:36, 4:36] = 1, 2
    image = np.choose(labels, [0, 100, 160]) + rng.normal(0, 10, labels.shape)
    assert metrics.cnr(image, labels)["1-2"] == pytest.approx(6, rel=0.05)
    assert metrics.snr(image, labels == 1) == pytest.approx(10, rel=0.1)
    with pytest.raises(ValueError, match="two labels"):
        metrics.cnr(image, (labels == 1).astype(int))
