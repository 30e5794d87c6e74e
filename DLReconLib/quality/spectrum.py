"""What the noise of an image is like: its power spectrum, where it is loud, how far it is correlated.

Stacks are (s, j, i), planes of an image in any unit; spacing is (j, i) in mm.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from DLReconLib.metrics import noise_sigma

Array = np.ndarray


@dataclass(frozen=True)
class NoiseSpectrum:
    """frequency: (f) cycles/mm, middles of the rings. power: (f) unit^2 mm^2. patches: (n, f) of each patch.
    modes: (f) Fourier modes in each ring. variance: (n) of each detrended patch, unit^2. spacing: (j, i) mm."""

    frequency: Array
    power: Array
    patches: Array
    modes: Array
    variance: Array
    spacing: tuple[float, float]

    def peak(self, weights: Array | None = None) -> float:
        """cycles/mm: where the power, smoothed over three rings, is highest."""
        curve = self.power if weights is None else weights @ self.patches / weights.sum()
        smooth = ndimage.uniform_filter1d(curve, 3, mode="nearest")
        return float(self.frequency[np.argmax(smooth)])

    def mean(self, weights: Array | None = None) -> float:
        """cycles/mm: the frequency averaged over the radial curve, weighted by the power (f_av, TG-233)."""
        curve = self.power if weights is None else weights @ self.patches / weights.sum()
        return float((curve * self.frequency).sum() / curve.sum())


def noise_spectrum(patches: Array, spacing: tuple[float, float]) -> NoiseSpectrum:
    """Radial noise power spectrum of patches (n, size, size) that hold noise alone:

        NPS(u, v) = dx dy / (Nx Ny) <|DFT(patch - its second-order surface)|^2>

    (ICRU Report 87; AAPM TG-233, Samei et al. 2019, averaged over rings of equal |f| up to the Nyquist frequency.) Its
    integral over the plane is the variance. The lowest ring is left out: the surface took its power.
    Raises ValueError for patches that are not square or smaller than 8 pixels.
    """
    if patches.ndim != 3 or patches.shape[1] != patches.shape[2] or patches.shape[1] < 8:
        raise ValueError(f"noise_spectrum: patches {patches.shape}; wanted (n, size, size), size 8 or more")
    size = patches.shape[1]
    noise = detrend(patches)
    power = np.abs(np.fft.fft2(noise)) ** 2 * spacing[0] * spacing[1] / size**2
    radius = np.hypot(np.fft.fftfreq(size, spacing[0])[:, None], np.fft.fftfreq(size, spacing[1])[None])
    ring = 1 / (size * max(spacing))
    index = np.rint(radius / ring).astype(int)
    rings = np.arange(2, int(0.5 / max(spacing) / ring) + 1)
    modes = np.array([np.count_nonzero(index == r) for r in rings], float)
    curves = np.stack([power[:, index == r].mean(axis=1) for r in rings], axis=1)
    # The middle of a ring is the mean of its modes, which is not quite its number at low frequencies.
    frequency = np.array([radius[index == r].mean() for r in rings])
    return NoiseSpectrum(frequency, curves.mean(axis=0), curves, modes, noise.var(axis=(1, 2)), spacing)


def detrend(patches: Array) -> Array:
    """(n, size, size) minus the second-order surface of least squares of each: what changes slowly is no noise."""
    size = patches.shape[1]
    j, i = np.meshgrid(*[np.linspace(-1, 1, size)] * 2, indexing="ij")
    basis = np.stack([np.ones_like(i), i, j, i * j, i**2, j**2]).reshape(6, -1)
    orthonormal = np.linalg.qr(basis.T)[0]
    flat = patches.reshape(len(patches), -1).astype(np.float64)
    return (flat - flat @ orthonormal @ orthonormal.T).reshape(patches.shape)


def quiet_patches(
    slices: Array, tissue: Array, guide: Array | None = None, size: int = 32, share: float = 0.2, fewest: int = 12
) -> Array:
    """(n, size, size): the quietest `share` of the patches (half overlapping) that lie in the tissue, at least
    `fewest` where there are so many; of half the size where not. Empty where none of 16 pixels fits.

    guide: another version of the stack, cleaner where there is one, whose quietest patches are taken. Where an image
    has no homogeneous part, its structure is taken for noise of low frequency.
    """
    model = slices if guide is None else guide
    while size >= 16:
        half = size // 2
        rows, columns = (range(0, n - size + 1, half) for n in slices.shape[1:])
        corners = [(s, j, i) for s in range(len(slices)) for j in rows for i in columns]
        inside = [c for c in corners if tissue[c[0], c[1] : c[1] + size, c[2] : c[2] + size].mean() > 0.98]
        if len(inside) >= fewest:
            cut = [(s, slice(j, j + size), slice(i, i + size)) for s, j, i in inside]
            patches, seen = (np.stack([a[c] for c in cut]).astype(np.float64) for a in (slices, model))
            order = np.argsort(detrend(seen).var(axis=(1, 2)), kind="stable")
            order = order[np.ptp(patches, axis=(1, 2))[order] > 0]
            return patches[order[: max(fewest, round(share * len(order)))]]
        size = half
    return np.zeros((0, 16, 16))


def local_noise(image: Array, size: int = 16, step: int = 16, mask: Array | None = None) -> Array:
    """Standard deviation of white noise in cubes of `size` voxels, `step` apart (see metrics.noise_sigma); NaN where
    too few details of a cube count (mask, padding of exact zeros)."""
    counts = [max(1, 1 + (n - size) // step) for n in image.shape]
    result = np.full(counts, np.nan)
    usable = image != 0 if mask is None else mask != 0
    for cell in np.ndindex(*counts):
        part = tuple(slice(c * step, c * step + size) for c in cell)
        if np.count_nonzero(usable[part]) >= 32 * 2 ** sum(n > 1 for n in image[part].shape):
            result[cell] = noise_sigma(image[part], usable[part])
    return result


def noise_map(image: Array, size: int = 16, mask: Array | None = None) -> Array:
    """Local standard deviation of white noise, of the image's shape, float32: local_noise() of cubes that overlap by
    half, joined linearly; where a cube has no answer the nearest one speaks. Raises ValueError where none has.
    """
    half = max(1, size // 2)
    coarse = local_noise(image, size, half, mask)
    known = np.isfinite(coarse)
    if not known.any():
        raise ValueError(f"noise_map: no cube of {size} voxels of the image {image.shape} has enough that counts")
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    coarse = coarse[tuple(nearest)].astype(np.float32)
    result = coarse
    for axis, n in enumerate(image.shape):  # separable linear interpolation between the middles of the cubes
        place = np.clip((np.arange(n) + 0.5 - half) / half, 0, coarse.shape[axis] - 1)
        low = np.floor(place).astype(int)
        high = np.minimum(low + 1, coarse.shape[axis] - 1)
        part = (place - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(image.ndim)])
        result = np.take(result, low, axis) * (1 - part) + np.take(result, high, axis) * part
    return result


def air_sigma(image: Array) -> float | None:
    """Noise of the two channels of a magnitude image from its background, where no signal is: sqrt(<x^2> / 2)
    (Rayleigh; Gudbjartsson & Patz, MRM 1995), over the darkest part: voxels below the first threshold of Otsu that
    lie at least three voxels from anything brighter.

    None where there is no such background, where it is padded with exact zeros, negative (not a magnitude), or not
    distributed as noise is (its mean is not within 0.04 of 0.886 of its root mean square).
    """
    from DLReconLib.quality.tissues import otsu

    if image.min() < 0:
        return None
    threshold = otsu(image, 2)[0]
    smooth = ndimage.uniform_filter(image.astype(np.float32), 3, mode="nearest")
    near = ndimage.binary_dilation(smooth > 0.7 * threshold, iterations=3)
    air = image[~near].astype(np.float64)
    if air.size < 500 or np.count_nonzero(air == 0) > 0.2 * air.size:
        return None
    square = np.sqrt(np.mean(air**2))
    return float(square / np.sqrt(2)) if abs(air.mean() / square - np.sqrt(np.pi) / 2) < 0.04 else None
