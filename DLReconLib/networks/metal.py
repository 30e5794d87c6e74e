"""Metal in CT slices: found by its value, its shadow in the sinogram bridged.

Images are (k, j, i) float32, attenuation relative to water's (air 0, water 1), that is HU / 1000 + 1. The sinogram is
made from the image: scanners' own are seldom kept.
"""

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from DLReconLib.networks.context import Context
from DLReconLib.tomography import filtered_back_projection, project, view_angles

Array = np.ndarray
CERTAIN, LIKELY = 3.5, 3.0  # 2500 and 2000 HU: above cortical bone; implants of titanium and steel lie higher
CLIPPED = 4.071  # 3071 HU, where the values of many scanners end
AT_LEAST = 3  # certain voxels in a slice
PASSES = 2
MARGIN = 1  # pixels about the metal that are blurred with it
AT_ONCE = 8  # slices
SMALLEST = 16  # pixels: smaller slices have no streaks worth a sinogram
BONE, DENSE = 1.3, 2.5
TISSUE = 0.5


def find_metal(image: Array, certain: float = CERTAIN, likely: float = LIKELY) -> Array:
    """(k, j, i) bool: connected in a slice to `certain` voxels by `likely` ones. Slices with fewer than three certain
    voxels have none: single bright ones are noise."""
    metal = np.zeros(image.shape, bool)
    for k, slice_ in enumerate(image):
        seeds = slice_ > certain
        if np.count_nonzero(seeds) >= AT_LEAST:
            metal[k] = ndimage.binary_propagation(seeds, mask=slice_ > likely)
    return metal


def bridge(sinogram: Array, shadow: Array) -> Array:
    """Linear interpolation along the detectors over the shadow (Kalender et al., Radiology 1987)."""
    rows, hidden = sinogram.reshape(-1, sinogram.shape[-1]).copy(), shadow.reshape(-1, shadow.shape[-1])
    place = np.arange(rows.shape[1])
    for row in np.flatnonzero(hidden.any(1) & ~hidden.all(1)):
        gone = hidden[row]
        rows[row, gone] = np.interp(place[gone], place[~gone], rows[row, ~gone])
    return rows.reshape(sinogram.shape)


def prior_image(corrected: Array, metal: Array) -> Array:
    """Tissue classes of a first correction: air 0, soft tissue 1, bone as it is (Meyer et al. 2010, section II.B)."""
    smooth = ndimage.gaussian_filter(corrected, (0, 1, 1), mode="nearest")
    prior = np.where(smooth < TISSUE, 0, np.where(smooth < BONE, 1, np.minimum(smooth, DENSE)))
    prior[ndimage.binary_dilation(metal, np.ones((1, 3, 3)), MARGIN)] = 1
    return prior.astype(np.float32)


def correct_slices(
    image: Array, metal: Array, passes: int = PASSES, told: Callable[[float], None] = lambda fraction: None
) -> Array:
    """The slices as they would be without metal, and tissue in its place; (k, j, i).

    In the shadow of the metal the line integrals are interpolated from their neighbours: as they are, or their
    difference to those of a prior image (Bal & Spies, Med. Phys. 33, 2006; after Meyer et al., NMAR, Med. Phys. 37,
    2010, section II, who divide by them: at the edge of the body what streaks left in air would be divided by next to
    nothing). Only the change is reconstructed, so that nothing else loses sharpness.

    passes: with the prior image of what came out before; 0: as they are.
    """
    shape = image.shape[1:]
    angles = view_angles(int(np.clip(1.25 * max(shape), 90, 720)))
    wide = ndimage.binary_dilation(metal, np.ones((1, 3, 3)), MARGIN).astype(np.float32)
    both = project(np.concatenate([np.clip(image, 0, None), wide]), angles, lambda f: told(0.4 * f))
    measured, shadow = both[: len(image)], both[len(image) :] > 0.2

    def mended(bridged: Array) -> Array:
        change = np.where(shadow, bridged - measured, 0)
        return image + filtered_back_projection(change, angles, shape, "shepp-logan")

    corrected = mended(bridge(measured, shadow))
    for number in range(passes):
        begun, length = 0.4 + 0.6 * number / passes, 0.6 / passes
        prior = prior_image(corrected, metal)
        expected = project(prior, angles, lambda f, begun=begun, length=length: told(begun + length * f))
        corrected = mended(bridge(measured - expected, shadow) + expected)
    return corrected.astype(np.float32)


def metal_interpolation(
    image: Array, context: Context, passes: int = PASSES, certain: float = CERTAIN, likely: float = LIKELY
) -> Array:
    """The image without the streaks of metal, the metal itself kept as it is. What was found is noted as {"artifact",
    "metal_voxels", "metal_slices"}."""
    metal = find_metal(image, certain, likely)
    slices = np.flatnonzero(metal.any((1, 2)))
    context.notes["artifact"] = "metal" if len(slices) else "none"
    context.notes |= {"metal_voxels": int(metal.sum()), "metal_slices": len(slices)}
    output = image.copy()
    if min(image.shape[1:]) < SMALLEST:
        return output
    for start in range(0, len(slices), AT_ONCE):
        now = slices[start : start + AT_ONCE]

        def told(fraction: float, done: int = start) -> None:
            context.progress((done + AT_ONCE * fraction) / (len(slices) + AT_ONCE), f"slice {done + 1} with metal")

        output[now] = correct_slices(image[now], metal[now], passes, told)
    output[metal] = image[metal]
    return output
