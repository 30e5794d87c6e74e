"""What judging looks at: the middle of a volume in full resolution, and the whole of it binned.

Arrays are (k, j, i), k being the slice axis, in the unit of the image.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from DLReconLib.models import ModelCard
from DLReconLib.quality import air_level, blocks

Array = np.ndarray
CELL = (4, 8, 8)
TINY = 1e-12
MOST = 1_500_000  # voxels of the middle; the whole is binned to twice as many


@dataclass(frozen=True)
class Pair:
    """What is analysed.

    source, result: (k, j, i) float32. sigma: standard deviation of the noise. tissue: voxels that are not air.
    """

    source: Array
    result: Array
    sigma: float
    tissue: Array

    @property
    def removed(self) -> Array:
        return self.source - self.result


def views(source: Array, result: Array, mask: Array | None, card: ModelCard, noise: float) -> "Views":
    """Both views of a volume (k, j, i); mask: not 0 where it counts, or None; noise: as the method found it."""
    bins = bin_size(source.shape)
    small = [binned(a, bins) for a in (source, result)]
    smooth = ndimage.gaussian_filter(small[0], (0, 1, 1), mode="nearest")
    least = air_limit(smooth, card, noise)
    box = middle(source.shape, MOST)
    part = [np.asarray(a[box], np.float32) for a in (source, result)]
    tissue = ndimage.gaussian_filter(part[0], (0, 1, 1), mode="nearest") > least
    whole = smooth > least
    if mask is not None:
        tissue &= mask[box] != 0
        whole &= binned(mask != 0, bins) > 0.5
    sigma = noise_level(part[0], tissue)
    return Views(Pair(*part, sigma, tissue), Pair(*small, sigma, whole), bins)


@dataclass(frozen=True)
class Views:
    """near: the middle, in full resolution. far: the whole, in bins of so many voxels (k, j, i)."""

    near: Pair
    far: Pair
    bins: tuple[int, int, int]


def air_limit(smooth: Array, card: ModelCard, noise: float) -> float:
    """What is above it is not air: a tenth of the range above air, or 3 sigma. For HU -920, since the lung counts."""
    if card.offset == -1000 and card.unit == 1000:
        return -920.0
    air = air_level(smooth)
    return air + max(0.1 * (float(np.percentile(smooth, 99.5)) - air), 3 * noise)


def bin_size(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Voxels of a bin (k, j, i), such that there are at most 2 MOST bins; the plane is binned first."""
    size = [1, 1, 1]
    for axes in ((1, 2), (0,)) * 4:
        if np.prod(shape, dtype=float) / np.prod(size) <= 2 * MOST:
            break
        for axis in axes:
            size[axis] *= 2 if shape[axis] >= 32 * size[axis] else 1
    return size[0], size[1], size[2]


def cells(array: Array, size: tuple[int, int, int] = CELL) -> Array:
    """(k, j, i) cut into blocks, (blocks, voxels of a block); what fills no whole block is cut off. A block is
    never longer than the array."""
    size = tuple(min(s, n) for s, n in zip(size, array.shape, strict=True))
    counts = [n // s for n, s in zip(array.shape, size, strict=True)]
    cut = array[tuple(slice(c * s) for c, s in zip(counts, size, strict=True))]
    split = cut.reshape(counts[0], size[0], counts[1], size[1], counts[2], size[2]).transpose(0, 2, 4, 1, 3, 5)
    return split.reshape(int(np.prod(counts)), -1)


def binned(array: Array, size: tuple[int, int, int]) -> Array:
    """Means of blocks of `size` voxels, float32; what fills no whole block is cut off."""
    counts = [n // s for n, s in zip(array.shape, size, strict=True)]
    cut = array[tuple(slice(c * s) for c, s in zip(counts, size, strict=True))]
    split = [n for pair in zip(counts, size, strict=True) for n in pair]
    return cut.reshape(split).mean((1, 3, 5), dtype=np.float32)


def middle(shape: tuple[int, ...], limit: int) -> tuple[slice, ...]:
    """The box around the centre with at most about `limit` voxels; the longest axes are shortened first, none
    below 16."""
    kept = list(shape)
    while np.prod(kept, dtype=float) > limit and max(kept) > 16:
        longest = int(np.argmax(kept))
        kept[longest] = max(16, int(kept[longest] * 0.9))
    return tuple(slice((n - k) // 2, (n - k) // 2 + k) for n, k in zip(shape, kept, strict=True))


def noise_level(source: Array, tissue: Array) -> float:
    """Standard deviation of the noise, unit of the image, from the calmest squares of the tissue.

    Squares of 6 x 6 pixels, each about its plane of least squares; their 5th percentile, over 0.8. Between 0.6 and
    2 times the truth for white and for correlated noise (CT kernels) in images of any texture; a method's own
    estimate is finer but is not independent of the method.
    """
    deviations = blocks(source, tissue, 6)[1]
    if not len(deviations):
        deviations = cells(source).std(1)
    return float(np.quantile(deviations, 0.05)) / 0.8 + TINY
