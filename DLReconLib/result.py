"""Result: the answer and how it came about. Light, so that who only receives results loads no more than numpy."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from DLReconLib.resolution import Enlargement
from DLReconLib.volume import Volume


def label_of(mask: Volume) -> Volume:
    """1 where the mask is not 0; (k, j, i) uint8."""
    return mask.with_array((mask.array != 0).astype(np.uint8))


@dataclass(frozen=True)
class Result:
    """The answer and how it came about.

    volume: the better image, in the unit of the input; on its grid, or on a finer one (super-resolution).
    source: the input.
    noise: standard deviation of the noise found, in the unit of the input.
    provenance: JSON values: model and checksum, options, device, versions, input, noise, seconds, warnings.
    uncertainty: standard deviation of the error, voxel by voxel, in the unit of the input, where it was asked for.
    invented: (k, j, i) uint8, 1 where a voxel was not measured but made up (task inpaint); else None.
    """

    volume: Volume
    source: Volume
    noise: float
    provenance: dict[str, Any]
    uncertainty: Volume | None = None
    invented: Volume | None = None

    @property
    def residual(self) -> Volume:
        """What was removed, input minus volume, float32; after super-resolution what was added: volume minus the
        interpolated input."""
        enlarged = self.provenance.get("super_resolution")
        if enlarged:
            before = Enlargement.from_record(enlarged, self.volume.geometry).interpolated(self.source.array)
            return self.volume.with_array(np.subtract(self.volume.array, before, dtype=np.float32))
        return self.volume.with_array(np.subtract(self.source.array, self.volume.array, dtype=np.float32))

    @property
    def features(self) -> Volume:
        """What a model that lifts features has found: a map, 0..1, float32, on the grid of the volume; 0 outside of a
        mask. The volume is the source plus strength times found.lift of the record times this map.

        Raises ValueError where there is no such map, see features_missing().
        """
        why = self.features_missing()
        if why:
            raise ValueError(f"features: {why}")
        lift = np.asarray(self.provenance["found"]["lift"], np.float64)  # a number, or one for each component
        change = np.subtract(self.volume.array, self.source.array, dtype=np.float64)
        found = change / np.maximum(lift * self.provenance["options"]["strength"], np.finfo(np.float64).tiny)
        return self.volume.with_array(np.clip(found, 0, 1).astype(np.float32))

    def features_missing(self) -> str:
        """Why there is no map of features, or ""."""
        if "lift" not in self.provenance.get("found", {}):
            return f"{self.provenance['model']['id']} gives no map of features; wanted a model that lifts features"
        if self.provenance["options"]["strength"] == 0:
            return "nothing was lifted at strength 0; wanted a strength above 0"
        if self.provenance["options"]["dtype"] != "float32":
            return "the values were rounded and clipped to the type of the input; wanted dtype float32"
        return ""

    @property
    def consistency(self) -> Volume:
        """Of super-resolution: how far the result, acquired as the input was, is from the input; float32 on the
        input's grid, in standard deviations of its noise, or parts of its range where no noise was found.

        Raises ValueError for another task, which keeps the grid.
        """
        enlarged = self.provenance.get("super_resolution")
        if not enlarged:
            raise ValueError(f"consistency: {self.provenance['model']['id']} keeps the grid; wanted super-resolution")
        found = Enlargement.from_record(enlarged, self.volume.geometry).difference(self.volume.array, self.source.array)
        unit = self.noise or float(np.ptp(self.source.array)) or 1.0
        return self.source.with_array(found / np.float32(unit))
