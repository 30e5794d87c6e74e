"""How good is an image? Against a reference, and by itself.

Images are arrays (k, j, i) or (j, i), any unit. `mask` is a boolean array of the same shape: the voxels
that count. `peak` is the data range, always given, never guessed. Every function raises ValueError for
shapes that differ or a mask that is empty.
"""

from collections.abc import Callable

import numpy as np
from scipy import ndimage

Array = np.ndarray


def _chosen(image: Array, reference: Array, mask: Array | None) -> tuple[Array, Array]:
    if image.shape != reference.shape:
        raise ValueError(f"metrics: image {image.shape} and reference {reference.shape}; wanted the same shape")
    if mask is None:
        return image.astype(np.float64), reference.astype(np.float64)
    return _inside(image, mask).astype(np.float64), reference[mask.astype(bool)].astype(np.float64)


def _inside(image: Array, mask: Array) -> Array:
    if mask.shape != image.shape:
        raise ValueError(f"metrics: mask {mask.shape} and image {image.shape}; wanted the same shape")
    if not mask.any():
        raise ValueError("metrics: the mask is empty; wanted at least one voxel that counts")
    return image[mask.astype(bool)]


def rmse(image: Array, reference: Array, peak: float, mask: Array | None = None) -> float:
    """Root mean squared error, in the unit of the image (peak is not used)."""
    a, b = _chosen(image, reference, mask)
    return float(np.sqrt(np.mean((a - b) ** 2)))


def nrmse(image: Array, reference: Array, peak: float, mask: Array | None = None) -> float:
    """RMSE / peak."""
    return rmse(image, reference, peak, mask) / peak


def mae(image: Array, reference: Array, peak: float, mask: Array | None = None) -> float:
    """Mean absolute error, in the unit of the image (peak is not used)."""
    a, b = _chosen(image, reference, mask)
    return float(np.mean(np.abs(a - b)))


def psnr(image: Array, reference: Array, peak: float, mask: Array | None = None) -> float:
    """20 log10(peak / RMSE), dB; infinite for equal images."""
    error = rmse(image, reference, peak, mask)
    return float("inf") if error == 0 else float(20 * np.log10(peak / error))


def ssim(image: Array, reference: Array, peak: float, mask: Array | None = None) -> float:
    """Structural similarity (Wang et al., IEEE TIP 2004, eq. 13; Gaussian window, sigma 1.5), mean over the mask.

    A stack of fewer than 11 slices is compared slice by slice in two dimensions. Raises ValueError below 11 x 11.
    """
    from skimage.metrics import structural_similarity

    _chosen(image, reference, mask)
    pair = [np.asarray(a, np.float64) for a in (image, reference)]
    if min(image.shape[-2:]) < 11:
        raise ValueError(f"metrics: SSIM needs 11 voxels along each axis, got {image.shape}")
    options = {"gaussian_weights": True, "use_sample_covariance": False, "full": True, "data_range": peak}
    if image.ndim == 3 and len(image) < 11:
        local = np.stack([structural_similarity(a, b, **options)[1] for a, b in zip(*pair, strict=True)])
    else:
        local = structural_similarity(*pair, **options)[1]
    return float(np.mean(local if mask is None else local[mask.astype(bool)]))


METRICS: dict[str, Callable[..., float]] = {"psnr": psnr, "ssim": ssim, "rmse": rmse, "nrmse": nrmse, "mae": mae}


def noise_sigma(image: Array, mask: Array | None = None) -> float:
    """Standard deviation of white noise from the finest diagonal Haar details:
    median(|d|) / 0.6745 (Donoho & Johnstone, Biometrika 1994), in the unit of the image.

    Correlated noise (CT, interpolated MR) is judged too low by it. Without a mask, exact zeros (padding)
    do not count.
    """
    detail, weights = image.astype(np.float32), image != 0 if mask is None else mask.astype(bool)
    for axis in range(image.ndim):
        if image.shape[axis] < 2:
            continue
        even = [slice(None)] * image.ndim
        odd = list(even)
        even[axis], odd[axis] = slice(0, detail.shape[axis] // 2 * 2, 2), slice(1, None, 2)
        detail = (detail[tuple(even)] - detail[tuple(odd)]) / np.sqrt(2)
        weights = weights[tuple(even)] & weights[tuple(odd)]
    chosen = np.abs(detail[weights]) if weights.any() else np.abs(detail)
    return float(np.median(chosen) / 0.6745)


def tissue_mask(image: Array) -> Array:
    """Voxels brighter than a tenth of the 99.5th percentile above the minimum: not air."""
    low, high = float(image.min()), float(np.percentile(image, 99.5))
    return image > low + 0.1 * (high - low)


def snr(image: Array, mask: Array | None = None) -> float:
    """Mean of the tissue (or mask) over the noise sigma found in it."""
    chosen = tissue_mask(image) if mask is None else mask.astype(bool)
    sigma = noise_sigma(image, chosen)
    return float("inf") if sigma == 0 else float(np.mean(_inside(image, chosen)) / sigma)


def cnr(image: Array, labels: Array) -> dict[str, float]:
    """Contrast-to-noise ratio |m_a - m_b| / sqrt((v_a + v_b) / 2) for each pair of labels > 0.

    Regions lose their outermost voxel layer where enough of them remains, against partial volume.
    """
    if labels.shape != image.shape:
        raise ValueError(f"metrics: labels {labels.shape} and image {image.shape}; wanted the same shape")
    values = [int(v) for v in np.unique(labels) if v > 0]
    if len(values) < 2:
        raise ValueError(f"metrics: CNR needs two labels above 0, got {values}")
    regions = {}
    for value in values:
        region = labels == value
        inner = ndimage.binary_erosion(region)
        regions[value] = image[inner if inner.sum() >= 30 else region].astype(np.float64)
    pairs = {}
    for n, a in enumerate(values):
        for b in values[n + 1 :]:
            noise = np.sqrt((regions[a].var() + regions[b].var()) / 2)
            difference = abs(regions[a].mean() - regions[b].mean())
            pairs[f"{a}-{b}"] = float("inf") if noise == 0 else float(difference / noise)
    return pairs
