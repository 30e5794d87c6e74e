"""Figures of image files."""

from pathlib import Path
from typing import Any

import numpy as np

from DLReconLib.io import read_volume
from DLReconLib.metrics import METRICS, cnr, noise_sigma, snr


def measure(
    image: Path, reference: Path | None = None, mask: Path | None = None, peak: float | None = None
) -> dict[str, Any]:
    """The figures of an image (scalar): noise sigma and SNR; against a reference the METRICS, with the data range
    used as "peak"; with a label image of two labels or more, the CNR of each pair.

    Raises ValueError where the files do not share a grid or are not scalar.
    """
    volume = read_volume(image)
    others = {"reference": reference and read_volume(reference), "mask": mask and read_volume(mask)}
    for name, other in {"image": volume, **others}.items():
        if other and other.components > 1:
            raise ValueError(f"{name} has {other.components} components; wanted a scalar image")
        shape = volume.array.shape[2::-1]
        same = other is None or other.geometry.matches(volume.geometry, 0.01 * min(volume.geometry.spacing), shape)
        if other and not (same and other.array.shape == volume.array.shape):
            raise ValueError(f"{name} lies on another grid than {image}; wanted the same; resample it first")
    chosen = others["mask"].array > 0 if others["mask"] else None
    figures: dict[str, Any] = {"noise_sigma": noise_sigma(volume.array, chosen), "snr": snr(volume.array, chosen)}
    if others["reference"]:
        truth = others["reference"].array
        figures["peak"] = float(np.percentile(truth, 99.9) - truth.min()) if peak is None else peak
        if not figures["peak"] > 0:
            raise ValueError(f"peak is {figures['peak']:g}; wanted a data range above 0; give --peak")
        figures |= {name: f(volume.array, truth, figures["peak"], chosen) for name, f in METRICS.items()}
    if others["mask"] and np.count_nonzero(np.unique(others["mask"].array) > 0) > 1:
        figures["cnr"] = cnr(volume.array, others["mask"].array)
    return figures
