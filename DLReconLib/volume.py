"""Geometry and Volume: an array and where it lies in the patient."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Geometry:
    """The grid of a volume in the patient, LPS, millimetres.

    spacing: (i, j, k) distances between voxel centres, > 0.
    origin: (x, y, z) position of the centre of voxel (0, 0, 0).
    direction: 3 x 3, columns are the unit vectors of the axes i, j, k; orthogonal.

    Raises ValueError where the spacing is not positive or the axes are not orthogonal unit vectors.
    """

    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[tuple[float, float, float], ...] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))

    def __post_init__(self) -> None:
        spacing = tuple(float(s) for s in self.spacing)
        origin = tuple(float(o) for o in self.origin)
        matrix = np.asarray(self.direction, float)
        if len(spacing) != 3 or not all(np.isfinite(spacing)) or min(spacing) <= 0:
            raise ValueError(f"geometry: spacing {spacing} mm; wanted three positive numbers; mend the header")
        if len(origin) != 3 or not all(np.isfinite(origin)):
            raise ValueError(f"geometry: origin {origin} mm; wanted three finite numbers; mend the header")
        if matrix.shape != (3, 3) or not np.allclose(matrix.T @ matrix, np.eye(3), atol=1e-3):
            raise ValueError(
                f"geometry: direction {matrix.round(4).tolist()} is not orthogonal; wanted unit axes at right "
                "angles; resample the image onto a regular grid first (a tilted gantry or a sheared transform?)"
            )
        object.__setattr__(self, "spacing", spacing)
        object.__setattr__(self, "origin", origin)
        object.__setattr__(self, "direction", tuple(tuple(float(v) for v in row) for row in matrix))

    def matrix(self) -> np.ndarray:
        """4 x 4, voxel indices (i, j, k, 1) to LPS millimetres."""
        result = np.eye(4)
        result[:3, :3] = np.asarray(self.direction) * self.spacing
        result[:3, 3] = self.origin
        return result

    @classmethod
    def from_matrix(cls, matrix: np.ndarray) -> "Geometry":
        """The inverse of matrix(). Raises ValueError where the axes are not orthogonal."""
        axes = np.asarray(matrix, float)[:3, :3]
        spacing = np.linalg.norm(axes, axis=0)
        if not np.all(spacing > 0):
            raise ValueError(f"geometry: an axis of {axes.tolist()} has no length; wanted three independent axes")
        return cls(tuple(spacing), tuple(np.asarray(matrix, float)[:3, 3]), tuple(map(tuple, axes / spacing)))

    def resampled(self, shape: tuple[int, int, int], new_shape: tuple[int, int, int]) -> "Geometry":
        """The grid that covers the same box with another number of voxels (shapes in (i, j, k)).

        The outer faces of the corner voxels stay; so the origin, a voxel's centre, moves by half the
        difference of the spacings along each axis.
        """
        new_spacing = np.array(self.spacing) * shape / np.array(new_shape)
        shift = np.asarray(self.direction) @ ((new_spacing - self.spacing) / 2)
        return replace(self, spacing=tuple(new_spacing), origin=tuple(np.array(self.origin) + shift))

    def matches(self, other: "Geometry", tolerance_mm: float = 1e-3, shape: tuple[int, ...] = (2, 2, 2)) -> bool:
        """Whether both grids put the eight corner voxels of a volume of this shape (i, j, k) at the same places."""
        corners = np.array([[*c, 1] for c in np.ndindex(2, 2, 2)]) * [*(max(n - 1, 1) for n in shape), 1]
        return bool(np.abs((self.matrix() - other.matrix()) @ corners.T).max() <= tolerance_mm)


@dataclass(frozen=True)
class Volume:
    """An image and where it lies.

    array: (k, j, i), or (k, j, i, components) for colour and vectors; numeric. One slice is k = 1.
    geometry: the grid of (i, j, k).
    modality: DICOM's code where it is known ("MR", "CT", "US", "PT", ...), else "".
    origin_format: where it came from ("nrrd", "dicom", "png", "node", ...), else "".
    metadata: what travels with the image unchanged (DICOM tags, NRRD keys, display), strings.
    """

    array: np.ndarray
    geometry: Geometry = field(default_factory=Geometry)
    modality: str = ""
    origin_format: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        array = np.asarray(self.array)
        if array.dtype == bool:  # masks
            array = array.astype(np.uint8)
        if array.ndim not in (3, 4):
            raise ValueError(f"volume: array of shape {array.shape}; wanted (k, j, i) or (k, j, i, components)")
        if not (np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating)):
            raise ValueError(f"volume: values of type {array.dtype}; wanted integers or real numbers")
        object.__setattr__(self, "array", array)

    @property
    def components(self) -> int:
        return self.array.shape[3] if self.array.ndim == 4 else 1

    def same_grid(self, other: "Volume") -> bool:
        """Whether the other has as many voxels (k, j, i), at the same places to within a hundredth of the finest
        spacing."""
        shape = self.array.shape[:3]
        within = 0.01 * min(self.geometry.spacing)
        return other.array.shape[:3] == shape and other.geometry.matches(self.geometry, within, shape[::-1])

    def with_array(self, array: np.ndarray) -> "Volume":
        return replace(self, array=array)

    def crop(self, box: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]) -> "Volume":
        """The voxels from start to stop (excluded) along k, j, i, at their place in the patient.

        Raises ValueError for a box that is empty or leaves the volume.
        """
        shape = self.array.shape[:3]
        if len(box) != 3 or not all(0 <= a < b <= n for (a, b), n in zip(box, shape, strict=True)):
            raise ValueError(f"box {box} does not lie in an image of {shape} voxels; wanted start < stop along k, j, i")
        start = np.array([a for a, _ in reversed(box)])
        origin = self.geometry.origin + np.asarray(self.geometry.direction) @ (start * self.geometry.spacing)
        geometry = replace(self.geometry, origin=tuple(float(x) for x in origin))
        return replace(self, array=self.array[tuple(slice(*b) for b in box)], geometry=geometry)
