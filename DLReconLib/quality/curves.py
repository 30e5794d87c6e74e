"""Sharpness and noise by frequency, to be plotted: MTF and NPS of an image without a reference."""

from typing import Any

import numpy as np

from DLReconLib.quality import blocks, figures_of_blocks, middle_slices, tissue_of
from DLReconLib.quality.edges import find_edges, mtf
from DLReconLib.quality.spectrum import noise_spectrum, quiet_patches

Array = np.ndarray
PLANES = 16
EDGES = 400
FEWEST = 4  # patches of noise


def curves(array: Array, spacing: tuple[float, float, float], guide: Array | None = None) -> dict[str, Any]:
    """What plots.draw_mtf and draw_nps draw, of the middle of a volume; about a second.

    Args:
        array: (k, j, i), any unit. spacing: (i, j, k) mm.
        guide: array of the same shape, a cleaner version of the image, in which edges and quiet places are found; give
            the same one to compare versions.

    Returns {"mtf": {"frequency", "mtf", "nyquist"}, "nps": {"frequency", "power"}}, lists; cycles/mm and unit^2 mm^2
    (see edges.mtf and spectrum.noise_spectrum). A key is missing where the image has too few edges or no quiet place.
    Raises ValueError for an array that is not (k, j, i).
    """
    if array.ndim != 3:
        raise ValueError(f"curves: array of shape {array.shape}; wanted one component, (k, j, i)")
    slices, step, _ = middle_slices(array, spacing, None, PLANES)
    if not np.isfinite(slices).all() or slices.min() == slices.max():
        return {}
    model = slices if guide is None else middle_slices(guide, spacing, None, PLANES)[0]
    tissue = tissue_of(model)
    found: dict[str, Any] = {}
    noise = figures_of_blocks(*blocks(model, tissue), 0.0)["noise_sigma"]
    edges = find_edges(slices, step, noise or 0.0, None, EDGES, model)
    if edges is not None:
        frequency, curve = mtf(edges)
        found["mtf"] = {"frequency": frequency.tolist(), "mtf": curve.tolist(), "nyquist": 0.5 / edges.pixel}
    patches = quiet_patches(slices, tissue, model)
    if len(patches) >= FEWEST:
        spectrum = noise_spectrum(patches, step)
        found["nps"] = {"frequency": spectrum.frequency.tolist(), "power": spectrum.power.tolist()}
    return found
