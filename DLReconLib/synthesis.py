"""Synthetic volumes: label maps painted at random, for training where no images are, and for tests.

Nothing here has seen a patient: anatomy comes from the label map, everything else from random numbers. It is physics
and chance, not a generative network.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import ndimage

from DLReconLib.degradations import mr_noise, painted_labels, smooth_field
from DLReconLib.volume import Volume

REGIONS = 12
LARGEST = 2**28  # voxels


def random_labels(shape: tuple[int, int, int], rng: np.random.Generator, regions: int = REGIONS) -> np.ndarray:
    """Shapes without any anatomy: at each voxel the label of the largest of several smooth random fields (Hoffmann et
    al., "SynthMorph", IEEE TMI 2022, section III-B), 0 outside a random ellipsoid; (k, j, i) int16."""
    width = max(2.0, min(n for n in shape if n > 1) / 10)
    best, labels = np.full(shape, -np.inf, np.float32), np.zeros(shape, np.int16)
    for number in range(1, regions + 1):
        scale = float(width * rng.uniform(0.5, 1.5))
        field = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), scale)
        field /= field.std() + 1e-9
        larger = field > best
        best[larger], labels[larger] = field[larger], number
    axes = np.meshgrid(*(np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape), indexing="ij", sparse=True)
    radius = sum((a / rng.uniform(0.75, 0.95)) ** 2 for a in axes)
    labels[radius > 1] = 0
    return labels


def synthesize(
    labels: Volume | None = None, *, seed: int = 0, shape: tuple[int, int, int] = (64, 96, 96), noise: float = 0.0,
    bias: float = 0.0,
) -> tuple[Volume, Volume, Mapping[str, Any]]:  # fmt: skip
    """A synthetic image.

    Args:
        labels: (k, j, i) whole numbers, a mean and a texture for each; by default random shapes of `shape` (k, j, i).
        seed: of everything that is random.
        noise: standard deviation of Rician noise, a fraction of the range, 0 to 0.5.
        bias: largest logarithm of a smooth factor, as of a surface coil, 0 to 1.

    Returns image (float32, about 0..1) and labels, on the grid of the labels or of 1 mm, and a record of JSON values.
    Raises ValueError for labels that are no label map, and for options out of range.
    """
    if not 0 <= noise <= 0.5 or not 0 <= bias <= 1:
        raise ValueError(f"noise {noise}, bias {bias}; wanted 0 to 0.5 and 0 to 1")
    if labels is None and (min(shape) < 1 or sum(n >= 8 for n in shape) < 2 or np.prod(shape, dtype=float) > LARGEST):
        raise ValueError(f"size {shape}; wanted at least 8 voxels along two axes, and at most {LARGEST} in all")
    rng = np.random.default_rng(seed)
    given = labels is not None
    if labels is None:
        labels = Volume(random_labels(shape, rng))
    array = labels.array
    if array.ndim != 3 or not np.array_equal(array, np.rint(array)) or len(np.unique(array[::2, ::2, ::2])) > 4096:
        raise ValueError(f"labels of shape {array.shape}, {array.dtype}: no label map; wanted (k, j, i) whole numbers")
    image = painted_labels(array.astype(np.int32), rng)
    if bias > 0:
        image = image * smooth_field(image.shape, rng, bias)
    if noise > 0:
        image = mr_noise(image, rng, noise).noisy
    found = {"synthetic": True, "labels": "given" if given else "random shapes", "seed": seed, "noise": noise}
    return labels.with_array(image.astype(np.float32)), labels, found | {"bias": bias, "shape": list(image.shape)}
