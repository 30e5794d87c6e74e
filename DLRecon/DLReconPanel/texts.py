"""Plain words: tasks, cards, figures, the trust light, and the lines of a script."""

import html

import slicer
from slicer.i18n import tr as _

from DLReconPanel import runs

LIGHTS = {"green": "#2e9e3f", "amber": "#e09a00", "red": "#d0342c"}
# Of the library's options; pipeline.Options itself needs packages that Slicer may lack.
DEFAULTS = {
    "modality": "auto", "device": "auto", "tile": None, "dtype": "float32", "precision": "auto", "judge": True,
    "uncertainty": False, "feather": 0.0, "artifact": "auto", "budget": 60.0, "adapt": False, "steps": 0,
    "scale": None, "spacing": None, "thickness": None, "consistent": True,
}  # fmt: skip
FIGURES = ("noise_sigma", "snr", "sharpness", "contrast")


def taskNames():
    """Task of the library -> what a user wants."""
    return {
        "denoise": _("Remove noise"),
        "super-resolution": _("Make it sharper"),
        "artifact-reduction": _("Remove artifacts"),
        "contrast": _("Improve contrast"),
        "inpaint": _("Fill a region"),
    }


def taskHint(task):
    """Why a task without a model cannot be chosen."""
    return {
        "super-resolution": _("No model for this is installed. Thick slices stay thick."),
        "artifact-reduction": _("No model for this is installed. Metal and motion artifacts stay."),
        "contrast": _("No model for this is installed. Window and level change the display without a model."),
    }.get(task, _("No model for this is installed."))


def figureNames():
    return {
        "noise_sigma": _("Noise"),
        "snr": _("Signal to noise"),
        "sharpness": _("Sharpness (cycles/mm)"),
        "contrast": _("Contrast"),
    }


def lightNames():
    return {"green": _("Green"), "amber": _("Amber"), "red": _("Red")}


def trustHtml(provenance, everything=False):
    """(heading with the light, reasons) as rich text; the colour has a word beside it for those who cannot see it.

    :param everything: also the checks that found nothing wrong.
    """
    trust = provenance.get("trust")
    if not trust or trust.get("light") not in LIGHTS:
        return _("Trust: not judged"), ""
    words = {
        "green": _("nothing speaks against this result"),
        "amber": _("look twice before you rely on it"),
        "red": _("do not rely on this result"),
    }
    light = trust["light"]
    heading = f"{_dot(light)} <b>{lightNames()[light]}</b>: {words[light]}"
    order = {"red": 0, "amber": 1, "green": 2}
    reasons = sorted(trust.get("reasons", []), key=lambda reason: order.get(reason.get("light"), 3))
    shown = [r for r in reasons if everything or r.get("light") in ("red", "amber")]
    lines = [f"{_dot(r.get('light'))} {html.escape(str(r.get('text', '')))}" for r in shown]
    return heading, "<br>".join(lines)


def _dot(light):
    return f"<span style='color:{LIGHTS[light]}; font-size:large;'>&#9679;</span>" if light in LIGHTS else "&#9675;"


def figureRows(provenance):
    """[(name, before, after)] of the figures that were measured; None where the image did not tell."""
    figures = provenance.get("figures") or {}
    before, after = figures.get("before") or {}, figures.get("after") or {}
    names = figureNames()
    keys = [key for key in FIGURES if before.get(key) is not None or after.get(key) is not None]
    return [(names[key], before.get(key), after.get(key)) for key in keys]


def figuresHtml(provenance):
    rows = figureRows(provenance)
    if not rows:
        return ""
    head = f"<tr><td></td><td align='right'><i>{_('before')}</i></td><td align='right'><i>{_('after')}</i></td></tr>"
    body = "".join(
        f"<tr><td>{html.escape(name)}&nbsp;&nbsp;</td><td align='right'>{_number(before)}&nbsp;&nbsp;</td>"
        f"<td align='right'>{_number(after)}</td></tr>"
        for name, before, after in rows
    )
    return f"<table cellspacing='2'>{head}{body}</table>"


def foundHtml(provenance):
    """What the method found out about the image, in a line; "" where it told nothing that is short enough."""
    parts = []
    for name, value in (provenance.get("found") or {}).items():
        if isinstance(value, (list, tuple)) and all(isinstance(v, (str, int, float)) for v in value) and len(value) < 9:
            value = ", ".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in value) or _("nothing")
        elif isinstance(value, float):
            value = f"{value:.3g}"
        elif not isinstance(value, (str, int)) or len(str(value)) > 80:
            continue
        parts.append(f"{html.escape(str(name).replace('_', ' '))}: {html.escape(str(value))}")
    return "" if not parts else _("Found: {what}").format(what="; ".join(parts))


def _number(value):
    return "&ndash;" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def remainingText(seconds):
    if seconds is None:
        return ""
    if seconds < 60:
        return _("about {n} s left").format(n=max(1, round(seconds)))
    return _("about {n} min left").format(n=round(seconds / 60))


def scriptOf(node, provenance):
    """Python lines for Slicer's console that redo exactly what made this node.

    :raises ValueError: the node's input is not in the scene any more.
    """
    source = node.GetNodeReference(runs.INPUT_ROLE)
    if source is None:
        raise ValueError(f"{node.GetName()}: the volume it was made from is not in the scene any more; load it again")
    options = dict(provenance["options"])
    # What "auto" chose is written down, so that a newer model or another machine changes nothing.
    options["model"] = provenance["model"]["id"]
    modality = provenance.get("modality", {}).get("used")
    if options.get("modality") == "auto" and modality:
        options["modality"] = modality
    lines = [
        "import slicer",
        "from DLRecon import DLReconLogic",
        "",
        f"inputVolume = {_find(source)}",
    ]
    arguments = []
    region = node.GetNodeReference(runs.MASK_ROLE)
    if region is not None:
        segment = node.GetAttribute(runs.SEGMENT)
        lines.append(f"region = {_find(region)}")
        arguments.append(f"mask=(region, {segment!r})" if segment else "mask=region")
    for name, value in options.items():
        value = tuple(value) if isinstance(value, list) else value
        if name not in DEFAULTS or value != DEFAULTS[name]:
            arguments.append(f"{name}={value!r}")
    lines.append("outputVolume = DLReconLogic().process(")
    lines.append("    inputVolume,")
    lines += [f"    {argument}," for argument in arguments]
    lines.append(")")
    return "\n".join(lines) + "\n"


def _find(node):
    """By name, which survives saving; by ID where two nodes share the name."""
    named = list(slicer.util.getNodes(node.GetName(), useLists=True).get(node.GetName(), []))
    return f"slicer.util.getNode({(node.GetName() if len(named) == 1 else node.GetID())!r})"
