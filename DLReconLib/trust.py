"""The trust light: how far to believe a result, and why.

judge() looks at what went in and what came out, never at the method, so that every method is judged alike. Each
check gives a number that is compared with a limit; the limits are the largest values of good runs on training and
validation subjects (Testing/Benchmarks/trust.py fits and tests them). Green says that no check found anything: it
is no proof that nothing is wrong.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from DLReconLib import residuals
from DLReconLib.models import ModelCard
from DLReconLib.quality import air_level
from DLReconLib.residuals import Pair
from DLReconLib.transforms import SlicesFirst
from DLReconLib.volume import Volume

Array = np.ndarray
GREEN, AMBER, RED = "green", "amber", "red"
MOST = 1_500_000  # voxels that are looked at in full resolution
# check: limit of amber, limit of red. A card's own limits of amber (card.trust["limits"]) come first; its red is
# twice that.
LIMITS = {
    "bound": (8.0, 16.0),
    "structure": (1.6, 3.2),
    "edges": (1.0, 2.0),
    "shift": (0.25, 0.5),
    "level": (0.6, 1.2),
    "seam": (1.0, 2.0),
    "untouched": (0.2, 0.5),
    "strength": (1.25, 2.0),
    "range": (0.25, 1.0),
    "clipped": (0.001, 0.01),
}


@dataclass(frozen=True)
class Reason:
    """One check: its light, the number found, the limit (of amber) and a sentence; value and limit None where a
    check has none."""

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

    def to_dict(self) -> dict[str, Any]:
        return {"light": self.light, "reasons": [asdict(r) for r in self.reasons]}


def judge(
    source: Volume, result: Volume, card: ModelCard, noise: float, *, strength: float = 1.0, mask: Array | None = None
) -> Trust:
    """Judge a denoised volume.

    Args:
        source, result: what went in and what came out; (k, j, i), or with components, of which the worst counts.
        card: of the method that is said to have made it.
        noise: standard deviation of the noise that it found, in the unit of the image.
        strength: the share of the residual that was taken away.
        mask: (k, j, i), 0 where nothing was to be changed.

    Only numpy and scipy are used; about a second for 256 x 256 x 256 voxels.
    """
    broken = _broken(source, result)
    if broken:
        return Trust(RED, (broken,))
    planes = [np.newaxis] if source.array.ndim == 3 else range(source.array.shape[3])
    found: list[Reason] = []
    for plane in planes:
        whole = slice(None) if plane is np.newaxis else (..., plane)
        found += _judge_plane(source, source.array[whole], result.array[whole], card, noise, strength, mask)
    worst: dict[str, Reason] = {}
    for reason in found:
        if reason.check not in worst or _rank(reason) > _rank(worst[reason.check]):
            worst[reason.check] = reason
    reasons = tuple(sorted(worst.values(), key=_rank, reverse=True))
    return Trust(reasons[0].light if reasons else GREEN, reasons)


def _rank(reason: Reason) -> int:
    return (GREEN, AMBER, RED).index(reason.light)


def _broken(source: Volume, result: Volume) -> Reason | None:
    """What needs no measuring: another grid, or values that are no numbers."""
    if result.array.shape != source.array.shape:
        text = f"The result has {result.array.shape} voxels, the input {source.array.shape}."
        return Reason("grid", RED, None, None, text)
    if not result.geometry.matches(source.geometry, 0.01 * min(source.geometry.spacing), source.array.shape[2::-1]):
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
    tissue = tissue_mask(a, card, noise)
    if mask is not None:
        tissue &= first(mask) != 0
    part = residuals.middle(a.shape, MOST)
    near = _pair(a[part], b[part], tissue[part], noise)
    far, size = overview(a, b, tissue, near.sigma)
    place = _place(first, size, a.shape)
    make = _maker(card)
    checks = [_range(a, b, make), _clipped(a, b, make), _bound(near, make), *_edges(near, make), _level(near, make)]
    checks += [_strength(near, strength, make), *_structure(far, place, make), _seam(far, size, first, make)]
    if strength > 0 and mask is None:
        checks.append(_untouched(near, make))
    return checks


def tissue_mask(image: Array, card: ModelCard, noise: float) -> Array:
    """What is not air: a tenth of the range above it, and 3 sigma. For HU, above -920 (the lung counts)."""
    smooth = ndimage.gaussian_filter(image.astype(np.float32), (0, 1, 1), mode="nearest")
    if card.offset == -1000 and card.unit == 1000:
        return smooth > -920
    air = air_level(smooth)
    return smooth - air > max(0.1 * (float(np.percentile(smooth, 99.5)) - air), 3 * noise)


def _pair(source: Array, result: Array, tissue: Array, noise: float) -> Pair:
    source, result = source.astype(np.float32), result.astype(np.float32)
    found = residuals.noise_level(source, tissue)
    return Pair(source, result, max(found, residuals.TINY), tissue)


def overview(source: Array, result: Array, tissue: Array, sigma: float) -> tuple[Pair, tuple[int, int, int]]:
    """The whole volume, binned until it has at most 2 MOST voxels, and the size of a bin (k, j, i)."""
    size = [1, 1, 1]
    for axes in ((1, 2), (0,), (1, 2), (0,), (1, 2), (0,)):
        if source.size / np.prod(size) <= 2 * MOST:
            break
        for axis in axes:
            size[axis] *= 2 if source.shape[axis] >= 32 * size[axis] else 1
    bins = (size[0], size[1], size[2])
    if max(bins) == 1:
        return Pair(source.astype(np.float32), result.astype(np.float32), sigma, tissue), bins
    small = [residuals.binned(a, bins) for a in (source, result)]
    return Pair(*small, sigma, residuals.binned(tissue, bins) > 0.5), bins


def _place(first: SlicesFirst, size: tuple[int, int, int], shape: tuple[int, ...]) -> Callable:
    """Maps a place (k, j, i) of the overview to voxel indices (i, j, k) of the volume."""

    def place(found: tuple[int, int, int]) -> tuple[int, int, int]:
        here = [min(n * s + s // 2, most - 1) for n, s, most in zip(found, size, shape, strict=True)]
        back = list(here[1:])
        back.insert(first.axis, here[0])
        return back[2], back[1], back[0]

    return place


def _maker(card: ModelCard) -> Callable[[str, float, str], Reason]:
    own = card.trust.get("limits", {})

    def make(check: str, value: float, text: str) -> Reason:
        amber, red = LIMITS[check]
        if check in own:
            amber, red = own[check], 2 * own[check]
        size = abs(value)
        return Reason(check, RED if size > red else AMBER if size > amber else GREEN, float(value), amber, text)

    return make


def _range(source: Array, result: Array, make: Callable) -> Reason:
    low, high = float(source.min()), float(source.max())
    beyond = max(low - float(result.min()), float(result.max()) - high, 0.0)
    width = max(high - low, residuals.TINY)
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


def _level(pair: Pair, make: Callable) -> Reason:
    change = residuals.level_shift(pair)
    text = f"Mean values changed by up to {abs(change):.2f} times the noise ({change * pair.sigma:+.3g})."
    return make("level", change, text)


def _strength(pair: Pair, strength: float, make: Callable) -> Reason:
    removed = pair.removed[pair.tissue] if pair.tissue.any() else pair.removed
    ratio = float(np.sqrt(np.mean(removed**2))) / pair.sigma
    return make("strength", ratio, f"The change is {ratio:.2f} times the noise.")


def _structure(pair: Pair, place: Callable, make: Callable) -> list[Reason]:
    spots = residuals.spots(pair)
    if not spots:
        return []
    score = [min(abs(s.height) / 0.5, s.rarity / 8) for s in spots]
    spot = spots[int(np.argmax(score))]
    word = "taken away" if spot.height > 0 else "added"
    text = f"Near voxel {place(spot.place)} something of {abs(spot.height):.1f} times the noise was {word}."
    return [make("structure", max(score), text)]


def _seam(pair: Pair, size: tuple[int, int, int], first: SlicesFirst, make: Callable) -> Reason:
    step, rarity, (axis, position) = residuals.seam(pair)
    order = list(range(1, 3))
    names = ["k", "j", "i"]
    slices = names.pop(first.axis)
    name = slices if axis == 0 else names[order.index(axis)]
    text = f"At {position * size[axis]} along the axis {name} the change jumps by {step:.2f} times its spread."
    return make("seam", min(step / 0.2, rarity / 10), text)


def _untouched(pair: Pair, make: Callable) -> Reason:
    share = residuals.untouched(pair)
    return make("untouched", share, f"{100 * share:.0f} % of the tissue was left as it was.")
