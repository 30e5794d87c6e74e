"""The part of the road that is super-resolution's own: interpolate, add what the model adds, project.

The result is x = B + (1 - P A) d: B the consistent spline of the input, d the detail that the model adds, A the
acquisition, P its spline inverse. So A x is the input, whatever the model says, and at any strength (for learned
detail: Schwab, Antholzer & Haltmeier, "Deep null space learning", Inverse Problems 2019).
"""

from typing import Any

import numpy as np

from DLReconLib.inference import Execution, Model, run_detail
from DLReconLib.metrics import noise_sigma
from DLReconLib.models import ModelError
from DLReconLib.networks import CLASSICAL, find_classical
from DLReconLib.pieces import central_part
from DLReconLib.progress import Progress
from DLReconLib.resolution import Enlargement
from DLReconLib.resolution.variation import fewer_edges
from DLReconLib.transforms import LinearIntensity
from DLReconLib.trust import Reason, Trust

Array = np.ndarray
VARIATION = "variation"  # the classical method that needs the acquisition
MISFIT = (0.01, 0.03)  # limits of amber and red
OVERSHOOT = (0.25, 0.6)
NOISE = (0.03, 0.08)  # of the range


def enlarge(
    plane: Array, wanted: Enlargement, model: Model, execution: Execution, strength: float, progress: Progress
) -> tuple[Array, float, float]:
    """One component (k, j, i) onto the finer grid.

    Returns the output (k, j, i) float32, the noise of the input in its unit, seconds in the method.
    """
    card, acquisition = model.card, wanted.acquisition
    low, high = card.reach or (-np.inf, np.inf)
    source = np.clip(plane, low, high).astype(np.float32)
    base = wanted.interpolated(source)
    intensity, seconds = LinearIntensity.of_card(card, source), 0.0
    if card.network in CLASSICAL and card.network != VARIATION:
        progress(0.1, "interpolating")
        try:
            found = find_classical(card.network)(source, acquisition.fine, **card.arguments)
        except TypeError as error:
            raise ModelError(f"model {card.id}: {error}; correct the arguments in the card") from error
        detail = np.asarray(found, np.float32) - base
    else:
        share = 0.95 if model.network is None else 0.3
        order = turn(acquisition.axes)
        smooth = intensity(base if wanted.consistent else acquisition.consistent(source)).transpose(order)
        changes = fewer_edges(
            smooth, acquisition.turned(order), rising=lambda f: progress(share * f, "looking for edges")
        )
        if model.network is None:
            found = changes[card.arguments["strength"] - 1]
        else:
            run = run_detail(model, smooth, changes, execution, lambda f, t: progress(share + (0.97 - share) * f, t))
            found, seconds = run.residual, run.seconds
        found = found.transpose(np.argsort(order))
        detail = found * np.float32(intensity.unit)
    progress(0.98, "making it consistent")
    output = base + np.float32(strength) * detail
    if wanted.consistent:
        output = acquisition.project(output, source)
    if card.reach:
        kept = (plane < low) | (plane > high)
        if kept.any():
            output = np.where(wanted.nearest(kept), wanted.nearest(plane), output).astype(np.float32)
    return output, float(noise_sigma(central_part(source))), seconds


def turn(axes: tuple[Any, ...]) -> tuple[int, int, int]:
    """The order of the axes as in training: first the most refined one, but where only two are refined and alike, the
    third."""
    scales = [a.scale for a in axes]
    low, middle, high = np.argsort(scales, kind="stable")
    in_plane = scales[low] == 1 < scales[middle] and scales[high] < 1.25 * scales[middle]
    first = int(low if in_plane else np.argmax(scales))
    rest = [n for n in range(3) if n != first]
    return first, rest[0], rest[1]


def judge_resolution(source: Array, result: Array, wanted: Enlargement, noise: float) -> dict[str, Any]:
    """How far to trust an enlarged volume: does it agree with what was measured, does it stay within its values, and
    was the input good enough? As trust.Trust.to_dict(); arrays (k, j, i), or with components, of which the worst
    counts."""
    if not np.isfinite(result).all():
        broken = Reason("values", "red", None, None, "The result has values that are no numbers.")
        return Trust("red", (broken,)).to_dict()
    planes = [...] if source.ndim == 3 else [(..., n) for n in range(source.shape[3])]
    misfit = max(wanted.misfit(result[plane], source[plane]) for plane in planes)
    width = max(float(source.max()) - float(source.min()), 1e-12)
    beyond = max(float(source.min()) - float(result.min()), float(result.max()) - float(source.max()), 0.0) / width
    apart = f"Acquired again, the result differs from the input by up to {100 * misfit:.2f} % of its range."
    reasons = [
        _reason("consistency", misfit, MISFIT, apart),
        _reason("range", beyond, OVERSHOOT, f"Values reach {100 * beyond:.0f} % of the range beyond the input's."),
        _reason("noise", noise / width, NOISE, f"The input's noise is {100 * noise / width:.1f} % of its range."),
    ]
    reasons.sort(key=lambda r: -("green", "amber", "red").index(r.light))
    return Trust(reasons[0].light, tuple(reasons)).to_dict()


def _reason(check: str, value: float, limits: tuple[float, float], text: str) -> Reason:
    light = "red" if value > limits[1] else "amber" if value > limits[0] else "green"
    return Reason(check, light, float(value), limits[0], text)
