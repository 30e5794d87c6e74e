"""Which of several denoised images is best, where nobody knows the truth?

Stein's unbiased risk estimate, SURE, with the divergence by Monte Carlo (Ramani, Blu & Unser, "Monte-Carlo SURE", IEEE
TIP 17, 2008): for y = x + n with Gaussian noise n of covariance C and any method f,

    E |f(y) - x|^2 = E [ |f(y) - y|^2 - tr C + 2 b . (f(y + e b) - f(y)) / e ],   e small,

b being drawn as the noise is (b ~ N(0, C), so that E b b' = C). It costs one more pass of the method.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from DLReconLib.metrics import noise_sigma, tissue_mask
from DLReconLib.quality import NEAR, blocks, figures_of_blocks, middle_slices, slice_axis, tissue_of

Array = np.ndarray
STEP = 0.1  # e
WHITE = 0.75  # noise whose finest details are at least this strong is white
WIDTHS = (0.0, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0)  # pixels of blur; NEAR is what they make of neighbours


@dataclass(frozen=True)
class Probe:
    """sigma: standard deviation of the noise of an image, in its unit. white: whether it is; if not, its colour is a
    guess, and so are the estimates. noise: (k, j, i) float32, as the noise is, of the same strength and colour.
    tissue: (k, j, i) bool, where the error is counted."""

    sigma: float
    white: bool
    noise: Array
    tissue: Array

    def disturbed(self, source: Array) -> Array:
        """What the method is to be run on once more, float32."""
        return source.astype(np.float32) + np.float32(STEP) * self.noise


def probe(source: Array, spacing: tuple[float, float, float], mask: Array | None = None) -> Probe | None:
    """The noise of an image (k, j, i) and noise like it, always the same; None where the image does not tell its noise.

    spacing: (i, j, k) mm. mask: not 0 where the error is to be counted.
    Noise that is correlated is taken for white noise blurred in the plane of the slices (see figures_of_blocks).
    """
    slices, _, _ = middle_slices(source, spacing)
    tissue = tissue_of(slices)
    mean, spread, near = blocks(slices, tissue)
    sigma = figures_of_blocks(mean, spread, near, 0.0)["noise_sigma"]
    if not sigma:
        return None
    finest = noise_sigma(slices, tissue)
    white = finest > WHITE * sigma
    noise = np.random.default_rng(0).standard_normal(source.shape, np.float32)
    if white:
        sigma = finest  # holds less of the anatomy's texture
    else:
        quiet = near[spread <= np.quantile(spread, 0.2)].mean()
        width = float(np.interp(quiet, NEAR, WIDTHS))
        axis = slice_axis(source.shape, tuple(spacing[::-1]))
        noise = ndimage.gaussian_filter(noise, [0 if n == axis else width for n in range(3)])
        noise /= noise.std()
    # Chosen by a smooth image: by the noisy one, bright noise in air would be taken for tissue.
    inside = tissue_mask(ndimage.uniform_filter(source.astype(np.float32), 3))
    if mask is not None and (inside & (mask != 0)).any():
        inside &= mask != 0
    return Probe(float(sigma), bool(white), noise * np.float32(sigma), inside)


def error_left(source: Array, result: Array, again: Array, drawn: Probe) -> float:
    """SURE of the RMSE of a denoised image, in its unit; 0 where the estimate of its square is below 0.

    Args:
        source, result: (k, j, i), same shape. again: the same method's answer to drawn.disturbed(source).

    The mean of source - result is taken off: it is the bias of magnitude images. Raises ValueError for shapes that
    differ.
    """
    if not source.shape == result.shape == again.shape:
        raise ValueError(f"error_left: {source.shape}, {result.shape} and {again.shape}; wanted the same shape")
    inside = drawn.tissue if drawn.tissue.any() else np.ones(source.shape, bool)
    removed = np.subtract(source, result, dtype=np.float32)[inside].astype(np.float64)
    moved = np.subtract(again, result, dtype=np.float32)[inside].astype(np.float64)
    divergence = float(np.mean(drawn.noise[inside] * moved)) / STEP
    return float(np.sqrt(max(0.0, np.var(removed) - drawn.sigma**2 + 2 * divergence)))
