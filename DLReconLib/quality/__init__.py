"""How good is an image by itself, without a reference?

Arrays are (k, j, i), any unit; spacing is (i, j, k) in mm, as in Geometry. Where an image has slices, the plane of
the two finest axes is the one looked at.
"""

import numpy as np

from DLReconLib.metrics import noise_sigma, tissue_mask
from DLReconLib.quality.edges import falls_to, find_edges, mtf

Array = np.ndarray
BLOCK = 8  # pixels, side of the squares that noise is measured in
QUIET = 0.2  # the quietest fifth of the squares is taken to hold noise alone
SLICES = 8  # that quality() looks at
WIDEST = 384  # pixels of their sides that it looks at


def quality(
    array: Array, spacing: tuple[float, float, float], mask: Array | None = None, guide: Array | None = None
) -> dict[str, float | None]:
    """Noise, signal, sharpness and contrast of the middle of a volume; below a second whatever its size.

    Args:
        array: (k, j, i), or (k, j, i, components), whose components are averaged.
        spacing: (i, j, k) mm.
        mask: (k, j, i), not 0 where it counts; without one, all that is not air.
        guide: array of the same shape, another version of the image (cleaner, if there is one), in which tissue and
            edges are found; give the same one to compare versions.

    Returns a dict of floats, None where the image does not tell:
        noise_sigma: standard deviation of the noise in tissue, unit of the image (see figures_of_blocks).
        noise_white: the same from the finest details alone (see metrics.noise_sigma): far too low for noise that
            is correlated, as in CT.
        snr: mean of the tissue above air, over noise_sigma.
        sharpness: frequency where the MTF of the strongest edges falls to one half, cycles/mm (see edges); at most
            half a cycle per pixel, the highest that the grid can carry.
        contrast: Michelson's (b - a) / (b + a) of dark and bright tissue, the 5th and 95th percentile of the mean
            values of squares of 8 x 8 pixels, above air.

    Raises ValueError for an array that is not of three dimensions (or four), or a mask of another shape.
    """
    if array.ndim not in (3, 4):
        raise ValueError(f"quality: array of shape {array.shape}; wanted (k, j, i) or (k, j, i, components)")
    if mask is not None and mask.shape != array.shape[:3]:
        raise ValueError(f"quality: mask {mask.shape} and image {array.shape[:3]}; wanted the same shape")
    slices, step, chosen = middle_slices(array, spacing, mask)
    empty: dict[str, float | None] = dict.fromkeys(("noise_sigma", "noise_white", "snr", "sharpness", "contrast"))
    if not np.isfinite(slices).all() or slices.min() == slices.max():
        return empty
    model = slices if guide is None else middle_slices(guide, spacing)[0]
    tissue = tissue_of(model, chosen)
    if not tissue.any():
        return empty
    figures = figures_of_blocks(*blocks(slices, tissue), air_level(slices))
    noise = figures if guide is None else figures_of_blocks(*blocks(model, tissue), 0.0)
    found = find_edges(slices, step, noise["noise_sigma"] or 0.0, chosen, 250, model)
    return {
        **empty,
        **figures,
        "noise_white": noise_sigma(slices, tissue),
        "sharpness": float(np.nanmin([falls_to(*mtf(found), 0.5), 0.5 / found.pixel])) if found else None,
    }


def tissue_of(image: Array, mask: Array | None = None) -> Array:
    """Where the mask is not 0; without a mask, what is brighter than air (see metrics.tissue_mask)."""
    return tissue_mask(np.maximum(image, air_level(image))) if mask is None else mask != 0


def middle_slices(
    array: Array,
    spacing: tuple[float, float, float],
    mask: Array | None = None,
    most: int = SLICES,
    widest: int = WIDEST,
) -> tuple[Array, tuple[float, float], Array | None]:
    """Up to `most` planes spread over the middle three fifths, at most `widest` pixels a side from their middle.

    Returns (s, j, i) float32, the spacing (j, i) in mm within it, and the mask there.
    """
    if array.ndim == 4:
        array = array.mean(axis=3)
    steps = tuple(spacing[::-1])
    axis = slice_axis(array.shape, steps)
    number = array.shape[axis]
    chosen = np.unique(np.linspace(0.2 * (number - 1), 0.8 * (number - 1), min(most, number)).round().astype(int))
    turned = np.moveaxis(array, axis, 0)
    parts = tuple(slice(max(0, (n - widest) // 2), max(0, (n - widest) // 2) + widest) for n in turned.shape[1:])
    slices = np.ascontiguousarray(turned[chosen][(slice(None), *parts)], dtype=np.float32)
    inside = None if mask is None else np.moveaxis(mask, axis, 0)[chosen][(slice(None), *parts)] != 0
    left = tuple(s for n, s in enumerate(steps) if n != axis)
    return slices, (left[0], left[1]), inside


def slice_axis(shape: tuple[int, ...], steps: tuple[float, ...]) -> int:
    """The axis (0 for k) across the slices: that of one voxel, else the coarsest, else k."""
    if 1 in shape[:3]:
        return shape.index(1)
    axis = int(np.argmax(steps))
    return axis if steps[axis] > 1.05 * min(steps) else 0


def air_level(image: Array) -> float:
    """The value of nothing: 0 for a magnitude image, -1000 for HU (whatever the padding outside the circle of
    reconstruction), else the least value that is no outlier (0.1th percentile)."""
    low, high = (float(v) for v in np.percentile(image, [0.1, 99.9]))
    if low <= -900 and high >= 100:
        return -1000.0
    return min(0.0, low) if low < 0 or low < 0.5 * high else low


def blocks(slices: Array, tissue: Array, size: int = BLOCK) -> tuple[Array, Array, Array]:
    """Mean, noise and its correlation of the squares of size x size pixels that lie in tissue, each (n).

    The noise of a square is the standard deviation of its pixels about their plane of least squares, so that a slope
    (shading, receive profile) does not count; its correlation is that of neighbours. Squares of exactly one value
    (padding) are left out.
    """
    rows, columns = (n // size for n in slices.shape[1:])
    if rows == 0 or columns == 0:
        return np.zeros(0), np.zeros(0), np.zeros(0)

    def cut(a: Array) -> Array:
        part = a[:, : rows * size, : columns * size].reshape(len(a), rows, size, columns, size)
        return part.swapaxes(2, 3).reshape(-1, size, size)

    inside = cut(tissue).mean(axis=(1, 2)) > 0.95
    squares = cut(slices)[inside].astype(np.float64)
    mean = squares.mean(axis=(1, 2))
    squares -= mean[:, None, None]
    ramp = np.arange(size) - (size - 1) / 2
    length = size * (ramp**2).sum()
    slopes = [np.einsum("njk,j->n", squares, ramp) / length, np.einsum("njk,k->n", squares, ramp) / length]
    squares -= slopes[0][:, None, None] * ramp[:, None] + slopes[1][:, None, None] * ramp
    energy = (squares**2).mean(axis=(1, 2))
    spread = np.sqrt(energy * size**2 / (size**2 - 3))
    keep = spread > 1e-6 * max(1e-30, float(np.abs(slices).max()))
    beside = [(squares[:, 1:] * squares[:, :-1]), (squares[:, :, 1:] * squares[:, :, :-1])]
    near = sum(b.mean(axis=(1, 2)) for b in beside) / 2 / np.maximum(energy, 1e-300)
    return mean[keep], spread[keep], near[keep]


# Correlation of neighbours in the quietest fifth of squares, and the 20th percentile of the standard deviations of all
# over the true one, for Gaussian noise blurred by a Gaussian of 0, 0.4, 0.5, ... 1 pixel (6 million pixels simulated).
NEAR = (-0.048, 0.012, 0.131, 0.270, 0.386, 0.469, 0.568)
SEEN = (0.919, 0.911, 0.886, 0.845, 0.796, 0.755, 0.676)


def figures_of_blocks(
    mean: Array, spread: Array, near: Array, air: float, times: Array | None = None
) -> dict[str, float | None]:
    """noise_sigma, snr and contrast (see quality) of the squares that blocks() gave; `times`: how often each counts.

    The noise is the 20th percentile of their standard deviations, divided by what that is for noise alone: the
    quietest squares hold no structure (the premise of Lee & Hoppel 1989, that homogeneous parts exist), and noise
    that is correlated (CT, interpolated MR), as their neighbours tell, shows itself in a square only in part. Within
    a few per cent for white noise and for noise blurred by up to a pixel; too low for coarser noise, too high where
    no part of the image is without structure.
    """
    if len(mean) < 5:
        return dict.fromkeys(("noise_sigma", "snr", "contrast"))
    weights = np.ones(len(mean)) if times is None else times
    level = float(_quantiles(spread, weights, [QUIET])[0])
    quiet = (spread <= level) & (weights > 0)
    correlation = float(np.average(near[quiet], weights=weights[quiet])) if quiet.any() else 0.0
    sigma = level / float(np.interp(correlation, NEAR, SEEN))
    dark, bright = _quantiles(mean, weights, [0.05, 0.95]) - air
    return {
        "noise_sigma": sigma,
        "snr": float((np.average(mean, weights=weights) - air) / sigma) if sigma > 0 else None,
        "contrast": float((bright - dark) / (bright + dark)) if bright + dark > 0 else None,
    }


def _quantiles(values: Array, weights: Array, levels: list[float]) -> Array:
    """Of values that count `weights` times each, in between by a straight line."""
    order = np.argsort(values)
    place = np.cumsum(weights[order]) - weights[order] / 2
    return np.interp(np.array(levels) * weights.sum(), place, values[order])
