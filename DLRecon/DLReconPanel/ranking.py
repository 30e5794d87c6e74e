"""Which of the previews is best, and what is said about each."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from DLReconPanel import taskOptions, texts

ALIKE = 0.3  # of the noise: estimates of the error that are closer say nothing
WHITE = 0.75  # noise whose finest details are at least this strong is white; CT's and resampled images' is not
LIGHTS = ("green", "amber", "red")


@dataclass
class Entry:
    """One method's answer. state: waiting, running, done, failed or cancelled."""

    model: str
    title: str
    job: Any = None
    state: str = "waiting"
    error: str = ""
    node: Any = None
    provenance: dict = field(default_factory=dict)
    noise: float | None = None
    sharpness: float | None = None
    learned: bool = False
    errorLeft: float | None = None
    light: str = ""
    contrast: float | None = None


def measure(entry, source, result):
    """Put the figures of a preview into its entry. source, result: Volumes."""
    figures = entry.provenance.get("figures") or {}
    before, after = figures.get("before") or {}, figures.get("after") or {}
    entry.light = (entry.provenance.get("trust") or {}).get("light", "")
    entry.sharpness, entry.contrast = after.get("sharpness"), after.get("contrast")
    if entry.provenance["options"]["task"] != taskOptions.DENOISE:
        return
    from DLReconLib.quality.ranking import error_left

    noise, white = before.get("noise_sigma"), before.get("noise_white") or 0.0
    if noise and white > WHITE * noise:
        noise = white  # holds less of the anatomy's texture
    if noise and after.get("noise_sigma") is not None:
        entry.noise = after["noise_sigma"] / noise
        entry.errorLeft = error_left(source.array, result.array, noise, after["noise_sigma"]) / noise


def ordered(entries, task):
    """Of noise removal the least error first. Estimates without a reference do not tell close ones apart (see
    error_left): among those, learned methods come first, whose gain was measured against the truth. Of other tasks
    nothing measures the error: the better light comes first, then learned methods. Failures come last."""
    known = [entry.errorLeft for entry in entries if entry.errorLeft is not None]
    best = min(known) if known else 0.0

    def key(entry):
        failed = entry.state != "done"
        if task != taskOptions.DENOISE:
            return failed, LIGHTS.index(entry.light) if entry.light in LIGHTS else len(LIGHTS), not entry.learned
        left = np.inf if entry.errorLeft is None else entry.errorLeft
        close = left <= best + ALIKE
        return failed, not close, not (close and entry.learned), left

    return sorted(entries, key=key)


def sentence(task):
    """How the order came about."""
    if task != taskOptions.DENOISE:
        return _("Click a picture or a row to take that method. Nothing measures the error of this task without the "
                 "truth: those with the better light come first, and learned ones among them.")  # fmt: skip
    return _("Click a picture or a row to take that method. The error is an estimate, in percent of the noise; "
             "methods within {n} points of the least count as equal, and learned ones come first among them."
             ).format(n=round(100 * ALIKE))  # fmt: skip


def columns(task):
    """[(heading, function of the entry that gives the text)]."""
    sharpness = (_("Sharpness"), lambda e: "" if e.sharpness is None else f"{e.sharpness:.2f} /mm")
    if task != taskOptions.DENOISE:
        light = (_("Trust"), lambda e: texts.lightNames().get(e.light, ""))
        contrast = (_("Contrast"), lambda e: "" if e.contrast is None else f"{e.contrast:.2f}")
        return [light, sharpness, contrast]
    return [(_("Noise left"), lambda e: percent(e.noise)), sharpness, (_("Error left"), lambda e: percent(e.errorLeft))]


def percent(value):
    return "" if value is None else f"{100 * value:.0f} %"
