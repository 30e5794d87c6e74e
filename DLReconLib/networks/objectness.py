"""How much of a bright tube there is at each voxel: the classical measure, and what an answer makes of such a map."""

import numpy as np
from scipy import ndimage

from DLReconLib.networks.context import Context

Array = np.ndarray
THICK = 2.0  # slices count as at most so far apart, in units of the pixels: a vessel may lie in one of them


def lift_of(image: Array) -> float:
    """The range of an image, 0.5th to 99.5th percentile, or the whole where that is none; in its unit."""
    step = max(1, round((image.size / 4e6) ** (1 / 3)))
    low, high = np.percentile(image[::step, ::step, ::step], (0.5, 99.5))
    return float(high - low) or float(np.ptp(image)) or 1.0


def lifted(image: Array, features: Array, context: Context) -> Array:
    """The image plus its range times the map `features`, 0..1; notes the range as "lift"."""
    lift = lift_of(image)
    context.notes["lift"] = lift
    return image + np.float32(lift) * features.astype(np.float32)


def spacing_of(shape: tuple[int, ...], spacing: tuple[float, float, float]) -> tuple[float, ...]:
    """(k, j, i) in units of the finest axis, at most THICK; an axis of one voxel counts as fine."""
    finest = min(s for s, n in zip(spacing, shape, strict=True) if n > 1)
    return tuple(min(s / finest, THICK) if n > 1 else 1.0 for s, n in zip(spacing, shape, strict=True))


def objectness_map(
    image: Array, spacing: tuple[float, float, float], scales: tuple[float, ...], gamma: float,
    progress=lambda fraction, text: None,
) -> Array:  # fmt: skip
    """The largest measure of all scales; (k, j, i) float32, 0..1. See objectness()."""
    import SimpleITK as sitk

    distance = spacing_of(image.shape, spacing)
    flat = 1 in image.shape
    x = (image - np.float32(image.mean(dtype=np.float64))) / np.float32(lift_of(image))
    best = np.zeros(image.shape, np.float32)
    for number, scale in enumerate(scales):
        progress(number / len(scales), f"scale {number + 1} of {len(scales)}")
        smooth = ndimage.gaussian_filter(x, [scale / d for d in distance], mode="nearest") * np.float32(scale**2)
        part = sitk.GetImageFromArray(np.squeeze(smooth) if flat else smooth)
        part.SetSpacing([d for d, n in zip(distance[::-1], image.shape[::-1], strict=True) if n > 1])
        found = sitk.GetArrayFromImage(sitk.ObjectnessMeasure(part, 0.5, 0.5, gamma, False, 1, True))
        best = np.maximum(best, np.nan_to_num(found).reshape(image.shape))
    return np.clip(best, 0, 1)


def objectness(
    image: Array, context: Context, scales: tuple[float, ...] = (0.7, 1.0, 1.5, 2.2, 3.2), gamma: float = 0.1
) -> Array:
    """The image with its bright tubes lifted, by the measure of Antiga ("Generalizing vesselness with respect to
    dimensionality and shape", Insight Journal 2007), which is that of Frangi et al. (MICCAI 1998, eq. 13 and 15) with
    alpha = beta = 1/2: from the eigenvalues of the Hessian at each scale, the largest over the scales. SimpleITK's.

    scales: standard deviation of the Gaussian, in units of the finest voxel spacing. gamma: of the second-order
    structure that counts as clear, a part of the range of the image.
    """
    return lifted(image, objectness_map(image, context.spacing, tuple(scales), gamma, context.progress), context)
