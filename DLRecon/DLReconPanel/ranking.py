"""Which of the previews is best, and what is said about each."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from DLReconPanel import taskOptions, texts

ALIKE = {True: 0.05, False: 0.3}  # of white noise, and of other: estimates of the error that are closer say nothing
LIGHTS = ("green", "amber", "red")


@dataclass
class Entry:
    """One method's answer. state: waiting, running, done, failed or cancelled. again: its second pass, or None."""

    model: str
    title: str
    job: Any = None
    again: Any = None
    state: str = "waiting"
    error: str = ""
    node: Any = None
    provenance: dict = field(default_factory=dict)
    noise: float | None = None
    sharpness: float | None = None
    learned: bool = False
    errorLeft: float | None = None
    alike: float = 0.0
    light: str = ""
    contrast: float | None = None

    @property
    def jobs(self):
        return [job for job in (self.job, self.again) if job is not None]

    @property
    def fraction(self):
        return sum(job.fraction for job in self.jobs) / len(self.jobs) if self.jobs else 1.0


def probeOf(source, mask):
    """Noise like that of the image, for a second pass; None where it cannot be told."""
    if source.array.ndim != 3:
        return None
    try:
        from DLReconLib.quality.ranking import probe
    except ImportError:  # without scipy the methods are not ranked
        return None
    return probe(source.array, source.geometry.spacing, None if mask is None else mask.array)


def measure(entry, source, probe):
    """Put the figures of a preview into its entry. source: Volume. probe: of probeOf(), or None."""
    figures = entry.provenance.get("figures") or {}
    before, after = figures.get("before") or {}, figures.get("after") or {}
    entry.light = (entry.provenance.get("trust") or {}).get("light", "")
    entry.sharpness, entry.contrast = after.get("sharpness"), after.get("contrast")
    if before.get("noise_sigma") and after.get("noise_sigma") is not None:
        entry.noise = after["noise_sigma"] / before["noise_sigma"]
    if probe is not None and entry.again is not None and entry.again.state == "done":
        from DLReconLib.quality.ranking import error_left

        answers = [job.result.volume.array for job in (entry.job, entry.again)]
        entry.errorLeft, entry.alike = error_left(source.array, *answers, probe) / probe.sigma, ALIKE[probe.white]


def ordered(entries, task):
    """Of noise removal the least error first, by Stein's estimate (DLReconLib.quality.ranking). It does not tell close
    ones apart: among those, learned methods come first, whose gain was measured against the truth. Of other tasks
    nothing measures the error: the better light comes first, then learned methods. Failures come last."""
    known = [entry.errorLeft for entry in entries if entry.errorLeft is not None]
    best = min(known) if known else 0.0

    def key(entry):
        failed = entry.state != "done"
        if task != taskOptions.DENOISE:
            return failed, LIGHTS.index(entry.light) if entry.light in LIGHTS else len(LIGHTS), not entry.learned
        left = np.inf if entry.errorLeft is None else entry.errorLeft
        close = left <= best + entry.alike
        return failed, not close, not (close and entry.learned), left

    return sorted(entries, key=key)


def sentence(task, entries):
    """How the order came about."""
    if task != taskOptions.DENOISE:
        return _("Click a picture or a row to take that method. Nothing measures the error of this task without the "
                 "truth: those with the better light come first, and learned ones among them.")  # fmt: skip
    alike = max((entry.alike for entry in entries), default=0.0)
    text = _("Click a picture or a row to take that method. The error is Stein's estimate, in percent of the noise; "
             "methods within {n} points of the least count as equal, and learned ones come first among them."
             )  # fmt: skip
    return text.format(n=round(100 * alike))


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
