"""Classical ways to fill a hole in an image from what lies around it: (image, context) -> image.

image: (k, j, i) float32, any unit; context.mask is the hole. What the image holds inside the hole is never looked at.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse.linalg import LinearOperator, cg

from DLReconLib.networks.context import Context
from DLReconLib.networks.slice_fit import fitted

Array = np.ndarray
Watch = Callable[[], None]
MARGIN = 2  # voxels that the biharmonic operator reaches
ACCURACY = 1e-5
LARGE = 20_000  # voxels of a hole from which on the solution starts from that of the half resolution
HUGE, DEEP = 200_000, 8  # voxels of a hole from which on what lies so deep stays as it is at half the resolution
ROUNDS = 600  # of conjugate gradients; a larger hole than they suffice for is as smooth as anyone can see
THIN = 2  # missing slices that splines may cross
FLOOR = 1e-3  # trust of a line that has no end
SMOOTH = 6.0
UNKNOWN = "mask: every voxel is to be filled, so nothing is known; wanted a mask that leaves some of the image"


def unwatched() -> None:
    pass


@dataclass(frozen=True)
class Lines:
    """What lines along an axis say of a hole.

    value: (k, j, i) float32, from one known end of the hole's run along the axis to the other, the nearer end where
    there is one only, and 0 without.
    trust: (k, j, i) float32, 1 / length of the run between two ends, a quarter of 1 / distance to one, 0 without.
    """

    value: Array
    trust: Array


def hole_of(image: Array, context: Context) -> Array:
    """The voxels to be filled, bool. Raises ValueError without a mask, and where it leaves nothing known."""
    if context.mask is None:
        raise ValueError("inpaint: no mask; wanted the voxels that are to be filled")
    if context.mask.all():
        raise ValueError(UNKNOWN)
    return context.mask


def along(image: Array, hole: Array, axis: int, step: float = 1.0, curved: bool = False) -> Lines:
    """Lines along an axis, whose voxels lie `step` apart: straight, or curved, cubic with the slopes that the next
    known voxels give (Catmull & Rom, "A class of local interpolating splines", 1974)."""
    size = image.shape[axis]
    shape = [size if n == axis else 1 for n in range(3)]
    place = np.broadcast_to(np.arange(size, dtype=np.int32).reshape(shape), image.shape)
    before = np.maximum.accumulate(np.where(hole, -1, place), axis)
    after = np.flip(np.minimum.accumulate(np.flip(np.where(hole, size, place), axis), axis), axis)
    left, right = before >= 0, after < size
    start = np.take_along_axis(image, np.maximum(before, 0), axis)
    end = np.take_along_axis(image, np.minimum(after, size - 1), axis)
    length = np.maximum(after - before, 1)
    share = np.where(left & right, (place - before) / length, np.where(left, 0, 1)).astype(np.float32)
    value = np.where(left | right, start * (1 - share) + end * share, 0)
    if curved:
        rise = end - start
        further = [(np.maximum(before - 1, 0), before > 0), (np.minimum(after + 1, size - 1), after < size - 1)]
        beyond = [(np.take_along_axis(image, n, axis), ok & ~np.take_along_axis(hole, n, axis)) for n, ok in further]
        leave, arrive = (
            np.where(known, length * (far - near) * sign / (length + 1) - rise, 0)
            for (far, known), near, sign in zip(beyond, (end, start), (-1, 1), strict=True)
        )
        bend = share * (1 - share) * ((1 - share) * leave - share * arrive)
        value = np.where(left & right, value + bend, value)
    one = 0.25 / np.maximum(np.where(left, place - before, after - place), 1)
    trust = np.where(left & right, 1 / length, np.where(left | right, one, 0)) / step
    return Lines(value.astype(np.float32), trust.astype(np.float32))


def splined(image: Array, hole: Array, value: Array) -> Array:
    """`value` with what natural cubic splines along the first axis through all known voxels (Unser, IEEE SPM 1999, for
    evenly spaced ones) give where a voxel of the hole lies between two known ones; all (k, j, i)."""
    from scipy.interpolate import CubicSpline

    patterns, which = np.unique(hole.reshape(len(hole), -1), axis=1, return_inverse=True)
    columns = value.reshape(len(hole), -1).copy()
    given = image.reshape(len(hole), -1)
    for number, pattern in enumerate(patterns.T):
        known = np.flatnonzero(~pattern)
        between = np.flatnonzero(pattern & (np.arange(len(pattern)) > known[:1].sum()))
        between = between[between < known[-1]] if len(known) else between
        if len(known) > 2 and len(between):
            mine = np.flatnonzero(which.ravel() == number)
            curve = CubicSpline(known, given[np.ix_(known, mine)], bc_type="natural")
            columns[np.ix_(between, mine)] = curve(between)
    return columns.reshape(value.shape)


def three_lines(image: Array, hole: Array, spacing: tuple[float, float, float]) -> list[Lines]:
    """Curved lines along k, j, i; those along k are splines where no more than THIN slices are missing, and what
    slice_fit.fitted() gives where that can be."""
    lines = [along(image, hole, axis, s / min(spacing), True) for axis, s in enumerate(spacing)]
    short = lines[0].trust * (spacing[0] / min(spacing)) > 1 / (THIN + 1.5)
    value = np.where(short, splined(image, hole, lines[0].value), lines[0].value)
    for k, slice_ in fitted(image, hole).items():
        value[k] = np.where(short[k], slice_, value[k])
    return [replace(lines[0], value=value.astype(np.float32)), *lines[1:]]


def smooth(
    image: Array, hole: Array, weights: tuple[float, float, float] = (1.0, 1.0, 1.0), watch: Watch = unwatched
) -> Array:
    """The image with the hole filled by the solution of the biharmonic equation, Laplacian(Laplacian u) = 0, with the
    image's values around it (Damelin & Hoang, "On surface completion and image inpainting by biharmonic functions",
    Int. J. Math. Math. Sci. 2018); no flow through the faces of the image.

    weights: of the second derivatives along k, j, i: (1 / spacing)^2. watch: called with each step; may raise.

    By conjugate gradients on the normal equations of the Laplacian, from the answer at half the resolution where the
    hole is large; of a huge hole what lies deep inside keeps that answer. Parts of the hole that lie apart are filled
    each for itself.
    """
    output = image.astype(np.float32, copy=True)
    labels, _ = ndimage.label(ndimage.binary_dilation(hole, iterations=MARGIN))
    for number, box in enumerate(ndimage.find_objects(labels), 1):
        wide = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in box)
        part = hole[wide] & (labels[wide] == number)
        output[wide][part] = _smooth_part(np.where(hole[wide], 0, image[wide]), part, weights, watch)
    return output


def _smooth_part(image: Array, hole: Array, weights: tuple[float, float, float], watch: Watch) -> Array:
    """The values of one hole, in the order of image[hole]."""
    whole, count = hole, np.count_nonzero(hole)
    known = image[~hole]
    middle = float(known.mean(dtype=np.float64)) if known.size else 0.0
    scale = float(np.abs(known - middle).max()) if known.size else 0.0
    if scale == 0:
        return np.full(np.count_nonzero(hole), middle, np.float32)
    u = np.where(hole, 0, (image.astype(np.float64) - middle) / scale)
    coarse = _coarse(u, hole, weights, watch) if count > LARGE else u
    if count > HUGE:
        deep = ndimage.binary_erosion(hole, iterations=DEEP, border_value=1)
        u, hole = np.where(deep, coarse, u), hole & ~deep
    matrix, columns = _laplacian(hole, weights)
    inside = hole[columns]
    unknown, fixed = matrix[:, inside], matrix[:, ~inside]
    right = -unknown.T @ (fixed @ u[columns][~inside])
    diagonal = np.asarray(unknown.multiply(unknown).sum(0)).ravel()
    precondition = LinearOperator((len(right),) * 2, lambda v: v / diagonal)
    operator = (unknown.T @ unknown).tocsr()
    found, _ = cg(operator, right, coarse[hole], rtol=ACCURACY, maxiter=ROUNDS, M=precondition,
                  callback=lambda _: watch())  # fmt: skip
    u[hole] = found
    return (u[whole] * scale + middle).astype(np.float32)


def _laplacian(hole: Array, weights: tuple[float, float, float]) -> tuple[sparse.csr_matrix, tuple[Array, ...]]:
    """The Laplacian of every voxel that the hole has a part in, and the voxels (k, j, i) that its columns stand for."""
    cross = ndimage.generate_binary_structure(3, 1)
    rows = ndimage.binary_dilation(hole, cross)
    used = ndimage.binary_dilation(rows, cross)
    number, line = np.full(hole.shape, -1), np.full(hole.shape, -1)
    number[used], line[rows] = np.arange(np.count_nonzero(used)), np.arange(np.count_nonzero(rows))
    entries: list[tuple[Array, Array, Array]] = []
    for axis, weight in enumerate(weights):
        low = tuple(slice(None, -1) if n == axis else slice(None) for n in range(3))
        high = tuple(slice(1, None) if n == axis else slice(None) for n in range(3))
        for one, other in ((low, high), (high, low)):
            here = rows[one]
            row, self_, neighbour = line[one][here], number[one][here], number[other][here]
            entries += [(row, neighbour, np.full(len(row), weight)), (row, self_, np.full(len(row), -weight))]
    row, column, value = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    shape = (np.count_nonzero(rows), np.count_nonzero(used))
    return sparse.csr_matrix((value, (row, column)), shape), np.nonzero(used)


def _coarse(u: Array, hole: Array, weights: tuple[float, float, float], watch: Watch) -> Array:
    """A first guess from the image at half the resolution along the finest axes."""
    finest = max(weights)
    steps = [2 if w > finest / 3 and n > 4 else 1 for w, n in zip(weights, u.shape, strict=True)]
    pad = [(0, -n % s) for n, s in zip(u.shape, steps, strict=True)]
    known = np.pad((~hole).astype(np.float64), pad, mode="edge")
    value = np.pad(np.where(hole, 0, u), pad, mode="edge") * known
    split = [size for n, s in zip(known.shape, steps, strict=True) for size in (n // s, s)]
    share, total = (a.reshape(split).mean((1, 3, 5)) for a in (known, value))
    small = np.where(share > 0, total / np.maximum(share, 1e-9), 0).astype(np.float32)
    if (share > 0).all() or not (share > 0).any():
        filled = small
    else:
        coarser = tuple(w / s**2 for w, s in zip(weights, steps, strict=True))
        filled = smooth(small, share == 0, coarser, watch)
    factors = [m / n for m, n in zip(known.shape, filled.shape, strict=True)]
    fine = ndimage.zoom(filled, factors, order=1, mode="nearest", grid_mode=True)
    return fine[tuple(slice(n) for n in u.shape)]


def inverse_squares(spacing: tuple[float, float, float]) -> tuple[float, float, float]:
    """(finest spacing / spacing)^2 for each axis."""
    return tuple((min(spacing) / s) ** 2 for s in spacing)


def biharmonic(image: Array, context: Context) -> Array:
    """See smooth(); in millimetres."""
    hole = hole_of(image, context)
    return smooth(image, hole, inverse_squares(context.spacing), lambda: context.progress(0.1, "solving"))


def blend(image: Array, context: Context) -> Array:
    """The biharmonic fill and lines along the three axes, see three_lines(), each by the square of its trust.
    The biharmonic one has SMOOTH times that of the lines along the two less trusted axes: a hole that is open along all
    axes but one, such as a missing slice, is for the line along that axis."""
    hole = hole_of(image, context)
    filled = smooth(image, hole, inverse_squares(context.spacing), lambda: context.progress(0.1, "solving"))
    lines = three_lines(image, hole, context.spacing)
    trust = [np.maximum(x.trust, FLOOR) for x in lines]
    others = sum(x.trust for x in lines) - np.maximum.reduce([x.trust for x in lines])
    weights = [np.maximum(SMOOTH * others, 2 * FLOOR) ** 2, *(t * t for t in trust)]
    values = [filled, *(np.where(x.trust > 0, x.value, filled) for x in lines)]
    mixed = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
    return np.where(hole, mixed, image).astype(np.float32)


def median_fill(image: Array, context: Context, radius: int = 2) -> Array:
    """From the rim inwards, a layer at a time: the median of what is known or filled within `radius` voxels."""
    hole, output = hole_of(image, context), image.astype(np.float32, copy=True)
    reach = [radius if n > 1 else 0 for n in image.shape]
    left, total = hole.copy(), max(np.count_nonzero(hole), 1)
    padded = np.pad(np.where(hole, np.nan, output), [(r, r) for r in reach], constant_values=np.nan)
    offsets = np.stack(np.meshgrid(*(np.arange(2 * r + 1) for r in reach), indexing="ij"), -1).reshape(-1, 3)
    while left.any():
        context.progress(1 - np.count_nonzero(left) / total, "filling")
        rim = left & ndimage.binary_dilation(~left)
        place = np.argwhere(rim)
        values = [np.nanmedian(padded[tuple((part[:, None] + offsets).reshape(-1, 3).T)].reshape(len(part), -1), 1)
                  for part in np.array_split(place, max(1, len(place) // 20_000))]  # fmt: skip
        output[rim] = np.concatenate(values)
        padded[tuple((place + reach).T)] = output[rim]
        left &= ~rim
    return output


def between_slices(image: Array, context: Context, order: int = 1, fit: bool = False) -> Array:
    """Along the slice axis (the first one) alone: straight lines between the next known voxels (order 1), or natural
    cubic splines through all known ones (order 3), see splined(); if wanted, slice_fit.fitted() where that can be. What
    lies beyond the last known voxel gets its value; a column without any is filled by biharmonic()."""
    hole = hole_of(image, context)
    output = np.where(hole, along(image, hole, 0).value, image).astype(np.float32)
    output = splined(image, hole, output) if order == 3 else output
    for k, slice_ in fitted(image, hole).items() if fit else ():
        output[k] = slice_
    without = hole.all(0)
    if without.any():
        rest = hole & without
        output[rest] = smooth(output, rest, inverse_squares(context.spacing))[rest]
    return output


NEAR = 8  # voxels around a hole from which mean and spread are taken
CHANNELS = 8


@dataclass(frozen=True)
class Fills:
    """What a network gets of a hole.

    channels: (8, k, j, i) float32: the biharmonic fill and, relative to it, three_lines() along k, j, i, in units
        of the spread around the hole; the hole (0 or 1); how far the three lines are to be trusted, see Lines.
    middle, unit: channels[0] * unit + middle is in the unit of the image; unit 0: all around the hole is constant.
    """

    channels: Array
    middle: float
    unit: float


def fills(image: Array, hole: Array, spacing: tuple[float, float, float], filled: Array | None = None) -> Fills:
    """The classical fills of a hole. filled: the biharmonic one where it is known already; it must not look into the
    hole, nor does anything here."""
    filled = smooth(image, hole, inverse_squares(spacing)) if filled is None else filled
    near = image[ndimage.maximum_filter(hole, 2 * NEAR + 1) & ~hole].astype(np.float64)
    if near.size == 0:
        near = image[~hole].astype(np.float64)
    middle, unit = float(near.mean()), float(near.std())
    if unit <= 1e-6 * max(abs(middle), 1e-30):
        return Fills(np.zeros((CHANNELS, *image.shape), np.float32), middle, 0.0)
    lines = three_lines(image, hole, spacing)
    base = (filled - np.float32(middle)) / np.float32(unit)
    apart = [np.where(hole & (x.trust > 0), (x.value - filled) / np.float32(unit), 0) for x in lines]
    trust = [np.where(hole, x.trust, 0) for x in lines]
    return Fills(np.stack([base, *apart, hole, *trust]).astype(np.float32), middle, unit)
