"""Projection and filtered back-projection against what is known of discs."""

import numpy as np
import pytest

from DLReconLib.tomography import KERNELS, detectors, filtered_back_projection, joseph, project, view_angles


def disc(shape: tuple[int, int], centre: tuple[float, float], radius: float) -> np.ndarray:
    """(1, j, i), 1 inside, falling over a pixel at the edge; the centre (j, i) counts from the middle."""
    j, i = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in shape), indexing="ij")
    return np.clip(radius + 0.5 - np.hypot(j - centre[0], i - centre[1]), 0, 1)[None].astype(np.float32)


def test_disc_has_the_line_integrals_of_a_disc() -> None:
    """2 sqrt(r^2 - (s - s0)^2), s0 = x cos a + y sin a."""
    shape, radius, y, x = (90, 81), 20.0, -6.0, 9.0
    angles = view_angles(12)
    sinogram = project(disc(shape, (y, x), radius), angles)[0]
    place = np.arange(detectors(shape)) - (detectors(shape) - 1) / 2
    for angle, found in zip(angles, sinogram, strict=True):
        distance = place - x * np.cos(angle) - y * np.sin(angle)
        expected = 2 * np.sqrt(np.clip(radius**2 - distance**2, 0, None))
        inside = np.abs(distance) < radius - 2
        np.testing.assert_allclose(found[inside], expected[inside], atol=0.35)
        assert np.abs(found[np.abs(distance) > radius + 2]).max() == 0


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("arc", [np.pi, 2 * np.pi])
def test_back_projection_is_the_inverse(kernel: str, arc: float) -> None:
    slices = np.concatenate([disc((64, 71), (4, -9), 14), disc((64, 71), (0, 0), 25)])
    angles = view_angles(160, 0.2, arc)
    found = filtered_back_projection(project(slices, angles), angles, (64, 71), kernel)
    within = disc((64, 71), (4, -9), 9)[0] == 1
    assert found[0][within].mean() == pytest.approx(1, abs=0.003)
    assert found[0][within].std() < 0.02
    assert found.mean() == pytest.approx(slices.mean(), rel=0.01)


def test_rows_hold_what_projection_sums() -> None:
    slices = np.random.default_rng(0).random((2, 9, 14)).astype(np.float32)
    for angle in (0.0, 0.6, 1.6, 2.9):
        direct = (joseph((9, 14), angle) @ slices.reshape(2, -1).T).T
        np.testing.assert_allclose(project(slices, np.array([angle]))[:, 0], direct, rtol=1e-5)


def test_unknown_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match=r"soft.*ramp"):
        filtered_back_projection(np.zeros((1, 4, 9), np.float32), view_angles(4), (5, 5), "soft")


def test_caller_may_stop() -> None:
    def stop(fraction: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        project(np.zeros((1, 8, 8), np.float32), view_angles(4), stop)
