"""How wrong may a voxel be? The spread of answers to the mirrored image, calibrated on images with a known answer.

A method that treats mirrored images alike should answer them alike; where it does not, it is unsure (test-time
augmentation, Wang et al., Neurocomputing 2019). That spread alone is far too small, since every pass sees the same
noise. So the variance of the error is

    (a v)^2 + (b n)^2

with v the spread over the passes, n the noise found (varied in space as the residual varies) and a, b fitted on
validation subjects so that 90 % of true errors lie within 1.645 standard deviations. The card holds them:
trust["uncertainty"] = {"a", "b", "sha256" of the weights they were fitted for}.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from DLReconLib.models import ModelCard

Array = np.ndarray
# Axes (of k, j, i) that are mirrored in each further pass.
FLIPS: tuple[tuple[int, ...], ...] = ((2,), (1,), (0, 1, 2))
PASSES = 1 + len(FLIPS)
BAND = 1.645  # standard deviations: 90 % of a normal distribution
AROUND = (3, 9, 9)


@dataclass(frozen=True)
class Calibration:
    """a, b: see above. fitted: whether they were fitted for these very weights, else they are a guess."""

    a: float
    b: float
    fitted: bool

    @classmethod
    def of_card(cls, card: ModelCard) -> "Calibration":
        """From the card; without one, a = 2 and b = 0.6, which are of the right order for a denoiser."""
        known = card.trust.get("uncertainty")
        if not known:
            return cls(2.0, 0.6, False)
        return cls(known["a"], known["b"], known["sha256"] == card.sha256)


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


def local_noise(removed: Array, noise: float) -> Array:
    """The noise found, (k, j, i), larger and smaller where the residual (k, j, i) is: between a third and three
    times the median."""
    size = tuple(min(n, s) for n, s in zip(removed.shape, AROUND, strict=True))
    power = ndimage.uniform_filter(removed.astype(np.float32) ** 2, size, mode="nearest")
    changed = power[power > 0]
    if not changed.size:
        return np.full(removed.shape, noise, np.float32)
    ratio = np.sqrt(power / float(np.median(changed)))
    return np.float32(noise) * np.clip(ratio, 1 / 3, 3)


def error_deviation(
    spread: Array, removed: Array, noise: float, calibration: Calibration, strength: float = 1.0
) -> Array:
    """Standard deviation of the error, (k, j, i) float32, unit of the image.

    Args:
        spread: of flip_spread(), of the answer at this strength.
        removed: (k, j, i) input minus output at this strength.
        noise: found by the method. strength: noise that was left in counts as an error.
    """
    local = local_noise(removed, noise)
    removed_well = (calibration.a * spread) ** 2 + (strength * calibration.b * local) ** 2
    return np.sqrt(removed_well + ((1 - strength) * local) ** 2).astype(np.float32)


def fit(errors: Sequence[Array], spreads: Sequence[Array], noises: Sequence[Array]) -> tuple[float, float]:
    """a and b for cases (one array of voxels each): for each ratio a / b, b such that 90 % of all errors lie in the
    band (the mean over cases); of those the pair whose cases differ least from 90 %, and from 68.3 % within 1."""
    best = (np.inf, 0.0, 0.0)
    for ratio in (0, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 12):
        units = [np.sqrt((ratio * s) ** 2 + n**2) + 1e-12 for s, n in zip(spreads, noises, strict=True)]
        scores = [np.abs(e) / u for e, u in zip(errors, units, strict=True)]
        low, high = 1e-3, 1e3
        for _ in range(40):
            b = np.sqrt(low * high)
            inside = np.mean([np.mean(s <= BAND * b) for s in scores])
            low, high = (b, high) if inside < 0.9 else (low, b)
        misses = [(np.mean(s <= BAND * b) - 0.9) ** 2 + 0.25 * (np.mean(s <= b) - 0.683) ** 2 for s in scores]
        best = min(best, (float(np.mean(misses)), ratio * b, b))
    return float(best[1]), float(best[2])
