"""The page of a batch: each case before, after and what was removed, with its figures. One file, nothing outside it."""

from collections import Counter
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from DLReconLib.pages import data_uri, frame
from DLReconLib.result import Result
from DLReconLib.volume import Volume

Array = np.ndarray
SIDE = 224  # pixels of a panel at most
GAP = 4
PICTURES_AT_MOST = 400  # a page of a hundred megabytes opens nowhere
FIGURES = {"noise_sigma": "noise", "snr": "SNR", "sharpness": "sharpness", "contrast": "contrast"}


def draw(result: Result) -> Array:
    """The middle slice before, after, and their difference within three standard deviations of the noise: uint8
    (1, height, width), pixels with equal sides in the patient."""
    before, after = (_slice(v) for v in (result.source, result.volume))
    low, high = np.percentile(before, (0.5, 99.7))
    removed = before - after
    limit = 3 * result.noise if np.isfinite(result.noise) and result.noise > 0 else float(np.abs(removed).max())
    panels = [_grey(before, low, high), _grey(after, low, high), _grey(removed, -limit, limit)]
    gap = np.full((panels[0].shape[0], GAP), 128, np.uint8)
    return np.hstack([panels[0], gap, panels[1], gap, panels[2]])[None]


def _slice(volume: Volume) -> Array:
    array = volume.array
    k = array.shape[0] // 2
    plane = array[k].astype(np.float32)
    plane = plane.mean(axis=2) if plane.ndim == 3 else plane
    sides = np.array(plane.shape) * volume.geometry.spacing[1::-1]
    factor = sides / sides.max() * SIDE / plane.shape
    return ndimage.zoom(plane, factor, order=1, mode="nearest", grid_mode=True)


def _grey(plane: Array, low: float, high: float) -> Array:
    return np.clip((plane - low) / max(high - low, 1e-12) * 255, 0, 255).astype(np.uint8)


def page(records: list[dict[str, Any]], folder: Path, total: int) -> str:
    """HTML of the cases in these records of the manifest; folder: where their pictures lie; total: cases there are."""
    failed = [r for r in records if r["state"] == "failed"]
    done = [r for r in records if r["state"] != "failed"]
    # What wants a look comes first.
    order = {"red": 0, "amber": 1}
    done.sort(key=lambda r: order.get(_light(r), 2))
    lights = Counter(_light(r) for r in done)
    head = [f"<b>{len(done)}</b> done", f"<b>{len(failed)}</b> failed"]
    head += [f"<b>{total - len(records)}</b> not begun"] if total > len(records) else []
    head += [f'<span class="dot {light}"></span><b>{lights[light]}</b> {light}' for light in ("red", "amber", "green")
             if lights[light]]  # fmt: skip
    key = records[0]["key"] if records else {}
    options = ", ".join(f"{n} {v}" for n, v in key.items() if v not in ("", None, "auto") and n != "software")
    cards = [_failed(r) for r in failed]
    cards += [_card(r, folder if n < PICTURES_AT_MOST else None) for n, r in enumerate(done)]
    body = f"""<header><h1>DLRecon batch</h1><p class="counts">{" &middot; ".join(head)}</p>
<p class="small">{escape(key.get("software", ""))}{"; " if options else ""}{escape(options)}</p>
<p class="small">Each picture: the middle slice before, after, and what was removed (grey is nothing; black and white
are three standard deviations of the noise found). Research use only; not for diagnosis.</p></header>
<main>{"".join(cards)}</main>"""
    return frame(f"DLRecon batch: {len(done)} done, {len(failed)} failed", STYLE, body)


def _light(record: dict[str, Any]) -> str:
    return record.get("trust", {}).get("light", "")


def _failed(record: dict[str, Any]) -> str:
    return (f'<article class="failed"><h2><span class="dot red"></span>{escape(record["name"])}</h2>'
            f'<p class="error">failed: {escape(record["error"])}</p></article>')  # fmt: skip


def _card(record: dict[str, Any], folder: Path | None) -> str:
    light = _light(record)
    dot = f'<span class="dot {escape(light)}" title="trust: {escape(light)}"></span>' if light else ""
    reasons = [r for r in record.get("trust", {}).get("reasons", []) if r["light"] != "green"]
    notes = [*record["warnings"], *(r["text"] for r in reasons), *record["provenance"].get("fallbacks", [])]
    listing = "".join(f"<li>{escape(str(note))}</li>" for note in notes)
    seconds = f"{record['model']}, {record['seconds']:.1f} s"
    return (f"<article><h2>{dot}{escape(record['name'])}</h2>{_picture(record, folder)}{_figures(record)}"
            f'{f"<ul>{listing}</ul>" if listing else ""}<p class="small">{escape(seconds)} &rarr; '
            f'<a href="{escape(record["output"])}">{escape(record["output"])}</a></p></article>')  # fmt: skip


def _picture(record: dict[str, Any], folder: Path | None) -> str:
    path = folder and folder / record["picture"]
    if path is None or not path.is_file():
        return '<p class="small">(no picture on this page)</p>'
    return (f'<figure><img alt="before, after, removed" src="{data_uri(path.read_bytes())}">'
            "<figcaption><span>before</span><span>after</span><span>removed</span></figcaption></figure>")  # fmt: skip


def _figures(record: dict[str, Any]) -> str:
    figures = record.get("figures", {})
    rows = []
    for name, title in FIGURES.items():
        values = [figures.get(when, {}).get(name) for when in ("before", "after")]
        if None not in values:
            rows.append(f"<tr><th>{title}</th><td>{values[0]:.4g}</td><td>{values[1]:.4g}</td></tr>")
    return f"<table><tr><th></th><td>before</td><td>after</td></tr>{''.join(rows)}</table>" if rows else ""


STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 1500px; padding: 1.2rem; }
h1 { font-size: 1.4rem; margin: 0; } .counts { margin: .3rem 0; font-size: 1.05rem; }
h2 { font-size: 1rem; margin: 0 0 .5rem; overflow-wrap: anywhere; }
.small { font-size: .83rem; opacity: .75; margin: .25rem 0; overflow-wrap: anywhere; }
main { display: grid; gap: 1rem; margin-top: 1rem; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 440px), 1fr)); }
.failed { grid-column: 1 / -1; } .failed p { margin: 0; }
article { border: 1px solid var(--line); border-radius: 8px; padding: .9rem; background: var(--soft); }
figure { margin: 0; } img { width: 100%; border-radius: 4px; display: block; }
figcaption { display: flex; justify-content: space-around; font-size: .8rem; opacity: .75; }
table { border-collapse: collapse; font-size: .85rem; margin-top: .5rem; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 500; padding-right: 1.5rem; } td { text-align: right; padding-right: 1.5rem; }
ul { margin: .5rem 0; padding-left: 1.1rem; font-size: .85rem; } .error { color: #d44; overflow-wrap: anywhere; }
.dot { display: inline-block; width: .75em; height: .75em; border-radius: 50%; margin-right: .4em; background: #999; }
.dot.green { background: #2a9d4a; } .dot.amber { background: #e8a000; } .dot.red { background: #d33; }
"""
