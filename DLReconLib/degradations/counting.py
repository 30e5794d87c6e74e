"""Noise of counted quanta: PET at a lower dose, photons and electrons in a microscope."""

import numpy as np
from scipy import ndimage

from DLReconLib.degradations import Array, log_uniform, smooth_field

FWHM = float(np.sqrt(8 * np.log(2)))  # full width at half maximum of a Gaussian, in standard deviations


def thinned(activity: Array, counts: Array | float, widths: tuple[float, ...], rng: np.random.Generator) -> Array:
    """PET of fewer counts: the noise is Poisson, then filtered.

    Each voxel holds n x counts, Poisson with n = `counts` for an activity of 1; their relative error has the
    standard deviation 1 / sqrt(n x) before the filter. Reconstructed by OSEM its noise is correlated by the
    post-filter, a Gaussian, and grows with the activity (Barrett, Wilson, Tsui, PMB 1994). Only the noise is filtered:
    the activity has the scanner's resolution already. The mean stays, so SUV stay SUV.

    Args:
        activity: (k, j, i), 0 or more, any unit (SUV). counts: of a voxel of activity 1; a number or (k, j, i).
        widths: standard deviations of the post-filter along k, j, i in voxels.
    """
    expected = np.maximum(activity, 0) * counts
    error = (rng.poisson(expected) - expected) / counts
    return (activity + ndimage.gaussian_filter(error, widths, mode="mirror")).astype(np.float32)


def pet_noise(
    activity: Array, spacing: tuple[float, ...], rng: np.random.Generator, level: float | None = None
) -> Array:
    """thinned() with a random dose, a random post-filter of 4 to 9 mm FWHM (at least a voxel) and attenuation that
    makes some places noisier. In a place as bright as the mean of what is not air the noise has 5 to 50 % of it,
    or `level`.

    activity: (k, j, i), 0 or more. spacing: (k, j, i) in mm.
    """
    widths = tuple(np.maximum(rng.uniform(4, 9) / FWHM / np.asarray(spacing), 1 / FWHM))
    warm = activity[activity > 0.1 * activity.max()]
    brightness = float(warm.mean()) if warm.size else 1.0
    wanted = log_uniform(rng, 0.05, 0.5) if level is None else level
    # A Gaussian filter of standard deviation w leaves 1 / (2 sqrt(pi) w) of the variance along each axis.
    kept = np.prod([min(1.0, 1 / (2 * np.sqrt(np.pi) * w)) for w in widths])
    counts = kept / (wanted**2 * brightness) * smooth_field(activity.shape, rng, 0.8)
    return np.maximum(thinned(activity, counts, widths, rng), 0)


def poisson_gaussian(image: Array, photons: float, reading: float, blur: float, rng: np.random.Generator) -> Array:
    """A camera or a detector: x counts to Poisson(photons x) / photons + N(0, reading^2) (Foi et al., IEEE TIP 2008,
    eq. 1-4), so that its variance is x / photons + reading^2.

    image: (j, i), 0..1. photons: of a pixel of brightness 1. reading: noise of the electronics, in the unit of the
    image. blur: standard deviation in pixels of a filter that follows (resampling, Bayer pattern), which correlates
    the noise; only the noise is filtered and brought back to its variance.
    """
    clean = np.maximum(image, 0)
    noise = rng.poisson(clean * photons) / photons - clean
    noise = noise + rng.normal(0, reading, image.shape)
    if blur:
        white = noise.std()
        noise = ndimage.gaussian_filter(noise, blur, mode="mirror")
        noise *= white / (noise.std() + 1e-12)
    return (image + noise).astype(np.float32)
