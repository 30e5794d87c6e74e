"""What is there to say of voxels that nobody measured."""

import numpy as np
from scipy import ndimage

from DLReconLib.trust import Reason

FAR = 10.0  # mm from the nearest known voxel: beyond, anything may have been there


def invention(mask: np.ndarray, spacing: tuple[float, float, float]) -> tuple[dict, Reason]:
    """Of a hole that was filled: figures for the record {"voxels", "share", "farthest_mm"}, and a reason that is
    never green.

    mask: (k, j, i), not 0 in the hole, but not everywhere; spacing: (i, j, k) in mm.
    """
    hole = mask != 0
    count = int(np.count_nonzero(hole))
    # Only the box around the hole is looked at, and a voxel around it, where the known ones lie.
    box = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in ndimage.find_objects(hole.astype(np.uint8))[0])
    part = hole[box]
    depth = ndimage.distance_transform_edt(part, sampling=spacing[::-1]) if not part.all() else np.full(1, np.inf)
    farthest = float(depth.max())
    found = {"voxels": count, "share": count / hole.size, "farthest_mm": farthest}
    text = (
        f"{count} voxels ({100 * count / hole.size:.2g} %) were invented, the farthest {farthest:.1f} mm from a known "
        "one: what was there cannot be known."
    )
    return found, Reason("invented", "red" if farthest > FAR else "amber", farthest, FAR, text)
