"""The card's intensity and grid rules, each with its inverse.

They are callables with an `inverse`, as MONAI's invertible transforms are, and may stand in a MONAI Compose;
MONAI itself is not imported, since that costs every run eight seconds.
"""

from dataclasses import dataclass

import numpy as np

from DLReconLib.models import ModelCard
from DLReconLib.volume import Geometry

Array = np.ndarray


@dataclass(frozen=True)
class LinearIntensity:
    """(value - offset) / unit, float32; the inverse gives the value back."""

    offset: float
    unit: float

    @classmethod
    def of_card(cls, card: ModelCard, array: Array) -> "LinearIntensity":
        """The rule of the card for this image (k, j, i): with unit 0, the unit is the 99.5th percentile of
        the absolute distance to the offset (over every n-th voxel of a large image)."""
        if card.unit:
            return cls(card.offset, card.unit)
        step = max(1, round((array.size / 4e6) ** (1 / 3)))
        sample = np.abs(array[::step, ::step, ::step].astype(np.float32) - card.offset)
        unit = float(np.percentile(sample, 99.5)) or float(np.abs(array.astype(np.float32)).max())
        return cls(card.offset, unit or 1.0)

    def __call__(self, array: Array) -> Array:
        return (array.astype(np.float32) - np.float32(self.offset)) / np.float32(self.unit)

    def inverse(self, array: Array) -> Array:
        return array * np.float32(self.unit) + np.float32(self.offset)


@dataclass(frozen=True)
class SlicesFirst:
    """Moves the axis along which the slices lie to the front, as a view."""

    axis: int

    @classmethod
    def of_grid(cls, geometry: Geometry, shape: tuple[int, int, int]) -> "SlicesFirst":
        """The axis (0 is k) of one voxel, else that of a spacing 1.5 times any other's, else k."""
        if 1 in shape:
            return cls(shape.index(1))
        spacing = geometry.spacing[::-1]
        thickest = int(np.argmax(spacing))
        others = max(s for n, s in enumerate(spacing) if n != thickest)
        return cls(thickest if spacing[thickest] >= 1.5 * others else 0)

    def __call__(self, array: Array) -> Array:
        return np.moveaxis(array, self.axis, 0)

    def order(self, values: tuple) -> tuple:
        """A value for each of k, j, i, in the order of the moved axes."""
        return (values[self.axis], *(v for n, v in enumerate(values) if n != self.axis))

    def inverse(self, array: Array) -> Array:
        return np.moveaxis(array, 0, self.axis)
