"""What the acquisition cannot see of a fine image. Only numpy is used."""

from functools import lru_cache

import numpy as np

from DLReconLib.resolution.acquisition import Acquisition, Array, Axis, degrading, inverting


@lru_cache(64)
def visible(axis: Axis) -> Array:
    """P A, (fine, fine) float32: what the acquisition sees of an image, as the spline that it is mapped to."""
    return (inverting(axis) @ degrading(axis)).astype(np.float32)


def hidden(acquisition: Acquisition, image: Array) -> Array:
    """(1 - P A) of a fine image (k, j, i), float32."""
    seen = image
    for n, axis in enumerate(acquisition.axes):
        if axis.scale > 1:
            seen = np.moveaxis(np.tensordot(visible(axis), seen, (1, n)), 0, n)
    return image - seen
