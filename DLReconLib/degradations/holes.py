"""Holes as they occur: lesions, metal and clipped bars, missing slices, what defacing cuts off.

Each function returns a (k, j, i) bool array, true in the hole. Sizes are in units of the in-plane spacing; `ratio` is
the distance of slices in that unit.
"""

import numpy as np
from scipy import ndimage

from DLReconLib.degradations import Array

KINDS = {"ball": 0.28, "blob": 0.2, "bar": 0.16, "slices": 0.22, "half": 0.14}
MOST = 0.4  # of the voxels


def distances(shape: tuple[int, int, int], centre: Array, ratio: float) -> list[Array]:
    """k, j, i relative to the centre, in the in-plane spacing."""
    axes = np.meshgrid(*(np.arange(n) - c for n, c in zip(shape, centre, strict=True)), indexing="ij")
    return [axes[0] * ratio, axes[1], axes[2]]


def direction(rng: np.random.Generator) -> Array:
    vector = rng.standard_normal(3)
    return vector / np.linalg.norm(vector)


def ball(shape: tuple[int, int, int], rng: np.random.Generator, ratio: float = 1.0) -> Array:
    """An ellipsoid with half axes of 2 to 8, turned in-plane: a lesion."""
    centre = rng.uniform(0.25, 0.75, 3) * shape
    k, j, i = distances(shape, centre, ratio)
    angle, size = rng.uniform(0, np.pi), rng.uniform(2, 8)
    a, b, c = size * rng.uniform(0.6, 1.0, 3)
    u, v = np.cos(angle) * i + np.sin(angle) * j, np.cos(angle) * j - np.sin(angle) * i
    return (k / max(a, 0.6 * ratio)) ** 2 + (u / b) ** 2 + (v / c) ** 2 < 1


def blob(shape: tuple[int, int, int], rng: np.random.Generator, ratio: float = 1.0) -> Array:
    """A lesion of irregular outline: a ball whose radius is a smooth random field."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape), (2 / ratio, 2, 2))
    field /= field.std() + 1e-9
    centre = rng.uniform(0.3, 0.7, 3) * shape
    k, j, i = distances(shape, centre, ratio)
    return np.sqrt(k**2 + j**2 + i**2) < rng.uniform(3, 8) * (1 + 0.3 * field)


def bar(shape: tuple[int, int, int], rng: np.random.Generator, ratio: float = 1.0) -> Array:
    """A cylinder of radius 1 to 3 through the image: a screw, a needle, a row of clipped voxels."""
    offset = np.stack(distances(shape, rng.uniform(0.25, 0.75, 3) * shape, ratio))
    axis = direction(rng)
    along = np.tensordot(axis, offset, 1)
    across = np.sqrt(np.maximum((offset**2).sum(0) - along**2, 0))
    return (across < rng.uniform(1, 3)) & (np.abs(along) < rng.uniform(6, 30))


def slices(shape: tuple[int, int, int], rng: np.random.Generator, ratio: float = 1.0) -> Array:
    """One missing slice, two where slices are thin."""
    hole = np.zeros(shape, bool)
    count = 2 if ratio < 2 and rng.random() < 0.3 else 1
    first = int(rng.integers(2, max(shape[0] - 2 - count, 3)))
    hole[first : first + count] = True
    return hole


def half(shape: tuple[int, int, int], rng: np.random.Generator, ratio: float = 1.0) -> Array:
    """What lies beyond a plane: a corner or a face cut off, as defacing does."""
    offset = np.stack(distances(shape, np.array(shape) / 2, ratio))
    height = np.tensordot(direction(rng), offset, 1)
    return height > np.quantile(height, 1 - rng.uniform(0.08, 0.35))


def random_hole(
    shape: tuple[int, int, int], rng: np.random.Generator, ratio: float = 1.0, kind: str | None = None
) -> Array:
    """One of KINDS, by default as often as it says there; never empty, never more than MOST of the voxels."""
    makers = {"ball": ball, "blob": blob, "bar": bar, "slices": slices, "half": half}
    for _ in range(20):
        hole = makers[kind or str(rng.choice(list(KINDS), p=list(KINDS.values())))](shape, rng, ratio)
        if 4 <= np.count_nonzero(hole) <= MOST * hole.size:
            return hole
    hole = np.zeros(shape, bool)
    hole[tuple(slice(n // 2, n // 2 + 2) for n in shape)] = True
    return hole
