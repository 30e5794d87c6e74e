"""Streaks of sparse views in CT slices: a first guess by total variation, as strong as they are.

Images are (k, j, i) float32, attenuation relative to water's, that is HU / 1000 + 1.
"""

import numpy as np

from DLReconLib.networks.context import Context
from DLReconLib.networks.ct_signs import SPOKES, spokes

Array = np.ndarray
BODY = 0.5


def streak_level(slice_: Array) -> float:
    """Standard deviation of what alternates from pixel to pixel in the body of a (j, i) slice, by the median of
    second differences along both axes (Immerkaer, CVIU 64, 1996, with a median in place of the mean)."""
    rows = slice_[:-2] - 2 * slice_[1:-1] + slice_[2:]
    both = rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]
    inside = slice_[1:-1, 1:-1] > BODY
    both = both[inside] if np.count_nonzero(inside) > 64 else both
    return float(np.median(np.abs(both)) / (0.6745 * 6)) if both.size else 0.0


def weight(slice_: Array, factor: float = 1.0) -> float:
    """Of total variation, for a (j, i) slice: the level of its streaks times `factor`, more where the spectrum shows
    that there are few views for its size. The broader the streaks are, the less of them alternates from pixel to
    pixel; the rule was fitted to the training slices."""
    clear, views = spokes(slice_)
    more = np.clip(1.3 * (0.35 * max(slice_.shape) / views) ** 2, 0.4, 5) if clear > SPOKES else 0.4
    return float(max(factor * more * streak_level(slice_), 1e-6))


def smooth_streaks(slice_: Array, factor: float = 1.0) -> Array:
    """Total variation (Chambolle, J. Math. Imaging Vision 2004) of a (j, i) slice with its own weight."""
    from skimage.restoration import denoise_tv_chambolle

    return denoise_tv_chambolle(slice_, weight(slice_, factor), max_num_iter=40)


def streak_tv(image: Array, context: Context, factor: float = 1.0) -> Array:
    """The image with weaker streaks, slice by slice; a smaller factor takes less."""
    output = np.empty_like(image)
    for k, slice_ in enumerate(image):
        context.progress(k / len(image), f"slice {k + 1} of {len(image)}")
        output[k] = smooth_streaks(slice_, factor)
    return output
