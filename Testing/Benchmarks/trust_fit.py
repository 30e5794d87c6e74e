"""The numbers that judging needs to know of a model, from its training and validation subjects.

limits: range of every check over good runs; domain: features of training images; uncertainty: a and b.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cases import Array, block_average, generator
from trust_cases import MODELS, ZOO, Run, body

from DLReconLib import degradations
from DLReconLib.io import read_volume
from DLReconLib.models import ModelCard, find_card
from DLReconLib.training.patches import locate
from DLReconLib.transforms import SlicesFirst
from DLReconLib.trust import LIMITS, judge
from DLReconLib.trust.domain import features, summarise
from DLReconLib.uncertainty import Noise, fit, noise_maps

MARGIN = 0.25  # of the width of the range, for 100 runs: other subjects differ from those that were looked at
CROPS = 9


@dataclass(frozen=True)
class Checked:
    """A run and what judge() said of it: check -> value."""

    run: Run
    light: str
    values: dict[str, float | None]
    reasons: tuple[str, ...]


def check(run: Run) -> Checked:
    trust = judge(run.source, run.result, run.card, run.noise, strength=run.strength, modality=run.source.modality)
    bad = tuple(r.check for r in trust.reasons if r.light != "green")
    return Checked(run, trust.light, {r.check: r.value for r in trust.reasons}, bad)


def limits(good: list[Checked]) -> dict[str, list[float]]:
    """Lowest and highest value of each check over good runs, with a margin that is larger the fewer runs there are;
    checks with limits of their own (shares of the voxels, the domain) keep those."""
    found = {}
    for name in LIMITS:
        values = [c.values[name] for c in good if c.values.get(name) is not None]
        if name in ("clipped", "untouched", "domain", "range") or not values:
            continue
        low, high = min(values), max(values)
        room = MARGIN * np.sqrt(100 / len(values)) * (max(high, 0.0) - min(low, 0.0)) + 0.02
        least = round(float(min(low - room, 0.0)), 3) if LIMITS[name][0] < 0 else 0.0
        found[name] = [least, round(float(max(high + room, 0.0)), 3)]
    return found


def calibrate(runs: list[Run], card: ModelCard) -> dict[str, Any]:
    """a and b of the uncertainty, from runs that carry their spread."""
    errors, spreads, noises = zip(*(parts(run) for run in runs), strict=True)
    a, b = fit(errors, spreads, noises)
    return {"a": round(a, 3), "b": round(b, 3), "sha256": card.sha256}


def parts(run: Run) -> tuple[Array, Array, Noise]:
    """Error, spread of the passes and noise of the voxels that are not air, each (n,)."""
    mask = body(run.clean, run.card)
    maps = noise_maps(run.source.array, run.source.array - run.result.array, run.noise, run.card)
    return (run.result.array - run.clean)[mask], run.spread[mask], Noise(maps.found[mask], maps.left[mask])


def domain(modality: str, data: Path) -> dict[str, Any]:
    return summarise(list(samples(modality, "train", data)))


def samples(modality: str, role: str, data: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """(subject, features) of the images of a role: as they are, averaged as in training, and crops of both with
    the noise of training. MR also has the other contrasts and the painted label maps that it is trained on."""
    card = find_card(MODELS[modality])
    for entry in json.loads((ZOO / card.id / "split.json").read_text(encoding="utf-8"))["images"]:
        labels = bool(entry.get("labels"))
        if entry["role"] != role or (labels and modality == "CT") or "_4d" in entry["path"]:
            continue
        volume = read_volume(locate(entry["path"], data))
        image = SlicesFirst.of_grid(volume.geometry, volume.array.shape)(volume.array)
        pool = [image]
        if not labels:
            average = tuple(entry.get("averages", [[1, 2, 2]])[0])
            pool.append(block_average(volume.with_array(image), average).array)
            yield from ((entry["subject"], features(p.astype(np.float32), card)) for p in pool)
        rng = generator("domain", entry["path"])
        for number in range(CROPS):
            part = crop(pool[number % len(pool)], labels, modality, rng)
            if part is not None:
                yield entry["subject"], features(part, card)


def crop(image: Array, labels: bool, modality: str, rng: np.random.Generator) -> Array | None:
    """A random part with at least 30 % tissue, degraded as in training; None where none was found."""
    air = 0 if labels else -500 if modality == "CT" else 0.1 * np.percentile(image[::2, ::2, ::2], 99.5)
    size = [min(n, int(rng.integers(low, high))) for n, low, high in zip(image.shape, (1, 32, 32), (40, 200, 200),
                                                                         strict=True)]  # fmt: skip
    size[0] = min(image.shape[0], max(size[0], 8)) if rng.random() < 0.7 else size[0]
    for _ in range(20):
        first = [int(rng.integers(0, n - s + 1)) for n, s in zip(image.shape, size, strict=True)]
        part = image[tuple(slice(f, f + s) for f, s in zip(first, size, strict=True))]
        if np.mean(part > air) > 0.3:
            break
    else:
        return None
    if modality == "CT":
        part = part.astype(np.float32)
        if rng.random() < 0.75:
            noise = rng.standard_normal(part.shape, np.float32)
            noise = degradations.filter_in_plane(noise, degradations.kernel_window(part.shape[1:], rng))
            part = part + degradations.log_uniform(rng, 4, 150) * noise / noise.std()
        return part
    if labels:
        part = degradations.painted_labels(part.astype(np.int16), rng)
    else:
        part = part.astype(np.float32) / np.float32(np.percentile(image[::2, ::2, ::2], 99.5))
        part = degradations.remap_contrast(part, rng) if rng.random() < 0.5 else part
    if part.max() < 0.05:
        return None
    part = degradations.mr_noise(part, rng).noisy if rng.random() < 0.75 else part
    return np.abs(part) if rng.random() < 0.75 else part


def write_card(card: ModelCard, trust: dict[str, Any]) -> None:
    """Put the numbers into the card's file, whole or not at all; what others wrote there meanwhile stays."""
    path = card.folder / "card.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    values["trust"] = {**values.get("trust", {}), **trust}
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)
