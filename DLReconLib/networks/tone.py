"""Tone curves: monotone, piecewise linear, one for each cell of a coarse grid, interpolated between the cells.

What a curve is chosen by, and its application to an image (Chen, Paris & Durand, "Real-time edge-aware image
processing with the bilateral grid", SIGGRAPH 2007: a curve for each place is a grid over place and value).
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from DLReconLib.networks.context import Context

Array = np.ndarray
BINS = 48
CELLS = (4, 8, 8)
SMALLEST = 8  # voxels of a cell along an axis
FLAT = 2.0  # times the noise: the local deviation of a flat place
EVEN = 4.0  # times the noise: what the base of an image is smoothed away
APART = 3.0  # times the noise: two tissues
REACH = 3  # voxels from the middle of a pair to its ends
SAMPLES = 60_000
ORDER = 0.01  # of the range


@dataclass(frozen=True)
class Scene:
    """What there is in an image, all in a unit in which its values lie in 0..1.

    low, high: of the image in its own unit. edges: (BINS + 1,) ends of the bins, half of them evenly spaced, half of
    them where most values are. noise: its standard deviation.
    ends: (N, 2) values of pairs of flat places on two sides of an edge; cells: (N,) the cell of each.
    flat: (cells, BINS) share of the flat voxels of a cell in each bin. crossed: (cells, BINS) how many of its pairs
    have the bin between them. grid: cells along k, j, i.
    """

    low: float
    high: float
    edges: Array
    noise: float
    ends: Array
    cells: Array
    flat: Array
    crossed: Array
    grid: tuple[int, int, int]


def survey(image: Array) -> Scene:
    """(k, j, i) float32, any unit; not constant."""
    step = max(1, round((image.size / 4e6) ** (1 / 3)))
    low, high = (float(v) for v in np.percentile(image[::step, ::step, ::step], (0.1, 99.9)))
    if high <= low:
        low, high = float(image.min()), float(image.max())
    x = np.clip((image - np.float32(low)) / np.float32(high - low), 0, 1)
    size = [3 if n > 2 else 1 for n in x.shape]
    if min(size) == 3 and step > 1:
        size[0] = 1
    mean = ndimage.uniform_filter(x, size, mode="nearest")
    spread = np.sqrt(np.maximum(ndimage.uniform_filter(x * x, size, mode="nearest") - mean**2, 0))
    tissue = (mean > 0.03) & (spread > 1e-5)
    noise = float(np.percentile(spread[tissue], 20)) if tissue.any() else 1e-3
    noise = min(max(noise, 2e-3), 0.1)
    flat = spread < FLAT * noise
    grid = tuple(int(np.clip(n // SMALLEST, 1, c)) for n, c in zip(x.shape, CELLS, strict=True))
    cell = cell_of(x.shape, grid)
    edges = bin_edges(x, tissue)
    ends, cells = pairs(mean, flat, cell, noise)
    count = int(np.prod(grid))
    bins = np.clip(np.searchsorted(edges, x, "right") - 1, 0, BINS - 1)
    chosen = flat & tissue
    histogram = np.bincount(cell[chosen] * BINS + bins[chosen], minlength=count * BINS).reshape(count, BINS)
    crossed = np.zeros((count, BINS))
    np.add.at(crossed, cells, overlap(ends, edges))
    shares = [h / np.maximum(h.sum(1, keepdims=True), 1) for h in (histogram, crossed)]
    return Scene(low, high, edges, noise, ends, cells, *(s.astype(np.float32) for s in shares), grid)


def cell_of(shape: tuple[int, ...], grid: tuple[int, ...]) -> Array:
    """The number of the cell that each voxel lies in."""
    parts = [np.minimum(np.arange(n) * g // n, g - 1) for n, g in zip(shape, grid, strict=True)]
    k, j, i = np.meshgrid(*parts, indexing="ij", sparse=True)
    return (k * grid[1] + j) * grid[2] + i


def bin_edges(x: Array, tissue: Array) -> Array:
    values = x[tissue] if np.count_nonzero(tissue) > 100 else x.ravel()
    fine = np.linspace(0, 1, 1025)
    count, _ = np.histogram(values, fine)
    rise = 0.5 * count / max(count.sum(), 1) + 0.5 / len(count)
    return np.interp(np.linspace(0, 1, BINS + 1), np.concatenate([[0], np.cumsum(rise)]), fine)


def pairs(mean: Array, flat: Array, cell: Array, noise: float) -> tuple[Array, Array]:
    """Pairs of flat places, 2 REACH voxels apart in-plane, whose values differ by more than APART times the noise;
    an even sample of at most SAMPLES."""
    found, cells = [], []
    for axis in (1, 2):
        if mean.shape[axis] <= 2 * REACH:
            continue
        first = tuple(slice(None, -2 * REACH) if n == axis else slice(None) for n in range(3))
        last = tuple(slice(2 * REACH, None) if n == axis else slice(None) for n in range(3))
        middle = tuple(slice(REACH, -REACH) if n == axis else slice(None) for n in range(3))
        apart = flat[first] & flat[last] & (np.abs(mean[first] - mean[last]) > APART * noise)
        found.append(np.stack([mean[first][apart], mean[last][apart]], 1))
        cells.append(cell[middle][apart])
    ends = np.sort(np.concatenate(found), 1) if found else np.zeros((0, 2))
    place = np.concatenate(cells) if cells else np.zeros(0, int)
    step = max(1, -(-len(ends) // SAMPLES))
    return ends[::step].astype(np.float32), place[::step]


def overlap(ends: Array, edges: Array) -> Array:
    """(N, BINS) the share of the way from one end to the other that lies in each bin."""
    inside = np.minimum(ends[:, 1:], edges[1:]) - np.maximum(ends[:, :1], edges[:-1])
    return np.maximum(inside, 0) / np.maximum(ends[:, 1:] - ends[:, :1], 1e-6)


def base_of(image: Array, scene: Scene, spacing: tuple[float, float, float], radius: int = 2) -> Array:
    """The image without its noise, edges kept: the guided filter by itself (He, Sun & Tang, IEEE TPAMI 2013, eq. 5-8)
    over boxes of 2 radius + 1 voxels, of one slice where slices are thick; epsilon is (EVEN times the noise)^2."""
    finest = min(s for s, n in zip(spacing, image.shape, strict=True) if n > 1)
    size = [2 * radius + 1 if n > 2 and s < 2 * finest else 1 for s, n in zip(spacing, image.shape, strict=True)]
    width = np.float32(scene.high - scene.low)
    x = (image - np.float32(scene.low)) / width

    def mean(values: Array) -> Array:
        return ndimage.uniform_filter(values, size, mode="nearest")

    middle = mean(x)
    variance = np.maximum(mean(x * x) - middle * middle, 0)
    slope = variance / (variance + np.float32((EVEN * scene.noise) ** 2))
    base = mean(slope) * x + mean((1 - slope) * middle)
    return base * width + np.float32(scene.low)


def calm(curves: Array, edges: Array, shape: tuple[int, ...]) -> Array:
    """The curves, as like each other as they have to be that neighbours in the image whose values differ by more than
    ORDER of the range keep their order: from voxel to voxel a curve moves by less than it rises over ORDER.

    curves: (*grid, BINS + 1), see apply(). shape: of the image.
    """
    whole = curves.mean((0, 1, 2), keepdims=True)
    slope = float((np.diff(curves, axis=3) / np.diff(edges)).min())
    moved = max(
        float(np.abs(np.diff(curves, axis=n)).max()) * curves.shape[n] / shape[n] if curves.shape[n] > 1 else 0.0
        for n in range(3)
    )
    return whole + (curves - whole) * min(1.0, ORDER * slope / max(moved, 1e-12))


def apply(image: Array, scene: Scene, curves: Array, progress=lambda fraction, text: None) -> Array:
    """The image through the curves.

    curves: (*grid, BINS + 1) float, the values (0..1, rising) at the edges of the bins. Values outside low..high are
    moved with the end that they are beyond.
    """
    output = np.empty(image.shape, np.float32)
    width = np.float32(scene.high - scene.low)
    places = [np.clip((np.arange(n) + 0.5) * g / n - 0.5, 0, g - 1) for n, g in
              zip(image.shape, scene.grid, strict=True)]  # fmt: skip
    shape = image.shape[1:]
    j, i = (np.broadcast_to(p, shape) for p in np.meshgrid(*places[1:], indexing="ij", sparse=True))
    number = np.arange(BINS + 1)
    for k, place in enumerate(places[0]):
        if k % 16 == 0:
            progress(k / len(image), f"slice {k + 1} of {len(image)}")
        below = min(int(place), max(scene.grid[0] - 2, 0))
        share = place - below
        above = min(below + 1, scene.grid[0] - 1)
        curve = curves[below] * (1 - share) + curves[above] * share
        x = (image[k] - np.float32(scene.low)) / width
        inside = np.clip(x, 0, 1)
        bin_ = np.interp(inside, scene.edges, number)
        mapped = ndimage.map_coordinates(curve, [j, i, bin_], order=1, mode="nearest", output=np.float32)
        output[k] = (mapped + (x - inside)) * width + np.float32(scene.low)
    return output


def clahe(image: Array, context: Context, clip: float = 0.01, parts: int = 8) -> Array:
    """Contrast-limited adaptive histogram equalisation (Pizer et al., CVGIP 1987; Zuiderveld, Graphics Gems IV, 1994),
    as in scikit-image, in three dimensions; the result has the range of the input."""
    from skimage.exposure import equalize_adapthist

    context.progress(0.1, "equalising")
    low, high = float(image.min()), float(image.max())
    kernel = [max(n // parts, min(n, 8)) for n in image.shape]
    found = equalize_adapthist((image - low) / (high - low), kernel, clip)
    return (found * (high - low) + low).astype(np.float32)


def gamma(image: Array, context: Context, exponent: float = 0.7) -> Array:
    """((x - lowest) / range) ^ exponent * range + lowest; below 1 it lifts the dark parts."""
    low, high = float(image.min()), float(image.max())
    context.progress(0.1, "gamma")
    return (((image - low) / (high - low)) ** exponent * (high - low) + low).astype(np.float32)
