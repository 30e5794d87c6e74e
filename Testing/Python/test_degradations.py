"""The physics of the training pairs."""

import numpy as np
import pytest
from conftest import phantom

torch = pytest.importorskip("torch", reason="the scanner of the dose noise is written in torch")
from DLReconLib import degradations  # noqa: E402
from DLReconLib.degradations import dose  # noqa: E402

FLAT = np.full((24, 32, 32), 0.6, np.float32)


def pairs(kind: bool, image: np.ndarray = FLAT, count: int = 40) -> list:
    drawn = [degradations.mr_noise(image, np.random.default_rng(n), 0.05) for n in range(count)]
    return [p for p in drawn if p.magnitude is kind]


def test_level_asked_for_is_the_level_given() -> None:
    for pair in pairs(kind=False):
        noise = pair.noisy - pair.clean
        assert np.std(noise / pair.sigma) == pytest.approx(1, abs=0.12)
        assert np.sqrt(np.mean(pair.sigma**2)) == pytest.approx(0.05, rel=0.02)


def test_rician_noise_in_air_is_rayleigh() -> None:
    ratios = [np.mean(p.noisy / p.sigma) for p in pairs(kind=True, image=np.zeros_like(FLAT))]
    assert np.min(ratios) == pytest.approx(np.sqrt(np.pi / 2), rel=0.03)  # more for several coils


def test_correlation_is_measured() -> None:
    rng = np.random.default_rng(3)
    white = rng.standard_normal((16, 64, 64)).astype(np.float32)
    assert degradations.lag_one(white) == pytest.approx(0, abs=0.03)
    smooth = (white[:, :-1, :-1] + white[:, 1:, :-1] + white[:, :-1, 1:] + white[:, 1:, 1:]) / 2
    assert degradations.lag_one(smooth) == pytest.approx(0.5, abs=0.03)


def test_projection_and_back_projection_are_inverse() -> None:
    square = torch.zeros(1, 128, 128)
    square[0, 40:70, 50:90] = 1
    back = dose.backproject(dose.project(square, 360))
    assert float(back[0, 45:65, 55:85].mean()) == pytest.approx(1, abs=0.005)
    assert float((back - square).abs().mean()) < 0.01


def test_ct_noise_follows_the_dose_and_has_no_mean() -> None:
    hu = phantom((8, 96, 96))[3:5] - 1000
    low, high = (degradations.ct_dose_noise(hu, 1.0, dose, np.random.default_rng(5)) for dose in (2e4, 8e4))
    inside = phantom((8, 96, 96))[3:5] > 500
    assert low[inside].std() / high[inside].std() == pytest.approx(2, rel=0.1)
    assert abs(low[inside].mean()) < 0.1 * low[inside].std()


def test_synthetic_anatomy_follows_its_labels() -> None:
    labels = np.digitize(phantom((24, 32, 32)), [1, 300, 700])
    image = degradations.painted_labels(labels, np.random.default_rng(0))
    assert image.shape == labels.shape
    assert image.dtype == np.float32
    assert image.min() >= 0
    again = degradations.painted_labels(labels, np.random.default_rng(0))
    np.testing.assert_array_equal(image, again)
