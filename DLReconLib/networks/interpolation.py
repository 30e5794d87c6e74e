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


def lanczos(image: Array, shape: tuple[int, int, int]) -> Array:
    """The sinc with Lanczos' window of five voxels, as in SimpleITK."""
    import SimpleITK as sitk

    edge = [(0, 0) if n == m else (min(m, 6),) * 2 for n, m in zip(shape, image.shape, strict=True)]
    steps = [m / n for n, m in zip(shape, image.shape, strict=True)]
    origin = [(step - 1) / 2 + before for step, (before, _) in zip(steps, edge, strict=True)]
    source = sitk.GetImageFromArray(np.pad(image, edge, mode="symmetric"))
    grid = [int(n) for n in shape[::-1]], sitk.Transform(), sitk.sitkLanczosWindowedSinc, origin[::-1], steps[::-1]
    return sitk.GetArrayFromImage(sitk.Resample(source, *grid, source.GetDirection(), 0.0))
