"""One grid seen from another: interpolation as a linear map, with its transpose. Arrays are (k, j, i)."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from DLReconLib.resolution.acquisition import Array, splines_at

STRAIGHT = 0.005  # voxels: grids whose axes part by less over the whole image count as parallel


@dataclass(frozen=True)
class Sampling:
    """forward: an image on the grid -> its values on the other grid; adjoint: the transpose of that map. covered:
    (k, j, i) bool of the other grid, the voxels that lie in the grid."""

    forward: Any
    adjoint: Any
    covered: Array


def sampling(shape: tuple[int, ...], other: tuple[int, ...], places: Array) -> Sampling:
    """From a grid of `shape` to another of shape `other`; places: 4 x 4, indices (k, j, i, 1) of the other grid to
    those of the grid. Along parallel axes by cubic splines, else trilinear."""
    axes = np.abs(places[:3, :3]).argmax(0)  # of the grid, along which each axis of the other one goes
    rest = places[:3, :3].copy()
    rest[axes, np.arange(3)] = 0
    if sorted(axes) == [0, 1, 2] and (np.abs(rest) * other).sum(1).max() < STRAIGHT:
        return _straight(shape, other, places, axes)
    return _oblique(shape, other, places)


def _straight(shape: tuple[int, ...], other: tuple[int, ...], places: Array, axes: Array) -> Sampling:
    matrices, covered = [], np.ones(other, bool)
    for n, axis in enumerate(axes):
        at = places[axis, n] * np.arange(other[n]) + places[axis, 3]
        matrices.append(spline_rows(at, shape[axis]).astype(np.float32))
        inside = (at > -0.5 - 1e-6) & (at < shape[axis] - 0.5 + 1e-6)
        covered &= inside.reshape([-1 if m == n else 1 for m in range(3)])

    def forward(image: Array) -> Array:
        image = image.transpose(axes)
        for n, matrix in enumerate(matrices):
            image = np.moveaxis(np.tensordot(matrix, image, (1, n)), 0, n)
        return np.ascontiguousarray(image)

    def adjoint(image: Array) -> Array:
        for n, matrix in enumerate(matrices):
            image = np.moveaxis(np.tensordot(matrix.T, image, (1, n)), 0, n)
        return np.ascontiguousarray(image.transpose(np.argsort(axes)))

    return Sampling(forward, adjoint, covered)


def spline_rows(at: Array, size: int) -> Array:
    """(places, size): the cubic spline through the voxels, at these places."""
    return splines_at(at, size) @ np.linalg.inv(splines_at(np.arange(size), size))


def _oblique(shape: tuple[int, ...], other: tuple[int, ...], places: Array) -> Sampling:
    from scipy import sparse

    where = [sum(places[n, m] * np.arange(other[m]).reshape([-1 if m == o else 1 for o in range(3)]) for m in range(3))
             + places[n, 3] for n in range(3)]  # fmt: skip
    where = [np.broadcast_to(w, other).ravel() for w in where]
    covered = np.all([(w > -0.5) & (w < n - 0.5) for w, n in zip(where, shape, strict=True)], 0)
    low = [np.clip(np.floor(w), 0, max(n - 2, 0)).astype(np.int64) for w, n in zip(where, shape, strict=True)]
    part = [np.clip(w - a, 0, 1).astype(np.float32) for w, a in zip(where, low, strict=True)]
    count = len(covered)
    columns, values = np.empty((count, 8), np.int32), np.empty((count, 8), np.float32)
    for n, corner in enumerate(np.ndindex(2, 2, 2)):
        index = [np.minimum(a + c, m - 1) for a, c, m in zip(low, corner, shape, strict=True)]
        columns[:, n] = np.ravel_multi_index(index, shape)
        values[:, n] = np.prod([p if c else 1 - p for p, c in zip(part, corner, strict=True)], 0)
    values *= covered[:, None]
    rows = np.arange(0, 8 * count + 1, 8)
    matrix = sparse.csr_matrix((values.ravel(), columns.ravel(), rows), (count, int(np.prod(shape))))

    def forward(image: Array) -> Array:
        return (matrix @ image.ravel()).reshape(other)

    def adjoint(image: Array) -> Array:
        return (matrix.T @ image.ravel()).astype(np.float32).reshape(shape)

    return Sampling(forward, adjoint, covered.reshape(other))
