"""Enlargement: from which grid to which, and what the image is before any model adds to it.

Only numpy is used: whoever receives a result can compute what was added to the interpolated input.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from DLReconLib.resolution.acquisition import PROFILES_OF, Acquisition, Axis
from DLReconLib.volume import Geometry, Volume

Array = np.ndarray
MOST = 4.0  # the largest ratio of the grids
THICK = 1.25  # the spacing of a slice axis, compared with the others
THICKNESS = ("0018|0050", "SliceThickness")  # metadata of a volume
# Thickness by spacing: slices that overlap more hold nothing of the finest structures, and to ask for them would
# amplify noise without limit; so they are taken for less thick.
WIDTHS = (0.1, 1.25)


@dataclass(frozen=True)
class Enlargement:
    """acquisition: what made the input of the result, along k, j, i. geometry: of the result. consistent: whether the
    acquisition maps the result to the input."""

    acquisition: Acquisition
    geometry: Geometry
    consistent: bool = True

    @classmethod
    def of_volume(
        cls, volume: Volume, modality: str, *, scale: float | None = None, spacing: Sequence[float] | None = None,
        thickness: float | None = None, consistent: bool = True,
    ) -> "Enlargement":  # fmt: skip
        """scale, spacing, thickness: see pipeline.Options. Raises ValueError for a grid that cannot be made."""
        shape, geometry = volume.array.shape[:3], volume.geometry
        fine = fine_shape(geometry, shape, scale, spacing)
        acquisition = acquired(volume, modality, fine, thickness)
        return cls(acquisition, geometry.resampled(shape[::-1], fine[::-1]), consistent)

    @classmethod
    def from_record(cls, record: Mapping[str, Any], geometry: Geometry) -> "Enlargement":
        """The one of a run, from its provenance; geometry: of the result."""
        return cls(Acquisition.from_dict(record["acquisition"]), geometry, record["consistent"])

    def record(self) -> dict[str, Any]:
        """For the provenance: JSON values."""
        factors = [a.scale for a in self.acquisition.axes]
        return {
            "factors": factors,
            "spacing": list(self.geometry.spacing),
            "acquisition": self.acquisition.to_dict(),
            "consistent": self.consistent,
        }

    def interpolated(self, array: Array) -> Array:
        """The input on the new grid by cubic splines, float32; (k, j, i) or (k, j, i, components)."""
        if array.ndim == 4:
            return np.stack([self.interpolated(array[..., n]) for n in range(array.shape[3])], 3)
        return self.acquisition.consistent(array) if self.consistent else self.acquisition.interpolate(array)

    def nearest(self, array: Array) -> Array:
        """The value of the nearest coarse voxel, of the array's type: for masks and for values to be kept."""
        near = [np.clip(np.rint(a.centres), 0, a.coarse - 1).astype(int) for a in self.acquisition.axes]
        return array[np.ix_(*near)]

    def difference(self, array: Array, source: Array) -> Array:
        """|A x - y| of a result and its input, float32 on the input's grid; (k, j, i), or with components."""
        if array.ndim == 4:
            return np.stack([self.difference(array[..., n], source[..., n]) for n in range(array.shape[3])], 3)
        return np.abs(self.acquisition.degrade(array) - source.astype(np.float32))

    def misfit(self, array: Array, source: Array) -> float:
        """The largest difference between the acquisition of a result (k, j, i) and the input, as a part of the
        input's range."""
        return float(self.difference(array, source).max() / max(float(source.max()) - float(source.min()), 1e-12))


def acquired(volume: Volume, modality: str, fine: tuple[int, ...], thickness: float | None) -> Acquisition:
    """What made the volume of one of the shape `fine` (k, j, i); thickness: see pipeline.Options."""
    shape, given = volume.array.shape[:3], volume.geometry.spacing[::-1]
    slices, plane = PROFILES_OF.get(modality, PROFILES_OF[""])
    thick = slice_axis(volume.geometry, shape)
    axes = [Axis(n, m, plane) for n, m in zip(shape, fine, strict=True)]
    if thick is not None:
        found = thickness or slice_thickness(volume.metadata) or given[thick]
        axes[thick] = Axis(shape[thick], fine[thick], slices, float(np.clip(found / given[thick], *WIDTHS)))
    return Acquisition(tuple(axes))


def fine_shape(
    geometry: Geometry, shape: tuple[int, ...], scale: float | None, spacing: Sequence[float] | None
) -> tuple[int, ...]:
    """Voxels (k, j, i) of the result: the box of the input in voxels of about the spacing (i, j, k) asked for.

    Without scale and spacing: as fine along all axes as along the finest, at most MOST times finer; where they are
    alike already, twice as fine. An axis of one voxel stays.
    """
    given = np.array(geometry.spacing[::-1])
    if scale is not None and spacing is not None:
        raise ValueError(f"super-resolution: scale {scale:g} and spacing {tuple(spacing)} mm; wanted one of both")
    if scale is not None:
        factors = np.full(3, float(scale))
    elif spacing is not None:
        factors = given / np.array(spacing, float)[::-1]
    else:
        finest = min(s for s, n in zip(given, shape, strict=True) if n > 1)
        factors = np.minimum(given / finest, MOST)
        factors = np.full(3, 2.0) if max(f for f, n in zip(factors, shape, strict=True) if n > 1) < THICK else factors
    factors = np.where(np.array(shape) == 1, 1.0, factors)
    if factors.min() < 0.99 or factors.max() > 1.01 * MOST:
        low = ", ".join(f"{s:.4g}" for s in given[::-1] / MOST)
        high = ", ".join(f"{s:.4g}" for s in given[::-1])
        raise ValueError(
            f"super-resolution: spacing of {tuple(float(f'{s:.4g}') for s in (given / factors)[::-1])} mm; wanted each "
            f"from ({low}) to ({high}) mm, the input's: {MOST:g} times finer at most"
        )
    fine = tuple(max(n, round(n * float(f))) for n, f in zip(shape, factors, strict=True))
    if fine == tuple(shape):
        raise ValueError(f"super-resolution: a grid of {fine[::-1]} voxels is the input's; wanted a finer one")
    return fine


def slice_axis(geometry: Geometry, shape: tuple[int, ...]) -> int | None:
    """The axis (0 is k) whose spacing is THICK times any other's; None for a volume acquired in 3D."""
    spacing = geometry.spacing[::-1]
    thickest = int(np.argmax(spacing))
    others = max(s for n, s in enumerate(spacing) if n != thickest)
    return thickest if shape[thickest] > 1 and spacing[thickest] >= THICK * others else None


def slice_thickness(metadata: Mapping[str, Any]) -> float | None:
    """Millimetres, where the header has it."""
    for name in THICKNESS:
        try:
            found = float(metadata.get(name, ""))
        except (TypeError, ValueError):
            continue
        if found > 0:
            return found
    return None
