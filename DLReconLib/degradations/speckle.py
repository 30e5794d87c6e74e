"""Fully developed speckle of B-mode ultrasound, log-compressed as on the screen.

Images are (j, i): j is depth (along the beam), i lateral.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, special

from DLReconLib.degradations import Array, log_uniform

DECIBEL = 10 / np.log(10)  # of the natural logarithm of an intensity


@dataclass(frozen=True)
class Scanner:
    """axial, lateral: standard deviation of the envelope of the separable point-spread function, in pixels.
    looks: independent images whose intensities are averaged (spatial or frequency compounding).
    dynamic: range of the display in dB, which becomes 0..1. blur: of the picture afterwards, pixels."""

    axial: float
    lateral: float
    looks: int = 1
    dynamic: float = 60.0
    blur: float = 0.0

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Scanner":
        axial = log_uniform(rng, 0.5, 1.8)
        looks = int(rng.choice([1, 2, 4, 8, 16], p=[0.4, 0.2, 0.15, 0.15, 0.1]))
        blur = rng.uniform(0, 1.2) if rng.random() < 0.5 else 0.0
        return cls(axial, axial * rng.uniform(0.8, 2.5), looks, rng.uniform(40, 85), blur)


def speckle(echo: Array, scanner: Scanner, rng: np.random.Generator) -> tuple[Array, Array]:
    """What the screen shows of tissue, and what it would show without speckle.

    Many scatterers in each resolution cell add up to a circular complex Gaussian field, whose standard deviation is
    the echogenicity; the pulse is a separable Gaussian (Wagner et al., IEEE Trans. Sonics Ultrasonics 1983, eq. 1-8;
    Meunier & Bertrand 1995). The envelope is Rayleigh, its intensity I = |h * (s g)|^2 exponential with the mean
    m = |h|^2 * s^2. The screen shows 10 log10 I. The target is its expected value, 10 log10 m + (psi(L) - ln L)
    10 / ln 10 for the mean of L looks (the mean of the logarithm of a gamma variable), -2.51 dB for L = 1: neither
    the brightness nor the resolution of the scanner is changed by taking the speckle away.

    Args:
        echo: (j, i) echogenicity, dB below the brightest that the screen can show (0 or less).

    Returns: image and target, (j, i) float32, 0..1, dark to bright.
    """
    deviation = 10 ** (echo / 20)
    widths = (scanner.axial, scanner.lateral)
    # |h|^2 of a Gaussian is one that is narrower by the square root of 2.
    mean = ndimage.gaussian_filter(deviation**2, [w / np.sqrt(2) for w in widths], mode="nearest")
    gain = 4 * np.pi * widths[0] * widths[1]  # makes the mean intensity that of the echo: 1 / sum of h^2
    intensity = np.zeros(echo.shape)
    for _ in range(scanner.looks):
        field = rng.standard_normal((2, *echo.shape)) * np.sqrt(0.5) * deviation
        real, imaginary = (ndimage.gaussian_filter(f, widths, mode="nearest") for f in field)
        intensity += gain * (real**2 + imaginary**2) / scanner.looks
    offset = special.digamma(scanner.looks) - np.log(scanner.looks)
    shown, target = (screen(np.log(np.maximum(i, 1e-12)), scanner) for i in (intensity, mean * np.exp(offset)))
    return shown, target


def screen(log_intensity: Array, scanner: Scanner) -> Array:
    """Natural logarithms of intensities as grey values 0..1, (j, i) float32."""
    grey = np.clip(DECIBEL * log_intensity / scanner.dynamic + 1, 0, 1).astype(np.float32)
    return ndimage.gaussian_filter(grey, scanner.blur, mode="nearest") if scanner.blur else grey


def tissue(shape: tuple[int, int], picture: Array | None, rng: np.random.Generator) -> Array:
    """Echogenicity (j, i) in dB, 0 or less: layers, cysts and nodules, bright interfaces, shadows; or a picture of
    anatomy (j, i) 0..1 as grey values, with shadows."""
    height, width = shape
    depth, lateral = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    if picture is not None:
        echo = -rng.uniform(25, 50) * (1 - np.clip(picture, 0, 1))
    else:
        echo = layers(depth, lateral, rng)
        for _ in range(int(rng.integers(0, 6))):
            echo = add_nodule(echo, depth, lateral, rng)
        for _ in range(int(rng.integers(0, 4))):
            echo = np.maximum(echo, interface(depth, lateral, rng))
    drift = ndimage.zoom(rng.uniform(-6, 0, (4, 4)), (height / 4, width / 4), order=1, grid_mode=True, mode="nearest")
    echo = echo + drift - rng.uniform(0, 12) * depth
    if rng.random() < 0.3:  # below something that absorbs
        centre, spread, start = rng.random(), rng.uniform(0.03, 0.2), rng.uniform(0, 0.7)
        beam = special.expit((spread - np.abs(lateral - centre)) / 0.02)
        echo = echo - rng.uniform(5, 25) * beam * special.expit((depth - start) / 0.02)
    return np.clip(echo - rng.uniform(0, 8), -90, 0)


def layers(depth: Array, lateral: Array, rng: np.random.Generator) -> Array:
    """Wavy bands of different brightness, with a texture along them."""
    echo = np.full(depth.shape, rng.uniform(-35, -10))
    for _ in range(int(rng.integers(0, 6))):
        wave = rng.uniform(0, 0.08) * np.sin(2 * np.pi * (rng.uniform(0.2, 2) * lateral + rng.random()))
        edge = 0.004 + 0.05 * rng.random() ** 3
        below = special.expit((depth - rng.random() - wave) / edge)
        echo = echo + below * (rng.uniform(-40, -5) - echo)
    texture = ndimage.gaussian_filter(rng.standard_normal(depth.shape), (rng.uniform(1, 4), rng.uniform(2, 12)))
    return echo + rng.uniform(0, 4) * texture / texture.std()


def add_nodule(echo: Array, depth: Array, lateral: Array, rng: np.random.Generator) -> Array:
    """A blob with a more or less even border: a cyst, a nodule, a vessel."""
    y, x = depth - rng.random(), lateral - rng.random()
    angle, radius, flat = rng.uniform(0, np.pi), log_uniform(rng, 0.03, 0.3), rng.uniform(0.4, 1)
    u, v = x * np.cos(angle) + y * np.sin(angle), (y * np.cos(angle) - x * np.sin(angle)) / flat
    around = np.arctan2(v, u)
    border = radius * (1 + rng.uniform(0, 0.2) * np.sin(int(rng.integers(2, 8)) * around + rng.uniform(0, 6.3)))
    inside = special.expit((border - np.hypot(u, v)) / (0.003 + 0.03 * rng.random() ** 2))
    return echo + inside * (rng.uniform(-60, -5) - echo)


def interface(depth: Array, lateral: Array, rng: np.random.Generator) -> Array:
    """A thin bright line between two tissues, dB."""
    wave = rng.uniform(0, 0.1) * np.sin(2 * np.pi * (rng.uniform(0.1, 1.5) * lateral + rng.random()))
    away = np.abs(depth - rng.random() - wave - rng.uniform(-0.5, 0.5) * (lateral - 0.5))
    ends = np.abs(lateral - rng.random()) < rng.uniform(0.1, 0.6)
    return np.where(ends, rng.uniform(-15, 0) - 30 * (away / log_uniform(rng, 0.004, 0.02)) ** 2, -90.0)
