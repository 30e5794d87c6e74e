"""Classical filters against speckle of log-compressed ultrasound, slice by slice: (image, context) -> image.

image: (k, j, i) float32, grey values as the screen shows them, any unit. In them speckle is additive, with about the
same variance everywhere.
"""

import numpy as np
from scipy import ndimage

from DLReconLib.networks.context import Context

Array = np.ndarray
SPECKLE = float(np.pi / np.sqrt(6))  # standard deviation of the logarithm of an exponential variable
STEEPEST = 5.0  # largest difference of logarithms between neighbours that counts
TINY = 1e-12


def local_statistics(slice_: Array, side: int) -> tuple[Array, Array]:
    """Mean and variance over side x side pixels."""
    mean = ndimage.uniform_filter(slice_, side, mode="nearest")
    return mean, np.maximum(ndimage.uniform_filter(slice_**2, side, mode="nearest") - mean**2, 0)


def speckle_variance(mean: Array, variance: Array, share: float) -> float:
    """That of speckle in the grey values: the quantile `share` of the local ones where the picture is not black (edges
    are in the upper ones)."""
    bright = mean > mean.min() + 0.05 * np.ptp(mean)
    return float(np.quantile(variance[bright] if bright.any() else variance, share))


def lee(image: Array, context: Context, side: int = 9) -> Array:
    """Lee, "Digital image enhancement and noise filtering by use of local statistics", IEEE PAMI 1980, eq. 7 to 10,
    for additive noise: the local mean, and as much of the difference to it as is not speckle."""
    output = np.empty_like(image)
    for k, slice_ in enumerate(image.astype(np.float64)):
        context.progress(k / len(image), f"slice {k + 1} of {len(image)}")
        mean, variance = local_statistics(slice_, side)
        noise = speckle_variance(mean, variance, 0.5)
        output[k] = mean + np.maximum(variance - noise, 0) / (variance + TINY) * (slice_ - mean)
    return output


def srad(image: Array, context: Context, iterations: int = 60, step: float = 0.1, decay: float = 0.5) -> Array:
    """Speckle reducing anisotropic diffusion: Yu & Acton, IEEE TIP 2002, eq. 31 to 37, on the logarithm of the
    intensity.

    The grey values are scaled so that their speckle has the spread of fully developed speckle; from their differences
    follow those of the intensity, and so the coefficient of variation that steers the flow. What flows are grey values,
    so that the mean of a slice stays.
    """
    output = np.empty_like(image)
    for k, slice_ in enumerate(image.astype(np.float64)):
        context.progress(k / len(image), f"slice {k + 1} of {len(image)}")
        factor = SPECKLE / (np.sqrt(speckle_variance(*local_statistics(slice_, 5), 0.33)) + TINY)
        grey = factor * slice_
        for number in range(iterations):
            grey = diffused(grey, float(np.exp(-decay * number * step)), step)
        output[k] = grey / factor
    return output


def diffused(grey: Array, scale: float, step: float) -> Array:
    """One step: flow through the sides of each pixel, where the coefficient of variation of the intensity, whose
    logarithm `grey` is, does not exceed that of speckle, `scale`."""
    padded = np.pad(grey, 1, mode="edge")
    here = padded[1:-1, 1:-1]
    ahead = (padded[2:, 1:-1] - here, padded[1:-1, 2:] - here)
    behind = (here - padded[:-2, 1:-1], here - padded[1:-1, :-2])
    relative = [np.expm1(np.clip(d, -STEEPEST, STEEPEST)) for d in (*ahead, *(-b for b in behind))]
    square, laplacian = sum(r**2 for r in relative), sum(relative)
    variation = np.maximum(0.5 * square - laplacian**2 / 16, 0) / (1 + 0.25 * laplacian) ** 2
    conduct = np.clip(1 / (1 + (variation - scale**2) / (scale**2 * (1 + scale**2))), 0, 1)
    conduct = np.pad(conduct, 1, mode="edge")
    middle = conduct[1:-1, 1:-1]
    flow = conduct[2:, 1:-1] * ahead[0] + conduct[1:-1, 2:] * ahead[1] - middle * (behind[0] + behind[1])
    return here + step * flow
