"""How a scanner makes coarse voxels of fine ones, and what undoes it: exact linear algebra, an axis at a time.

The coarse and the fine grid cover the same box (half-voxel rule, Geometry.resampled), and the image goes on beyond
its faces as in a mirror. Along each axis a coarse voxel is the mean of the fine ones, weighted by a profile:

    box       the slice is excited or averaged evenly over its thickness
    gaussian  a Gaussian whose width at half height is the thickness (minus what a fine voxel is wide already, in
              squares), as slice profiles of 2D MR are (Zhao et al., "SMORE", IEEE TMI 2021, section II)
    kspace    only the low frequencies are sampled: in-plane of MR, and all axes of 3D MR

A thickness below the spacing leaves a gap, one above it lets slices overlap.

What is filled in between follows Unser & Aldroubi, "A general sampling theory for nonideal acquisition devices", IEEE
TSP 1994, eq. 11: of all cubic splines with a knot in each coarse voxel, consistent() takes the one that the
acquisition A maps back to the input, and project() adds the same kind of spline to any image x until A x is the input.
Along axes whose k-space is truncated both fill it with zeros instead.
Only numpy is used. Arrays are (k, j, i).
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np

Array = np.ndarray
PROFILES = ("box", "gaussian", "kspace")
# By modality: along the slice axis and in-plane. CT slices are averages, its in-plane blur is that of a soft kernel.
PROFILES_OF = {"MR": ("gaussian", "kspace"), "CT": ("box", "gaussian"), "": ("box", "box")}
HALF_WIDTH = 2.3548  # width at half height of a Gaussian, in standard deviations
PARTS = 64  # a fine voxel is cut into so many for the integrals of a profile


@dataclass(frozen=True)
class Axis:
    """coarse, fine: voxels along the axis, before and after. profile: one of PROFILES. width: thickness in coarse
    voxels; of no meaning for kspace."""

    coarse: int
    fine: int
    profile: str = "box"
    width: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.coarse <= self.fine:
            raise ValueError(f"acquisition: {self.coarse} voxels made of {self.fine}; wanted at least as many")
        if self.profile not in PROFILES:
            raise ValueError(f"acquisition: profile {self.profile!r}; wanted one of: {', '.join(PROFILES)}")
        if not 0 < self.width <= 1.5:
            raise ValueError(f"acquisition: thickness of {self.width:g} times the spacing; wanted up to 1.5")

    @property
    def scale(self) -> float:
        return self.fine / self.coarse

    @property
    def centres(self) -> Array:
        """(fine,) where the fine voxels lie, counted in coarse voxels."""
        return (np.arange(self.fine) + 0.5) / self.scale - 0.5


@dataclass(frozen=True)
class Acquisition:
    """The acquisition along k, j, i; separable."""

    axes: tuple[Axis, Axis, Axis]

    @property
    def coarse(self) -> tuple[int, ...]:
        return tuple(a.coarse for a in self.axes)

    @property
    def fine(self) -> tuple[int, ...]:
        return tuple(a.fine for a in self.axes)

    def degrade(self, image: Array) -> Array:
        """A: (k, j, i) fine to coarse, float32."""
        return self._apply(degrading, image, self.fine)

    def adjoint(self, image: Array) -> Array:
        """The transpose of A: coarse to fine, float32."""
        return self._apply(lambda a: degrading(a).T, image, self.coarse)

    def interpolate(self, image: Array) -> Array:
        """The cubic spline through the coarse values at the coarse centres: what resampling gives. Coarse to fine."""
        return self._apply(interpolating, image, self.coarse)

    def consistent(self, image: Array) -> Array:
        """The cubic spline that A maps to the coarse image. Coarse to fine, float32."""
        return self._apply(inverting, image, self.coarse)

    def project(self, image: Array, given: Array) -> Array:
        """The fine image plus the spline that makes A of it the coarse one `given`, float32."""
        return image + self.consistent(given - self.degrade(image))

    def turned(self, order: tuple[int, int, int]) -> "Acquisition":
        return Acquisition(tuple(self.axes[n] for n in order))

    def to_dict(self) -> list[dict[str, Any]]:
        """JSON values; the inverse is from_dict()."""
        return [asdict(a) for a in self.axes]

    @classmethod
    def from_dict(cls, values: list[dict[str, Any]]) -> "Acquisition":
        return cls(tuple(Axis(**v) for v in values))

    def _apply(self, matrix: Callable[[Axis], Array], image: Array, shape: tuple[int, ...]) -> Array:
        if image.shape != shape:
            raise ValueError(f"acquisition: image of {image.shape} voxels; wanted {shape}")
        image = image.astype(np.float32, copy=False)
        # Growing axes last, shrinking axes first: less to compute.
        order = sorted(range(3), key=lambda n: -self.axes[n].scale if shape == self.fine else self.axes[n].scale)
        for n in order:
            if self.axes[n].coarse != self.axes[n].fine:
                weights = matrix(self.axes[n]).astype(np.float32)
                image = np.moveaxis(np.tensordot(weights, image, (1, n)), 0, n)
        return np.ascontiguousarray(image)


def mirrored(index: Array, size: int) -> Array:
    """Indices beyond 0 ... size - 1 as in a mirror at the outer faces."""
    index = np.mod(index, 2 * size)
    return np.where(index < size, index, 2 * size - 1 - index)


def summed(shape: tuple[int, int], rows: Array, columns: Array, values: Array) -> Array:
    matrix = np.zeros(shape)
    np.add.at(matrix, (rows, mirrored(columns, shape[1])), values)
    return matrix


@lru_cache(64)
def degrading(axis: Axis) -> Array:
    """A along one axis, (coarse, fine) float64; every row has the sum 1.

    Within a fine voxel the image is taken for a straight line with the slope of its neighbours, so that a voxel's
    value is its mean, blocks are averaged exactly, and a ramp stays in its place for any ratio of the grids.
    """
    if axis.profile == "kspace":
        return _lowpass(axis)
    scale = axis.scale
    middle = (np.arange(axis.coarse) + 0.5) * scale - 0.5  # of the coarse voxels, counted in fine ones
    if axis.profile == "box":
        reach = max(axis.width * scale, 1.0) / 2
        profile = None
    else:
        spread = np.sqrt(max((axis.width * scale) ** 2 - 1, 0.05)) / HALF_WIDTH
        reach = 3 * spread
        profile = spread
    count = int(np.ceil(2 * reach)) + 2
    found = np.round(middle - reach).astype(int)[:, None] + np.arange(count)  # (coarse, count) fine voxels in reach
    inside = (np.arange(PARTS) + 0.5) / PARTS - 0.5
    weight = np.zeros((*found.shape, 2))
    offset = found - middle[:, None]
    if profile is None:
        low, high = np.maximum(offset - 0.5, -reach), np.minimum(offset + 0.5, reach)
        length = np.maximum(high - low, 0)
        weight[..., 0], weight[..., 1] = length, length * ((high + low) / 2 - offset)
    else:
        density = np.exp(-0.5 * ((offset[..., None] + inside) / profile) ** 2)
        weight[..., 0], weight[..., 1] = density.mean(-1), (density * inside).mean(-1)
    weight /= weight[..., :1].sum(1, keepdims=True)
    rows = np.broadcast_to(np.arange(axis.coarse)[:, None], found.shape)
    shape = (axis.coarse, axis.fine)
    slopes = [summed(shape, rows, found + step, step / 2 * weight[..., 1]) for step in (-1, 1)]
    return summed(shape, rows, found, weight[..., 0]) + slopes[0] + slopes[1]


def _lowpass(axis: Axis) -> Array:
    """Truncation of the spectrum of the mirrored image: of its cosine transform the first `coarse` terms."""
    order = np.arange(axis.coarse)[:, None]
    fine, coarse = (np.cos(np.pi * order * (np.arange(n) + 0.5) / n) for n in (axis.fine, axis.coarse))
    power = np.where(order == 0, 1.0, 2.0) / axis.fine
    return coarse.T @ (power * fine)


def _bspline(distance: Array) -> Array:
    """The cubic B-spline at a distance in coarse voxels (Unser, IEEE SPM 1999, box 1)."""
    x = np.abs(distance)
    return np.where(x < 1, 2 / 3 - x**2 * (2 - x) / 2, np.where(x < 2, (2 - x) ** 3 / 6, 0.0))


def splines_at(places: Array, count: int) -> Array:
    """The cubic B-splines with a knot in each of `count` voxels at some places, counted in these voxels:
    (places, count)."""
    knots = np.floor(places).astype(int)[:, None] + np.arange(-1, 3)
    rows = np.broadcast_to(np.arange(len(places))[:, None], knots.shape)
    return summed((len(places), count), rows, knots, _bspline(places[:, None] - knots))


@lru_cache(64)
def interpolating(axis: Axis) -> Array:
    """(fine, coarse): the spline whose values at the coarse centres are given."""
    through = splines_at(np.arange(axis.coarse), axis.coarse)
    return splines_at(axis.centres, axis.coarse) @ np.linalg.inv(through)


@lru_cache(64)
def inverting(axis: Axis) -> Array:
    """(fine, coarse): the spline S c whose degraded values A S c are given; a right inverse of A. For k-space the
    same with cosines for splines, which is zero-filling: their span is orthogonal to all that A cannot see."""
    if axis.profile == "kspace":
        return degrading(axis).T * axis.scale
    splines = splines_at(axis.centres, axis.coarse)
    return splines @ np.linalg.inv(degrading(axis) @ splines)
