"""The physics that makes training pairs: a clean patch in, what a scanner would have given out.

Arrays are (k, j, i) float32, k being the slice axis. Every function draws from the numpy Generator that
it is given, so that a seed fixes a training run. MONAI's RandRicianNoise and RandGaussianNoise put one level on
the whole image and do not tell which; training needs the level at every voxel, so they do not serve here.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import fft, ndimage

from DLReconLib.degradations.dose import ct_dose_noise  # noqa: F401  (part of what this module offers)

Array = np.ndarray


@dataclass(frozen=True)
class Pair:
    """A training pair.

    noisy, clean: (k, j, i) float32 in the model's unit.
    sigma: (k, j, i) standard deviation of the noise where it is known, same unit.
    correlation: lag-1 autocorrelation of the noise in-plane, -1..1.
    magnitude: whether the noisy patch is a magnitude image.
    """

    noisy: Array
    clean: Array
    sigma: Array
    correlation: float
    magnitude: bool


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def smooth_field(shape: tuple[int, ...], rng: np.random.Generator, log_range: float) -> Array:
    """exp of a random trilinear field on a 3 x 3 x 3 grid, mean square 1: a g-factor map (Pruessmann 1999)."""
    coarse = rng.uniform(-log_range, log_range, (3, 3, 3))
    coordinates = np.meshgrid(*(np.linspace(0, 2, n) for n in shape), indexing="ij")
    field = np.exp(ndimage.map_coordinates(coarse, coordinates, order=1))
    return (field / np.sqrt(np.mean(field**2))).astype(np.float32)


def lag_one(noise: Array) -> float:
    """Lag-1 autocorrelation in-plane (mean over axes j and i) of zero-mean noise, weighted by its power."""
    power = np.mean(noise**2) + 1e-20
    along_j = np.mean(noise[:, 1:] * noise[:, :-1])
    along_i = np.mean(noise[:, :, 1:] * noise[:, :, :-1])
    return float(0.5 * (along_j + along_i) / power)


def kspace_window(shape: tuple[int, int], rng: np.random.Generator) -> Array:
    """In-plane k-space window of an interpolated image (zero-filled, perhaps apodised), (j, i // 2 + 1)."""
    keep = rng.uniform(0.5, 1.0, 2)
    soft = rng.uniform(0.02, 0.3)
    windows = [
        1 / (1 + np.exp((np.abs(f) * 2 - k) / (soft * 0.2)))
        for f, k in zip((fft.fftfreq(shape[0]), fft.rfftfreq(shape[1])), keep, strict=True)
    ]
    return np.outer(*windows)


def filter_in_plane(volume: Array, window: Array) -> Array:
    spectrum = fft.rfft2(volume, axes=(1, 2)) * window
    return fft.irfft2(spectrum, s=volume.shape[1:], axes=(1, 2)).astype(np.float32)


def mr_noise(clean: Array, rng: np.random.Generator, level: float | None = None) -> Pair:
    """Noise of an MR scanner on a clean patch (range about 0..1).

    Complex Gaussian noise before the magnitude gives Rician data (Gudbjartsson & Patz, MRM 1995, eq. 1),
    several coils the non-central chi; 40 % stay real-valued with Gaussian noise. The level is uniform in
    its logarithm from 0.5 to 18 % of the range (a tenth of that in 5 % of the patches; or the one given), it
    varies in space in half of the patches, and in 30 % it is correlated by k-space interpolation.
    """
    level = log_uniform(rng, 0.005, 0.18) * (0.1 if rng.random() < 0.05 else 1) if level is None else level
    kind = rng.choice(["gaussian", "rician", "chi"], p=[0.4, 0.5, 0.1])
    sigma = np.full(clean.shape, level, np.float32)
    if rng.random() < 0.5:
        sigma *= smooth_field(clean.shape, rng, 0.7)
    window = kspace_window(clean.shape[1:], rng) if rng.random() < 0.3 else None
    if window is not None and rng.random() < 0.5:
        clean = filter_in_plane(clean, window)

    def draw() -> Array:
        noise = rng.standard_normal(clean.shape, np.float32)
        if window is not None:
            noise = filter_in_plane(noise, window)
            noise /= noise.std() + 1e-12
        return noise

    real = draw()
    correlation = lag_one(real)
    real *= sigma
    if kind == "gaussian":
        return Pair(clean + real, clean, sigma, correlation, False)
    clean = np.maximum(clean, 0)
    power = (clean + real) ** 2 + (sigma * draw()) ** 2
    if kind == "chi":
        for _ in range(2 * int(rng.integers(1, 4))):
            power += (sigma * draw()) ** 2
    return Pair(np.sqrt(power), clean, sigma, correlation, True)


def remap_contrast(patch: Array, rng: np.random.Generator) -> Array:
    """Other contrasts of the same anatomy: a random smooth intensity curve on 0..1, inverted now and then."""
    knots = np.sort(np.concatenate([[0.0, 1.0], rng.uniform(0.05, 0.95, 3)]))
    values = rng.uniform(0, 1, 5)
    values = np.sort(values) if rng.random() < 0.4 else values
    values[0] *= rng.random() < 0.3
    curve = np.interp(np.linspace(0, 1.5, 256), knots, values)
    curve = ndimage.gaussian_filter1d(curve, 10, mode="nearest")
    return np.interp(patch, np.linspace(0, 1.5, 256), curve).astype(np.float32)


def painted_labels(labels: Array, rng: np.random.Generator) -> Array:
    """Synthetic anatomy: random mean and texture for each label, partial volume by blurring
    (Billot et al., "SynthSeg", Medical Image Analysis 2023, section 3.1); range about 0..1."""
    values, inverse = np.unique(labels, return_inverse=True)
    means = rng.uniform(0.05, 1, values.size)
    means[values == 0] *= rng.random() < 0.3
    spread = rng.uniform(0, 0.06, values.size) * (rng.random() < 0.8) * (means > 0)
    inverse = inverse.reshape(labels.shape)
    texture = rng.standard_normal(labels.shape, np.float32)
    texture = ndimage.gaussian_filter(texture, rng.uniform(0.6, 3))
    texture /= texture.std() + 1e-6
    image = means[inverse] + spread[inverse] * texture
    blur = rng.uniform(0.3, 0.8)
    return np.maximum(ndimage.gaussian_filter(image.astype(np.float32), blur), 0)


def kernel_window(shape: tuple[int, int], rng: np.random.Generator) -> Array:
    """Apodisation of the ramp by a reconstruction kernel, soft to sharp, (j, i // 2 + 1)."""
    radius = np.hypot(fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1])[None]) * 2
    cutoff, power = log_uniform(rng, 0.22, 1.4), rng.uniform(0.5, 3)
    window = np.exp(-((radius / cutoff) ** (2 * power)) * np.log(2))
    if rng.random() < 0.2:
        window *= 1 + rng.uniform(0, 1) * radius
    return window


def thin(pair: Pair, rng: np.random.Generator) -> Pair:
    """The pair as a stack of 1 to 4 slices, mirrored to its old depth: what a network sees of a thin volume."""
    depth, count = len(pair.noisy), int(rng.integers(1, 5))
    first = int(rng.integers(0, depth - count + 1))

    def cut(a: Array) -> Array:
        return np.pad(a[first : first + count], ((0, depth - count), (0, 0), (0, 0)), mode="symmetric")

    return replace(pair, noisy=cut(pair.noisy), clean=cut(pair.clean), sigma=cut(pair.sigma))


def ct_noise(clean: Array, fields: Array, rng: np.random.Generator, level: float | None = None) -> Pair:
    """Dose noise on a clean CT patch.

    Args:
        clean: (k, j, i) in 1000 HU above air (air 0, water 1).
        fields: (2, k, j, i) independent noise realisations of the same place, HU, Ram-Lak kernel.
        level: median standard deviation in HU after the kernel; default log-uniform 4 to 150, a tenth of it in 5 %.
    """
    level = log_uniform(rng, 4, 150) * (0.1 if rng.random() < 0.05 else 1) if level is None else level
    angle = rng.uniform(0, 2 * np.pi)
    noise = np.cos(angle) * fields[0] + np.sin(angle) * fields[1]
    noise = filter_in_plane(noise.astype(np.float32), kernel_window(clean.shape[1:], rng))
    if rng.random() < 0.3:  # overlapping slices share rays
        share = rng.uniform(0.1, 0.4)
        noise = ndimage.correlate1d(noise, [share, 1, share], axis=0, mode="nearest")
    local = np.sqrt(ndimage.uniform_filter(noise**2, (3, 9, 9), mode="nearest") + 1e-12)
    scale = level / 1000 / (np.median(local) + 1e-12)
    correlation = lag_one(noise)
    noisy = clean + noise * scale
    if rng.random() < 0.5:  # stored values end at -1024 HU
        noisy = np.maximum(noisy, -0.024)
    return Pair(noisy, clean, local * scale, correlation, False)
