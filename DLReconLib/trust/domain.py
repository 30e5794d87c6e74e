"""Is the input like the images that the model was trained on?

Figures of an image (histogram, noise, spectrum, gradients) are compared with those of training images as the model
saw them: the distance to the nearest of these, after the figures were made uncorrelated (Mahalanobis), over the
distance that training images keep from those of other subjects. The statistics lie in the card, trust["domain"];
they depend on the training images only, not on the weights. Arrays are (k, j, i), k being the slice axis.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from DLReconLib.models import ModelCard
from DLReconLib.transforms import LinearIntensity
from DLReconLib.trust.views import TINY, binned, middle, noise_level

Array = np.ndarray
MOST = 400_000
TEXTS = {
    "low": "its 1st percentile, in the unit of the model, is {value:.2f}",
    "dark": "its 10th percentile, in the unit of the model, is {value:.2f}",
    "median": "the median of its tissue, in the unit of the model, is {value:.2f}",
    "high": "its 99.9th percentile, in the unit of the model, is 10^{value:.2f}",
    "width": "its values from dark to bright span 10^{value:.2f} units of the model",
    "negative": "{value:.2f} of its voxels are negative",
    "water": "{value:.2f} of its tissue has the value of soft tissue",
    "noise": "its noise is 10^{value:.2f} of its range",
    "level": "its noise is 10^{value:.2f} units of the model",
    "entropy": "its histogram has an entropy of {value:.2f} bits",
    "fine": "its spectrum falls by 10^{value:.2f} at the finest scale",
    "coarse": "its spectrum falls by 10^{value:.2f} at the second scale",
    "edges": "its gradients have a tail of 10^{value:.2f}",
    "equal": "{value:.2f} of its neighbouring tissue voxels are exactly equal",
    "slices": "neighbouring slices correlate by {value:.2f}",
    "lines": "its two in-plane axes differ by 10^{value:.2f} in sharpness",
}


@dataclass(frozen=True)
class Domain:
    """score: distance from the training images; above 1 it is larger than 99 % of them keep from one another.
    feature, value: what is most unlike them. low, high: range of that feature in training."""

    score: float
    feature: str
    value: float
    low: float
    high: float

    @property
    def text(self) -> str:
        found = TEXTS[self.feature].format(value=self.value)
        return f"{found}, in training {self.low:.2f} to {self.high:.2f}"


def features(array: Array, card: ModelCard) -> dict[str, float]:
    """The figures of an image (k, j, i), by the names of TEXTS; of its middle where it is large."""
    unit = LinearIntensity.of_card(card, array)
    part = array[middle(array.shape, MOST)]
    part = unit(np.clip(part, *card.reach) if card.reach else part)
    smooth = binned(part, (1, 2, 2)) if min(part.shape[1:]) >= 16 else part
    low, dark, high = (float(v) for v in np.percentile(smooth, (1, 10, 99.9)))
    air = 0.08 if card.offset else low + 0.1 * (high - low)
    tissue = smooth > air
    inside = smooth[tissue] if tissue.any() else smooth.ravel()
    full = part > air
    spread = noise_level(part, full)
    found = {"low": low, "dark": dark, "median": float(np.median(inside)), "high": _log(high, 1e-3)}
    found["width"] = _log(high - dark, 1e-3)
    found["noise"] = float(np.log10(spread / (high - low + TINY) + 1e-4))
    if card.offset:
        found["water"] = float(np.mean(np.abs(inside - 1) < 0.15))
        found["level"] = float(np.log10(spread + 1e-4))
    else:
        found["negative"] = float(np.mean(smooth < -0.05))
    least, most = float(inside.min()), float(np.percentile(inside, 99.5))
    counts = np.histogram(inside, 64, (least, max(most, least + 1e-3)))[0] / inside.size
    found["entropy"] = float(-(counts[counts > 0] * np.log2(counts[counts > 0])).sum())
    return found | _gradients(part, smooth, full)


def _gradients(part: Array, smooth: Array, full: Array) -> dict[str, float]:
    inside = full[:, 1:, 1:] & full[:, :-1, :-1]
    steps = [np.abs(part[:, 1:, 1:] - part[:, :-1, 1:])[inside], np.abs(part[:, 1:, 1:] - part[:, 1:, :-1])[inside]]
    if steps[0].size < 100:
        steps = [np.abs(np.diff(part, axis=a)).ravel() for a in (1, 2)]
    bands = [
        _energy(part),
        _energy(smooth),
        _energy(binned(smooth, (1, 2, 2)) if min(smooth.shape[1:]) >= 8 else smooth),
    ]
    coarse = ndimage.gaussian_gradient_magnitude(smooth, (0, 1, 1))
    tail = float(np.percentile(coarse, 99)) / (float(np.median(coarse)) + 1e-3)
    between = np.corrcoef(smooth[:-1].ravel(), smooth[1:].ravel())[0, 1] if len(smooth) > 1 and np.ptp(smooth) else 1.0
    return {
        "fine": float(np.log10((bands[1] + 1e-6) / (bands[0] + 1e-6))),
        "coarse": float(np.log10((bands[2] + 1e-6) / (bands[1] + 1e-6))),
        "edges": float(np.log10(tail + TINY)),
        "equal": float(np.mean(np.concatenate(steps) == 0)),
        "slices": float(np.nan_to_num(between)),
        "lines": float(abs(np.log10((np.mean(steps[0]) + 1e-6) / (np.mean(steps[1]) + 1e-6)))),
    }


def _log(value: float, least: float) -> float:
    return float(np.log10(max(value, least)))


def _energy(image: Array) -> float:
    return float(np.mean(np.diff(image, axis=1) ** 2) + np.mean(np.diff(image, axis=2) ** 2))


def summarise(rows: list[tuple[str, dict[str, float]]], points: int = 64) -> dict[str, Any]:
    """What the card keeps of (subject, features) of training images.

    mean, white: x becomes white @ (x - mean), uncorrelated. points: so many training images in these coordinates,
    each the farthest from those before it (Gonzalez, 1985). limit: 99 % of training images are nearer to a point of
    another subject. low, high: range of each feature.
    """
    names = list(rows[0][1])
    table = np.array([[row[n] for n in names] for _, row in rows])
    subjects = np.array([subject for subject, _ in rows])
    mean, scale = table.mean(0), table.std(0) + 0.02
    covariance = np.cov(((table - mean) / scale).T) + 0.05 * np.eye(len(names))
    white = np.linalg.inv(np.linalg.cholesky(covariance)) / scale
    spots = (table - mean) @ white.T
    chosen = [int(np.linalg.norm(spots, axis=1).argmin())]
    nearest = np.full(len(spots), np.inf)
    while len(chosen) < min(points, len(spots)):
        nearest = np.minimum(nearest, np.linalg.norm(spots - spots[chosen[-1]], axis=1))
        chosen.append(int(nearest.argmax()))
    apart = np.linalg.norm(spots[:, None] - spots[chosen][None], axis=2)
    apart[subjects[:, None] == subjects[chosen][None]] = np.inf
    return {
        "features": names,
        "mean": _row(mean, 4),
        "white": [_row(row, 3) for row in white],
        "points": [_row(row, 2) for row in spots[chosen]],
        "limit": round(float(np.quantile(apart.min(1), 0.99)), 3),
        "low": _row(table.min(0), 3),
        "high": _row(table.max(0), 3),
        "images": len(rows),
    }


def _row(values: Array, digits: int) -> str:
    """Numbers by spaces: a card stays readable, however it is indented."""
    return " ".join(f"{round(float(v), digits):g}" for v in values)


def _numbers(row: str | list[str]) -> Array:
    return np.array([float(n) for n in row.split()] if isinstance(row, str) else [_numbers(r) for r in row])


def distance(array: Array, card: ModelCard) -> Domain | None:
    """How far an image (k, j, i) is from those in the card; None where the card has no statistics."""
    known = card.trust.get("domain")
    if not known:
        return None
    return measure(features(array, card), known)


def measure(found: dict[str, float], known: dict[str, Any]) -> Domain:
    """The distance of an image with these features; known: as summarise() gives it."""
    values = np.array([found[n] for n in known["features"]])
    low, high = _numbers(known["low"]), _numbers(known["high"])
    here = _numbers(known["white"]) @ (values - _numbers(known["mean"]))
    score = float(np.linalg.norm(_numbers(known["points"]) - here, axis=1).min()) / known["limit"]
    middle_off = np.abs(values - (low + high) / 2) / ((high - low) / 2 + 0.02)
    worst = int(middle_off.argmax())
    return Domain(score, known["features"][worst], float(values[worst]), float(low[worst]), float(high[worst]))
