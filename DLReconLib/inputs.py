"""What goes in: can anything good come of it, and what is it?"""

import numpy as np

from DLReconLib.models import ModelCard
from DLReconLib.volume import Volume

SMALLEST = 8
MOST_ANISOTROPIC = 100


def check_input(volume: Volume, mask: Volume | None) -> None:
    """Raises ValueError for an image that nothing good can come of, or a mask of another grid."""
    array, spacing = volume.array, volume.geometry.spacing
    if array.size == 0:
        raise ValueError(f"image of shape {array.shape} is empty; wanted voxels")
    large = sum(n >= SMALLEST for n in array.shape[:3])
    if large < 2:
        raise ValueError(
            f"image of {array.shape[2]} x {array.shape[1]} x {array.shape[0]} voxels is too small; wanted at least "
            f"{SMALLEST} voxels along two axes"
        )
    # The spacing of an axis of one voxel is often invented.
    counted = [s for s, n in zip(spacing, array.shape[2::-1], strict=True) if n > 1]
    if max(counted) / min(counted) > MOST_ANISOTROPIC:
        raise ValueError(
            f"image with spacing {spacing} mm: ratio above {MOST_ANISOTROPIC}; wanted voxels of comparable sides; "
            "is the spacing in the header right?"
        )
    if np.issubdtype(array.dtype, np.floating):
        bad = array.size - int(np.count_nonzero(np.isfinite(array)))
        if bad:
            raise ValueError(
                f"image has {bad} voxels that are NaN or infinite; wanted finite numbers; replace them first "
                "(for example by the value of air)"
            )
    if array.min() == array.max():
        raise ValueError(f"image is constant (every voxel is {array.flat[0]}); wanted an image with content")
    if mask is None:
        return
    if mask.array.shape != array.shape[:3]:
        raise ValueError(
            f"mask has shape {mask.array.shape[::-1]}, the image {array.shape[2::-1]}; wanted the grid of the image; "
            "resample the mask onto it"
        )
    if not volume.same_grid(mask):
        raise ValueError("mask lies elsewhere in the patient than the image; wanted the same grid; resample it")


def recognise(volume: Volume, asked: str) -> tuple[str, str]:
    """(DICOM code or "", why): what was asked for, else what the file says, else a guess by intensities."""
    if asked != "auto":
        return asked.upper(), "asked for"
    if volume.modality:
        return volume.modality.upper(), "the file says so"
    array = volume.array
    if array.ndim == 4:
        return "", "unknown: a colour or vector image"
    low, high = float(array.min()), float(array.max())
    if low <= -900 and high >= 100:
        return "CT", f"values from {low:.4g} to {high:.4g} look like HU"
    if array.dtype == np.uint8:
        return "", "unknown: 8-bit values"
    if np.count_nonzero(array < 0) <= 1e-3 * array.size:
        return "MR", f"values from {low:.4g} to {high:.4g}, hardly any negative: taken for a magnitude image"
    return "", f"unknown: values from {low:.4g} to {high:.4g}"


def advise(card: ModelCard, modality: str, why: str) -> list[str]:
    if modality in card.modalities or "*" in card.modalities:
        return []
    made, got = "/".join(card.modalities), modality or "of unknown modality"
    return [f"{card.id} is made for {made}, the image is {got} ({why}): do not trust the result"]
