"""Runs that are good, and runs that were spoiled on purpose: what the trust light is measured on.

A good run is a model applied to a reference with known noise, as it is meant to be used. A planted failure is a
good run whose input, result or record was changed in a known way. References come from the subjects of one role
of the split files (train, validation or test); arrays are (k, j, i) float32.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from cases import CT_SOURCES, MR_SOURCES, ZOO, Array, Source, block_average, ct_noise, generator

from DLReconLib.inference import Model
from DLReconLib.io import read_volume
from DLReconLib.models import ModelCard, find_card
from DLReconLib.patches import locate
from DLReconLib.pipeline import reconstruct
from DLReconLib.volume import Volume

MR_CONDITIONS = (("rician", 2), ("gaussian", 4), ("rician", 6), ("rician", 10))
CT_CONDITIONS = (("soft", "quarter"), ("soft", "tenth"), ("sharp", "quarter"), ("sharp", "tenth"))
MODELS = {"MR": "mr-denoise", "CT": "ct-denoise"}
DEPTH = {"MR": 24, "CT": 16}
WIDTH = {"MR": 64, "CT": 96}


@dataclass(frozen=True)
class Run:
    """What judge() gets, and what is known of it.

    clean: the image without the noise that was put on it. failure: what was planted, "" for a good run.
    """

    name: str
    card: ModelCard
    source: Volume
    result: Volume
    noise: float
    clean: Array
    failure: str = ""
    strength: float = 1.0


@dataclass(frozen=True)
class Reference:
    """A clean image of a subject, cropped, with the whole slices it was cut from (for the noise of CT)."""

    name: str
    subject: str
    crop: Volume
    whole: Volume
    box: tuple[slice, slice, slice]


def references(modality: str, role: str, data: Path) -> Iterator[Reference]:
    """The images of a role; those of the test subjects are averaged as for the benchmark of denoising."""
    entries = json.loads((ZOO / MODELS[modality] / "split.json").read_text(encoding="utf-8"))["images"]
    fixed = {s.path: s for s in (MR_SOURCES if modality == "MR" else CT_SOURCES)}
    for entry in entries:
        if entry["role"] != role or entry.get("labels"):
            continue
        if role == "test":
            if entry["path"] not in fixed:
                continue
            source: Source = fixed[entry["path"]]
            average, name = source.average, source.name
        else:
            average, name = tuple(entry["averages"][0]), entry["path"].split("/")[-1].split(".")[0]
        volume = replace(read_volume(locate(entry["path"], data)), modality=modality)
        volume = block_average(volume, average)
        box = middle(volume.array, DEPTH[modality], WIDTH[modality], modality)
        slab = volume.crop(((box[0].start, box[0].stop), (0, volume.array.shape[1]), (0, volume.array.shape[2])))
        cut = volume.crop(tuple((b.start, b.stop) for b in box))
        yield Reference(name, entry["subject"], cut, slab, box)


def middle(array: Array, depth: int, width: int, modality: str) -> tuple[slice, slice, slice]:
    """A box around the centre of what is not air."""
    body = array > (-500 if modality == "CT" else 0.15 * np.percentile(array, 99.5))
    centre = [int(np.median(axis)) for axis in np.nonzero(body)]
    box = []
    for n, c, size in zip(array.shape, centre, (depth, width, width), strict=True):
        start = min(max(0, c - size // 2), max(0, n - size))
        box.append(slice(start, min(n, start + size)))
    return tuple(box)


def noisy(reference: Reference, modality: str, condition: tuple, salt: str = "trust") -> Array:
    """The crop with noise of a condition, the same for the same names."""
    rng = generator(salt, reference.name, *condition)
    clean = reference.crop.array
    if modality == "CT":
        kernel, dose = condition
        return clean + ct_noise(reference.whole, kernel, dose, rng)[:, reference.box[1], reference.box[2]]
    kind, level = condition
    sigma = level / 100 * float(np.percentile(clean, 99.9))
    real, imaginary = rng.standard_normal((2, *clean.shape), np.float32) * np.float32(sigma)
    return clean + real if kind == "gaussian" else np.hypot(clean + real, imaginary)


def body(clean: Array, card: ModelCard) -> Array:
    """Voxels that are not air."""
    return clean > (-500 if card.offset else 0.1 * np.percentile(clean, 99.9))


def runs(
    modality: str, role: str, data: Path, methods: tuple[str, ...] = (), load: Callable[[str], Model] | None = None
) -> Iterator[Run]:
    """Good runs of our model and of `methods` on all references of a role."""
    models = {name: (load or load_model)(name) for name in (MODELS[modality], *methods)}
    for reference in references(modality, role, data):
        for condition in MR_CONDITIONS if modality == "MR" else CT_CONDITIONS:
            array = noisy(reference, modality, condition).astype(np.float32)
            source = reference.crop.with_array(array)
            for name, model in models.items():
                done = reconstruct(source, loaded=model, modality=modality, judge=False)
                label = f"{reference.name}, {condition[0]} {condition[1]}, {name}"
                yield Run(label, model.card, source, done.volume, done.noise, reference.crop.array)


def load_model(name: str) -> Model:
    return Model(find_card(name), "cpu", "float32")
