"""Drawn vessels, 0..1: branching tubes, and what is bright but no tube. Lengths are in units of the in-plane pixels."""

import numpy as np
from scipy import ndimage

from DLReconLib.degradations import Array, log_uniform
from DLReconLib.degradations.structures import ellipsoid

THINNEST, THICKEST = 0.5, 4.0  # radius
STEP = 0.5
FINEST = 3  # parts of a thick slice that are drawn
PARTS = 120  # of one curve


def curves(extent: Array, rng: np.random.Generator, radius: float, depth: int = 2) -> list[tuple[Array, Array]]:
    """A curve that turns slowly, and its branches: each (N, 3) places along k, j, i and (N,) radii. extent: (3,) of
    the box, whose middle part the curve passes through; in a box of one slice, curves lie in it."""
    middle, direction = extent * rng.uniform(0.2, 0.8, 3) * (extent > 1), random_direction(extent, rng)
    there, back = (grown(middle, sign * direction, extent, rng, radius, depth) for sign in (1, -1))
    return there + back


def random_direction(extent: Array, rng: np.random.Generator, around: Array | float = 0.0) -> Array:
    direction = (around + rng.standard_normal(3)) * (extent > 1)
    return direction / np.linalg.norm(direction)


def grown(
    place: Array, direction: Array, extent: Array, rng: np.random.Generator, radius: float, depth: int
) -> list[tuple[Array, Array]]:
    """A curve from a place on, until it leaves the box, and what branches off it."""
    turn, taper = rng.uniform(0.0, 0.18), rng.uniform(0.99, 1.0)
    free = extent > 1
    drift, places, radii, branches = rng.standard_normal(3) * turn * free, [], [], []
    while len(places) < 4 * PARTS and np.all(place > -radius) and np.all(place < extent + radius):
        places.append(place)
        radii.append(radius)
        drift = 0.9 * drift + 0.3 * rng.standard_normal(3) * turn * free
        direction = direction + STEP * drift * 0.3
        direction = direction / np.linalg.norm(direction)
        place, radius = place + STEP * direction, max(radius * taper, THINNEST)
        if depth and rng.random() < 0.012:
            side = random_direction(extent, rng, 1.4 * direction)
            branches += grown(place, side, extent, rng, max(radius * rng.uniform(0.5, 0.9), THINNEST), depth - 1)
    return [(np.array(places), np.array(radii)), *branches] if places else branches


def drawn(lines: list[tuple[Array, Array]], shape: tuple[int, int, int], ratio: float = 1.0) -> Array:
    """The share of each voxel that lies in the tubes, (k, j, i) float32; ratio: distance of the slices."""
    parts = int(np.clip(round(ratio), 1, FINEST))
    fine, step = np.zeros((shape[0] * parts, *shape[1:]), np.float32), ratio / parts
    for places, radii in lines:
        thin = max(1, round(0.5 * float(radii.min()) / STEP))
        for (k, j, i), radius in zip(places[::thin], radii[::thin], strict=True):
            _ball(fine, (k / step + (parts - 1) / 2, j, i), radius, step)
    return fine.reshape(shape[0], parts, *shape[1:]).mean(1)


def _ball(image: Array, centre: tuple[float, float, float], radius: float, step: float) -> None:
    """Lift the image to a ball with an edge of a pixel."""
    reach, axes, where = radius + 0.5, [], []
    for size, middle, unit in zip(image.shape, centre, (step, 1.0, 1.0), strict=True):
        low, high = max(int(np.ceil(middle - reach / unit)), 0), min(int(middle + reach / unit) + 1, size)
        if low >= high:
            return
        where.append(slice(low, high))
        axes.append(((np.arange(low, high) - middle) * unit) ** 2)
    distance = np.sqrt(axes[0][:, None, None] + axes[1][:, None] + axes[2])
    part = image[tuple(where)]
    np.maximum(part, np.clip(reach - distance, 0, 1), out=part)


def tubes(shape: tuple[int, int, int], ratio: float, rng: np.random.Generator, count: int | None = None) -> list[Array]:
    """Trees of random radius, each (k, j, i) 0..1."""
    extent = np.array(shape) * (ratio, 1.0, 1.0)
    number = int(rng.integers(1, 6)) if count is None else count
    return [drawn(curves(extent, rng, log_uniform(rng, THINNEST, THICKEST)), shape, ratio) for _ in range(number)]


def other(shape: tuple[int, int, int], ratio: float, rng: np.random.Generator) -> Array:
    """Something bright that is no tube: a bent sheet, spots, or everything on one side of a bent border; 0..1. In one
    slice a sheet would be a tube, so there is none."""
    kind = rng.choice(["spots", "border"] if shape[0] == 1 else ["spots", "spots", "sheet", "border"])
    k, j, i = np.indices(shape, np.float32)
    places, extent = (k * np.float32(ratio), j, i), np.array(shape) * (ratio, 1.0, 1.0)
    if kind == "spots":
        sizes = [log_uniform(rng, 0.8, 7) * rng.uniform(0.75, 1.3, 3) for _ in range(int(rng.integers(1, 6)))]
        spots = [ellipsoid(places, extent * rng.random(3), radii, 0.3, rng) for radii in sizes]
        return np.max(spots, 0).astype(np.float32)
    normal = rng.standard_normal(3)
    normal /= np.linalg.norm(normal)
    middle = extent * rng.uniform(0.2, 0.8, 3)
    distance = sum(n * (p - m) for n, p, m in zip(normal, places, middle, strict=True))
    bend = ndimage.gaussian_filter(rng.standard_normal(shape), (8 / ratio, 8, 8))
    distance = distance + bend / max(float(bend.std()), 1e-6) * rng.uniform(0, 3)
    if kind == "border":
        return np.clip(distance + 0.5, 0, 1).astype(np.float32)
    half = log_uniform(rng, THINNEST, THICKEST)
    return np.clip(half + 0.5 - np.abs(distance), 0, 1).astype(np.float32)
