"""Is what was removed noise? Figures of the residual, source minus result, of a denoised image.

Arrays are (k, j, i) float32, k being the slice axis, in the unit of the image. Lengths are in voxels, amplitudes in
sigma, the standard deviation of the noise. Numpy and scipy only, so that every method is judged alike; the same
arrays give the same figures.
"""

from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

from DLReconLib.trust.views import TINY, Pair, cells, noise_level

Array = np.ndarray
SCALES = (0.7, 1.2, 2.0, 3.5)
SIGNAL = 3.0


@dataclass(frozen=True)
class Spot:
    """Where the residual looks least like noise.

    height: amplitude of the smoothed residual there, in sigma; above 0 something was taken away, below 0 added.
    rarity: the same in robust standard deviations of the smoothed residual. scale: width of the smoothing.
    place: (k, j, i) in the arrays of the Pair.
    """

    height: float
    rarity: float
    scale: float
    place: tuple[int, int, int]


def spread(values: Array) -> float:
    """Standard deviation from the median absolute deviation."""
    return float(1.4826 * np.median(np.abs(values - np.median(values)))) + TINY


def local_spread(removed: Array) -> Array:
    """(k, j, i) root mean square of the residual in 5 x 25 x 25 voxels, at least half of its median."""
    size = tuple(min(n, s) for n, s in zip(removed.shape, (5, 25, 25), strict=True))
    power = ndimage.uniform_filter(removed**2, size, mode="nearest")
    return np.sqrt(np.maximum(power, 0.25 * float(np.median(power)) + TINY))


def spots(pair: Pair) -> list[Spot]:
    """The least noise-like place at each scale: the residual, divided by its local spread, is smoothed; noise
    averages out, structure stays. The spread of the smoothed residual itself is the yardstick, so that the colour
    of the noise does not matter (a matched filter, North 1943). Beyond the border there is nothing: mirrored noise
    would not average out."""
    if not pair.tissue.any():
        return []
    yardstick = local_spread(pair.removed)
    ratio = np.where(pair.tissue, pair.removed / yardstick, 0).astype(np.float32)
    found = []
    for scale in SCALES:
        smooth = ndimage.gaussian_filter(ratio, (0.6 * scale, scale, scale), mode="constant")
        found.append(_spot(smooth, yardstick, pair, scale))
    return found


def _spot(smooth: Array, yardstick: Array, pair: Pair, scale: float) -> Spot:
    inside = smooth[pair.tissue]
    unit = spread(inside)
    # Rare and large: a faint trace in a calm residual is no harm, nor is a high peak where all is rough.
    heights = smooth * yardstick / pair.sigma
    score = np.where(pair.tissue, np.minimum(np.abs(heights) / 0.5, np.abs(smooth) / unit / 8), 0)
    place = np.unravel_index(int(score.argmax()), score.shape)
    return Spot(float(heights[place]), float(abs(smooth[place]) / unit), scale, tuple(int(p) for p in place))


def structure(pair: Pair) -> Array:
    """(k, j, i) where structure was taken away (above 0) or added (below 0): the residual smoothed at the scale
    that stands out most there, in sigma; 0 in air and where it does not stand out of the noise."""
    yardstick = local_spread(pair.removed)
    ratio = np.where(pair.tissue, pair.removed / yardstick, 0).astype(np.float32)
    answer, best = (
        np.zeros_like(ratio),
        np.full(ratio.shape, 4.0, np.float32),
    )  # 4: rare, but noise does it now and then
    for scale in SCALES:
        smooth = ndimage.gaussian_filter(ratio, (0.6 * scale, scale, scale), mode="constant")
        rarity = np.abs(smooth) / spread(smooth[pair.tissue] if pair.tissue.any() else smooth)
        clear = (rarity > best) & pair.tissue
        answer[clear], best[clear] = (smooth * yardstick / pair.sigma)[clear], rarity[clear]
    return answer


@dataclass(frozen=True)
class EdgeFit:
    """What of the edges is in the residual.

    loss: detail of the result found again in the residual, as a factor; 0 for noise, above 0 edges were blurred,
        below 0 sharpened. shift: displacement of the result against the source, in voxels along (k, j, i).
    voxels: how many edge voxels this rests on.
    """

    loss: float
    shift: tuple[float, float, float]
    voxels: int


def edge_fit(pair: Pair) -> EdgeFit | None:
    """Least squares of the residual on the result's detail and gradient, where these exceed the noise: blur takes
    away a multiple of the detail, a shift a multiple of the gradient. None below 100 such voxels."""
    result = pair.result
    slopes = [np.gradient(result, axis=a) if n > 1 else np.zeros_like(result) for a, n in enumerate(result.shape)]
    detail = result - ndimage.gaussian_filter(result, (0.5, 1, 1), mode="nearest")
    steep = np.abs(slopes[0]) + np.abs(slopes[1]) + np.abs(slopes[2]) > SIGNAL * pair.sigma
    chosen = pair.tissue & ((np.abs(detail) > 2 * pair.sigma) | steep)
    if np.count_nonzero(chosen) < 100:
        return None
    design = np.stack([detail[chosen], *(s[chosen] for s in slopes)], 1).astype(np.float64)
    power = (design[:, 1:] ** 2).sum(0)
    design[:, 1:][:, power < 0.1 * power.max()] = 0  # along an axis without edges a shift cannot be told
    weights = np.linalg.lstsq(design, pair.removed[chosen].astype(np.float64), rcond=1e-6)[0]
    return EdgeFit(float(weights[0]), tuple(float(w) for w in weights[1:]), int(chosen.sum()))


def calm_mask(pair: Pair) -> Array:
    """Tissue away from edges: the result changes by less than the noise from voxel to voxel."""
    slope = np.zeros_like(pair.result)
    for axis, n in enumerate(pair.result.shape):
        if n > 1:
            slope = np.maximum(slope, np.abs(np.gradient(pair.result, axis=axis)))
    return pair.tissue & (slope < pair.sigma)


def level_shift(pair: Pair, bins: int = 6) -> tuple[float, float]:
    """Mean change in calm tissue, and the largest mean change of an intensity range (of `bins` equally filled
    ones); in sigma, with their signs (above 0: the result is brighter). 0 where there is too little calm tissue."""
    calm = calm_mask(pair)
    if np.count_nonzero(calm) < 100 * bins:
        return 0.0, 0.0
    # Smoothed: a voxel whose noise is high must not be sorted among the bright ones for that.
    values = ndimage.gaussian_filter(pair.result, (0.5, 1.5, 1.5), mode="nearest")[calm]
    change = -pair.removed[calm] / pair.sigma
    limits = np.quantile(values, np.linspace(0, 1, bins + 1))
    number = np.clip(np.searchsorted(limits, values, side="right") - 1, 0, bins - 1)
    means = [float(change[number == b].mean()) for b in range(bins) if np.count_nonzero(number == b) > 50]
    return float(change.mean()), max(means, key=abs, default=0.0)


def seam(pair: Pair, axes: tuple[int, ...] = (0, 1, 2)) -> tuple[float, float, tuple[int, int]]:
    """The sharpest step of the mean residual between neighbouring planes across one of the axes: (step in local
    spreads, the same in robust standard deviations of all steps of that axis, (axis, position))."""
    ratio = np.where(pair.tissue, pair.removed / local_spread(pair.removed), 0)
    worst = (0.0, 0.0, (0, 0))
    for axis in axes:
        others = tuple(a for a in range(3) if a != axis)
        count = pair.tissue.sum(others)
        means = ratio.sum(others) / np.maximum(count, 1)
        if len(means) < 16:
            continue
        sums = np.concatenate([[0], np.cumsum(means)])
        at = np.arange(4, len(means) - 3)
        steps = (sums[at + 4] - sums[at] - (sums[at] - sums[at - 4])) / 4
        full = np.minimum.reduce([count[at + o] for o in range(-4, 4)]) > 0.3 * count.max()
        if np.count_nonzero(full) < 8:
            continue
        steps, at = steps[full] - np.median(steps[full]), at[full]
        unit, n = spread(steps), int(np.abs(steps).argmax())
        if abs(steps[n]) / unit > worst[1]:
            worst = (float(abs(steps[n])), float(abs(steps[n]) / unit), (axis, int(at[n])))
    return worst


def lines(pair: Pair) -> float:
    """Standard deviation of the mean residual of single planes of voxels about that of their neighbours, in local
    spreads, along the worst axis: stripes and bands. Planes with little tissue do not count."""
    ratio = np.where(pair.tissue, pair.removed / local_spread(pair.removed), 0)
    worst = 0.0
    for axis, n in enumerate(pair.result.shape):
        others = tuple(a for a in range(3) if a != axis)
        count = pair.tissue.sum(others)
        full = count > 0.3 * count.max()
        if n < 8 or np.count_nonzero(full) < 8:
            continue
        means = (ratio.sum(others) / np.maximum(count, 1))[full]
        power = float(np.var(means - ndimage.uniform_filter1d(means, 5, mode="nearest")))
        worst = max(worst, power - 2 / float(np.median(count[full])))  # noise alone gives about one over the count
    return float(np.sqrt(worst))


def colour(pair: Pair) -> float:
    """How much more power the residual has where there is structure than where it is calm, in the worst of four
    bands of frequency: 1 where only noise was taken, whatever its colour. Discrete cosine transforms of squares of
    8 x 8 pixels; structured are the 20 % of squares whose smoothed source varies most, calm the 40 % least."""
    size = (1, 8, 8)
    inside = cells(pair.tissue, size).mean(1) > 0.9
    if np.count_nonzero(inside) < 40 or min(pair.result.shape[1:]) < 8:
        return 1.0
    variation = cells(ndimage.gaussian_filter(pair.source, (0, 1.5, 1.5)), size)[inside].std(1)
    squares = cells(pair.removed, size)[inside].reshape(-1, 8, 8)
    power = fft.dctn(squares, axes=(1, 2), norm="ortho") ** 2
    calm = power[variation <= np.quantile(variation, 0.4)].mean(0)
    structured = power[variation >= np.quantile(variation, 0.8)].mean(0)
    radius = np.hypot(*np.indices((8, 8)))
    bands = [(radius >= low) & (radius < high) for low, high in ((0.5, 1.5), (1.5, 3), (3, 5), (5, 10))]
    return max(float(structured[b].mean() / (calm[b].mean() + TINY)) for b in bands)


def noise_left(pair: Pair) -> float:
    """Noise of the result over noise of the source, by the same estimate."""
    return noise_level(pair.result, pair.tissue) / noise_level(pair.source, pair.tissue)


def equal_neighbours(pair: Pair) -> float:
    """Share of in-plane neighbours in the tissue that became exactly equal."""
    inside = pair.tissue[:, 1:] & pair.tissue[:, :-1]
    if not inside.any():
        return 0.0
    shares = [float(np.mean((a[:, 1:] == a[:, :-1])[inside])) for a in (pair.result, pair.source)]
    return max(0.0, shares[0] - shares[1])


def untouched(pair: Pair) -> float:
    """Share of the blocks of tissue in which less than a tenth of the usual residual was removed."""
    inside = cells(pair.tissue).mean(1) > 0.5
    if not inside.any():
        return 0.0
    deviations = cells(pair.removed).std(1)[inside]
    return float(np.mean(deviations < 0.1 * np.median(deviations)))
