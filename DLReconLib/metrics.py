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
    _chosen(image, reference, mask)
    local = ssim_map(image, reference, peak)
    return float(np.mean(local if mask is None else local[mask.astype(bool)]))


def ssim_map(image: Array, reference: Array, peak: float) -> Array:
    """The structural similarity at each voxel, as ssim() averages it; same shape as the image, float64."""
    from skimage.metrics import structural_similarity

    pair = [np.asarray(a, np.float64) for a in (image, reference)]
    if min(image.shape[-2:]) < 11:
        raise ValueError(f"metrics: SSIM needs 11 voxels along each axis, got {image.shape}")
    options = {"gaussian_weights": True, "use_sample_covariance": False, "full": True, "data_range": peak}
    if image.ndim == 3 and len(image) < 11:
        return np.stack([structural_similarity(a, b, **options)[1] for a, b in zip(*pair, strict=True)])
    return structural_similarity(*pair, **options)[1]


def _slices(
    image: Array, reference: Array, mask: Array | None, side: int, name: str
) -> list[tuple[Array, Array, Array]]:
    """The planes (j, i) where the mask counts, float64. Raises ValueError where they are smaller than `side`."""
    _chosen(image, reference, mask)
    inside = np.ones(image.shape, bool) if mask is None else mask.astype(bool)
    if min(image.shape[-2:]) < side:
        raise ValueError(f"metrics: {name} needs planes of {side} x {side} voxels, got {image.shape}")
    stack = [np.asarray(a).reshape(-1, *image.shape[-2:]) for a in (image, reference, inside)]
    return [(a.astype(np.float64), b.astype(np.float64), m) for a, b, m in zip(*stack, strict=True) if m.any()]


SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def ms_ssim_scales(shape: tuple[int, ...]) -> int:
    """How many scales of MS-SSIM an image of this shape has: the window of 11 must fit the coarsest; at most 5."""
    return int(min(len(SCALES), 1 + max(0, np.log2(min(shape[-2:]) / 11) // 1)))


def ms_ssim(image: Array, reference: Array, peak: float, mask: Array | None = None) -> float:
    """Multi-scale structural similarity, slice by slice, mean of the slices weighted by the mask (Wang, Simoncelli &
    Bovik, Asilomar 2003, eq. 7, their weights): contrast and structure at each scale, luminance at the coarsest.

    Planes too small for five scales are compared on fewer, the weights brought to sum 1 (see ms_ssim_scales). The
    half window at the borders does not count, as in the original. Raises ValueError below 11 x 11.
    """
    scales = ms_ssim_scales(image.shape)
    weights = np.array(SCALES[:scales]) / sum(SCALES[:scales])
    total = number = 0.0
    for a, b, inside in _slices(image, reference, mask, 11, "MS-SSIM"):
        product, counted = 1.0, float(inside.sum())
        for scale, weight in enumerate(weights):
            if scale:
                a, b, share = (_halved(x.astype(np.float64)) for x in (a, b, inside))
                inside = share >= 0.5
            likeness, structure = _window_figures(a, b, peak)
            chosen = inside[5:-5, 5:-5] if inside[5:-5, 5:-5].any() else np.ones_like(inside[5:-5, 5:-5])
            value = (likeness if scale == scales - 1 else structure)[chosen].mean()
            product *= max(value, 0.0) ** weight
        total, number = total + counted * product, number + counted
    return total / number


def _halved(plane: Array) -> Array:
    rows, columns = (n // 2 for n in plane.shape)
    return plane[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2).mean(axis=(1, 3))


def _window_figures(a: Array, b: Array, peak: float) -> tuple[Array, Array]:
    """SSIM and its contrast-structure factor at each pixel whose window of 11 x 11 lies inside."""

    def mean(x: Array) -> Array:
        return ndimage.gaussian_filter(x, 1.5, radius=5)[5:-5, 5:-5]

    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b, both = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2, mean(a * b) - mean_a * mean_b
    structure = (2 * both + c2) / (var_a + var_b + c2)
    return structure * (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1), structure


def hfen(image: Array, reference: Array, peak: float, mask: Array | None = None) -> float:
    """High-frequency error norm: ||LoG(image) - LoG(reference)|| / ||LoG(reference)|| over the mask, LoG the Laplacian
    of a Gaussian of 1.5 pixels in the plane (Ravishankar & Bresler, IEEE TMI 2011); peak is not used.

    NaN where the reference has no detail in the mask.
    """
    difference = detail = 0.0
    for a, b, inside in _slices(image, reference, mask, 3, "HFEN"):
        fine = [ndimage.gaussian_laplace(x, 1.5, mode="nearest", radius=7)[inside] for x in (a, b)]
        difference += float(((fine[0] - fine[1]) ** 2).sum())
        detail += float((fine[1] ** 2).sum())
    return float(np.sqrt(difference / detail)) if detail > 0 else float("nan")


def gmsd(image: Array, reference: Array, peak: float, mask: Array | None = None) -> float:
    """Gradient magnitude similarity deviation (Xue et al., IEEE TIP 2014), 0 for equal images: the standard deviation
    over the pixels of (2 g h + c) / (g^2 + h^2 + c), g and h the Prewitt gradients of both images at half the
    resolution, c = 170 (peak / 255)^2. Mean over the slices, weighted by the mask.
    """
    c, total, number = 170 * (peak / 255) ** 2, 0.0, 0.0
    for a, b, inside in _slices(image, reference, mask, 6, "GMSD"):
        size = [_prewitt(_halved(x)) for x in (a, b)]
        likeness = (2 * size[0] * size[1] + c) / (size[0] ** 2 + size[1] ** 2 + c)
        chosen = _halved(inside.astype(np.float64)) >= 0.5
        if chosen.any():
            total, number = total + chosen.sum() * float(likeness[chosen].std()), number + chosen.sum()
    return total / number if number else float("nan")


def _prewitt(plane: Array) -> Array:
    return np.hypot(*(ndimage.prewitt(plane, axis, mode="constant") / 3 for axis in (0, 1)))


METRICS: dict[str, Callable[..., float]] = {
    "psnr": psnr,
    "ssim": ssim,
    "ms_ssim": ms_ssim,
    "rmse": rmse,
    "nrmse": nrmse,
    "mae": mae,
    "hfen": hfen,
    "gmsd": gmsd,
}


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
