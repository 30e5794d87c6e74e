"""Which of several results is best, where nobody knows the truth?"""

import numpy as np
from scipy import ndimage

from DLReconLib.metrics import tissue_mask

Array = np.ndarray


def error_left(source: Array, result: Array, noise_before: float, noise_after: float) -> float:
    """An estimate of the RMSE of a denoised image, in its unit, without a reference.

    What is left of the noise and what was lost of the image add up: e^2 = s_after^2 + lost^2. What was removed,
    r = source - result, holds noise and lost image: mean(r^2) = (s_before^2 - s_after^2) + lost^2, where both are
    independent of each other. So a method that removes more than the noise is found out, and one that only blurs
    wins nothing. Counted where there is tissue (metrics.tissue_mask), after taking off the mean of r, a bias that
    magnitude images have. Noise that the method removed but that the estimate of noise_before did not see is taken
    for lost image.

    Args:
        source, result: (k, j, i), same shape. noise_before, noise_after: standard deviations, >= 0.

    Raises ValueError for shapes that differ.
    """
    if source.shape != result.shape:
        raise ValueError(f"error_left: source {source.shape} and result {result.shape}; wanted the same shape")
    # Chosen by a smooth image: by the noisy one, bright noise in air would be taken for tissue.
    tissue = tissue_mask(ndimage.uniform_filter(source.astype(np.float32), 3))
    removed = np.subtract(source, result, dtype=np.float32)[tissue]
    if not removed.size:
        return noise_after
    power = float(np.var(removed, dtype=np.float64))
    lost = max(0.0, power - max(0.0, noise_before**2 - noise_after**2))
    return float(np.sqrt(noise_after**2 + lost))
