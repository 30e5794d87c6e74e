"""Rings in CT slices, seen in polar coordinates, where they are straight lines.

Images are (k, j, i) float32, attenuation relative to water's, that is HU / 1000 + 1; centres are (j, i) in pixels.
"""

import numpy as np
from scipy import ndimage

from DLReconLib.networks.context import Context

Array = np.ndarray
DIRECTIONS = 512
SECTORS = 64
SMALLEST = 16  # pixels
CLEARLY = 2.0  # how much stronger the rings about another centre must be than those about the middle
AT_LEAST = 0.005**2  # and how strong: 5 HU


def middle(shape: tuple[int, ...]) -> tuple[float, float]:
    return (shape[-2] - 1) / 2, (shape[-1] - 1) / 2


def to_polar(image: Array, centre: tuple[float, float], directions: int = DIRECTIONS) -> Array:
    """(j, i) -> (directions, radii), a pixel apart, up to the farthest corner; nan outside the image."""
    farthest = np.hypot(*(max(c, n - 1 - c) for c, n in zip(centre, image.shape, strict=True)))
    radius = np.arange(int(np.ceil(farthest)) + 1, dtype=np.float32)
    angle = np.arange(directions, dtype=np.float32)[:, None] * np.float32(2 * np.pi / directions)
    places = centre[0] + radius * np.sin(angle), centre[1] + radius * np.cos(angle)
    return ndimage.map_coordinates(image, places, order=1, mode="constant", cval=np.nan)


def from_polar(lines: Array, centre: tuple[float, float], shape: tuple[int, int]) -> Array:
    """The inverse: (directions, radii) -> (j, i)."""
    j, i = np.arange(shape[0])[:, None] - centre[0], np.arange(shape[1]) - centre[1]
    angle = np.arctan2(j, i) * (len(lines) / (2 * np.pi))
    wrapped = np.concatenate([lines, lines[:1]])
    return ndimage.map_coordinates(wrapped, (angle % len(lines), np.hypot(j, i)), order=1, mode="nearest")


def detail_along_radius(polar: Array, width: int, limit: float) -> Array:
    """What differs from the median along the radius; nan where it differs by more than `limit`: edges do."""
    known = np.isfinite(polar)
    filled = np.where(known, polar, 0)
    detail = filled - ndimage.median_filter(filled, (1, width), mode="nearest")
    near_edge = ndimage.minimum_filter1d(known, width, axis=1, mode="nearest")  # the median must not see the outside
    return np.where(near_edge & (np.abs(detail) < limit), detail, np.nan)


def ring_pattern(
    slice_: Array, centre: tuple[float, float], width: int = 15, limit: float = 0.15, sectors: int = 9
) -> Array:
    """The rings of a slice (j, i): at each radius the median of the detail over `sectors` of 64 sectors."""
    detail = detail_along_radius(to_polar(slice_, centre), width, limit)
    parts = detail.reshape(SECTORS, -1, detail.shape[1])
    counted = np.isfinite(parts)
    means = np.where(counted, parts, 0).sum(1) / np.maximum(counted.sum(1), 1)
    lines = ndimage.median_filter(means, (sectors, 1), mode="wrap")
    lines = np.repeat(lines, 8, axis=0)
    return from_polar(lines.astype(np.float32), centre, slice_.shape)


def ring_energy(image: Array, centre: tuple[float, float], width: int = 15, limit: float = 0.15) -> float:
    """How strong the rings about a centre are in a (j, i) image: mean over its pixels of the product of the means
    over two pairs of opposite quarters, where it is positive: round anatomy has few pixels near its own centre, and
    other edges do not go all the way round."""
    detail = detail_along_radius(to_polar(image, centre, 128), width, limit)
    halves = []
    for half in (slice(0, None, 2), slice(1, None, 2)):
        parts = np.roll(detail, 16, 0).reshape(4, 32, -1)[half].reshape(64, -1)
        counted = np.isfinite(parts).sum(0)
        halves.append(np.where(counted > 12, np.nansum(parts, 0) / np.maximum(counted, 1), 0))
    power = np.maximum(halves[0] * halves[1], 0)
    radius = np.arange(len(power))
    return float((power * radius).sum() / radius.sum())


def find_centre(image: Array, width: int = 15, limit: float = 0.15) -> tuple[float, float]:
    """About which point (j, i) rings lie: the middle of the slices, unless those about another point within a quarter
    of the width are clearly stronger. Of a volume the mean over the slices is looked at: rings stay, anatomy moves."""
    mean = np.mean(image, 0, dtype=np.float32)
    best = start = middle(mean.shape)
    strongest = first = ring_energy(mean, start, width, limit)
    step = max(min(mean.shape) // 16, 1)
    reach = 4
    while step >= 0.5:
        base = best
        for j in range(-reach, reach + 1):
            for i in range(-reach, reach + 1):
                candidate = base[0] + j * step, base[1] + i * step
                energy = ring_energy(mean, candidate, width, limit)
                if energy > strongest:
                    best, strongest = candidate, energy
        step, reach = step / 2, 1
    return best if strongest > max(CLEARLY * first, AT_LEAST) else start


def polar_median(
    image: Array, context: Context, width: int = 15, limit: float = 0.15, sectors: int = 9, centre: str = "found"
) -> Array:
    """The image without rings (Sijbers & Postnov, Phys. Med. Biol. 49, 2004; Prell et al., ibid. 54, 2009): in polar
    coordinates the median along the radius leaves the rings over, and the median along the angle cleans them.

    Args:
        width: of the median along the radius, in pixels: broader rings stay.
        limit: what differs by more is taken for anatomy.
        sectors: length of the median along the angle, in 64ths of a turn: shorter arcs stay.
        centre: "middle" of the slices, or "found" in the image, see find_centre().

    Raises ValueError for another centre. The centre is noted as "ring_centre", (j, i) in pixels.
    """
    if centre not in ("middle", "found"):
        raise ValueError(f"polar median: centre is {centre!r}; wanted middle or found")
    if min(image.shape[1:]) < SMALLEST:
        return image.copy()
    place = find_centre(image, width, limit) if centre == "found" else middle(image.shape)
    context.notes |= {"artifact": "ring", "ring_centre": [round(float(c), 2) for c in place]}
    output = np.empty_like(image)
    for k, slice_ in enumerate(image):
        context.progress(k / len(image), f"slice {k + 1} of {len(image)}")
        output[k] = slice_ - ring_pattern(slice_, place, width, limit, sectors)
    return output
