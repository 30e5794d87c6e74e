"""Regions that are found without labels, and what is measured in them. Images are (k, j, i) or (j, i), any unit."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from DLReconLib.metrics import tissue_mask

Array = np.ndarray


def otsu(values: Array, classes: int = 2, bins: int = 128) -> list[float]:
    """The classes - 1 thresholds that make the variance between classes largest (Otsu 1979; for several Liao, Chen &
    Chung 2001), over a histogram from the 0.1th to the 99.9th percentile.

    Raises ValueError for values that are all the same.
    """
    values = np.ravel(values)
    values = values[:: max(1, values.size // 1_000_000)]
    low, high = np.percentile(values, [0.1, 99.9])
    if not high > low:
        low, high = float(np.min(values)), float(np.max(values))
    if not high > low:
        raise ValueError("otsu: the values are all the same; wanted at least two different ones")
    count, border = np.histogram(np.clip(values, low, high), bins=bins, range=(low, high))
    middle = (border[1:] + border[:-1]) / 2
    number = np.concatenate([[0.0], np.cumsum(count)])
    first = np.concatenate([[0.0], np.cumsum(count * middle)])

    def between(a: Array, b: Array) -> Array:
        """Sum^2 / number of the bins a to b (excluded): what a class adds to the variance between classes."""
        n = number[b] - number[a]
        return np.where(n > 0, (first[b] - first[a]) ** 2 / np.maximum(n, 1e-12), 0)

    table = between(*np.meshgrid(np.arange(bins + 1), np.arange(bins + 1), indexing="ij"))
    table[np.tril_indices(bins + 1)] = -np.inf
    best, came = table[0], []
    for _ in range(classes - 1):  # best[b]: the most that the bins below b give in so many classes
        total = best[:, None] + table
        came.append(np.argmax(total, axis=0))
        best = np.max(total, axis=0)
    cuts, b = [], bins
    for previous in reversed(came):
        b = int(previous[b])
        cuts.append(float(border[b]))
    return cuts[::-1]


def tissue_regions(image: Array, classes: int = 3) -> Array:
    """Labels 0 (air and what lies between), 1 .. classes - 1 (tissues, from dark to bright), uint8, of the image's
    shape: classes of Otsu of the image smoothed by one voxel, each without its two outermost voxel layers.

    Meant for CNR and for bias where no labels are given; the classes are of brightness, not of anatomy.
    """
    sigma = [1.0 if n > 4 else 0.0 for n in image.shape]
    smooth = ndimage.gaussian_filter(image.astype(np.float32), sigma)
    found = np.digitize(smooth, otsu(smooth, classes))
    flat = np.ones([3 if n > 4 else 1 for n in image.shape], bool)
    labels = np.zeros(image.shape, np.uint8)
    for value in range(1, classes):
        labels[ndimage.binary_erosion(found == value, flat, iterations=2)] = value
    return labels


def inner(labels: Array) -> Array:
    """The labels without their outermost voxel layer, against partial volume, where 30 voxels or more remain."""
    result = np.zeros_like(labels)
    cross = ndimage.generate_binary_structure(labels.ndim, 1)
    for axis, n in enumerate(labels.shape):
        if n < 3:  # a single slice has no layer across it
            cross &= np.arange(3).reshape([3 if a == axis else 1 for a in range(labels.ndim)]) == 1
    for value in np.unique(labels[labels > 0]):
        region = labels == value
        core = ndimage.binary_erosion(region, cross)
        result[core if core.sum() >= 30 else region] = value
    return result


@dataclass(frozen=True)
class Cells:
    """Sums over the cubes of a region, so that a figure can be drawn again (bootstrap): label, cube (index), number,
    total, square, each (n), a row for each cube and label."""

    label: Array
    cube: Array
    number: Array
    total: Array
    square: Array

    def __len__(self) -> int:
        return len(self.label)

    def moments(self, value: int, times: Array | None = None) -> tuple[float, float]:
        """Mean and variance of a label; `times`: how often each cube counts."""
        chosen = (self.label == value) * (1.0 if times is None else times)
        n = float((chosen * self.number).sum())
        if n == 0:
            return float("nan"), float("nan")
        mean = float((chosen * self.total).sum()) / n
        return mean, max(0.0, float((chosen * self.square).sum()) / n - mean**2)


def cells(image: Array, labels: Array, size: int = 8) -> Cells:
    """The sums of each label (> 0) within each cube of `size` voxels. Raises ValueError for shapes that differ."""
    if labels.shape != image.shape:
        raise ValueError(f"cells: labels {labels.shape} and image {image.shape}; wanted the same shape")
    place = np.nonzero(labels > 0)
    value = image[place].astype(np.float64)
    grid = tuple(-(-n // size) for n in image.shape)
    cube = np.ravel_multi_index(tuple(p // size for p in place), grid)
    names, label = np.unique(labels[place], return_inverse=True)
    count = int(np.prod(grid))
    key = label * count + cube
    number, total, square = (np.bincount(key, w, minlength=len(names) * count) for w in (None, value, value**2))
    filled = np.flatnonzero(number)
    return Cells(
        names[filled // count].astype(np.int64),
        filled % count,
        number[filled].astype(float),
        total[filled],
        square[filled],
    )


def cnr_of(found: Cells, a: int, b: int, times: Array | None = None) -> float:
    """|m_a - m_b| / sqrt((v_a + v_b) / 2) (NEMA MS 1's contrast over noise, for two regions of their own noise)."""
    (mean_a, var_a), (mean_b, var_b) = found.moments(a, times), found.moments(b, times)
    noise = np.sqrt((var_a + var_b) / 2)
    return float(abs(mean_a - mean_b) / noise) if noise > 0 else float("nan")


@dataclass(frozen=True)
class BiasFit:
    """Cubes and the smooth field through them. design: (n, terms) of the polynomial; logarithm: (n) of the cubes'
    means; weight: (n) voxels; label: (n) number of the label, from 0."""

    design: Array
    logarithm: Array
    weight: Array
    label: Array

    def __len__(self) -> int:
        return len(self.weight)

    def field(self, times: Array | None = None) -> Array:
        """(n) the field at the cubes, mean 1."""
        weight = self.weight if times is None else self.weight * times
        root = np.sqrt(weight)[:, None]
        levels = np.eye(self.label.max() + 1)[self.label]
        found = np.linalg.lstsq(np.hstack([levels, self.design]) * root, self.logarithm * root[:, 0], rcond=1e-8)[0]
        field = np.exp(self.design @ found[levels.shape[1] :])
        return field / np.average(field, weights=weight)

    def variation(self, times: Array | None = None) -> float:
        """Coefficient of variation of the field over the cubes: standard deviation / mean."""
        weight = self.weight if times is None else self.weight * times
        return float(np.sqrt(np.average((self.field(times) - 1) ** 2, weights=weight)))


def bias_fit(image: Array, labels: Array | None = None, order: int = 3, size: int = 6) -> BiasFit | None:
    """The multiplicative field (shading, receive profile) over homogeneous tissues: a polynomial of voxel position
    (total degree `order`) and one constant for each tissue, fitted together to the logarithms of the means of small
    cubes by least squares (Wells et al. 1996, Van Leemput et al. 1999, with hard classes).

    Args:
        labels: of the image's shape, tissues > 0. Without them the more homogeneous half of the cubes that are not
            air is sorted into three classes of brightness by Otsu, and again after each fit; true differences within
            a class then count (0.03 for an average of corrected brains, 0.06 for a head of 30 random intensities).

    Returns None where fewer than 60 cubes lie in the tissues, or means there are not positive (HU). A tissue that
    truly darkens along the body counts as bias.
    """
    found = cells(image, tissue_mask(image).astype(np.uint8) if labels is None else labels, size)
    good = found.number >= (0.9 if labels is None else 0.4) * np.prod([min(size, n) for n in image.shape])
    if labels is None and good.any():
        variance = found.square / found.number - (found.total / found.number) ** 2
        good &= variance <= np.median(variance[good])
    if good.sum() < 60 or (found.total[good] <= 0).any():
        return None
    value = found.total[good] / found.number[good]
    grid = [-(-n // size) for n in image.shape]
    place = np.unravel_index(found.cube[good], grid)
    axes = [np.linspace(-1, 1, n)[p] for n, p in zip(grid, place, strict=True) if n > 2]
    powers = [p for p in np.ndindex(*[order + 1] * len(axes)) if 0 < sum(p) <= order]
    design = np.stack([np.prod([a**e for a, e in zip(axes, p, strict=True)], axis=0) for p in powers], axis=1)
    label, field = found.label[good], np.ones(len(value))
    degree = np.array([sum(p) for p in powers])
    for step in range(1 if labels is not None else 3 * order):
        if labels is None:
            label = np.digitize(value / field, otsu(value / field, 3))
        # Without labels the order rises bit by bit, lest the first wrong classes be taken for a bent field.
        allowed = order if labels is not None else 1 + step // 3
        fit = BiasFit(
            design[:, degree <= allowed], np.log(value), found.number[good], np.unique(label, return_inverse=True)[1]
        )
        field = fit.field()
    return fit
