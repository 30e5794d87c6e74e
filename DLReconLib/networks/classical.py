"""Classical filters with the parameters of the papers, behind one interface: (patch, sigma) -> patch.

patch: (k, j, i) float32, any unit. sigma: standard deviation of the noise in the same unit. The filters of
SimpleITK and scikit-image are used where they exist.
"""

import numpy as np
from scipy import ndimage

Array = np.ndarray


def non_local_means(patch: Array, sigma: float, strength: float = 0.8, radius: int = 3) -> Array:
    """Buades, Coll, Morel, CVPR 2005, with the weights of Darbon et al., ISBI 2008; h = strength * sigma."""
    from skimage.restoration import denoise_nl_means

    if sigma <= 0:
        return patch.copy()
    return denoise_nl_means(patch, 3, radius, strength * sigma, fast_mode=True, sigma=sigma)


def total_variation(patch: Array, sigma: float, weight: float = 1.0) -> Array:
    """Chambolle, J. Math. Imaging Vision 2004; the weight in units of sigma."""
    from skimage.restoration import denoise_tv_chambolle

    if sigma <= 0:
        return patch.copy()
    return denoise_tv_chambolle(patch, weight * sigma, max_num_iter=50)


def curvature_diffusion(patch: Array, sigma: float, iterations: int = 5, conductance: float = 2.0) -> Array:
    """Modified curvature diffusion, Whitaker & Xue, ICIP 2001, as in SimpleITK."""
    import SimpleITK as sitk

    # The time step is the largest stable one for three dimensions and unit spacing.
    image = sitk.GetImageFromArray(patch)
    smoothed = sitk.CurvatureAnisotropicDiffusion(image, 0.0625, conductance, 1, iterations)
    return sitk.GetArrayFromImage(smoothed)


def gaussian(patch: Array, sigma: float, voxels: float = 0.8) -> Array:
    return ndimage.gaussian_filter(patch, voxels, mode="nearest")


def median(patch: Array, sigma: float, size: int = 3) -> Array:
    return ndimage.median_filter(patch, size, mode="nearest")
