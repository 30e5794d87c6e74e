"""What can be said of a change that is not noise: checks of artifact reduction, of contrast, and of filled holes.

Arrays are (k, j, i) float32, k being the slice axis, in the unit of the image. Each check is a function of source and
result that calls make(check, value, sentence), as in judging a denoised image.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy import ndimage

from DLReconLib.models import ModelCard
from DLReconLib.trust import residuals
from DLReconLib.trust.views import TINY, Pair, Views, noise_level, views

Array = np.ndarray
Make = Callable[[str, float, str], Any]
# Kinds that are added to the image and do not know its anatomy, so that what was removed is unlike what is left.
ADDED = {"spike", "ring", "streak"}
SMOOTH = 4.0  # voxels: a bias field has no detail below
OVERSHOOT = 0.2  # of an edge: what ringing makes of it (0.09 on each side), with room
WINDOW = 15  # voxels that ringing reaches across
CLEAR = 3.0  # times the noise: two neighbours that differ
DETAIL = 3.0  # pixels: what is finer is looked at for the removed pattern


def checks(
    source: Array, result: Array, card: ModelCard, noise: float, strength: float, mask: Array | None, make: Make,
    names: tuple[str, ...],
) -> list[Any]:  # fmt: skip
    """All checks of the card's task that can be made. names: of the axes of the arrays, "k", "j", "i" as the user
    counts them. mask: not 0 where the image was to be changed."""
    found = []
    if mask is not None:
        found.append(outside(source, result, mask, make))
    if card.task == "artifact-reduction":
        seen = views(source, result, mask, card, noise)
        found += list(cleaned(seen, set(card.artifacts), strength, make, names))
    elif card.task == "contrast":
        seen = views(source, result, mask, card, noise)
        found += list(stretched(seen.near, make))
    elif card.task == "inpaint" and mask is not None and 0 < np.count_nonzero(mask) < mask.size:
        found.append(rim(source, result, mask != 0, make))
    return found


def outside(source: Array, result: Array, mask: Array, make: Make) -> Any:
    """Nothing may change where nothing was to be done."""
    kept = mask == 0
    changed = int(np.count_nonzero(source[kept].astype(np.float32) != result[kept].astype(np.float32)))
    return make("outside", float(changed), f"{changed} voxels outside of the region were changed.")


def cleaned(seen: Views, artifacts: set[str], strength: float, make: Make, names: tuple[str, ...]) -> Iterator[Any]:
    """Artifact reduction: how much was changed, whether level, edges and place stayed, and whether the change is of a
    kind that the artifact could have made. Something compact that was added to a change as large as itself is not
    seen."""
    near = seen.near
    if not near.tissue.any():
        return
    if artifacts == {"bias"}:
        yield from shaded(near, make)
        return
    values = ndimage.gaussian_filter(near.source, (0, 1, 1), mode="nearest")[near.tissue]
    width = float(np.subtract(*np.percentile(values, [95, 5]))) + 3 * near.sigma + TINY
    change = near.removed[near.tissue]
    size, drift = float(np.sqrt(np.mean(change**2))) / width, -float(change.mean()) / width
    yield make("size", size, f"The change is {100 * size:.0f} % of the range of the tissue.")
    yield make("drift", drift, f"The mean value changed by {100 * drift:+.1f} % of the range of the tissue.")
    yield seam(seen, make, names)
    fit = residuals.edge_fit(near)
    if fit is not None:
        word = "lost to blur" if fit.loss > 0 else "added by sharpening"
        yield make("blur", fit.loss, f"{100 * abs(fit.loss):.0f} % of the result's edge detail was {word}.")
        largest = max(fit.shift, key=abs)
        yield make("shift", largest, f"The result is displaced by {abs(largest):.2f} voxels.")
    if artifacts <= ADDED and strength > 0:
        left = pattern_left(near) - (1 - strength) / strength
        word = "still there" if left > 0 else "there again, turned round: too much was taken away"
        yield make("pattern", left, f"{100 * abs(left):.0f} % of the pattern that was taken away is {word}.")
    if artifacts == {"gibbs"}:
        far = beyond_edges(near)
        yield make("reach", far, f"A change is {far:.1f} times as large as ringing of the edges around can be.")


def shaded(pair: Pair, make: Make) -> Iterator[Any]:
    """Shading: the factor between source and result must be smooth and moderate."""
    level = 3 * pair.sigma + TINY
    inside = pair.tissue & (pair.source > level) & (pair.result > level)
    if np.count_nonzero(inside) < 100:
        return
    ratio = np.zeros(pair.source.shape, np.float32)
    ratio[inside] = np.log(pair.result[inside] / pair.source[inside])
    fine, depth = detail_of_field(ratio, inside), float(np.ptp(np.percentile(ratio[inside], [1, 99])))
    yield make(
        "field", fine, f"The shading that was taken off has details of {100 * fine:.1f} %; that of a coil has none."
    )
    yield make("depth", depth, f"The shading that was taken off differs by a factor of {np.exp(depth):.1f}.")


def detail_of_field(ratio: Array, inside: Array) -> float:
    """The largest detail of log(result / source), which for shading is smooth: after a Gaussian of one voxel (the
    rounding of whole numbers averages out), against one of SMOOTH voxels; both within the tissue alone."""
    fine, coarse = (_inside_mean(ratio, inside, width) for width in (1.0, SMOOTH))
    deep = ndimage.binary_erosion(inside, iterations=2)  # at the rim the wide mean looks to one side
    return float(np.abs(fine - coarse)[deep].max()) if deep.any() else 0.0


def pattern_left(pair: Pair) -> float:
    """How much of the pattern that was removed the result still holds, by least squares on details finer than DETAIL:
    0 where all of it and no more is gone, below 0 where it is there again with the other sign; 0, too, where it is so
    faint that its fit would be chance."""
    removed, result = (a - ndimage.gaussian_filter(a, (0, DETAIL, DETAIL), mode="nearest") for a in
                       (pair.removed, pair.result))  # fmt: skip
    inside = ndimage.binary_erosion(pair.tissue, np.ones((1, 3, 3)), iterations=2)
    r, b = removed[inside].astype(np.float64), result[inside].astype(np.float64)
    power = float(r @ r)
    if power <= TINY or abs(float(r @ b)) < 0.08 * np.sqrt(power * float(b @ b)):
        return 0.0
    return float(r @ b) / power


def _inside_mean(values: Array, inside: Array, width: float) -> Array:
    """Gaussian mean of the voxels inside, in the plane of the slices."""
    weight = ndimage.gaussian_filter(inside.astype(np.float32), (0, width, width), mode="nearest")
    total = ndimage.gaussian_filter(np.where(inside, values, 0), (0, width, width), mode="nearest")
    return total / np.maximum(weight, 1e-3)


def seam(seen: Views, make: Make, names: tuple[str, ...]) -> Any:
    """A step of the mean change between planes within the slices; across them, every slice may have its own."""
    step, rarity, (axis, position) = residuals.seam(seen.far, axes=(1, 2))
    at = position * seen.bins[axis]
    text = f"At {at} along the axis {names[axis]} the change jumps by {step:.2f} times its spread."
    return make("seam", min(step / 0.2, rarity / 10), text)


def beyond_edges(pair: Pair) -> float:
    """The largest change, smoothed by a voxel, over what the edges within WINDOW pixels can have rung by."""
    blur = (0, 1, 1)
    smooth = ndimage.gaussian_filter(pair.source, blur, mode="nearest")
    side = (1, WINDOW, WINDOW)
    edges = ndimage.maximum_filter(smooth, side) - ndimage.minimum_filter(smooth, side)
    change = np.abs(ndimage.gaussian_filter(pair.removed, blur, mode="nearest"))
    return float((change / (OVERSHOOT * edges + 1.5 * pair.sigma)).max())


def stretched(pair: Pair, make: Make) -> Iterator[Any]:
    """Contrast: neighbours that clearly differed must keep their order and still differ, and noise must not grow
    much more than the tissue's contrast."""
    steps_before, steps_after = [], []
    for axis, n in enumerate(pair.source.shape):
        if n < 2:
            continue
        inside = np.logical_and(*_ends(pair.tissue, axis))
        before, after = (np.subtract(*_ends(a, axis)[::-1])[inside] for a in (pair.source, pair.result))
        clear = np.abs(before) > CLEAR * pair.sigma
        steps_before.append(before[clear])
        steps_after.append(after[clear])
    before, after = (np.concatenate(s) if s else np.zeros(0) for s in (steps_before, steps_after))
    if len(before) < 100:
        return
    gain = float(np.quantile(np.abs(after) / np.abs(before), 0.9))
    turned = float(np.mean((np.sign(before) * after) < -0.05 * gain * np.abs(before)))
    lost = float(np.mean(np.abs(after) < 0.05 * gain * np.abs(before)))
    louder = _noise_over_range(pair.result, pair.tissue) / (_noise_over_range(pair.source, pair.tissue) + TINY)
    yield make("order", turned, f"{100 * turned:.1f} % of neighbours that differ have changed their order.")
    yield make("lost", lost, f"{100 * lost:.1f} % of neighbours that differed are alike now.")
    yield make("louder", louder, f"Compared with the contrast of the tissue, noise is {louder:.1f} times what it was.")


def _ends(array: Array, axis: int) -> tuple[Array, Array]:
    """All voxels but the last along the axis, and all but the first."""
    n = array.shape[axis]
    return array.take(np.arange(n - 1), axis), array.take(np.arange(1, n), axis)


def _noise_over_range(image: Array, tissue: Array) -> float:
    values = ndimage.gaussian_filter(image, (0, 1, 1), mode="nearest")[tissue]
    return noise_level(image, tissue) / (float(np.subtract(*np.percentile(values, [95, 5]))) + TINY)


def rim(source: Array, result: Array, hole: Array, make: Make) -> Any:
    """Steps over the rim of a filled hole, over those between known neighbours around it; medians, since an edge of the
    anatomy may run along a part of the rim."""
    close = ndimage.binary_dilation(hole, iterations=4)
    across, usual = [], []
    for axis, n in enumerate(hole.shape):
        if n < 2:
            continue
        holes, steps = _ends(hole, axis), np.abs(np.subtract(*_ends(result.astype(np.float32), axis)))
        near = np.logical_or(*_ends(close, axis))
        across.append(steps[np.logical_xor(*holes)])
        usual.append(steps[near & ~np.logical_or(*holes)])
    known, jump = np.concatenate(usual), np.concatenate(across)
    ratio = float(np.median(jump) / (np.median(known) + TINY)) if known.size and jump.size else 0.0
    return make("rim", ratio, f"Over the rim of the hole values step {ratio:.1f} times as far as around it.")
