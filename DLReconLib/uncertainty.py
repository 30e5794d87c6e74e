"""How wrong may a voxel be? The spread of answers to the mirrored image, calibrated on images with a known answer.

A method that treats mirrored images alike should answer them alike; where it does not, it is unsure (test-time
augmentation, Wang et al., Neurocomputing 2019). That spread alone is far too small, since every pass sees the same
noise. So the variance of the error is

    (a v)^2 + (b n)^2 + max(n^2 - r^2, 0)

with v the spread over the passes, n the noise, r the root mean square of what was removed: noise that was found and
not removed is still there. a and b are fitted on validation subjects so that 90 % of true errors lie within 1.645
standard deviations. The card holds them: trust["uncertainty"] = {"a", "b", "sha256" of the weights they belong to}.
Arrays are (k, j, i), k being the slice axis.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from DLReconLib.models import ModelCard
from DLReconLib.trust.views import MOST, air_limit, middle, noise_level

Array = np.ndarray
# Axes (of k, j, i) that are mirrored in each further pass.
FLIPS: tuple[tuple[int, ...], ...] = ((2,), (1,), (0, 1, 2))
PASSES = 1 + len(FLIPS)
BAND = 1.645  # standard deviations: 90 % of a normal distribution
AROUND = (3, 9, 9)
MISSED = 2.5


@dataclass(frozen=True)
class Calibration:
    """a, b: see above. fitted: whether they were fitted for these very weights, else they are a guess."""

    a: float
    b: float
    fitted: bool

    @classmethod
    def of_card(cls, card: ModelCard) -> "Calibration":
        """From the card; where it has none for its weights, a = 3.4 and b = 0.3, of the right order for a denoiser."""
        known = card.trust.get("uncertainty", {})
        if known.get("sha256") != card.sha256:
            return cls(3.4, 0.3, False)
        return cls(known["a"], known["b"], True)


def flip_spread(plane: Array, output: Array, again: Callable[[Array, int], Array]) -> Array:
    """Standard deviation over the passes, (k, j, i) float32, unit of the image.

    Args:
        plane: (k, j, i) the input. output: (k, j, i) the answer to it.
        again: (mirrored input, number of the pass) -> answer. One pass after the other: two volumes of memory.
    """
    mean = output.astype(np.float32)
    squares = np.zeros_like(mean)
    for number, axes in enumerate(FLIPS, 1):
        answer = np.flip(again(np.flip(plane, axes), number), axes)
        step = answer - mean
        mean = mean + step / (number + 1)
        squares += step * (answer - mean)
    return np.sqrt(squares / len(FLIPS))


@dataclass(frozen=True)
class Noise:
    """found: standard deviation of the noise; left: of that part which was not removed; (k, j, i), unit of the
    image."""

    found: Array
    left: Array


def noise_maps(source: Array, removed: Array, noise: float, card: ModelCard) -> Noise:
    """Maps of the noise, larger and smaller where the residual is: between a third and three times the median.

    Args:
        source, removed: (k, j, i) the input, and what full strength takes from it.
        noise: as the method found it. Where an independent estimate is MISSED times as large, the method did not
            see most of the noise, and the estimate counts.
    """
    removed = removed.astype(np.float32)
    size = tuple(min(n, s) for n, s in zip(removed.shape, AROUND, strict=True))
    power = ndimage.uniform_filter(removed**2, size, mode="nearest")
    smooth = ndimage.gaussian_filter(source.astype(np.float32), (0, 1, 1), mode="nearest")
    tissue = smooth > air_limit(smooth, card, noise)
    inside = tissue if tissue.any() else np.ones_like(tissue)
    part = middle(source.shape, MOST)
    independent = noise_level(source[part].astype(np.float32), inside[part])
    level = independent if independent > MISSED * noise else noise
    typical = float(np.median(power[inside])) or float(power.max())
    ratio = np.clip(np.sqrt(power / typical), 1 / 3, 3) if typical else np.ones_like(power)
    left = np.sqrt(max(level**2 - float(np.mean(removed[inside] ** 2)), 0.0))
    return Noise(np.float32(level) * ratio, np.float32(left) * ratio)


def error_deviation(spread: Array, noise: Noise, calibration: Calibration, strength: float = 1.0) -> Array:
    """Standard deviation of the error, (k, j, i) float32, unit of the image.

    Args:
        spread: of flip_spread(), of the answer at this strength.
        strength: noise that was left in on purpose counts as an error.
    """
    power = (calibration.a * spread) ** 2 + ((1 - strength) * noise.found) ** 2
    return np.sqrt(power + strength**2 * ((calibration.b * noise.found) ** 2 + noise.left**2)).astype(np.float32)


def fit(errors: Sequence[Array], spreads: Sequence[Array], noises: Sequence[Noise]) -> tuple[float, float]:
    """a and b for cases (one array of voxels each): those whose cases differ least from 90 % of the errors in the
    band, in the mean square. Searched on a grid; every seventh voxel counts."""
    best = (np.inf, 0.0, 0.0)
    for a in np.arange(0, 10.1, 0.4):
        for b in np.arange(0, 1.01, 0.04):
            misses = []
            for error, spread, noise in zip(errors, spreads, noises, strict=True):
                deviation = np.sqrt((a * spread[::7]) ** 2 + (b * noise.found[::7]) ** 2 + noise.left[::7] ** 2)
                misses.append((np.mean(np.abs(error[::7]) <= BAND * deviation) - 0.9) ** 2)
            best = min(best, (float(np.mean(misses)), float(a), float(b)))
    return best[1], best[2]
