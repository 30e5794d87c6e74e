"""Sharpness from the edges that an image has: edge spread function, modulation transfer function, ringing.

Method: ISO 12233's slanted edge, taken to the edges of anatomy as Sanders et al. (Med Phys 43, 2016) do for the skin
in CT: strong edges are found, the pixels around each are placed by their signed distance to it (nothing is
interpolated, so nothing is blurred), brought to 0..1 by the plateaus of a fitted error function, and pooled into one
oversampled edge spread function; its derivative is the line spread function, whose Fourier magnitude is the MTF.

The edges of anatomy are not perfect steps: the figure is that of the image's strongest edges, a lower bound of the
scanner's, and good for comparing versions of one image. On a phantom with true steps it is the MTF itself.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, special

Array = np.ndarray
REACH = 6.0  # pixels on either side of an edge that are looked at
ALONG = 2.0  # pixels along an edge: few enough that its curvature does not blur it
BIN = 0.125  # pixels, width of a bin of the edge spread function
BINS = round(2 * REACH / BIN)
FEWEST = 12  # edges below which nothing is claimed


@dataclass(frozen=True)
class Edges:
    """Edges with the pixels around them, n edges.

    total, count: (n, bins) sum and number of the pixel values (0 at the dark plateau, 1 at the bright one) by signed
    distance. distance: (bins) mm, of the middles of the bins. width: (n) mm, standard deviation of the fitted error
    function. step: (n) height in the unit of the image; both in the guide, where there was one. pixel: mm.
    """

    total: Array
    count: Array
    distance: Array
    width: Array
    step: Array
    pixel: float

    def __len__(self) -> int:
        return len(self.width)


def find_edges(
    slices: Array,
    spacing: tuple[float, float],
    noise: float,
    mask: Array | None = None,
    most: int = 400,
    guide: Array | None = None,
) -> Edges | None:
    """The clean, isolated edges in the planes of a stack.

    Args:
        slices: (s, j, i), any unit. spacing: (j, i) mm. mask: (s, j, i), where an edge may lie.
        noise: standard deviation, in the unit of the image; edges below five times it are left out.
        most: how many edges to measure; chosen evenly among the strong ones, the same at every call.
        guide: (s, j, i), an image of the same scene, in which the edges are found; `noise` is then the guide's.
            Versions of one image must be measured at the same edges: in each for itself, a noisy one shows only its
            strongest and a smooth one its faint ones too.

    Returns None where fewer than 12 are found.
    """
    found = None
    for scale in (1.0, 2.0, 4.0):  # a coarser look where the edges are wider than the window
        found = _measure(slices, spacing, noise, mask, most, scale, slices if guide is None else guide)
        if found is not None and _width(found) < 0.25 * REACH * scale * found.pixel:
            break
    return found


def _width(edges: Edges) -> float:
    """mm, half the distance between 16 % and 84 % of the edge spread: a Gaussian's standard deviation."""
    spread = edge_spread(edges)
    rising = np.maximum.accumulate((spread - spread[:8].mean()) / (spread[-8:].mean() - spread[:8].mean()))
    return float(edges.distance[np.searchsorted(rising, 0.84)] - edges.distance[np.searchsorted(rising, 0.16)]) / 2


def _measure(
    slices: Array,
    spacing: tuple[float, float],
    noise: float,
    mask: Array | None,
    most: int,
    scale: float,
    guide: Array,
) -> Edges | None:
    pixel = float(np.sqrt(spacing[0] * spacing[1]))
    place, normal = _candidates(guide, spacing, noise, mask, most, scale)
    if len(place) < FEWEST:
        return None
    flat = scale * REACH * pixel
    value, distance, inside = _around(guide, spacing, place, normal, flat, ALONG * pixel)
    low, step, centre, width, misfit = _fit(value, distance, inside, scale * pixel)
    good = (step > 5 * noise) & (np.abs(centre) < 0.3 * flat) & (width < 0.4 * flat)
    good &= misfit < np.sqrt((1.5 * noise) ** 2 + (0.1 * step) ** 2)
    if good.sum() < FEWEST:
        return None
    if guide is not slices:
        value = _around(slices, spacing, place, normal, flat, ALONG * pixel)[0]
    # The guide's plateaus serve for both: what is left over or lacking is taken out after pooling, where noise is low.
    level = (value[good] - low[good, None]) / step[good, None]
    size = scale * BIN * pixel
    total, count = _binned(level, distance[good] - centre[good, None], inside[good], size)
    distance = (np.arange(BINS) - BINS // 2 + 0.5) * size
    return Edges(total, count, distance, width[good], step[good], pixel)


def _binned(level: Array, distance: Array, inside: Array, size: float) -> tuple[Array, Array]:
    """(n, BINS) sums and numbers of the levels by distance."""
    index = np.floor(distance / size).astype(int) + BINS // 2
    inside = inside & (index >= 0) & (index < BINS)
    flat = (np.arange(len(level))[:, None] * BINS + index)[inside]
    shape, most = (len(level), BINS), len(level) * BINS
    total, count = (np.bincount(flat, w, minlength=most).reshape(shape) for w in (level[inside], None))
    return total, count.astype(float)


def _candidates(
    slices: Array, spacing: tuple[float, float], noise: float, mask: Array | None, most: int, scale: float
) -> tuple[Array, Array]:
    """(n, 3) indices and (n, 2) unit normals (j, i in mm, towards the bright side) of the crests of the gradient."""
    blur = 1.5 * scale
    margin = int(np.ceil(scale * REACH)) + 1
    strength = np.zeros(slices.shape, np.float32)
    gradient = np.zeros((2, *slices.shape), np.float32)
    for axis in range(2):
        order = (0, 1, 0) if axis == 0 else (0, 0, 1)
        ndimage.gaussian_filter(slices, (0, blur, blur), order=order, output=gradient[axis])
        gradient[axis] /= spacing[axis]
    np.hypot(gradient[0], gradient[1], out=strength)
    inner = np.zeros(slices.shape, bool)
    inner[:, margin:-margin, margin:-margin] = True
    if mask is not None:
        inner &= mask
    # The gradient of white noise has this standard deviation along each axis.
    floor = 6 * noise / (np.sqrt(8 * np.pi) * blur**2 * min(spacing))
    strong = inner & (strength > floor)
    if not strong.any():
        return np.zeros((0, 3), int), np.zeros((0, 2))
    strong &= strength > 0.3 * np.percentile(strength[strong], 99)
    place = np.argwhere(strong)
    here = strength[tuple(place.T)]
    normal = gradient[:, place[:, 0], place[:, 1], place[:, 2]].T / here[:, None]
    step = normal * min(spacing) / np.asarray(spacing)
    sides = [
        ndimage.map_coordinates(strength, np.column_stack([place[:, 0], place[:, 1:] + s * step]).T, order=1)
        for s in (-1, 1)
    ]
    crest = (here >= sides[0]) & (here > sides[1])
    place, normal = place[crest], normal[crest]
    if len(place) > most:
        chosen = np.linspace(0, len(place) - 1, most).round().astype(int)
        place, normal = place[chosen], normal[chosen]
    return place, normal


def _around(
    slices: Array, spacing: tuple[float, float], place: Array, normal: Array, reach: float, along: float
) -> tuple[Array, Array, Array]:
    """(n, m) values, signed distances in mm, and which of them count, of the pixels around each edge."""
    radius = int(np.ceil(reach / min(spacing)))
    j, i = (o.ravel() for o in np.mgrid[-radius : radius + 1, -radius : radius + 1])
    rows = np.clip(place[:, 1, None] + j, 0, slices.shape[1] - 1)
    columns = np.clip(place[:, 2, None] + i, 0, slices.shape[2] - 1)
    value = slices[place[:, 0, None], rows, columns].astype(np.float64)
    mm = np.stack([j * spacing[0], i * spacing[1]])
    distance = normal @ mm
    tangent = normal[:, ::-1] * [1, -1] @ mm
    inside = (np.abs(distance) <= reach) & (np.abs(tangent) <= along)
    # Only the strips across the edges are kept, each at the beginning of its row.
    first = np.argsort(~inside, axis=1, kind="stable")[:, : int(inside.sum(1).max())]
    return tuple(np.take_along_axis(a, first, axis=1) for a in (value, distance, inside))


def _fit(value: Array, distance: Array, inside: Array, pixel: float) -> tuple[Array, Array, Array, Array, Array]:
    """Levenberg-Marquardt for all edges at once: low + step * Phi((distance - centre) / width), Phi the normal
    distribution. Returns low, step, centre, width and the root mean squared misfit, each (n)."""
    weight = inside.astype(np.float64)
    number = weight.sum(1)
    far = np.abs(distance) > 0.5 * np.abs(distance * weight).max(1, keepdims=True)

    def plateau(side: Array) -> Array:
        chosen = weight * far * side
        return (value * chosen).sum(1) / np.maximum(chosen.sum(1), 1)

    low, high = plateau(distance < 0), plateau(distance > 0)
    unit = np.maximum(high - low, 1e-12)
    scaled = (value - low[:, None]) / unit[:, None]
    x = np.tile([0.0, 1.0, 0.0, np.log(1.2 * pixel)], (len(value), 1))
    damping = np.full(len(value), 1e-2)

    def model(x: Array) -> tuple[Array, Array]:
        z = (distance - x[:, 2, None]) / np.exp(x[:, 3, None])
        return x[:, 0, None] + x[:, 1, None] * special.ndtr(z), z

    fitted, z = model(x)
    error = ((scaled - fitted) ** 2 * weight).sum(1)
    for _ in range(20):
        bell = x[:, 1, None] * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
        slope = np.stack([np.ones_like(z), special.ndtr(z), -bell / np.exp(x[:, 3, None]), -bell * z], axis=2)
        weighted = slope * weight[..., None]
        normal = np.einsum("nma,nmb->nab", weighted, slope)
        right = np.einsum("nma,nm->na", weighted, scaled - fitted)
        diagonal = np.einsum("naa->na", normal)
        damped = normal + np.einsum("na,ab->nab", damping[:, None] * diagonal + 1e-9, np.eye(4))
        move = np.linalg.solve(damped, right[..., None])[..., 0]
        move[:, 3] = np.clip(move[:, 3], -0.7, 0.7)
        trial = x + move
        trial[:, 3] = np.clip(trial[:, 3], np.log(0.01 * pixel), np.log(20 * pixel))
        tried, z_tried = model(trial)
        attempt = ((scaled - tried) ** 2 * weight).sum(1)
        better = attempt < error
        x[better], fitted[better], z[better], error[better] = (
            trial[better],
            tried[better],
            z_tried[better],
            attempt[better],
        )
        damping = np.where(better, damping / 5, damping * 5)
    width = np.exp(x[:, 3])
    return low + unit * x[:, 0], unit * x[:, 1], x[:, 2], width, unit * np.sqrt(error / np.maximum(number, 1))


def edge_spread(edges: Edges, weights: Array | None = None) -> Array:
    """(bins) the pooled edge spread function by signed distance, about 0 to 1; `weights`: times each counts."""
    chosen = np.ones(len(edges)) if weights is None else weights
    count = chosen @ edges.count
    filled = count > 0
    return np.interp(edges.distance, edges.distance[filled], (chosen @ edges.total)[filled] / count[filled])


def mtf(edges: Edges, weights: Array | None = None) -> tuple[Array, Array]:
    """(frequency in cycles/mm, MTF from 1): the Fourier magnitude of the edge spread's derivative, with the widths of
    bin and difference (two factors sinc(f bin)) taken out; up to 1 cycle per pixel."""
    spread = edge_spread(edges, weights)
    size = edges.distance[1] - edges.distance[0]
    line = np.diff(spread)
    line = line * _tukey(len(line))
    padded = 16 * len(line)
    frequency = np.fft.rfftfreq(padded, size)
    curve = np.abs(np.fft.rfft(line, padded)) / np.sinc(frequency * size) ** 2
    chosen = frequency <= 1 / edges.pixel
    return frequency[chosen], curve[chosen] / curve[0]


def _tukey(length: int) -> Array:
    """Flat over the middle half, cosine flanks: the plateaus' noise is kept out of the MTF."""
    x = np.abs(np.linspace(-1, 1, length))
    return np.where(x < 0.5, 1.0, 0.5 * (1 + np.cos(np.pi * (2 * x - 1))))


def falls_to(frequency: Array, curve: Array, level: float) -> float:
    """The first frequency where the curve falls to `level`, between the samples by a straight line; NaN where never."""
    below = np.flatnonzero(curve <= level)
    if not below.size or below[0] == 0:
        return float("nan")
    n = int(below[0])
    part = (curve[n - 1] - level) / (curve[n - 1] - curve[n])
    return float(frequency[n - 1] + part * (frequency[n] - frequency[n - 1]))


def ringing(edges: Edges, weights: Array | None = None) -> float:
    """Overshoot beside an edge as a fraction of its height, mean of the bright and the dark side: 0 for a blurred
    edge, 0.0895 for one whose high frequencies were cut off (Gibbs; Wilbraham's constant), more after oversharpening.

    The plateaus are the means of the outer halves of the window (3 to 6 pixels away), where the oscillation averages
    out unless it is slower than the window: an image interpolated to more than twice its resolution is judged too low.
    """
    spread = edge_spread(edges, weights)
    smooth = ndimage.uniform_filter1d(spread, 3, mode="nearest")
    x = edges.distance
    outer = np.abs(x) > 0.5 * np.abs(x).max()
    low, high = spread[outer & (x < 0)].mean(), spread[outer & (x > 0)].mean()
    over, under = smooth[x > 0].max() - high, low - smooth[x < 0].min()
    return float(max(0.0, (over + under) / (2 * (high - low))))
