"""What one answer is worth."""

from dataclasses import asdict, dataclass

import numpy as np
from cases import Array, Case
from scipy import ndimage

from DLReconLib.metrics import psnr, ssim


@dataclass(frozen=True)
class Score:
    """psnr: dB over the mask. ssim: mean over the mask; three-dimensional, slice by slice below 11 slices.
    shift: |mean(output) - mean(reference)| over the homogeneous voxels, in the unit of the image.
    moved: the same against the input instead of the reference: what the method itself did.
    structure: correlation of what was removed with the detail of the reference: 0 if only noise was removed.
    further: PSNR before the other judges of the case.
    """

    psnr: float
    ssim: float | None = None
    shift: float | None = None
    moved: float | None = None
    structure: float | None = None
    further: dict[str, float] | None = None

    def as_dict(self) -> dict:
        return asdict(self)


def score(output: Array, case: Case, quick: bool = False) -> Score:
    """quick: PSNR only, to choose a setting."""
    reached = psnr(output, case.reference, case.peak, case.mask)
    if quick:
        return Score(reached)
    shift = moved = None
    if case.flat is not None and case.flat.any():
        mean, wanted, given = (a[case.flat].mean(dtype=np.float64) for a in (output, case.reference, case.volume.array))
        shift, moved = float(abs(mean - wanted)), float(abs(mean - given))
    further = {name: psnr(output, reference, case.peak, mask) for name, reference, mask in case.judges}
    return Score(reached, local_ssim(output, case), shift, moved, structure(output, case), further or None)


def local_ssim(output: Array, case: Case) -> float | None:
    if case.only_inside:
        return None
    if min(output.shape) >= 11:
        return ssim(output, case.reference, case.peak, case.mask)
    slices = [k for k in range(len(output)) if case.mask[k].any()]
    values = [ssim(output[k], case.reference[k], case.peak, case.mask[k]) for k in slices]
    return float(np.average(values, weights=[case.mask[k].sum() for k in slices]))


def structure(output: Array, case: Case) -> float | None:
    """Correlation of (input - output) with the reference minus its Gaussian of 2 pixels in-plane, over the mask.

    Negative values: detail was added instead of removed."""
    removed = (case.volume.array - output)[case.mask].astype(np.float64)
    detail = (case.reference - ndimage.gaussian_filter(case.reference, (0, 2, 2)))[case.mask].astype(np.float64)
    if removed.std() == 0 or detail.std() == 0:
        return None
    return float(np.corrcoef(removed, detail)[0, 1])
