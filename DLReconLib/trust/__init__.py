"""The trust light: how far to believe a result, and why.

judge() looks at what went in and what came out, never into the method, so that every method is judged alike. Each
check gives a number; it is green within the range of good runs on training and validation subjects, which
Testing/Benchmarks/trust.py finds for every model and tests on other subjects. Green says that no check found
anything: it is no proof that nothing is wrong.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from DLReconLib.models import ModelCard
from DLReconLib.transforms import SlicesFirst
from DLReconLib.trust import residuals, tasks
from DLReconLib.trust.domain import distance
from DLReconLib.trust.views import TINY, Pair, Views, air_limit, noise_level, views
from DLReconLib.volume import Volume

Array = np.ndarray
GREEN, AMBER, RED = "green", "amber", "red"
# check: lowest and highest value of good runs; beyond is amber, beyond by the larger of both again is red. A card's
# own, card.trust["limits"], come first where they were found with the card's weights.
LIMITS: dict[str, tuple[float, float]] = {
    "range": (0.0, 0.1),
    "clipped": (0.0, 0.002),
    "bound": (0.0, 12.0),
    "edges": (-0.4, 1.5),
    "shift": (-0.5, 0.5),
    "mean": (-0.4, 0.1),
    "level": (-0.9, 0.7),
    "strength": (0.0, 1.4),
    "weak": (0.0, 2.5),
    "left": (-1.0, 0.8),
    "noise": (-1.7, 1.0),
    "colour": (0.0, 12.0),
    "lines": (0.0, 0.15),
    "equal": (0.0, 0.1),
    "structure": (0.0, 2.2),
    "seam": (0.0, 1.8),
    "untouched": (0.0, 0.1),
    "domain": (0.0, 1.0),
    # Of the other tasks, see tasks.py.
    "outside": (0.0, 0.0),
    "size": (0.0, 0.35),
    "drift": (-0.1, 0.1),
    "blur": (-0.9, 1.1),
    "pattern": (-0.5, 1.5),
    "field": (0.0, 0.04),
    "depth": (0.0, 2.5),
    "reach": (0.0, 1.0),
    "order": (0.0, 0.01),
    "lost": (0.0, 0.05),
    "louder": (0.0, 3.0),
    "rim": (0.0, 2.5),
}


@dataclass(frozen=True)
class Reason:
    """One check: its light, the number found, the limit of green that is nearest to it, and a sentence; value and
    limit None where a check has none."""

    check: str
    light: str
    value: float | None
    limit: float | None
    text: str


@dataclass(frozen=True)
class Trust:
    """light: the worst of the reasons'. reasons: all checks that could be made, the worst first."""

    light: str
    reasons: tuple[Reason, ...]

    @classmethod
    def of(cls, found: list[Reason]) -> "Trust":
        """Of a check that was made more than once, of several components, the worst counts."""
        worst: dict[str, Reason] = {}
        for reason in found:
            if reason.check not in worst or _rank(reason) > _rank(worst[reason.check]):
                worst[reason.check] = reason
        reasons = tuple(sorted(worst.values(), key=_rank, reverse=True))
        return cls(reasons[0].light if reasons else GREEN, reasons)

    def joined(self, others: tuple[Reason, ...]) -> "Trust":
        """With further reasons."""
        reasons = tuple(sorted((*self.reasons, *others), key=_rank, reverse=True))
        return Trust(max((self.light, *(r.light for r in others)), key=(GREEN, AMBER, RED).index), reasons)

    def to_dict(self) -> dict[str, Any]:
        return {"light": self.light, "reasons": [asdict(r) for r in self.reasons]}


def judge(
    source: Volume, result: Volume, card: ModelCard, noise: float, *, strength: float = 1.0, mask: Array | None = None,
    modality: str | None = None,
) -> Trust:  # fmt: skip
    """Judge a denoised volume.

    Args:
        source, result: what went in and what came out; (k, j, i), or with components, of which the worst counts.
        card: of the method that is said to have made it.
        noise: standard deviation of the noise that it found, in the unit of the image.
        strength: the share of the residual that was taken away.
        mask: (k, j, i), 0 where nothing was to be changed.
        modality: DICOM code of the input, "" where it is unknown; None: not judged.

    Only numpy and scipy are used; about a second for 256 x 256 x 256 voxels.
    """
    broken = _broken(source, result)
    if broken:
        return Trust(RED, (broken,))
    planes = [np.newaxis] if source.array.ndim == 3 else range(source.array.shape[3])
    found = [] if modality is None or "*" in card.modalities else [_modality(modality, card)]
    for plane in planes:
        whole = slice(None) if plane is np.newaxis else (..., plane)
        found += _judge_plane(source, source.array[whole], result.array[whole], card, noise, strength, mask)
    return Trust.of(found)


def judge_change(
    source: Volume, result: Volume, card: ModelCard, noise: float, *, strength: float = 1.0, mask: Array | None = None,
    modality: str | None = None,
) -> Trust:  # fmt: skip
    """Judge a result of a task whose change is not noise: grid, modality, values out of range, and what tasks.py
    looks at. Arguments as for judge()."""
    broken = _broken(source, result)
    if broken:
        return Trust(RED, (broken,))
    found = [] if modality is None or "*" in card.modalities else [_modality(modality, card)]
    make = _maker(card)
    if card.task != "contrast":  # which maps the values anew
        found.append(_clipped(source.array, result.array, make))
    if card.task != "contrast" and card.artifacts != ("bias",):
        found.append(_range(source.array, result.array, make))
    first = SlicesFirst.of_grid(source.geometry, source.array.shape[:3])
    names = ["k", "j", "i"]
    names.insert(0, names.pop(first.axis))
    inside = None if mask is None else first(mask)
    for plane in [...] if source.array.ndim == 3 else [(..., n) for n in range(source.array.shape[3])]:
        a, b = (np.asarray(first(v.array[plane]), np.float32) for v in (source, result))
        found += tasks.checks(a, b, card, noise, strength, inside, make, tuple(names))
    return Trust.of(found)


def structure_map(source: Volume, result: Volume, card: ModelCard, noise: float) -> Volume:
    """Where structure was taken away (above 0) or added (below 0), in units of the noise, on the grid of the source;
    0 where the change looks like noise. Arguments as for judge(); one component. Raises ValueError for more."""
    if source.array.ndim != 3:
        raise ValueError(f"structure map: image of shape {source.array.shape}; wanted one component, (k, j, i)")
    first = SlicesFirst.of_grid(source.geometry, source.array.shape)
    a, b = (np.asarray(first(v.array), np.float32) for v in (source, result))
    tissue = ndimage.gaussian_filter(a, (0, 1, 1), mode="nearest") > air_limit(a, card, noise)
    found = residuals.structure(Pair(a, b, noise_level(a, tissue), tissue))
    return source.with_array(np.ascontiguousarray(first.inverse(found)))


def _rank(reason: Reason) -> int:
    return (GREEN, AMBER, RED).index(reason.light)


def _broken(source: Volume, result: Volume) -> Reason | None:
    """What needs no measuring: another grid, or values that are no numbers."""
    if result.array.shape != source.array.shape:
        text = f"The result has {result.array.shape} voxels, the input {source.array.shape}."
        return Reason("grid", RED, None, None, text)
    if not source.same_grid(result):
        return Reason("grid", RED, None, None, "The result lies elsewhere in the patient than the input.")
    bad = int(result.array.size - np.count_nonzero(np.isfinite(result.array)))
    if bad:
        return Reason("values", RED, float(bad), 0.0, f"{bad} voxels of the result are NaN or infinite.")
    return None


def _judge_plane(
    volume: Volume, source: Array, result: Array, card: ModelCard, noise: float, strength: float, mask: Array | None
) -> list[Reason]:
    first = SlicesFirst.of_grid(volume.geometry, source.shape)
    a, b = first(source), first(result)
    seen = views(a, b, None if mask is None else first(mask), card, noise)
    near, make = seen.near, _maker(card)
    checks = [_range(a, b, make), _clipped(a, b, make), _bound(near, make), *_edges(near, make), *_level(near, make)]
    checks += [*_amount(near, noise, strength, make), *_texture(near, make), *_structure(seen, first, make)]
    checks.append(_seam(seen, first, make))
    if strength > 0 and mask is None:
        checks.append(_untouched(near, make))
    far_off = distance(a, card)
    if far_off is not None:
        text = f"The input is {far_off.score:.1f} times as far from the training images as it may be: {far_off.text}."
        checks.append(make("domain", far_off.score, text))
    return checks


def _maker(card: ModelCard) -> Callable[[str, float, str], Reason]:
    fitted = card.trust.get("weights") == card.sha256  # limits of other weights say nothing
    known = {**LIMITS, **(card.trust.get("limits", {}) if fitted else {})}

    def make(check: str, value: float, text: str) -> Reason:
        low, high = known[check]
        beyond, room = max(low - value, value - high), max(abs(low), abs(high))
        light = GREEN if beyond <= 0 else AMBER if beyond <= room else RED
        return Reason(check, light, float(value), low if value < (low + high) / 2 and low != 0 else high, text)

    return make


def _modality(modality: str, card: ModelCard) -> Reason:
    made = "/".join(card.modalities)
    if modality in card.modalities:
        return Reason("modality", GREEN, None, None, f"The model is made for {made}.")
    light, what = (RED, modality) if modality else (AMBER, "of unknown modality")
    return Reason("modality", light, None, None, f"The model is made for {made}, the image is {what}.")


def _range(source: Array, result: Array, make: Callable) -> Reason:
    low, high = float(source.min()), float(source.max())
    beyond = max(low - float(result.min()), float(result.max()) - high, 0.0)
    width = max(high - low, TINY)
    return make("range", beyond / width, f"Values reach {100 * beyond / width:.0f} % of the range beyond the input's.")


def _clipped(source: Array, result: Array, make: Callable) -> Reason:
    more = max(
        np.mean(result == getattr(result, end)()) - np.mean(source == getattr(source, end)()) for end in ("min", "max")
    )
    return make("clipped", max(0.0, float(more)), f"{100 * max(more, 0):.2f} % of the voxels became one end value.")


def _bound(pair: Pair, make: Callable) -> Reason:
    largest = float(np.abs(pair.removed).max()) / pair.sigma
    return make("bound", largest, f"The largest change of a voxel is {largest:.1f} times the noise.")


def _edges(pair: Pair, make: Callable) -> list[Reason]:
    fit = residuals.edge_fit(pair)
    if fit is None:
        return []
    word = "lost to blur" if fit.loss > 0 else "added by sharpening"
    largest = max(fit.shift, key=abs)
    return [
        make("edges", fit.loss, f"{100 * abs(fit.loss):.0f} % of the result's edge detail was {word}."),
        make("shift", largest, f"The result is displaced by {abs(largest):.2f} voxels."),
    ]


def _level(pair: Pair, make: Callable) -> list[Reason]:
    mean, largest = residuals.level_shift(pair)
    size = f"{abs(largest):.2f} times the noise ({largest * pair.sigma:+.3g})"
    return [
        make("mean", mean, f"The mean value changed by {abs(mean):.2f} times the noise ({mean * pair.sigma:+.3g})."),
        make("level", largest, f"The mean of a range of values changed by up to {size}."),
    ]


def _amount(pair: Pair, noise: float, strength: float, make: Callable) -> list[Reason]:
    """Was as much taken away as there was noise, and is as much left as was asked for?"""
    removed = pair.removed[pair.tissue] if pair.tissue.any() else pair.removed
    size = float(np.sqrt(np.mean(removed**2)))
    left = residuals.noise_left(pair)
    checks = [make("strength", size / pair.sigma, f"The change is {size / pair.sigma:.2f} times the noise.")]
    if strength > 0:
        too_little = strength * noise / (size + TINY)
        checks.append(make("weak", too_little, f"The noise found is {too_little:.1f} times what was taken away."))
        beyond = left - (1 - strength)
        checks.append(make("left", beyond, f"{100 * left:.0f} % of the noise is left."))
        ratio = noise / pair.sigma
        apart = f"The noise found is {ratio:.2f} times that of an independent estimate."
        checks.append(make("noise", float(np.log2(ratio + TINY)), apart))
    return checks


def _texture(pair: Pair, make: Callable) -> list[Reason]:
    colour, lines, equal = residuals.colour(pair), residuals.lines(pair), residuals.equal_neighbours(pair)
    return [
        make("colour", colour, f"Where there is structure, {colour:.1f} times as much was taken away as elsewhere."),
        make("lines", lines, f"The mean change of neighbouring lines differs by {lines:.3f} times its spread."),
        make("equal", equal, f"{100 * equal:.0f} % of neighbouring voxels became equal."),
    ]


def _structure(seen: Views, first: SlicesFirst, make: Callable) -> list[Reason]:
    spots = residuals.spots(seen.far)
    if not spots:
        return []
    score = [min(abs(s.height) / 0.5, s.rarity / 8) for s in spots]
    spot = spots[int(np.argmax(score))]
    here = [n * size + size // 2 for n, size in zip(spot.place, seen.bins, strict=True)]
    here.insert(first.axis, here.pop(0))
    word = "taken away" if spot.height > 0 else "added"
    text = f"Near voxel {tuple(here[::-1])} something of {abs(spot.height):.1f} times the noise was {word}."
    return [make("structure", max(score), text)]


def _seam(seen: Views, first: SlicesFirst, make: Callable) -> Reason:
    step, rarity, (axis, position) = residuals.seam(seen.far)
    names = ["k", "j", "i"]
    names.insert(0, names.pop(first.axis))
    at = position * seen.bins[axis]
    text = f"At {at} along the axis {names[axis]} the change jumps by {step:.2f} times its spread."
    return make("seam", min(step / 0.2, rarity / 10), text)


def _untouched(pair: Pair, make: Callable) -> Reason:
    share = residuals.untouched(pair)
    return make("untouched", share, f"{100 * share:.0f} % of the tissue was left as it was.")
