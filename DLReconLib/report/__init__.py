"""A run as a page to read: before, after, what was removed, how far to trust it, how to repeat it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from DLReconLib import card_text
from DLReconLib.fingerprint import fingerprint, samples
from DLReconLib.io import read_series, read_volume
from DLReconLib.models import ModelError, find_card
from DLReconLib.pages import data_uri
from DLReconLib.replay import find, script
from DLReconLib.report import pictures
from DLReconLib.report.page import page
from DLReconLib.resolution import Enlargement
from DLReconLib.volume import Volume

LIGHTS = {
    "green": "No sign of trouble was found",
    "amber": "Look twice before you rely on this result",
    "red": "Do not rely on this result",
}
FIGURES = {
    "noise_sigma": ("Noise", "standard deviation in tissue; lower is calmer"),
    "snr": ("Signal to noise", "mean of the tissue over the noise; higher is better"),
    "sharpness": ("Sharpness", "frequency at which edges fade to one half; lower is blurred"),
    "contrast": ("Contrast", "of dark and bright tissue; should stay"),
}
UNITS = {"CT": "HU"}


def report(record: Mapping[str, Any], before: Volume | None = None, after: Volume | None = None,
           notes: Sequence[str] = (), name: str = "RECORD.json") -> str:  # fmt: skip
    """The page (HTML, self-contained) of a record and the images before and after, on one grid.

    Where an image is missing the page has no pictures and says so. notes: what else the reader must know, such as
    files that were changed since. name: of the record's file, for the command that repeats the run.
    """
    unit = UNITS.get((record.get("modality") or {}).get("used", ""), "")
    model = record["model"]
    title = f"{model.get('title') or model['id']}: report of a run"
    shown = before is not None and after is not None
    parts = [
        f"<header><h1>{escape(title)}</h1><p class='soft'>{escape(headline(record))}</p></header>",
        f"<p class='research'><b>{card_text.RESEARCH}</b></p>",
        trust(record),
        in_short(record, unit),
        warnings([*notes, *record.get("warnings", [])]),
        slices(before, after, record, unit) if shown else "",
        agreement(before, after, record) if shown and "super_resolution" in record else "",
        figures(record, before, after, unit),
        reasons(record),
        making(record),
        card(record),
        again(record, name),
    ]
    return page(escape(title), "\n".join(p for p in parts if p))


def headline(record: Mapping[str, Any]) -> str:
    shape = " x ".join(str(n) for n in record["input"].get("shape", [])[2::-1])
    spacing = " x ".join(f"{s:.3g}" for s in record["input"].get("spacing", []))
    modality = (record.get("modality") or {}).get("used") or "image"
    points = f", {len(record['time_points'])} time points (the first is shown)" if "time_points" in record else ""
    when = str(record.get("created", "")).replace("T", " ").replace("+00:00", " UTC")
    return f"{modality}, {shape} voxels of {spacing} mm{points}; {record.get('software', 'DLRecon')}, {when}"


def trust(record: Mapping[str, Any]) -> str:
    found = record.get("trust") or {}
    light = found.get("light") if found.get("light") in LIGHTS else None
    if light is None:
        return "<section class='trust'><span class='dot'></span><div><b>Trust: not judged.</b></div></section>"
    worse = [r for r in found.get("reasons", []) if r.get("light") == light and light != "green"]
    text = " ".join(escape(str(r.get("text", ""))) for r in worse[:4])
    if light == "green":
        text = (f"{len(found.get('reasons', []))} checks of the result passed. They cannot see everything: compare "
                "with the image before.")  # fmt: skip
    return (f"<section class='trust'><span class='dot {light}'></span><div><b>Trust: {light}. {LIGHTS[light]}.</b>"
            f"<br>{text}</div></section>")  # fmt: skip


def in_short(record: Mapping[str, Any], unit: str) -> str:
    """What the figures say, in a sentence."""
    found = record.get("figures") or {}
    one, two = ((found.get(when) or {}).get("noise_sigma") for when in ("before", "after"))
    if not one or two is None:
        return ""
    way, by = "fell" if two < one else "rose", 100 * abs(1 - two / one)
    text = f"Noise {way} by {by:.0f} %, from {pictures.number(one)} to {pictures.number(two)} {unit}"
    return f"<p><b>In short:</b> {escape(text.strip())}.</p>"


def warnings(texts: Sequence[str]) -> str:
    if not texts:
        return ""
    return "<section><h2>Warnings</h2><ul>" + "".join(f"<li>{escape(t)}</li>" for t in texts) + "</ul></section>"


def slices(before: Volume, after: Volume, record: Mapping[str, Any], unit: str) -> str:
    """Three orthogonal slices before, after, and what was removed."""
    first, second = (pictures.scalar(v.array).astype(np.float32) for v in (before, after))
    removed = first - second
    low, high, why = pictures.window_of(before)
    reach = float(np.percentile(np.abs(removed), 99.8)) or 1.0
    cells = []
    for plane in pictures.planes(before):
        for name, array, ends in (("before", first, (low, high)), ("after", second, (low, high)),
                                  ("removed", removed, (-reach, reach))):  # fmt: skip
            cells.append(picture(plane, name, pictures.grey(plane.cut(array), *ends)))
    u = f" {unit}" if unit else ""
    share = f" ({reach / record['noise']:.1f} times the noise)" if record.get("noise") else ""
    return (
        "<section><h2>Pictures</h2>"
        f"<p class='soft'>Before and after have the same grey levels, {low:.4g} to {high:.4g}{u} ({why}). Removed is "
        f"before minus after{share}: it should look like noise, without edges or organs.</p>"
        f"<div class='scale'>removed: <span>{-reach:.3g}{u}</span><i></i><span>+{reach:.3g}{u}</span> (grey is 0)</div>"
        f"<div class='slices'>{''.join(cells)}</div></section>"
    )


def agreement(before: Volume, after: Volume, record: Mapping[str, Any]) -> str:
    """Where a result on a finer grid, acquired as the input was, is not the input."""
    enlargement = Enlargement.from_record(record["super_resolution"], after.geometry)
    coarse = enlargement.acquisition.coarse
    # Made coarse again, the interpolated input is the input.
    given = np.stack([enlargement.acquisition.degrade(p) for p in planes_of(before.array)], 3)
    unit, named = record.get("noise") or 0.0, "times the noise of the input"
    if not unit:
        unit, named = float(np.ptp(given)) or 1.0, "of the range of the input"
    found = pictures.scalar(enlargement.difference(np.stack(planes_of(after.array), 3), given)) / np.float32(unit)
    volume = Volume(found, after.geometry.resampled(after.array.shape[2::-1], coarse[::-1]))
    top = max(float(found.max()), 1e-6)
    cells = [
        picture(plane, "disagreement", pictures.grey(plane.cut(found), 0, top)) for plane in pictures.planes(volume)
    ]
    return (
        "<section><h2>Agreement with what was measured</h2><p class='soft'>The result was made coarse again as the "
        f"input had been acquired. They differ by at most {top:.2g} {named}, {float(found.mean()):.2g} on average; "
        f"black is 0, white {top:.2g}.</p><div class='slices'>{''.join(cells)}</div></section>"
    )


def planes_of(array: np.ndarray) -> list[np.ndarray]:
    return [array] if array.ndim == 3 else list(np.moveaxis(array, 3, 0))


def picture(plane: pictures.Plane, name: str, image: np.ndarray) -> str:
    letters = "".join(f"<span class='{c}'>{t}</span>" for c, t in zip("wens", plane.letters, strict=True))
    label = f"{plane.name}, slice {plane.index}, {name}"
    return (f"<figure><div class='frame' style='aspect-ratio: {plane.size_mm[0]:.4g} / {plane.size_mm[1]:.4g}'>"
            f"<img alt='{label}' src='{data_uri(pictures.png(image))}'>{letters}</div>"
            f"<figcaption>{label}</figcaption></figure>")  # fmt: skip


def figures(record: Mapping[str, Any], before: Volume | None, after: Volume | None, unit: str) -> str:
    """Bars of the figures, and plots of the values where the images are there."""
    found = record.get("figures") or {}
    one, two = found.get("before") or {}, found.get("after") or {}
    units = {"noise_sigma": unit, "sharpness": "cycles/mm"}
    plots = [
        pictures.bars(title, one.get(key), two.get(key), units.get(key, ""), hint)
        for key, (title, hint) in FIGURES.items()
        if one.get(key) is not None or two.get(key) is not None
    ]
    if before is not None and after is not None:
        pair = pictures.scalar(before.array), pictures.scalar(after.array)
        plots += [pictures.histogram(*pair, unit), pictures.profile(pictures.planes(before)[0], *pair, unit)]
    if not any(plots):
        return ""
    return ("<section><h2>Figures</h2><p class='soft'>Measured without a reference: they describe the image, not its "
            f"truth.</p><div class='plots'>{''.join(plots)}</div></section>")  # fmt: skip


def reasons(record: Mapping[str, Any]) -> str:
    found = (record.get("trust") or {}).get("reasons", [])
    if not found:
        return ""
    order = {"red": 0, "amber": 1}
    rows = []
    for one in sorted(found, key=lambda r: order.get(r.get("light"), 2)):
        light, check, text = (escape(str(one.get(k, ""))) for k in ("light", "check", "text"))
        value, limit = (pictures.number(one.get(k)) if one.get(k) is not None else "" for k in ("value", "limit"))
        rows.append(f"<tr><td><span class='dot {light}'></span> {light}</td><td>{check}</td><td>{text}</td>"
                    f"<td>{value}</td><td>{limit}</td></tr>")  # fmt: skip
    return (f"<section><h2>What was checked</h2><table><tr><th></th><th>check</th><th>finding</th><th>value</th>"
            f"<th>limit</th></tr>{''.join(rows)}</table></section>")  # fmt: skip


def making(record: Mapping[str, Any]) -> str:
    """Model, options, device, versions."""
    model, options = record["model"], record.get("options") or {}
    strength = options.get("strength", 1)
    seconds = (record.get("seconds") or {}).get("total")
    noise = record.get("noise")
    rows = {
        "Model": f"{model['id']}, chosen because: {record.get('model_chosen', 'unknown')}",
        "Weights": f"SHA-256 {model['sha256']}" if model.get("sha256") else "none: a classical method",
        "Strength": f"{100 * strength:.0f} % of what the model takes for noise was removed",
        "Noise found": pictures.number(noise),
        "Only inside a mask": "yes" if record.get("mask") else "no",
        "Device": ", ".join(str(record[k]) for k in ("device", "precision") if record.get(k)),
        "Fallbacks": "; ".join(map(str, record.get("fallbacks") or [])) or "none",
        "Time": "" if seconds is None else f"{seconds:.1f} s",
        "Versions": ", ".join(f"{k} {v}" for k, v in (record.get("versions") or {}).items()),
        "Options": ", ".join(f"{k} {v}" for k, v in options.items()),
        "Input": f"SHA-256 {record['input']['sha256']}",
        "Output": f"SHA-256 {record['output']['sha256']}" if record.get("output") else "",
    }
    lines = "".join(f"<tr><td>{k}</td><td><code>{escape(v)}</code></td></tr>" for k, v in rows.items() if v)
    return f"<section><h2>How it was made</h2><table>{lines}</table></section>"


def card(record: Mapping[str, Any]) -> str:
    """The card of the model, where this version has it with the same weights."""
    model = record["model"]
    try:
        found = find_card((record.get("options") or {}).get("model") or model["id"])
    except ModelError:
        found = None
    if found is None or found.id != model["id"]:
        try:
            found = find_card(model["id"])
        except ModelError:
            return f"<section><h2>The model</h2><p>{escape(model['id'])}: its card is not installed here.</p></section>"
    other = "" if found.sha256 == model.get("sha256", "") else ("<p><b>The card is of other weights than those of "
                                                              "this run: its figures may differ.</b></p>")  # fmt: skip
    return f"<section class='card'>{other}{card_text.page(found)}</section>"


def again(record: Mapping[str, Any], name: str) -> str:
    try:
        lines = f"<details><summary>The same in Python</summary><pre>{escape(script(record))}</pre></details>"
    except ValueError as error:
        lines = f"<p>{escape(str(error))}</p>"
    return (f"<section><h2>How to repeat it</h2><pre>dlrecon replay {escape(name)}</pre><p class='soft'>It runs again "
            f"and says whether every bit is the same.</p>{lines}</section>")  # fmt: skip


def images_of(
    record: Mapping[str, Any], beside: Path, before: Path | None = None, after: Path | None = None
) -> tuple[Volume | None, Volume | None, list[str]]:
    """The first volumes before and after the run, where they are still there, and what is wrong with them.

    before, after: where the files are; else where the record says. Raises where a file that is given cannot be read.
    """
    notes: list[str] = []
    series = (record.get("files") or {}).get("series")
    found: list[Volume | None] = []
    for role, path in (("input", before), ("output", after)):
        try:
            place = path or find(record, role, beside)
            if place is None:
                raise FileNotFoundError(f"the record names no {role}")
            folder = place.is_dir() and role == "input" and series
            found.append(read_volume(place, series) if folder else read_series(place)[0])
        except (FileNotFoundError, ValueError) as error:
            if path is not None:
                raise
            notes.append(f"There are no pictures: {str(error).partition(';')[0]}.")
            found.append(None)
    one, two = found
    part = (record.get("time_points") or [record])[0]
    if one is not None and fingerprint(one) != part["input"]["sha256"]:
        notes.append("The input file is not the one of the record: the pictures before are of another image.")
    kept = part.get("output") or {}
    if two is not None and kept and not is_output(two, kept, one):
        notes.append("The output file is not the one of the record: the pictures after are of another image.")
    enlarged = part.get("super_resolution")
    if one is not None and two is not None and enlarged and list(two.array.shape) == kept.get("shape"):
        before_it = Enlargement.from_record(enlarged, two.geometry).interpolated(one.array)
        one = replace(one, array=before_it, geometry=two.geometry)
    if one is not None and two is not None and one.array.shape != two.array.shape:
        notes.append(f"There are no pictures: before is {one.array.shape}, after {two.array.shape}.")
        one = None
    return one, two, notes


def is_output(volume: Volume, kept: Mapping[str, Any], before: Volume | None) -> bool:
    """Whether it is the output that the record kept, up to the rounding of its file (DICOM has 16 bits)."""
    if list(volume.array.shape) != kept["shape"]:
        return False
    spread = float(np.ptp(before.array)) if before is not None else float(np.ptp(volume.array))
    return bool(np.abs(np.subtract(samples(volume.array), kept["samples"])).max() <= 1e-4 * spread)
