"""A volume in pieces, and in the cells of 8 x 8 x 8 voxels that networks work on. Arrays are (k, j, i)."""

from collections.abc import Iterator

import numpy as np

Array = np.ndarray
MULTIPLE = 8


def central_part(whole: Array, limit: float = 8e6) -> Array:
    """The middle slices of a volume (k, j, i), at most `limit` voxels."""
    count = max(2, int(limit / max(1, whole[0].size)))
    start = max(0, (len(whole) - count) // 2)
    return whole[start : start + count]


def pieces(shape: tuple[int, ...], tile: tuple[int, ...], halo: int) -> Iterator[tuple[tuple[slice, ...], ...]]:
    """(outer, inner) slices: the piece with its halo, and the piece inside that. Starts are multiples of 8."""
    axes = []
    for size, length in zip(shape, tile, strict=True):
        count = -(-size // length)
        length = -(-size // count // MULTIPLE) * MULTIPLE
        spans = []
        for start in range(0, size, length):
            stop = min(start + length, size)
            outer = slice(max(0, start - halo), min(size, stop + halo))
            spans.append((outer, slice(start, stop)))
        axes.append(spans)
    for k in axes[0]:
        for j in axes[1]:
            for i in axes[2]:
                yield tuple(zip(k, j, i, strict=True))


def filled(patch: Array) -> Array:
    """Mirrored at the far ends up to multiples of 8."""
    missing = [(0, -n % MULTIPLE) for n in patch.shape]
    return np.pad(patch, missing, mode="symmetric") if any(m for _, m in missing) else patch


def inside(outer: tuple[slice, ...], inner: tuple[slice, ...]) -> tuple[slice, ...]:
    """Where the inner part lies in a piece cut out by `outer`."""
    return tuple(slice(i.start - o.start, i.stop - o.start) for o, i in zip(outer, inner, strict=True))


def cells(where: tuple[slice, ...]) -> tuple[slice, ...]:
    """The cells of 8 voxels that slices, which start at multiples of 8, touch."""
    return tuple(slice(s.start // MULTIPLE, -(-s.stop // MULTIPLE)) for s in where)
