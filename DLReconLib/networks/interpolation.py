"""Interpolation to a finer grid behind one interface: (image, shape) -> image of that shape.

image: (k, j, i) float32; shape: (k, j, i) of the result, which covers the same box (half-voxel rule); the image goes
on beyond its faces as in a mirror.
"""

import numpy as np
from scipy import ndimage

Array = np.ndarray


def spline(image: Array, shape: tuple[int, int, int], order: int = 3) -> Array:
    """B-spline interpolation (Unser, IEEE SPM 1999), as in scipy.ndimage.zoom."""
    factors = [n / m for n, m in zip(shape, image.shape, strict=True)]
    return ndimage.zoom(image, factors, order=order, mode="reflect", grid_mode=True)


def lanczos(image: Array, shape: tuple[int, int, int], window: int = 5) -> Array:
    """The sinc with Lanczos' window of so many voxels to each side (Turkowski, Graphics Gems 1990), as in SimpleITK,
    but an axis at a time, and with weights that add up to 1."""
    for axis, (size, wanted) in enumerate(zip(image.shape, shape, strict=True)):
        if size == wanted:
            continue
        place = (np.arange(wanted) + 0.5) * size / wanted - 0.5
        near = np.floor(place).astype(int)[:, None] + np.arange(1 - window, window + 1)
        distance = place[:, None] - near
        weights = np.where(np.abs(distance) < window, np.sinc(distance) * np.sinc(distance / window), 0)
        near = np.mod(near, 2 * size)
        near = np.where(near < size, near, 2 * size - 1 - near)  # mirrored at the outer faces
        matrix = np.zeros((wanted, size))
        np.add.at(matrix, (np.arange(wanted)[:, None], near), weights / weights.sum(1, keepdims=True))
        image = np.moveaxis(np.tensordot(matrix.astype(np.float32), image, (1, axis)), 0, axis)
    return image
